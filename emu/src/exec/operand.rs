//! Operand access: from `Insn` operands to op fields, and from op fields to values.

use crate::block::Builder;
use crate::cpu::flags::Lazy;
use crate::cpu::{Cpu, offset, regs};
use crate::decode::{Insn, Operand};
use crate::engine::{go, next};
use crate::op::{Op, access};

/// Effective address of the op's memory operand.
///
/// # Safety
/// `cpu` and `op` are live.
#[inline(always)]
pub(crate) unsafe fn ea(cpu: *const Cpu, op: *const Op) -> u64 {
    use crate::width::Width;
    // SAFETY: the op's register fields are offsets into `Cpu`.
    unsafe {
        let base = u64::get(cpu, (*op).base);
        let index = u64::get(cpu, (*op).index);
        base.wrapping_add(index << ((*op).scale & 3)).wrapping_add((*op).disp as i64 as u64)
    }
}

/// Reads the `T` at `$addr`, or leaves through `mem_miss`.
macro_rules! read {
    ($T:ty, $cpu:expr, $op:expr, $budget:expr, $addr:expr) => {{
        let addr: u64 = $addr;
        let p = crate::mem::tlb_read::<$T>($cpu, addr);
        if p.is_null() {
            return crate::mem::mem_miss($cpu, $op, $budget, addr);
        }
        p.read_unaligned()
    }};
}
pub(crate) use read;

/// The place of the writable `T` at `$addr`, or leaves through `mem_miss`.
macro_rules! place {
    ($T:ty, $cpu:expr, $op:expr, $budget:expr, $addr:expr) => {{
        let addr: u64 = $addr;
        let p = crate::mem::tlb_write::<$T>($cpu, addr);
        if p.is_null() {
            return crate::mem::mem_miss($cpu, $op, $budget, addr);
        }
        p
    }};
}
pub(crate) use place;

/// Computes the lazy flags and runs the op again: the way on for an op that needs them all.
///
/// # Safety
/// A handler's tail; the op has committed nothing.
#[cold]
#[inline(never)]
pub(crate) unsafe fn compute_flags(cpu: *mut Cpu, op: *const Op, budget: i64) -> i64 {
    // SAFETY: as the caller promises.
    unsafe {
        (*cpu).flags = Lazy::explicit((*cpu).flags.get());
        go!(cpu, op, budget)
    }
}

/// The six flags as a word, or leaves through `compute_flags`.
macro_rules! flags {
    ($cpu:expr, $op:expr, $budget:expr) => {{
        if (*$cpu).flags.kind != crate::cpu::flags::kind::EXPLICIT {
            return crate::exec::operand::compute_flags($cpu, $op, $budget);
        }
        (*$cpu).flags.a
    }};
}
pub(crate) use flags;

/// Whether condition `$CC` holds, or leaves through `compute_flags`.
macro_rules! test {
    ($CC:expr, $cpu:expr, $op:expr, $budget:expr) => {
        match (*$cpu).flags.test::<{ $CC }>() {
            Some(holds) => holds,
            None => return crate::exec::operand::compute_flags($cpu, $op, $budget),
        }
    };
}
pub(crate) use test;

/// An op with the memory operand of `insn`, accessed as `how` (`access::READ`, `access::WRITE`), `bytes` wide. An address
/// that does not fit base + index + displacement is first computed into `offset::TMP` by an op of its own.
pub(crate) fn mem_op(insn: &Insn, b: &mut Builder, how: u8, bytes: u8) -> Op {
    let mem = &insn.mem;
    let access = how | bytes.trailing_zeros() as u8 | if mem.stack { access::STACK } else { 0 };
    let plain = Op { base: mem.base, index: mem.index, scale: mem.scale, access, ..Builder::blank() };
    match (i32::try_from(mem.disp), mem.seg, mem.addr32) {
        (Ok(disp), None, false) => Op { disp, ..plain },
        _ => {
            push_address(insn, b, true);
            Op { access, base: offset::TMP, ..Builder::blank() }
        }
    }
}

/// Adds an op that computes the address of the memory operand into `offset::TMP`; `linear`: with the segment base.
pub(crate) fn push_address(insn: &Insn, b: &mut Builder, linear: bool) {
    let mem = &insn.mem;
    let seg = if linear { mem.seg.unwrap_or(0) } else { 0 };
    b.push(Op {
        f: if mem.addr32 { address::<true> } else { address::<false> },
        imm: mem.disp as u64,
        base: mem.base,
        index: mem.index,
        scale: mem.scale,
        aux: seg,
        ..Builder::blank()
    });
}

/// Base of the segment named by `Op::aux`, which is FS or GS.
///
/// # Safety
/// `cpu` and `op` are live.
#[inline(always)]
pub(crate) unsafe fn segment_base(cpu: *const Cpu, op: *const Op) -> u64 {
    // SAFETY: as the caller promises.
    unsafe { if usize::from((*op).aux) == regs::FS { (*cpu).seg[regs::FS].base } else { (*cpu).seg[regs::GS].base } }
}

unsafe fn address<const ADDR32: bool>(cpu: *mut Cpu, op: *const Op, budget: i64) -> i64 {
    // SAFETY: called by the engine.
    unsafe {
        let mut addr = ea(cpu, op).wrapping_add((*op).imm);
        if ADDR32 {
            addr &= u64::from(u32::MAX);
        }
        // ES (0) has base 0 in 64-bit mode: it stands for "no segment".
        if (*op).aux != 0 {
            addr = addr.wrapping_add(segment_base(cpu, op));
        }
        (*cpu).tmp = addr;
        next!(cpu, op, budget)
    }
}

/// An op for `dst, src` operands where at most one is memory: register offsets in `dst` and `src`, an immediate in `imm`.
pub(crate) fn operands(insn: &Insn, b: &mut Builder, how: u8) -> Op {
    let mut op = match insn.operands.contains(&Operand::Mem) {
        true => mem_op(insn, b, how, insn.mem_width),
        false => Builder::blank(),
    };
    let mut place = [None; 2];
    for (operand, to) in insn.operands.iter().zip(place.iter_mut()) {
        match *operand {
            Operand::Reg(r) | Operand::Xmm(r) | Operand::Seg(r) | Operand::Control(r) | Operand::Debug(r) => {
                *to = Some(r)
            }
            Operand::Imm(value) => op.imm = value,
            _ => {}
        }
    }
    op.dst = place[0].unwrap_or(offset::ZERO);
    op.src = place[1].unwrap_or(offset::ZERO);
    op
}

/// The form of a two-operand instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// register, register
    RR,
    /// register, immediate
    RI,
    /// register, memory
    RM,
    /// memory, register
    MR,
    /// memory, immediate
    MI,
}

/// The form of `insn`'s first two operands.
pub(crate) fn form(insn: &Insn) -> Result<Form, super::Unsupported> {
    use Operand::{Imm, Mem, Reg};
    match (insn.operands[0], insn.operands[1]) {
        (Reg(_), Reg(_)) => Ok(Form::RR),
        (Reg(_), Imm(_)) => Ok(Form::RI),
        (Reg(_), Mem) => Ok(Form::RM),
        (Mem, Reg(_)) => Ok(Form::MR),
        (Mem, Imm(_)) => Ok(Form::MI),
        _ => Err(super::Unsupported),
    }
}
