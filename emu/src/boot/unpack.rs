//! The compressed ELF inside a bzImage, unpacked here instead of by the guest: what the kernel's own decompressor
//! (arch/x86/boot/compressed) would do in up to billions of instructions.
//!
//! A payload ends with the size of what it unpacks to, 4 bytes, little endian (scripts/Makefile.lib, `size_append`; gzip
//! has it by itself).

use std::fmt;
use std::io::{Error, ErrorKind, Read};

use flate2::bufread::GzDecoder;
use lzma_rust2::{LzmaReader, XzReader};
use ruzstd::decoding::StreamingDecoder;

const SIZE_BYTES: usize = 4;
/// What is set aside before anything is unpacked: a size in a file may be wrong.
const RESERVED_MAX: usize = 64 << 20;
/// The longest block of LZ4's legacy format (lib/decompress_unlz4.c).
const LZ4_BLOCK_MAX: usize = 8 << 20;
const LZ4_MAGIC: [u8; 4] = 0x184c_2102u32.to_le_bytes();
/// Dictionaries of 128 MiB are what `zstd -22 --ultra` has.
const ZSTD_WINDOW_MAX: u64 = 1 << 31;
const LZMA_MEMORY_KB_MAX: u32 = 1 << 20;

/// How a payload is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// RFC 1952.
    Gzip,
    /// With the x86 filter.
    Xz,
    /// The older format, which has no checksum.
    Lzma,
    /// The legacy frame.
    Lz4,
    /// RFC 8878.
    Zstd,
    /// Not unpacked here.
    Bzip2,
    /// Not unpacked here.
    Lzo,
}

impl Format {
    /// Told from how the payload begins.
    pub(super) fn of(payload: &[u8]) -> Option<Self> {
        let magics: [(&[u8], Self); 7] = [
            (b"\x1f\x8b", Self::Gzip),
            (b"\xfd7zXZ\0", Self::Xz),
            (b"\x5d\0\0", Self::Lzma),
            (&LZ4_MAGIC, Self::Lz4),
            (b"\x28\xb5\x2f\xfd", Self::Zstd),
            (b"BZh", Self::Bzip2),
            (b"\x89LZO\0", Self::Lzo),
        ];
        magics.into_iter().find(|(magic, _)| payload.starts_with(magic)).map(|(_, format)| format)
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Gzip => "gzip",
            Self::Xz => "xz",
            Self::Lzma => "lzma",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
            Self::Bzip2 => "bzip2",
            Self::Lzo => "lzo",
        })
    }
}

/// Why a payload cannot be unpacked. Offsets are those of the bzImage. `Display` is one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UnpackError {
    /// It is not where the header says.
    Outside {
        /// Where it should begin.
        offset: u64,
        /// Where it should end.
        end: u64,
        /// Where the kernel ends.
        kernel_end: u64,
    },
    /// Its format is known, but not unpacked here.
    Unsupported {
        /// Which one.
        format: Format,
        /// Where it begins.
        offset: u64,
    },
    /// It begins like nothing that is known.
    Unknown {
        /// Where it begins.
        offset: u64,
        /// How it begins.
        begins: [u8; 4],
    },
    /// It is damaged.
    Damaged {
        /// What it should be.
        format: Format,
        /// Up to where it was read.
        offset: u64,
        /// What the decompressor says.
        reason: String,
    },
    /// It unpacks to another size than the one that is promised at its end, or the kernel has no room for that.
    Size {
        /// Where it is promised.
        offset: u64,
        /// That size.
        promised: u64,
        /// What it may be.
        max: u64,
    },
}

impl UnpackError {
    /// Whether the kernel's own decompressor may know better.
    pub(super) fn is_only_ours(&self) -> bool {
        matches!(self, Self::Unsupported { .. } | Self::Unknown { .. })
    }
}

impl fmt::Display for UnpackError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Outside { offset, end, kernel_end } => {
                write!(
                    f,
                    "its payload at offsets {offset:#x}-{end:#x} is not inside of the kernel, which ends at {kernel_end:#x}"
                )
            }
            Self::Unsupported { format, offset } => {
                write!(f, "its payload at offset {offset:#x} is compressed by {format}, which is not unpacked here")
            }
            Self::Unknown { offset, begins } => write!(
                f,
                "its payload at offset {offset:#x} is of unknown compression (it begins with {:02x} {:02x} {:02x} {:02x})",
                begins[0], begins[1], begins[2], begins[3]
            ),
            Self::Damaged { format, offset, reason } => {
                write!(f, "its {format} payload is damaged before offset {offset:#x}: {reason}")
            }
            Self::Size { offset, promised, max } => {
                write!(f, "its payload is to unpack to {promised} bytes (offset {offset:#x}), not to {max} at most")
            }
        }
    }
}

impl std::error::Error for UnpackError {}

/// Unpacks `payload`, which is at `offset` in its file, to at most `max` bytes.
pub(super) fn unpack(payload: &[u8], offset: u64, max: u64) -> Result<Vec<u8>, UnpackError> {
    let mut begins = [0; 4];
    let known = payload.len().min(begins.len());
    begins[..known].copy_from_slice(&payload[..known]);
    let format = Format::of(payload).ok_or(UnpackError::Unknown { offset, begins })?;
    if matches!(format, Format::Bzip2 | Format::Lzo) {
        return Err(UnpackError::Unsupported { format, offset });
    }
    let Some((mut packed, size)) = payload.split_last_chunk::<SIZE_BYTES>() else {
        return Err(UnpackError::Unknown { offset, begins });
    };
    let promised = u32::from_le_bytes(*size);
    let size_offset = offset + packed.len() as u64;
    if u64::from(promised) > max {
        return Err(UnpackError::Size { offset: size_offset, promised: promised.into(), max });
    }
    if format == Format::Gzip {
        packed = payload;
    }
    let bytes = packed.len();
    let mut out = Vec::with_capacity((promised as usize).min(RESERVED_MAX));
    let result = decompress(format, &mut packed, promised, &mut out);
    let damaged = |reason: String| {
        let offset = offset + (bytes - packed.len()) as u64;
        UnpackError::Damaged { format, offset, reason }
    };
    match result {
        Ok(()) if out.len() == promised as usize => Ok(out),
        Ok(()) => Err(damaged(format!("{} bytes instead of {promised}", out.len()))),
        Err(error) => Err(damaged(error.to_string())),
    }
}

/// Puts into `out` what `packed` has, at most one byte more than `size`; `packed` becomes what is left.
fn decompress(format: Format, packed: &mut &[u8], size: u32, out: &mut Vec<u8>) -> Result<(), Error> {
    let most = u64::from(size) + 1;
    let mut read = |reader: &mut dyn Read| reader.take(most).read_to_end(out).map(|_| ());
    match format {
        Format::Gzip => read(&mut GzDecoder::new(packed)),
        Format::Xz => read(&mut XzReader::new_mem_limit(packed, false, LZMA_MEMORY_KB_MAX)),
        Format::Lzma => LzmaReader::new_mem_limit(packed, LZMA_MEMORY_KB_MAX, None).and_then(|mut r| read(&mut r)),
        Format::Zstd => unzstd(packed, read),
        Format::Lz4 => unlz4(packed, size as usize, out),
        Format::Bzip2 | Format::Lzo => Err(Error::from(ErrorKind::Unsupported)),
    }
}

/// Zstandard: the decoder leaves it to us to look at the checksum.
fn unzstd(packed: &mut &[u8], mut read: impl FnMut(&mut dyn Read) -> Result<(), Error>) -> Result<(), Error> {
    let mut reader = StreamingDecoder::new_with_max_window_size(packed, ZSTD_WINDOW_MAX).map_err(Error::other)?;
    read(&mut reader)?;
    let (found, computed) = (reader.decoder.get_checksum_from_data(), reader.decoder.get_calculated_checksum());
    if found.is_some() && found != computed { Err(Error::other("the checksum is wrong")) } else { Ok(()) }
}

/// LZ4's legacy format: a magic number, then blocks behind their sizes.
fn unlz4(packed: &mut &[u8], size: usize, out: &mut Vec<u8>) -> Result<(), Error> {
    let mut block = Vec::new();
    while let Some((&header, rest)) = packed.split_first_chunk::<4>() {
        *packed = rest;
        if header == LZ4_MAGIC {
            continue;
        }
        let bytes = u32::from_le_bytes(header) as usize;
        let (input, rest) = packed.split_at_checked(bytes).ok_or_else(|| Error::other("a block is cut"))?;
        block.resize(LZ4_BLOCK_MAX.min(size + 1), 0);
        let unpacked = lz4_flex::block::decompress_into(input, &mut block).map_err(Error::other)?;
        if unpacked > size - out.len().min(size) {
            return Err(Error::other(format!("more than {size} bytes")));
        }
        out.extend(&block[..unpacked]);
        *packed = rest;
    }
    if packed.is_empty() { Ok(()) } else { Err(Error::other("the size of a block is cut")) }
}

#[cfg(test)]
mod tests;
