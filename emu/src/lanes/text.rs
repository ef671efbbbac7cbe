//! PCMPESTRI, PCMPESTRM, PCMPISTRI, PCMPISTRM: comparison of two strings in registers (SDM Vol. 2B, 4.1).

use super::{Lane, from_fn};
use crate::cpu::flags::{CF, OF, SF, ZF};

/// How two strings are compared: the immediate byte (SDM Vol. 2B, table 4-1).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Control(pub(crate) u8);

impl Control {
    fn is_words(self) -> bool {
        self.0 & 1 != 0
    }

    /// Characters of a register.
    fn places(self) -> usize {
        if self.is_words() { 8 } else { 16 }
    }

    fn character(self, v: &[u8; 16], i: usize) -> i64 {
        match self.0 & 3 {
            0 => v[i].zx() as i64,
            1 => u16::at(v, i).zx() as i64,
            2 => v[i].sx(),
            _ => u16::at(v, i).sx(),
        }
    }

    /// The length of a string that ends before its first zero.
    pub(crate) fn implicit_length(self, v: &[u8; 16]) -> usize {
        (0..self.places()).find(|i| self.character(v, *i) == 0).unwrap_or(self.places())
    }

    /// The length that a register gives: its magnitude, at most what there is room for.
    pub(crate) fn explicit_length(self, value: i64) -> usize {
        usize::try_from(value.unsigned_abs()).unwrap_or(usize::MAX).min(self.places())
    }
}

/// What a comparison gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Match {
    bits: u16,
    control: u8,
    /// CF, ZF, SF, OF.
    pub(crate) flags: u64,
}

impl Match {
    /// The number of the first match, or of the last one; the number of characters if there is none.
    pub(crate) fn index(self) -> u32 {
        match (self.bits, self.control & 0x40) {
            (0, _) => Control(self.control).places() as u32,
            (bits, 0) => bits.trailing_zeros(),
            (bits, _) => bits.ilog2(),
        }
    }

    /// A bit, or a lane of ones, for each match.
    pub(crate) fn mask(self) -> [u8; 16] {
        let hit = |i: usize| self.bits >> i & 1 != 0;
        match self.control & 0x41 {
            0 | 1 => u128::from(self.bits).to_le_bytes(),
            0x40 => from_fn(|i| if hit(i) { u8::MAX } else { 0 }),
            _ => from_fn(|i| if hit(i) { u16::MAX } else { 0 }),
        }
    }
}

/// Compares `a`, a set, ranges or a string, with every place of `b`.
pub(crate) fn compare(a: &[u8; 16], a_len: usize, b: &[u8; 16], b_len: usize, control: Control) -> Match {
    let places = control.places();
    let (ca, cb) = (|i: usize| control.character(a, i), |i: usize| control.character(b, i));
    let matches = |j: usize| match control.0 >> 2 & 3 {
        // Equal any, ranges: nothing matches beyond the end.
        0 => j < b_len && (0..a_len).any(|i| ca(i) == cb(j)),
        1 => j < b_len && (0..a_len / 2).any(|i| (ca(2 * i)..=ca(2 * i + 1)).contains(&cb(j))),
        // Equal each: beyond both ends they are equal.
        2 => match (j < a_len, j < b_len) {
            (true, true) => ca(j) == cb(j),
            (in_a, in_b) => in_a == in_b,
        },
        // Equal ordered: `a` begins here, as far as the register shows.
        _ => (0..a_len.min(places - j)).all(|i| j + i < b_len && ca(i) == cb(j + i)),
    };
    let found = (0..places).fold(0u16, |bits, j| bits | u16::from(matches(j)) << j);
    let within = |len: usize| ((1u32 << len) - 1) as u16;
    let bits = match control.0 >> 4 & 3 {
        1 => found ^ within(places),
        3 => found ^ within(b_len),
        _ => found,
    };
    let flag = |yes: bool, flag: u64| u64::from(yes) * flag;
    let flags = flag(bits != 0, CF) | flag(b_len < places, ZF) | flag(a_len < places, SF) | flag(bits & 1 != 0, OF);
    Match { bits, control: control.0, flags }
}
