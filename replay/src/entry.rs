//! What a log is made of.

use std::fmt;

use emu::{Control, Input, Output, Position, Power};
use xxhash_rust::xxh3::xxh3_64;

/// What a log knows of the time: guest time moves in steps of so many nanoseconds. Less than the host's clocks can tell, or what
/// the interpreter needs to read them; and most answers take two bytes, not three.
pub const CLOCK_STEP_NS: u64 = 64;

/// The first step of the clock that is not before `ns`.
#[must_use]
pub const fn clock_step_up(ns: u64) -> u64 {
    ns.saturating_add(CLOCK_STEP_NS - 1) & !(CLOCK_STEP_NS - 1)
}

/// One thing that happened to the machine, and where.
///
/// Entries are numbered 1, 2, 3 ... in the order of the log; the number is not part of the entry. Positions never
/// decrease along a log; entries that share one happened in their order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Where it happened. A log does not hold where a clock was asked for, the machine asks there again: of a
    /// [clock answer](Event::Clock) that comes from a log, this is a place that it was not before, and exact only in the last
    /// entry of a segment.
    pub at: Position,
    /// What happened.
    pub event: Event,
}

/// What can happen to a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Answer to `Query::Clock`: guest time in nanoseconds, a multiple of [`CLOCK_STEP_NS`]. Replay gives the same answer.
    Clock(u64),
    /// Answer to `Query::Random`. Replay gives the same answer.
    Random(u64),
    /// Something from outside was delivered before the next instruction. Replay delivers it at the same place.
    Input(Input),
    /// An interrupt (or NMI: 2) was taken before the next instruction. A consequence: replay checks its own against it.
    Interrupt {
        /// Vector of the interrupt.
        vector: u8,
    },
    /// Output `number` left the machine. The entry the Output Rule waits for (VM-FT 2.2); replay checks its own against it.
    Output {
        /// 1, 2, 3 ...
        number: u64,
        /// What it was, in short.
        check: OutputCheck,
    },
    /// The digest of the machine was this. Replay checks its own against it.
    Digest(u128),
    /// Nothing but a position that the machine has reached: lets a backup follow a guest that logs nothing.
    Watermark,
}

/// As much of an output as its entry holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutputCheck {
    /// This byte went to the console.
    Console(u8),
    /// The machine stopped for good.
    Power(Power),
    /// A frame with this digest (xxh3-64) left.
    Frame(u64),
    /// This was written to a disk.
    Disk {
        /// Number of the disk.
        disk: u8,
        /// Byte offset in the image.
        offset: u64,
        /// Digest of the bytes (xxh3-64).
        digest: u64,
    },
    /// The guest waits for its writes.
    Flush {
        /// Number of the disk.
        disk: u8,
        /// Number of the flush.
        flush: u64,
    },
}

impl From<&Output> for OutputCheck {
    fn from(output: &Output) -> Self {
        match output {
            Output::Console { byte, .. } => Self::Console(*byte),
            Output::Power(power) => Self::Power(*power),
            Output::Frame { bytes } => Self::Frame(xxh3_64(bytes)),
            Output::Disk { disk, offset, bytes } => Self::Disk { disk: *disk, offset: *offset, digest: xxh3_64(bytes) },
            Output::Flush { disk, flush } => Self::Flush { disk: *disk, flush: *flush },
        }
    }
}

impl Event {
    /// Whether the log says where this happened, see [`Entry::at`].
    #[must_use]
    pub const fn is_placed(&self) -> bool {
        !matches!(self, Self::Clock(_))
    }

    /// Whether this happens between two instructions, so that replay must stop at its position to act on it.
    /// All other events are consequences: the machine brings them about itself.
    #[must_use]
    pub const fn is_between_instructions(&self) -> bool {
        matches!(self, Self::Input(_) | Self::Digest(_) | Self::Watermark)
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let from = if self.event.is_placed() { "" } else { ">=" };
        write!(f, "{from}{} {}", self.at, self.event)
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Clock(ns) => write!(f, "clock answer {ns} ns"),
            Self::Random(bits) => write!(f, "random answer {bits:#018x}"),
            Self::Input(Input::Clock { ns }) => write!(f, "clock input {ns} ns"),
            Self::Input(Input::Console { client, seq, bytes }) => {
                write!(f, "console input {seq} of client {client:x}: \"{}\"", bytes.escape_ascii())
            }
            Self::Input(Input::Control(Control::PowerOff)) => f.write_str("control input power-off"),
            Self::Input(Input::Control(Control::PowerButton)) => f.write_str("control input power-button"),
            Self::Input(Input::Control(Control::CtrlAltDel)) => f.write_str("control input ctrl-alt-del"),
            Self::Input(Input::Frame { bytes }) => write!(f, "frame of {} bytes for the guest", bytes.len()),
            Self::Input(Input::ConsoleSize { columns, rows }) => write!(f, "console size {columns} x {rows}"),
            Self::Input(Input::Flushed { disk, flush }) => write!(f, "flush {flush} of disk {disk} is done"),
            Self::Interrupt { vector } => write!(f, "interrupt {vector:#04x}"),
            Self::Output { number, check } => write!(f, "output {number}: {check}"),
            Self::Digest(digest) => write!(f, "digest {digest:032x}"),
            Self::Watermark => f.write_str("watermark"),
        }
    }
}

impl fmt::Display for OutputCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Console(byte) => write!(f, "console '{}'", byte.escape_ascii()),
            Self::Power(Power::Off { code }) => write!(f, "power off, exit code {code}"),
            Self::Power(Power::TripleFault) => f.write_str("triple fault"),
            Self::Power(Power::Dead) => f.write_str("halted for ever"),
            Self::Power(Power::Reset) => f.write_str("reset"),
            Self::Frame(digest) => write!(f, "frame {digest:016x}"),
            Self::Disk { disk, offset, digest } => write!(f, "disk {disk} at {offset:#x}: {digest:016x}"),
            Self::Flush { disk, flush } => write!(f, "flush {flush} of disk {disk}"),
        }
    }
}
