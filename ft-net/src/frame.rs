//! Messages on a byte stream.
//!
//! | bytes | field |
//! |---|---|
//! | 0..4 | magic, `FTPR` |
//! | 4..6 | protocol version, little endian |
//! | 6..8 | zero |
//! | 8..12 | length of the body, little endian, at most [`BODY_BYTES_MAX`] |
//! | 12..16 | CRC-32 of the body, little endian |
//! | 16.. | the body: one encoded [`Message`], encoded by [`codec`] |

use std::fmt;
use std::io::{self, Read, Write};

use replay::codec;

use crate::message::Message;

/// The first bytes of every frame.
pub const MAGIC: [u8; 4] = *b"FTPR";

/// Both sides must speak the same.
pub const VERSION: u16 = 2;

/// The longest body.
pub const BODY_BYTES_MAX: usize = codec::ENCODED_BYTES_MAX;

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
                write!(f, "the peer does not speak the ftemu protocol (it began with {})", found.escape_ascii())
            }
            FrameError::Version { theirs } => {
                write!(f, "the peer speaks protocol version {theirs}, this is version {VERSION}: use the same ftemu")
            }
            FrameError::Reserved => write!(f, "a reserved field of a frame is not zero"),
            FrameError::Length { bytes } => write!(f, "a frame of {bytes} bytes is longer than {BODY_BYTES_MAX}"),
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
    let [m0, m1, m2, m3, v0, v1, r0, r1, l0, l1, l2, l3, c0, c1, c2, c3] = *header;
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
    Ok(Header { bytes, crc: u32::from_le_bytes([c0, c1, c2, c3]) })
}

/// Takes a message out of the body that belongs to `header`.
///
/// # Errors
/// [`FrameError::Checksum`] and [`FrameError::Body`].
pub fn parse_body(header: Header, body: &[u8]) -> Result<Message, FrameError> {
    if body.len() != header.bytes || crc32fast::hash(body) != header.crc {
        return Err(FrameError::Checksum);
    }
    codec::decode(body).map_err(|error| FrameError::Body { reason: error.to_string() })
}

/// A message as a frame.
#[must_use]
pub fn encode(message: &Message) -> Vec<u8> {
    let body = codec::encode(message);
    let mut frame = Vec::with_capacity(HEADER_BYTES + body.len());
    frame.extend(MAGIC);
    frame.extend(VERSION.to_le_bytes());
    frame.extend([0, 0]);
    // The codec bounds the body at BODY_BYTES_MAX, far below 4 GiB.
    frame.extend(u32::try_from(body.len()).unwrap_or(u32::MAX).to_le_bytes());
    frame.extend(crc32fast::hash(&body).to_le_bytes());
    frame.extend(body);
    frame
}

/// Writes a message as one frame.
///
/// # Errors
/// Those of `to`.
pub fn write(to: &mut impl Write, message: &Message) -> io::Result<()> {
    to.write_all(&encode(message))
}

/// Why no message could be read.
#[derive(Debug)]
pub enum ReadError {
    /// The stream ended between two frames, or failed.
    Io(io::Error),
    /// What came is not a frame.
    Frame(FrameError),
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ReadError::Io(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                write!(f, "the connection was closed")
            }
            ReadError::Io(error) => write!(f, "the connection failed: {error}"),
            ReadError::Frame(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for ReadError {}

impl From<io::Error> for ReadError {
    fn from(error: io::Error) -> Self {
        ReadError::Io(error)
    }
}

impl From<FrameError> for ReadError {
    fn from(error: FrameError) -> Self {
        ReadError::Frame(error)
    }
}

/// Reads one message. Memory is taken as bytes come, so that a length alone costs nothing.
///
/// # Errors
/// If the stream ends or fails, or holds no frame.
pub fn read(from: &mut impl Read) -> Result<Message, ReadError> {
    let mut bytes = [0; HEADER_BYTES];
    from.read_exact(&mut bytes)?;
    let header = parse_header(&bytes)?;
    let mut body = Vec::with_capacity(header.bytes.min(1 << 20));
    let got = from.take(header.bytes as u64).read_to_end(&mut body)?;
    if got < header.bytes {
        return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
    }
    Ok(parse_body(header, &body)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{Ack, Bye};

    const ACK: Message = Message::Ack(Ack { received: 300, replayed: 2, retired: 1 });

    #[rustfmt::skip]
    const ACK_FRAME: &[u8] = &[
        b'F', b'T', b'P', b'R', 2, 0, 0, 0, // magic, version, zero
        6, 0, 0, 0, 0xf2, 0xd8, 0x34, 0x3d, // length, CRC-32
        7, 251, 0x2c, 0x01, 2, 1, // variant, received, replayed, retired
    ];

    #[test]
    fn a_frame_has_these_bytes() {
        assert_eq!(encode(&ACK), ACK_FRAME);
        assert_eq!(read(&mut &ACK_FRAME[..]).unwrap(), ACK);
    }

    #[test]
    fn any_flipped_bit_is_an_error_and_never_another_message() {
        for bit in 0..ACK_FRAME.len() * 8 {
            let mut frame = ACK_FRAME.to_vec();
            frame[bit / 8] ^= 1 << (bit % 8);
            assert!(read(&mut &frame[..]).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn a_cut_anywhere_is_an_end_of_stream() {
        for len in 0..ACK_FRAME.len() {
            let error = read(&mut &ACK_FRAME[..len]).unwrap_err();
            assert_eq!(error.to_string(), "the connection was closed", "cut at {len}");
        }
    }

    #[test]
    fn strangers_are_told_apart() {
        let http = read(&mut &b"GET / HTTP/1.1\r\n\r\n"[..]).unwrap_err();
        assert_eq!(http.to_string(), "the peer does not speak the ftemu protocol (it began with GET )");
        let mut frame = ACK_FRAME.to_vec();
        frame[4] = 9;
        let version = read(&mut &frame[..]).unwrap_err();
        assert!(version.to_string().contains("version 9"), "{version}");
        let mut huge = ACK_FRAME.to_vec();
        huge[8..12].fill(0xff);
        assert!(matches!(read(&mut &huge[..]), Err(ReadError::Frame(FrameError::Length { .. }))));
    }

    #[test]
    fn every_variant_keeps_its_number() {
        let bye = encode(&Message::Bye(Bye::PowerOff { outputs: 5 }));
        assert_eq!(bye[HEADER_BYTES..], [9, 0, 5]);
        let input = Message::ClientInput { seq: 1, bytes: b"hi".to_vec() };
        assert_eq!(encode(&input)[HEADER_BYTES..], [11, 1, 2, b'h', b'i']);
        let control = Message::ClientControl(emu::Control::CtrlAltDel);
        assert_eq!(encode(&control)[HEADER_BYTES..], [14, 2]);
        assert_eq!(encode(&Message::ClientSize { columns: 80, rows: 24 })[HEADER_BYTES..], [15, 80, 24]);
    }
}
