//! FMA, and conversions from and to half precision (F16C).

use super::float::{lanes_of, number, quick_lanes_of};
use super::forms::{float_row, narrow_row, push, shape};
use super::step::{Fused, float_fault, under_mxcsr};
use super::{X, upper, xmm};
use crate::block::Builder;
use crate::cpu::Cpu;
use crate::decode::{Fma as O, Insn, Operand};
use crate::engine::next;
use crate::exec::Bound;
use crate::exec::operand::{ea, place};
use crate::fp::{self, Env, F32, F64, Format, Native};
use crate::lanes::{self, Lane};
use crate::mem::Cell;
use crate::op::{Op, access};

/// Which operands are multiplied: those that the digits of the mnemonic name, whose third is added.
mod order {
    pub(super) const O132: u8 = 0;
    pub(super) const O213: u8 = 1;
    pub(super) const O231: u8 = 2;
    pub(super) const MASK: u8 = 3;
}
/// The product changes its sign.
const NEGATED: u8 = 4;
/// What is added does, in the even elements, in the odd ones.
const EVEN_MINUS: u8 = 8;
const ODD_MINUS: u8 = 16;
const MINUS: u8 = EVEN_MINUS | ODD_MINUS;

pub(crate) fn bind(op: O, i: &Insn, b: &mut Builder) -> Bound {
    use order::{O132, O213, O231};
    macro_rules! fused {
        ($F:ident, $n:literal, $MEM:ident, $how:expr) => {{
            let i = &i.with_fourth_operand(Operand::Imm($how.into()));
            shape!(hosted_quick::<Fused<$F, $n>>(i, b), $MEM)
        }};
    }
    // ps, pd, ss, sd.
    macro_rules! ps {
        ($how:expr) => {
            fused!(F32, 4, MEM128, $how)
        };
    }
    macro_rules! pd {
        ($how:expr) => {
            fused!(F64, 2, MEM128, $how)
        };
    }
    macro_rules! ss {
        ($how:expr) => {
            fused!(F32, 1, MEM32, $how)
        };
    }
    macro_rules! sd {
        ($how:expr) => {
            fused!(F64, 1, MEM64, $how)
        };
    }
    match op {
        O::Vfmadd132ps => ps!(O132),
        O::Vfmadd213ps => ps!(O213),
        O::Vfmadd231ps => ps!(O231),
        O::Vfmadd132pd => pd!(O132),
        O::Vfmadd213pd => pd!(O213),
        O::Vfmadd231pd => pd!(O231),
        O::Vfmadd132ss => ss!(O132),
        O::Vfmadd213ss => ss!(O213),
        O::Vfmadd231ss => ss!(O231),
        O::Vfmadd132sd => sd!(O132),
        O::Vfmadd213sd => sd!(O213),
        O::Vfmadd231sd => sd!(O231),
        O::Vfmsub132ps => ps!(O132 | MINUS),
        O::Vfmsub213ps => ps!(O213 | MINUS),
        O::Vfmsub231ps => ps!(O231 | MINUS),
        O::Vfmsub132pd => pd!(O132 | MINUS),
        O::Vfmsub213pd => pd!(O213 | MINUS),
        O::Vfmsub231pd => pd!(O231 | MINUS),
        O::Vfmsub132ss => ss!(O132 | MINUS),
        O::Vfmsub213ss => ss!(O213 | MINUS),
        O::Vfmsub231ss => ss!(O231 | MINUS),
        O::Vfmsub132sd => sd!(O132 | MINUS),
        O::Vfmsub213sd => sd!(O213 | MINUS),
        O::Vfmsub231sd => sd!(O231 | MINUS),
        O::Vfnmadd132ps => ps!(O132 | NEGATED),
        O::Vfnmadd213ps => ps!(O213 | NEGATED),
        O::Vfnmadd231ps => ps!(O231 | NEGATED),
        O::Vfnmadd132pd => pd!(O132 | NEGATED),
        O::Vfnmadd213pd => pd!(O213 | NEGATED),
        O::Vfnmadd231pd => pd!(O231 | NEGATED),
        O::Vfnmadd132ss => ss!(O132 | NEGATED),
        O::Vfnmadd213ss => ss!(O213 | NEGATED),
        O::Vfnmadd231ss => ss!(O231 | NEGATED),
        O::Vfnmadd132sd => sd!(O132 | NEGATED),
        O::Vfnmadd213sd => sd!(O213 | NEGATED),
        O::Vfnmadd231sd => sd!(O231 | NEGATED),
        O::Vfnmsub132ps => ps!(O132 | NEGATED | MINUS),
        O::Vfnmsub213ps => ps!(O213 | NEGATED | MINUS),
        O::Vfnmsub231ps => ps!(O231 | NEGATED | MINUS),
        O::Vfnmsub132pd => pd!(O132 | NEGATED | MINUS),
        O::Vfnmsub213pd => pd!(O213 | NEGATED | MINUS),
        O::Vfnmsub231pd => pd!(O231 | NEGATED | MINUS),
        O::Vfnmsub132ss => ss!(O132 | NEGATED | MINUS),
        O::Vfnmsub213ss => ss!(O213 | NEGATED | MINUS),
        O::Vfnmsub231ss => ss!(O231 | NEGATED | MINUS),
        O::Vfnmsub132sd => sd!(O132 | NEGATED | MINUS),
        O::Vfnmsub213sd => sd!(O213 | NEGATED | MINUS),
        O::Vfnmsub231sd => sd!(O231 | NEGATED | MINUS),
        O::Vfmaddsub132ps => ps!(O132 | EVEN_MINUS),
        O::Vfmaddsub213ps => ps!(O213 | EVEN_MINUS),
        O::Vfmaddsub231ps => ps!(O231 | EVEN_MINUS),
        O::Vfmaddsub132pd => pd!(O132 | EVEN_MINUS),
        O::Vfmaddsub213pd => pd!(O213 | EVEN_MINUS),
        O::Vfmaddsub231pd => pd!(O231 | EVEN_MINUS),
        O::Vfmsubadd132ps => ps!(O132 | ODD_MINUS),
        O::Vfmsubadd213ps => ps!(O213 | ODD_MINUS),
        O::Vfmsubadd231ps => ps!(O231 | ODD_MINUS),
        O::Vfmsubadd132pd => pd!(O132 | ODD_MINUS),
        O::Vfmsubadd213pd => pd!(O213 | ODD_MINUS),
        O::Vfmsubadd231pd => pd!(O231 | ODD_MINUS),
        O::Vcvtph2ps => float_row!(i, b, WIDEN64, X, |_, y, _, env| {
            lanes_of::<F32, 4>([0; 16], |n| fp::half_to_single(u16::at(&y, n).zx(), env))
        }),
        O::Vcvtps2ph if i.operands[0] != Operand::Mem => narrow_row!(i, b, |_, y, how, env| to_halves(y, how, env)),
        O::Vcvtps2ph if i.uses_ymm() => push(store_op::<X, true>, i, b, access::WRITE, <X as Cell>::BYTES as u8),
        O::Vcvtps2ph => push(store_op::<u64, false>, i, b, access::WRITE, 8),
    }
}

/// SDM Vol. 2C, VFMADD132PS and its like: the lowest `N` elements of `x`, operand 1, with those of operands 2 and 3.
#[inline(always)]
pub(super) fn fused<F: Format, const N: usize>(x: X, y: X, z: X, how: u8, env: &mut Env) -> X {
    lanes_of::<F, N>(x, |n| {
        let (a, b, c) = terms::<F>(&x, &y, &z, n, how);
        fp::fma::<F>(a, b, c, env)
    })
}

/// The same where it is simple (`Float::quick`), on hosts that have an instruction for it.
#[inline(always)]
pub(super) fn quick_fused<F: Native, const N: usize>(x: X, y: X, z: X, how: u8) -> Option<X> {
    quick_lanes_of::<F, N>(x, |n| {
        let (a, b, c) = terms::<F>(&x, &y, &z, n, how);
        fp::ordinary_fused::<F>(a, b, c)
    })
}

/// What gives element `n`: `a * b + c`.
#[inline(always)]
fn terms<F: Format>(x: &X, y: &X, z: &X, n: usize, how: u8) -> (u64, u64, u64) {
    // The sign of a NaN is not computed.
    let negated = |v: u64, yes: bool| if yes && !F::is_nan(v) { v ^ F::SIGN } else { v };
    let [x, y, z] = [x, y, z].map(|v| number::<F>(v, n));
    let (a, b, c) = match how & order::MASK {
        order::O132 => (x, z, y),
        order::O213 => (y, x, z),
        _ => (y, z, x),
    };
    let minus = if n.is_multiple_of(2) { EVEN_MINUS } else { ODD_MINUS };
    (negated(a, how & NEGATED != 0), b, negated(c, how & minus != 0))
}

/// Four numbers to the low half of a vector.
fn to_halves(y: X, how: u8, env: &mut Env) -> X {
    lanes::from_fn(|n| if n < 4 { fp::single_to_half(u32::at(&y, n).zx(), how, env) as u16 } else { 0 })
}

/// VCVTPS2PH to memory: four numbers, or `BOTH` lanes of four.
unsafe fn store_op<T: Cell, const BOTH: bool>(cpu: *mut Cpu, op: *const Op, budget: i64) -> i64 {
    // SAFETY: called by the engine.
    unsafe {
        // As on silicon, the exceptions are there also when the store faults.
        if store_halves::<BOTH>(cpu, op, std::ptr::null_mut()) {
            return float_fault(cpu, op, budget);
        }
        let to = place!(T, cpu, op, budget, ea(cpu, op));
        store_halves::<BOTH>(cpu, op, to.cast());
        next!(cpu, op, budget)
    }
}

/// Returns whether an unmasked exception was met; else writes to `to`, unless it is null.
#[inline(never)]
unsafe fn store_halves<const BOTH: bool>(cpu: *mut Cpu, op: *const Op, to: *mut u64) -> bool {
    // SAFETY: called by a handler with a place of 8 bytes, or of 16, or with null.
    unsafe {
        let (low, high, how) = (*xmm(cpu, (*op).src), *upper(cpu, (*op).src), (*op).imm as u8);
        let half = |lane: X, env: &mut Env| u64::at(&to_halves(lane, how, env), 0);
        let run = |env: &mut Env| (half(low, env), if BOTH { half(high, env) } else { 0 });
        under_mxcsr(cpu, run, |(low, high)| {
            if to.is_null() {
                return;
            }
            to.write_unaligned(low.to_le());
            if BOTH {
                to.add(1).write_unaligned(high.to_le());
            }
        })
    }
}
