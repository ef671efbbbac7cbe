//! How a log file begins: what it is, who wrote it, and for which machine.

use std::io::{ErrorKind, Read};

use xxhash_rust::xxh3::xxh3_128;

use super::bytes::Cursor;
use super::{LogError, SegmentError};

/// Version of the format: of this header, of frames and entries, and of the encoded machine state inside. Counts up
/// with every change to any of them.
pub const FORMAT_VERSION: u32 = 4;

/// Name and version of this program.
pub(super) const CREATOR: &str = concat!("ftemu ", env!("CARGO_PKG_VERSION"));

const MAGIC: &[u8; 8] = b"FTEMULOG";

/// Magic, version and length of the body.
const FIXED_BYTES: usize = 16;

/// Longest body, bytes.
const BODY_BYTES_MAX: usize = 1 << 20;

/// What a log file says about itself before its first segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogHeader {
    /// Name and version of the program that wrote it.
    pub creator: String,
    /// What the guest runs, for humans: a file name. At most 65,535 bytes count.
    pub program: String,
    /// Where the images of the machine's disks were, in the order of the disks. What they are is in the configuration.
    pub disks: Vec<String>,
    /// The machine's configuration, encoded by [`codec`](crate::codec).
    pub config: Vec<u8>,
}

impl LogHeader {
    /// The header of a log that this program writes. `config` is a machine's configuration, encoded by [`codec`](crate::codec).
    #[must_use]
    pub fn new(program: &str, disks: Vec<String>, config: Vec<u8>) -> Self {
        Self { creator: CREATOR.into(), program: program.into(), disks, config }
    }

    /// xxh3-128 of the encoded configuration.
    #[must_use]
    pub fn config_digest(&self) -> u128 {
        xxh3_128(&self.config)
    }

    /// The header as bytes.
    ///
    /// Layout (docs/log-format.md); all but `rest` keeps its place in every version, so that any version can say which
    /// program reads a log: magic, u32 version, u32 length of the body, body, u32 CRC-32 of all before.
    /// The body: creator, `rest`.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut body = Vec::new();
        put_text(&mut body, &self.creator);
        put_text(&mut body, &self.program);
        let disks = &self.disks[..self.disks.len().min(emu::DISKS_MAX)];
        body.push(u8::try_from(disks.len()).unwrap_or(u8::MAX));
        disks.iter().for_each(|disk| put_text(&mut body, disk));
        body.extend(self.config_digest().to_le_bytes());
        body.extend(&self.config);
        assert!(body.len() <= BODY_BYTES_MAX, "a log header of {} bytes", body.len());
        let mut out = MAGIC.to_vec();
        out.extend(FORMAT_VERSION.to_le_bytes());
        #[expect(clippy::cast_possible_truncation, reason = "at most BODY_BYTES_MAX")]
        out.extend((body.len() as u32).to_le_bytes());
        out.extend(body);
        out.extend(crc32fast::hash(&out).to_le_bytes());
        out
    }

    /// Reads a header; returns it and its length.
    pub(super) fn read(input: &mut impl Read) -> Result<(Self, u64), LogError> {
        let mut bytes = vec![0; FIXED_BYTES];
        let got = read_full(input, &mut bytes)?;
        let magic = got.min(MAGIC.len());
        if got == 0 || bytes[..magic] != MAGIC[..magic] {
            return Err(LogError::NotALog);
        }
        let cut = |offset: usize| LogError::NoMachine { offset: offset as u64 };
        if got < FIXED_BYTES {
            return Err(cut(got));
        }
        let version = u32::from_le_bytes([bytes[8], bytes[9], bytes[10], bytes[11]]);
        let body_len = u32::from_le_bytes([bytes[12], bytes[13], bytes[14], bytes[15]]) as usize;
        if body_len > BODY_BYTES_MAX {
            return Err(LogError::Corrupt { offset: 12, what: "a header of impossible length".into() });
        }
        bytes.resize(FIXED_BYTES + body_len + 4, 0);
        let got = FIXED_BYTES + read_full(input, &mut bytes[FIXED_BYTES..])?;
        if got < bytes.len() {
            return Err(cut(got));
        }
        let (checked, crc) = bytes.split_at(FIXED_BYTES + body_len);
        if crc32fast::hash(checked).to_le_bytes() != crc {
            return Err(LogError::Corrupt { offset: 0, what: "the checksum of the header does not match".into() });
        }
        let header = Self::parse_body(version, &checked[FIXED_BYTES..])?;
        Ok((header, bytes.len() as u64))
    }

    fn parse_body(version: u32, body: &[u8]) -> Result<Self, LogError> {
        let mut fields = Cursor::new(body);
        let at = |error: SegmentError| {
            let what = "the header is not what its version asks for".into();
            let SegmentError::Corrupt { offset, .. } = error else {
                return LogError::Corrupt { offset: 0, what };
            };
            LogError::Corrupt { offset: (FIXED_BYTES + offset) as u64, what }
        };
        let creator = text(&mut fields).map_err(at)?;
        if version != FORMAT_VERSION {
            return Err(LogError::Version { found: version, creator });
        }
        let program = text(&mut fields).map_err(at)?;
        let disks = fields.u8().map_err(at)?;
        let disks = (0..disks).map(|_| text(&mut fields)).collect::<Result<_, _>>().map_err(at)?;
        let config_digest = fields.u128().map_err(at)?;
        let config = fields.take(fields.left()).map_err(at)?.to_vec();
        let header = Self { creator, program, disks, config };
        match header.config_digest() == config_digest {
            true => Ok(header),
            false => Err(at(fields.corrupt("the digest of the configuration does not match"))),
        }
    }
}

/// A u16 length and that many bytes of UTF-8. What is longer is cut.
fn put_text(out: &mut Vec<u8>, text: &str) {
    let cut = &text[..text.floor_char_boundary(usize::from(u16::MAX))];
    #[expect(clippy::cast_possible_truncation, reason = "cut to u16::MAX")]
    out.extend((cut.len() as u16).to_le_bytes());
    out.extend(cut.as_bytes());
}

fn text(fields: &mut Cursor<'_>) -> Result<String, SegmentError> {
    let len = fields.u16()?.into();
    Ok(String::from_utf8_lossy(fields.take(len)?).into_owned())
}

/// Reads until `buffer` is full or the input ends; returns how many bytes there were.
pub(super) fn read_full(input: &mut impl Read, buffer: &mut [u8]) -> Result<usize, LogError> {
    let mut got = 0;
    while got < buffer.len() {
        match input.read(&mut buffer[got..]) {
            Ok(0) => break,
            Ok(n) => got += n,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(got)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_has_these_bytes() {
        let disks = vec!["d".into()];
        let header = LogHeader { creator: "me".into(), program: "p".into(), disks, config: vec![1, 2] };
        let mut expected = b"FTEMULOG".to_vec();
        expected.extend([4, 0, 0, 0]); // version
        expected.extend([2 + 2 + 2 + 1 + 1 + 2 + 1 + 16 + 2, 0, 0, 0]); // length of the body
        expected.extend([2, 0, b'm', b'e', 1, 0, b'p', 1, 1, 0, b'd']);
        expected.extend(xxh3_128(&[1, 2]).to_le_bytes());
        expected.extend([1, 2]);
        expected.extend(crc32fast::hash(&expected).to_le_bytes());
        assert_eq!(header.encode(), expected);
        assert_eq!(LogHeader::read(&mut &expected[..]).unwrap(), (header, expected.len() as u64));
    }

    #[test]
    fn another_version_names_the_program_that_reads_it() {
        let mut bytes = LogHeader { creator: "ftemu 9.1.0".into(), ..LogHeader::new("", vec![], vec![]) }.encode();
        bytes[8] = 7;
        let end = bytes.len() - 4;
        let crc = crc32fast::hash(&bytes[..end]).to_le_bytes();
        bytes[end..].copy_from_slice(&crc);
        let error = LogHeader::read(&mut &bytes[..]).unwrap_err().to_string();
        assert!(error.contains("version 7, written by ftemu 9.1.0") && error.ends_with("use ftemu 9.1.0"), "{error}");
    }

    #[test]
    fn another_file_is_not_a_log() {
        for other in [&b""[..], b"\x7fELF\x02\x01\x01", b"FTEMUBI1 and more than sixteen bytes"] {
            assert!(matches!(LogHeader::read(&mut &other[..]), Err(LogError::NotALog)), "{other:?}");
        }
    }

    #[test]
    fn a_program_name_of_any_length_is_kept_as_far_as_it_goes() {
        let header = LogHeader::new(&"é".repeat(40_000), vec![], vec![]);
        assert_eq!(LogHeader::read(&mut &header.encode()[..]).unwrap().0.program.len(), 65_534);
    }
}
