//! Split virtqueues (virtio 1.2, 2.7): chains of descriptors in guest memory, taken and given back.

use serde::{Deserialize, Serialize};

use super::{Broken, Dma};
use crate::check::{Checked, ensure};

const DESCRIPTOR_BYTES: u64 = 16;
const DESCRIPTOR_NEXT: u16 = 1;
const DESCRIPTOR_WRITE: u16 = 2;
const DESCRIPTOR_INDIRECT: u16 = 4;
/// Available ring: the driver wants no interrupts.
const NO_INTERRUPT: u16 = 1;
/// Descriptors in a chain that is indirect. Drivers exceed the size of the queue there.
const CHAIN_MAX: usize = 1024;

/// No MSI-X vector.
pub(crate) const NO_VECTOR: u16 = 0xffff;

/// A queue as the driver has set it up, and how far it has got.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Queue {
    /// Descriptors: a power of two.
    pub(crate) size: u16,
    pub(crate) enabled: bool,
    /// MSI-X vector.
    pub(crate) vector: u16,
    /// Physical addresses of the descriptor table, the available ring, the used ring.
    pub(crate) rings: [u64; 3],
    /// Chains may be waiting: the doorbell has rung since none was found.
    pub(crate) notified: bool,
    /// Running number of the next chain to take from the available ring.
    next_available: u16,
    /// Running number of the next entry of the used ring.
    next_used: u16,
}

/// A part of a buffer: physical address and length.
pub(crate) type Span = (u64, u32);

/// A chain of descriptors: what the device reads, and what it writes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Chain {
    /// Number of its first descriptor, by which the driver knows it.
    pub(crate) head: u16,
    pub(crate) readable: Vec<Span>,
    pub(crate) writable: Vec<Span>,
}

impl Chain {
    /// How much the device can read.
    pub(crate) fn readable_bytes(&self) -> u64 {
        bytes(&self.readable)
    }

    /// How much it can write.
    pub(crate) fn writable_bytes(&self) -> u64 {
        bytes(&self.writable)
    }
}

fn bytes(spans: &[Span]) -> u64 {
    spans.iter().map(|&(_, length)| u64::from(length)).sum()
}

struct Descriptor {
    address: u64,
    length: u32,
    flags: u16,
    next: u16,
}

impl Queue {
    /// A queue after reset, of the largest size that it can have.
    pub(crate) fn new(size_max: u16) -> Self {
        Self {
            size: size_max,
            enabled: false,
            vector: NO_VECTOR,
            rings: [0; 3],
            notified: false,
            next_available: 0,
            next_used: 0,
        }
    }

    /// Checks that a queue of at most this size, in a function with so many vectors, can be in this state.
    pub(crate) fn check(&self, size_max: u16, has_vector: bool) -> Checked {
        let size = self.size.is_power_of_two() && self.size <= size_max;
        ensure(size && (has_vector || self.vector == NO_VECTOR), "virtqueue")
    }

    fn descriptors(&self) -> u64 {
        self.rings[0]
    }

    fn available(&self, offset: u64) -> u64 {
        self.rings[1].wrapping_add(offset)
    }

    fn used(&self, offset: u64) -> u64 {
        self.rings[2].wrapping_add(offset)
    }

    /// How many chains wait.
    pub(crate) fn waiting(&self, mem: &dyn Dma) -> Result<u16, Broken> {
        let waiting = read_u16(mem, self.available(2))?.wrapping_sub(self.next_available);
        if waiting > self.size { Err(Broken) } else { Ok(waiting) }
    }

    /// The chain that is `ahead` places behind the next one in the available ring, which is there (`waiting`).
    pub(crate) fn chain(&self, mem: &dyn Dma, ahead: u16) -> Result<Chain, Broken> {
        let place = self.next_available.wrapping_add(ahead) & (self.size - 1);
        let head = read_u16(mem, self.available(4 + 2 * u64::from(place)))?;
        self.walk(mem, head)
    }

    /// Goes on to the next chain of the available ring.
    pub(crate) fn advance(&mut self) {
        self.next_available = self.next_available.wrapping_add(1);
    }

    /// No more than `waiting` chains wait: asks for the doorbell when the next one comes.
    pub(crate) fn rearm(&mut self, mem: &mut dyn Dma, event_index: bool, waiting: u16) -> Result<(), Broken> {
        self.notified = false;
        if event_index {
            let available_event = self.used(4 + 8 * u64::from(self.size));
            mem.dma_write(available_event, &self.next_available.wrapping_add(waiting).to_le_bytes())?;
        }
        Ok(())
    }

    /// Gives the chain `head` back, with `written` bytes written. True if the driver wants to be interrupted for it.
    pub(crate) fn give_back(
        &mut self,
        mem: &mut dyn Dma,
        head: u16,
        written: u32,
        event_index: bool,
    ) -> Result<bool, Broken> {
        let mut element = [0; 8];
        element[..2].copy_from_slice(&head.to_le_bytes());
        element[4..].copy_from_slice(&written.to_le_bytes());
        let place = self.next_used & (self.size - 1);
        mem.dma_write(self.used(4 + 8 * u64::from(place)), &element)?;
        let old = self.next_used;
        self.next_used = old.wrapping_add(1);
        mem.dma_write(self.used(2), &self.next_used.to_le_bytes())?;
        if event_index {
            // 2.7.10: each step of the index is looked at by itself.
            let used_event = self.available(4 + 2 * u64::from(self.size));
            return Ok(read_u16(mem, used_event)? == old);
        }
        Ok(read_u16(mem, self.available(0))? & NO_INTERRUPT == 0)
    }

    fn walk(&self, mem: &dyn Dma, head: u16) -> Result<Chain, Broken> {
        let mut chain = Chain { head, ..Chain::default() };
        let first = read_descriptor(mem, self.descriptors(), head, self.size.into())?;
        if first.flags & DESCRIPTOR_INDIRECT == 0 {
            walk_table(mem, self.descriptors(), self.size.into(), first, &mut chain)?;
            return Ok(chain);
        }
        let entries = u64::from(first.length) / DESCRIPTOR_BYTES;
        let well_formed = u64::from(first.length) % DESCRIPTOR_BYTES == 0 && entries <= CHAIN_MAX as u64;
        if !well_formed || first.flags & DESCRIPTOR_NEXT != 0 {
            return Err(Broken);
        }
        let inner = read_descriptor(mem, first.address, 0, entries as usize)?;
        walk_table(mem, first.address, entries as usize, inner, &mut chain)?;
        Ok(chain)
    }
}

/// Follows a chain from `descriptor` on through a table of so many entries. None is used twice, so a chain is no longer than
/// its table.
fn walk_table(
    mem: &dyn Dma,
    table: u64,
    entries: usize,
    mut descriptor: Descriptor,
    chain: &mut Chain,
) -> Result<(), Broken> {
    for _ in 0..entries {
        if descriptor.flags & DESCRIPTOR_INDIRECT != 0 {
            return Err(Broken);
        }
        let span = (descriptor.address, descriptor.length);
        match descriptor.flags & DESCRIPTOR_WRITE != 0 {
            true => chain.writable.push(span),
            // What the device reads stands in front of what it writes (2.7.4.2).
            false if chain.writable.is_empty() => chain.readable.push(span),
            false => return Err(Broken),
        }
        if descriptor.flags & DESCRIPTOR_NEXT == 0 {
            return Ok(());
        }
        descriptor = read_descriptor(mem, table, descriptor.next, entries)?;
    }
    Err(Broken)
}

fn read_descriptor(mem: &dyn Dma, table: u64, number: u16, entries: usize) -> Result<Descriptor, Broken> {
    if usize::from(number) >= entries {
        return Err(Broken);
    }
    let mut bytes = [0; DESCRIPTOR_BYTES as usize];
    mem.dma_read(table.wrapping_add(DESCRIPTOR_BYTES * u64::from(number)), &mut bytes)?;
    let [a, b, c, d, e, f, g, h, l0, l1, l2, l3, f0, f1, n0, n1] = bytes;
    Ok(Descriptor {
        address: u64::from_le_bytes([a, b, c, d, e, f, g, h]),
        length: u32::from_le_bytes([l0, l1, l2, l3]),
        flags: u16::from_le_bytes([f0, f1]),
        next: u16::from_le_bytes([n0, n1]),
    })
}

fn read_u16(mem: &dyn Dma, phys: u64) -> Result<u16, Broken> {
    let mut bytes = [0; 2];
    mem.dma_read(phys, &mut bytes)?;
    Ok(u16::from_le_bytes(bytes))
}
