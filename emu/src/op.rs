//! What the engine executes: 32-byte ops in blocks.
//!
//! A block is `Header, Op, Op ... Op, [Links, stub Header, stub Header]`, all of one size, so that one pointer
//! walks it. It holds straight-line code of one physical page, independent of the linear address it runs at:
//! `Cpu::rip` is the linear address of the running block's first byte.

use crate::cpu::Cpu;

/// Executes one op and goes on to the next in tail position; returns the budget left when it leaves the block chain.
pub(crate) type Handler = unsafe fn(cpu: *mut Cpu, op: *const Op, budget: i64) -> i64;

/// One step of a guest instruction (most instructions are one op).
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct Op {
    pub(crate) f: Handler,
    /// Immediate, sign-extended to 64 bits where the instruction does so.
    pub(crate) imm: u64,
    /// Displacement of the memory operand.
    pub(crate) disp: i32,
    /// Register operands: byte offsets into `Cpu` for general registers, numbers for the others.
    pub(crate) dst: u8,
    pub(crate) src: u8,
    /// Memory operand: byte offsets into `Cpu` of base and index (`offset::ZERO` for none) ...
    pub(crate) base: u8,
    pub(crate) index: u8,
    /// ... and the shift of the index, 0 to 3.
    pub(crate) scale: u8,
    /// What the memory operand needs: `access::*`.
    pub(crate) access: u8,
    /// Which guest instruction of the block this belongs to, 0 for the first.
    pub(crate) idx: u8,
    /// Distance to the block's header, in ops.
    pub(crate) slot: u8,
    /// Distance of the guest instruction from the block's first byte.
    pub(crate) off: u16,
    /// Length of the guest instruction.
    pub(crate) len: u8,
    /// Anything more that a family needs.
    pub(crate) aux: u8,
}

/// Access codes of `Op::access`: what is done to the memory operand, and log2 of its size in bytes.
pub(crate) mod access {
    /// The operand is written.
    pub(crate) const WRITE: u8 = 0x80;
    /// The operand is read.
    pub(crate) const READ: u8 = 0x40;
    /// Through the stack segment: a non-canonical address is #SS.
    pub(crate) const STACK: u8 = 0x20;
    /// The op leaves its block after the access, so that it cannot run on a bounced operand.
    pub(crate) const LEAVES: u8 = 0x10;
    /// log2 of the size.
    pub(crate) const LOG: u8 = 0x0f;
}

/// `Header::n` of a block that must not be entered: unlinked, invalidated.
pub(crate) const NEVER: i32 = i32::MAX;

/// What stands before the ops of a block, and what an unlinked link points at.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct Header {
    /// For a stub: the link that points here until it is resolved (null: never patch).
    pub(crate) owner: *mut *const Header,
    /// Physical address of the first byte, with the decoding mode in the high bits (`block::Key`).
    pub(crate) key: u64,
    /// Guest instructions in the block; `NEVER`: resolve first.
    pub(crate) n: i32,
    /// Bytes of guest code.
    pub(crate) bytes: u16,
    /// Guest instructions in the block, also when it must not be entered any more.
    pub(crate) insns: u16,
    /// Physical page of the second part of an instruction that crosses a page, else `u64::MAX`.
    pub(crate) second_page: u64,
}

/// `Header::bytes` of a stub that is a `Far`.
pub(crate) const FAR: u16 = u16::MAX;

/// A stub for a link to another page: the block it led to last. That holds as long as the linear address is the same, and
/// `Cpu::code_key`, under which no translation changes.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct Far {
    pub(crate) to: *const Header,
    /// 0: to none.
    pub(crate) key: u64,
    /// `NEVER`, `FAR` and 0, as in a `Header`.
    pub(crate) n: i32,
    pub(crate) bytes: u16,
    pub(crate) insns: u16,
    pub(crate) rip: u64,
}

const _: () = assert!(std::mem::offset_of!(Header, n) == std::mem::offset_of!(Far, n));
const _: () = assert!(std::mem::offset_of!(Header, bytes) == std::mem::offset_of!(Far, bytes));

/// Where control goes after the last op of a block, and how far that is from the block's first byte.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct Links {
    pub(crate) to: [*const Header; 2],
    pub(crate) delta: [i64; 2],
}

/// `Links` index of the taken branch, or of the only way on.
pub(crate) const TAKEN: usize = 0;
/// `Links` index of the fall-through, or of the return address of a call.
pub(crate) const FALL: usize = 1;

const _: () = assert!(size_of::<usize>() < 8 || size_of::<Op>() == 32);
const _: () = assert!(size_of::<Header>() <= size_of::<Op>() && size_of::<Links>() <= size_of::<Op>());

impl Op {
    /// The header of the block that holds this op.
    ///
    /// # Safety
    /// `op` must be inside a block whose slots were numbered by the builder.
    #[inline(always)]
    pub(crate) unsafe fn header(op: *const Self) -> *const Header {
        // SAFETY: `slot` is the distance to the header by construction.
        unsafe { op.sub(usize::from((*op).slot)).cast() }
    }

    /// The links behind the last op of a block.
    ///
    /// # Safety
    /// `op` must be the last op of a block that has links.
    #[inline(always)]
    pub(crate) unsafe fn links(op: *const Self) -> *const Links {
        // SAFETY: the builder puts the links right behind the last op.
        unsafe { op.add(1).cast() }
    }
}
