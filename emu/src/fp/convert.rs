//! Conversions between formats and to and from integers.

use super::arith::ordinary;
use super::parts::{Parts, rounds_up, shift_jam};
use super::{Env, F16, F32, Format, Native, Rounding, mxcsr, propagate};

/// From one format to another (SDM Vol. 2A, CVTPD2PS, CVTPS2PD).
pub(crate) fn convert<From: Format, To: Format>(a: u64, env: &mut Env) -> u64 {
    let a = env.operand::<From>(a);
    let sign = if a & From::SIGN != 0 { To::SIGN } else { 0 };
    if From::is_nan(a) {
        if From::is_signaling(a) {
            env.raise(mxcsr::IE);
        }
        // The payload keeps its upper bits.
        let payload = (a & From::FRAC_MASK) << (63 - From::FRAC) >> (63 - To::FRAC);
        return sign | To::INF | To::QUIET | payload;
    }
    if From::is_infinite(a) {
        return sign | To::INF;
    }
    if From::is_zero(a) {
        return sign;
    }
    env.note_denormal::<From>(a);
    Parts::of::<From>(a).round::<To>(env)
}

/// The same of an ordinary number, or of zero, that gives one.
#[inline(always)]
pub(crate) fn ordinary_conversion<From: Native, To: Native>(a: u64) -> Option<u64> {
    let both = |a: u64, r: u64| ordinary::<From>(a) && ordinary::<To>(r) || From::is_zero(a);
    let r = To::of_double(From::to_double(a));
    both(a, r).then_some(r)
}

/// From half to single precision, always exact; denormals are numbers like others, whatever MXCSR says (SDM Vol. 2C,
/// VCVTPH2PS).
pub(crate) fn half_to_single(a: u64, env: &mut Env) -> u64 {
    let mut inner = Env::new(env.mxcsr & !mxcsr::DAZ);
    let result = convert::<F16, F32>(a, &mut inner);
    env.raise(inner.raised & !mxcsr::DE);
    result
}

/// From single to half precision, rounded as `how` says: bits 0-1 the mode, unless bit 2 leaves that to MXCSR. Denormal
/// results stay, whatever MXCSR says (SDM Vol. 2C, VCVTPS2PH).
pub(crate) fn single_to_half(a: u64, how: u8, env: &mut Env) -> u64 {
    let mut control = env.mxcsr & !mxcsr::FTZ;
    if how & 4 == 0 {
        control = control & !(3 << mxcsr::RC_SHIFT) | u32::from(how & 3) << mxcsr::RC_SHIFT;
    }
    let mut inner = Env::new(control);
    let result = convert::<F32, F16>(a, &mut inner);
    env.raise(inner.raised);
    // Where underflow traps, silicon takes every denormal operand for inexact.
    if !env.is_masked(mxcsr::UE) && F32::is_denormal(env.operand::<F32>(a)) {
        env.raise(mxcsr::PE);
    }
    result
}

/// From a signed integer (SDM Vol. 2A, CVTSI2SD).
pub(crate) fn from_int<F: Format>(value: i64, env: &mut Env) -> u64 {
    if value == 0 {
        return 0;
    }
    let magnitude = value.unsigned_abs();
    let zeros = magnitude.leading_zeros();
    Parts { sign: value < 0, exp: 63 - zeros as i32, sig: magnitude << zeros }.round::<F>(env)
}

/// To a signed integer of `bits` bits, in the low bits of the result, rounded by MXCSR.RC or truncated (SDM Vol. 2A,
/// CVTSD2SI, CVTTSD2SI). What does not fit is invalid and gives the "integer indefinite", the least integer.
pub(crate) fn to_int<F: Format>(a: u64, bits: u32, truncate: bool, env: &mut Env) -> u64 {
    let a = env.operand::<F>(a);
    if F::is_zero(a) {
        return 0;
    }
    let indefinite = 1 << (bits - 1);
    let p = Parts::of::<F>(a);
    if a & F::INF == F::INF || p.exp > 63 {
        env.raise(mxcsr::IE);
        return indefinite;
    }
    let fixed = shift_jam(u128::from(p.sig) << 64, (63 - p.exp) as u32);
    let (whole, rest) = ((fixed >> 64) as u64, fixed as u64);
    let mode = if truncate { Rounding::TowardZero } else { env.rounding() };
    let magnitude = u128::from(whole) + u128::from(rounds_up(p.sign, whole & 1 == 1, rest, 1 << 63, mode));
    if magnitude > u128::from(indefinite) || magnitude == u128::from(indefinite) && !p.sign {
        env.raise(mxcsr::IE);
        return indefinite;
    }
    if rest != 0 {
        env.raise(mxcsr::PE);
    }
    let magnitude = magnitude as u64;
    let value = if p.sign { magnitude.wrapping_neg() } else { magnitude };
    value & u64::MAX >> (64 - bits)
}

/// The same of a number that is less than 2 to the power `bits - 1`, truncated, if inexactness is noted already.
#[inline(always)]
pub(crate) fn ordinary_truncated<F: Native>(a: u64, bits: u32) -> Option<u64> {
    let fits = (a & F::INF) >> F::FRAC < F::BIAS as u64 + u64::from(bits) - 1;
    fits.then(|| F::to_double(a) as i64 as u64 & u64::MAX >> (64 - bits))
}

/// To an integer in the same format, rounded as `how` says: bits 0-1 the mode, unless bit 2 leaves that to MXCSR; bit 3,
/// inexact or not is all the same (SDM Vol. 2B, ROUNDPD, figure 4-24). Denormals are not reported.
pub(crate) fn round_to_integer<F: Format>(a: u64, how: u8, env: &mut Env) -> u64 {
    let a = env.operand::<F>(a);
    if let Some(nan) = propagate::<F>(a, a, env) {
        return nan;
    }
    if F::is_zero(a) || F::is_infinite(a) {
        return a;
    }
    let p = Parts::of::<F>(a);
    if p.exp >= F::FRAC as i32 {
        return a;
    }
    let mode = if how & 4 != 0 { env.rounding() } else { Rounding::of(how.into()) };
    let fixed = shift_jam(u128::from(p.sig) << 64, (63 - p.exp) as u32);
    let (whole, rest) = ((fixed >> 64) as u64, fixed as u64);
    if rest != 0 && how & 8 == 0 {
        env.raise(mxcsr::PE);
    }
    let magnitude = whole + u64::from(rounds_up(p.sign, whole & 1 == 1, rest, 1 << 63, mode));
    if magnitude == 0 {
        return a & F::SIGN;
    }
    let zeros = magnitude.leading_zeros();
    Parts { sign: p.sign, exp: 63 - zeros as i32, sig: magnitude << zeros }.round::<F>(env)
}
