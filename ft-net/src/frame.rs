//! Messages on a byte stream.
//!
//! | bytes | field |
//! |---|---|
//! | 0..4 | magic, `FTPR` |
//! | 4..6 | protocol version, little endian |
//! | 6..8 | zero |
//! | 8..12 | length of the body, little endian, at most [`BODY_BYTES_MAX`] |
//! | 12..16 | CRC-32 of the body, little endian |
//! | 16.. | the body: one encoded [`crate::message::Message`] |

use std::fmt;

/// The first bytes of every frame.
pub const MAGIC: [u8; 4] = *b"FTPR";

/// Both sides must speak the same.
pub const VERSION: u16 = 1;

/// The longest body.
pub const BODY_BYTES_MAX: usize = 64 << 20;

/// Length of what precedes the body.
pub const HEADER_BYTES: usize = 16;

/// Why bytes are not a frame. The connection they came from is of no further use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FrameError {
    /// Not this protocol at all.
    Magic {
        /// What came instead.
        found: [u8; 4],
    },
    /// Another version of this protocol.
    Version {
        /// Theirs.
        theirs: u16,
    },
    /// A reserved field is not zero.
    Reserved,
    /// Longer than [`BODY_BYTES_MAX`].
    Length {
        /// The length it claims.
        bytes: usize,
    },
    /// The checksum does not fit.
    Checksum,
    /// The body is not a message.
    Body {
        /// Why, in words.
        reason: String,
    },
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FrameError::Magic { found } => {
                write!(
                    f,
                    "the peer does not speak the ftemu protocol (it began with {})",
                    found.escape_ascii()
                )
            }
            FrameError::Version { theirs } => {
                write!(
                    f,
                    "the peer speaks protocol version {theirs}, this is version {VERSION}: use the same ftemu"
                )
            }
            FrameError::Reserved => write!(f, "a reserved field of a frame is not zero"),
            FrameError::Length { bytes } => write!(
                f,
                "a frame of {bytes} bytes is longer than {BODY_BYTES_MAX}"
            ),
            FrameError::Checksum => write!(f, "a frame was damaged on the way (CRC)"),
            FrameError::Body { reason } => write!(f, "a frame holds no message: {reason}"),
        }
    }
}

impl std::error::Error for FrameError {}

/// Where the body of a frame is and how to check it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Length of the body.
    pub bytes: usize,
    crc: u32,
}

/// Reads the header of a frame.
///
/// # Errors
/// Everything but [`FrameError::Checksum`] and [`FrameError::Body`].
pub fn parse_header(header: &[u8; HEADER_BYTES]) -> Result<Header, FrameError> {
    let [
        m0,
        m1,
        m2,
        m3,
        v0,
        v1,
        r0,
        r1,
        l0,
        l1,
        l2,
        l3,
        c0,
        c1,
        c2,
        c3,
    ] = *header;
    let found = [m0, m1, m2, m3];
    if found != MAGIC {
        return Err(FrameError::Magic { found });
    }
    let theirs = u16::from_le_bytes([v0, v1]);
    if theirs != VERSION {
        return Err(FrameError::Version { theirs });
    }
    if [r0, r1] != [0, 0] {
        return Err(FrameError::Reserved);
    }
    let bytes = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
    if bytes > BODY_BYTES_MAX {
        return Err(FrameError::Length { bytes });
    }
    Ok(Header {
        bytes,
        crc: u32::from_le_bytes([c0, c1, c2, c3]),
    })
}
