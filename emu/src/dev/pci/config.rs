//! Configuration space with a header of type 0 (PCI Local Bus Specification 3.0, 6.1 and 6.2).

use serde::{Deserialize, Serialize};

use crate::check::{Checked, ensure};

/// Command: memory space, bus master, interrupt disable.
pub(crate) const COMMAND_MEMORY: u16 = 1 << 1;
pub(crate) const COMMAND_MASTER: u16 = 1 << 2;
pub(crate) const COMMAND_NO_INTX: u16 = 1 << 10;
/// Bits of the command register that can be set.
const COMMAND_KNOWN: u16 = COMMAND_MEMORY | COMMAND_MASTER | COMMAND_NO_INTX;
/// Status: an interrupt is pending, there is a list of capabilities.
const STATUS_INTERRUPT: u8 = 1 << 3;
const STATUS_CAPABILITIES: u8 = 1 << 4;

const COMMAND: usize = 0x04;
const STATUS: usize = 0x06;
const BARS: usize = 0x10;
const CAPABILITIES: usize = 0x34;
const INTERRUPT_LINE: usize = 0x3c;
const INTERRUPT_PIN: usize = 0x3d;

/// What a function is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Identity {
    pub(crate) vendor: u16,
    pub(crate) device: u16,
    /// Programming interface, subclass, class.
    pub(crate) class: [u8; 3],
    pub(crate) revision: u8,
    /// Subsystem vendor and subsystem.
    pub(crate) subsystem: [u16; 2],
    /// The memory that it decodes.
    pub(crate) bars: &'static [Bar],
    /// Interrupt pin: 1 is INTA, 0 none.
    pub(crate) pin: u8,
}

/// A base address register for memory, not prefetchable.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bar {
    /// Which one: 0..=5.
    pub(crate) number: usize,
    /// A power of two, at least 16.
    pub(crate) bytes: u32,
    /// 64 bits wide: the next register holds the upper half.
    pub(crate) wide: bool,
}

/// The first 256 bytes of a function, as they read now.
#[derive(Debug)]
pub(crate) struct ConfigSpace([u8; 256]);

impl Default for ConfigSpace {
    fn default() -> Self {
        Self([0; 256])
    }
}

impl ConfigSpace {
    /// Puts bytes at `offset`, as far as there is room.
    pub(crate) fn put(&mut self, offset: usize, bytes: &[u8]) {
        for (to, byte) in self.0.iter_mut().skip(offset).zip(bytes) {
            *to = *byte;
        }
    }

    /// A capability at `at` with the number `id`: its `body`, and the link from the one before.
    pub(crate) fn add_capability(&mut self, at: u8, id: u8, body: &[u8]) {
        let mut link = CAPABILITIES;
        while self.0[link] != 0 {
            link = usize::from(self.0[link]) + 1;
        }
        self.0[link] = at;
        self.0[STATUS] |= STATUS_CAPABILITIES;
        self.put(at.into(), &[id, 0]);
        self.put(usize::from(at) + 2, body);
    }

    /// `size` bytes at `offset`.
    pub(crate) fn read(&self, offset: u8, size: u8) -> u32 {
        let bytes = self.0.iter().skip(offset.into()).take(size.into());
        bytes.rev().fold(0, |value, &byte| value << 8 | u32::from(byte))
    }
}

/// What can be written in a header of type 0.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    command: u16,
    /// Base addresses, without the bits that say what they are.
    bars: [u32; 6],
    /// For the guest's own use; firmware leaves the number of the interrupt here.
    line: u8,
}

impl Header {
    /// A header with the base addresses that firmware would have assigned, from `base` on, and memory decoded.
    pub(crate) fn assigned(identity: &Identity, base: u32, line: u8) -> Self {
        let mut header = Self { command: COMMAND_MEMORY, line, ..Self::default() };
        let mut next = base;
        for bar in identity.bars {
            next = next.next_multiple_of(bar.bytes);
            header.bars[bar.number] = next;
            next += bar.bytes;
        }
        header
    }

    /// Checks that a header of this identity can be in this state.
    pub(crate) fn check(&self, identity: &Identity) -> Checked {
        let mut possible = self.clone();
        possible.write_bars(identity, |_, value| value);
        ensure(self.command & !COMMAND_KNOWN == 0 && possible == *self, "PCI header")
    }

    /// Whether all of `bits` are set in the command register.
    pub(crate) fn commands(&self, bits: u16) -> bool {
        self.command & bits == bits
    }

    /// Shows the header.
    pub(crate) fn show(&self, identity: &Identity, space: &mut ConfigSpace) {
        space.put(0x00, &identity.vendor.to_le_bytes());
        space.put(0x02, &identity.device.to_le_bytes());
        space.put(COMMAND, &self.command.to_le_bytes());
        space.put(0x08, &[identity.revision]);
        space.put(0x09, &identity.class);
        for (number, base) in self.bars.iter().enumerate() {
            space.put(BARS + 4 * number, &base.to_le_bytes());
        }
        for bar in identity.bars.iter().filter(|bar| bar.wide) {
            space.0[BARS + 4 * bar.number] |= 0x04;
        }
        space.put(0x2c, &identity.subsystem[0].to_le_bytes());
        space.put(0x2e, &identity.subsystem[1].to_le_bytes());
        space.put(INTERRUPT_LINE, &[self.line]);
        space.put(INTERRUPT_PIN, &[identity.pin]);
    }

    /// Shows that the function asks for an interrupt.
    pub(crate) fn show_interrupt(space: &mut ConfigSpace) {
        space.0[STATUS] |= STATUS_INTERRUPT;
    }

    /// Writes one byte.
    pub(crate) fn write(&mut self, identity: &Identity, offset: usize, byte: u8) {
        let byte_of = |value: u32, n: usize| {
            let mut bytes = value.to_le_bytes();
            bytes[n] = byte;
            u32::from_le_bytes(bytes)
        };
        match offset {
            COMMAND | 0x05 => {
                self.command = byte_of(self.command.into(), offset - COMMAND) as u16 & COMMAND_KNOWN;
            }
            BARS..0x28 => {
                let (number, lane) = ((offset - BARS) / 4, offset % 4);
                self.write_bars(identity, |n, value| if n == number { byte_of(value, lane) } else { value });
            }
            INTERRUPT_LINE => self.line = byte,
            _ => {}
        }
    }

    /// Changes base addresses, of which only the bits above their size are there.
    fn write_bars(&mut self, identity: &Identity, change: impl Fn(usize, u32) -> u32) {
        for (number, base) in self.bars.iter_mut().enumerate() {
            let mask = identity.bars.iter().find_map(|bar| match number.checked_sub(bar.number)? {
                0 => Some(!(bar.bytes - 1)),
                1 if bar.wide => Some(u32::MAX),
                _ => None,
            });
            *base = change(number, *base) & mask.unwrap_or(0);
        }
    }

    /// The bar that decodes all of `length` bytes at `phys`, and where in it they are.
    pub(crate) fn decode(&self, identity: &Identity, phys: u64, length: usize) -> Option<(usize, u32)> {
        if !self.commands(COMMAND_MEMORY) {
            return None;
        }
        identity.bars.iter().find_map(|bar| {
            let high = if bar.wide { self.bars[bar.number + 1] } else { 0 };
            let base = u64::from(high) << 32 | u64::from(self.bars[bar.number]);
            let offset = u32::try_from(phys.checked_sub(base)?).ok().filter(|&offset| offset < bar.bytes)?;
            (length as u64 <= u64::from(bar.bytes - offset)).then_some((bar.number, offset))
        })
    }
}
