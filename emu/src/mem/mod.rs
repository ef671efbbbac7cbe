//! Guest memory: RAM, page tables, the software TLB, and the paths between a linear address and a byte.

mod paging;
mod ram;
mod slow;
mod space;
mod tlb;

pub(crate) use paging::{Access, Privilege, is_canonical};
pub use ram::DirtySet;
pub(crate) use ram::Mem;
pub(crate) use slow::{Parts, Prepared, mem_miss};
pub(crate) use space::{Half, Spaces};
pub(crate) use tlb::{Cell, Entry, Tlb, tlb_read, tlb_write};

/// Bytes in a page.
pub const PAGE_BYTES: usize = 4096;
/// Bits below the page number.
pub(crate) const PAGE_BITS: u32 = 12;
/// The page-offset bits of an address.
pub(crate) const PAGE_MASK: u64 = 0xfff;
/// Physical address bits (CPUID 8000_0008H); higher bits in a table entry are reserved.
pub(crate) const PHYS_BITS: u32 = 40;
