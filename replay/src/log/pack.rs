//! One entry as bytes, as few as possible: most entries are the clock answers of a guest that reads the TSC in a loop.
//!
//! A clock answer is one varint: the steps of the clock since the one before, times 2. It has no position: the machine
//! that replays it asks at the same place again. The last entry of a segment has one all the same, behind it, because a
//! replica runs up to there and no further.
//!
//! Any other entry begins with a varint: how many instructions retired since the entry before, times 16, plus twice a short
//! kind, plus 1. Output numbers are differences, too. What is different from is the state of the packer, which starts anew
//! with each segment so that a segment can be unpacked by itself.

use emu::{Control, FRAME_BYTES_MAX, Input, Position, Power};

use super::SegmentError;
use super::bytes::{Cursor, put_varint};
use crate::entry::{CLOCK_STEP_NS, Entry, Event, OutputCheck};

/// Longest console input that fits into an entry, bytes.
pub const CONSOLE_INPUT_BYTES_MAX: usize = 64 << 10;

/// Kinds of entries with a position. Those below [`WIDE`] fit into the first varint.
mod kind {
    /// None: a clock answer has no kind.
    pub(super) const NONE: u8 = 0;
    pub(super) const CONSOLE_OUTPUT: u8 = 1;
    pub(super) const INTERRUPT: u8 = 2;
    pub(super) const CLOCK_INPUT: u8 = 3;
    pub(super) const RANDOM_ANSWER: u8 = 4;
    pub(super) const WATERMARK: u8 = 5;
    /// A byte follows: the kind in full and [`WITH_STEPS`].
    pub(super) const WIDE: u8 = 7;
    pub(super) const CONSOLE_INPUT: u8 = 16;
    pub(super) const CONTROL: u8 = 17;
    pub(super) const POWER_OUTPUT: u8 = 18;
    pub(super) const DIGEST: u8 = 19;
    pub(super) const FRAME_INPUT: u8 = 20;
    pub(super) const CONSOLE_SIZE: u8 = 21;
    pub(super) const FLUSHED: u8 = 22;
    pub(super) const FRAME_OUTPUT: u8 = 23;
    pub(super) const DISK_OUTPUT: u8 = 24;
    pub(super) const FLUSH_OUTPUT: u8 = 25;
    /// In the byte after [`WIDE`]: steps since the last retirement follow as a varint.
    pub(super) const WITH_STEPS: u8 = 0x80;
}

/// Set in the first varint of an entry that has a position.
const PLACED: u64 = 1;
const SHORT_KIND_BITS: u32 = 3;
const SHORT_KIND_MASK: u64 = (1 << SHORT_KIND_BITS) - 1;
/// Bits of the first varint below the retired difference.
const TAG_BITS: u32 = 1 + SHORT_KIND_BITS;
/// In the first varint behind a last entry without a position: steps since the last retirement follow.
const WITH_STEPS: u64 = 1;

const CONTROL_POWER_OFF: u8 = 0;
const CONTROL_POWER_BUTTON: u8 = 1;
const CONTROL_CTRL_ALT_DEL: u8 = 2;
const POWER_OFF: u8 = 0;
const POWER_TRIPLE_FAULT: u8 = 1;
const POWER_DEAD: u8 = 2;
const POWER_RESET: u8 = 3;

/// What the next entry is told apart from. Starts with the position of the segment, clock 0 and output number 0.
#[derive(Clone, Debug)]
pub(super) struct Previous {
    /// Of the last entry that has a position.
    at: Position,
    /// Of the last entry, if it has none in its bytes.
    unplaced: Option<Position>,
    /// Steps of [`CLOCK_STEP_NS`].
    clock: u64,
    output: u64,
}

impl Previous {
    pub(super) const fn at(at: Position) -> Self {
        Self { at, unplaced: None, clock: 0, output: 0 }
    }

    /// Appends `entry`.
    #[inline]
    pub(super) fn pack(&mut self, entry: &Entry, out: &mut Vec<u8>) {
        let last = self.unplaced.unwrap_or(self.at);
        assert!(entry.at >= last, "an entry at {} after one at {last}", entry.at);
        if let Event::Clock(ns) = entry.event {
            let before = std::mem::replace(&mut self.clock, clock_steps(ns));
            assert!(before <= self.clock, "a clock answer of {ns} ns after {before} steps of {CLOCK_STEP_NS} ns");
            put_varint(out, (self.clock - before) << 1);
            self.unplaced = Some(entry.at);
        } else {
            self.pack_placed(entry, out);
        }
    }

    /// Appends what is still to be said when the entry packed last is the last of its segment.
    pub(super) fn pack_end(&mut self, out: &mut Vec<u8>) {
        if let Some(at) = self.unplaced.take() {
            let delta = at.retired - self.at.retired;
            assert!(delta < 1 << (u64::BITS - 1), "{delta} instructions between two entries");
            self.at = at;
            put_varint(out, delta << 1 | if at.steps == 0 { 0 } else { WITH_STEPS });
            if at.steps != 0 {
                put_varint(out, at.steps);
            }
        }
    }

    fn pack_placed(&mut self, entry: &Entry, out: &mut Vec<u8>) {
        let kind = kind_of(&entry.event);
        let delta = entry.at.retired - self.at.retired;
        assert!(delta < 1 << (u64::BITS - TAG_BITS), "{delta} instructions between two entries");
        (self.at, self.unplaced) = (entry.at, None);
        let short = if entry.at.steps == 0 && kind < kind::WIDE { kind } else { kind::WIDE };
        put_varint(out, delta << TAG_BITS | u64::from(short) << 1 | PLACED);
        if short == kind::WIDE {
            match entry.at.steps {
                0 => out.push(kind),
                steps => {
                    out.push(kind | kind::WITH_STEPS);
                    put_varint(out, steps);
                }
            }
        }
        self.pack_fields(&entry.event, out);
    }

    fn pack_fields(&mut self, event: &Event, out: &mut Vec<u8>) {
        match event {
            Event::Clock(_) => unreachable!("it has no fields"),
            Event::Input(Input::Clock { ns }) => {
                let before = std::mem::replace(&mut self.clock, clock_steps(*ns));
                put_varint(out, self.clock.wrapping_sub(before));
            }
            Event::Random(bits) => out.extend(bits.to_le_bytes()),
            Event::Input(Input::Console { client, seq, bytes }) => {
                assert!(bytes.len() <= CONSOLE_INPUT_BYTES_MAX, "a console input of {} bytes", bytes.len());
                out.extend(client.to_le_bytes());
                put_varint(out, *seq);
                put_varint(out, bytes.len() as u64);
                out.extend(bytes);
            }
            Event::Input(Input::Control(control)) => {
                out.push(match control {
                    Control::PowerOff => CONTROL_POWER_OFF,
                    Control::PowerButton => CONTROL_POWER_BUTTON,
                    Control::CtrlAltDel => CONTROL_CTRL_ALT_DEL,
                });
            }
            Event::Input(Input::Frame { bytes }) => {
                assert!(bytes.len() <= FRAME_BYTES_MAX, "a frame of {} bytes", bytes.len());
                put_varint(out, bytes.len() as u64);
                out.extend(bytes);
            }
            Event::Input(Input::ConsoleSize { columns, rows }) => {
                out.extend(columns.to_le_bytes());
                out.extend(rows.to_le_bytes());
            }
            Event::Input(Input::Flushed { disk, flush }) => {
                out.push(*disk);
                put_varint(out, *flush);
            }
            Event::Interrupt { vector } => out.push(*vector),
            Event::Output { number, check } => {
                put_varint(out, number.wrapping_sub(self.output));
                self.output = *number;
                match check {
                    OutputCheck::Console(byte) => out.push(*byte),
                    OutputCheck::Power(Power::Off { code }) => out.extend([POWER_OFF, *code]),
                    OutputCheck::Power(Power::TripleFault) => out.extend([POWER_TRIPLE_FAULT, 0]),
                    OutputCheck::Power(Power::Dead) => out.extend([POWER_DEAD, 0]),
                    OutputCheck::Power(Power::Reset) => out.extend([POWER_RESET, 0]),
                    OutputCheck::Frame(digest) => out.extend(digest.to_le_bytes()),
                    OutputCheck::Disk { disk, offset, digest } => {
                        out.push(*disk);
                        put_varint(out, *offset);
                        out.extend(digest.to_le_bytes());
                    }
                    OutputCheck::Flush { disk, flush } => {
                        out.push(*disk);
                        put_varint(out, *flush);
                    }
                }
            }
            Event::Digest(digest) => out.extend(digest.to_le_bytes()),
            Event::Watermark => {}
        }
    }

    /// Takes the next entry.
    #[inline]
    pub(super) fn unpack(&mut self, bytes: &mut Cursor<'_>) -> Result<Entry, SegmentError> {
        let first = bytes.varint()?;
        if first & PLACED == 0 {
            self.unplaced = Some(self.at);
            return Ok(Entry { at: self.at, event: Event::Clock(self.unpack_clock(first >> 1, bytes)?) });
        }
        self.unplaced = None;
        let (kind, steps) = match (first >> 1 & SHORT_KIND_MASK) as u8 {
            kind::WIDE => unpack_wide_kind(bytes)?,
            short => (short, 0),
        };
        self.go_on_to(first >> TAG_BITS, steps, bytes)?;
        Ok(Entry { at: self.at, event: self.unpack_fields(kind, bytes)? })
    }

    /// Takes what stands behind the last entry of a segment: its position, which `last` may lack.
    pub(super) fn unpack_end(&mut self, last: &mut Entry, bytes: &mut Cursor<'_>) -> Result<(), SegmentError> {
        if self.unplaced.take().is_some() {
            let first = bytes.varint()?;
            let steps = if first & WITH_STEPS == 0 { 0 } else { bytes.varint()? };
            if (first & WITH_STEPS != 0) != (steps != 0) {
                return Err(bytes.corrupt("a position that is longer than need be"));
            }
            self.go_on_to(first >> 1, steps, bytes)?;
            last.at = self.at;
        }
        Ok(())
    }

    fn go_on_to(&mut self, delta: u64, steps: u64, bytes: &Cursor<'_>) -> Result<(), SegmentError> {
        let retired = self.at.retired.checked_add(delta).ok_or(bytes.corrupt("a position beyond the last"))?;
        let at = Position { retired, steps };
        if at < self.at {
            return Err(bytes.corrupt("a position that goes back"));
        }
        self.at = at;
        Ok(())
    }

    fn unpack_fields(&mut self, kind: u8, bytes: &mut Cursor<'_>) -> Result<Event, SegmentError> {
        Ok(match kind {
            kind::CLOCK_INPUT => {
                let steps = bytes.varint()?;
                Event::Input(Input::Clock { ns: self.unpack_clock(steps, bytes)? })
            }
            kind::RANDOM_ANSWER => Event::Random(bytes.u64()?),
            kind::INTERRUPT => Event::Interrupt { vector: bytes.u8()? },
            kind::WATERMARK => Event::Watermark,
            kind::CONSOLE_OUTPUT => {
                let number = self.unpack_output_number(bytes)?;
                Event::Output { number, check: OutputCheck::Console(bytes.u8()?) }
            }
            kind::POWER_OUTPUT => {
                let number = self.unpack_output_number(bytes)?;
                Event::Output { number, check: OutputCheck::Power(unpack_power(bytes)?) }
            }
            kind::CONSOLE_INPUT => {
                let client = bytes.u64()?;
                let seq = bytes.varint()?;
                let bytes = unpack_bytes(bytes, CONSOLE_INPUT_BYTES_MAX)?;
                Event::Input(Input::Console { client, seq, bytes })
            }
            kind::CONTROL => Event::Input(Input::Control(match bytes.u8()? {
                CONTROL_POWER_OFF => Control::PowerOff,
                CONTROL_POWER_BUTTON => Control::PowerButton,
                CONTROL_CTRL_ALT_DEL => Control::CtrlAltDel,
                _ => return Err(bytes.corrupt("an unknown control operation")),
            })),
            kind::FRAME_INPUT => Event::Input(Input::Frame { bytes: unpack_bytes(bytes, FRAME_BYTES_MAX)? }),
            kind::CONSOLE_SIZE => Event::Input(Input::ConsoleSize { columns: bytes.u16()?, rows: bytes.u16()? }),
            kind::FLUSHED => Event::Input(Input::Flushed { disk: bytes.u8()?, flush: bytes.varint()? }),
            kind::FRAME_OUTPUT => {
                let number = self.unpack_output_number(bytes)?;
                Event::Output { number, check: OutputCheck::Frame(bytes.u64()?) }
            }
            kind::DISK_OUTPUT => {
                let number = self.unpack_output_number(bytes)?;
                let (disk, offset, digest) = (bytes.u8()?, bytes.varint()?, bytes.u64()?);
                Event::Output { number, check: OutputCheck::Disk { disk, offset, digest } }
            }
            kind::FLUSH_OUTPUT => {
                let number = self.unpack_output_number(bytes)?;
                Event::Output { number, check: OutputCheck::Flush { disk: bytes.u8()?, flush: bytes.varint()? } }
            }
            kind::DIGEST => Event::Digest(bytes.u128()?),
            _ => return Err(bytes.corrupt("an unknown kind of entry")),
        })
    }

    /// Guest time so many steps after the last, ns.
    fn unpack_clock(&mut self, steps: u64, bytes: &Cursor<'_>) -> Result<u64, SegmentError> {
        self.clock = self.clock.wrapping_add(steps);
        self.clock.checked_mul(CLOCK_STEP_NS).ok_or(bytes.corrupt("a time beyond the last"))
    }

    fn unpack_output_number(&mut self, bytes: &mut Cursor<'_>) -> Result<u64, SegmentError> {
        self.output = self.output.wrapping_add(bytes.varint()?);
        Ok(self.output)
    }
}

const fn kind_of(event: &Event) -> u8 {
    match event {
        Event::Clock(_) => kind::NONE,
        Event::Random(_) => kind::RANDOM_ANSWER,
        Event::Input(Input::Clock { .. }) => kind::CLOCK_INPUT,
        Event::Input(Input::Console { .. }) => kind::CONSOLE_INPUT,
        Event::Input(Input::Control(_)) => kind::CONTROL,
        Event::Input(Input::Frame { .. }) => kind::FRAME_INPUT,
        Event::Input(Input::ConsoleSize { .. }) => kind::CONSOLE_SIZE,
        Event::Input(Input::Flushed { .. }) => kind::FLUSHED,
        Event::Interrupt { .. } => kind::INTERRUPT,
        Event::Output { check: OutputCheck::Console(_), .. } => kind::CONSOLE_OUTPUT,
        Event::Output { check: OutputCheck::Power(_), .. } => kind::POWER_OUTPUT,
        Event::Output { check: OutputCheck::Frame(_), .. } => kind::FRAME_OUTPUT,
        Event::Output { check: OutputCheck::Disk { .. }, .. } => kind::DISK_OUTPUT,
        Event::Output { check: OutputCheck::Flush { .. }, .. } => kind::FLUSH_OUTPUT,
        Event::Digest(_) => kind::DIGEST,
        Event::Watermark => kind::WATERMARK,
    }
}

fn clock_steps(ns: u64) -> u64 {
    assert!(ns.is_multiple_of(CLOCK_STEP_NS), "a clock at {ns} ns, between two steps");
    ns / CLOCK_STEP_NS
}

/// Kind and steps after [`kind::WIDE`]. An entry that could be short must be: each has one encoding.
fn unpack_wide_kind(bytes: &mut Cursor<'_>) -> Result<(u8, u64), SegmentError> {
    let byte = bytes.u8()?;
    let kind = byte & !kind::WITH_STEPS;
    let steps = if byte & kind::WITH_STEPS == 0 { 0 } else { bytes.varint()? };
    if (byte & kind::WITH_STEPS != 0) != (steps != 0) || (steps == 0 && kind <= kind::WIDE) {
        return Err(bytes.corrupt("an entry that is longer than need be"));
    }
    Ok((kind, steps))
}

/// A length and so many bytes.
fn unpack_bytes(bytes: &mut Cursor<'_>, longest: usize) -> Result<Vec<u8>, SegmentError> {
    let length = usize::try_from(bytes.varint()?).ok().filter(|&length| length <= longest);
    let length = length.ok_or(bytes.corrupt("an input of impossible length"))?;
    Ok(bytes.take(length)?.to_vec())
}

fn unpack_power(bytes: &mut Cursor<'_>) -> Result<Power, SegmentError> {
    match bytes.array()? {
        [POWER_OFF, code] => Ok(Power::Off { code }),
        [POWER_TRIPLE_FAULT, 0] => Ok(Power::TripleFault),
        [POWER_DEAD, 0] => Ok(Power::Dead),
        [POWER_RESET, 0] => Ok(Power::Reset),
        _ => Err(bytes.corrupt("an unknown power state")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: Position = Position::at(1000);

    /// Packs `entries`, checks that they come back, and returns the bytes.
    fn packed(entries: &[Entry]) -> Vec<u8> {
        let mut out = Vec::new();
        let mut previous = Previous::at(BASE);
        for entry in entries {
            previous.pack(entry, &mut out);
        }
        previous.pack_end(&mut out);
        let (mut cursor, mut previous) = (Cursor::new(&out), Previous::at(BASE));
        let mut back: Vec<_> = entries.iter().map(|_| previous.unpack(&mut cursor).unwrap()).collect();
        previous.unpack_end(back.last_mut().unwrap(), &mut cursor).unwrap();
        assert_eq!(cursor.left(), 0);
        let mut known = BASE;
        for (i, (back, entry)) in back.iter().zip(entries).enumerate() {
            if i + 1 == entries.len() || !matches!(entry.event, Event::Clock(_)) {
                known = entry.at;
            }
            assert_eq!(back, &Entry { at: known, event: entry.event.clone() });
        }
        out
    }

    fn entry(delta: u64, event: Event) -> Entry {
        Entry { at: Position::at(BASE.retired + delta), event }
    }

    #[test]
    fn every_kind_has_these_bytes() {
        let output = |check| Event::Output { number: 2, check };
        for (event, bytes) in [
            (Event::Clock(300 * CLOCK_STEP_NS), &[0xd8, 4, 10][..]),
            (output(OutputCheck::Console(b'A')), &[0x53, 2, b'A']),
            (Event::Interrupt { vector: 0x20 }, &[0x55, 0x20]),
            (Event::Input(Input::Clock { ns: 5 * CLOCK_STEP_NS }), &[0x57, 5]),
            (Event::Random(0x0102_0304_0506_0708), &[0x59, 8, 7, 6, 5, 4, 3, 2, 1]),
            (Event::Watermark, &[0x5b]),
            (
                Event::Input(Input::Console { client: 3, seq: 4, bytes: b"ok".to_vec() }),
                &[0x5f, 16, 3, 0, 0, 0, 0, 0, 0, 0, 4, 2, b'o', b'k'],
            ),
            (Event::Input(Input::Control(Control::PowerOff)), &[0x5f, 17, 0]),
            (Event::Input(Input::Control(Control::PowerButton)), &[0x5f, 17, 1]),
            (Event::Input(Input::Control(Control::CtrlAltDel)), &[0x5f, 17, 2]),
            (Event::Input(Input::Frame { bytes: b"abc".to_vec() }), &[0x5f, 20, 3, b'a', b'b', b'c']),
            (Event::Input(Input::ConsoleSize { columns: 80, rows: 0x102 }), &[0x5f, 21, 80, 0, 2, 1]),
            (Event::Input(Input::Flushed { disk: 1, flush: 300 }), &[0x5f, 22, 1, 0xac, 2]),
            (output(OutputCheck::Frame(0x0102_0304_0506_0708)), &[0x5f, 23, 2, 8, 7, 6, 5, 4, 3, 2, 1]),
            (
                output(OutputCheck::Disk { disk: 3, offset: 300, digest: 9 }),
                &[0x5f, 24, 2, 3, 0xac, 2, 9, 0, 0, 0, 0, 0, 0, 0],
            ),
            (output(OutputCheck::Flush { disk: 3, flush: 4 }), &[0x5f, 25, 2, 3, 4]),
            (output(OutputCheck::Power(Power::Off { code: 9 })), &[0x5f, 18, 2, 0, 9]),
            (output(OutputCheck::Power(Power::TripleFault)), &[0x5f, 18, 2, 1, 0]),
            (output(OutputCheck::Power(Power::Dead)), &[0x5f, 18, 2, 2, 0]),
            (output(OutputCheck::Power(Power::Reset)), &[0x5f, 18, 2, 3, 0]),
            (Event::Digest(1 << 120 | 7), &[0x5f, 19, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]),
        ] {
            assert_eq!(packed(&[entry(5, event.clone())]), bytes, "{event}");
        }
    }

    #[test]
    fn a_place_between_retirements_is_wide() {
        let at = Position { retired: BASE.retired, steps: 300 };
        assert_eq!(packed(&[Entry { at, event: Event::Watermark }]), [0x0f, 0x85, 0xac, 2]);
        assert_eq!(packed(&[Entry { at, event: Event::Digest(0) }])[..4], [0x0f, 0x93, 0xac, 2]);
    }

    #[test]
    fn differences_are_from_the_entry_before() {
        let bytes = packed(&[
            entry(5, Event::Clock(100 * CLOCK_STEP_NS)),
            entry(6, Event::Clock(140 * CLOCK_STEP_NS)),
            entry(6, Event::Input(Input::Clock { ns: 150 * CLOCK_STEP_NS })),
            entry(7, Event::Output { number: 70, check: OutputCheck::Console(b'a') }),
            entry(9, Event::Output { number: 71, check: OutputCheck::Console(b'b') }),
            entry(9, Event::Clock(151 * CLOCK_STEP_NS)),
            entry(10, Event::Clock(151 * CLOCK_STEP_NS)),
        ]);
        let inputs_and_outputs = [0x67, 10, 0x13, 70, b'a', 0x23, 1, b'b'];
        assert_eq!(bytes, [&[0xc8, 1, 80], &inputs_and_outputs[..], &[2, 0, 2]].concat());
    }

    #[test]
    fn the_last_entry_has_a_position() {
        let at = Position { retired: BASE.retired + 5, steps: 300 };
        assert_eq!(
            packed(&[Entry { at: BASE, event: Event::Watermark }, Entry { at, event: Event::Clock(0) }])[1..],
            [0, 11, 0xac, 2]
        );
    }

    #[test]
    fn a_clock_input_that_goes_back_is_kept_as_it_is() {
        let last = u64::MAX - (CLOCK_STEP_NS - 1);
        let input = |ns| entry(0, Event::Input(Input::Clock { ns }));
        packed(&[
            entry(0, Event::Clock(last)),
            input(3 * CLOCK_STEP_NS),
            input(2 * CLOCK_STEP_NS),
            entry(0, Event::Clock(last)),
        ]);
    }

    #[test]
    fn an_rdtsc_entry_takes_two_bytes() {
        // As long as there is less than a quarter of a millisecond between two of them.
        let entries: Vec<_> = (1..=100).map(|i| entry(i * 100_000, Event::Clock(i * 8191 * CLOCK_STEP_NS))).collect();
        assert!(packed(&entries).len() <= 2 * 100 + 4);
    }

    #[test]
    fn what_is_not_an_entry_is_an_error() {
        for bad in [
            &[0x51][..],                                                                                     // no kind
            &[0x5d],                                                    // reserved short kind
            &[0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1], // 2^63 - 1 steps of the clock
            &[0x5f, 6],                                                 // reserved kind
            &[0x5f, 5],                                                 // a watermark that could be short
            &[0x5f, 0x85, 0],                                           // no steps, and says so
            &[0x5f, 26],                                                // unknown kind
            &[0x5f, 17, 3],                                             // unknown control operation
            &[0x5f, 18, 1, 4, 0],                                       // unknown power state
            &[0x5f, 18, 1, 1, 1],                                       // a triple fault with an exit code
            &[0x5f, 16, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1], // length 2^64 - 1
        ] {
            assert!(Previous::at(BASE).unpack(&mut Cursor::new(bad)).is_err(), "{bad:x?}");
        }
        // Backwards between retirements, and beyond the last position.
        let inside = Position { retired: 1, steps: 9 };
        assert!(Previous::at(inside).unpack(&mut Cursor::new(&[0x0f, 0x85, 8])).is_err());
        assert!(Previous::at(inside).unpack(&mut Cursor::new(&[0x0b])).is_err());
        assert!(Previous::at(Position::at(u64::MAX)).unpack(&mut Cursor::new(&[0x1b])).is_err());
    }
}
