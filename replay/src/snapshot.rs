//! A whole machine as bytes: at the beginning of every log, as a file, and over the logging channel when a backup joins
//! (VM-FT 2.3, where it is VMotion).
//!
//! A snapshot travels as segments: `Pages` and then one `State` that completes it. While the machine still runs,
//! pages may be sent ahead ([`pages_segment`]) and those written since sent again: of several copies the last counts.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{Read, Write};

use emu::{Images, Machine, MachineConfig, MachineError, MachineState, Position};

use crate::codec::{self, CodecError};
use crate::log::{
    LogError, LogHeader, LogItem, LogReader, LogWriter, PAGE_BYTES, PAGES_IN_SEGMENT_MAX, PageImage, StateSegment,
    Totals, encode_pages,
};

/// Why a snapshot gives no machine.
#[derive(Debug)]
pub enum SnapshotError {
    /// The encoded state is not one.
    Codec(CodecError),
    /// A page that the machine does not have.
    Page {
        /// Page frame number.
        pfn: u32,
        /// How many pages there are.
        count: u32,
    },
    /// The state does not belong where it stands.
    Misplaced {
        /// Where the machine says it is.
        machine: Position,
        /// Where the log says it is.
        log: Position,
    },
    /// The host or this version cannot make the machine.
    Machine(MachineError),
}

impl fmt::Display for SnapshotError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Codec(error) => write!(f, "the state of the machine is {error}"),
            Self::Page { pfn, count } => write!(f, "page {pfn} of a machine of {count} pages"),
            Self::Misplaced { machine, log } => {
                write!(f, "the state of a machine at {machine} stands where {log} is meant")
            }
            Self::Machine(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for SnapshotError {}

/// A machine that does not run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// What it is made of.
    pub config: MachineConfig,
    /// Everything but pages.
    pub state: MachineState,
    /// Number of the first entry of the log after it.
    pub next_entry: u64,
    pages: Pages,
}

/// The pages that are not as in a new machine, by page number. Nothing in a page: a block of a disk that was filled with zeros.
type Pages = BTreeMap<u32, Option<Box<[u8; PAGE_BYTES]>>>;

impl Snapshot {
    /// Copies a machine.
    #[must_use]
    pub fn capture(machine: &Machine, next_entry: u64) -> Self {
        let content = |page: &[u8; PAGE_BYTES]| page.iter().any(|&byte| byte != 0).then(|| Box::new(*page));
        let pages = machine.used_pages().map(|pfn| (pfn, content(machine.page(pfn))));
        Self { config: *machine.config(), state: machine.state(), next_entry, pages: pages.collect() }
    }

    /// Makes the machine, which has no disks.
    ///
    /// # Errors
    /// If this host or version cannot, or there is a page that it does not have.
    pub fn restore(&self) -> Result<Machine, SnapshotError> {
        self.restore_with_images(Images::default())
    }

    /// Makes the machine with the images of its disks, whose digests the caller has checked.
    ///
    /// # Errors
    /// If this host or version cannot, or there is a page that it does not have.
    pub fn restore_with_images(&self, images: Images) -> Result<Machine, SnapshotError> {
        let mut machine =
            Machine::restore_with_images(self.config, images, &self.state).map_err(SnapshotError::Machine)?;
        let count = machine.page_count();
        for (&pfn, data) in &self.pages {
            if pfn >= count {
                return Err(SnapshotError::Page { pfn, count });
            }
            machine.write_page(pfn, data.as_deref().unwrap_or(&[0; PAGE_BYTES]));
        }
        Ok(machine)
    }

    /// Reads the machine that a log, or a saved one, begins with; the reader goes on with the entries after it.
    ///
    /// # Errors
    /// If the log is damaged or breaks off before the machine is complete.
    pub fn read<R: Read>(reader: &mut LogReader<R>) -> Result<Self, LogError> {
        let mut assembler = Assembler::default();
        loop {
            let offset = reader.offset();
            match reader.next()? {
                Some(LogItem::Pages(pages)) => assembler.pages(pages),
                Some(LogItem::State(state)) => {
                    let corrupt = |what| LogError::Corrupt { offset, what };
                    let snapshot = assembler.finish(state).map_err(|error| corrupt(error.to_string()))?;
                    if codec::encode(&snapshot.config) != reader.header().config {
                        return Err(corrupt("a machine that the header does not describe".into()));
                    }
                    return Ok(snapshot);
                }
                _ => return Err(LogError::NoMachine { offset }),
            }
        }
    }
}

/// Puts a snapshot together from segments.
#[derive(Debug, Default)]
pub struct Assembler {
    pages: Pages,
}

impl Assembler {
    /// Takes pages; later ones replace earlier ones.
    pub fn pages(&mut self, pages: Vec<PageImage>) {
        self.pages.extend(pages.into_iter().map(|page| (page.pfn, page.data)));
    }

    /// Completes the snapshot.
    ///
    /// # Errors
    /// If the state is not one, or of another place than its segment says.
    pub fn finish(mut self, segment: StateSegment) -> Result<Snapshot, SnapshotError> {
        let (config, state): (MachineConfig, MachineState) =
            codec::decode(&segment.encoded).map_err(SnapshotError::Codec)?;
        if state.position != segment.at {
            return Err(SnapshotError::Misplaced { machine: state.position, log: segment.at });
        }
        // A page of RAM that is zero is as in a new machine; a block of a disk is not, because it hides the image.
        self.pages.retain(|&pfn, data| data.is_some() || u64::from(pfn) >= config.memory_bytes / PAGE_BYTES as u64);
        Ok(Snapshot { config, state, next_entry: segment.next_entry, pages: self.pages })
    }
}

/// These pages as a segment; at most [`PAGES_IN_SEGMENT_MAX`].
#[must_use]
pub fn pages_segment(machine: &Machine, next_entry: u64, pfns: &[u32]) -> Vec<u8> {
    let pages = pfns.iter().map(|&pfn| (pfn, machine.page(pfn)));
    encode_pages(machine.position(), next_entry, pages)
}

/// Everything but pages as the segment that completes a snapshot. `next_entry` is the number of the first entry after it.
#[must_use]
pub fn state_segment(machine: &Machine, next_entry: u64) -> Vec<u8> {
    let encoded = codec::encode(&(machine.config(), machine.state()));
    StateSegment { at: machine.position(), next_entry, encoded }.encode()
}

/// The whole machine as segments, one at a time.
pub fn segments(machine: &Machine, next_entry: u64) -> impl Iterator<Item = Vec<u8>> + '_ {
    let mut pfns = machine.used_pages();
    let chunks = std::iter::from_fn(move || {
        let chunk: Vec<u32> = pfns.by_ref().take(PAGES_IN_SEGMENT_MAX).collect();
        (!chunk.is_empty()).then(|| pages_segment(machine, next_entry, &chunk))
    });
    chunks.chain(std::iter::once_with(move || state_segment(machine, next_entry)))
}

/// Begins a log with `machine` as it is. `program` is for humans; `disks` are the paths of the images of its disks, in their
/// order.
///
/// # Errors
/// If writing fails.
pub fn begin_log<W: Write>(
    output: W,
    program: &str,
    disks: Vec<String>,
    machine: &Machine,
    next_entry: u64,
) -> Result<LogWriter<W>, LogError> {
    let header = LogHeader::new(program, disks, codec::encode(machine.config()));
    let mut writer = LogWriter::create(output, &header)?;
    for segment in segments(machine, next_entry) {
        writer.write_segment(&segment)?;
    }
    Ok(writer)
}

/// Saves a machine: a log without entries, which `ftemu replay` reads like any other.
///
/// # Errors
/// If writing fails.
pub fn save<W: Write>(output: W, program: &str, disks: Vec<String>, machine: &Machine) -> Result<W, LogError> {
    begin_log(output, program, disks, machine, 1)?.finish(&Totals {
        at: machine.position(),
        entries: 0,
        outputs: machine.outputs(),
        power: machine.power(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::FORMAT_VERSION;

    #[test]
    fn a_new_layout_of_the_state_is_a_new_version_of_the_format() {
        // Logs hold encoded states: whoever changes one of these must count the other up as well.
        assert_eq!((MachineState::VERSION, FORMAT_VERSION), (3, 4));
    }

    #[test]
    fn a_state_that_is_none_or_stands_elsewhere_is_an_error() {
        let at = Position::at(5);
        let garbage = StateSegment { at, next_entry: 1, encoded: vec![1, 2, 3] };
        let error = Assembler::default().finish(garbage).unwrap_err();
        assert!(matches!(error, SnapshotError::Codec(_)), "{error}");

        let config = MachineConfig {
            memory_bytes: MachineConfig::MEMORY_BYTES_MIN,
            clock: emu::ClockMode::Host,
            epoch_s: 0,
            cpu: emu::CpuModel::V3,
            devices: Default::default(),
        };
        let machine = Machine::new(config).unwrap();
        let encoded = codec::encode(&(config, machine.state()));
        let elsewhere = StateSegment { at, next_entry: 1, encoded: encoded.clone() };
        let error = Assembler::default().finish(elsewhere).unwrap_err();
        assert!(matches!(error, SnapshotError::Misplaced { .. }), "{error}");

        let mut assembler = Assembler::default();
        assembler.pages(vec![PageImage { pfn: 256, data: Some(Box::new([1; PAGE_BYTES])) }]);
        let state = StateSegment { at: machine.position(), next_entry: 1, encoded };
        let Err(error) = assembler.finish(state).unwrap().restore() else { panic!("restored") };
        assert_eq!(error.to_string(), "page 256 of a machine of 256 pages");
    }
}
