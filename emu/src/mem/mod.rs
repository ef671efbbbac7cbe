//! Guest memory: RAM, page tables, the software TLB, and the paths between a linear address and a byte.

mod paging;
mod ram;
mod slow;
mod space;
mod tables;
mod tlb;

pub(crate) use paging::{Access, Privilege, is_canonical};
pub use ram::DirtySet;
pub(crate) use ram::Mem;
pub(crate) use slow::{Parts, Prepared, mem_miss};
pub(crate) use space::{Half, Spaces};
pub(crate) use tables::{Reach, Tables};
pub(crate) use tlb::{Cell, Entry, Tlb, Writers, tlb_read, tlb_write};

/// Bytes in a page.
pub const PAGE_BYTES: usize = 4096;
/// Bits below the page number.
pub(crate) const PAGE_BITS: u32 = 12;
/// The page-offset bits of an address.
pub(crate) const PAGE_MASK: u64 = 0xfff;
/// Cuts what is to be written at `phys` at the ends of pages.
pub(crate) fn by_page(phys: u64, data: &[u8]) -> impl Iterator<Item = (u64, &[u8])> {
    let (mut at, mut rest) = (phys, data);
    std::iter::from_fn(move || {
        let room = PAGE_BYTES - (at & PAGE_MASK) as usize;
        let (here, beyond) = rest.split_at(room.min(rest.len()));
        let piece = (at, here);
        (at, rest) = (at + here.len() as u64, beyond);
        (!here.is_empty()).then_some(piece)
    })
}

/// Physical address bits (CPUID 8000_0008H); higher bits in a table entry are reserved.
pub(crate) const PHYS_BITS: u32 = 40;
