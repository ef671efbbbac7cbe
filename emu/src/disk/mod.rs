//! Disks as the machine has them: an image that never changes, and over it the blocks that the guest has written, which are
//! pages of the machine behind RAM (ARCHITECTURE.md, "Device memory and DMA").

mod image;
mod overlay;
mod plugged;

pub use image::{Image, Images, image_digest};
pub(crate) use overlay::Overlay;
pub(crate) use plugged::Disks;

use std::sync::Arc;

use crate::mem::PAGE_BYTES;

/// Disks are read and written in these.
pub const SECTOR_BYTES: u64 = 512;
/// What the guest writes is kept in these: pages of the machine.
const BLOCK_BYTES: u64 = PAGE_BYTES as u64;

/// One disk.
pub(crate) struct Disk {
    image: Arc<dyn Image>,
    bytes: u64,
    overlay: Overlay,
}

impl Disk {
    fn new(image: Arc<dyn Image>, first_page: u32) -> Self {
        let bytes = image.bytes();
        Self { image, bytes, overlay: Overlay::new(first_page) }
    }

    fn blocks(&self) -> u64 {
        self.bytes.div_ceil(BLOCK_BYTES)
    }

    /// Reads what is at `offset`. The caller has looked whether that is on the disk.
    pub(crate) fn read(&self, offset: u64, out: &mut [u8]) {
        let (mut at, mut rest) = (offset, out);
        while !rest.is_empty() {
            let block = (at / BLOCK_BYTES) as u32;
            let start = (at % BLOCK_BYTES) as usize;
            let written = self.overlay.next_from(block);
            // What is not written is read in one go up to a block that is.
            let room = match written {
                Some(next) if next == block => PAGE_BYTES - start,
                Some(next) => usize::try_from(u64::from(next) * BLOCK_BYTES - at).unwrap_or(usize::MAX),
                None => usize::MAX,
            };
            let (head, tail) = rest.split_at_mut(room.min(rest.len()));
            match written {
                Some(next) if next == block => {
                    head.copy_from_slice(&self.overlay.page(block)[start..start + head.len()]);
                }
                _ => self.image.read(at, head),
            }
            at += head.len() as u64;
            rest = tail;
        }
    }

    /// Writes at `offset`. The caller has looked whether that is on the disk.
    pub(crate) fn write(&mut self, offset: u64, data: &[u8]) {
        let (mut at, mut rest) = (offset, data);
        while !rest.is_empty() {
            let start = (at % BLOCK_BYTES) as usize;
            let (head, tail) = rest.split_at((PAGE_BYTES - start).min(rest.len()));
            self.change(at, head.len(), |page| page[start..start + head.len()].copy_from_slice(head));
            at += head.len() as u64;
            rest = tail;
        }
    }

    /// Writes `length` zeros at `offset`. The caller has looked whether that is on the disk.
    pub(crate) fn zero(&mut self, offset: u64, length: u64) {
        let (mut at, end) = (offset, offset + length);
        while at < end {
            let start = (at % BLOCK_BYTES) as usize;
            let count = usize::try_from(end - at).unwrap_or(usize::MAX).min(PAGE_BYTES - start);
            self.change(at, count, |page| page[start..start + count].fill(0));
            at += count as u64;
        }
    }

    /// Changes `count` bytes at `at`, which lie in one block.
    fn change(&mut self, at: u64, count: usize, change: impl FnOnce(&mut [u8; PAGE_BYTES])) {
        let block = (at / BLOCK_BYTES) as u32;
        let mut page = [0; PAGE_BYTES];
        if self.overlay.contains(block) {
            page = *self.overlay.page(block);
        } else if count < PAGE_BYTES {
            let from = u64::from(block) * BLOCK_BYTES;
            let there = usize::try_from(self.bytes - from).unwrap_or(usize::MAX).min(PAGE_BYTES);
            self.image.read(from, &mut page[..there]);
        }
        change(&mut page);
        self.overlay.write(block, &page);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A disk of so many bytes, no two sectors alike.
    fn disk(bytes: usize) -> (Disk, Vec<u8>) {
        let image: Vec<u8> = (0..bytes).map(|i| (i / 512 * 7 + i % 512 % 251) as u8).collect();
        (Disk::new(Arc::new(image.clone()), 256), image)
    }

    fn all(disk: &Disk) -> Vec<u8> {
        let mut out = vec![0xee; disk.bytes as usize];
        disk.read(0, &mut out);
        out
    }

    #[test]
    fn what_is_written_hides_the_image() {
        let (mut disk, mut model) = disk(5 * 4096 + 512);
        assert_eq!(all(&disk), model);
        for (offset, length) in [(512, 512), (4096, 4096), (3 * 4096 - 512, 1024), (5 * 4096, 512)] {
            let data: Vec<u8> = (0..length).map(|i| (offset + i * 3) as u8).collect();
            disk.write(offset as u64, &data);
            model[offset..offset + length].copy_from_slice(&data);
            assert_eq!(all(&disk), model);
        }
        disk.zero(1024, 4096 + 512);
        model[1024..1024 + 4096 + 512].fill(0);
        assert_eq!(all(&disk), model);
    }

    #[test]
    fn a_block_of_zeros_over_an_image_is_a_block() {
        let (mut disk, _) = disk(2 * 4096);
        disk.zero(4096, 4096);
        assert!(disk.overlay.contains(1) && !disk.overlay.contains(0));
        let mut out = [1; 4096];
        disk.read(4096, &mut out);
        assert_eq!(out, [0; 4096]);
        assert_ne!(disk.overlay.update_digest(), 0);
    }
}
