//! `plain.*` are what the tools make of `plain()`: `gzip -9n`, `xz --check=crc32 --x86 --lzma2=dict=1MiB`,
//! `xz --format=lzma`, `lz4 -l -9`, `cat plain | zstd -22 --ultra`. Kernels are packed by the same commands.

use super::*;

const OFFSET: u64 = 0x52cc;

fn plain() -> Vec<u8> {
    let call = |i: i32| [&[0xe8][..], &(0x1000 - 5 * i).to_le_bytes(), &[0x90]].concat();
    (0..40).flat_map(call).chain(b"kernel ".repeat(20)).collect()
}

const PACKED: [(Format, &[u8]); 5] = [
    (Format::Gzip, include_bytes!("plain.gz")),
    (Format::Xz, include_bytes!("plain.xz")),
    (Format::Lzma, include_bytes!("plain.lzma")),
    (Format::Lz4, include_bytes!("plain.lz4")),
    (Format::Zstd, include_bytes!("plain.zst")),
];

/// A payload that promises `size` bytes, with `packed` as it is.
fn payload(format: Format, packed: &[u8], size: u32) -> Vec<u8> {
    let end = if format == Format::Gzip { packed.len() - 4 } else { packed.len() };
    [&packed[..end], &size.to_le_bytes()].concat()
}

fn payloads() -> Vec<(Format, Vec<u8>)> {
    PACKED.into_iter().map(|(format, packed)| (format, payload(format, packed, plain().len() as u32))).collect()
}

#[test]
fn what_the_tools_pack_is_unpacked() {
    for (format, payload) in payloads() {
        assert_eq!(unpack(&payload, OFFSET, 1 << 20), Ok(plain()), "{format}");
    }
}

#[test]
fn a_size_that_is_not_true_is_refused() {
    let real = plain().len() as u32;
    for (format, packed) in PACKED {
        for size in [0, real - 1, real + 1] {
            let error = unpack(&payload(format, packed, size), OFFSET, 1 << 20).unwrap_err();
            assert!(matches!(error, UnpackError::Damaged { .. }), "{format} {size}: {error}");
        }
        let all = payload(format, packed, real);
        let size = UnpackError::Size { offset: OFFSET + all.len() as u64 - 4, promised: real.into(), max: 100 };
        assert_eq!(unpack(&all, OFFSET, 100), Err(size));
    }
}

/// LZMA and LZ4 have no checksum: a changed byte may unpack to something else of the same size.
#[test]
fn cut_or_changed_payloads_never_pass_for_good() {
    for (format, payload) in payloads() {
        let (packed, size) = payload.split_at(payload.len() - 4);
        for cut in 0..packed.len() {
            let cut_payload = [&packed[..cut], size].concat();
            assert!(unpack(&cut_payload, OFFSET, 1 << 20).is_err(), "{format} cut at {cut}");
        }
        for at in 0..packed.len() * 8 {
            let mut changed = payload.clone();
            changed[at / 8] ^= 1 << (at % 8);
            if let Ok(unpacked) = unpack(&changed, OFFSET, 1 << 20) {
                assert_eq!(unpacked.len(), plain().len());
                assert!(matches!(format, Format::Lzma | Format::Lz4) || unpacked == plain(), "{format} bit {at}");
            }
        }
    }
}

#[test]
fn errors_name_format_and_offset() {
    let words = |payload: &[u8]| unpack(payload, OFFSET, 1 << 20).unwrap_err().to_string();
    let (_, packed) = PACKED[1];
    let xz = payload(Format::Xz, &packed[..100], plain().len() as u32);
    assert!(words(&xz).starts_with("its xz payload is damaged before offset 0x"), "{}", words(&xz));
    assert!(words(b"BZh91AY&SY").contains("offset 0x52cc is compressed by bzip2, which is not unpacked here"));
    assert!(words(b"\x89LZO\0\r\n\x1a\n").contains("compressed by lzo"));
    assert!(words(b"what").contains("unknown compression (it begins with 77 68 61 74)"));
    assert!(words(b"").contains("unknown compression"));
}

#[test]
fn lz4_takes_several_blocks() {
    let (_, packed) = PACKED[3];
    let blocks = [packed, &packed[4..], packed, &(3 * plain().len() as u32).to_le_bytes()].concat();
    assert_eq!(unpack(&blocks, 0, 1 << 20), Ok(plain().repeat(3)));
}
