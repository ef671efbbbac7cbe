//! Floating-point arithmetic, comparison, logic and shuffles.

use std::cmp::Ordering;

use super::X;
use super::forms::{float_row, native_row, quick_row, row};
use crate::block::Builder;
use crate::cpu::flags::{CF, Lazy, PF, ZF};
use crate::decode::{Insn, SseFloat as O};
use crate::exec::Bound;
use crate::fp::{self, F32, F64, Format};
use crate::lanes::{self, Lane};

pub(crate) fn bind(op: O, i: &Insn, b: &mut Builder) -> Bound {
    // A function of two numbers, of one, of two and a predicate: on every lane, or on the lowest alone.
    macro_rules! two {
        ($F:ident, $MEM:ident, $n:expr, $f:ident, $quick:ident) => {
            quick_row!(
                i,
                b,
                $MEM,
                X,
                |x, y, _, env| lanes_of::<$F, $n>(x, |i| fp::$f::<$F>(number::<$F>(&x, i), number::<$F>(&y, i), env)),
                quick | x,
                y,
                _ | quick_lanes_of::<$F, $n>(x, |i| fp::$quick::<$F>(number::<$F>(&x, i), number::<$F>(&y, i)))
            )
        };
    }
    macro_rules! one {
        ($F:ident, $MEM:ident, $n:expr, $f:ident) => {
            quick_row!(
                i,
                b,
                $MEM,
                X,
                |x, y, _, env| lanes_of::<$F, $n>(x, |i| fp::$f::<$F>(number::<$F>(&y, i), env)),
                quick | x,
                y,
                _ | quick_lanes_of::<$F, $n>(x, |i| fp::ordinary_root::<$F>(number::<$F>(&y, i)))
            )
        };
    }
    macro_rules! compare {
        ($F:ident, $MEM:ident, $n:expr) => {{
            // SSE has 8 predicates, AVX has 32.
            let i = &i.with_immediate_bits(if i.vex { 31 } else { 7 });
            quick_row!(
                i,
                b,
                $MEM,
                X,
                |x, y, which, env| lanes_of::<$F, $n>(x, |i| {
                    truth(fp::predicate::<$F>(which, number::<$F>(&x, i), number::<$F>(&y, i), env))
                }),
                quick | x,
                y,
                which
                    | quick_lanes_of::<$F, $n>(x, |i| {
                        fp::ordinary_predicate::<$F>(which, number::<$F>(&x, i), number::<$F>(&y, i)).map(truth)
                    })
            )
        }};
    }
    // Not under MXCSR, but too long to stand in a handler.
    macro_rules! approximate {
        ($MEM:ident, $n:expr, $f:ident) => {
            float_row!(i, b, $MEM, X, |x, y, _, _env| lanes_of::<F32, $n>(x, |i| fp::$f(u32::at(&y, i)).zx()))
        };
    }
    macro_rules! flags {
        ($F:ident, $MEM:ident, $signals:expr) => {
            quick_row!(
                i,
                b,
                $MEM,
                Lazy,
                |x, y, _, env| order_flags(fp::compare::<$F>(number::<$F>(&x, 0), number::<$F>(&y, 0), $signals, env)),
                quick | x,
                y,
                _ | {
                    fp::ordinary_order::<$F>(number::<$F>(&x, 0), number::<$F>(&y, 0)).map(|o| order_flags(Some(o)))
                }
            )
        };
    }
    macro_rules! bits {
        ($f:expr) => {
            row!(i, b, MEM128, X, |x, y, _| $f(x, y))
        };
    }
    match op {
        O::Addps => two!(F32, MEM128, 4, add, ordinary_sum),
        O::Addpd => two!(F64, MEM128, 2, add, ordinary_sum),
        O::Addss => two!(F32, MEM32, 1, add, ordinary_sum),
        O::Addsd => two!(F64, MEM64, 1, add, ordinary_sum),
        O::Subps => two!(F32, MEM128, 4, sub, ordinary_difference),
        O::Subpd => two!(F64, MEM128, 2, sub, ordinary_difference),
        O::Subss => two!(F32, MEM32, 1, sub, ordinary_difference),
        O::Subsd => two!(F64, MEM64, 1, sub, ordinary_difference),
        O::Mulps => two!(F32, MEM128, 4, mul, ordinary_product),
        O::Mulpd => two!(F64, MEM128, 2, mul, ordinary_product),
        O::Mulss => two!(F32, MEM32, 1, mul, ordinary_product),
        O::Mulsd => two!(F64, MEM64, 1, mul, ordinary_product),
        O::Divps => two!(F32, MEM128, 4, div, ordinary_quotient),
        O::Divpd => two!(F64, MEM128, 2, div, ordinary_quotient),
        O::Divss => two!(F32, MEM32, 1, div, ordinary_quotient),
        O::Divsd => two!(F64, MEM64, 1, div, ordinary_quotient),
        O::Minps => two!(F32, MEM128, 4, min, ordinary_min),
        O::Minpd => two!(F64, MEM128, 2, min, ordinary_min),
        O::Minss => two!(F32, MEM32, 1, min, ordinary_min),
        O::Minsd => two!(F64, MEM64, 1, min, ordinary_min),
        O::Maxps => two!(F32, MEM128, 4, max, ordinary_max),
        O::Maxpd => two!(F64, MEM128, 2, max, ordinary_max),
        O::Maxss => two!(F32, MEM32, 1, max, ordinary_max),
        O::Maxsd => two!(F64, MEM64, 1, max, ordinary_max),
        O::Sqrtps => one!(F32, MEM128, 4, sqrt),
        O::Sqrtpd => one!(F64, MEM128, 2, sqrt),
        O::Sqrtss => one!(F32, MEM32, 1, sqrt),
        O::Sqrtsd => one!(F64, MEM64, 1, sqrt),
        O::Rcpps => approximate!(MEM128, 4, reciprocal),
        O::Rcpss => approximate!(MEM32, 1, reciprocal),
        O::Rsqrtps => approximate!(MEM128, 4, reciprocal_sqrt),
        O::Rsqrtss => approximate!(MEM32, 1, reciprocal_sqrt),
        O::Cmpps => compare!(F32, MEM128, 4),
        O::Cmppd => compare!(F64, MEM128, 2),
        O::Cmpss => compare!(F32, MEM32, 1),
        O::Cmpsd => compare!(F64, MEM64, 1),
        O::Comiss => flags!(F32, MEM32, true),
        O::Comisd => flags!(F64, MEM64, true),
        O::Ucomiss => flags!(F32, MEM32, false),
        O::Ucomisd => flags!(F64, MEM64, false),
        O::Andps | O::Andpd => bits!(lanes::and),
        O::Andnps | O::Andnpd => bits!(lanes::and_not),
        O::Orps | O::Orpd => bits!(lanes::or),
        O::Xorps | O::Xorpd => bits!(lanes::xor),
        O::Unpcklps => bits!(lanes::interleave_low::<u32, 16>),
        O::Unpcklpd => bits!(lanes::interleave_low::<u64, 16>),
        O::Unpckhps => bits!(lanes::interleave_high::<u32, 16>),
        O::Unpckhpd => bits!(lanes::interleave_high::<u64, 16>),
        O::Shufps => native_row!(i, b, |x, y, order| lanes::shuffle_two(x, y, order), shuffle_two),
        O::Shufpd => row!(i, b, MEM128, X, |x, y, order| lanes::shuffle_halves(x, y, order), step 2),
    }
}

/// All ones for true.
#[inline(always)]
fn truth(yes: bool) -> u64 {
    u64::from(yes).wrapping_neg()
}

/// Number `i` of a vector.
#[inline(always)]
pub(in crate::exec) fn number<F: Format>(v: &X, i: usize) -> u64 {
    F::Lane::at(v, i).zx()
}

/// `x` with its lowest `N` numbers replaced by `f(0)`, `f(1)` ...
#[inline(always)]
pub(in crate::exec) fn lanes_of<F: Format, const N: usize>(mut x: X, mut f: impl FnMut(usize) -> u64) -> X {
    for i in 0..N {
        F::Lane::low(f(i)).put(&mut x, i);
    }
    x
}

/// Likewise, if all of them are there.
#[inline(always)]
pub(in crate::exec) fn quick_lanes_of<F: Format, const N: usize>(
    mut x: X,
    mut f: impl FnMut(usize) -> Option<u64>,
) -> Option<X> {
    for i in 0..N {
        F::Lane::low(f(i)?).put(&mut x, i);
    }
    Some(x)
}

/// SDM Vol. 2A, COMISD.
#[inline(always)]
fn order_flags(order: Option<Ordering>) -> Lazy {
    Lazy::explicit(match order {
        None => ZF | PF | CF,
        Some(Ordering::Less) => CF,
        Some(Ordering::Equal) => ZF,
        Some(Ordering::Greater) => 0,
    })
}
