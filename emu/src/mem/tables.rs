//! Pages with page-table entries in use: what was cached by way of each of them, so that a write to an entry makes the CPU
//! forget that, and no more (ARCHITECTURE.md, "The TLB cannot be seen").

use super::PAGE_BITS;

/// How a page of RAM is used as a page table, in one word: the linear address of what its first entry maps (bits 22 to 47, or
/// 21 for entries of 8 bytes), and the bits below; 0: not at all.
type Use = u64;

const USED: Use = 1;
/// In more ways than one: at several addresses or levels.
const MIXED: Use = 1 << 1;
/// Entries of 4 bytes.
const SMALL: Use = 1 << 2;
/// Code was fetched.
const FETCHED: Use = 1 << 3;
/// The level: 0 for the one whose entries map 4 KiB.
const LEVEL_SHIFT: u32 = 4;
/// A bit for each address space that has used it.
const SPACES_SHIFT: usize = 8;
const SPACES: Use = 0xff << SPACES_SHIFT;
const _: () = assert!(super::space::SPACES == 8);
const BASE: Use = ((1 << 48) - 1) & !((1 << 21) - 1);

/// Work on tables (`Tables::count_write`) after which the one just written is no longer watched.
const WORK_MAX: u32 = 256;
/// What a write costs that makes the CPU forget something, in writes that do not.
const UNMAPPING_WORK: u32 = 8;

/// An entry on the way of a walk.
#[derive(Clone, Copy)]
pub(super) struct Step {
    /// Physical address.
    pub(super) at: u64,
    pub(super) level: u32,
    /// 8, or 4.
    pub(super) bytes: usize,
}

/// What may have been cached through entries of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reach {
    /// Linear addresses: the first, and how many; none: any.
    pub(crate) range: Option<(u64, u64)>,
    /// A bit for each address space.
    pub(crate) spaces: u8,
    /// Code, too.
    pub(crate) code: bool,
}

/// The tables in use.
pub(crate) struct Tables {
    /// Per page of RAM.
    uses: Vec<Use>,
    /// The pages used.
    list: Vec<u64>,
    /// Done since a table was last given up.
    work: u32,
}

impl Tables {
    pub(super) fn new(pages: usize) -> Self {
        Self { uses: vec![0; pages], list: Vec::new(), work: 0 }
    }

    fn of(&self, phys: u64) -> Use {
        self.uses.get((phys >> PAGE_BITS) as usize).copied().unwrap_or(0)
    }

    /// Whether the page of `phys` holds entries in use.
    pub(crate) fn is_used(&self, phys: u64) -> bool {
        self.of(phys) != 0
    }

    /// Whether the page of `phys` may hold entries of 4 bytes.
    pub(super) fn is_small(&self, phys: u64) -> bool {
        self.of(phys) & (SMALL | MIXED) != 0
    }

    /// Whether code may have been fetched through the entry in the 8 bytes at `phys`, which leads to the page of `next` if
    /// that is another table.
    pub(super) fn was_fetched(&self, phys: u64, next: Option<u64>) -> bool {
        let way = self.of(phys);
        let deeper = next.filter(|_| way >> LEVEL_SHIFT & 3 > 0 && way & (SMALL | MIXED) == 0);
        way & deeper.map_or(u64::MAX, |next| self.of(next)) & FETCHED != 0
    }

    /// Notes that a translation of `addr` through an entry is about to be cached in a space. True if it is the page's first.
    pub(super) fn note(&mut self, step: Step, addr: u64, space: usize, fetch: bool) -> bool {
        let Some(known) = self.uses.get_mut((step.at >> PAGE_BITS) as usize) else { return false };
        let small = if step.bytes == 4 { SMALL } else { 0 };
        let way = USED | small | u64::from(step.level) << LEVEL_SHIFT;
        let way = way | BASE & addr & !(length(way) - 1);
        let by = 1 << (SPACES_SHIFT + space) | if fetch { FETCHED } else { 0 };
        if *known & !(SPACES | FETCHED) == way {
            *known |= by;
            return false;
        }
        let first = *known == 0;
        *known |= if first { way | by } else { MIXED | by };
        if first {
            self.list.push(step.at >> PAGE_BITS);
        }
        first
    }

    /// What may have been cached through the entries in the 8 bytes at `phys`.
    pub(super) fn reach(&self, phys: u64) -> Reach {
        let way = self.of(phys);
        let part = length(way) / 512;
        reach(way, (way & BASE) + (phys >> 3 & 511) * part, part)
    }

    /// Counts a write to the table of `phys`. One that is written over and over, or has become something else, is better not
    /// watched: after many writes, says what may have been cached through it all, which is to be forgotten.
    pub(super) fn count_write(&mut self, phys: u64, unmaps: bool) -> Option<Reach> {
        self.work += if unmaps { UNMAPPING_WORK } else { 1 };
        if self.work < WORK_MAX {
            return None;
        }
        self.work = 0;
        let page = phys >> PAGE_BITS;
        let way = std::mem::take(self.uses.get_mut(page as usize)?);
        self.list.retain(|&other| other != page);
        Some(reach(way, way & BASE, length(way)))
    }

    /// Nothing is cached in a space any more.
    pub(crate) fn leave(&mut self, space: usize) {
        let (uses, bit) = (&mut self.uses, 1 << (SPACES_SHIFT + space));
        self.list.retain(|&page| {
            let known = &mut uses[page as usize];
            *known &= !bit;
            if *known & SPACES == 0 {
                *known = 0;
            }
            *known != 0
        });
    }

    /// Nothing is cached any more.
    pub(crate) fn forget(&mut self) {
        for page in self.list.drain(..) {
            self.uses[page as usize] = 0;
        }
    }
}

/// Bytes that all entries of a table map.
fn length(way: Use) -> u64 {
    let level = way >> LEVEL_SHIFT & 3;
    1 << if way & SMALL != 0 { 22 + 10 * level } else { 21 + 9 * level }
}

fn reach(way: Use, from: u64, length: u64) -> Reach {
    let canonical = ((from << 16) as i64 >> 16) as u64;
    let range = (way & MIXED == 0).then_some((canonical, length));
    Reach { range, spaces: (way >> SPACES_SHIFT) as u8, code: way & FETCHED != 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(at: u64, level: u32) -> Step {
        Step { at, level, bytes: 8 }
    }

    #[test]
    fn an_entry_reaches_what_it_maps() {
        let mut tables = Tables::new(64);
        let addr = 0xffff_8880_1234_5678;
        assert!(tables.note(step(0x5008, 0), addr, 3, false));
        assert!(!tables.note(step(0x5010, 0), addr, 1, false), "known");
        let first = addr & !0x1f_ffff;
        let reach = Reach { range: Some((first + 0x1000 * 7, 0x1000)), spaces: 0b1010, code: false };
        assert_eq!(tables.reach(0x5038), reach);
        tables.note(step(0x6ff8, 3), addr, 0, true);
        assert_eq!(tables.reach(0x6000), Reach { range: Some((0, 1 << 39)), spaces: 1, code: true });
        assert_eq!(tables.reach(0x6ff8).range, Some((0xffff_ff80_0000_0000, 1 << 39)));
    }

    #[test]
    fn small_entries_go_in_pairs() {
        let mut tables = Tables::new(64);
        tables.note(Step { at: 0x5004, level: 0, bytes: 4 }, 0x80c0_1000, 0, false);
        tables.note(Step { at: 0x6804, level: 1, bytes: 4 }, 0x80c0_1000, 0, false);
        assert_eq!(tables.reach(0x5000).range, Some((0x80c0_0000, 0x2000)));
        assert_eq!(tables.reach(0x6808).range, Some((0x8080_0000, 0x80_0000)));
        assert!(tables.is_small(0x5123));
    }

    #[test]
    fn a_table_used_in_two_ways_reaches_everything() {
        let mut tables = Tables::new(64);
        tables.note(step(0x5000, 0), 0, 0, false);
        assert!(!tables.note(step(0x5000, 0), 1 << 21, 1, true));
        assert_eq!(tables.reach(0x5000), Reach { range: None, spaces: 0b11, code: true });
        tables.note(step(0x6000, 0), 0, 0, false);
        tables.note(step(0x6000, 1), 0, 0, false);
        assert_eq!(tables.reach(0x6000).range, None);
    }

    #[test]
    fn code_was_fetched_through_a_directory_if_through_its_table() {
        let mut tables = Tables::new(64);
        tables.note(step(0x6000, 1), 0, 0, true);
        tables.note(step(0x5000, 0), 0, 0, true);
        tables.note(step(0x7000, 0), 1 << 21, 0, false);
        assert!(tables.was_fetched(0x6000, Some(0x5000)));
        assert!(!tables.was_fetched(0x6008, Some(0x7000)));
        assert!(tables.was_fetched(0x6010, None), "a large page");
        assert!(tables.was_fetched(0x5000, Some(0x7000)), "a page, whatever it holds");
    }

    #[test]
    fn what_nobody_uses_is_not_watched() {
        let mut tables = Tables::new(64);
        tables.note(step(0x5000, 0), 0, 0, false);
        tables.note(step(0x5000, 0), 0, 7, false);
        tables.leave(7);
        assert!(tables.is_used(0x5abc));
        tables.leave(0);
        assert!(!tables.is_used(0x5abc));
        tables.note(step(0x5000, 0), 1 << 21, 2, false);
        let given_up: Vec<Reach> = (0..WORK_MAX).filter_map(|_| tables.count_write(0x5000, false)).collect();
        assert_eq!(given_up, [Reach { range: Some((1 << 21, 1 << 21)), spaces: 0b100, code: false }]);
        assert!(!tables.is_used(0x5000));
    }

    #[test]
    fn frames_outside_ram_are_no_tables() {
        let mut tables = Tables::new(1);
        assert!(!tables.note(step(0x5000, 0), 0, 0, false) && !tables.is_used(0x5000));
        assert_eq!(tables.count_write(u64::MAX, true), None);
    }
}
