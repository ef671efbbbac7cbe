//! The blocks of a disk that the guest has written.

use std::collections::BTreeMap;

use xxhash_rust::xxh3::xxh3_128_with_seed;

use crate::mem::{DirtySet, PAGE_BYTES};

type Page = [u8; PAGE_BYTES];

static ZEROS: Page = [0; PAGE_BYTES];

/// All readers' bits.
const DIRTY_ALL: u8 = 7;

/// A block that has been written.
#[derive(Default)]
struct Block {
    /// What is in it; nothing: zeros, which guests that clear a disk write in large numbers.
    data: Option<Box<Page>>,
    /// Bits of the `DirtySet`s in whose list it stands.
    dirty: u8,
    /// Its digest, as of the last time that was asked for.
    digest: u128,
}

/// Blocks by their number, few or many.
pub(crate) struct Overlay {
    /// Number of block 0 among the machine's pages.
    first_page: u32,
    blocks: BTreeMap<u32, Block>,
    /// For each `DirtySet`: the blocks written since it was taken, each once, in no order.
    dirty: [Vec<u32>; 3],
    digest: u128,
}

impl Overlay {
    pub(crate) fn new(first_page: u32) -> Self {
        Self { first_page, blocks: BTreeMap::new(), dirty: Default::default(), digest: 0 }
    }

    /// Number of block 0 among the machine's pages.
    pub(crate) fn first_page(&self) -> u32 {
        self.first_page
    }

    /// Whether a block has been written.
    pub(crate) fn contains(&self, block: u32) -> bool {
        self.blocks.contains_key(&block)
    }

    /// The first block from `block` on that has been written.
    pub(crate) fn next_from(&self, block: u32) -> Option<u32> {
        self.blocks.range(block..).next().map(|(&block, _)| block)
    }

    /// How many blocks have been written.
    pub(crate) fn len(&self) -> usize {
        self.blocks.len()
    }

    /// The blocks that have been written, ascending.
    pub(crate) fn written(&self) -> impl Iterator<Item = u32> + '_ {
        self.blocks.keys().copied()
    }

    /// What was written to a block; zeros if nothing was.
    pub(crate) fn page(&self, block: u32) -> &Page {
        self.blocks.get(&block).and_then(|block| block.data.as_deref()).unwrap_or(&ZEROS)
    }

    /// Writes a block.
    pub(crate) fn write(&mut self, block: u32, data: &Page) {
        let entry = self.blocks.entry(block).or_default();
        match (&mut entry.data, *data == ZEROS) {
            (data, true) => *data = None,
            (Some(page), false) => **page = *data,
            (none, false) => *none = Some(Box::new(*data)),
        }
        for (set, list) in self.dirty.iter_mut().enumerate() {
            if entry.dirty & 1 << set == 0 {
                list.push(block);
            }
        }
        entry.dirty = DIRTY_ALL;
    }

    /// The blocks written since the last call for `set`, ascending.
    pub(crate) fn take_dirty(&mut self, set: DirtySet) -> Vec<u32> {
        let mut dirty = std::mem::take(&mut self.dirty[set as usize]);
        dirty.sort_unstable();
        for block in &dirty {
            if let Some(block) = self.blocks.get_mut(block) {
                block.dirty &= !(1 << set as u8);
            }
        }
        dirty
    }

    /// The sum over all blocks that have been written, zeros included, of xxh3-128(block, seed = number among the machine's
    /// pages). Only blocks written since the last call are hashed again.
    pub(crate) fn update_digest(&mut self) -> u128 {
        for number in self.take_dirty(DirtySet::Digest) {
            let new = xxh3_128_with_seed(self.page(number), u64::from(self.first_page) + u64::from(number));
            if let Some(block) = self.blocks.get_mut(&number) {
                let old = std::mem::replace(&mut block.digest, new);
                self.digest = self.digest.wrapping_sub(old).wrapping_add(new);
            }
        }
        self.digest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reader_sees_each_write_once() {
        let mut overlay = Overlay::new(0);
        overlay.write(7, &[1; PAGE_BYTES]);
        overlay.write(3, &[0; PAGE_BYTES]);
        overlay.write(7, &[2; PAGE_BYTES]);
        assert_eq!(overlay.take_dirty(DirtySet::Transfer), [3, 7]);
        assert!(overlay.take_dirty(DirtySet::Transfer).is_empty());
        overlay.write(3, &[1; PAGE_BYTES]);
        assert_eq!(overlay.take_dirty(DirtySet::Transfer), [3]);
        assert_eq!(overlay.take_dirty(DirtySet::Snapshot), [3, 7]);
    }

    #[test]
    fn the_digest_depends_on_what_is_written_where_and_not_on_how() {
        let (mut a, mut b) = (Overlay::new(256), Overlay::new(256));
        assert_eq!(a.update_digest(), 0);
        a.write(1, &[5; PAGE_BYTES]);
        b.write(2, &[5; PAGE_BYTES]);
        assert_ne!(a.update_digest(), b.update_digest());
        a.write(2, &[6; PAGE_BYTES]);
        a.update_digest();
        a.write(2, &[5; PAGE_BYTES]);
        b.write(1, &[5; PAGE_BYTES]);
        assert_eq!(a.update_digest(), b.update_digest());
        a.write(3, &[0; PAGE_BYTES]);
        assert_ne!(a.update_digest(), b.update_digest(), "zeros that were written count");
    }
}
