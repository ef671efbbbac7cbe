//! Finite numbers taken apart, and the one place where results are rounded.

use super::{Env, Format, Rounding, mxcsr};

/// A finite number other than zero: `sig / 2^63 * 2^exp`, where the top bit of `sig` is set.
#[derive(Clone, Copy, Debug)]
pub(super) struct Parts {
    pub(super) sign: bool,
    pub(super) exp: i32,
    pub(super) sig: u64,
}

impl Parts {
    /// Takes apart a finite number other than zero.
    pub(super) fn of<F: Format>(a: u64) -> Self {
        let biased = (a >> F::FRAC) as i32 & F::EXP_MAX;
        let frac = a & F::FRAC_MASK;
        let (exp, sig) = if biased == 0 { (1 - F::BIAS, frac) } else { (biased - F::BIAS, frac | 1 << F::FRAC) };
        let sig = sig << (63 - F::FRAC);
        let zeros = sig.leading_zeros();
        Self { sign: a & F::SIGN != 0, exp: exp - zeros as i32, sig: sig << zeros }
    }

    /// `sig / 2^127 * 2^exp` for any `sig` but 0, with what does not fit jammed into the lowest bit.
    pub(super) fn normalise(sign: bool, exp: i32, sig: u128) -> Self {
        let zeros = sig.leading_zeros();
        let sig = sig << zeros;
        let jam = u64::from(sig as u64 != 0);
        Self { sign, exp: exp - zeros as i32, sig: (sig >> 64) as u64 | jam }
    }

    /// The product, all of it.
    pub(super) fn times(self, other: Self) -> Exact {
        let product = u128::from(self.sig) * u128::from(other.sig);
        let zeros = product.leading_zeros();
        let exp = self.exp + other.exp + 1 - zeros as i32;
        Exact { sign: self.sign != other.sign, exp, sig: product << zeros >> 1 }
    }

    /// The nearest number of the format as MXCSR wants it, with flags.
    pub(super) fn round<F: Format>(self, env: &mut Env) -> u64 {
        let sign = signed::<F>(self.sign);
        let drop = 63 - F::FRAC;
        let biased = self.exp + F::BIAS;
        let (kept, inexact) = round_off(self.sign, self.sig, drop, env.rounding());
        if biased < 1 {
            // Tiny is what would be below the least normal number even after rounding (SDM Vol. 1, 4.9.1.5).
            let tiny = biased + ((kept >> (F::FRAC + 1)) as i32) < 1;
            if tiny && !env.is_masked(mxcsr::UE) {
                // The result goes nowhere; it counts as inexact if it is so apart from its exponent.
                env.raise(mxcsr::UE | if inexact { mxcsr::PE } else { 0 });
                return sign;
            }
            return sign | self.round_denormal::<F>(env, tiny);
        }
        let bits = ((biased as u64) << F::FRAC) + (kept - (1 << F::FRAC));
        if bits >= F::INF {
            let precision = if inexact || env.is_masked(mxcsr::OE) { mxcsr::PE } else { 0 };
            env.raise(mxcsr::OE | precision);
            return sign | overflowed::<F>(self.sign, env.rounding());
        }
        if inexact {
            env.raise(mxcsr::PE);
        }
        sign | bits
    }

    fn round_denormal<F: Format>(self, env: &mut Env, tiny: bool) -> u64 {
        if tiny && env.mxcsr & mxcsr::FTZ != 0 {
            env.raise(mxcsr::UE | mxcsr::PE);
            return 0;
        }
        let sig = shift_jam(u128::from(self.sig), (1 - F::BIAS - self.exp) as u32) as u64;
        let (kept, inexact) = round_off(self.sign, sig, 63 - F::FRAC, env.rounding());
        if inexact {
            env.raise(mxcsr::PE | if tiny { mxcsr::UE } else { 0 });
        }
        kept
    }
}

/// A finite number other than zero: `sig / 2^126 * 2^exp`, where bit 126 of `sig` is its top bit and the lowest one
/// stands for all below.
#[derive(Clone, Copy, Debug)]
pub(super) struct Exact {
    sign: bool,
    exp: i32,
    sig: u128,
}

impl From<Parts> for Exact {
    fn from(a: Parts) -> Self {
        Self { sign: a.sign, exp: a.exp, sig: u128::from(a.sig) << 63 }
    }
}

impl Exact {
    /// The sum, to more bits than any format has; `None` if nothing is left. A product of two numbers of up to 53 bits
    /// ends in zeros, so that where a shift loses bits, the exponents are too far apart for cancellation.
    pub(super) fn plus(self, other: Self) -> Option<Self> {
        let (big, small) = if (self.exp, self.sig) >= (other.exp, other.sig) { (self, other) } else { (other, self) };
        let shifted = shift_jam(small.sig, (big.exp - small.exp) as u32);
        let sum = if big.sign == small.sign { big.sig + shifted } else { big.sig - shifted };
        if sum == 0 {
            return None;
        }
        let zeros = sum.leading_zeros();
        // A bit that is shifted out by a carry is jammed.
        let sig = sum << zeros;
        Some(Self { exp: big.exp + 1 - zeros as i32, sig: sig >> 1 | sig & 1, ..big })
    }

    pub(super) fn round<F: Format>(self, env: &mut Env) -> u64 {
        Parts::normalise(self.sign, self.exp + 1, self.sig).round::<F>(env)
    }
}

/// The sign bit.
pub(super) fn signed<F: Format>(negative: bool) -> u64 {
    if negative { F::SIGN } else { 0 }
}

/// `value >> by`, with the bits lost jammed into the lowest one.
pub(super) fn shift_jam(value: u128, by: u32) -> u128 {
    if by == 0 {
        return value;
    }
    if by > 127 {
        return u128::from(value != 0);
    }
    value >> by | u128::from(value << (128 - by) != 0)
}

/// Whether a magnitude is incremented when what follows its last bit (`odd`) is `rest`, in units where `half` is one half.
pub(super) fn rounds_up(negative: bool, odd: bool, rest: u64, half: u64, mode: Rounding) -> bool {
    match mode {
        Rounding::NearestEven => rest > half || rest == half && odd,
        Rounding::Down => negative && rest != 0,
        Rounding::Up => !negative && rest != 0,
        Rounding::TowardZero => false,
    }
}

/// Drops the low `drop` bits of `sig`; also tells whether that lost anything.
fn round_off(negative: bool, sig: u64, drop: u32, mode: Rounding) -> (u64, bool) {
    let kept = sig >> drop;
    let rest = sig & ((1 << drop) - 1);
    let up = rounds_up(negative, kept & 1 == 1, rest, 1 << (drop - 1), mode);
    (kept + u64::from(up), rest != 0)
}

/// Magnitude of the masked response to overflow (SDM Vol. 1, table 4-11).
fn overflowed<F: Format>(negative: bool, mode: Rounding) -> u64 {
    match (mode, negative) {
        (Rounding::TowardZero, _) | (Rounding::Down, false) | (Rounding::Up, true) => F::INF - 1,
        _ => F::INF,
    }
}
