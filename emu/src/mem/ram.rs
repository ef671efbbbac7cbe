//! RAM and what is known of each page: which readers have not seen it yet, and where decoded code stands in it.

use std::io;

use memmap2::MmapMut;
use rayon::prelude::*;
use xxhash_rust::xxh3::xxh3_128_with_seed;

use super::{PAGE_BITS, PAGE_BYTES, PAGE_MASK, Tables, Writers};

/// Independent readers of "which pages were written since I last asked".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DirtySet {
    /// The RAM digest (used by the machine itself).
    Digest = 0,
    /// State transfer.
    Transfer = 1,
    /// Snapshots and time travel.
    Snapshot = 2,
}

/// Bit of pages that have been written at all: never cleared.
const EVER: u8 = 8;
/// All readers' bits, and `EVER`.
const DIRTY_ALL: u8 = EVER | 7;

/// RAM with its page records.
pub(crate) struct Mem {
    map: MmapMut,
    base: *mut u8,
    bytes: u64,
    /// Per page: bits of `DirtySet` that have a write to see. Only when all are set may the TLB let writes pass unseen.
    dirty: Vec<u8>,
    /// Per page: bit i is set when decoded code stands in bytes 64 i to 64 i + 63.
    code: Vec<u64>,
    /// The pages that hold page tables in use.
    pub(crate) tables: Tables,
    /// Per page: where TLBs let writes to it pass.
    writers: Vec<Writers>,
    page_digests: Vec<u128>,
    digest: u128,
}

// SAFETY: `base` points into `map`, which is owned; nothing else is shared.
unsafe impl Send for Mem {}

impl Mem {
    pub(crate) fn new(bytes: u64) -> io::Result<Self> {
        let length = usize::try_from(bytes).map_err(|_| io::ErrorKind::OutOfMemory)?;
        let mut map = MmapMut::map_anon(length)?;
        let pages = length / PAGE_BYTES;
        let base = map.as_mut_ptr();
        let (dirty, code) = (vec![0; pages], vec![0; pages]);
        let (tables, writers) = (Tables::new(pages), vec![Writers::NONE; pages]);
        Ok(Self { map, base, bytes, dirty, code, tables, writers, page_digests: vec![0; pages], digest: 0 })
    }

    pub(crate) fn page_count(&self) -> usize {
        self.dirty.len()
    }

    /// Host address of RAM byte 0.
    pub(crate) fn base(&self) -> *mut u8 {
        self.base
    }

    /// Whether `length` bytes at `phys` are RAM.
    pub(crate) fn is_ram(&self, phys: u64, length: u64) -> bool {
        phys < self.bytes && length <= self.bytes - phys
    }

    /// Reads RAM; `None` where there is none.
    pub(crate) fn read(&self, phys: u64, out: &mut [u8]) -> Option<()> {
        out.copy_from_slice(self.slice(phys, out.len())?);
        Some(())
    }

    /// RAM as a slice.
    pub(crate) fn slice(&self, phys: u64, length: usize) -> Option<&[u8]> {
        let start = usize::try_from(phys).ok()?;
        self.map.get(start..start.checked_add(length)?)
    }

    /// Reads a little-endian 64-bit word of a page table; all ones where there is no RAM.
    pub(crate) fn read_u64(&self, phys: u64) -> u64 {
        self.slice(phys, 8).map_or(u64::MAX, |b| u64::from_le_bytes(b.try_into().unwrap_or([0xff; 8])))
    }

    /// Writes RAM within one page. The caller has dealt with decoded code there (`has_code`).
    pub(crate) fn write(&mut self, phys: u64, data: &[u8]) {
        let Ok(start) = usize::try_from(phys) else { return };
        if let Some(to) = self.map.get_mut(start..start + data.len()) {
            to.copy_from_slice(data);
            self.mark_dirty(phys);
        }
    }

    /// Copies RAM within one page each, as if through a buffer. The caller has dealt with decoded code at `to`.
    pub(crate) fn copy(&mut self, from: u64, to: u64, bytes: u64) {
        let (from, to, bytes) = (from as usize, to as usize, bytes as usize);
        if from + bytes <= self.map.len() && to + bytes <= self.map.len() {
            self.map.copy_within(from..from + bytes, to);
            self.mark_dirty(to as u64);
        }
    }

    /// Fills RAM within one page with repetitions of `pattern`. The caller has dealt with decoded code there.
    pub(crate) fn fill(&mut self, phys: u64, bytes: u64, pattern: &[u8]) {
        let start = phys as usize;
        let Some(to) = self.map.get_mut(start..start + bytes as usize) else { return };
        match pattern {
            [byte] => to.fill(*byte),
            _ => to.chunks_exact_mut(pattern.len()).for_each(|chunk| chunk.copy_from_slice(pattern)),
        }
        self.mark_dirty(phys);
    }

    /// Notes a write to the page of `phys`, which lies in RAM.
    pub(crate) fn mark_dirty(&mut self, phys: u64) {
        if let Some(d) = self.dirty.get_mut((phys >> PAGE_BITS) as usize) {
            *d = DIRTY_ALL;
        }
    }

    /// Whether writes to the page of `phys` must be seen: decoded code or page-table entries in use stand in it.
    pub(crate) fn is_watched(&self, phys: u64) -> bool {
        self.code.get((phys >> PAGE_BITS) as usize).is_some_and(|&c| c != 0) || self.tables.is_used(phys)
    }

    /// Notes that a TLB is about to let writes at the linear address `addr` pass to the page of `phys`.
    pub(crate) fn add_writer(&mut self, phys: u64, addr: u64) {
        self.mark_dirty(phys);
        if let Some(writers) = self.writers.get_mut((phys >> PAGE_BITS) as usize) {
            writers.add(addr);
        }
    }

    /// Where TLBs let writes to the page of `phys` pass, which they will no longer do.
    pub(crate) fn take_writers(&mut self, phys: u64) -> Writers {
        self.writers.get_mut((phys >> PAGE_BITS) as usize).map_or(Writers::NONE, std::mem::take)
    }

    /// Whether decoded code may stand in `length` bytes at `phys` (within one page).
    pub(crate) fn has_code(&self, phys: u64, length: u64) -> bool {
        let bits = granules(phys & PAGE_MASK, length);
        self.code.get((phys >> PAGE_BITS) as usize).is_some_and(|&c| c & bits != 0)
    }

    /// Notes code decoded from `length` bytes at `phys` (within one page). True if it is the page's first.
    pub(crate) fn add_code(&mut self, phys: u64, length: u64) -> bool {
        match self.code.get_mut((phys >> PAGE_BITS) as usize) {
            Some(c) => {
                let first = *c == 0;
                *c |= granules(phys & PAGE_MASK, length);
                first
            }
            None => false,
        }
    }

    /// Forgets all code of a page; the caller adds what is still there.
    pub(crate) fn clear_code(&mut self, page: u64) {
        if let Some(c) = self.code.get_mut(page as usize) {
            *c = 0;
        }
    }

    /// Forgets all code.
    pub(crate) fn clear_all_code(&mut self) {
        self.code.fill(0);
    }

    /// The pages written since the last call for `set`. The caller flushes write permission from the TLB.
    pub(crate) fn take_dirty(&mut self, set: DirtySet) -> Vec<u32> {
        let bit = 1 << set as u8;
        let mut pages = Vec::new();
        for (pfn, d) in (0u32..).zip(self.dirty.iter_mut()) {
            if *d & bit != 0 {
                *d &= !bit;
                pages.push(pfn);
            }
        }
        pages
    }

    /// The pages that are not zero. Those never written are not even looked at: the host need not give them.
    pub(crate) fn nonzero(&self) -> impl Iterator<Item = u32> + '_ {
        let pages = self.map.chunks_exact(PAGE_BYTES).zip(&self.dirty);
        let used = |(page, dirty): (&[u8], &u8)| dirty & EVER != 0 && page.iter().any(|&b| b != 0);
        (0u32..).zip(pages).filter(move |&(_, page)| used(page)).map(|(pfn, _)| pfn)
    }

    /// The sum over all pages of xxh3-128(page, seed = page number), zero pages counting 0; only pages
    /// written since the last call are hashed again. Afterwards the TLB must be asked to report writes again.
    pub(crate) fn digest(&mut self) -> u128 {
        let pages = self.take_dirty(DirtySet::Digest);
        let ram: &[u8] = &self.map;
        let hash = |&pfn: &u32| {
            let start = pfn as usize * PAGE_BYTES;
            (pfn, page_digest(pfn, &ram[start..start + PAGE_BYTES]))
        };
        let fresh: Vec<(u32, u128)> =
            if pages.len() < 64 { pages.iter().map(hash).collect() } else { pages.par_iter().map(hash).collect() };
        for (pfn, new) in fresh {
            let old = std::mem::replace(&mut self.page_digests[pfn as usize], new);
            self.digest = self.digest.wrapping_sub(old).wrapping_add(new);
        }
        self.digest
    }
}

fn page_digest(pfn: u32, page: &[u8]) -> u128 {
    if page.iter().all(|&b| b == 0) { 0 } else { xxh3_128_with_seed(page, u64::from(pfn)) }
}

/// Bits of the 64-byte granules that `length` bytes at page offset `offset` touch.
fn granules(offset: u64, length: u64) -> u64 {
    let first = offset >> 6;
    let last = (offset + length.max(1) - 1).min(PAGE_MASK) >> 6;
    (u64::MAX >> (63 - (last - first))) << first
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn granules_cover_first_to_last_byte() {
        assert_eq!(granules(0, 1), 1);
        assert_eq!(granules(63, 2), 3);
        assert_eq!(granules(0, 4096), u64::MAX);
        assert_eq!(granules(4095, 1), 1 << 63);
    }

    #[test]
    fn digest_depends_on_place_and_content_only() {
        let (mut a, mut b) = (Mem::new(1 << 20).unwrap(), Mem::new(1 << 20).unwrap());
        assert_eq!(a.digest(), 0);
        a.write(0x5000, b"x");
        b.write(0x6000, b"x");
        assert_ne!(a.digest(), b.digest());
        b.write(0x5000, b"x");
        b.digest();
        b.write(0x6000, b"\0");
        assert_eq!(a.digest(), b.digest());
    }
}
