//! MUL IMUL DIV IDIV.

use super::operand::{ea, operands, read};
use super::{Bound, Unsupported};
use crate::alu;
use crate::block::Builder;
use crate::cpu::flags::Lazy;
use crate::cpu::{Cpu, regs};
use crate::decode::{Insn, Operand};
use crate::engine::{divide_error, next};
use crate::op::{Handler, Op, access};
use crate::width::{Width, by_width};

const RAX: u8 = (regs::RAX * 8) as u8;
const RDX: u8 = (regs::RDX * 8) as u8;
const AH: u8 = 1;

/// Where the upper half of a double-width value is.
#[inline(always)]
fn high<T: Width>() -> u8 {
    if T::BITS == 8 { AH } else { RDX }
}

/// A source operand: `$T` from the register `src` or from memory.
macro_rules! source {
    ($T:ty, $MEM:expr, $cpu:expr, $op:expr, $budget:expr) => {
        if $MEM { read!($T, $cpu, $op, $budget, ea($cpu, $op)) } else { <$T>::get($cpu, (*$op).src) }
    };
}

/// An op for a one-operand instruction: its register operand in `src`.
fn one_operand(i: &Insn, b: &mut Builder) -> (bool, Op) {
    let op = operands(i, b, access::READ);
    (i.operands[0] == Operand::Mem, Op { src: op.dst, ..op })
}

/// MUL: RDX:RAX = RAX * source.
pub(crate) fn mul(i: &Insn, b: &mut Builder) -> Bound {
    let (memory, op) = one_operand(i, b);
    let f: Handler = by_width!(i.width, T => if memory { wide::<T, false, true> } else { wide::<T, false, false> });
    b.push(Op { f, ..op });
    Ok(())
}

/// IMUL with one, two or three operands.
pub(crate) fn imul(i: &Insn, b: &mut Builder) -> Bound {
    if i.operands[1] == Operand::None {
        let (memory, op) = one_operand(i, b);
        let f: Handler = by_width!(i.width, T => if memory { wide::<T, true, true> } else { wide::<T, true, false> });
        b.push(Op { f, ..op });
        return Ok(());
    }
    let Operand::Reg(_) = i.operands[0] else { return Err(Unsupported) };
    let memory = i.operands[1] == Operand::Mem;
    let immediate = matches!(i.operands[2], Operand::Imm(_));
    let mut op = operands(i, b, access::READ);
    if let Operand::Imm(value) = i.operands[2] {
        op.imm = value;
    }
    let f: Handler = by_width!(i.width, T => match (memory, immediate, i.flags_live) {
        (false, false, false) => narrow::<T, false, false, false>,
        (false, false, true) => narrow::<T, false, false, true>,
        (false, true, false) => narrow::<T, false, true, false>,
        (false, true, true) => narrow::<T, false, true, true>,
        (true, false, false) => narrow::<T, true, false, false>,
        (true, false, true) => narrow::<T, true, false, true>,
        (true, true, false) => narrow::<T, true, true, false>,
        (true, true, true) => narrow::<T, true, true, true>,
    });
    b.push(Op { f, ..op });
    Ok(())
}

unsafe fn wide<T: Width, const SIGNED: bool, const MEM: bool>(cpu: *mut Cpu, op: *const Op, budget: i64) -> i64 {
    // SAFETY: called by the engine.
    unsafe {
        let s = source!(T, MEM, cpu, op, budget);
        let a = T::get(cpu, RAX);
        let (lo, hi, flags) = if SIGNED { alu::imul(a, s) } else { alu::mul(a, s) };
        T::set(cpu, RAX, lo);
        T::set(cpu, high::<T>(), hi);
        (*cpu).flags = Lazy::explicit(flags);
        next!(cpu, op, budget)
    }
}

unsafe fn narrow<T: Width, const MEM: bool, const IMM: bool, const FLAGS: bool>(
    cpu: *mut Cpu,
    op: *const Op,
    budget: i64,
) -> i64 {
    // SAFETY: called by the engine.
    unsafe {
        let s = source!(T, MEM, cpu, op, budget);
        let a = if IMM { T::low((*op).imm) } else { T::get(cpu, (*op).dst) };
        let (lo, _, flags) = alu::imul(a, s);
        T::set(cpu, (*op).dst, lo);
        if FLAGS {
            (*cpu).flags = Lazy::explicit(flags);
        }
        next!(cpu, op, budget)
    }
}

/// DIV and IDIV of RDX:RAX. Flags are left alone (undefined in the SDM).
pub(crate) fn div<const SIGNED: bool>(i: &Insn, b: &mut Builder) -> Bound {
    let (memory, op) = one_operand(i, b);
    let f: Handler =
        by_width!(i.width, T => if memory { divide::<T, SIGNED, true> } else { divide::<T, SIGNED, false> });
    b.push(Op { f, ..op });
    Ok(())
}

unsafe fn divide<T: Width, const SIGNED: bool, const MEM: bool>(cpu: *mut Cpu, op: *const Op, budget: i64) -> i64 {
    // SAFETY: called by the engine.
    unsafe {
        let by = source!(T, MEM, cpu, op, budget);
        let (hi, lo) = (T::get(cpu, high::<T>()), T::get(cpu, RAX));
        let result = if SIGNED { alu::idiv(hi, lo, by) } else { alu::div(hi, lo, by) };
        let Some((quotient, remainder)) = result else { return divide_error(cpu, op, budget) };
        T::set(cpu, RAX, quotient);
        T::set(cpu, high::<T>(), remainder);
        next!(cpu, op, budget)
    }
}
