//! The transcendental functions, by series on numbers of 128 bits: errors are far below what rounding to 64 bits adds, so
//! that results are the rounded exact ones but for about one argument in 2^50 (docs/deviations.md).

use super::constants::{LN_2, PI};
use super::round::Wide;
use super::{BIAS, Env, flag, propagate, propagate_one};
use crate::state::X80;

/// Angles from here on are left alone, with C2 set.
const ANGLE_LIMIT: u16 = 0x3fff + 63;
/// Sine and tangent of `2^-SMALL` are that number to 128 places.
const SMALL: i32 = 64;
/// Half of pi as silicon has it, 66 bits: `HALF_PI / 2^65` (SDM Vol. 1, 8.3.8).
const HALF_PI: u128 = 0x3_243f_6a88_85a3_08d3;
/// The square root of 1/2 and of 2, in units of 2^-127.
const ROOT_HALF: u128 = 0x5a82_7999_fcef_3242_2cbe_c4d9_baa5_5f4f;

/// Sine and cosine of an angle.
pub(crate) struct Angle {
    pub(crate) sin: X80,
    pub(crate) cos: X80,
    pub(crate) tan: X80,
}

/// Which of the three are wanted: the exceptions of the others do not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    Sin,
    Cos,
    Both,
    Tan,
}

/// SDM Vol. 2A, FSIN, FCOS, FSINCOS, FPTAN; `None` if the angle is out of range.
pub(crate) fn angle(a: X80, wanted: Wanted, env: &mut Env) -> Option<Angle> {
    if !a.is_unsupported() && a.magnitude().sign_exp >= ANGLE_LIMIT && a.magnitude().sign_exp < 0x7fff {
        return None;
    }
    if let Some(nan) = propagate_one(a, env) {
        return Some(Angle { sin: nan, cos: nan, tan: nan });
    }
    if a.is_infinite() {
        let nan = env.invalid();
        return Some(Angle { sin: nan, cos: nan, tan: nan });
    }
    if a.is_zero() {
        return Some(Angle { sin: a, cos: X80::ONE, tan: a });
    }
    if i32::from(a.exponent()) < BIAS - SMALL {
        let sin = if wanted == Wanted::Cos { a } else { almost(Wide::of(a), env) };
        env.raise(flag::PE);
        return Some(Angle { sin, cos: X80::ONE, tan: sin });
    }
    let (quadrant, rest) = reduce(Wide::of(a));
    let (sin, cos) = (sine(rest), cosine(rest));
    let (sin, cos) = match quadrant & 3 {
        0 => (sin, cos),
        1 => (cos, sin.negated()),
        2 => (sin.negated(), cos.negated()),
        _ => (cos.negated(), sin),
    };
    let mut result = Angle { sin: X80::ZERO, cos: X80::ZERO, tan: X80::ZERO };
    if matches!(wanted, Wanted::Sin | Wanted::Both) {
        result.sin = rounded(sin, env);
    }
    if matches!(wanted, Wanted::Cos | Wanted::Both) {
        result.cos = rounded(cos, env);
    }
    if wanted == Wanted::Tan {
        result.tan = rounded(sin.over(cos), env);
    }
    Some(result)
}

/// An irrational result.
fn rounded(a: Wide, env: &mut Env) -> X80 {
    a.inexact().round(64, env)
}

/// A result that is `a` to many places, in every rounding mode as on silicon.
fn almost(a: Wide, env: &mut Env) -> X80 {
    let result = a.round(64, env);
    env.raise(flag::PE | if result.is_denormal() { flag::UE } else { 0 });
    result
}

/// `a` less a multiple of half of pi, and which.
fn reduce(a: Wide) -> (u64, Wide) {
    // Below 1/4 there is nothing to take away.
    if a.exp < -2 {
        return (0, a);
    }
    // In units of 2^-65, scaled so that nothing is lost: the exponent is at most 62.
    let scaled = (a.sig >> 64) << (a.exp + 2);
    let (mut quotient, mut rest) = ((scaled / HALF_PI) as u64, scaled % HALF_PI);
    let mut sign = a.sign;
    if 2 * rest > HALF_PI {
        (quotient, rest, sign) = (quotient + 1, HALF_PI - rest, !sign);
    }
    let quotient = if a.sign { quotient.wrapping_neg() } else { quotient };
    (quotient, if rest == 0 { Wide::ZERO } else { Wide::normalise(sign, 62, rest) })
}

/// Terms of sine and cosine up to pi/4.
const CIRCULAR_TERMS: u64 = 18;

fn sine(x: Wide) -> Wide {
    let square = x.times(x);
    let series = (1..CIRCULAR_TERMS)
        .rev()
        .fold(Wide::ONE, |sum, n| Wide::ONE.minus(square.times(sum).over_int(2 * n * (2 * n + 1))));
    x.times(series)
}

fn cosine(x: Wide) -> Wide {
    let square = x.times(x);
    (1..CIRCULAR_TERMS).rev().fold(Wide::ONE, |sum, n| Wide::ONE.minus(square.times(sum).over_int(2 * n * (2 * n - 1))))
}

/// SDM Vol. 2A, F2XM1: `2^a - 1` for -1 to 1; beyond, `a` itself.
pub(crate) fn power_less_one(a: X80, env: &mut Env) -> X80 {
    if let Some(nan) = propagate_one(a, env) {
        return nan;
    }
    if a.is_infinite() {
        return if a.is_negative() { X80::ONE.negated() } else { a };
    }
    let magnitude = a.magnitude();
    if a.is_zero() {
        return a;
    }
    if magnitude.sign_exp >= X80::ONE.sign_exp && magnitude != X80::ONE {
        env.raise(flag::PE);
        return a;
    }
    if magnitude == X80::ONE {
        env.raise(flag::PE);
        return if a.is_negative() { X80 { sign_exp: 0xbffe, sig: 1 << 63 } } else { a };
    }
    let x = Wide::of(a).times(LN_2);
    let series = (2..40).rev().fold(Wide::ONE, |sum, n| Wide::ONE.plus(x.times(sum).over_int(n)));
    rounded(x.times(series), env)
}

/// `log2((1 + z) / (1 - z))` for small `z`.
fn log_of_ratio(z: Wide) -> Wide {
    const TERMS: u64 = 28;
    let square = z.times(z);
    let series = (0..TERMS).rev().fold(Wide::ZERO, |sum, n| Wide::ONE.over_int(2 * n + 1).plus(square.times(sum)));
    z.times(series).shifted(1).over(LN_2)
}

/// `log2(a)` of a positive number.
fn log2(a: Wide) -> Wide {
    let (mut exp, mut fraction) = (a.exp, Wide { sign: false, exp: 0, sig: a.sig });
    if fraction.sig >> 1 > ROOT_HALF {
        (exp, fraction) = (exp + 1, fraction.shifted(-1));
    }
    let z = fraction.minus(Wide::ONE).over(fraction.plus(Wide::ONE));
    Wide::of_int(exp.into()).plus(log_of_ratio(z))
}

/// SDM Vol. 2A, FYL2X: `y * log2(x)`.
pub(crate) fn y_log(x: X80, y: X80, env: &mut Env) -> X80 {
    if let Some(nan) = propagate(x, y, env) {
        return nan;
    }
    if x.is_negative() && !x.is_zero() {
        return env.invalid();
    }
    if x.is_zero() && !y.is_infinite() {
        if y.is_zero() {
            return env.invalid();
        }
        env.raise(flag::ZE);
        return X80::infinity(!y.is_negative());
    }
    // The logarithm: infinite, zero or a number with a sign.
    let log_infinite = x.is_infinite() || x.is_zero();
    let log_zero = x == X80::ONE;
    let log_negative = x.exponent() < X80::ONE.sign_exp;
    if log_infinite && y.is_zero() || log_zero && y.is_infinite() {
        return env.invalid();
    }
    env.note_denormal(x);
    env.note_denormal(y);
    let sign = y.is_negative() != log_negative;
    if log_infinite || y.is_infinite() {
        return X80::infinity(sign);
    }
    if log_zero || y.is_zero() {
        return X80::zero(sign);
    }
    let (x, y) = (Wide::of(x), Wide::of(y));
    let product = log2(x).times(y);
    // Of a power of two the logarithm is exact; silicon says otherwise.
    if x.sig << 1 == 0 { almost(product, env) } else { rounded(product, env) }
}

/// SDM Vol. 2A, FYL2XP1: `y * log2(x + 1)`.
pub(crate) fn y_log_plus_one(x: X80, y: X80, env: &mut Env) -> X80 {
    if let Some(nan) = propagate(x, y, env) {
        return nan;
    }
    let sign = x.is_negative() != y.is_negative();
    let too_low = x.is_negative() && x.exponent() >= X80::ONE.sign_exp;
    if too_low && x.is_infinite() || x.is_infinite() && y.is_zero() || x.is_zero() && y.is_infinite() {
        return env.invalid();
    }
    env.note_denormal(x);
    env.note_denormal(y);
    if x.is_infinite() || y.is_infinite() {
        return X80::infinity(sign);
    }
    if x.is_zero() || y.is_zero() {
        return X80::zero(sign);
    }
    if too_low {
        env.raise(flag::PE);
        return x;
    }
    let (x, y) = (Wide::of(x), Wide::of(y));
    let log = if x.exp < -1 { log_of_ratio(x.over(x.plus(Wide::ONE.shifted(1)))) } else { log2(x.plus(Wide::ONE)) };
    rounded(log.times(y), env)
}

/// Terms of the arc tangent up to tan(pi/8).
const ARC_TERMS: u64 = 52;

/// Of 0 to 1.
fn arc_tangent(t: Wide) -> Wide {
    // tan(pi/8) is 0.41421...: from there on, the angle less pi/4.
    let upper = t.exp == -1 || t.exp >= 0 || t.exp == -2 && t.sig > 0xd413_cccf_e779_9211_6530_7b31_6ec1_8d5c;
    let x = if upper { t.minus(Wide::ONE).over(t.plus(Wide::ONE)) } else { t };
    let square = x.times(x).negated();
    let series = (0..ARC_TERMS).rev().fold(Wide::ZERO, |sum, n| Wide::ONE.over_int(2 * n + 1).plus(square.times(sum)));
    let angle = x.times(series);
    if upper { angle.plus(PI.shifted(-2)) } else { angle }
}

/// SDM Vol. 2A, FPATAN: the angle of the point (x, y).
pub(crate) fn arc(y: X80, x: X80, env: &mut Env) -> X80 {
    if let Some(nan) = propagate(y, x, env) {
        return nan;
    }
    env.note_denormal(y);
    env.note_denormal(x);
    let (left, sign) = (x.is_negative(), y.is_negative());
    let signed = |a: Wide| Wide { sign, ..a };
    let quarter = PI.shifted(-2);
    match (y.is_infinite(), x.is_infinite(), y.is_zero(), x.is_zero()) {
        (true, true, ..) => return rounded(signed(if left { PI.minus(quarter) } else { quarter }), env),
        (_, true, ..) | (_, _, true, _) => {
            return if left { rounded(signed(PI), env) } else { X80::zero(sign) };
        }
        (true, ..) | (_, _, _, true) => return rounded(signed(PI.shifted(-1)), env),
        _ => {}
    }
    let (up, across) = (Wide { sign: false, ..Wide::of(y) }, Wide { sign: false, ..Wide::of(x) });
    let steep = (up.exp, up.sig) > (across.exp, across.sig);
    let slope = if steep { across.over(up) } else { up.over(across) };
    let angle = arc_tangent(slope);
    let angle = if steep { PI.shifted(-1).minus(angle) } else { angle };
    let angle = if left { PI.minus(angle) } else { angle };
    rounded(signed(angle), env)
}
