//! Entries as bytes: how one is packed (`pack`), how many make a segment (`segment`, in a `frame` that tells a cut
//! from a flipped bit), and how segments make a file (`format`, `writer`, `reader`). The schema is docs/log-format.md.

mod bytes;
mod error;
mod format;
mod frame;
mod pack;
mod pages;
mod reader;
mod segment;
mod writer;

pub use error::{LogError, SegmentError};
pub use format::{FORMAT_VERSION, LogHeader};
pub use frame::{FRAME_HEADER_BYTES, PAYLOAD_BYTES_MAX, frame_bytes};
pub use pack::CONSOLE_INPUT_BYTES_MAX;
pub use pages::{PAGE_BYTES, PAGES_IN_SEGMENT_MAX, PageImage};
pub use reader::{LogItem, LogReader, LogSummary, check};
pub use segment::{
    EncodedSegment, EntriesSegment, PlainSegment, SEGMENT_PAYLOAD_BYTES, Segment, SegmentEncoder, StateSegment, Totals,
    decode_bare, decode_segment, encode_pages,
};
pub use writer::LogWriter;
