//! 32-bit protected mode without paging, all segments flat: how PVH, Multiboot and Linux's 32-bit protocol enter a kernel, and
//! where what the first two tell it is.

use std::ops::Range;

use super::hand_off;
use super::memory_map::{HIGH_MEMORY, LOW_MEMORY_END};
use crate::cpu::regs::{CS, RAX, RBX};
use crate::state::{CpuState, Segment, Table};

/// Flat 32-bit code, DPL 0: present, accessed, readable, D, G (SDM Vol. 3A, 3.4.5).
pub(super) const CODE_DESCRIPTOR: u64 = 0x00cf_9b00_0000_ffff;
/// The same selectors and place as for a bare ELF; no more descriptors.
const GDT_LIMIT: u16 = 0x17;
/// PE, ET.
const CR0: u64 = 0x11;
/// A busy 32-bit TSS of the smallest size.
const TSS: Segment = Segment { selector: 0, base: 0, limit: 0x67, rights: 0x8b };

/// What is told begins here.
pub(super) const TOLD: u64 = hand_off::BOOT_INFO;

/// What the CPU is set to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) eip: u32,
    pub(super) eax: u32,
    pub(super) ebx: u32,
}

impl Entry {
    /// The CPU as a kernel finds it.
    pub(super) fn state(self) -> CpuState {
        let mut state = state(self.eip.into());
        state.gpr[RAX] = self.eax.into();
        state.gpr[RBX] = self.ebx.into();
        state.gdtr = Table { base: hand_off::GDT, limit: GDT_LIMIT };
        state
    }
}

/// The CPU about to run the instruction at `eip`, all general registers zero.
pub(super) fn state(eip: u64) -> CpuState {
    let mut state = CpuState::handed_off(eip);
    state.gpr = [0; 16];
    state.seg[CS].rights = (CODE_DESCRIPTOR >> 40) as u16 & 0xf0ff;
    state.tr = TSS;
    (state.cr0, state.cr3, state.cr4, state.msr.efer) = (CR0, 0, 0, 0);
    state
}

/// Puts the descriptor table and what is told into memory.
pub(super) fn write_told(told: &Told, write: &mut dyn FnMut(u64, &[u8])) {
    write(hand_off::GDT, &hand_off::little_endian([0, CODE_DESCRIPTOR, hand_off::DATA_DESCRIPTOR]));
    write(TOLD, &told.bytes);
}

/// Structures and strings, one behind the other from [`TOLD`] on.
pub(super) struct Told {
    bytes: Vec<u8>,
}

impl Told {
    /// With room for a first structure of `bytes` bytes, which is at [`TOLD`] and filled in last.
    pub(super) fn new(bytes: usize) -> Self {
        Self { bytes: vec![0; bytes] }
    }

    /// Appends; gives the address, which is a multiple of 8.
    pub(super) fn push(&mut self, bytes: &[u8]) -> u64 {
        self.bytes.resize(self.bytes.len().next_multiple_of(8), 0);
        let at = self.end();
        self.bytes.extend(bytes);
        at
    }

    /// The same with a NUL.
    pub(super) fn push_string(&mut self, string: &str) -> u64 {
        let at = self.push(string.as_bytes());
        self.bytes.push(0);
        at
    }

    /// Fills in a field of the first structure.
    pub(super) fn put(&mut self, offset: usize, bytes: &[u8]) {
        self.bytes[offset..offset + bytes.len()].copy_from_slice(bytes);
    }

    /// First address above it.
    pub(super) fn end(&self) -> u64 {
        TOLD + self.bytes.len() as u64
    }

    /// Where nothing may be loaded: from the descriptor table to its end, and where a firmware would be.
    pub(super) fn reserved(&self) -> [Range<u64>; 2] {
        [hand_off::GDT..self.end(), LOW_MEMORY_END..HIGH_MEMORY]
    }

    /// Whether it fits below what a firmware would have reserved.
    pub(super) fn fits(&self) -> bool {
        self.end() <= LOW_MEMORY_END
    }
}
