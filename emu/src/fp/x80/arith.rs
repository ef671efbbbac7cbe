//! Addition to square root, comparison, and what works on exponents.

use std::cmp::Ordering;

use super::round::{Wide, cut};
use super::{BIAS, Env, flag, from_int, propagate, propagate_one};
use crate::fp::Rounding;
use crate::fp::parts::shift_jam;
use crate::state::X80;

/// SDM Vol. 2A, FADD.
pub(crate) fn add(a: X80, b: X80, env: &mut Env) -> X80 {
    if env.ordinary(a, b) {
        return sum_of_parts(Wide::of_normal(a), Wide::of_normal(b), env);
    }
    if let Some(special) = propagate(a, b, env) {
        return special;
    }
    sum(a, b, env)
}

/// SDM Vol. 2A, FSUB.
pub(crate) fn sub(a: X80, b: X80, env: &mut Env) -> X80 {
    if env.ordinary(a, b) {
        return sum_of_parts(Wide::of_normal(a), Wide::of_normal(b.negated()), env);
    }
    if let Some(special) = propagate(a, b, env) {
        return special;
    }
    sum(a, b.negated(), env)
}

/// SDM Vol. 2A, FSUBR.
pub(crate) fn subr(a: X80, b: X80, env: &mut Env) -> X80 {
    sub(b, a, env)
}

/// Of two numbers that are no NaNs.
fn sum(a: X80, b: X80, env: &mut Env) -> X80 {
    let opposite = a.is_negative() != b.is_negative();
    if a.is_infinite() && b.is_infinite() && opposite {
        return env.invalid();
    }
    env.note_denormal(a);
    env.note_denormal(b);
    if a.is_infinite() || b.is_infinite() {
        return if a.is_infinite() { a } else { b };
    }
    let bits = env.precision();
    match (a.is_zero(), b.is_zero()) {
        (true, true) if opposite => zero_of_cancellation(env),
        (true, true) => a,
        (true, false) => Wide::of(b).round(bits, env),
        (false, true) => Wide::of(a).round(bits, env),
        (false, false) => sum_of_parts(Wide::of(a), Wide::of(b), env),
    }
}

fn zero_of_cancellation(env: &Env) -> X80 {
    X80::zero(env.rounding() == Rounding::Down)
}

#[inline(always)]
fn sum_of_parts(a: Wide, b: Wide, env: &mut Env) -> X80 {
    let (big, small) = if (a.exp, a.sig) >= (b.exp, b.sig) { (a, b) } else { (b, a) };
    let shifted = shift_jam(small.sig >> 1, (big.exp - small.exp) as u32);
    let sum = if a.sign == b.sign { (big.sig >> 1) + shifted } else { (big.sig >> 1) - shifted };
    if sum == 0 {
        return zero_of_cancellation(env);
    }
    Wide::normalise(big.sign, big.exp + 1, sum).round(env.precision(), env)
}

/// SDM Vol. 2A, FMUL.
pub(crate) fn mul(a: X80, b: X80, env: &mut Env) -> X80 {
    if env.ordinary(a, b) {
        return product(Wide::of_normal(a), Wide::of_normal(b), env);
    }
    if let Some(special) = propagate(a, b, env) {
        return special;
    }
    let infinite = a.is_infinite() || b.is_infinite();
    let zero = a.is_zero() || b.is_zero();
    if infinite && zero {
        return env.invalid();
    }
    env.note_denormal(a);
    env.note_denormal(b);
    let sign = a.is_negative() != b.is_negative();
    if infinite || zero {
        return if infinite { X80::infinity(sign) } else { X80::zero(sign) };
    }
    product(Wide::of(a), Wide::of(b), env)
}

#[inline(always)]
fn product(a: Wide, b: Wide, env: &mut Env) -> X80 {
    let product = (a.sig >> 64) * (b.sig >> 64);
    Wide::normalise(a.sign != b.sign, a.exp + b.exp + 1, product).round(env.precision(), env)
}

/// SDM Vol. 2A, FDIV.
pub(crate) fn div(a: X80, b: X80, env: &mut Env) -> X80 {
    if env.ordinary(a, b) {
        let (a, b) = (Wide::of_normal(a), Wide::of_normal(b));
        return quotient(a.sign != b.sign, a, b).round(env.precision(), env);
    }
    if let Some(special) = propagate(a, b, env) {
        return special;
    }
    let sign = a.is_negative() != b.is_negative();
    match (a.is_infinite(), b.is_infinite(), a.is_zero(), b.is_zero()) {
        (true, true, ..) | (.., true, true) => return env.invalid(),
        (false, _, false, true) => {
            // Goes before the denormal operand (SDM Vol. 1, 4.9.2).
            env.raise(flag::ZE);
            return X80::infinity(sign);
        }
        _ => {}
    }
    env.note_denormal(a);
    env.note_denormal(b);
    if a.is_infinite() || b.is_infinite() || a.is_zero() {
        return if a.is_infinite() { X80::infinity(sign) } else { X80::zero(sign) };
    }
    let (a, b) = (Wide::of(a), Wide::of(b));
    quotient(sign, a, b).round(env.precision(), env)
}

/// `a / b` of numbers of 64 bits, to 126 bits or more.
fn quotient(sign: bool, a: Wide, b: Wide) -> Wide {
    let divisor = b.sig >> 64;
    let (upper, rest) = (a.sig / divisor, a.sig % divisor);
    let (lower, rest) = ((rest << 62) / divisor, (rest << 62) % divisor);
    Wide::normalise(sign, a.exp - b.exp + 1, upper << 62 | lower | u128::from(rest != 0))
}

/// SDM Vol. 2A, FDIVR.
pub(crate) fn divr(a: X80, b: X80, env: &mut Env) -> X80 {
    div(b, a, env)
}

/// SDM Vol. 2A, FSQRT.
pub(crate) fn sqrt(a: X80, env: &mut Env) -> X80 {
    if let Some(special) = propagate(a, a, env) {
        return special;
    }
    if a.is_zero() {
        return a;
    }
    if a.is_negative() {
        return env.invalid();
    }
    env.note_denormal(a);
    if a.is_infinite() {
        return a;
    }
    let a = Wide::of(a);
    // An even exponent halves; the root then has its top bit at 63.
    let square = a.sig >> (1 - (a.exp & 1));
    let root = square.isqrt();
    let rest = square - root * root;
    let sig = root << 64 | u128::from(rest > root) << 63 | u128::from(rest != 0);
    Wide { sign: false, exp: a.exp >> 1, sig }.round(env.precision(), env)
}

/// The order of `a` and `b`, `None` if there is none. A quiet NaN is invalid to ordered (`signals`) comparisons only.
pub(crate) fn compare(a: X80, b: X80, signals: bool, env: &mut Env) -> Option<Ordering> {
    if propagate(a, b, env).is_some() {
        if signals {
            env.raise(flag::IE);
        }
        return None;
    }
    env.note_denormal(a);
    env.note_denormal(b);
    if a.is_zero() && b.is_zero() {
        return Some(Ordering::Equal);
    }
    // A pseudo-denormal equals the number with exponent 1.
    let rank = |x: X80| {
        let magnitude = i128::from(x.exponent().max(1)) << 64 | i128::from(x.sig);
        if x.is_negative() { -magnitude } else { magnitude }
    };
    Some(rank(a).cmp(&rank(b)))
}

/// SDM Vol. 2A, FRNDINT.
pub(crate) fn round_to_integer(a: X80, env: &mut Env) -> X80 {
    if let Some(special) = propagate_one(a, env) {
        return special;
    }
    if a.is_infinite() || a.is_zero() {
        return a;
    }
    let Wide { sign, exp, sig } = Wide::of(a);
    if exp >= 63 {
        return a;
    }
    // The integer in the upper 64 bits.
    let fixed = shift_jam(sig, (63 - exp) as u32);
    let cut = cut(sign, fixed, 64, env.rounding());
    if cut.inexact {
        env.raise(flag::PE);
    }
    let whole = match cut.sig {
        0 => X80::zero(sign),
        whole => Wide::normalise(sign, 63, u128::from(whole) << 64).round(64, env),
    };
    env.c1 = cut.up;
    whole
}

/// SDM Vol. 2A, FSCALE: `a * 2^trunc(b)`.
pub(crate) fn scale(a: X80, b: X80, env: &mut Env) -> X80 {
    if let Some(special) = propagate(a, b, env) {
        return special;
    }
    if b.is_infinite() {
        if b.is_negative() && a.is_infinite() || !b.is_negative() && a.is_zero() {
            return env.invalid();
        }
        env.note_denormal(a);
        return if b.is_negative() { X80::zero(a.is_negative()) } else { X80::infinity(a.is_negative()) };
    }
    env.note_denormal(a);
    env.note_denormal(b);
    if a.is_infinite() || a.is_zero() {
        return a;
    }
    if b.is_zero() {
        return a.normalised();
    }
    let Wide { sign, exp, sig } = Wide::of(b);
    // Beyond 2^16 every result is off.
    let whole = if exp < 0 { 0 } else { (sig >> (127 - exp.min(17))) as i32 };
    let a = Wide::of(a);
    Wide { exp: a.exp + if sign { -whole } else { whole }, ..a }.round(64, env)
}

/// SDM Vol. 2A, FXTRACT: exponent and significand.
pub(crate) fn extract(a: X80, env: &mut Env) -> (X80, X80) {
    if let Some(special) = propagate(a, a, env) {
        return (special, special);
    }
    if a.is_zero() {
        env.raise(flag::ZE);
        return (X80::infinity(true), a);
    }
    if a.is_infinite() {
        return (X80::infinity(false), a);
    }
    env.note_denormal(a);
    let Wide { sign, exp, sig } = Wide::of(a);
    (from_int(exp.into()), X80 { sign_exp: super::signed(sign) | BIAS as u16, sig: (sig >> 64) as u64 })
}
