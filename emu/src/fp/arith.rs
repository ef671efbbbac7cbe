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
pub(super) fn ordinary<F: Format>(a: u64) -> bool {
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

/// Whether results of ordinary numbers are all there is to know: to nearest, inexactness noted already, which traps nobody.
#[inline(always)]
pub(crate) fn is_settled(csr: u32) -> bool {
    const PRECISION: u32 = mxcsr::PE << mxcsr::MASK_SHIFT | mxcsr::PE;
    csr & (3 << mxcsr::RC_SHIFT | PRECISION) == PRECISION
}

/// `r`, computed by the host from ordinary numbers, if it is one.
#[inline(always)]
fn if_ordinary<F: Format>(r: u64) -> Option<u64> {
    ordinary::<F>(r).then_some(r)
}

/// Defines what the host computes of two ordinary numbers, if that is one, too.
macro_rules! ordinary {
    ($($name:ident $host:ident;)+) => {$(
        #[inline(always)]
        pub(crate) fn $name<F: Native>(a: u64, b: u64) -> Option<u64> {
            if ordinary::<F>(a) && ordinary::<F>(b) { if_ordinary::<F>(F::$host(a, b)) } else { None }
        }
    )+};
}

ordinary! {
    ordinary_sum host_add;
    ordinary_difference host_sub;
    ordinary_product host_mul;
    ordinary_quotient host_div;
}

/// Likewise the root of one.
#[inline(always)]
pub(crate) fn ordinary_root<F: Native>(a: u64) -> Option<u64> {
    (ordinary::<F>(a) && a & F::SIGN == 0).then(|| F::host_sqrt(a))
}

/// Likewise `a * b + c`, where `c` may be zero. For code that is compiled for a host with such an instruction.
#[inline(always)]
pub(crate) fn ordinary_fused<F: Native>(a: u64, b: u64, c: u64) -> Option<u64> {
    let all = ordinary::<F>(a) && ordinary::<F>(b) && (ordinary::<F>(c) || F::is_zero(c));
    if all { if_ordinary::<F>(F::host_fma(a, b, c)) } else { None }
}

/// SDM Vol. 2A, ADDPD.
#[inline(always)]
pub(crate) fn add<F: Native>(a: u64, b: u64, env: &mut Env) -> u64 {
    if plain(env)
        && let Some(r) = ordinary_sum::<F>(a, b)
        && let Some(r) = deliver(env, r, known_inexact(env).or_else(|| Some(sum_is_exact::<F>(a, b, r))))
    {
        return r;
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
    if plain(env)
        && let Some(r) = ordinary_product::<F>(a, b)
        && let Some(r) = deliver(env, r, known_inexact(env).or_else(|| product_is_exact::<F>(a, b)))
    {
        return r;
    }
    slow_mul::<F>(a, b, env)
}

/// SDM Vol. 2A, DIVPD.
#[inline(always)]
pub(crate) fn div<F: Native>(a: u64, b: u64, env: &mut Env) -> u64 {
    if plain(env)
        && let Some(r) = ordinary_quotient::<F>(a, b)
        && let Some(r) = deliver(env, r, known_inexact(env).or_else(|| is_product::<F>(r, b, a)))
    {
        return r;
    }
    slow_div::<F>(a, b, env)
}

/// SDM Vol. 2B, SQRTPD.
#[inline(always)]
pub(crate) fn sqrt<F: Native>(a: u64, env: &mut Env) -> u64 {
    if plain(env)
        && let Some(r) = ordinary_root::<F>(a)
        && let Some(r) = deliver(env, r, known_inexact(env).or_else(|| is_product::<F>(r, r, a)))
    {
        return r;
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
