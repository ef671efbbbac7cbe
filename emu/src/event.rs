//! The doors of the machine: everything that enters or leaves it passes here.

use std::ops::ControlFlow;

use serde::{Deserialize, Serialize};

use crate::Position;

/// Something from outside, delivered at an exact position (`Machine::deliver`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Input {
    /// Guest time is now at least `ns` nanoseconds since the machine was created.
    Clock {
        /// Nanoseconds; a value in the past has no effect, guest time never runs backwards.
        ns: u64,
    },
    /// Bytes typed at the console. Numbered by their sender, so that a resent input acts once:
    /// an input whose `seq` is not one above the last of this `client` is ignored.
    Console {
        /// Identity of the sender.
        client: u64,
        /// 1, 2, 3 ... for each client.
        seq: u64,
        /// What was typed.
        bytes: Vec<u8>,
    },
    /// A control operation of the operator (VM-FT 2.3.1: through the log, so that it does not look like a failure).
    Control(Control),
    /// An Ethernet frame for the guest, without its checksum. Dropped if the guest has no room for it.
    Frame {
        /// Destination address first, at most [`FRAME_BYTES_MAX`].
        bytes: Vec<u8>,
    },
    /// The size of the terminal that shows the virtio console.
    ConsoleSize {
        /// Characters in a line.
        columns: u16,
        /// Lines.
        rows: u16,
    },
    /// What [`Output::Flush`] number `flush` of disk `disk` asked for is done: every write before it is durable.
    Flushed {
        /// Number of the disk.
        disk: u8,
        /// Number of the flush.
        flush: u64,
    },
}

/// The longest frame, bytes: what a device that takes segmentation off the guest's hands can be given (virtio 1.2, 5.1.6.3.1).
pub const FRAME_BYTES_MAX: usize = 65_550;

/// What an operator can ask of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Control {
    /// Switch the machine off.
    PowerOff,
    /// Press the power button: the guest decides.
    PowerButton,
    /// Press Ctrl-Alt-Del.
    CtrlAltDel,
}

/// A question that an instruction asks synchronously; the answer comes from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Query {
    /// Guest time in nanoseconds since the machine was created (RDTSC, RDTSCP, a read of a timer chip).
    Clock,
    /// 64 random bits (RDRAND, RDSEED).
    Random,
}

/// Something that leaves the machine. Outputs are numbered 1, 2, 3 ...; the numbers are the same on every replica.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Output {
    /// A byte on the console.
    Console {
        /// How many console bytes came before this one: its place in the console of record.
        offset: u64,
        /// The byte.
        byte: u8,
    },
    /// The machine stopped for good. Always the last output.
    Power(Power),
    /// An Ethernet frame, without its checksum.
    Frame {
        /// Destination address first, at most [`FRAME_BYTES_MAX`].
        bytes: Vec<u8>,
    },
    /// Blocks written to a disk whose image is to follow. Writing them again changes nothing.
    Disk {
        /// Number of the disk.
        disk: u8,
        /// Byte offset in the image.
        offset: u64,
        /// The bytes.
        bytes: Vec<u8>,
    },
    /// The guest waits until every write before this is durable: [`Input::Flushed`].
    Flush {
        /// Number of the disk.
        disk: u8,
        /// 1, 2, 3 ... for each disk.
        flush: u64,
    },
}

/// Why a machine stopped for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Power {
    /// Switched off by the guest (the exit port) with an exit code, or by the operator (code 0).
    Off {
        /// Exit code of the guest.
        code: u8,
    },
    /// A fault while delivering a double fault (SDM Vol. 3A, 6.15, interrupt 8).
    TripleFault,
    /// HLT, or a jump to itself, with interrupts off: nothing can wake it.
    Dead,
    /// The guest asked for a reset.
    Reset,
}

/// Who stands behind the doors: the live world, a recorder or a log. The machine cannot tell.
pub trait Door {
    /// Answers `query`, asked by the instruction at `at`. `None`: not known yet; the machine stops
    /// before that instruction with [`Stop::Starved`] and asks again when it is run again.
    fn query(&mut self, at: Position, query: Query) -> Option<u64>;

    /// Output `number` leaves, produced by the instruction at `at` (which has not retired yet).
    /// `Break` stops the machine with [`Stop::Door`] as soon as that instruction is done.
    fn output(&mut self, at: Position, number: u64, output: Output) -> ControlFlow<()>;

    /// An interrupt (or NMI: 2) is taken at `at`, before the next instruction. `Break`: it should not have come; the machine
    /// stops with [`Stop::Door`] as it was, but for the interrupt controller's acknowledgement, and must not go on.
    fn interrupt(&mut self, at: Position, vector: u8) -> ControlFlow<()>;
}

/// How far `Machine::run` may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// Stop at the first position that is not below this one.
    Exactly(Position),
    /// Stop at the first convenient instruction boundary not beyond this count (cheaper: no
    /// single-stepping over the last block), or after many steps that retire nothing. The position after the stop is
    /// exact all the same.
    About(u64),
}

/// Why `Machine::run` returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// The limit is reached.
    Limit,
    /// HLT with interrupts on and none pending: only an input can go on.
    Halted,
    /// A query has no answer yet; the asking instruction has not begun.
    Starved,
    /// The door asked to stop.
    Door,
    /// The machine is off. It never runs again.
    Off(Power),
}
