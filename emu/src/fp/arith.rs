//! Addition, multiplication, division and square root.

use super::parts::{Exact, Parts, signed};
use super::{Env, Format, Native, Rounding, mxcsr, propagate};

/// Whether a fast path may be taken at all: to nearest, and inexactness traps nobody.
#[inline(always)]
fn plain(env: &Env) -> bool {
    env.mxcsr & (3 << mxcsr::RC_SHIFT | mxcsr::PE << mxcsr::MASK_SHIFT) == mxcsr::PE << mxcsr::MASK_SHIFT
}

/// Neither zero, denormal, infinite nor NaN, and far enough from both ends that a rounded result was not tiny and
/// that residuals do not overflow.
#[inline(always)]
fn ordinary<F: Format>(a: u64) -> bool {
    let exp = (a & F::INF) >> F::FRAC;
    exp.wrapping_sub(2) < F::EXP_MAX as u64 - 4
}

/// Whether the host's sum `r` of ordinary `a` and `b` is exact (Knuth's TwoSum).
#[inline(always)]
fn sum_is_exact<F: Native>(a: u64, b: u64, r: u64) -> bool {
    let b_part = F::host_sub(r, a);
    let a_part = F::host_sub(r, b_part);
    let error = F::host_add(F::host_sub(a, a_part), F::host_sub(b, b_part));
    F::is_zero(error)
}

/// Whether the product of ordinary `a` and `b` has no more than the format's bits, if that is easy to say.
#[inline(always)]
fn product_is_exact<F: Format>(a: u64, b: u64) -> Option<bool> {
    let zeros = |x: u64| (x | 1 << F::FRAC).trailing_zeros();
    // The product of two numbers of FRAC + 1 bits has 2 FRAC + 1 bits or one more.
    match zeros(a) + zeros(b) {
        n if n > F::FRAC => Some(true),
        n if n < F::FRAC => Some(false),
        _ => None,
    }
}

/// Raises PE unless the result is exact; `None` if that is not known.
#[inline(always)]
fn deliver(env: &mut Env, result: u64, exact: Option<bool>) -> Option<u64> {
    if !exact? {
        env.raise(mxcsr::PE);
    }
    Some(result)
}

/// Inexactness is sticky: once PE is set it need not be found out.
#[inline(always)]
fn known_inexact(env: &Env) -> Option<bool> {
    (env.mxcsr & mxcsr::PE != 0).then_some(false)
}

/// SDM Vol. 2A, ADDPD.
#[inline(always)]
pub(crate) fn add<F: Native>(a: u64, b: u64, env: &mut Env) -> u64 {
    if plain(env) && ordinary::<F>(a) && ordinary::<F>(b) {
        let r = F::host_add(a, b);
        if ordinary::<F>(r) {
            let exact = known_inexact(env).or_else(|| Some(sum_is_exact::<F>(a, b, r)));
            if let Some(r) = deliver(env, r, exact) {
                return r;
            }
        }
    }
    slow_add::<F>(a, b, env)
}

/// SDM Vol. 2B, SUBPD.
#[inline(always)]
pub(crate) fn sub<F: Native>(a: u64, b: u64, env: &mut Env) -> u64 {
    // A NaN must keep its sign.
    let negated = if F::is_nan(b) { b } else { b ^ F::SIGN };
    add::<F>(a, negated, env)
}

/// SDM Vol. 2B, MULPD.
#[inline(always)]
pub(crate) fn mul<F: Native>(a: u64, b: u64, env: &mut Env) -> u64 {
    if plain(env) && ordinary::<F>(a) && ordinary::<F>(b) {
        let r = F::host_mul(a, b);
        if ordinary::<F>(r) {
            let exact = known_inexact(env).or_else(|| product_is_exact::<F>(a, b));
            if let Some(r) = deliver(env, r, exact) {
                return r;
            }
        }
    }
    slow_mul::<F>(a, b, env)
}

/// SDM Vol. 2A, DIVPD.
#[inline(always)]
pub(crate) fn div<F: Native>(a: u64, b: u64, env: &mut Env) -> u64 {
    if plain(env) && ordinary::<F>(a) && ordinary::<F>(b) {
        let r = F::host_div(a, b);
        if ordinary::<F>(r) {
            let exact = known_inexact(env).or_else(|| is_product::<F>(r, b, a));
            if let Some(r) = deliver(env, r, exact) {
                return r;
            }
        }
    }
    slow_div::<F>(a, b, env)
}

/// SDM Vol. 2B, SQRTPD.
#[inline(always)]
pub(crate) fn sqrt<F: Native>(a: u64, env: &mut Env) -> u64 {
    if plain(env) && ordinary::<F>(a) && a & F::SIGN == 0 {
        let r = F::host_sqrt(a);
        let exact = known_inexact(env).or_else(|| is_product::<F>(r, r, a));
        if let Some(r) = deliver(env, r, exact) {
            return r;
        }
    }
    slow_sqrt::<F>(a, env)
}

/// Whether `a * b == product` exactly.
#[inline(always)]
fn is_product<F: Native>(a: u64, b: u64, product: u64) -> Option<bool> {
    product_is_exact::<F>(a, b).map(|fits| fits && F::host_mul(a, b) == product)
}

#[cold]
#[inline(never)]
fn slow_add<F: Format>(a: u64, b: u64, env: &mut Env) -> u64 {
    let (a, b) = (env.operand::<F>(a), env.operand::<F>(b));
    if let Some(nan) = propagate::<F>(a, b, env) {
        return nan;
    }
    let opposite = (a ^ b) & F::SIGN != 0;
    if F::is_infinite(a) && F::is_infinite(b) && opposite {
        return env.invalid::<F>();
    }
    env.note_denormal::<F>(a);
    env.note_denormal::<F>(b);
    if F::is_infinite(a) || F::is_infinite(b) {
        return if F::is_infinite(a) { a } else { b };
    }
    match (F::is_zero(a), F::is_zero(b)) {
        (true, true) if opposite => zero_of_cancellation::<F>(env),
        (true, true) => a,
        (true, false) => Parts::of::<F>(b).round::<F>(env),
        (false, true) => Parts::of::<F>(a).round::<F>(env),
        (false, false) => sum::<F>(Parts::of::<F>(a).into(), Parts::of::<F>(b).into(), env),
    }
}

/// The zero that two numbers leave when they cancel.
pub(super) fn zero_of_cancellation<F: Format>(env: &Env) -> u64 {
    signed::<F>(env.rounding() == Rounding::Down)
}

/// The rounded sum of two numbers that are not zero.
pub(super) fn sum<F: Format>(a: Exact, b: Exact, env: &mut Env) -> u64 {
    match a.plus(b) {
        Some(sum) => sum.round::<F>(env),
        None => zero_of_cancellation::<F>(env),
    }
}

#[cold]
#[inline(never)]
fn slow_mul<F: Format>(a: u64, b: u64, env: &mut Env) -> u64 {
    let (a, b) = (env.operand::<F>(a), env.operand::<F>(b));
    if let Some(nan) = propagate::<F>(a, b, env) {
        return nan;
    }
    let infinite = F::is_infinite(a) || F::is_infinite(b);
    let zero = F::is_zero(a) || F::is_zero(b);
    if infinite && zero {
        return env.invalid::<F>();
    }
    env.note_denormal::<F>(a);
    env.note_denormal::<F>(b);
    let sign = (a ^ b) & F::SIGN;
    if infinite || zero {
        return sign | if infinite { F::INF } else { 0 };
    }
    Parts::of::<F>(a).times(Parts::of::<F>(b)).round::<F>(env)
}

#[cold]
#[inline(never)]
fn slow_div<F: Format>(a: u64, b: u64, env: &mut Env) -> u64 {
    let (a, b) = (env.operand::<F>(a), env.operand::<F>(b));
    if let Some(nan) = propagate::<F>(a, b, env) {
        return nan;
    }
    let sign = (a ^ b) & F::SIGN;
    match (F::is_infinite(a), F::is_infinite(b), F::is_zero(a), F::is_zero(b)) {
        (true, true, ..) | (.., true, true) => return env.invalid::<F>(),
        (false, _, false, true) => {
            // Goes before the denormal operand (SDM Vol. 1, 4.9.2).
            env.raise(mxcsr::ZE);
            return sign | F::INF;
        }
        _ => {}
    }
    env.note_denormal::<F>(a);
    env.note_denormal::<F>(b);
    if F::is_infinite(a) || F::is_infinite(b) || F::is_zero(a) {
        return sign | if F::is_infinite(a) { F::INF } else { 0 };
    }
    let (a, b) = (Parts::of::<F>(a), Parts::of::<F>(b));
    let (dividend, divisor) = (u128::from(a.sig) << 64, u128::from(b.sig));
    let quotient = (dividend / divisor) << 62 | u128::from(dividend % divisor != 0);
    Parts::normalise(sign != 0, a.exp - b.exp + 1, quotient).round::<F>(env)
}

#[cold]
#[inline(never)]
fn slow_sqrt<F: Format>(a: u64, env: &mut Env) -> u64 {
    let a = env.operand::<F>(a);
    if let Some(nan) = propagate::<F>(a, a, env) {
        return nan;
    }
    if F::is_zero(a) {
        return a;
    }
    if a & F::SIGN != 0 {
        return env.invalid::<F>();
    }
    env.note_denormal::<F>(a);
    if F::is_infinite(a) {
        return a;
    }
    let a = Parts::of::<F>(a);
    // An even exponent halves; the root then has its top bit at 63.
    let square = u128::from(a.sig) << (63 + (a.exp & 1));
    let root = square.isqrt();
    let jam = u64::from(root * root != square);
    Parts { sign: false, exp: a.exp >> 1, sig: root as u64 | jam }.round::<F>(env)
}
