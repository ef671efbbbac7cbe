//! Operand access: from `Insn` operands to op fields, and from op fields to values.

use crate::block::Builder;
use crate::cpu::flags::Lazy;
use crate::cpu::mode::{Mode, truncated};
use crate::cpu::{Cpu, Exit, offset, regs};
use crate::decode::{Insn, MemRef, Operand};
use crate::engine::{go, leave_before, next};
use crate::mem::Access;
use crate::op::{Handler, Op, access};

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
    let stack = if usize::from(mem.seg) == regs::SS { access::STACK } else { 0 };
    let access = how | bytes.trailing_zeros() as u8 | stack;
    match mem.direct(b.mode()) {
        Some(disp) => Op { disp, base: mem.base, index: mem.index, scale: mem.scale, access, ..Builder::blank() },
        None => {
            let at_once = b.mode() == Mode::Long && usize::from(mem.seg) >= regs::FS;
            b.push(Op { aux: mem.seg, ..offset_op(mem, at_once) });
            if !at_once {
                push_segment(mem.seg, b, access);
            }
            Op { access, base: offset::TMP, ..Builder::blank() }
        }
    }
}

/// Adds an op that computes the memory operand's offset in its segment into `offset::TMP`.
pub(crate) fn push_offset(mem: &MemRef, b: &mut Builder) {
    b.push(offset_op(mem, false));
}

/// That op; `based`: with the base of the segment named by `Op::aux`, which is FS or GS.
fn offset_op(mem: &MemRef, based: bool) -> Op {
    Op {
        f: match (mem.bytes, based) {
            (2, _) => effective_address::<2, false>,
            (4, false) => effective_address::<4, false>,
            (4, true) => effective_address::<4, true>,
            (_, false) => effective_address::<8, false>,
            (_, true) => effective_address::<8, true>,
        },
        imm: mem.disp as u64,
        base: mem.base,
        index: mem.index,
        scale: mem.scale,
        ..Builder::blank()
    }
}

/// Adds what makes a linear address of the offset in `offset::TMP` in segment `seg`; nothing if they are the same.
pub(crate) fn push_segment(seg: u8, b: &mut Builder, access: u8) {
    let has_base = usize::from(seg) >= regs::FS;
    let f: Handler = match b.mode() {
        Mode::Long if has_base => add_base,
        Mode::Flat if has_base || usize::from(seg) == regs::CS => checked,
        Mode::Long | Mode::Flat => return,
        Mode::Segmented32 | Mode::Segmented16 => checked,
    };
    b.push(Op { f, aux: seg, access, ..Builder::blank() });
}

unsafe fn effective_address<const BYTES: u8, const BASED: bool>(cpu: *mut Cpu, op: *const Op, budget: i64) -> i64 {
    // SAFETY: called by the engine.
    unsafe {
        let offset = truncated(ea(cpu, op).wrapping_add((*op).imm), BYTES);
        (*cpu).tmp = if BASED { offset.wrapping_add(segment_base(cpu, op)) } else { offset };
        next!(cpu, op, budget)
    }
}

unsafe fn add_base(cpu: *mut Cpu, op: *const Op, budget: i64) -> i64 {
    // SAFETY: called by the engine.
    unsafe {
        (*cpu).tmp = (*cpu).tmp.wrapping_add(segment_base(cpu, op));
        next!(cpu, op, budget)
    }
}

/// 64-bit mode: the base of the segment named by `Op::aux`, which is FS or GS.
///
/// # Safety
/// `cpu` and `op` are live.
#[inline(always)]
unsafe fn segment_base(cpu: *const Cpu, op: *const Op) -> u64 {
    // SAFETY: as the caller promises.
    unsafe { if usize::from((*op).aux) == regs::FS { (*cpu).seg[regs::FS].base } else { (*cpu).seg[regs::GS].base } }
}

unsafe fn checked(cpu: *mut Cpu, op: *const Op, budget: i64) -> i64 {
    // SAFETY: called by the engine.
    unsafe {
        if (*cpu).check_operand(op) {
            next!(cpu, op, budget)
        }
        leave_before(cpu, op, budget)
    }
}

impl Cpu {
    /// Makes the offset in `tmp` a linear address; false: leave, `exit` is set.
    ///
    /// # Safety
    /// `op` is live.
    #[inline(never)]
    unsafe fn check_operand(&mut self, op: *const Op) -> bool {
        // SAFETY: as the caller promises.
        let (seg, code) = unsafe { ((*op).aux, (*op).access) };
        let kind = if code & access::WRITE != 0 { Access::Write } else { Access::Read };
        match self.linear(seg.into(), self.tmp, 1 << (code & access::LOG), kind) {
            Ok(at) => self.tmp = at,
            Err(trap) => self.exit = Exit::Trap(trap),
        }
        self.exit == Exit::None
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
