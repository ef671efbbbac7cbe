//! The x87's arithmetic: double-extended numbers, in integers only (SDM Vol. 1, chapters 4 and 8).

mod arith;
mod constants;
mod convert;
mod functions;
mod remainder;
pub(crate) mod round;
#[cfg(test)]
mod tests;
mod wide;

pub(crate) use arith::{add, compare, div, divr, extract, mul, round_to_integer, scale, sqrt, sub, subr};
pub(crate) use constants::{LN_2, LOG2_10, LOG2_E, LOG10_2, PI};
pub(crate) use convert::{bcd_of, from_bcd, from_format, from_int, load_format, to_format, to_int};
pub(crate) use functions::{Wanted, angle, arc, power_less_one, y_log, y_log_plus_one};
pub(crate) use remainder::{Quotient, remainder};

use super::Rounding;
use crate::state::X80;

const SIGN: u16 = 0x8000;
const EXP_MAX: u16 = 0x7fff;
const BIAS: i32 = 0x3fff;
/// The explicit top bit of the significand.
const INTEGER: u64 = 1 << 63;
/// Tells a quiet NaN.
const QUIET: u64 = 1 << 62;

/// Exceptions of the status word; their masks have the same places in the control word (SDM Vol. 1, 8.1.3).
pub(crate) mod flag {
    /// Invalid operation.
    pub(crate) const IE: u16 = 1 << 0;
    /// Denormal operand.
    pub(crate) const DE: u16 = 1 << 1;
    /// Division by zero.
    pub(crate) const ZE: u16 = 1 << 2;
    /// Overflow.
    pub(crate) const OE: u16 = 1 << 3;
    /// Underflow.
    pub(crate) const UE: u16 = 1 << 4;
    /// Inexact.
    pub(crate) const PE: u16 = 1 << 5;
    /// Stack fault; comes with IE.
    pub(crate) const SF: u16 = 1 << 6;
    /// The six that can be masked.
    pub(crate) const ALL: u16 = 0x3f;
    /// Those that are found before there is a result.
    pub(crate) const OPERAND: u16 = IE | DE | ZE;
}

/// Control word and exceptions during one instruction.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Env {
    control: u16,
    /// Flags raised.
    pub(crate) raised: u16,
    /// What goes to C1: the magnitude was rounded up, or the stack overflowed.
    pub(crate) c1: bool,
    /// An operand from memory was a denormal of its own format.
    denormal: bool,
}

impl Env {
    pub(crate) fn new(control: u16) -> Self {
        Self { control, raised: 0, c1: false, denormal: false }
    }

    pub(crate) fn raise(&mut self, flags: u16) {
        self.raised |= flags;
    }

    pub(crate) fn is_masked(&self, flag: u16) -> bool {
        self.control & flag != 0
    }

    pub(crate) fn rounding(&self) -> Rounding {
        match self.control >> 10 & 3 {
            0 => Rounding::NearestEven,
            1 => Rounding::Down,
            2 => Rounding::Up,
            _ => Rounding::TowardZero,
        }
    }

    /// Bits of the significand of results (SDM Vol. 1, table 8-2).
    fn precision(&self) -> u32 {
        match self.control >> 8 & 3 {
            0 => 24,
            2 => 53,
            _ => 64,
        }
    }

    /// #IA with its masked response.
    pub(crate) fn invalid(&mut self) -> X80 {
        self.raise(flag::IE);
        X80::INDEFINITE
    }

    /// Whether `a` and `b` are neither zero, denormal, infinite, NaN nor unsupported: there is nothing to find out about them.
    #[inline(always)]
    fn ordinary(&self, a: X80, b: X80) -> bool {
        let normal = |x: X80| x.exponent().wrapping_sub(1) < EXP_MAX - 1 && x.sig & INTEGER != 0;
        normal(a) && normal(b) && !self.denormal
    }

    fn note_denormal(&mut self, a: X80) {
        if a.is_denormal() || self.denormal {
            self.raise(flag::DE);
        }
    }
}

impl X80 {
    /// The "real indefinite" NaN.
    pub(crate) const INDEFINITE: Self = Self { sign_exp: 0xffff, sig: INTEGER | QUIET };
    pub(crate) const ONE: Self = Self { sign_exp: 0x3fff, sig: INTEGER };
    pub(crate) const ZERO: Self = Self { sign_exp: 0, sig: 0 };

    pub(crate) fn zero(negative: bool) -> Self {
        Self { sign_exp: signed(negative), sig: 0 }
    }

    pub(crate) fn infinity(negative: bool) -> Self {
        Self { sign_exp: signed(negative) | EXP_MAX, sig: INTEGER }
    }

    pub(crate) fn is_negative(self) -> bool {
        self.sign_exp & SIGN != 0
    }

    pub(crate) fn negated(self) -> Self {
        Self { sign_exp: self.sign_exp ^ SIGN, ..self }
    }

    pub(crate) fn magnitude(self) -> Self {
        Self { sign_exp: self.sign_exp & !SIGN, ..self }
    }

    fn exponent(self) -> u16 {
        self.sign_exp & EXP_MAX
    }

    /// Pseudo-NaN, pseudo-infinity, unnormal (SDM Vol. 1, 8.2.2).
    pub(crate) fn is_unsupported(self) -> bool {
        self.exponent() != 0 && self.sig & INTEGER == 0
    }

    pub(crate) fn is_nan(self) -> bool {
        self.exponent() == EXP_MAX && self.sig > INTEGER
    }

    fn is_signaling(self) -> bool {
        self.is_nan() && self.sig & QUIET == 0
    }

    pub(crate) fn is_infinite(self) -> bool {
        self.exponent() == EXP_MAX && self.sig == INTEGER
    }

    pub(crate) fn is_zero(self) -> bool {
        self.exponent() == 0 && self.sig == 0
    }

    /// Denormals and pseudo-denormals.
    pub(crate) fn is_denormal(self) -> bool {
        self.exponent() == 0 && self.sig != 0
    }

    /// A pseudo-denormal becomes the number that it stands for.
    fn normalised(self) -> Self {
        if self.is_denormal() { Self { sign_exp: self.sign_exp | (self.sig >> 63) as u16, ..self } } else { self }
    }

    fn quieted(self) -> Self {
        Self { sig: self.sig | QUIET, ..self }
    }
}

fn signed(negative: bool) -> u16 {
    if negative { SIGN } else { 0 }
}

/// What an operation on `a` and `b` gives if one of them is a NaN or unsupported (SDM Vol. 1, table 4-7): a quiet NaN
/// before a signaling one, the larger significand of two alike, the positive one of two equal.
fn propagate(a: X80, b: X80, env: &mut Env) -> Option<X80> {
    if a.is_unsupported() || b.is_unsupported() {
        return Some(env.invalid());
    }
    if !a.is_nan() && !b.is_nan() {
        return None;
    }
    let (a_signals, b_signals) = (a.is_signaling(), b.is_signaling());
    if a_signals || b_signals {
        env.raise(flag::IE);
    }
    let (qa, qb) = (a.quieted(), b.quieted());
    let larger = || if (qa.sig, qb.sign_exp) >= (qb.sig, qa.sign_exp) { qa } else { qb };
    Some(match (a.is_nan(), b.is_nan()) {
        (true, false) => qa,
        (false, _) => qb,
        (true, true) if a_signals == b_signals => larger(),
        (true, true) => {
            if a_signals {
                qb
            } else {
                qa
            }
        }
    })
}

/// Likewise for one operand; also notes a denormal.
fn propagate_one(a: X80, env: &mut Env) -> Option<X80> {
    let special = propagate(a, a, env);
    if special.is_none() {
        env.note_denormal(a);
    }
    special
}
