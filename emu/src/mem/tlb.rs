//! The software TLB: one compare decides hit, permission and page crossing.

use crate::cpu::Cpu;
use crate::width::Width;

/// What one access moves.
pub(crate) trait Cell: Copy + 'static {
    const BYTES: u64;
}

impl<T: Width> Cell for T {
    const BYTES: u64 = T::SIZE;
}

/// An XMM register.
impl Cell for [u8; 16] {
    const BYTES: u64 = 16;
}

/// A YMM register.
impl Cell for [[u8; 16]; 2] {
    const BYTES: u64 = 32;
}

/// Entries per privilege.
const ENTRIES: usize = 2048;

/// What is known of one linear page. Tags are page addresses, or `NO_TAG`.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct Entry {
    pub(crate) read: u64,
    /// Never matches for a page that holds decoded code or has an unseen write (`Mem::dirty`).
    pub(crate) write: u64,
    /// Host address less linear address.
    pub(crate) addend: usize,
    /// Physical page address, for slow paths.
    pub(crate) phys: u64,
}

const NO_TAG: u64 = 1;
const EMPTY: Entry = Entry { read: NO_TAG, write: NO_TAG, addend: 0, phys: 0 };

/// The entries of one mapping and privilege.
#[derive(Clone)]
#[repr(C)]
pub(crate) struct Tlb {
    pub(crate) entries: [Entry; ENTRIES],
    /// Nothing was put in since it was flushed.
    empty: bool,
}

impl Tlb {
    pub(crate) const fn new() -> Self {
        Self { entries: [EMPTY; ENTRIES], empty: true }
    }

    pub(crate) fn flush(&mut self) {
        if !std::mem::replace(&mut self.empty, true) {
            self.entries = [EMPTY; ENTRIES];
        }
    }

    /// Remembers a translation.
    pub(crate) fn put(&mut self, addr: u64, entry: Entry) {
        self.empty = false;
        self.entries[index(addr)] = entry;
    }

    /// Forgets `length` bytes from the linear address `from`, under any name that 32-bit code has for them.
    pub(super) fn forget(&mut self, from: u64, length: u64) {
        if length >> super::PAGE_BITS >= ENTRIES as u64 {
            self.flush();
        } else if !self.empty {
            for addr in (from..from + length).step_by(super::PAGE_BYTES) {
                let entry = self.entry(addr);
                if (entry.read ^ addr) as u32 == 0 {
                    *entry = EMPTY;
                }
            }
        }
    }

    /// Forgets every write permission.
    pub(crate) fn flush_writes(&mut self) {
        if !self.empty {
            self.entries.iter_mut().for_each(|entry| entry.write = NO_TAG);
        }
    }

    /// Forgets the write permission to a physical page, which is where `writers` says.
    pub(crate) fn protect(&mut self, phys_page: u64, writers: Writers) {
        if self.empty {
            return;
        }
        let entries = match writers {
            Writers::NONE => return,
            Writers::MANY => &mut self.entries[..],
            Writers(at) => &mut self.entries[usize::from(at - 1)..usize::from(at)],
        };
        entries.iter_mut().filter(|entry| entry.phys == phys_page).for_each(|entry| entry.write = NO_TAG);
    }

    pub(crate) fn entry(&mut self, addr: u64) -> &mut Entry {
        &mut self.entries[index(addr)]
    }
}

/// Which entries may let writes to a page of RAM pass: none, one (its number and 1), or many.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Writers(u16);

impl Writers {
    pub(super) const NONE: Self = Self(0);
    const MANY: Self = Self(u16::MAX);

    /// The entry for `addr`, too.
    pub(super) fn add(&mut self, addr: u64) {
        let one = Self(index(addr) as u16 + 1);
        *self = if *self == Self::NONE || *self == one { one } else { Self::MANY };
    }
}

impl Entry {
    /// A page that can be read, and written without further notice if `write`.
    pub(crate) fn new(addr: u64, phys: u64, host: *mut u8, write: bool) -> Self {
        let page = addr & !super::PAGE_MASK;
        let addend = host.expose_provenance().wrapping_sub(page as usize);
        Self { read: page, write: if write { page } else { NO_TAG }, addend, phys: phys & !super::PAGE_MASK }
    }
}

#[inline(always)]
fn index(addr: u64) -> usize {
    (addr >> super::PAGE_BITS) as usize % ENTRIES
}

#[inline(always)]
unsafe fn find(cpu: *const Cpu, addr: u64) -> *const Entry {
    // SAFETY: `tlb` points at one of the CPU's own halves and the index is below its length.
    unsafe { (*cpu).tlb.cast::<Entry>().cast_const().add(index(addr)) }
}

#[inline(always)]
fn last_page<T: Cell>(addr: u64) -> u64 {
    addr.wrapping_add(T::BYTES - 1) & !super::PAGE_MASK
}

/// Host address of a readable `T` at `addr`, null on a miss.
///
/// # Safety
/// `cpu` is live.
#[inline(always)]
pub(crate) unsafe fn tlb_read<T: Cell>(cpu: *const Cpu, addr: u64) -> *const T {
    // SAFETY: as the caller promises.
    unsafe {
        let entry = find(cpu, addr);
        if (*entry).read == last_page::<T>(addr) {
            std::ptr::with_exposed_provenance((*entry).addend.wrapping_add(addr as usize))
        } else {
            std::ptr::null()
        }
    }
}

/// Host address of a writable (and readable) `T` at `addr`, null on a miss.
///
/// # Safety
/// `cpu` is live.
#[inline(always)]
pub(crate) unsafe fn tlb_write<T: Cell>(cpu: *const Cpu, addr: u64) -> *mut T {
    // SAFETY: as the caller promises.
    unsafe {
        let entry = find(cpu, addr);
        if (*entry).write == last_page::<T>(addr) {
            std::ptr::with_exposed_provenance_mut((*entry).addend.wrapping_add(addr as usize))
        } else {
            std::ptr::null_mut()
        }
    }
}
