//! Pages in a segment: for each its number (u32) and one byte, 0 for a page of zeros, 1 if its 4096 bytes follow. Those of disks
//! are numbered behind those of RAM; a page of zeros there is a block that the guest has filled with zeros.

use super::SegmentError;
use super::bytes::Cursor;

/// Bytes of a page.
pub const PAGE_BYTES: usize = 4096;

/// Pages in one segment, at most: a chunk of about a megabyte.
pub const PAGES_IN_SEGMENT_MAX: usize = 256;

const ZERO: u8 = 0;
const DATA: u8 = 1;

/// A page. No data: all zero.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageImage {
    /// Page frame number.
    pub pfn: u32,
    /// What is in it.
    pub data: Option<Box<[u8; PAGE_BYTES]>>,
}

pub(super) fn pack_page(out: &mut Vec<u8>, pfn: u32, data: &[u8; PAGE_BYTES]) {
    out.extend(pfn.to_le_bytes());
    if data.iter().all(|&byte| byte == 0) {
        out.push(ZERO);
    } else {
        out.push(DATA);
        out.extend(data);
    }
}

pub(super) fn unpack_page(bytes: &mut Cursor<'_>) -> Result<PageImage, SegmentError> {
    let pfn = bytes.u32()?;
    let data = match bytes.u8()? {
        ZERO => None,
        DATA => Some(Box::new(bytes.array()?)),
        _ => return Err(bytes.corrupt("an unknown kind of page")),
    };
    Ok(PageImage { pfn, data })
}
