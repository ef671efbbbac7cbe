//! From a program and options to a machine that is ready to run.

use std::borrow::Cow;
use std::io::BufReader;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use emu::boot::{LinuxBoot, linux};
use emu::{Devices, Images, Machine, MachineConfig};
use replay::Snapshot;
use replay::log::{self, LogReader};

use crate::cli::RunArgs;
use crate::host::disks::{self, Disk, DiskArg};
use crate::host::recorded_disks::Search;
use crate::host::{clock, files, memory};

/// A program as the user named it.
struct Program {
    name: String,
    image: Cow<'static, [u8]>,
    /// The command line unless the user gives one.
    cmdline: &'static str,
}

/// Guest memory unless the user says otherwise.
const MEMORY_BYTES: u64 = 64 << 20;
const LINUX_MEMORY_BYTES: u64 = 512 << 20;
/// A panic is to be the end of the run, not of its progress: the kernel resets the machine.
const LINUX_COMMAND_LINE: &str = "console=ttyS0 panic=-1";

/// A machine that is ready to run.
pub(crate) struct Booted {
    /// The machine.
    pub(crate) machine: Machine,
    /// Name of its program.
    pub(crate) name: String,
    /// Its disks, if the files are to follow what the guest writes.
    pub(crate) disks: Vec<Disk>,
    /// Where the images of its disks are.
    pub(crate) paths: Vec<String>,
}

/// The machine that `args` describe, with its program loaded.
///
/// # Errors
/// What is wrong with the program or the machine, in one line that names it.
pub(crate) fn boot(args: &RunArgs) -> Result<Booted> {
    if let Some(path) = &args.from {
        return load(path, &args.disks);
    }
    let program = read(args.program.as_deref().context("a program is missing")?)?;
    let is_linux = linux::is_kernel(&program.image);
    let memory_bytes = args.memory.unwrap_or(if is_linux { LINUX_MEMORY_BYTES } else { MEMORY_BYTES });
    memory::check(memory_bytes)?;
    let disks = disks::open_all(&args.disks, args.primary || args.record.is_some() || args.snapshot.is_some())?;
    let (mut devices, mut images) = (Devices::default(), Images::default());
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
    let mut machine = Machine::with_images(config, images)?;
    let command_line = args.append.as_deref().unwrap_or(program.cmdline);
    let name = program.name;
    let about = || format!("cannot run {name}");
    if is_linux {
        let initrd = args.initrd.as_deref().map_or(Ok(Vec::new()), files::read_program)?;
        machine.load_linux(&LinuxBoot { kernel: &program.image, initrd: &initrd, command_line }).with_context(about)?;
    } else {
        ensure!(args.initrd.is_none(), "--initrd is for a Linux kernel, which {name} is not");
        machine.load_elf(&program.image, command_line).with_context(about)?;
    }
    let paths = disks.iter().map(Disk::path).collect();
    Ok(Booted { machine, name, disks, paths })
}

/// The machine of a snapshot.
fn load(path: &Path, disks: &[DiskArg]) -> Result<Booted> {
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
    Ok(Booted { machine, name: summary.header.program, disks: Vec::new(), paths: found.paths })
}

fn read(path: &Path) -> Result<Program> {
    let name = path.display().to_string();
    let Some(guest) = path.to_str().and_then(|text| text.strip_prefix("guest:")) else {
        let image = files::read_program(path)?;
        let cmdline = if linux::is_kernel(&image) { LINUX_COMMAND_LINE } else { "" };
        return Ok(Program { name, image: image.into(), cmdline });
    };
    match testprogs::find(guest) {
        Some(guest) => Ok(Program { name, image: guest.image.into(), cmdline: guest.default_cmdline }),
        None => bail!("there is no built-in guest {guest:?}: `ftemu guests` lists them"),
    }
}
