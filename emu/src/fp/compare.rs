//! Comparison, minimum, maximum.

use std::cmp::Ordering;

use super::{Env, Format, mxcsr};

/// The order of `a` and `b`, `None` if there is none. A quiet NaN is invalid to ordered (`signals`) comparisons only.
pub(crate) fn compare<F: Format>(a: u64, b: u64, signals: bool, env: &mut Env) -> Option<Ordering> {
    let (a, b) = (env.operand::<F>(a), env.operand::<F>(b));
    if F::is_nan(a) || F::is_nan(b) {
        if signals || F::is_signaling(a) || F::is_signaling(b) {
            env.raise(mxcsr::IE);
        }
        return None;
    }
    env.note_denormal::<F>(a);
    env.note_denormal::<F>(b);
    Some(rank::<F>(a).cmp(&rank::<F>(b)))
}

/// The same where nothing is raised: of numbers, none of them denormal.
#[inline(always)]
pub(crate) fn ordinary_order<F: Format>(a: u64, b: u64) -> Option<Ordering> {
    // Zero, or an exponent between those of denormals and of infinities and NaNs.
    let plain = |x: u64| F::is_zero(x) || (x & F::INF).wrapping_sub(1 << F::FRAC) < F::INF - (1 << F::FRAC);
    (plain(a) && plain(b)).then(|| rank::<F>(a).cmp(&rank::<F>(b)))
}

/// `min` of such numbers.
#[inline(always)]
pub(crate) fn ordinary_min<F: Format>(a: u64, b: u64) -> Option<u64> {
    Some(if ordinary_order::<F>(a, b)? == Ordering::Less { a } else { b })
}

/// `max` of such numbers.
#[inline(always)]
pub(crate) fn ordinary_max<F: Format>(a: u64, b: u64) -> Option<u64> {
    Some(if ordinary_order::<F>(b, a)? == Ordering::Less { a } else { b })
}

/// An integer that orders as the number does; both zeros are 0.
#[inline(always)]
fn rank<F: Format>(a: u64) -> i64 {
    let magnitude = (a & !F::SIGN) as i64;
    if a & F::SIGN != 0 { -magnitude } else { magnitude }
}

/// `a < b`, an ordered comparison.
fn less<F: Format>(a: u64, b: u64, env: &mut Env) -> bool {
    compare::<F>(a, b, true, env) == Some(Ordering::Less)
}

/// One of the 32 predicates of VCMPPS (SDM Vol. 2A, CMPPD, table 3-1): bits 0 and 1 choose a relation, bit 2 negates it,
/// bit 3 makes no order the other way round, and bit 4 whether a quiet NaN is invalid.
pub(crate) fn predicate<F: Format>(which: u8, a: u64, b: u64, env: &mut Env) -> bool {
    let signals = matches!(which & 3, 1 | 2) != (which & 16 != 0);
    fulfils(which, compare::<F>(a, b, signals, env))
}

/// The same where nothing is raised.
#[inline(always)]
pub(crate) fn ordinary_predicate<F: Format>(which: u8, a: u64, b: u64) -> Option<bool> {
    ordinary_order::<F>(a, b).map(|order| fulfils(which, Some(order)))
}

#[inline(always)]
fn fulfils(which: u8, order: Option<Ordering>) -> bool {
    let yes = match which & 3 {
        0 => order == Some(Ordering::Equal),
        1 => order == Some(Ordering::Less),
        2 => matches!(order, Some(Ordering::Less | Ordering::Equal)),
        _ => order.is_none(),
    };
    let yes = yes != (which & 8 != 0 && order.is_none());
    yes != (which & 4 != 0)
}

/// SDM Vol. 2B, MINPD: the second operand unless the first is less, whatever that means for zeros and NaNs.
pub(crate) fn min<F: Format>(a: u64, b: u64, env: &mut Env) -> u64 {
    if less::<F>(a, b, env) { env.operand::<F>(a) } else { env.operand::<F>(b) }
}

/// SDM Vol. 2B, MAXPD.
pub(crate) fn max<F: Format>(a: u64, b: u64, env: &mut Env) -> u64 {
    if less::<F>(b, a, env) { env.operand::<F>(a) } else { env.operand::<F>(b) }
}
