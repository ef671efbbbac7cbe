//! What can be wrong with a log.

use std::{fmt, io};

use super::FORMAT_VERSION;

/// What can be wrong with the bytes of one segment. Offsets count from its first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SegmentError {
    /// The bytes end before the segment does: cut, not damaged.
    Incomplete,
    /// The bytes are not a segment, or not the one that was written.
    Corrupt {
        /// Where, bytes.
        offset: usize,
        /// What is wrong there.
        what: &'static str,
    },
}

impl SegmentError {
    /// The same error in the payload of a segment, whose offsets mean nothing outside when it was deflated.
    pub(super) const fn in_payload(self) -> Self {
        match self {
            Self::Incomplete => Self::Incomplete,
            Self::Corrupt { what, .. } => Self::Corrupt { offset: super::FRAME_HEADER_BYTES, what },
        }
    }
}

impl fmt::Display for SegmentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Incomplete => f.write_str("the segment is cut short"),
            Self::Corrupt { offset, what } => {
                write!(f, "the segment is damaged at offset {offset}: {what}")
            }
        }
    }
}

impl std::error::Error for SegmentError {}

/// Why a log cannot be read. Offsets count from the first byte of the file.
#[derive(Debug)]
pub enum LogError {
    /// The file is something else.
    NotALog,
    /// Written in a version of the format that this program does not read.
    Version {
        /// Version of the format.
        found: u32,
        /// Name and version of the program that wrote it.
        creator: String,
    },
    /// The file ends before the machine it begins with is complete, so that there is nothing to replay.
    NoMachine {
        /// Length of the file, bytes.
        offset: u64,
    },
    /// A byte is not as it was written.
    Corrupt {
        /// Where, bytes. A damaged field is reported by the place of the field or of the frame that holds it.
        offset: u64,
        /// What is wrong there.
        what: String,
    },
    /// Reading or writing failed.
    Io(io::Error),
}

impl fmt::Display for LogError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotALog => f.write_str("not a log of ftemu (it does not begin with \"FTEMULOG\")"),
            Self::Version { found, creator } => write!(
                f,
                "the log has format version {found}, written by {creator}; \
                 this is {}, which reads version {FORMAT_VERSION}: use {creator}",
                super::format::CREATOR
            ),
            Self::NoMachine { offset } => {
                write!(f, "the log breaks off at offset {offset}, before the machine it starts from is complete")
            }
            Self::Corrupt { offset, what } => {
                write!(f, "the log is damaged at offset {offset}: {what}")
            }
            Self::Io(error) => write!(f, "{error}"),
        }
    }
}

impl std::error::Error for LogError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io(error) => Some(error),
            _ => None,
        }
    }
}

impl From<io::Error> for LogError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}
