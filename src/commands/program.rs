//! From a program and options to a machine that is ready to run.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use emu::boot::{Boot, ImageKind, Module, Protocol, check_initrd};
use emu::{Devices, Images, Machine, MachineConfig};
use replay::Snapshot;
use replay::log::{self, LogReader};

use crate::cli::Console;
use crate::cli::RunArgs;
use crate::host::disks::{self, Disk, DiskArg};
use crate::host::progress::Progress;
use crate::host::recorded_disks::Search;
use crate::host::{clock, files, memory};

/// Guest memory unless the user says otherwise.
const MEMORY_BYTES: u64 = 64 << 20;
const LINUX_MEMORY_BYTES: u64 = 512 << 20;
/// A panic is to be the end of the run, not of its progress: the kernel resets the machine.
const LINUX_COMMAND_LINE: &str = "console=ttyS0 panic=-1";
const LINUX_VIRTIO_COMMAND_LINE: &str = "console=hvc0 panic=-1";
/// For a program of which one wants to see nothing else.
const LINUX_PROGRAM_COMMAND_LINE: &str = "console=ttyS0 panic=-1 loglevel=1";

/// A machine that is ready to run.
pub(crate) struct Booted {
    /// The machine.
    pub(crate) machine: Machine,
    /// What it runs.
    pub(crate) name: String,
    /// Its disks, if the files are to follow what the guest writes.
    pub(crate) disks: Vec<Disk>,
    /// Where the images of its disks are.
    pub(crate) paths: Vec<String>,
    /// What tells of it, if it takes a while before the guest speaks.
    pub(crate) progress: Option<Progress>,
}

/// A program as the user named it, and what it gets.
struct Program {
    name: String,
    image: Cow<'static, [u8]>,
    kind: ImageKind,
    /// The command line unless the user gives one.
    command_line: &'static str,
    /// With their command lines.
    modules: Vec<(Vec<u8>, String)>,
    protocol: Option<Protocol>,
}

/// The machine that `args` describe, with its program loaded.
///
/// # Errors
/// What is wrong with the program or the machine, in one line that names it.
pub(crate) fn boot(args: &RunArgs) -> Result<Booted> {
    if let Some(path) = &args.from {
        return go_on(path, &args.disks);
    }
    let path = args.program.as_deref().context("a program is missing")?;
    let program = match &args.kernel {
        Some(kernel) => program_on_kernel(kernel, path, args)?,
        None => read(path, args)?,
    };
    let is_linux = program.kind.is_linux();
    let memory_bytes = args.memory.unwrap_or(if is_linux { LINUX_MEMORY_BYTES } else { MEMORY_BYTES });
    memory::check(memory_bytes)?;
    let disks = disks::open_all(&args.disks, args.primary || args.record.is_some() || args.snapshot.is_some())?;
    // Without RDRAND, which the smallest CPU lacks, a Linux kernel has no other source of entropy.
    let mut devices = Devices { console: args.console.into(), entropy: is_linux, ..Devices::default() };
    let mut images = Images::default();
    devices.net = args.net.as_ref().map(|net| net.mac);
    for (number, disk) in disks.iter().enumerate() {
        devices.disks[number] = Some(disk.config);
        images[number] = Some(disk.image.clone());
    }
    let config = MachineConfig {
        memory_bytes,
        clock: args.clock.into(),
        epoch_s: clock::epoch_s(),
        cpu: args.cpu.into(),
        devices,
    };
    let progress = if is_linux { Progress::start(format_args!("loading {}", program.name)) } else { None };
    let mut machine = Machine::with_images(config, images)?;
    let command_line = args.append.as_deref().unwrap_or(program.command_line);
    load(&mut machine, &program, command_line).with_context(|| format!("cannot run {}", program.name))?;
    let paths = disks.iter().map(Disk::path).collect();
    Ok(Booted { machine, name: program.name, disks, paths, progress })
}

/// The machine of a snapshot.
fn go_on(path: &Path, disks: &[DiskArg]) -> Result<Booted> {
    let about = || path.display().to_string();
    let summary = log::check(BufReader::new(files::open(path)?)).with_context(about)?;
    ensure!(
        summary.entries == 0,
        "{} is the log of a run, not a snapshot: `ftemu replay --live` goes on from there",
        path.display()
    );
    let mut reader = LogReader::open(BufReader::new(files::open(path)?)).with_context(about)?;
    let snapshot = Snapshot::read(&mut reader).with_context(about)?;
    memory::check(snapshot.config.memory_bytes).with_context(about)?;
    let found = Search::new(disks, path.parent())?.find(&snapshot.config, &summary.header.disks).with_context(about)?;
    let machine = snapshot.restore_with_images(found.images).with_context(about)?;
    let (name, paths) = (summary.header.program, found.paths);
    Ok(Booted { machine, name, disks: Vec::new(), paths, progress: None })
}

fn load(machine: &mut Machine, program: &Program, command_line: &str) -> Result<()> {
    let (image, protocol) = (&program.image, program.protocol);
    if program.kind == ImageKind::Other && protocol.is_none() {
        return Ok(machine.load_elf(image, command_line)?);
    }
    let module = |(bytes, command_line)| Module { bytes, command_line };
    let modules: Vec<_> = program.modules.iter().map(|(bytes, text)| module((&bytes[..], &text[..]))).collect();
    Ok(machine.load_kernel(&Boot { image, modules: &modules, command_line, protocol })?)
}

/// What the user names: a kernel, a program or a built-in guest.
fn read(path: &Path, args: &RunArgs) -> Result<Program> {
    let name = path.display().to_string();
    let protocol = args.boot.map(Protocol::from);
    let (image, kind, command_line) = match path.to_str().and_then(|text| text.strip_prefix("guest:")) {
        Some(guest) => match testprogs::find(guest) {
            Some(guest) => (guest.image.into(), ImageKind::Other, guest.default_cmdline),
            None => bail!("there is no built-in guest {guest:?}: `ftemu guests` lists them"),
        },
        None => {
            let image = files::read_program(path)?;
            let kind = ImageKind::of(&image);
            (image.into(), kind, if kind.is_linux() { linux_command_line(args.console) } else { "" })
        }
    };
    let takes = protocol.or(kind.protocol());
    let is_multiboot = takes == Some(Protocol::Multiboot);
    ensure!(args.modules.is_empty() || is_multiboot, "--module is for a Multiboot kernel, which {name} is not");
    ensure!(args.initrd.is_empty() || takes.is_some(), "--initrd is for a Linux kernel, which {name} is not");
    ensure!(args.initrd.is_empty() || !is_multiboot, "--initrd is for a Linux kernel: {name} takes --module");
    let mut modules = initrd(&args.initrd)?;
    for text in &args.modules {
        let file = text.split_once(' ').map_or(text.as_str(), |(file, _)| file);
        modules.push((files::read_program(Path::new(file))?, text.clone()));
    }
    Ok(Program { name, image, kind, command_line, modules, protocol })
}

/// Initial RAM disks joined to one, as Linux takes them.
fn initrd(paths: &[PathBuf]) -> Result<Vec<(Vec<u8>, String)>> {
    let mut all = Vec::new();
    for path in paths {
        let disk = files::read_program(path)?;
        check_initrd(&disk).with_context(|| path.display().to_string())?;
        // An archive begins at a multiple of 4.
        all.resize(usize::next_multiple_of(all.len(), 4), 0);
        all.extend(disk);
    }
    Ok(if all.is_empty() { Vec::new() } else { vec![(all, String::new())] })
}

/// What tells a Linux kernel where the console is.
fn linux_command_line(console: Console) -> &'static str {
    match console {
        Console::Serial => LINUX_COMMAND_LINE,
        Console::Virtio => LINUX_VIRTIO_COMMAND_LINE,
    }
}

/// A kernel whose initial RAM disk runs one program.
fn program_on_kernel(kernel: &Path, path: &Path, args: &RunArgs) -> Result<Program> {
    let program = files::read_program(path)?;
    let image = files::read_program(kernel)?;
    let kind = ImageKind::of(&image);
    ensure!(kind.is_linux(), "--kernel is to be a Linux kernel (bzImage, vmlinux), which {} is not", kernel.display());
    let arguments = std::iter::once(path.as_os_str()).chain(args.arguments.iter().map(|argument| argument.as_os_str()));
    let arguments: Vec<&[u8]> = arguments.map(OsStr::as_encoded_bytes).collect();
    let disk =
        testprogs::linux::initramfs(&program, &arguments).with_context(|| format!("cannot run {}", path.display()))?;
    Ok(Program {
        name: format!("{} on {}", path.display(), kernel.display()),
        image: image.into(),
        kind,
        command_line: LINUX_PROGRAM_COMMAND_LINE,
        modules: vec![(disk, String::new())],
        protocol: None,
    })
}
