//! The CPU: registers, modes, and what the engine keeps close to them.

mod cpuid;
mod debug;
pub(crate) mod deliver;
mod far;
pub(crate) mod fault;
pub(crate) mod flags;
pub(crate) mod fpu;
mod gate;
pub(crate) mod mode;
pub(crate) mod model;
mod msr;
pub(crate) mod pmu;
pub(crate) mod regs;
mod run;
pub(crate) mod segments;
mod stack;
mod task;

use std::collections::{BTreeMap, BTreeSet};
use std::ptr::NonNull;

use crate::block::Cache;
use crate::bus::Bus;
use crate::disk::Disks;
use crate::event::Door;
use crate::mem::{Mem, Parts, Spaces, Tlb};
use crate::op::{Header, Links, Op};
use crate::state::{ConsoleClient, Fpu, Msrs, Pmu, Segment, Shadow, Table};
use fault::Trap;
use flags::Lazy;
use mode::Mode;
use model::FeatureSet;
pub(crate) use msr::is_pat;

/// Byte offsets into `Cpu` of what ops name as 64-bit registers.
pub(crate) mod offset {
    /// RDX.
    pub(crate) const RDX: u8 = 2 * 8;
    /// RSP.
    pub(crate) const RSP: u8 = 4 * 8;
    /// RDI.
    pub(crate) const RDI: u8 = 7 * 8;
    /// Always zero: "no base", "no index".
    pub(crate) const ZERO: u8 = 128;
    /// Effective address or value handed from one op of an instruction to the next.
    pub(crate) const TMP: u8 = 136;
    /// Instruction pointer of the running block.
    pub(crate) const RIP: u8 = 144;
    /// A value on its way, where `TMP` may hold an address.
    pub(crate) const VALUE: u8 = 152;
}

/// Why the block chain was left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Not left; also: left with nothing special to do.
    None,
    /// The next block does not fit the budget; `rip` is its first instruction.
    Budget,
    /// The instruction at `rip` trapped and did not retire.
    Trap(Trap),
    /// The instruction at `rip` must run alone, in a block of its own with all flags live.
    Single,
    /// A REP instruction at `rip` stopped in the middle.
    Rep,
}

/// A return address that a CALL has seen, and the links whose `FALL` side leads there.
#[derive(Clone, Copy)]
pub(crate) struct Return {
    pub(crate) rip: u64,
    pub(crate) key: u64,
    pub(crate) links: *const Links,
}

/// Entries of the return stack.
pub(crate) const RETURNS: usize = 32;

/// All state that handlers reach. Boxed and never moved: the fields up to `tlb` are at fixed small offsets.
#[repr(C)]
pub(crate) struct Cpu {
    pub(crate) gpr: [u64; 16],
    pub(crate) zero: u64,
    pub(crate) tmp: u64,
    /// Instruction pointer of the running block's first byte; exact between blocks.
    pub(crate) rip: u64,
    pub(crate) value: u64,
    pub(crate) flags: Lazy,
    /// The one of `spaces` for the current mapping and privilege.
    pub(crate) tlb: *mut Tlb,
    /// Names the current mapping and privilege, never 0: what is known of linear addresses under another key is void.
    pub(crate) code_key: u64,
    pub(crate) return_top: usize,
    pub(crate) returns: [Return; RETURNS],
    /// YMM0-YMM15, each its XMM register and the half above it.
    pub(crate) ymm: [[[u64; 2]; 2]; 16],
    pub(crate) mxcsr: u32,
    pub(crate) fpu: Fpu,
    /// CPL 3.
    pub(crate) user: bool,

    // From here on only slow paths look.
    pub(crate) spaces: Spaces,
    /// RFLAGS without the six arithmetic flags, which are in `flags`.
    pub(crate) rflags: u64,
    pub(crate) seg: [Segment; 6],
    pub(crate) ldtr: Segment,
    pub(crate) tr: Segment,
    pub(crate) gdtr: Table,
    pub(crate) idtr: Table,
    pub(crate) cr0: u64,
    pub(crate) cr2: u64,
    pub(crate) cr3: u64,
    pub(crate) cr4: u64,
    pub(crate) xcr0: u64,
    /// Page-directory-pointer-table entries of PAE paging (SDM Vol. 3A, 4.4.1).
    pub(crate) pdpte: [u64; 4],
    pub(crate) dr: [u64; 8],
    pub(crate) msr: Msrs,
    pub(crate) pmu: Pmu,
    /// What the counters have counted: up to this, in ring 0 or not.
    pub(crate) counted: u64,
    pub(crate) counted_ring0: bool,
    pub(crate) halted: bool,
    pub(crate) shadow: Shadow,
    /// The retired count to which it belongs, during a block chain.
    pub(crate) shadow_at: u64,
    /// NMIs wait for the end of the handler of one.
    pub(crate) nmi_blocked: bool,
    /// Debug exceptions of the instruction before, as bits of DR6.
    pub(crate) debug_pending: u64,
    /// The instruction in progress began with TF set.
    pub(crate) stepping: bool,

    pub(crate) exit: Exit,
    /// `retired == limit - budget` between blocks.
    pub(crate) limit: u64,
    /// Exact during an instruction that leaves the fast path.
    pub(crate) retired: u64,
    /// `Position::steps`, and what it may reach in this go.
    pub(crate) steps: u64,
    pub(crate) steps_limit: u64,
    /// Guest time for the device memory that the instruction in progress accesses.
    pub(crate) mmio_ns: u64,
    /// Decoded code or a table entry in use was written, or a device was accessed: what runs must be fetched anew, and the
    /// run loop look at what has come of it.
    pub(crate) refetch: bool,
    /// The door asked to stop.
    pub(crate) door_break: bool,
    /// Running a block of one instruction, all flags live.
    pub(crate) single: bool,
    /// How code is decoded and reaches memory now.
    pub(crate) mode: Mode,
    /// The bits of the instruction pointer.
    pub(crate) ip_mask: u64,
    /// The operator asked to switch off.
    pub(crate) switch_off: bool,
    /// Console clients.
    pub(crate) clients: BTreeMap<u64, ConsoleClient>,
    /// Unimplemented instructions already reported.
    pub(crate) told: BTreeSet<String>,
    #[cfg(not(threaded))]
    pub(crate) trampoline_budget: i64,
    /// One op run by itself on a bounced operand (`mem/slow.rs`): header, op, return op.
    pub(crate) scratch: [std::mem::MaybeUninit<Op>; 3],
    pub(crate) bounce: [u64; 8],
    /// Where the bounced operand is.
    pub(crate) parts: Parts,
    /// What the model of this CPU has.
    pub(crate) features: FeatureSet,
    pub(crate) mem: Mem,
    pub(crate) disks: Disks,
    pub(crate) cache: Cache,
    pub(crate) bus: Bus,
    /// Valid while `Machine::run` is active.
    pub(crate) door: Option<NonNull<dyn Door>>,
}

const _: () = assert!(std::mem::offset_of!(Cpu, zero) == offset::ZERO as usize);
const _: () = assert!(std::mem::offset_of!(Cpu, tmp) == offset::TMP as usize);
const _: () = assert!(std::mem::offset_of!(Cpu, rip) == offset::RIP as usize);
const _: () = assert!(std::mem::offset_of!(Cpu, value) == offset::VALUE as usize);

impl Cpu {
    /// Forgets every predicted return (their links may be gone).
    pub(crate) fn forget_returns(&mut self) {
        self.returns = [Return { rip: 0, key: 0, links: std::ptr::null() }; RETURNS];
    }

    /// Current privilege level: the DPL of SS, in real and virtual-8086 mode, too (SDM Vol. 3C, 25.4.1).
    pub(crate) fn cpl(&self) -> u8 {
        (self.seg[regs::SS].rights >> 5 & 3) as u8
    }

    /// The header to fall back to when nothing is known.
    pub(crate) fn unknown(&self) -> *const Header {
        self.cache.unknown()
    }
}
