//! Segments: bytes out, bytes in, without any I/O. A file and the logging channel carry the same ones.

use emu::{Position, Power};
use serde::{Deserialize, Serialize};

use super::SegmentError;
use super::bytes::{Cursor, put_varint};
use super::frame::{Frame, Kind, PAYLOAD_BYTES_MAX, deflate, inflate};
use super::pack::Previous;
use super::pages::{PAGE_BYTES, PageImage, pack_page, unpack_page};
use crate::codec;
use crate::entry::Entry;

/// A segment of entries is full when its payload has this many bytes.
pub const SEGMENT_PAYLOAD_BYTES: usize = 64 << 10;

/// What a segment can be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Segment {
    /// Some pages of a snapshot's RAM.
    Pages(Vec<PageImage>),
    /// The rest of a snapshot, which this completes.
    State(StateSegment),
    /// Entries.
    Entries(EntriesSegment),
    /// The log ends here on purpose.
    End(Totals),
}

/// Everything of a machine but its RAM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateSegment {
    /// Where the machine is.
    pub at: Position,
    /// Number of the first entry after this snapshot.
    pub next_entry: u64,
    /// Configuration and state, encoded by [`codec`].
    pub encoded: Vec<u8>,
}

/// Entries that follow each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntriesSegment {
    /// Number of the first one.
    pub first: u64,
    /// At least one. The last has an exact position.
    pub entries: Vec<Entry>,
}

impl EntriesSegment {
    /// Number of the last entry.
    #[must_use]
    pub const fn last(&self) -> u64 {
        self.first + self.entries.len() as u64 - 1
    }
}

/// What a log that ends on purpose says about the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Where the machine was.
    pub at: Position,
    /// Number of the last entry; 0 if there is none.
    pub entries: u64,
    /// Outputs of the machine since it was created.
    pub outputs: u64,
    /// How the machine stopped, if it did.
    pub power: Option<Power>,
}

/// Takes the segment that `bytes` begins with; returns it and its length.
///
/// # Errors
/// [`SegmentError::Incomplete`] if `bytes` is too short; `Corrupt` if a bit is not as it was written.
pub fn decode_segment(bytes: &[u8]) -> Result<(Segment, usize), SegmentError> {
    let (frame, len) = Frame::decode(bytes)?;
    let payload = Cursor::new(&frame.payload);
    let segment = match frame.kind {
        Kind::Pages => unpack_pages(&frame, payload),
        Kind::Entries => unpack_entries(frame.first, frame.count, frame.at, payload).map(Segment::Entries),
        Kind::State if frame.count == 1 => {
            Ok(Segment::State(StateSegment { at: frame.at, next_entry: frame.first, encoded: frame.payload }))
        }
        Kind::End if frame.count == 1 => match codec::decode::<Totals>(&frame.payload) {
            Ok(totals) if totals.at == frame.at && totals.entries == frame.first - 1 => Ok(Segment::End(totals)),
            _ => Err(payload.corrupt("totals that do not add up")),
        },
        Kind::State | Kind::End => Err(payload.corrupt("an impossible count")),
    };
    Ok((segment.map_err(|error| error.in_payload())?, len))
}

fn unpack_entries(
    first: u64,
    count: u32,
    at: Position,
    mut payload: Cursor<'_>,
) -> Result<EntriesSegment, SegmentError> {
    if count == 0 || count as usize > payload.left() {
        return Err(payload.corrupt("an impossible count of entries"));
    }
    let mut previous = Previous::at(at);
    let mut entries = (0..count).map(|_| previous.unpack(&mut payload)).collect::<Result<Vec<_>, _>>()?;
    if let Some(last) = entries.last_mut() {
        previous.unpack_end(last, &mut payload)?;
    }
    if payload.left() != 0 || entries[0].at != at {
        return Err(payload.corrupt("entries that are not as the header says"));
    }
    Ok(EntriesSegment { first, entries })
}

fn unpack_pages(frame: &Frame, mut payload: Cursor<'_>) -> Result<Segment, SegmentError> {
    if frame.count as usize > payload.left() {
        return Err(payload.corrupt("an impossible count of pages"));
    }
    let pages = (0..frame.count).map(|_| unpack_page(&mut payload)).collect::<Result<Vec<_>, _>>()?;
    match payload.left() {
        0 => Ok(Segment::Pages(pages)),
        _ => Err(payload.corrupt("bytes left over after the pages")),
    }
}

/// In a bare segment: the payload is deflated, and its length stands before it.
const BARE_DEFLATED: u8 = 1;
/// In a bare segment: the position has steps.
const BARE_STEPS: u8 = 2;

/// Takes the entries `first..=last` out of what [`PlainSegment::encode_bare`] made of them.
///
/// # Errors
/// [`SegmentError::Corrupt`] if it did not.
pub fn decode_bare(first: u64, last: u64, bytes: &[u8]) -> Result<EntriesSegment, SegmentError> {
    let mut fields = Cursor::new(bytes);
    let count = last.checked_sub(first).and_then(|more| u32::try_from(more).ok()?.checked_add(1));
    let count = count.filter(|_| first > 0).ok_or(fields.corrupt("an impossible count of entries"))?;
    let flags = fields.u8()?;
    let retired = fields.varint()?;
    let steps = if flags & BARE_STEPS == 0 { 0 } else { fields.varint()? };
    if flags & !(BARE_DEFLATED | BARE_STEPS) != 0 || (flags & BARE_STEPS != 0) != (steps != 0) {
        return Err(fields.corrupt("flags that are none"));
    }
    let at = Position { retired, steps };
    if flags & BARE_DEFLATED == 0 {
        return unpack_entries(first, count, at, fields);
    }
    let plain_len = usize::try_from(fields.varint()?).ok().filter(|&len| len <= PAYLOAD_BYTES_MAX);
    let plain_len = plain_len.ok_or(fields.corrupt("the lengths are impossible"))?;
    let rest = fields.take(fields.left())?;
    let payload = inflate(rest, plain_len).map_err(|what| fields.corrupt(what))?;
    unpack_entries(first, count, at, Cursor::new(&payload))
}

/// Encodes pages of a snapshot; at most [`PAGES_IN_SEGMENT_MAX`](super::PAGES_IN_SEGMENT_MAX).
/// `next_entry` and `at` place the snapshot in the log.
pub fn encode_pages<'a>(
    at: Position,
    next_entry: u64,
    pages: impl IntoIterator<Item = (u32, &'a [u8; PAGE_BYTES])>,
) -> Vec<u8> {
    let (mut count, mut payload) = (0, Vec::new());
    for (pfn, data) in pages {
        pack_page(&mut payload, pfn, data);
        count += 1;
    }
    Frame { kind: Kind::Pages, count, first: next_entry, at, payload }.encode()
}

impl StateSegment {
    /// The segment as bytes.
    #[must_use]
    pub fn encode(self) -> Vec<u8> {
        Frame { kind: Kind::State, count: 1, first: self.next_entry, at: self.at, payload: self.encoded }.encode()
    }
}

impl Totals {
    /// The end of a log as bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        Frame { kind: Kind::End, count: 1, first: self.entries + 1, at: self.at, payload: codec::encode(self) }.encode()
    }
}

/// Turns entries into segments, and numbers them.
#[derive(Clone, Debug)]
pub struct SegmentEncoder {
    /// Number of the next entry.
    next: u64,
    open: Option<Open>,
}

/// A segment that still takes entries.
#[derive(Clone, Debug)]
struct Open {
    previous: Previous,
    segment: PlainSegment,
}

/// A segment of entries, packed but not yet compressed and framed. Compression is the expensive part, and may be done
/// on another thread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlainSegment {
    first: u64,
    count: u32,
    at: Position,
    payload: Vec<u8>,
}

/// A segment of entries as bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncodedSegment {
    /// Number of the first entry.
    pub first: u64,
    /// Number of the last entry.
    pub last: u64,
    /// For [`decode_segment`] or [`decode_bare`].
    pub bytes: Vec<u8>,
}

impl SegmentEncoder {
    /// An encoder whose first entry has the number `next`, 1 at the beginning of a log.
    #[must_use]
    pub const fn new(next: u64) -> Self {
        assert!(next > 0, "entries are numbered from 1");
        Self { next, open: None }
    }

    /// Number of the next entry.
    #[must_use]
    pub const fn next_entry(&self) -> u64 {
        self.next
    }

    /// Adds an entry, which must not lie before the one before; returns its number.
    #[inline]
    pub fn push(&mut self, entry: &Entry) -> u64 {
        let number = self.next;
        self.next += 1;
        let open = self.open.get_or_insert_with(|| Open::new(number, entry.at));
        open.previous.pack(entry, &mut open.segment.payload);
        open.segment.count += 1;
        number
    }

    /// Bytes held, before compression.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        self.open.as_ref().map_or(0, |open| open.segment.payload.len())
    }

    /// Whether it is time to [`take`](Self::take) a segment.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.held_bytes() >= SEGMENT_PAYLOAD_BYTES
    }

    /// Takes what was pushed since the last call; the next entry begins a new segment.
    pub fn take(&mut self) -> Option<PlainSegment> {
        let Open { mut previous, mut segment } = self.open.take()?;
        previous.pack_end(&mut segment.payload);
        Some(segment)
    }
}

impl Open {
    #[cold]
    fn new(first: u64, at: Position) -> Self {
        let payload = Vec::with_capacity(SEGMENT_PAYLOAD_BYTES);
        Self { previous: Previous::at(at), segment: PlainSegment { first, count: 0, at, payload } }
    }
}

impl PlainSegment {
    /// Number of the first entry.
    #[must_use]
    pub const fn first(&self) -> u64 {
        self.first
    }

    /// Number of the last entry.
    #[must_use]
    pub const fn last(&self) -> u64 {
        self.first + self.count as u64 - 1
    }

    /// Compresses and frames.
    #[must_use]
    pub fn encode(self) -> EncodedSegment {
        let (first, last) = (self.first, self.last());
        let frame = Frame { kind: Kind::Entries, count: self.count, first, at: self.at, payload: self.payload };
        EncodedSegment { first, last, bytes: frame.encode() }
    }

    /// Compresses, for a channel that numbers and checks what it carries: without the frame, which is as long as many a
    /// message.
    #[must_use]
    pub fn encode_bare(self) -> EncodedSegment {
        let (first, last) = (self.first, self.last());
        let deflated = deflate(&self.payload);
        let mut bytes = Vec::new();
        let steps = if self.at.steps == 0 { 0 } else { BARE_STEPS };
        bytes.push(steps | if deflated.is_some() { BARE_DEFLATED } else { 0 });
        put_varint(&mut bytes, self.at.retired);
        if self.at.steps != 0 {
            put_varint(&mut bytes, self.at.steps);
        }
        if deflated.is_some() {
            put_varint(&mut bytes, self.payload.len() as u64);
        }
        bytes.extend(deflated.as_ref().unwrap_or(&self.payload));
        EncodedSegment { first, last, bytes }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::{CLOCK_STEP_NS, Event};

    fn watermark(retired: u64) -> Entry {
        Entry { at: Position::at(retired), event: Event::Watermark }
    }

    #[test]
    fn segments_are_numbered_and_decode_by_themselves() {
        let mut encoder = SegmentEncoder::new(5);
        assert_eq!(encoder.take(), None);
        assert_eq!(encoder.push(&watermark(100)), 5);
        assert_eq!(encoder.push(&watermark(100)), 6);
        let first = encoder.take().unwrap().encode();
        assert_eq!((first.first, first.last), (5, 6));
        assert_eq!(encoder.push(&Entry { at: Position::at(130), event: Event::Clock(1 << 50) }), 7);
        let second = encoder.take().unwrap().encode();

        let (segment, len) = decode_segment(&second.bytes).unwrap();
        assert_eq!(len, second.bytes.len());
        let Segment::Entries(segment) = segment else { panic!("{segment:?}") };
        assert_eq!((segment.first, segment.last()), (7, 7));
        assert_eq!(segment.entries, [Entry { at: Position::at(130), event: Event::Clock(1 << 50) }]);
    }

    #[test]
    fn bare_segments_have_these_bytes_and_come_back() {
        let mut encoder = SegmentEncoder::new(5);
        let at = Position { retired: 300, steps: 2 };
        encoder.push(&Entry { at, event: Event::Clock(CLOCK_STEP_NS) });
        let short = encoder.take().unwrap().encode_bare();
        assert_eq!((short.first, short.last, &short.bytes[..]), (5, 5, &[2, 0xac, 2, 2, 2, 1, 2][..]));
        let back = decode_bare(5, 5, &short.bytes).unwrap();
        assert_eq!(back.entries, [Entry { at, event: Event::Clock(CLOCK_STEP_NS) }]);
        for retired in 400..600 {
            encoder.push(&watermark(retired));
        }
        let long = encoder.take().unwrap().encode_bare();
        assert_eq!((long.first, long.last, &long.bytes[..5]), (6, 205, &[1, 0x90, 3, 200, 1][..]));
        assert_eq!(decode_bare(6, 205, &long.bytes).unwrap().entries.len(), 200);
        for (first, last, bytes) in [
            (0, 0, &short.bytes[..]),
            (5, 4, &short.bytes),
            (5, 6, &short.bytes),
            (1, u64::MAX, &short.bytes),
            (6, 204, &long.bytes),
            (6, 205, &long.bytes[..long.bytes.len() - 1]),
            (5, 5, &[0, 1, 0, 2, 0]), // a byte too many
            (5, 5, &[2, 1, 0, 0, 0]), // no steps, and says so
            (5, 5, &[4, 1, 0, 0]),    // an unknown flag
            (5, 5, &[]),
        ] {
            assert!(decode_bare(first, last, bytes).is_err(), "{first}..={last}: {bytes:x?}");
        }
    }

    #[test]
    fn pages_come_back_zero_ones_without_data() {
        let (zero, mut data) = ([0; PAGE_BYTES], [0; PAGE_BYTES]);
        data[4095] = 9;
        let bytes = encode_pages(Position::at(3), 1, [(7, &zero), (8, &data)]);
        let (segment, len) = decode_segment(&bytes).unwrap();
        assert_eq!(len, bytes.len());
        assert_eq!(
            segment,
            Segment::Pages(vec![PageImage { pfn: 7, data: None }, PageImage { pfn: 8, data: Some(Box::new(data)) }])
        );
    }

    #[test]
    fn the_end_comes_back() {
        let totals = Totals { at: Position::at(9), entries: 4, outputs: 3, power: Some(Power::Off { code: 2 }) };
        assert_eq!(decode_segment(&totals.encode()).unwrap().0, Segment::End(totals));
    }

    #[test]
    fn a_delay_loop_on_the_tsc_takes_a_byte_an_entry_and_half_of_that_deflated() {
        // A guest that polls the TSC every 9 instructions on a host whose clock ticks in steps of about 20 to 60 ns.
        let (mut encoder, mut seed, mut ns) = (SegmentEncoder::new(1), 1_u64, 1 << 40);
        for i in 0..20_000 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            ns += 20 + (seed >> 59) * 40 / 31 + if i % 500 == 0 { 9_000 } else { 0 };
            encoder.push(&Entry { at: Position::at(i * 9), event: Event::Clock(ns.next_multiple_of(CLOCK_STEP_NS)) });
        }
        assert!(encoder.held_bytes() <= 20_000 * 101 / 100);
        let bytes = encoder.take().unwrap().encode().bytes.len();
        assert!(bytes <= 20_000 / 2, "{bytes} bytes per 20,000 entries");
    }

    #[test]
    fn damage_that_keeps_the_checksums_is_an_error_or_another_segment_never_a_panic() {
        let mut encoder = SegmentEncoder::new(1);
        for retired in 0..20 {
            encoder.push(&watermark(retired));
            encoder.push(&Entry { at: Position::at(retired), event: Event::Digest(u128::from(retired)) });
        }
        let plain = encoder.take().unwrap();
        let mut seed = 7_u32;
        for _ in 0..20_000 {
            let mut damaged = plain.clone();
            for _ in 0..1 + seed % 3 {
                seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let at = (seed >> 8) as usize % damaged.payload.len();
                damaged.payload[at] = (seed >> 24) as u8;
            }
            if seed.is_multiple_of(7) {
                damaged.count = seed >> 4;
            }
            let _ = decode_segment(&damaged.encode_unchecked());
        }
    }

    impl PlainSegment {
        fn encode_unchecked(self) -> Vec<u8> {
            Frame { kind: Kind::Entries, count: self.count, first: self.first, at: self.at, payload: self.payload }
                .encode()
        }
    }
}
