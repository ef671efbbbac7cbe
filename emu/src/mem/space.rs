//! Address spaces: what is remembered of linear addresses, for each of the last few mappings.
//!
//! A guest that returns to a mapping finds its translations and its blocks again: as the TLB is transparent
//! (ARCHITECTURE.md, "The TLB cannot be seen"), what was true of a mapping stays true until a table entry in use is written.

use super::{Reach, Tlb};

/// Mappings remembered: a few processes, each with two sets of tables.
pub(super) const SPACES: usize = 8;

/// What the meaning of a linear address depends on, besides the tables in memory: the bits of CR0 (with
/// RFLAGS.VM), CR3, CR4 and EFER (with the mode) that count, and what the instruction pointer is relative to.
pub(crate) type Mapping = [u64; 5];

/// Which of a mapping's TLBs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Half {
    Supervisor = 0,
    User = 1,
    /// Supervisor that may reach user pages although CR4.SMAP is set: RFLAGS.AC is.
    Open = 2,
    /// Stays empty, for when every access must be looked at (`Cpu::checked`).
    Checked = 3,
}

struct Space {
    mapping: Option<Mapping>,
    /// `Cpu::code_key` of supervisor and user.
    keys: [u64; 2],
    tlbs: [Tlb; 3],
}

/// The mappings remembered, the current one among them.
pub(crate) struct Spaces {
    list: Vec<Space>,
    checked: Tlb,
    current: usize,
    key_count: u64,
}

impl Spaces {
    pub(crate) fn new() -> Self {
        let space = || Space { mapping: None, keys: [0; 2], tlbs: [Tlb::new(), Tlb::new(), Tlb::new()] };
        Self { list: (0..SPACES).map(|_| space()).collect(), checked: Tlb::new(), current: 0, key_count: 0 }
    }

    /// Makes `mapping` the current one. If it takes the place of another: the number of that.
    pub(crate) fn select(&mut self, mapping: Mapping) -> Option<usize> {
        if self.list[self.current].mapping == Some(mapping) {
            return None;
        }
        let known = self.list.iter().position(|space| space.mapping == Some(mapping));
        self.current = known.unwrap_or((self.current + 1) % SPACES);
        if known.is_some() {
            return None;
        }
        let space = &mut self.list[self.current];
        space.tlbs.iter_mut().for_each(Tlb::flush);
        space.mapping = Some(mapping);
        space.keys = new_keys(&mut self.key_count);
        Some(self.current)
    }

    /// Forgets what came through a table, or one of its entries.
    pub(crate) fn forget(&mut self, reach: &Reach) {
        for (number, space) in self.list.iter_mut().enumerate() {
            if reach.spaces >> number & 1 == 0 {
                continue;
            }
            for tlb in &mut space.tlbs {
                match reach.range {
                    Some((from, length)) => tlb.forget(from, length),
                    None => tlb.flush(),
                }
            }
            if reach.code {
                space.keys = new_keys(&mut self.key_count);
            }
        }
    }

    /// Number of the current mapping.
    pub(crate) fn number(&self) -> usize {
        self.current
    }

    /// Forgets everything; there is no current mapping until `select`.
    pub(crate) fn forget_all(&mut self) {
        for space in &mut self.list {
            space.mapping = None;
            space.tlbs.iter_mut().for_each(Tlb::flush);
        }
    }

    /// The TLB of the current mapping.
    pub(crate) fn tlb(&mut self, half: Half) -> &mut Tlb {
        match half {
            Half::Checked => &mut self.checked,
            half => &mut self.list[self.current].tlbs[half as usize],
        }
    }

    /// Names the current mapping and privilege, never 0.
    pub(crate) fn code_key(&self, user: bool) -> u64 {
        self.list[self.current].keys[usize::from(user)]
    }

    /// All TLBs.
    pub(crate) fn tlbs(&mut self) -> impl Iterator<Item = &mut Tlb> {
        self.list.iter_mut().flat_map(|space| &mut space.tlbs)
    }
}

/// Keys that have never been used, for supervisor and user.
fn new_keys(count: &mut u64) -> [u64; 2] {
    *count += 1;
    [2 * *count, 2 * *count + 1]
}
