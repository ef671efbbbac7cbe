//! Between double-extended numbers and what memory holds: single and double precision, integers, packed decimals.

use super::round::{Wide, cut};
use super::{BIAS, EXP_MAX, Env, INTEGER, flag, propagate_one, signed};
use crate::fp::parts::{Parts, shift_jam};
use crate::fp::{Format, Rounding};
use crate::state::X80;

/// An operand of single or double precision as it is, signaling NaNs included; a denormal is noted.
pub(crate) fn from_format<F: Format>(a: u64, env: &mut Env) -> X80 {
    let sign = signed(a & F::SIGN != 0);
    if a & F::INF == F::INF {
        return X80 { sign_exp: sign | EXP_MAX, sig: INTEGER | (a & F::FRAC_MASK) << (63 - F::FRAC) };
    }
    if F::is_zero(a) {
        return X80 { sign_exp: sign, sig: 0 };
    }
    env.denormal |= F::is_denormal(a);
    let parts = Parts::of::<F>(a);
    X80 { sign_exp: sign | (parts.exp + BIAS) as u16, sig: parts.sig }
}

/// The same as a result (SDM Vol. 2A, FLD).
pub(crate) fn load_format<F: Format>(a: u64, env: &mut Env) -> X80 {
    let value = from_format::<F>(a, env);
    propagate_one(value, env).unwrap_or(value)
}

/// To single or double precision (SDM Vol. 2A, FST). With unmasked overflow or underflow the result goes nowhere.
pub(crate) fn to_format<F: Format>(a: X80, env: &mut Env) -> u64 {
    let sign = if a.is_negative() { F::SIGN } else { 0 };
    if a.is_unsupported() {
        env.raise(flag::IE);
        return F::NAN;
    }
    if a.is_nan() {
        if a.is_signaling() {
            env.raise(flag::IE);
        }
        return sign | F::INF | F::QUIET | (a.sig & !INTEGER) >> (63 - F::FRAC);
    }
    if a.is_infinite() {
        return sign | F::INF;
    }
    if a.is_zero() {
        return sign;
    }
    sign | round_to::<F>(Wide::of(a), env)
}

fn round_to<F: Format>(a: Wide, env: &mut Env) -> u64 {
    let bits = F::FRAC + 1;
    let first = cut(a.sign, a.sig, bits, env.rounding());
    let biased = a.exp + F::BIAS + i32::from(first.carry);
    if biased >= F::EXP_MAX {
        if !env.is_masked(flag::OE) {
            env.raise(flag::OE);
            return 0;
        }
        let stops = match env.rounding() {
            Rounding::NearestEven => false,
            Rounding::Down => !a.sign,
            Rounding::Up => a.sign,
            Rounding::TowardZero => true,
        };
        env.raise(flag::OE | flag::PE);
        env.c1 = !stops;
        return if stops { F::INF - 1 } else { F::INF };
    }
    let tiny = biased < 1;
    if tiny && !env.is_masked(flag::UE) {
        env.raise(flag::UE);
        return 0;
    }
    let biased_before = a.exp + F::BIAS;
    let (cut, base) = if biased_before < 1 {
        (cut(a.sign, shift_jam(a.sig, (1 - biased_before) as u32), bits, env.rounding()), 0)
    } else {
        (first, biased as u64 - 1)
    };
    if cut.inexact {
        env.raise(flag::PE | if tiny { flag::UE } else { 0 });
    }
    env.c1 = cut.up;
    // The integer bit adds one to the exponent.
    (base << F::FRAC) + (cut.sig >> (64 - bits))
}

/// From a signed integer: always exact.
pub(crate) fn from_int(value: i64) -> X80 {
    if value == 0 {
        return X80::ZERO;
    }
    let magnitude = value.unsigned_abs();
    let zeros = magnitude.leading_zeros();
    X80 { sign_exp: signed(value < 0) | (BIAS as u16 + 63 - zeros as u16), sig: magnitude << zeros }
}

/// Sign and magnitude of `a` rounded to an integer, if it has no more than 64 bits; nothing is raised.
fn whole(a: X80, mode: Rounding) -> Option<(bool, u64, bool, bool)> {
    if a.is_zero() {
        return Some((a.is_negative(), 0, false, false));
    }
    if a.is_unsupported() || a.exponent() == EXP_MAX {
        return None;
    }
    let Wide { sign, exp, sig } = Wide::of(a);
    if exp > 63 {
        return None;
    }
    let cut = cut(sign, shift_jam(sig, (63 - exp) as u32), 64, mode);
    (!cut.carry).then_some((sign, cut.sig, cut.inexact, cut.up))
}

/// To a signed integer of `bits` bits, in the low bits of the result (SDM Vol. 2A, FIST, FISTTP). What does not fit is
/// invalid and gives the "integer indefinite", the least integer.
pub(crate) fn to_int(a: X80, bits: u32, truncate: bool, env: &mut Env) -> u64 {
    let mode = if truncate { Rounding::TowardZero } else { env.rounding() };
    let least = 1 << (bits - 1);
    match whole(a, mode) {
        Some((sign, magnitude, inexact, up)) if magnitude < least || sign && magnitude == least => {
            env.raise(if inexact { flag::PE } else { 0 });
            env.c1 = up;
            if sign { magnitude.wrapping_neg() } else { magnitude }
        }
        _ => {
            env.raise(flag::IE);
            least
        }
    }
}

/// The least number that has no packed decimal.
const BCD_LIMIT: u64 = 1_000_000_000_000_000_000;

/// The ten bytes of a packed decimal (SDM Vol. 2A, FBLD); digits above 9 count as they are.
pub(crate) fn from_bcd(low: u64, high: u16) -> X80 {
    let digits = u128::from(low) | u128::from(high & 0xff) << 64;
    let magnitude = (0..18).rev().fold(0u64, |sum, at| sum * 10 + (digits >> (4 * at) & 15) as u64);
    let value = from_int(magnitude as i64);
    if high & 0x8000 != 0 { value.negated() } else { value }
}

/// To a packed decimal (SDM Vol. 2A, FBSTP).
pub(crate) fn bcd_of(a: X80, env: &mut Env) -> (u64, u16) {
    match whole(a, env.rounding()) {
        Some((sign, mut rest, inexact, up)) if rest < BCD_LIMIT => {
            env.raise(if inexact { flag::PE } else { 0 });
            env.c1 = up;
            let mut digits = 0u128;
            for at in 0..18 {
                digits |= u128::from(rest % 10) << (4 * at);
                rest /= 10;
            }
            (digits as u64, (digits >> 64) as u16 | signed(sign))
        }
        _ => {
            env.raise(flag::IE);
            (0xc000_0000_0000_0000, 0xffff)
        }
    }
}
