//! MSI-X: interrupts that are messages (PCI Local Bus Specification 3.0, 6.8.2).

use serde::{Deserialize, Serialize};

use crate::check::{Checked, ensure};

/// Number of the capability.
pub(crate) const CAPABILITY: u8 = 0x11;
/// Where in the bar the bits of what is pending stand; the table is in front of them.
const PENDING: u32 = 0x800;
/// Size of the bar.
pub(crate) const BAR_BYTES: u32 = 0x1000;
/// Message control: function mask, enable.
const CONTROL_MASK: u8 = 0x40;
const CONTROL_ENABLE: u8 = 0x80;
/// Vector control: mask.
const MASKED: u32 = 1;
/// Bytes of an entry: address, data, vector control.
const ENTRY_BYTES: usize = 16;

/// A write to memory that is an interrupt (SDM Vol. 3A, 10.11).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) address: u64,
    pub(crate) data: u32,
}

/// A table of vectors.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Msix {
    /// The upper byte of message control.
    control: u8,
    /// Address, upper address, data, vector control.
    table: Vec<[u32; 4]>,
    /// A bit for each vector.
    pending: u64,
}

impl Msix {
    /// A table of so many vectors (at most 64), all masked.
    pub(crate) fn new(vectors: usize) -> Self {
        Self { control: 0, table: vec![[0, 0, 0, MASKED]; vectors.min(64)], pending: 0 }
    }

    /// Checks that a table that began as `new` can be in this state.
    pub(crate) fn check(&self, new: &Self) -> Checked {
        let known = |entry: &[u32; 4]| entry[0] & 3 == 0 && entry[3] <= MASKED;
        let pending = self.pending.checked_shr(new.table.len() as u32).unwrap_or(0) == 0;
        let control = self.control & !(CONTROL_ENABLE | CONTROL_MASK) == 0;
        ensure(self.table.len() == new.table.len() && self.table.iter().all(known) && pending && control, "MSI-X")
    }

    /// Whether interrupts are messages, and not a line.
    pub(crate) fn is_enabled(&self) -> bool {
        self.control & CONTROL_ENABLE != 0
    }

    /// Whether there is such a vector.
    pub(crate) fn has(&self, vector: u16) -> bool {
        usize::from(vector) < self.table.len()
    }

    /// The capability, for a table in bar `bar`.
    pub(crate) fn capability(&self, bar: u32) -> [u8; 10] {
        let mut body = [0; 10];
        body[0] = (self.table.len() - 1) as u8;
        body[1] = self.control;
        body[2..6].copy_from_slice(&bar.to_le_bytes());
        body[6..].copy_from_slice(&(PENDING | bar).to_le_bytes());
        body
    }

    /// Writes the upper byte of message control.
    pub(crate) fn set_control(&mut self, byte: u8) {
        self.control = byte & (CONTROL_ENABLE | CONTROL_MASK);
    }

    /// Asks for an interrupt by `vector`; one that does not exist is none.
    pub(crate) fn raise(&mut self, vector: u16) {
        if self.has(vector) {
            self.pending |= 1 << vector;
        }
    }

    /// What was asked for and not sent is not wanted any more.
    pub(crate) fn withdraw(&mut self) {
        self.pending = 0;
    }

    /// The next message that is not masked.
    pub(crate) fn poll(&mut self) -> Option<Message> {
        if self.control != CONTROL_ENABLE {
            return None;
        }
        let ready = |n: usize| self.pending >> n & 1 != 0 && self.table[n][3] & MASKED == 0;
        let vector = (0..self.table.len()).find(|&n| ready(n))?;
        self.pending &= !(1 << vector);
        let [low, high, data, _] = self.table[vector];
        Some(Message { address: u64::from(high) << 32 | u64::from(low), data })
    }

    /// Reads the bar.
    pub(crate) fn read(&self, offset: u32, out: &mut [u8]) {
        let table = self.table.iter().flatten().flat_map(|word| word.to_le_bytes());
        let gap = PENDING as usize - self.table.len() * ENTRY_BYTES;
        let all = table.chain(std::iter::repeat_n(0, gap)).chain(self.pending.to_le_bytes());
        for (to, byte) in out.iter_mut().zip(all.chain(std::iter::repeat(0)).skip(offset as usize)) {
            *to = byte;
        }
    }

    /// Writes the bar, in whole words.
    pub(crate) fn write(&mut self, offset: u32, data: &[u8]) {
        if !offset.is_multiple_of(4) {
            return;
        }
        for (n, word) in data.as_chunks::<4>().0.iter().enumerate() {
            let at = offset as usize / 4 + n;
            if let Some(entry) = self.table.get_mut(at / 4) {
                let known = [!3, u32::MAX, u32::MAX, MASKED][at % 4];
                entry[at % 4] = u32::from_le_bytes(*word) & known;
            }
        }
    }
}
