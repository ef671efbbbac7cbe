//! The frame around a segment: what it is, how long, and two checksums, so that a file that was cut is told apart from
//! one in which a bit has flipped.
//!
//! A header of fixed width with a checksum of its own can be trusted before the payload is there: if it is whole and
//! right, and the payload is shorter than it says, then the file was cut.

use emu::Position;
use miniz_oxide::deflate::compress_to_vec;
use miniz_oxide::inflate::decompress_to_vec_with_limit;

use super::SegmentError;
use super::bytes::Cursor;

/// Bytes of a frame before its payload.
pub const FRAME_HEADER_BYTES: usize = 48;

/// Longest payload before compression, bytes: bounds what a hostile frame can make a reader allocate.
pub const PAYLOAD_BYTES_MAX: usize = crate::codec::ENCODED_BYTES_MAX;

/// Payloads below this are not worth an attempt at compression.
const DEFLATE_BYTES_MIN: usize = 128;

/// Fastest level that finds matches: a primary compresses while it runs.
const DEFLATE_LEVEL: u8 = 1;

const FLAG_DEFLATE: u8 = 1;
const HEADER_CRC_AT: usize = FRAME_HEADER_BYTES - 4;

/// What a segment holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Pages = 1,
    State = 2,
    Entries = 3,
    End = 4,
}

/// A frame before it is bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) kind: Kind,
    /// Items in the payload: entries, pages; 1 for the other kinds.
    pub(super) count: u32,
    /// Number of the first entry in the payload, or of the next entry to come.
    pub(super) first: u64,
    /// Position of the first entry, or of the machine.
    pub(super) at: Position,
    pub(super) payload: Vec<u8>,
}

/// The fields of a header whose checksum is right.
struct Header {
    kind: Kind,
    deflated: bool,
    stored_len: usize,
    plain_len: usize,
    count: u32,
    first: u64,
    at: Position,
    payload_crc: u32,
}

impl Frame {
    /// Header and payload, the latter deflated if that is shorter.
    pub(super) fn encode(&self) -> Vec<u8> {
        assert!(self.payload.len() <= PAYLOAD_BYTES_MAX, "a payload of {} bytes", self.payload.len());
        let deflated = deflate(&self.payload);
        let stored = deflated.as_ref().unwrap_or(&self.payload);
        let mut out = Vec::with_capacity(FRAME_HEADER_BYTES + stored.len());
        out.extend([self.kind as u8, if deflated.is_some() { FLAG_DEFLATE } else { 0 }, 0, 0]);
        out.extend(len_u32(stored).to_le_bytes());
        out.extend(len_u32(&self.payload).to_le_bytes());
        out.extend(self.count.to_le_bytes());
        out.extend(self.first.to_le_bytes());
        out.extend(self.at.retired.to_le_bytes());
        out.extend(self.at.steps.to_le_bytes());
        out.extend(crc32fast::hash(stored).to_le_bytes());
        out.extend(crc32fast::hash(&out).to_le_bytes());
        out.extend(stored);
        out
    }

    /// Takes the frame that `bytes` begins with; returns it and its length.
    pub(super) fn decode(bytes: &[u8]) -> Result<(Self, usize), SegmentError> {
        let header = Header::parse(bytes)?;
        let len = FRAME_HEADER_BYTES + header.stored_len;
        let stored = bytes.get(FRAME_HEADER_BYTES..len).ok_or(SegmentError::Incomplete)?;
        let corrupt = |what| SegmentError::Corrupt { offset: FRAME_HEADER_BYTES, what };
        if crc32fast::hash(stored) != header.payload_crc {
            return Err(corrupt("the checksum of the payload does not match"));
        }
        let payload = match header.deflated {
            true => inflate(stored, header.plain_len).map_err(corrupt)?,
            false => stored.to_vec(),
        };
        Ok((Self { kind: header.kind, count: header.count, first: header.first, at: header.at, payload }, len))
    }
}

/// `payload` deflated, if that is shorter.
pub(super) fn deflate(payload: &[u8]) -> Option<Vec<u8>> {
    let deflated = (payload.len() >= DEFLATE_BYTES_MIN).then(|| compress_to_vec(payload, DEFLATE_LEVEL))?;
    (deflated.len() < payload.len()).then_some(deflated)
}

/// The other way round, to exactly `len` bytes.
pub(super) fn inflate(deflated: &[u8], len: usize) -> Result<Vec<u8>, &'static str> {
    let payload = decompress_to_vec_with_limit(deflated, len).map_err(|_| "the payload cannot be inflated")?;
    match payload.len() == len {
        true => Ok(payload),
        false => Err("the payload is not as long as its header says"),
    }
}

/// Length of the whole frame that begins with these [`FRAME_HEADER_BYTES`].
///
/// # Errors
/// [`SegmentError::Incomplete`] if there are fewer, `Corrupt` if they are no header.
pub fn frame_bytes(header: &[u8]) -> Result<usize, SegmentError> {
    Ok(FRAME_HEADER_BYTES + Header::parse(header)?.stored_len)
}

impl Header {
    fn parse(bytes: &[u8]) -> Result<Self, SegmentError> {
        let bytes = bytes.get(..FRAME_HEADER_BYTES).ok_or(SegmentError::Incomplete)?;
        let mut fields = Cursor::new(bytes);
        let corrupt = |what| SegmentError::Corrupt { offset: 0, what };
        let (kind, flags, reserved) = (fields.u8()?, fields.u8()?, fields.u16()?);
        let (stored_len, plain_len) = (fields.u32()? as usize, fields.u32()? as usize);
        let (count, first) = (fields.u32()?, fields.u64()?);
        let at = Position { retired: fields.u64()?, steps: fields.u64()? };
        let (payload_crc, header_crc) = (fields.u32()?, fields.u32()?);
        if crc32fast::hash(&bytes[..HEADER_CRC_AT]) != header_crc {
            return Err(corrupt("the checksum of the frame's header does not match"));
        }
        let kind = match kind {
            1 => Kind::Pages,
            2 => Kind::State,
            3 => Kind::Entries,
            4 => Kind::End,
            _ => return Err(corrupt("an unknown kind of segment")),
        };
        let deflated = flags & FLAG_DEFLATE != 0;
        if flags & !FLAG_DEFLATE != 0 || reserved != 0 {
            return Err(corrupt("reserved bits are set"));
        }
        if plain_len > PAYLOAD_BYTES_MAX || if deflated { stored_len >= plain_len } else { stored_len != plain_len } {
            return Err(corrupt("the lengths are impossible"));
        }
        if first == 0 || first.checked_add(u64::from(count)).is_none() {
            return Err(corrupt("the entry number is impossible"));
        }
        Ok(Self { kind, deflated, stored_len, plain_len, count, first, at, payload_crc })
    }
}

#[expect(clippy::cast_possible_truncation, reason = "at most PAYLOAD_BYTES_MAX")]
const fn len_u32(bytes: &[u8]) -> u32 {
    bytes.len() as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(payload: Vec<u8>) -> Frame {
        Frame { kind: Kind::Entries, count: 2, first: 3, at: Position { retired: 0x0405, steps: 6 }, payload }
    }

    #[test]
    fn a_frame_has_these_bytes() {
        let mut expected = vec![
            3, 0, 0, 0, // kind, flags, reserved
            2, 0, 0, 0, // stored length
            2, 0, 0, 0, // plain length
            2, 0, 0, 0, // count
            3, 0, 0, 0, 0, 0, 0, 0, // first entry
            5, 4, 0, 0, 0, 0, 0, 0, // retired
            6, 0, 0, 0, 0, 0, 0, 0, // steps since then
        ];
        expected.extend(0xd893_2aac_u32.to_le_bytes()); // CRC-32 of the payload
        expected.extend(crc32fast::hash(&expected).to_le_bytes());
        expected.extend(b"hi");
        assert_eq!(frame(b"hi".to_vec()).encode(), expected);
    }

    #[test]
    fn a_payload_is_deflated_when_that_is_shorter() {
        let same = frame(vec![7; 10_000]);
        let bytes = same.encode();
        assert!(bytes.len() < 200);
        assert_eq!(Frame::decode(&bytes).unwrap(), (same, bytes.len()));
    }

    #[test]
    fn a_frame_that_claims_more_than_it_inflates_to_is_corrupt() {
        let mut bytes = frame(vec![7; 10_000]).encode();
        bytes[8..12].copy_from_slice(&9_999_u32.to_le_bytes());
        reseal(&mut bytes);
        assert!(matches!(Frame::decode(&bytes), Err(SegmentError::Corrupt { .. })));
        bytes[8..12].copy_from_slice(&10_001_u32.to_le_bytes());
        reseal(&mut bytes);
        assert!(matches!(Frame::decode(&bytes), Err(SegmentError::Corrupt { .. })));
        bytes[8..12].copy_from_slice(&u32::MAX.to_le_bytes());
        reseal(&mut bytes);
        assert!(matches!(Frame::decode(&bytes), Err(SegmentError::Corrupt { offset: 0, .. })));
    }

    fn reseal(bytes: &mut [u8]) {
        let crc = crc32fast::hash(&bytes[..HEADER_CRC_AT]);
        bytes[HEADER_CRC_AT..FRAME_HEADER_BYTES].copy_from_slice(&crc.to_le_bytes());
    }
}
