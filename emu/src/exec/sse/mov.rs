//! Moves between XMM registers, memory and general registers.

use super::forms::{Operands, push, row};
use super::step::{Heavy, step_op};
use super::{X, Y, guard, low, plain_op, source, xmm};
use crate::block::Builder;
use crate::cpu::{Cpu, offset};
use crate::decode::{Insn, MemRef, Operand, SseMove as O};
use crate::engine::next;
use crate::exec::operand::{ea, mem_op, operands, place};
use crate::exec::{Bound, Unsupported};
use crate::lanes::{self, Lane};
use crate::mem::Cell;
use crate::op::{Handler, Op, access};
use crate::width::Width;

pub(crate) fn bind(op: O, i: &Insn, b: &mut Builder) -> Bound {
    let to_memory = i.operands[0] == Operand::Mem;
    let to_gpr = matches!(i.operands[0], Operand::Reg(_));
    let reads_gpr = matches!(i.operands[1], Operand::Reg(_));
    let register = matches!(i.operands[1], Operand::Xmm(_));
    match op {
        O::Movaps | O::Movapd | O::Movdqa if to_memory => store_whole::<true>(i, b),
        O::Movaps | O::Movapd | O::Movdqa | O::Movntdqa => row!(i, b, ALIGNED, X, |_, y, _| y),
        O::Movups | O::Movupd | O::Movdqu if to_memory => store_whole::<false>(i, b),
        O::Movups | O::Movupd | O::Movdqu | O::Lddqu => row!(i, b, MEM128_UNALIGNED, X, |_, y, _| y),
        O::Movntps | O::Movntpd | O::Movntdq => store_whole::<true>(i, b),
        O::Movss | O::Movd if to_memory => store::<u32>(store_op::<u32, 0, false>, i, b),
        O::Movsd | O::Movq | O::Movlps | O::Movlpd if to_memory => store::<u64>(store_op::<u64, 0, false>, i, b),
        O::Movhps | O::Movhpd if to_memory => store::<u64>(store_op::<u64, 8, false>, i, b),
        // Between registers the scalar moves keep the rest; from memory they clear it.
        O::Movss if register => row!(i, b, MEM32, X, |x, y, _| with_low(x, u32::at(&y, 0))),
        O::Movsd if register => row!(i, b, MEM64, X, |x, y, _| with_low(x, u64::at(&y, 0))),
        O::Movlps | O::Movlpd => row!(i, b, MEM64, X, |x, y, _| with_low(x, u64::at(&y, 0))),
        O::Movhps | O::Movhpd | O::Movlhps => row!(i, b, MEM64, X, |x, y, _| lanes::interleave_low::<u64, 16>(x, y)),
        O::Movhlps => row!(i, b, MEM64, X, |x, y, _| lanes::interleave_high::<u64, 16>(y, x)),
        O::Movd if to_gpr => row!(i, b, MEM32, u64, |_, y, _| u64::from(u32::at(&y, 0))),
        O::Movq if to_gpr => row!(i, b, MEM64, u64, |_, y, _| u64::at(&y, 0)),
        O::Movd if reads_gpr => from_gpr::<{ source::GPR32 }>(i, b),
        O::Movq if reads_gpr => from_gpr::<{ source::GPR64 }>(i, b),
        O::Movss | O::Movd => row!(i, b, MEM32, X, |_, y, _| low(u32::at(&y, 0))),
        O::Movsd | O::Movq => row!(i, b, MEM64, X, |_, y, _| low(u64::at(&y, 0))),
        O::Movmskps => row!(i, b, MEM128, u64, |_, y, _| lanes::signs::<u32, 16>(y), step 4),
        O::Movmskpd => row!(i, b, MEM128, u64, |_, y, _| lanes::signs::<u64, 16>(y), step 2),
        O::Pmovmskb => row!(i, b, MEM128, u64, |_, y, _| lanes::signs::<u8, 16>(y), step 16),
        O::Pextrb if to_memory => store::<u8>(extract_op::<u8>, i, b),
        O::Pextrw if to_memory => store::<u16>(extract_op::<u16>, i, b),
        O::Pextrd | O::Extractps if to_memory => store::<u32>(extract_op::<u32>, i, b),
        O::Pextrq if to_memory => store::<u64>(extract_op::<u64>, i, b),
        O::Pextrb => row!(i, b, MEM128, u64, |_, y, n| u64::from(lane::<u8>(&y, n))),
        O::Pextrw => row!(i, b, MEM128, u64, |_, y, n| u64::from(lane::<u16>(&y, n))),
        O::Pextrd | O::Extractps => row!(i, b, MEM128, u64, |_, y, n| u64::from(lane::<u32>(&y, n))),
        O::Pextrq => row!(i, b, MEM128, u64, |_, y, n| lane::<u64>(&y, n)),
        O::Pinsrb => insert::<u8, { source::MEM8 }>(i, b),
        O::Pinsrw => insert::<u16, { source::MEM16 }>(i, b),
        O::Pinsrd => insert::<u32, { source::MEM32 }>(i, b),
        O::Pinsrq => insert::<u64, { source::MEM64 }>(i, b),
        O::Movnti => movnti(i, b),
        O::Maskmovdqu => maskmovdqu(i, b),
    }
}

#[inline(always)]
fn with_low<T: Lane>(mut x: X, value: T) -> X {
    value.put(&mut x, 0);
    x
}

/// MOVD, MOVQ from a general register.
fn from_gpr<const GPR: u8>(i: &Insn, b: &mut Builder) -> Bound {
    struct Copy;
    impl super::Plain for Copy {
        type Out = X;
        const STEP: u32 = 0;
        #[inline(always)]
        fn apply(_: X, b: X, _: u8) -> X {
            b
        }
    }
    let f: Handler = if i.vex { plain_op::<Copy, GPR, true> } else { plain_op::<Copy, GPR, false> };
    match i.operands[0] {
        Operand::Xmm(_) => push(f, i, b, access::READ, 0),
        _ => Err(Unsupported),
    }
}

/// The lane that the low bits of `n` name.
#[inline(always)]
fn lane<T: Lane>(v: &X, n: u8) -> T {
    T::at(v, usize::from(n) % (16 / T::BYTES))
}

/// SDM Vol. 2B, PINSRW.
struct Insert<T>(std::marker::PhantomData<T>);
impl<T: Lane> super::Plain for Insert<T> {
    type Out = X;
    const STEP: u32 = 0;
    #[inline(always)]
    fn apply(mut a: X, b: X, n: u8) -> X {
        T::at(&b, 0).put(&mut a, usize::from(n) % (16 / T::BYTES));
        a
    }
}

fn insert<T: Lane, const MEM: u8>(i: &Insn, b: &mut Builder) -> Bound {
    let f: Handler = match (Operands::of(i).second, i.vex) {
        (Operand::Reg(_), false) => step_op::<Heavy<Insert<T>>, { source::GPR64 }, false>,
        (Operand::Reg(_), true) => step_op::<Heavy<Insert<T>>, { source::GPR64 }, true>,
        (Operand::Mem, false) => step_op::<Heavy<Insert<T>>, MEM, false>,
        (Operand::Mem, true) => step_op::<Heavy<Insert<T>>, MEM, true>,
        _ => return Err(Unsupported),
    };
    match i.operands[0] {
        Operand::Xmm(_) => push(f, i, b, access::READ, source::bytes(MEM)),
        _ => Err(Unsupported),
    }
}

/// PEXTRB and its like to memory.
unsafe fn extract_op<T: Cell + Lane>(cpu: *mut Cpu, op: *const Op, budget: i64) -> i64 {
    // SAFETY: called by the engine.
    unsafe {
        let to = place!(T, cpu, op, budget, ea(cpu, op));
        let at = (*op).imm as usize % (16 / <T as Lane>::BYTES);
        to.write_unaligned(xmm(cpu, (*op).src).cast::<T>().add(at).read_unaligned());
        next!(cpu, op, budget)
    }
}

/// Stores a whole register.
fn store_whole<const ALIGNED: bool>(i: &Insn, b: &mut Builder) -> Bound {
    match i.uses_ymm() {
        false => store::<X>(store_op::<X, 0, ALIGNED>, i, b),
        true => store::<Y>(store_op::<Y, 0, ALIGNED>, i, b),
    }
}

fn store<T: Cell>(f: Handler, i: &Insn, b: &mut Builder) -> Bound {
    match (i.operands[0], i.operands[1]) {
        (Operand::Mem, Operand::Xmm(_) | Operand::Ymm(_)) => push(f, i, b, access::WRITE, T::BYTES as u8),
        _ => Err(Unsupported),
    }
}

/// Stores the `T` at byte `AT` of the source register.
unsafe fn store_op<T: Cell, const AT: usize, const ALIGNED: bool>(cpu: *mut Cpu, op: *const Op, budget: i64) -> i64 {
    // SAFETY: called by the engine.
    unsafe {
        let addr = ea(cpu, op);
        if ALIGNED && addr & (T::BYTES - 1) != 0 {
            return crate::engine::general_protection(cpu, op, budget);
        }
        let to = place!(T, cpu, op, budget, addr);
        to.write_unaligned(xmm(cpu, (*op).src).byte_add(AT).cast::<T>().read_unaligned());
        next!(cpu, op, budget)
    }
}

/// SDM Vol. 2B, MOVNTI: no XMM register, hence no look at CR0.TS.
fn movnti(i: &Insn, b: &mut Builder) -> Bound {
    let op = operands(i, b, access::WRITE);
    let f: Handler = if i.mem_width == 8 { movnti_op::<u64> } else { movnti_op::<u32> };
    b.push(Op { f, ..op });
    Ok(())
}

unsafe fn movnti_op<T: Width>(cpu: *mut Cpu, op: *const Op, budget: i64) -> i64 {
    // SAFETY: called by the engine.
    unsafe {
        let to = place!(T, cpu, op, budget, ea(cpu, op));
        to.write_unaligned(T::get(cpu, (*op).src));
        next!(cpu, op, budget)
    }
}

/// SDM Vol. 2A, MASKMOVDQU: to DS:RDI, which is not named by an operand.
fn maskmovdqu(i: &Insn, b: &mut Builder) -> Bound {
    let (Operand::Xmm(data), Operand::Xmm(mask)) = (i.operands[1], i.operands[2]) else { return Err(Unsupported) };
    guard(i, b);
    let mut named = i.clone();
    named.mem = MemRef { base: offset::RDI, index: offset::ZERO, scale: 0, disp: 0, bytes: i.address_width, ..i.mem };
    let op = mem_op(&named, b, access::READ | access::WRITE, 16);
    b.push(Op { f: maskmovdqu_op, dst: data, src: mask, ..op });
    Ok(())
}

unsafe fn maskmovdqu_op(cpu: *mut Cpu, op: *const Op, budget: i64) -> i64 {
    // SAFETY: called by the engine.
    unsafe {
        let to = place!(X, cpu, op, budget, ea(cpu, op));
        let data = *xmm(cpu, (*op).dst);
        let mask = *xmm(cpu, (*op).src);
        to.write_unaligned(lanes::blend_bytes(to.read_unaligned(), data, mask));
        next!(cpu, op, budget)
    }
}
