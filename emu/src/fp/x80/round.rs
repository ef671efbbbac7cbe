//! Finite numbers taken apart, and the one place where double-extended results are rounded.

use super::{BIAS, EXP_MAX, Env, INTEGER, flag, signed};
use crate::fp::Rounding;
use crate::fp::parts::shift_jam;
use crate::state::X80;

/// Added to or taken from the exponent of a result whose underflow or overflow is not masked (SDM Vol. 1, 8.5.4).
const WRAP: i32 = 24576;

/// A finite number other than zero: `sig / 2^127 * 2^exp`, where the top bit of `sig` is set and the lowest one stands
/// for all below.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wide {
    pub(crate) sign: bool,
    pub(crate) exp: i32,
    pub(crate) sig: u128,
}

/// A significand of some bits, at the top of 64.
pub(super) struct Cut {
    pub(super) sig: u64,
    /// It was rounded up to the next power of two.
    pub(super) carry: bool,
    pub(super) up: bool,
    pub(super) inexact: bool,
}

/// Rounds `sig` to its upper `bits` bits.
pub(super) fn cut(sign: bool, sig: u128, bits: u32, mode: Rounding) -> Cut {
    let kept = sig >> (128 - bits);
    let rest = sig << bits;
    let half = 1 << 127;
    let up = match mode {
        Rounding::NearestEven => rest > half || rest == half && kept & 1 == 1,
        Rounding::Down => sign && rest != 0,
        Rounding::Up => !sign && rest != 0,
        Rounding::TowardZero => false,
    };
    let kept = kept + u128::from(up);
    let carry = kept >> bits != 0;
    let kept = if carry { kept >> 1 } else { kept };
    Cut { sig: (kept << (64 - bits)) as u64, carry, up, inexact: rest != 0 }
}

impl Wide {
    /// Takes apart a finite number other than zero.
    pub(crate) fn of(a: X80) -> Self {
        let exp = i32::from(a.exponent().max(1)) - BIAS;
        Self::normalise(a.is_negative(), exp, u128::from(a.sig) << 64)
    }

    /// Takes apart a number whose integer bit is set and whose exponent is neither 0 nor the greatest.
    #[inline(always)]
    pub(super) fn of_normal(a: X80) -> Self {
        Self { sign: a.is_negative(), exp: i32::from(a.exponent()) - BIAS, sig: u128::from(a.sig) << 64 }
    }

    /// `sig / 2^127 * 2^exp` for any `sig` but 0.
    #[inline(always)]
    pub(crate) fn normalise(sign: bool, exp: i32, sig: u128) -> Self {
        let zeros = sig.leading_zeros();
        Self { sign, exp: exp - zeros as i32, sig: sig << zeros }
    }

    /// The nearest number of `bits` bits, with flags.
    #[inline(always)]
    pub(crate) fn round(self, bits: u32, env: &mut Env) -> X80 {
        let biased = self.exp + BIAS;
        // What nearly every instruction does, in words: nothing to shift, neither end of the range near.
        if bits == 64 && env.rounding() == Rounding::NearestEven && 0 < biased && biased < i32::from(EXP_MAX) - 1 {
            let (kept, rest) = ((self.sig >> 64) as u64, self.sig as u64);
            let up = rest > INTEGER || rest == INTEGER && kept & 1 == 1;
            let (rounded, carry) = kept.overflowing_add(u64::from(up));
            env.raise(if rest != 0 { flag::PE } else { 0 });
            env.c1 = up;
            let sign_exp = signed(self.sign) | (biased as u16 + u16::from(carry));
            return X80 { sign_exp, sig: rounded | INTEGER };
        }
        self.round_any(bits, env)
    }

    #[inline(never)]
    fn round_any(self, bits: u32, env: &mut Env) -> X80 {
        let first = cut(self.sign, self.sig, bits, env.rounding());
        let biased = self.exp + BIAS + i32::from(first.carry);
        if biased < 1 && env.is_masked(flag::UE) || self.exp + BIAS == 0 && biased == 1 {
            return self.round_denormal(bits, biased < 1, env);
        }
        if biased >= EXP_MAX.into() && env.is_masked(flag::OE) {
            env.raise(flag::OE | flag::PE);
            return self.overflowed(bits, env);
        }
        if first.inexact {
            env.raise(flag::PE);
        }
        env.c1 = first.up;
        let biased = match biased {
            ..1 => {
                env.raise(flag::UE);
                biased + WRAP
            }
            0x7fff.. => {
                env.raise(flag::OE);
                biased - WRAP
            }
            _ => biased,
        };
        match biased {
            // Too far off even so (FSCALE).
            ..1 => {
                (env.raised, env.c1) = (env.raised | flag::PE, false);
                X80::zero(self.sign)
            }
            0x7fff.. => {
                (env.raised, env.c1) = (env.raised | flag::PE, true);
                X80::infinity(self.sign)
            }
            _ => X80 { sign_exp: signed(self.sign) | biased as u16, sig: first.sig },
        }
    }

    fn round_denormal(self, bits: u32, tiny: bool, env: &mut Env) -> X80 {
        let shifted = shift_jam(self.sig, (1 - BIAS - self.exp) as u32);
        let cut = cut(self.sign, shifted, bits, env.rounding());
        if cut.inexact {
            env.raise(flag::PE | if tiny { flag::UE } else { 0 });
        }
        env.c1 = cut.up;
        let exponent = u16::from(cut.sig & INTEGER != 0);
        X80 { sign_exp: signed(self.sign) | exponent, sig: cut.sig }
    }

    /// The masked response to overflow (SDM Vol. 1, table 4-11).
    fn overflowed(self, bits: u32, env: &mut Env) -> X80 {
        let stops = match env.rounding() {
            Rounding::NearestEven => false,
            Rounding::Down => !self.sign,
            Rounding::Up => self.sign,
            Rounding::TowardZero => true,
        };
        env.c1 = !stops;
        if stops {
            return X80 { sign_exp: signed(self.sign) | (EXP_MAX - 1), sig: u64::MAX << (64 - bits) };
        }
        X80::infinity(self.sign)
    }
}
