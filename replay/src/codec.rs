//! Serde values as bytes: machine configuration and state, messages of the pair.
//!
//! **Architecture Invariant:** this is the only file of the workspace that names bincode, and these bytes are fixed:
//! little endian; integers wider than a byte in bincode's variable encoding (below 251 one byte, else a marker byte
//! 251, 252, 253 or 254 and 2, 4, 8 or 16 bytes; signed ones zigzagged first); enum variants as their number in order,
//! lengths as u64, both encoded as such integers; nothing between fields. The golden bytes below hold whatever
//! implementation comes next to them.

use std::fmt;

use bincode::config::{Configuration, Limit, LittleEndian, Varint};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Longest value that is encoded or decoded, bytes. Bounds what a hostile length can make the decoder allocate.
pub const ENCODED_BYTES_MAX: usize = 16 << 20;

const CONFIG: Configuration<LittleEndian, Varint, Limit<ENCODED_BYTES_MAX>> =
    bincode::config::standard().with_little_endian().with_variable_int_encoding().with_limit::<ENCODED_BYTES_MAX>();

/// Bytes that are not the encoding of the expected value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CodecError {
    what: String,
}

impl fmt::Display for CodecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not a valid encoding: {}", self.what)
    }
}

impl std::error::Error for CodecError {}

/// Encodes `value`.
///
/// # Panics
/// If the type cannot be encoded at all (a sequence of unknown length) or the value is longer than
/// [`ENCODED_BYTES_MAX`]: mistakes of the program, not of its input.
pub fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    let bytes = match bincode::serde::encode_to_vec(value, CONFIG) {
        Ok(bytes) => bytes,
        Err(error) => panic!("{} cannot be encoded: {error}", std::any::type_name::<T>()),
    };
    assert!(bytes.len() <= ENCODED_BYTES_MAX, "{} of {} bytes is too long", std::any::type_name::<T>(), bytes.len());
    bytes
}

/// Decodes a value that fills `bytes` exactly.
///
/// # Errors
/// If `bytes` ends early, goes on after the value, or is not the encoding of a `T`.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, CodecError> {
    let (value, used) =
        bincode::serde::decode_from_slice(bytes, CONFIG).map_err(|error| CodecError { what: error.to_string() })?;
    match bytes.len() - used {
        0 => Ok(value),
        left => Err(CodecError { what: format!("{left} bytes left over at offset {used}") }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Sample {
        byte: u8,
        small: u32,
        medium: u16,
        wide: u64,
        widest: u128,
        signed: i32,
        flag: bool,
        text: String,
        list: Vec<u16>,
        some: Option<u8>,
        none: Option<u8>,
        pair: [u8; 2],
        kind: Kind,
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    enum Kind {
        Unit,
        Tuple(u8, u16),
        Struct { a: u32 },
    }

    fn sample() -> Sample {
        Sample {
            byte: 255,
            small: 250,
            medium: 251,
            wide: 0x1_0000_0000,
            widest: 1 << 64,
            signed: -2,
            flag: true,
            text: "hé".into(),
            list: vec![1, 0x102],
            some: Some(7),
            none: None,
            pair: [8, 9],
            kind: Kind::Tuple(3, 0xffff),
        }
    }

    const SAMPLE_BYTES: &[u8] = &[
        255, // byte: raw
        250, // small: below 251, one byte
        251, 251, 0, // medium: marker, u16
        253, 0, 0, 0, 0, 1, 0, 0, 0, // wide: marker, u64
        254, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, // widest: marker, u128
        3, // signed: zigzag
        1, // flag
        3, b'h', 0xc3, 0xa9, // text: length, UTF-8
        2, 1, 251, 2, 1, // list: length, elements
        1, 7, // some
        0, // none
        8, 9, // pair: no length
        1, 3, 251, 0xff, 0xff, // kind: variant number, fields
    ];

    #[test]
    fn the_bytes_are_these() {
        assert_eq!(encode(&sample()), SAMPLE_BYTES);
        assert_eq!(decode::<Sample>(SAMPLE_BYTES).unwrap(), sample());
        assert_eq!(encode(&Kind::Unit), [0]);
        assert_eq!(encode(&Kind::Struct { a: 0x1_0000 }), [2, 252, 0, 0, 1, 0]);
    }

    #[test]
    fn the_doors_of_the_machine_have_these_bytes() {
        let input = emu::Input::Console { client: 1, seq: 2, bytes: b"hi".to_vec() };
        assert_eq!(encode(&input), [1, 1, 2, 2, b'h', b'i']);
        assert_eq!(encode(&emu::Input::Clock { ns: 9 }), [0, 9]);
        assert_eq!(encode(&emu::Input::Control(emu::Control::PowerOff)), [2, 0]);
        assert_eq!(encode(&emu::Output::Console { offset: 3, byte: b'x' }), [0, 3, b'x']);
        assert_eq!(encode(&emu::Output::Power(emu::Power::Off { code: 4 })), [1, 0, 4]);
        assert_eq!(encode(&emu::Position { retired: 5, steps: 6 }), [5, 6]);
    }

    #[test]
    fn a_cut_anywhere_is_an_error() {
        for len in 0..SAMPLE_BYTES.len() {
            assert!(decode::<Sample>(&SAMPLE_BYTES[..len]).is_err(), "cut at {len}");
        }
    }

    #[test]
    fn bytes_left_over_are_an_error() {
        let error = decode::<u8>(&[1, 2]).unwrap_err();
        assert_eq!(error.to_string(), "not a valid encoding: 1 bytes left over at offset 1");
    }

    #[test]
    fn a_hostile_length_allocates_nothing() {
        let mut bytes = vec![253];
        bytes.extend(u64::MAX.to_le_bytes());
        assert!(decode::<Vec<u8>>(&bytes).is_err());
        assert!(decode::<Vec<u64>>(&bytes).is_err());
        assert!(decode::<String>(&bytes).is_err());
        assert!(decode::<std::collections::BTreeMap<u8, u8>>(&bytes).is_err());
    }
}
