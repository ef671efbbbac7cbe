//! Interrupt messages: what the I/O APIC, and devices by message-signalled interrupts, send to local APICs.

/// How a message is to be taken (SDM Vol. 3A, 10.6.1).
pub(super) mod delivery {
    pub(in super::super) const FIXED: u32 = 0;
    pub(in super::super) const LOWEST: u32 = 1;
    pub(in super::super) const NMI: u32 = 4;
    pub(in super::super) const EXTINT: u32 = 7;
}

/// An interrupt message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message {
    /// Identifier of an APIC, or a set of them if it is logical; 255: everybody.
    pub dest: u8,
    /// How `dest` is meant.
    pub logical: bool,
    /// Delivery mode: 3 bits, as in the interrupt command register.
    pub mode: u8,
    /// Vector.
    pub vector: u8,
    /// Level-triggered: its end is to be told to the I/O APIC.
    pub level: bool,
}

impl Message {
    /// Whether a write to `address` is a message.
    pub fn is_address(address: u64) -> bool {
        address >> 20 == 0xfee
    }

    /// What a write of `data` to `address` says (10.11); nothing if it is no message, or one that takes back a level.
    pub fn from_write(address: u64, data: u32) -> Option<Self> {
        const LEVEL: u32 = 1 << 15;
        const ASSERT: u32 = 1 << 14;
        if !Self::is_address(address) || data & (LEVEL | ASSERT) == LEVEL {
            return None;
        }
        Some(Self {
            dest: (address >> 12) as u8,
            logical: address & 4 != 0,
            mode: (data >> 8 & 7) as u8,
            vector: data as u8,
            level: data & LEVEL != 0,
        })
    }
}
