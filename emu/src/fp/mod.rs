//! IEEE 754 arithmetic on bit patterns as SSE does it: rounding modes, DAZ, FTZ, sticky flags and NaN rules of MXCSR
//! (SDM Vol. 1, 4.8, 4.9, 11.5), with nothing taken from the host but exactly rounded `+ - * / sqrt`.
//!
//! Values are the low bits of a `u64`, whatever the format. `arith` has a fast path through the host for ordinary
//! operands and results under round-to-nearest; everything else goes through integers (`parts`).

mod approx;
mod arith;
mod compare;
mod convert;
mod fma;
pub(crate) mod parts;
#[cfg(test)]
mod tests;
pub(crate) mod x80;

pub(crate) use approx::{reciprocal, reciprocal_sqrt};
pub(crate) use arith::{add, div, mul, sqrt, sub};
pub(crate) use arith::{
    is_settled, ordinary_difference, ordinary_fused, ordinary_product, ordinary_quotient, ordinary_root, ordinary_sum,
};
pub(crate) use compare::{compare, max, min, predicate};
pub(crate) use compare::{ordinary_max, ordinary_min, ordinary_order, ordinary_predicate};
pub(crate) use convert::{convert, from_int, half_to_single, round_to_integer, single_to_half, to_int};
pub(crate) use convert::{ordinary_conversion, ordinary_truncated};
pub(crate) use fma::fma;

use crate::lanes::Lane;

/// Bits of MXCSR (SDM Vol. 1, figure 10-3).
pub(crate) mod mxcsr {
    /// Invalid operation.
    pub(crate) const IE: u32 = 1 << 0;
    /// Denormal operand.
    pub(crate) const DE: u32 = 1 << 1;
    /// Division by zero.
    pub(crate) const ZE: u32 = 1 << 2;
    /// Overflow.
    pub(crate) const OE: u32 = 1 << 3;
    /// Underflow.
    pub(crate) const UE: u32 = 1 << 4;
    /// Inexact ("precision").
    pub(crate) const PE: u32 = 1 << 5;
    /// The six flags.
    pub(crate) const FLAGS: u32 = 0x3f;
    /// Denormal operands are zeros.
    pub(crate) const DAZ: u32 = 1 << 6;
    /// Distance of a flag's mask from the flag.
    pub(crate) const MASK_SHIFT: u32 = 7;
    /// Place of the rounding mode.
    pub(crate) const RC_SHIFT: u32 = 13;
    /// Tiny results are zeros, while underflow is masked.
    pub(crate) const FTZ: u32 = 1 << 15;
}

/// MXCSR.RC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rounding {
    NearestEven,
    Down,
    Up,
    TowardZero,
}

impl Rounding {
    /// From the low two bits of a rounding control field.
    fn of(control: u32) -> Self {
        match control & 3 {
            0 => Self::NearestEven,
            1 => Self::Down,
            2 => Self::Up,
            _ => Self::TowardZero,
        }
    }
}

/// MXCSR during one instruction.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Env {
    mxcsr: u32,
    /// Flags raised by this instruction.
    raised: u32,
}

impl Env {
    pub(crate) fn new(mxcsr: u32) -> Self {
        Self { mxcsr, raised: 0 }
    }

    fn raise(&mut self, flags: u32) {
        self.raised |= flags;
    }

    fn is_masked(&self, flag: u32) -> bool {
        self.mxcsr & flag << mxcsr::MASK_SHIFT != 0
    }

    fn rounding(&self) -> Rounding {
        Rounding::of(self.mxcsr >> mxcsr::RC_SHIFT)
    }

    /// Between two steps of one instruction: the flags so far are settled, unless there is an exception to take.
    pub(crate) fn settle(&mut self) -> bool {
        if self.traps() {
            return false;
        }
        self.mxcsr |= self.raised;
        self.raised = 0;
        true
    }

    /// Whether an unmasked exception has been met.
    fn traps(&self) -> bool {
        self.raised & !(self.mxcsr >> mxcsr::MASK_SHIFT) & mxcsr::FLAGS != 0
    }

    /// `a` as the arithmetic sees it: a signed zero for a denormal under DAZ.
    fn operand<F: Format>(&self, a: u64) -> u64 {
        if self.mxcsr & mxcsr::DAZ != 0 && F::is_denormal(a) { a & F::SIGN } else { a }
    }

    fn note_denormal<F: Format>(&mut self, a: u64) {
        if F::is_denormal(a) {
            self.raise(mxcsr::DE);
        }
    }

    /// #IA with its masked response.
    fn invalid<F: Format>(&mut self) -> u64 {
        self.raise(mxcsr::IE);
        F::NAN
    }

    /// MXCSR after the instruction, and whether it raises #XM: flags of the operands hide flags of the result.
    pub(crate) fn finish(&self) -> (u32, bool) {
        const OPERAND: u32 = mxcsr::IE | mxcsr::DE | mxcsr::ZE;
        let unmasked = self.raised & !(self.mxcsr >> mxcsr::MASK_SHIFT);
        let raised = if unmasked & OPERAND != 0 { self.raised & OPERAND } else { self.raised };
        (self.mxcsr | raised, self.traps())
    }
}

/// A binary interchange format.
pub(crate) trait Format: 'static {
    /// Its bits.
    type Lane: Lane;
    /// Bits of the fraction.
    const FRAC: u32;
    const SIGN: u64 = 1 << (Self::Lane::BITS - 1);
    /// All exponent bits: infinity.
    const INF: u64 = Self::SIGN - (1 << Self::FRAC);
    /// Biased exponent of infinities and NaNs.
    const EXP_MAX: i32 = (Self::INF >> Self::FRAC) as i32;
    const BIAS: i32 = Self::EXP_MAX >> 1;
    const FRAC_MASK: u64 = (1 << Self::FRAC) - 1;
    /// Tells a quiet NaN.
    const QUIET: u64 = 1 << (Self::FRAC - 1);
    /// The "real indefinite" NaN (SDM Vol. 1, table 4-3).
    const NAN: u64 = Self::SIGN | Self::INF | Self::QUIET;

    fn is_nan(a: u64) -> bool {
        a & !Self::SIGN > Self::INF
    }
    fn is_signaling(a: u64) -> bool {
        Self::is_nan(a) && a & Self::QUIET == 0
    }
    fn is_infinite(a: u64) -> bool {
        a & !Self::SIGN == Self::INF
    }
    fn is_zero(a: u64) -> bool {
        a & !Self::SIGN == 0
    }
    fn is_denormal(a: u64) -> bool {
        a & Self::INF == 0 && !Self::is_zero(a)
    }
}

/// A format that the host computes in, too: its operations are correctly rounded, to nearest.
pub(crate) trait Native: Format {
    fn host_add(a: u64, b: u64) -> u64;
    fn host_sub(a: u64, b: u64) -> u64;
    fn host_mul(a: u64, b: u64) -> u64;
    fn host_div(a: u64, b: u64) -> u64;
    fn host_sqrt(a: u64) -> u64;
    /// `a * b + c`, rounded once.
    fn host_fma(a: u64, b: u64, c: u64) -> u64;
    fn host_of_int(value: i64) -> u64;
    /// Exactly.
    fn to_double(a: u64) -> f64;
    fn of_double(value: f64) -> u64;
}

/// Half precision, which is for storage only.
pub(crate) struct F16;
impl Format for F16 {
    type Lane = u16;
    const FRAC: u32 = 10;
}

/// Single precision.
pub(crate) struct F32;
/// Double precision.
pub(crate) struct F64;

macro_rules! format {
    ($name:ident, $float:ty, $bits:ty, $frac:expr) => {
        impl Format for $name {
            type Lane = $bits;
            const FRAC: u32 = $frac;
        }
        impl Native for $name {
            #[inline(always)]
            fn host_add(a: u64, b: u64) -> u64 {
                u64::from((<$float>::from_bits(a as $bits) + <$float>::from_bits(b as $bits)).to_bits())
            }
            #[inline(always)]
            fn host_sub(a: u64, b: u64) -> u64 {
                u64::from((<$float>::from_bits(a as $bits) - <$float>::from_bits(b as $bits)).to_bits())
            }
            #[inline(always)]
            fn host_mul(a: u64, b: u64) -> u64 {
                u64::from((<$float>::from_bits(a as $bits) * <$float>::from_bits(b as $bits)).to_bits())
            }
            #[inline(always)]
            fn host_div(a: u64, b: u64) -> u64 {
                u64::from((<$float>::from_bits(a as $bits) / <$float>::from_bits(b as $bits)).to_bits())
            }
            #[inline(always)]
            fn host_sqrt(a: u64) -> u64 {
                u64::from(<$float>::from_bits(a as $bits).sqrt().to_bits())
            }
            #[inline(always)]
            fn host_fma(a: u64, b: u64, c: u64) -> u64 {
                let [a, b, c] = [a, b, c].map(|x| <$float>::from_bits(x as $bits));
                u64::from(a.mul_add(b, c).to_bits())
            }
            #[inline(always)]
            fn host_of_int(value: i64) -> u64 {
                u64::from((value as $float).to_bits())
            }
            #[inline(always)]
            fn to_double(a: u64) -> f64 {
                f64::from(<$float>::from_bits(a as $bits))
            }
            #[inline(always)]
            fn of_double(value: f64) -> u64 {
                u64::from((value as $float).to_bits())
            }
        }
    };
}

format!(F32, f32, u32, 23);
format!(F64, f64, u64, 52);

/// The NaN that an operation on `a` and `b` gives if one of them is a NaN: the first one, quieted (SDM Vol. 1, table 4-7).
fn propagate<F: Format>(a: u64, b: u64, env: &mut Env) -> Option<u64> {
    if !F::is_nan(a) && !F::is_nan(b) {
        return None;
    }
    if F::is_signaling(a) || F::is_signaling(b) {
        env.raise(mxcsr::IE);
    }
    Some(if F::is_nan(a) { a } else { b } | F::QUIET)
}
