//! Reading and writing little-endian fields and varints.
//!
//! A varint is unsigned LEB128: seven bits a byte, lowest first, the top bit set on all bytes but the last. Every
//! number has one encoding: a last byte of zero (unless it is the only one) is refused.

use super::SegmentError;

/// Appends `value` as a varint, 1 to 10 bytes.
#[inline]
pub(super) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push((value & 0x7f) as u8);
}

/// A place in some bytes that moves on as fields are taken.
#[derive(Clone)]
pub(super) struct Cursor<'a> {
    bytes: &'a [u8],
    offset: usize,
}

impl<'a> Cursor<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, offset: 0 }
    }

    pub(super) const fn left(&self) -> usize {
        self.bytes.len() - self.offset
    }

    pub(super) const fn corrupt(&self, what: &'static str) -> SegmentError {
        SegmentError::Corrupt { offset: self.offset, what }
    }

    pub(super) fn take(&mut self, len: usize) -> Result<&'a [u8], SegmentError> {
        let rest = &self.bytes[self.offset..];
        let taken = rest.get(..len).ok_or(self.corrupt("a field goes beyond the end"))?;
        self.offset += len;
        Ok(taken)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], SegmentError> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    pub(super) fn u8(&mut self) -> Result<u8, SegmentError> {
        Ok(u8::from_le_bytes(self.array()?))
    }

    pub(super) fn u16(&mut self) -> Result<u16, SegmentError> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    pub(super) fn u32(&mut self) -> Result<u32, SegmentError> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    pub(super) fn u64(&mut self) -> Result<u64, SegmentError> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    pub(super) fn u128(&mut self) -> Result<u128, SegmentError> {
        Ok(u128::from_le_bytes(self.array()?))
    }

    #[inline]
    pub(super) fn varint(&mut self) -> Result<u64, SegmentError> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.u8()?;
            let bits = u64::from(byte & 0x7f);
            if bits << shift >> shift != bits {
                break;
            }
            value |= bits << shift;
            if byte < 0x80 {
                if byte == 0 && shift != 0 {
                    return Err(self.corrupt("an overlong number"));
                }
                return Ok(value);
            }
        }
        Err(self.corrupt("a number of more than 64 bits"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn varints_have_these_bytes() {
        for (value, bytes) in [
            (0, &[0][..]),
            (127, &[0x7f]),
            (128, &[0x80, 1]),
            (16383, &[0xff, 0x7f]),
            (u64::MAX, &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]),
        ] {
            let mut out = Vec::new();
            put_varint(&mut out, value);
            assert_eq!(out, bytes);
            assert_eq!(Cursor::new(bytes).varint().unwrap(), value);
        }
    }

    #[test]
    fn a_varint_has_one_encoding_and_64_bits() {
        for bad in [&[0x80, 0][..], &[0xff; 10], &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2], &[0x80]] {
            assert!(Cursor::new(bad).varint().is_err(), "{bad:x?}");
        }
    }
}
