//! FPREM and FPREM1.

use super::round::Wide;
use super::{Env, propagate};
use crate::state::X80;

/// What is known of the quotient.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Quotient {
    /// Its low bits: the reduction is complete.
    Low(u64),
    /// The exponents were too far apart: go on with the result.
    Partial,
    /// There is none: NaN, infinity.
    None,
}

/// `a - q * b` for the integer `q` that is `a / b` truncated, or rounded to nearest (SDM Vol. 2A, FPREM, FPREM1).
pub(crate) fn remainder(a: X80, b: X80, nearest: bool, env: &mut Env) -> (X80, Quotient) {
    if let Some(special) = propagate(a, b, env) {
        return (special, Quotient::None);
    }
    if a.is_infinite() || b.is_zero() {
        return (env.invalid(), Quotient::None);
    }
    env.note_denormal(a);
    env.note_denormal(b);
    if a.is_zero() || b.is_infinite() {
        return (a.normalised(), Quotient::Low(0));
    }
    let (x, y) = (Wide::of(a), Wide::of(b));
    let (dividend, divisor) = (x.sig >> 64, y.sig >> 64);
    let apart = x.exp - y.exp;
    if apart >= 64 {
        // As much at once as silicon does: between 32 and 63 bits.
        let bits = apart & 0x1f | 0x20;
        let (_, rest) = long_division(dividend, divisor, bits as u32);
        return (rebuilt(x.sign, x.exp - bits, rest, env), Quotient::Partial);
    }
    if apart < -1 {
        return (x.round(64, env), Quotient::Low(0));
    }
    // The rest counts in units of the last place of the lesser exponent.
    let (mut quotient, mut rest, unit, divisor) = match apart {
        -1 => (0, dividend, x.exp, divisor << 1),
        _ => {
            let (quotient, rest) = long_division(dividend, divisor, apart as u32);
            (quotient, rest, y.exp, divisor)
        }
    };
    let mut sign = x.sign;
    if nearest && (2 * rest > divisor || 2 * rest == divisor && quotient & 1 == 1) {
        (quotient, rest, sign) = (quotient.wrapping_add(1), divisor - rest, !sign);
    }
    if rest == 0 {
        return (X80::zero(x.sign), Quotient::Low(quotient));
    }
    (rebuilt(sign, unit, rest, env), Quotient::Low(quotient))
}

/// Quotient (modulo 2^64) and rest of `(dividend << shift) / divisor`, 64-bit numbers with their top bits set.
fn long_division(dividend: u128, divisor: u128, shift: u32) -> (u64, u128) {
    let shifted = dividend << shift;
    ((shifted / divisor) as u64, shifted % divisor)
}

fn rebuilt(sign: bool, exp: i32, rest: u128, env: &mut Env) -> X80 {
    if rest == 0 { X80::zero(sign) } else { Wide::normalise(sign, exp, rest << 64).round(64, env) }
}
