//! Where two machines part: what the log says, what the machine did, and what it looked like then.

use std::fmt;

use emu::{CpuState, Machine, Position, Power, Query};

use crate::entry::{Entry, Event, OutputCheck};

/// What a replayed machine did that its log does not say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Happened {
    /// It asked this.
    Query(Query),
    /// It produced this output.
    Output {
        /// Number of the output.
        number: u64,
        /// What it was.
        check: OutputCheck,
    },
    /// It took this interrupt.
    Interrupt {
        /// Vector of the interrupt.
        vector: u8,
    },
    /// It has this digest.
    Digest(u128),
    /// It halted, and nothing in the log wakes it.
    Halted,
    /// It stopped for good.
    Off(Power),
    /// It came to the place of the entry or past it, and what the entry says did not happen.
    Passed,
}

/// The report of a divergence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Divergence {
    /// Where the machine is.
    pub at: Position,
    /// Number of the first entry that the machine does not follow.
    pub entry: u64,
    /// That entry; `None` if the log held ends before it.
    pub expected: Option<Entry>,
    /// What happened instead.
    pub happened: Happened,
    /// The registers.
    pub cpu: Box<CpuState>,
    /// Bytes at RIP, as many as can be read, at most 15: one instruction.
    pub code: Vec<u8>,
}

impl Divergence {
    pub(crate) fn new(machine: &Machine, entry: u64, expected: Option<Entry>, happened: Happened) -> Self {
        let cpu = Box::new(machine.state().cpu);
        let code = machine.peek(cpu.code_address(), 15);
        Self { at: machine.position(), entry, expected, happened, cpu, code }
    }
}

impl fmt::Display for Happened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Query(Query::Clock) => f.write_str("asked for the clock"),
            Self::Query(Query::Random) => f.write_str("asked for random bits"),
            Self::Output { number, check } => Event::Output { number, check }.fmt(f),
            Self::Interrupt { vector } => Event::Interrupt { vector }.fmt(f),
            Self::Digest(digest) => Event::Digest(digest).fmt(f),
            Self::Halted => f.write_str("halted, and nothing wakes it"),
            Self::Off(power) => OutputCheck::Power(power).fmt(f),
            Self::Passed => f.write_str("nothing of the kind"),
        }
    }
}

impl fmt::Display for Divergence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "the machine left its log at instruction {} (entry {})", self.at, self.entry)?;
        match &self.expected {
            Some(entry) => {
                let from = if entry.event.is_placed() { "" } else { "or after " };
                writeln!(f, "  the log says:    {} at {from}{}", entry.event, entry.at)?;
            }
            None => writeln!(f, "  the log says:    nothing more")?,
        }
        writeln!(f, "  the machine did: {}", self.happened)?;
        write!(f, "  rip {:016x}:", self.cpu.rip)?;
        for byte in &self.code {
            write!(f, " {byte:02x}")?;
        }
        const NAMES: [&str; 16] = [
            "rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "r14",
            "r15",
        ];
        for (i, (name, value)) in NAMES.iter().zip(self.cpu.gpr).enumerate() {
            let separator = if i % 4 == 0 { "\n  " } else { "  " };
            write!(f, "{separator}{name:<3} {value:016x}")?;
        }
        write!(f, "\n  rflags {:x}  cr0 {:x}  cr2 {:x}", self.cpu.rflags, self.cpu.cr0, self.cpu.cr2)?;
        write!(f, "  cr3 {:x}  cr4 {:x}  efer {:x}", self.cpu.cr3, self.cpu.cr4, self.cpu.msr.efer)
    }
}
