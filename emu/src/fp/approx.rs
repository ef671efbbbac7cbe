//! RCPPS and RSQRTPS: x86 only bounds their error; here they are what Intel's tables give, as formulas.
//!
//! The argument is known by the middle of the interval it falls in (its upper 11 bits of fraction, or 10 and the parity
//! of the exponent), the result is rounded to 12 bits of fraction. No flags, denormals are zeros both ways.

use super::{F32, Format};

const SIGN: u32 = 1 << 31;
const INF: u32 = 0x7f80_0000;
const NAN: u32 = F32::NAN as u32;

/// Bits of the fraction of the result, and where they are.
fn packed(biased: u32, significand: u32) -> u32 {
    biased << 23 | (significand - 4096) << 11
}

/// About `1 / a` (SDM Vol. 2B, RCPPS): relative error below 1.5 * 2^-12.
pub(crate) fn reciprocal(a: u32) -> u32 {
    let (sign, magnitude) = (a & SIGN, a & !SIGN);
    if magnitude > INF {
        return a | F32::QUIET as u32;
    }
    let biased = magnitude >> 23;
    match biased {
        0 => return sign | INF,
        // The result would be denormal.
        253.. => return sign,
        _ => {}
    }
    // `middle` is 2^12 * 1.f for the middle of the interval, `quotient` 2^12 * 2 / 1.f.
    let middle = 4097 + 2 * (magnitude >> 12 & 0x7ff);
    let quotient = ((1 << 25) + middle / 2) / middle;
    sign | packed(253 - biased, quotient)
}

/// About `1 / sqrt(a)` (SDM Vol. 2B, RSQRTPS): relative error below 1.5 * 2^-12.
pub(crate) fn reciprocal_sqrt(a: u32) -> u32 {
    let (sign, magnitude) = (a & SIGN, a & !SIGN);
    if magnitude > INF {
        return a | F32::QUIET as u32;
    }
    let biased = magnitude >> 23;
    if biased == 0 {
        return sign | INF;
    }
    if sign != 0 {
        return NAN;
    }
    if magnitude == INF {
        return 0;
    }
    let exp = biased as i32 - 127;
    let middle = u64::from(2049 + 2 * (magnitude >> 13 & 0x3ff));
    // `middle` is 2^11 * 1.f. Less an even power of two, the argument is 1.f or 2 * 1.f; `root` is 2^13 over its root.
    let square = (1u64 << (39 - (exp & 1))) / middle;
    let root = (square.isqrt() as u32).div_ceil(2);
    packed((126 - (exp >> 1)) as u32, root)
}
