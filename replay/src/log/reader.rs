//! A log file, segment by segment.

use std::io::Read;

use emu::Position;

use super::format::read_full;
use super::frame::{FRAME_HEADER_BYTES, frame_bytes};
use super::segment::{EntriesSegment, Segment, StateSegment, Totals, decode_segment};
use super::{LogError, LogHeader, PageImage, SegmentError};

/// What comes next in a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogItem {
    /// Some pages of a snapshot.
    Pages(Vec<PageImage>),
    /// The rest of a snapshot. The first item that is not `Pages` is this.
    State(StateSegment),
    /// Entries; they follow those before without a gap.
    Entries(EntriesSegment),
    /// The log ends here on purpose. The last item.
    End(Totals),
    /// The file was cut: its recorder was killed, or the file was not copied whole. The last item; all before is good.
    BrokenOff {
        /// Where the last whole segment ends, bytes.
        offset: u64,
    },
}

/// Reads a log from the beginning.
#[derive(Debug)]
pub struct LogReader<R> {
    input: R,
    header: LogHeader,
    /// Where the next frame begins.
    offset: u64,
    place: Place,
}

/// What may come next.
#[derive(Clone, Copy, Debug)]
enum Place {
    FirstSnapshot,
    Entries { next_entry: u64, at: Position },
    End,
}

impl<R: Read> LogReader<R> {
    /// Reads the header.
    ///
    /// # Errors
    /// If this is not a log, or one of another version.
    pub fn open(mut input: R) -> Result<Self, LogError> {
        let (header, offset) = LogHeader::read(&mut input)?;
        Ok(Self { input, header, offset, place: Place::FirstSnapshot })
    }

    /// What the log says about itself.
    pub const fn header(&self) -> &LogHeader {
        &self.header
    }

    /// Bytes read so far, up to the end of the last item.
    pub const fn offset(&self) -> u64 {
        self.offset
    }

    /// The next item; `None` after the last.
    ///
    /// # Errors
    /// If a bit is not as it was written ([`LogError::Corrupt`]), or the file ends inside the first snapshot.
    #[expect(clippy::should_implement_trait, reason = "an iterator of results invites to skip errors")]
    pub fn next(&mut self) -> Result<Option<LogItem>, LogError> {
        if matches!(self.place, Place::End) {
            return Ok(None);
        }
        let segment = match self.read_frame()? {
            Some(frame) => {
                let (segment, len) = decode_segment(&frame).map_err(|error| self.corrupt(error))?;
                let item = self.admit(segment)?;
                self.offset += len as u64;
                item
            }
            None if matches!(self.place, Place::FirstSnapshot) => {
                return Err(LogError::NoMachine { offset: self.offset });
            }
            None => {
                self.place = Place::End;
                LogItem::BrokenOff { offset: self.offset }
            }
        };
        if matches!(segment, LogItem::End(_)) && read_full(&mut self.input, &mut [0])? > 0 {
            return Err(LogError::Corrupt { offset: self.offset, what: "the file goes on after its end".into() });
        }
        Ok(Some(segment))
    }

    /// The bytes of the next frame; `None` if the file ends before the frame does.
    fn read_frame(&mut self) -> Result<Option<Vec<u8>>, LogError> {
        let mut frame = vec![0; FRAME_HEADER_BYTES];
        if read_full(&mut self.input, &mut frame)? < FRAME_HEADER_BYTES {
            return Ok(None);
        }
        frame.resize(frame_bytes(&frame).map_err(|error| self.corrupt(error))?, 0);
        let rest = &mut frame[FRAME_HEADER_BYTES..];
        Ok((read_full(&mut self.input, rest)? == rest.len()).then_some(frame))
    }

    /// Checks that `segment` may stand here.
    fn admit(&mut self, segment: Segment) -> Result<LogItem, LogError> {
        let misplaced = |what: &str| LogError::Corrupt { offset: self.offset, what: what.into() };
        match (self.place, segment) {
            (_, Segment::Pages(pages)) => Ok(LogItem::Pages(pages)),
            (Place::FirstSnapshot, Segment::State(state)) => {
                self.place = Place::Entries { next_entry: state.next_entry, at: state.at };
                Ok(LogItem::State(state))
            }
            (Place::FirstSnapshot, _) => Err(misplaced("the log does not begin with a machine")),
            (Place::Entries { next_entry, at }, Segment::State(state)) => {
                if state.next_entry != next_entry || state.at < at {
                    return Err(misplaced("a snapshot of another place"));
                }
                Ok(LogItem::State(state))
            }
            (Place::Entries { next_entry, at }, Segment::Entries(segment)) => {
                if segment.first != next_entry || segment.entries[0].at < at {
                    return Err(misplaced("entries that do not follow those before"));
                }
                let at = segment.entries[segment.entries.len() - 1].at;
                self.place = Place::Entries { next_entry: segment.last() + 1, at };
                Ok(LogItem::Entries(segment))
            }
            (Place::Entries { next_entry, at }, Segment::End(totals)) => {
                if totals.entries + 1 != next_entry || totals.at < at {
                    return Err(misplaced("totals that do not match the entries"));
                }
                self.place = Place::End;
                Ok(LogItem::End(totals))
            }
            (Place::End, _) => Err(misplaced("the file goes on after its end")),
        }
    }

    fn corrupt(&self, error: SegmentError) -> LogError {
        match error {
            SegmentError::Corrupt { offset, what } => {
                LogError::Corrupt { offset: self.offset + offset as u64, what: what.into() }
            }
            SegmentError::Incomplete => {
                LogError::Corrupt { offset: self.offset, what: "a frame longer than itself".into() }
            }
        }
    }
}

/// What [`check`] found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogSummary {
    /// What the log says about itself.
    pub header: LogHeader,
    /// Where it starts.
    pub start: Position,
    /// Where the last entry is (or the start, without entries).
    pub last: Position,
    /// How many entries there are.
    pub entries: u64,
    /// How many bytes, up to the end of the last whole segment.
    pub bytes: u64,
    /// What it says at its end; `None` if it breaks off.
    pub totals: Option<Totals>,
}

/// Reads a whole log without replaying it, so that one with a damaged byte is refused before anything runs.
///
/// # Errors
/// As [`LogReader::open`] and [`LogReader::next`].
pub fn check(input: impl Read) -> Result<LogSummary, LogError> {
    let mut reader = LogReader::open(input)?;
    let (mut start, mut last, mut entries, mut totals) = (None, Position::default(), 0, None);
    while let Some(item) = reader.next()? {
        match item {
            LogItem::State(state) => {
                start.get_or_insert(state.at);
                last = last.max(state.at);
            }
            LogItem::Entries(segment) => {
                entries += segment.entries.len() as u64;
                last = segment.entries[segment.entries.len() - 1].at;
            }
            LogItem::End(end) => totals = Some(end),
            LogItem::Pages(_) | LogItem::BrokenOff { .. } => {}
        }
    }
    let bytes = reader.offset();
    Ok(LogSummary { start: start.unwrap_or_default(), last, entries, bytes, totals, header: reader.header })
}

#[cfg(test)]
mod tests {
    use super::super::{LogWriter, PAGE_BYTES, SegmentEncoder, encode_pages};
    use super::*;
    use crate::entry::{Entry, Event, OutputCheck};

    fn entries(encoder: &mut SegmentEncoder, from: u64, count: u64) -> Vec<u8> {
        for i in from..from + count {
            let event = match i % 3 {
                0 => Event::Clock(i * 64),
                1 => Event::Output { number: i, check: OutputCheck::Console(b'x') },
                _ => Event::Random(i),
            };
            encoder.push(&Entry { at: Position::at(i), event });
        }
        encoder.take().unwrap().encode().bytes
    }

    /// A log of two segments, one plain and one deflated, and the offsets at which its frames end.
    fn small_log() -> (Vec<u8>, Vec<u64>) {
        let mut page = [0; PAGE_BYTES];
        page[7] = 1;
        let mut encoder = SegmentEncoder::new(1);
        let state = StateSegment { at: Position::at(0), next_entry: 1, encoded: b"state".to_vec() };
        let totals = Totals { at: Position::at(100), entries: 64, outputs: 21, power: None };
        let mut writer = LogWriter::create(Vec::new(), &LogHeader::new("small", vec![], b"config".to_vec())).unwrap();
        let mut ends = vec![writer.offset()];
        for segment in [
            encode_pages(Position::at(0), 1, [(1, &page)]),
            state.encode(),
            entries(&mut encoder, 1, 4),
            entries(&mut encoder, 5, 60),
            totals.encode(),
        ] {
            writer.write_segment(&segment).unwrap();
            ends.push(writer.offset());
        }
        (writer.into_inner(), ends)
    }

    fn read(bytes: &[u8]) -> Result<Vec<LogItem>, LogError> {
        let mut reader = LogReader::open(bytes)?;
        let mut items = Vec::new();
        while let Some(item) = reader.next()? {
            items.push(item);
        }
        Ok(items)
    }

    #[test]
    fn a_whole_log_reads_to_its_end() {
        let (bytes, _) = small_log();
        let summary = check(&bytes[..]).unwrap();
        assert_eq!((summary.entries, summary.last, summary.bytes), (64, Position::at(64), bytes.len() as u64));
        assert_eq!(summary.totals.unwrap().outputs, 21);
        assert_eq!(summary.header.program, "small");
    }

    #[test]
    fn a_log_cut_anywhere_reads_to_its_last_whole_segment() {
        let (bytes, ends) = small_log();
        let whole = read(&bytes).unwrap();
        let machine_end = usize::try_from(ends[2]).unwrap();
        for len in 0..bytes.len() {
            let items = match read(&bytes[..len]) {
                Err(LogError::NotALog) => {
                    assert_eq!(len, 0);
                    continue;
                }
                Err(LogError::NoMachine { .. }) => {
                    assert!(len < machine_end, "cut at {len}");
                    continue;
                }
                other => other.unwrap(),
            };
            assert!(len >= machine_end, "cut at {len}");
            let end = *ends.iter().rfind(|&&end| end <= len as u64).unwrap();
            let (last, good) = items.split_last().unwrap();
            assert_eq!(last, &LogItem::BrokenOff { offset: end }, "cut at {len}");
            assert_eq!(good, &whole[..good.len()], "cut at {len}");
            assert_eq!(good.len() + 1, ends.iter().position(|&e| e == end).unwrap() + 1, "cut at {len}");
        }
    }

    #[test]
    fn any_flipped_bit_is_refused_with_its_place() {
        let (bytes, ends) = small_log();
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let frame = ends.iter().rfind(|&&end| end <= bit as u64 / 8).copied().unwrap_or(0);
            match check(&flipped[..]) {
                Err(LogError::NotALog) => assert!(bit / 8 < 8),
                Err(LogError::NoMachine { .. }) => {
                    assert!((12..16).contains(&(bit / 8)), "bit {bit}")
                }
                Err(LogError::Corrupt { offset, .. }) => {
                    assert!(
                        frame <= offset && offset <= bit as u64 / 8,
                        "bit {bit} of byte {}, said {offset}",
                        bit / 8
                    );
                }
                other => panic!("bit {bit}: {other:?}"),
            }
        }
    }

    #[test]
    fn segments_out_of_order_are_refused() {
        let (bytes, ends) = small_log();
        let ends: Vec<_> = ends.iter().map(|&end| usize::try_from(end).unwrap()).collect();
        let frame = |i: usize| &bytes[ends[i]..ends[i + 1]];
        let header = &bytes[..ends[0]];
        let with = |frames: &[&[u8]]| read(&[&[header], frames].concat().concat());
        let (pages, state, first, second, end) = (frame(0), frame(1), frame(2), frame(3), frame(4));
        assert!(with(&[pages, state, first, second, end]).is_ok());
        for wrong in [
            &[pages, first][..],                      // no machine
            &[end],                                   // nothing at all
            &[pages, state, second],                  // a hole
            &[pages, state, first, first],            // twice
            &[pages, state, first, end],              // entries missing at the end
            &[pages, state, first, state],            // a snapshot of before
            &[pages, state, first, second, end, end], // more after the end
            &[pages, state, first, second, end, &[0]],
        ] {
            assert!(matches!(with(wrong), Err(LogError::Corrupt { .. })));
        }
    }
}
