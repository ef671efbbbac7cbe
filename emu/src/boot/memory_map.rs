//! Where RAM is, as every boot protocol tells it: in the types of BIOS call INT 15h, E820.

use super::acpi;

/// What the hand-off may use; above it lies what a firmware would have reserved.
pub(super) const LOW_MEMORY_END: u64 = 0x9_fc00;
/// RAM again, above the legacy ROM area.
pub(super) const HIGH_MEMORY: u64 = 0x10_0000;
/// Usable RAM.
pub(super) const E820_RAM: u32 = 1;
const E820_RESERVED: u32 = 2;

/// A range of physical addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) begin: u64,
    pub(super) bytes: u64,
    /// What is there, by E820.
    pub(super) kind: u32,
}

impl Range {
    fn new(begin: u64, end: u64, kind: u32) -> Self {
        Self { begin, bytes: end - begin, kind }
    }

    /// As E820 has it: address, size, type.
    pub(super) fn e820(&self) -> [u8; 20] {
        let mut entry = [0; 20];
        entry[..8].copy_from_slice(&self.begin.to_le_bytes());
        entry[8..16].copy_from_slice(&self.bytes.to_le_bytes());
        entry[16..].copy_from_slice(&self.kind.to_le_bytes());
        entry
    }
}

/// The ranges of a machine with `memory_bytes` bytes of RAM, ascending.
pub(super) fn memory_map(memory_bytes: u64) -> Vec<Range> {
    vec![
        Range::new(0, LOW_MEMORY_END, E820_RAM),
        Range::new(acpi::RSDP, acpi::END, E820_RESERVED),
        Range::new(HIGH_MEMORY, memory_bytes.max(HIGH_MEMORY), E820_RAM),
    ]
}
