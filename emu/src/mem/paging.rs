//! Linear to physical: 4-level, PAE and 32-bit paging (SDM Vol. 3A, 4.3 to 4.6).

use super::tables::{Reach, Step};
use super::{PAGE_MASK, PHYS_BITS};
use crate::cpu::Cpu;
use crate::cpu::fault::{Fault, Trap};
use crate::cpu::flags;
use crate::cpu::model::Feature;
use crate::cpu::regs::{cr0, cr4, efer};

/// What an access wants to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    Read,
    Write,
    Execute,
}

/// On whose behalf an access is made (SDM Vol. 3A, 4.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Privilege {
    User,
    Supervisor,
    /// To a descriptor table or TSS, whatever CPL is: RFLAGS.AC does not open user pages to it.
    Implicit,
}

impl Privilege {
    /// That of an instruction's own accesses.
    pub(crate) fn explicit(user: bool) -> Self {
        if user { Self::User } else { Self::Supervisor }
    }
}

/// Table entry bits (SDM Vol. 3A, tables 4-15 to 4-20).
mod pte {
    pub(super) const P: u64 = 1 << 0;
    pub(super) const RW: u64 = 1 << 1;
    pub(super) const US: u64 = 1 << 2;
    pub(super) const A: u64 = 1 << 5;
    pub(super) const D: u64 = 1 << 6;
    pub(super) const PS: u64 = 1 << 7;
    pub(super) const XD: u64 = 1 << 63;
}

/// Page-fault error code bits (SDM Vol. 3A, 4.7).
mod error {
    pub(super) const P: u32 = 1 << 0;
    pub(super) const WR: u32 = 1 << 1;
    pub(super) const US: u32 = 1 << 2;
    pub(super) const RSVD: u32 = 1 << 3;
    pub(super) const ID: u32 = 1 << 4;
}

/// The frame bits of an entry.
const FRAME: u64 = ((1 << PHYS_BITS) - 1) & !PAGE_MASK;
/// The bits between the physical width and bit 52, which must be zero.
const RESERVED: u64 = ((1 << 52) - 1) & !((1 << PHYS_BITS) - 1);

/// The bits of a PAE page-directory-pointer-table entry that must be zero.
const PDPTE_RESERVED: u64 = !((1 << PHYS_BITS) - 1) | 0x1e6;

/// Whether bits 63-47 are equal.
pub(crate) fn is_canonical(addr: u64) -> bool {
    ((addr << 16) as i64 >> 16) as u64 == addr
}

impl Cpu {
    /// The physical address for `access` at `addr` by `by`; sets accessed and dirty bits.
    pub(crate) fn translate(&mut self, addr: u64, access: Access, by: Privilege) -> Result<u64, Fault> {
        let mut walk = Walk::default();
        self.look_up(addr, access, by, &mut walk)?;
        self.mark_used(addr, &walk, access);
        Ok(walk.phys)
    }

    /// Where `access` at `addr` by `by` leads, in `walk`; changes nothing. `mark_used` is to follow.
    pub(super) fn look_up(&self, addr: u64, access: Access, by: Privilege, walk: &mut Walk) -> Result<(), Fault> {
        if self.cr0 & cr0::PG == 0 {
            walk.phys = addr & u64::from(u32::MAX);
            return Ok(());
        }
        self.walk(addr, walk).map_err(|e| Fault::page(addr, e | self.access_error(access, by)))?;
        if !self.allows(walk.rights, access, by) {
            return Err(Fault::page(addr, error::P | self.access_error(access, by)));
        }
        Ok(())
    }

    /// The physical address, whatever the permissions; changes nothing.
    pub(crate) fn translate_quietly(&self, addr: u64) -> Option<u64> {
        if self.cr0 & cr0::PG == 0 {
            return Some(addr & u64::from(u32::MAX));
        }
        let mut walk = Walk::default();
        self.walk(addr, &mut walk).ok().map(|()| walk.phys)
    }

    /// Whether the access would mark a table entry inside decoded code.
    pub(super) fn marks_code(&self, walk: &Walk, access: Access) -> bool {
        walk.to_mark(access).any(|(at, _)| self.mem.has_code(at, 8))
    }

    fn access_error(&self, access: Access, by: Privilege) -> u32 {
        let nx = self.msr.efer & efer::NXE != 0 && self.cr4 & cr4::PAE != 0;
        let tells_fetch = nx || self.cr4 & cr4::SMEP != 0;
        let kind = match access {
            Access::Read => 0,
            Access::Write => error::WR,
            Access::Execute => u32::from(tells_fetch) * error::ID,
        };
        kind | u32::from(by == Privilege::User) * error::US
    }

    /// Whether the combined rights of all levels allow an access (SDM Vol. 3A, 4.6.1).
    fn allows(&self, rights: u64, access: Access, by: Privilege) -> bool {
        let user_page = rights & pte::US != 0;
        let kept_out = match (by, access) {
            (Privilege::User, _) => !user_page,
            (_, Access::Execute) => user_page && self.cr4 & cr4::SMEP != 0,
            (Privilege::Supervisor, _) => user_page && self.cr4 & cr4::SMAP != 0 && self.rflags & flags::AC == 0,
            (Privilege::Implicit, _) => user_page && self.cr4 & cr4::SMAP != 0,
        };
        !kept_out
            && match access {
                Access::Read => true,
                Access::Write => rights & pte::RW != 0 || by != Privilege::User && self.cr0 & cr0::WP == 0,
                Access::Execute => rights & pte::XD == 0,
            }
    }

    /// Whether a translation through the table entries in the word at `phys` may be cached: they are present and accessed,
    /// because filling the TLB sets the accessed bits on the way.
    fn may_be_cached(&self, phys: u64) -> bool {
        let word = self.mem.read_u64(phys);
        let cached = |entry: u64| entry & (pte::P | pte::A) == pte::P | pte::A;
        cached(word) || self.mem.tables.is_small(phys) && cached(word >> 32)
    }

    /// Whether a write to `length` bytes at `phys` changes a page-table entry from which a translation may be cached.
    pub(crate) fn unmaps(&self, phys: u64, length: usize) -> bool {
        self.mem.tables.is_used(phys) && words(phys, length).any(|at| self.may_be_cached(at))
    }

    /// A write to `length` bytes at `phys` is to come: forgets what came through the page-table entries there. True if
    /// there was something.
    pub(super) fn unmap(&mut self, phys: u64, length: usize) -> bool {
        if !self.mem.tables.is_used(phys) {
            return false;
        }
        let mut any = false;
        for at in words(phys, length) {
            if self.may_be_cached(at) {
                any = true;
                let reach = self.mem.tables.reach(at);
                self.forget(&Reach { code: self.was_fetched(at), ..reach });
            }
        }
        if let Some(reach) = self.mem.tables.count_write(phys, any) {
            self.forget(&reach);
        }
        any
    }

    /// Whether code may have been fetched through the entry in the word at `phys`.
    fn was_fetched(&self, phys: u64) -> bool {
        let entry = self.mem.read_u64(phys);
        let next = (entry & pte::PS == 0).then_some(entry & FRAME);
        let forbidden = entry & pte::XD != 0 && !self.mem.tables.is_small(phys);
        !forbidden && self.mem.tables.was_fetched(phys, next)
    }

    fn forget(&mut self, reach: &Reach) {
        self.spaces.forget(reach);
        self.code_key = self.spaces.code_key(self.user);
    }

    /// Follows the tables without looking at permissions. The error is the P or RSVD part of the error code.
    fn walk(&self, addr: u64, walk: &mut Walk) -> Result<(), u32> {
        if self.msr.efer & efer::LMA != 0 {
            return self.walk_from(self.cr3 & FRAME, 4, addr, walk);
        }
        if self.cr4 & cr4::PAE == 0 {
            return self.walk_32(addr, walk);
        }
        let entry = self.pdpte[(addr >> 30) as usize & 3];
        if entry & pte::P == 0 {
            return Err(0);
        }
        self.walk_from(entry & FRAME, 2, addr, walk)
    }

    /// Through `levels` tables of 512 entries each, the first at `table`.
    fn walk_from(&self, mut table: u64, levels: u32, addr: u64, walk: &mut Walk) -> Result<(), u32> {
        let mut rights = pte::RW | pte::US;
        let reserved_xd = if self.msr.efer & efer::NXE == 0 { pte::XD } else { 0 };
        // Bits 52-62 are ignored by 4-level paging, reserved in PAE paging.
        let reserved_high = if levels == 2 { 0x7ff << 52 } else { 0 };
        for level in (0..levels).rev() {
            let at = table + ((addr >> (12 + 9 * level)) & 0x1ff) * 8;
            let entry = self.mem.read_u64(at);
            if entry & pte::P == 0 {
                return Err(0);
            }
            let leaf = level == 0 || (entry & pte::PS != 0 && level < 3);
            let low = (1 << (12 + 9 * level)) - 1;
            // A large page's frame begins above bit 12, which is PAT; PS is reserved in a PML4 entry.
            let reserved_low = if leaf && level > 0 { low & !0x1fff } else { 0 };
            let huge = self.features.has(Feature::PDPE1GB);
            let reserved_ps = if level == 3 || level == 2 && !huge { pte::PS } else { 0 };
            if entry & (RESERVED | reserved_high | reserved_xd | reserved_low | reserved_ps) != 0 {
                return Err(error::P | error::RSVD);
            }
            rights = rights & entry & (pte::RW | pte::US) | (rights | entry) & pte::XD;
            walk.entries[level as usize] = (at, entry);
            if leaf {
                walk.phys = entry & FRAME & !low | addr & low;
                walk.rights = rights;
                (walk.leaf, walk.top, walk.entry_bytes) = (level as usize, levels as usize, 8);
                return Ok(());
            }
            table = entry & FRAME;
        }
        Err(0)
    }

    /// 32-bit paging: two tables of 1024 entries, and pages of 4 MiB with CR4.PSE (SDM Vol. 3A, 4.3).
    fn walk_32(&self, addr: u64, walk: &mut Walk) -> Result<(), u32> {
        let entry_at = |at: u64| self.mem.read_u64(at & !7) >> (8 * (at & 4)) & u64::from(u32::MAX);
        let at = (self.cr3 & 0xffff_f000) + (addr >> 22 & 0x3ff) * 4;
        let pde = entry_at(at);
        let mut entries = [(0, 0), (at, pde), (0, 0), (0, 0)];
        if pde & pte::P == 0 {
            return Err(0);
        }
        if pde & pte::PS != 0 && self.cr4 & cr4::PSE != 0 {
            if pde & 1 << 21 != 0 {
                return Err(error::P | error::RSVD);
            }
            let phys = pde & 0xffc0_0000 | (pde >> 13 & 0xff) << 32 | addr & 0x3f_ffff;
            *walk = Walk { phys, rights: pde & (pte::RW | pte::US), leaf: 1, top: 2, entry_bytes: 4, entries };
            return Ok(());
        }
        let at = (pde & 0xffff_f000) + (addr >> 12 & 0x3ff) * 4;
        let entry = entry_at(at);
        entries[0] = (at, entry);
        if entry & pte::P == 0 {
            return Err(0);
        }
        let phys = entry & 0xffff_f000 | addr & PAGE_MASK;
        *walk = Walk { phys, rights: entry & pde & (pte::RW | pte::US), leaf: 0, top: 2, entry_bytes: 4, entries };
        Ok(())
    }

    /// Loads the page-directory-pointer-table entries for PAE paging from the table at CR3 (SDM Vol. 3A, 4.4.1).
    pub(crate) fn load_pdptes(&mut self, cr3: u64) -> Result<(), Trap> {
        let table = cr3 & 0xffff_ffe0;
        let entries: [u64; 4] = std::array::from_fn(|i| self.mem.read_u64(table + 8 * i as u64));
        if entries.iter().any(|entry| entry & pte::P != 0 && entry & PDPTE_RESERVED != 0) {
            return Err(Fault::GP0.into());
        }
        self.pdpte = entries;
        self.flush_tlb();
        Ok(())
    }

    /// Sets accessed bits on the way and the dirty bit of the leaf (SDM Vol. 3A, 4.8), and has the tables watched: a write to
    /// an entry from which something may be cached flushes it. So the TLB is transparent, and what a machine does is a
    /// function of its state alone (ARCHITECTURE.md, "The TLB cannot be seen").
    pub(super) fn mark_used(&mut self, addr: u64, walk: &Walk, access: Access) {
        for (at, wanted) in walk.to_mark(access) {
            // More is allowed than before: what is cached stays true.
            self.write_entry(at, &wanted.to_le_bytes()[..walk.entry_bytes]);
        }
        let (space, fetch) = (self.spaces.number(), access == Access::Execute);
        for level in walk.leaf..walk.top {
            let step = Step { at: walk.entries[level].0, level: level as u32, bytes: walk.entry_bytes };
            if self.mem.tables.note(step, addr, space, fetch) {
                self.protect(step.at);
            }
        }
    }
}

/// The addresses of the 8-byte words that `length` bytes at `phys` touch.
fn words(phys: u64, length: usize) -> impl Iterator<Item = u64> {
    (phys & !7..phys + length as u64).step_by(8)
}

/// The result of following the tables. Filled in its place: a copy would wait for what was just written piece by piece.
#[derive(Default)]
pub(super) struct Walk {
    pub(super) phys: u64,
    /// RW and US as allowed by all levels, XD as forbidden by any.
    rights: u64,
    /// Level of the last entry: 0 for 4 KiB, 1 for 2 or 4 MiB, 2 for 1 GiB.
    leaf: usize,
    /// Levels there are.
    top: usize,
    entry_bytes: usize,
    /// (physical address, value) of the entry at each level.
    entries: [(u64, u64); 4],
}

impl Walk {
    /// The entries that an access must mark, as (physical address, new value).
    fn to_mark(&self, access: Access) -> impl Iterator<Item = (u64, u64)> {
        let entries = self.entries.iter().enumerate().take(self.top).skip(self.leaf);
        entries.filter_map(move |(level, &(at, entry))| {
            let dirty = if level == self.leaf && access == Access::Write { pte::D } else { 0 };
            let wanted = entry | pte::A | dirty;
            (wanted != entry).then_some((at, wanted))
        })
    }
}
