//! Arithmetic on numbers of 128 bits, for functions that are rounded to 64: every step truncates and leaves an error
//! below 2^-126 of its result. Zero is a significand of zero.

use super::round::Wide;
use crate::fp::parts::shift_jam;

impl Wide {
    pub(super) const ZERO: Self = Self { sign: false, exp: 0, sig: 0 };
    pub(super) const ONE: Self = Self { sign: false, exp: 0, sig: 1 << 127 };

    pub(super) fn is_zero(self) -> bool {
        self.sig == 0
    }

    pub(super) fn negated(self) -> Self {
        Self { sign: !self.sign, ..self }
    }

    /// Times a power of two.
    pub(super) fn shifted(self, by: i32) -> Self {
        Self { exp: self.exp + by, ..self }
    }

    /// The result is not exact: what is below its last bit must not look like nothing.
    pub(super) fn inexact(self) -> Self {
        Self { sig: self.sig | 1, ..self }
    }

    pub(super) fn of_int(value: i64) -> Self {
        match value {
            0 => Self::ZERO,
            _ => Self::normalise(value < 0, 127, value.unsigned_abs().into()),
        }
    }

    pub(super) fn plus(self, other: Self) -> Self {
        if self.is_zero() || other.is_zero() {
            return if self.is_zero() { other } else { self };
        }
        let (big, small) = if (self.exp, self.sig) >= (other.exp, other.sig) { (self, other) } else { (other, self) };
        let shifted = shift_jam(small.sig, (big.exp - small.exp) as u32);
        if big.sign != small.sign {
            return match big.sig - shifted {
                0 => Self::ZERO,
                rest => Self::normalise(big.sign, big.exp, rest),
            };
        }
        match big.sig.overflowing_add(shifted) {
            (sum, false) => Self { sig: sum, ..big },
            (sum, true) => Self { sig: 1 << 127 | sum >> 1 | sum & 1, exp: big.exp + 1, ..big },
        }
    }

    pub(super) fn minus(self, other: Self) -> Self {
        self.plus(other.negated())
    }

    pub(super) fn times(self, other: Self) -> Self {
        if self.is_zero() || other.is_zero() {
            return Self::ZERO;
        }
        let (high, low) = product(self.sig, other.sig);
        let sign = self.sign != other.sign;
        let exp = self.exp + other.exp;
        if high >> 127 != 0 {
            return Self { sign, exp: exp + 1, sig: high };
        }
        Self { sign, exp, sig: high << 1 | low >> 127 }
    }

    pub(super) fn over(self, other: Self) -> Self {
        if self.is_zero() {
            return self;
        }
        // One bit of the quotient at a time; `rest` is below the divisor.
        let whole = self.sig >= other.sig;
        let mut rest = if whole { self.sig - other.sig } else { self.sig };
        let mut sig = u128::from(whole);
        let bits = if whole { 127 } else { 128 };
        for _ in 0..bits {
            let over = rest >> 127 != 0;
            rest = rest.wrapping_shl(1);
            sig <<= 1;
            if over || rest >= other.sig {
                rest = rest.wrapping_sub(other.sig);
                sig |= 1;
            }
        }
        Self { sign: self.sign != other.sign, exp: self.exp - other.exp - i32::from(!whole), sig }
    }

    /// Divided by a small number.
    pub(super) fn over_int(self, n: u64) -> Self {
        if self.is_zero() {
            return self;
        }
        let n = u128::from(n);
        let (quotient, rest) = (self.sig / n, self.sig % n);
        let zeros = quotient.leading_zeros();
        Self { exp: self.exp - zeros as i32, sig: quotient << zeros | (rest << zeros) / n, ..self }
    }
}

/// 128 by 128 bits.
fn product(a: u128, b: u128) -> (u128, u128) {
    const LOW: u128 = u64::MAX as u128;
    let (a1, a0, b1, b0) = (a >> 64, a & LOW, b >> 64, b & LOW);
    let low = a0 * b0;
    let middle = a1 * b0 + (low >> 64);
    let other = a0 * b1 + (middle & LOW);
    (a1 * b1 + (middle >> 64) + (other >> 64), other << 64 | low & LOW)
}
