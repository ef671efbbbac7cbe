//! Floating point of SSE3 and SSE4.1: horizontal sums, rounding to integers, dot products, blends.

use super::float::{lanes_of, number};
use super::forms::{float_row, hosted_row, masked_row, row, shape};
use super::{Float, X, Y};
use crate::block::Builder;
use crate::decode::{Insn, Operand, SseFloat4 as O};
use crate::exec::Bound;
use crate::fp::{self, Env, F32, F64, Native};
use crate::lanes::{self, select};

pub(crate) fn bind(op: O, i: &Insn, b: &mut Builder) -> Bound {
    macro_rules! neighbours {
        ($F:ident, $n:expr, $f:ident) => {
            float_row!(i, b, MEM128, X, |x, y, _, env| {
                lanes_of::<$F, $n>(x, |i| {
                    let (v, at) = if i < $n / 2 { (&x, 2 * i) } else { (&y, 2 * i - $n) };
                    fp::$f::<$F>(number::<$F>(v, at), number::<$F>(v, at + 1), env)
                })
            })
        };
    }
    macro_rules! alternate {
        ($F:ident, $n:expr) => {
            float_row!(i, b, MEM128, X, |x, y, _, env| {
                lanes_of::<$F, $n>(x, |i| {
                    let (p, q) = (number::<$F>(&x, i), number::<$F>(&y, i));
                    if i % 2 == 0 { fp::sub::<$F>(p, q, env) } else { fp::add::<$F>(p, q, env) }
                })
            })
        };
    }
    macro_rules! round {
        ($F:ident, $MEM:ident, $n:expr) => {
            float_row!(i, b, $MEM, X, |x, y, how, env| {
                lanes_of::<$F, $n>(x, |i| fp::round_to_integer::<$F>(number::<$F>(&y, i), how, env))
            })
        };
    }
    match op {
        O::Haddps => neighbours!(F32, 4, add),
        O::Haddpd => neighbours!(F64, 2, add),
        O::Hsubps => neighbours!(F32, 4, sub),
        O::Hsubpd => neighbours!(F64, 2, sub),
        O::Addsubps => alternate!(F32, 4),
        O::Addsubpd => alternate!(F64, 2),
        O::Roundps => round!(F32, MEM128, 4),
        O::Roundpd => round!(F64, MEM128, 2),
        O::Roundss => round!(F32, MEM32, 1),
        O::Roundsd => round!(F64, MEM64, 1),
        O::Dpps => shape!(float::<Dot<F32, 4>>(i, b), MEM128),
        O::Dppd => shape!(float::<Dot<F64, 2>>(i, b), MEM128),
        O::Blendps => hosted_row!(i, b, MEM128, X, |x, y, which| select::blend::<u32, 16>(x, y, which), step 4),
        O::Blendpd => hosted_row!(i, b, MEM128, X, |x, y, which| select::blend::<u64, 16>(x, y, which), step 2),
        O::Blendvps => masked_row!(i, b, select::blend_by::<u32, 16>),
        O::Blendvpd => masked_row!(i, b, select::blend_by::<u64, 16>),
        // The number of the source's lane counts between registers only.
        O::Insertps if i.operands.contains(&Operand::Mem) => {
            row!(i, b, MEM32, X, |x, y, how| select::insert_float(x, y, how & 0x3f))
        }
        O::Insertps => row!(i, b, MEM32, X, |x, y, how| select::insert_float(x, y, how)),
        O::Movddup => row!(i, b, HALVES, X, |_, y, _| lanes::interleave_low::<u64, 16>(y, y)),
        O::Movshdup => row!(i, b, MEM128, X, |_, y, _| lanes::shuffle(y, 0b11_11_01_01)),
        O::Movsldup => row!(i, b, MEM128, X, |_, y, _| lanes::shuffle(y, 0b10_10_00_00)),
    }
}

/// SDM Vol. 2A, DPPS: the products that the upper bits of `which` name, summed pair by pair, go where its lower bits
/// say. An unmasked exception ends it after the step that raised it. Each lane has a sum of its own, which shows in the
/// NaN it takes: silicon adds pairs of four the other way round.
fn dot<F: Native, const N: usize, const LANES: usize>(
    x: [X; LANES],
    y: [X; LANES],
    which: u8,
    env: &mut Env,
) -> [X; LANES] {
    let mut sums = [[0; N]; LANES];
    for (lane, sums) in sums.iter_mut().enumerate() {
        for (i, product) in sums.iter_mut().enumerate().filter(|(i, _)| which >> (4 + i) & 1 != 0) {
            *product = fp::mul::<F>(number::<F>(&x[lane], i), number::<F>(&y[lane], i), env);
        }
    }
    if N == 4 && env.settle() {
        sums = sums.map(|s| std::array::from_fn(|i| fp::add::<F>(s[i ^ 1], s[i], env)));
    }
    if env.settle() {
        sums = sums.map(|s| std::array::from_fn(|i| fp::add::<F>(s[i], s[i ^ (N / 2)], env)));
    }
    sums.map(|s| lanes_of::<F, N>([0; 16], |i| if which >> i & 1 != 0 { s[i] } else { 0 }))
}

/// DPPS and DPPD. The steps are those of both lanes at once.
struct Dot<F, const N: usize>(std::marker::PhantomData<F>);

impl<F: Native, const N: usize> Float for Dot<F, N> {
    type Out = X;

    fn apply(a: X, b: X, which: u8, env: &mut Env) -> X {
        dot::<F, N, 1>([a], [b], which, env)[0]
    }

    fn apply_both(a: Y, b: Y, which: u8, env: &mut Env) -> (X, X) {
        dot::<F, N, 2>(a, b, which, env).into()
    }
}
