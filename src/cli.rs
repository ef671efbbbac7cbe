//! The grammar of the command line.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{Args, Parser, Subcommand, ValueEnum};
use ft_net::user_net::NetOptions;

use crate::exit;
use crate::host::disks::{self, DiskArg};
use crate::host::errors;
use crate::snapshot::When;

/// An x86-64 machine in software whose guest survives kill -9 of the host process that runs it
#[derive(Debug, Parser)]
#[command(name = "ftemu", version, disable_help_subcommand = true)]
pub(crate) struct Cli {
    /// What to do
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// One variant, one file in `commands`.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a guest: alone, as the primary of a pair, or as a backup
    Run(Box<RunArgs>),
    /// Run a recorded machine again, and check that it does the same
    Replay(ReplayArgs),
    /// Look into a log
    #[command(subcommand)]
    Log(LogCommand),
    /// Show the console of a pair, across takeovers, and type into it
    Attach(AttachArgs),
    /// Say who serves a run, who lives, and who has claimed what
    Status(RunName),
    /// Kill a primary and see its guest survive: the main job in one command
    Demo(DemoArgs),
    /// List the guests that are built in, or write their ELF files
    Guests(GuestsArgs),
    /// Make a guest out of a static Linux program
    Wrap(WrapArgs),
}

/// What a machine that exists already does not need.
const NEW_MACHINE: [&str; 10] =
    ["program", "kernel", "memory", "clock", "cpu", "console", "append", "initrd", "modules", "boot"];

/// `ftemu run`
#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// A Linux kernel (bzImage, vmlinux), a Multiboot kernel, a static bare-metal ELF64 program, or guest:NAME for a built-in
    /// one (`ftemu guests`); with --kernel, a static Linux program
    #[arg(required_unless_present_any = ["backup", "from"])]
    pub(crate) program: Option<PathBuf>,
    /// Arguments of the static Linux program; those that begin with a hyphen go behind --
    #[arg(value_name = "ARGS", requires = "kernel", trailing_var_arg = true)]
    pub(crate) arguments: Vec<OsString>,
    /// Run PROGRAM, a static Linux program, on this Linux kernel
    #[arg(long, value_name = "FILE", conflicts_with_all = ["initrd", "modules", "boot"])]
    pub(crate) kernel: Option<PathBuf>,
    /// Guest memory, such as 64M [default: 64M, for a Linux kernel 512M]
    #[arg(long, value_name = "SIZE", value_parser = memory_bytes)]
    pub(crate) memory: Option<u64>,
    /// Where guest time comes from between clock inputs
    #[arg(long, value_enum, default_value_t = Clock::Host)]
    pub(crate) clock: Clock,
    /// The CPU that the guest sees
    #[arg(long, value_name = "MODEL", value_enum, default_value_t = Cpu::V3)]
    pub(crate) cpu: Cpu,
    /// Which device the console is
    #[arg(long, value_name = "DEVICE", value_enum, default_value_t = Console::Serial, conflicts_with = "kernel")]
    pub(crate) console: Console,
    /// Command line for the guest [default: what a built-in guest wants, for a Linux kernel console=ttyS0 (or hvc0) panic=-1]
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub(crate) append: Option<String>,
    /// Initial RAM disk of a Linux kernel; several are joined
    #[arg(long, value_name = "FILE")]
    pub(crate) initrd: Vec<PathBuf>,
    /// Module of a Multiboot kernel, any number of times: a file, a blank, its command line
    #[arg(long = "module", value_name = "FILE[ ARGS]")]
    pub(crate) modules: Vec<String>,
    /// How a kernel is entered [default: the first of these that it has]
    #[arg(long, value_enum)]
    pub(crate) boot: Option<BootProtocol>,
    /// Go on from a snapshot instead of starting a program
    #[arg(long, value_name = "SNAPSHOT", conflicts_with_all = NEW_MACHINE)]
    pub(crate) from: Option<PathBuf>,
    /// Save the machine into this new file, and run on
    #[arg(long, value_name = "FILE", requires = "snapshot_at")]
    pub(crate) snapshot: Option<PathBuf>,
    /// When: a number of instructions such as 1500M, or console:TEXT
    #[arg(long, value_name = "WHEN", requires = "snapshot")]
    pub(crate) snapshot_at: Option<When>,
    /// An image as virtio disk, up to four times: read-only (mode=ro), with writes that are kept until the run ends
    /// (mode=cow, the default), or with writes to the file (mode=rw). For a backup: where it has the images, if not
    /// where the primary has them
    #[arg(long = "disk", value_name = "FILE[,mode=ro|cow|rw]", value_parser = disks::parse)]
    pub(crate) disks: Vec<DiskArg>,
    /// A network card, on user[,hostfwd=tcp|udp:[[HOST]:]PORT-[GUEST]:PORT][,mac=ADDRESS][,restrict=on][,nameserver=HOST[:PORT]]
    #[arg(long, value_name = "NETWORK")]
    pub(crate) net: Option<NetOptions>,
    /// Record the run into a new file
    #[arg(long, value_name = "FILE")]
    pub(crate) record: Option<PathBuf>,
    /// Serve this guest, and let backups join
    #[arg(long, group = "role", conflicts_with_all = ["record", "snapshot"])]
    pub(crate) primary: bool,
    /// Join a primary, follow it, and take over when it dies; needs no program
    #[arg(long, group = "role", conflicts_with_all = NEW_MACHINE, conflicts_with_all = ["record", "from", "snapshot"])]
    pub(crate) backup: bool,
    /// The options of a pair
    #[command(flatten)]
    pub(crate) pair: PairArgs,
}

/// Options that mean something only in a pair.
#[derive(Debug, Args)]
pub(crate) struct PairArgs {
    /// Where to listen when serving
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:0", requires = "role")]
    pub(crate) listen: String,
    /// Address of the primary, instead of the one in the shared directory
    #[arg(long, value_name = "HOST:PORT", requires = "backup")]
    pub(crate) connect: Option<String>,
    /// Directory that all replicas of a run share, by default one of this user
    #[arg(long, value_name = "DIR", requires = "role")]
    pub(crate) shared: Option<PathBuf>,
    /// Name of the run
    #[arg(long, value_name = "NAME", default_value = "default", requires = "role")]
    pub(crate) name: String,
    /// Silence after which the other replica is suspected
    #[arg(long, value_name = "MS", default_value = "1000", requires = "role", value_parser = timeout)]
    pub(crate) timeout_ms: Duration,
    /// Let outputs leave before the backup can reproduce them: shows what the Output Rule is for
    #[arg(long, requires = "role")]
    pub(crate) unsafe_no_output_rule: bool,
}

/// Which run.
#[derive(Debug, Args)]
pub(crate) struct RunName {
    /// Directory that all replicas of a run share, by default one of this user
    #[arg(long, value_name = "DIR")]
    pub(crate) shared: Option<PathBuf>,
    /// Name of the run
    #[arg(long, value_name = "NAME", default_value = "default")]
    pub(crate) name: String,
}

/// Where guest time comes from.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Clock {
    /// Every read of the time is answered by the host and recorded
    Host,
    /// Computed from the instruction count between clock inputs: far smaller logs
    Derived,
}

impl From<Clock> for emu::ClockMode {
    fn from(clock: Clock) -> Self {
        match clock {
            Clock::Host => Self::Host,
            Clock::Derived => Self::Derived,
        }
    }
}

/// Levels of the x86-64 psABI. An instruction that the model does not have raises #UD.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Cpu {
    /// SSE and SSE2
    V1,
    /// SSE3 to SSE4.2, POPCNT, CMPXCHG16B
    V2,
    /// Everything that this machine has
    V3,
}

impl From<Cpu> for emu::CpuModel {
    fn from(cpu: Cpu) -> Self {
        match cpu {
            Cpu::V1 => Self::V1,
            Cpu::V2 => Self::V2,
            Cpu::V3 => Self::V3,
        }
    }
}

/// Where the console is.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Console {
    /// The serial port, which every system knows
    Serial,
    /// A virtio console, which knows the size of the terminal
    Virtio,
}

impl From<Console> for emu::ConsolePort {
    fn from(console: Console) -> Self {
        match console {
            Console::Serial => Self::Serial,
            Console::Virtio => Self::Virtio,
        }
    }
}

/// How a kernel is entered.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum BootProtocol {
    /// Multiboot 1
    Multiboot,
    /// PVH; a bzImage is unpacked first, so that the guest need not
    Pvh,
    /// Linux's own boot protocol: a bzImage unpacks itself and chooses its address at random (KASLR)
    Linux,
}

impl From<BootProtocol> for emu::boot::Protocol {
    fn from(protocol: BootProtocol) -> Self {
        match protocol {
            BootProtocol::Multiboot => Self::Multiboot,
            BootProtocol::Pvh => Self::Pvh,
            BootProtocol::Linux => Self::Linux,
        }
    }
}

/// `ftemu replay`
#[derive(Debug, Args)]
pub(crate) struct ReplayArgs {
    /// A log written by `ftemu run --record`
    pub(crate) log: PathBuf,
    /// Stop after this many instructions
    #[arg(long, value_name = "COUNT")]
    pub(crate) until: Option<u64>,
    /// Where a copy of a disk's image is, if it is not where it was
    #[arg(long = "disk", value_name = "FILE", value_parser = disks::parse)]
    pub(crate) disks: Vec<DiskArg>,
    /// Carry on live from there: with this terminal, the time of now and new chance
    #[arg(long)]
    pub(crate) live: bool,
    /// The network of a machine that has a network card, from there on: as for `ftemu run`
    #[arg(long, value_name = "NETWORK", requires = "live")]
    pub(crate) net: Option<NetOptions>,
    /// Record what happens live into a new file
    #[arg(long, value_name = "FILE", requires = "live")]
    pub(crate) record: Option<PathBuf>,
    /// Do not print the console of the replayed part
    #[arg(long)]
    pub(crate) quiet: bool,
}

/// `ftemu log`
#[derive(Debug, Subcommand)]
pub(crate) enum LogCommand {
    /// Print every entry, one a line: number, position, event
    Dump {
        /// The log
        log: PathBuf,
    },
    /// Count entries and bytes by kind
    Stat {
        /// The log
        log: PathBuf,
    },
}

/// `ftemu attach`
#[derive(Debug, Args)]
pub(crate) struct AttachArgs {
    /// Which run
    #[command(flatten)]
    pub(crate) run: RunName,
    /// Show only what comes from now on, not the console from its beginning
    #[arg(long)]
    pub(crate) tail: bool,
}

/// `ftemu demo`
#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// Let outputs leave before the backup has their log: the record gets contradicted, exit code 3
    #[arg(long)]
    pub(crate) unsafe_no_output_rule: bool,
    /// Chooses the moments of the kills; by default a new seed each time
    #[arg(long)]
    pub(crate) seed: Option<u64>,
}

/// `ftemu guests`
#[derive(Debug, Args)]
pub(crate) struct GuestsArgs {
    /// Write NAME.elf of every guest into this directory
    #[arg(long, value_name = "DIR")]
    pub(crate) extract: Option<PathBuf>,
}

/// `ftemu wrap`
#[derive(Debug, Args)]
pub(crate) struct WrapArgs {
    /// A static Linux program for x86-64
    pub(crate) program: PathBuf,
    /// The guest to be written, for `ftemu run`
    #[arg(value_name = "GUEST.elf")]
    pub(crate) output: PathBuf,
}

/// The command line of this process, or the exit code after help or one line of complaint.
pub(crate) fn parse() -> Result<Cli, u8> {
    Cli::try_parse().map_err(|error| match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            let _ = error.print(); // To nobody, if nobody reads.
            0
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            errors::say(format_args!("a command is missing (see ftemu --help)"));
            exit::USAGE
        }
        _ => {
            errors::say(format_args!("{} (see ftemu --help)", first_paragraph(&error.to_string())));
            exit::USAGE
        }
    })
}

/// What clap says before it goes on about usage, as one line.
fn first_paragraph(text: &str) -> String {
    let lines = text.lines().take_while(|line| !line.trim().is_empty()).map(str::trim);
    let line = lines.collect::<Vec<_>>().join(" ");
    line.strip_prefix("error: ").unwrap_or(&line).to_owned()
}

fn memory_bytes(text: &str) -> Result<u64, String> {
    let (digits, shift) = match text.as_bytes().last() {
        Some(b'K' | b'k') => (&text[..text.len() - 1], 10),
        Some(b'M' | b'm') => (&text[..text.len() - 1], 20),
        Some(b'G' | b'g') => (&text[..text.len() - 1], 30),
        _ => (text, 0),
    };
    let number: u64 = digits.parse().map_err(|_| "a size looks like 64M: a number and K, M or G".to_owned())?;
    number.checked_mul(1 << shift).ok_or_else(|| "that is more than any host has".to_owned())
}

fn timeout(text: &str) -> Result<Duration, String> {
    match text.parse() {
        Ok(ms @ 20..=3_600_000) => Ok(Duration::from_millis(ms)),
        _ => Err("between 20 and 3600000 milliseconds".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_grammar_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn sizes_have_units() {
        assert_eq!(memory_bytes("64M"), Ok(64 << 20));
        assert_eq!(memory_bytes("1g"), Ok(1 << 30));
        assert_eq!(memory_bytes("4096"), Ok(4096));
        for bad in ["", "M", "-1M", "64MB", "1.5G", "99999999999G"] {
            assert!(memory_bytes(bad).is_err(), "{bad}");
        }
    }
}
