use super::super::hand_off;
use super::*;

const HEADER_BYTES: u64 = ELF64.header;
const PROGRAM_HEADER_BYTES: u64 = ELF64.program_header;
const E_PHENTSIZE: u64 = ELF64.e_phentsize;
const E_PHNUM: u64 = E_PHENTSIZE + 2;
const HAND_OFF: &[Range<u64>] = &[hand_off::RESERVED];

const CODE: &[u8] = b"\xf4code";
const DATA: &[u8] = b"data";

/// A program header to put into an image.
#[derive(Clone, Copy)]
struct Header {
    kind: u32,
    paddr: u64,
    content: &'static [u8],
    memory_bytes: u64,
}

fn load(paddr: u64, content: &'static [u8], memory_bytes: u64) -> Header {
    Header { kind: PT_LOAD, paddr, content, memory_bytes }
}

/// File header, program headers, contents, one section header: as a linker lays them out.
fn image(headers: &[Header]) -> Vec<u8> {
    let count = headers.len() as u64;
    let contents = HEADER_BYTES + count * PROGRAM_HEADER_BYTES;
    let sections = contents + headers.iter().map(|header| header.content.len() as u64).sum::<u64>();
    let mut image = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x3e\0\x01\0\0\0".to_vec();
    for word in [0x10_0000, HEADER_BYTES, sections] {
        image.extend(word.to_le_bytes());
    }
    image.extend([0; 4]);
    for half in [64, 56, count, 64, 1, 0] {
        image.extend(&half.to_le_bytes()[..2]);
    }
    let mut offset = contents;
    for header in headers {
        let len = header.content.len() as u64;
        image.extend(header.kind.to_le_bytes());
        image.extend(7u32.to_le_bytes());
        for word in [offset, header.paddr, header.paddr, len, header.memory_bytes, 0x1000] {
            image.extend(word.to_le_bytes());
        }
        offset += len;
    }
    headers.iter().for_each(|header| image.extend(header.content));
    image.extend([0; 64]);
    image
}

fn program() -> Vec<u8> {
    image(&[load(0x10_2000, DATA, 0x800), load(0x10_0000, CODE, 5)])
}

fn with(edits: &[(u64, &[u8])]) -> Vec<u8> {
    let mut image = program();
    for (offset, bytes) in edits {
        image[usize::try_from(*offset).unwrap()..][..bytes.len()].copy_from_slice(bytes);
    }
    image
}

fn refusal(image: &[u8]) -> ElfError {
    parse(image).unwrap_err()
}

/// The error in words; they must fit on a line.
fn words(image: &[u8]) -> String {
    let words = refusal(image).to_string();
    assert!(!words.contains('\n'));
    words
}

#[test]
fn a_program_is_its_segments_in_order() {
    let image = program();
    let elf = parse(&image).unwrap();
    assert_eq!(elf.entry, 0x10_0000);
    assert_eq!(
        elf.segments,
        [
            Segment { paddr: 0x10_0000, vaddr: 0x10_0000, bytes: CODE, memory_bytes: 5, header_offset: 120 },
            Segment { paddr: 0x10_2000, vaddr: 0x10_2000, bytes: DATA, memory_bytes: 0x800, header_offset: 64 },
        ]
    );
    let mut written = Vec::new();
    elf.load(HAND_OFF, 2 << 20, &mut |paddr, bytes| written.push((paddr, bytes.to_vec()))).unwrap();
    assert_eq!(written, [(0x10_0000, CODE.to_vec()), (0x10_2000, DATA.to_vec())]);
}

#[test]
fn every_truncation_is_called_one() {
    let image = program();
    for len in 1..image.len() {
        let ElfError::Truncated { end, file_bytes, .. } = refusal(&image[..len]) else {
            panic!("{len} bytes: {}", words(&image[..len]));
        };
        assert_eq!(file_bytes, len as u64);
        assert!(end > file_bytes && end <= image.len() as u64);
    }
}

#[test]
fn every_single_byte_corruption_is_survived() {
    let good = program();
    for offset in 0..good.len() {
        for flip in 1..=255 {
            let mut image = good.clone();
            image[offset] ^= flip;
            match parse(&image) {
                Ok(elf) => {
                    let mut top = 0;
                    let loaded =
                        elf.load(HAND_OFF, 2 << 20, &mut |paddr, bytes| top = top.max(paddr + bytes.len() as u64));
                    assert!(top <= 2 << 20);
                    assert!(loaded.is_ok() || top == 0);
                }
                Err(error) => assert!(!error.to_string().is_empty()),
            }
        }
    }
}

#[test]
fn other_files_are_called_what_they_are() {
    let mut arm64 = vec![0; 0x300];
    arm64[..2].copy_from_slice(b"MZ");
    arm64[0x38..0x3c].copy_from_slice(b"ARM\x64");
    let mut disk = vec![0; 512];
    disk[510..].copy_from_slice(&[0x55, 0xaa]);
    for (image, is) in [
        (&b""[..], "empty"),
        (b"#!/bin/sh\necho", "script"),
        (&arm64, "a Linux kernel for 64-bit ARM"),
        (b"MZ\x90\0", "Windows"),
        (b"\xcf\xfa\xed\xfe\x07", "macOS"),
        (b"\x1f\x8b\x08", "gzip"),
        (&disk, "disk image"),
        (b"int main() { return 0; }\n", "text"),
        (b"\x00\x01\x02", "not an ELF"),
    ] {
        assert!(words(image).contains(is), "{}", words(image));
    }
}

#[test]
fn other_elfs_are_called_what_they_are() {
    for (image, is) in [
        (with(&[(EI_CLASS, &[1]), (E_MACHINE, &[3, 0])]), "a 32-bit ELF for Intel 80386 (byte 4)"),
        (with(&[(EI_DATA, &[2])]), "a big-endian ELF (byte 5)"),
        (with(&[(E_MACHINE, &[183, 0])]), "an ELF for 64-bit Arm (AArch64) (e_machine 183, byte 18)"),
        (with(&[(E_MACHINE, &[0xff, 0xff])]), "an unknown machine (e_machine 65535"),
        (with(&[(E_TYPE, &[1])]), "an object file"),
        (with(&[(E_TYPE, &[4])]), "a core dump"),
        (with(&[(E_TYPE, &[3])]), "a Linux user program: it is position-independent (ET_DYN), byte 16"),
        (with(&[(E_PHENTSIZE, &[32])]), "program headers of 32 bytes"),
        (with(&[(E_PHNUM, &[0])]), "nothing to load"),
        (with(&[(E_ENTRY, &[5])]), "the entry point 0x100005"),
    ] {
        assert!(words(&image).starts_with(is) || words(&image).contains(is), "{}", words(&image));
    }
}

#[test]
fn a_cut_32_bit_elf_is_32_bit_first() {
    assert_eq!(refusal(&with(&[(EI_CLASS, &[1])])[..52]), ElfError::Class { class: 1, machine: 62 });
}

#[test]
fn linux_programs_are_recognised() {
    const ABI_TAG: &[u8] = b"\x04\0\0\0\x05\0\0\0\x05\0\0\0GNU\0prop!\0\0\0\
                             \x04\0\0\0\x10\0\0\0\x01\0\0\0GNU\0\0\0\0\0\x03\0\0\0\x02\0\0\0\0\0\0\0";
    const BUILD_ID: &[u8] = b"\x04\0\0\0\x04\0\0\0\x03\0\0\0GNU\0\x12\x34\x56\x78";
    const GO: &[u8] = b"\x04\0\0\0\x04\0\0\0\x04\0\0\0Go\0\0abcd";
    const WILD: &[u8] = b"\xff\xff\xff\xff\xff\xff\xff\xff\x01\0\0\0GNT\0";
    let code = load(0x10_0000, CODE, 5);
    let other = |kind, content| image(&[code, Header { kind, paddr: 0, content, memory_bytes: 0 }]);
    for (kind, content) in
        [(PT_INTERP, &b"/lib64/ld.so"[..]), (PT_DYNAMIC, b""), (PT_TLS, b""), (PT_NOTE, ABI_TAG), (PT_NOTE, GO)]
    {
        let error = refusal(&other(kind, content));
        assert!(matches!(error, ElfError::UserProgram { offset: 120, .. }), "{error}");
        assert!(error.to_string().contains("-ffreestanding -static -nostdlib"));
    }
    for note in [BUILD_ID, WILD, b"short"] {
        assert!(parse(&other(PT_NOTE, note)).is_ok());
    }
}

#[test]
fn segments_that_cannot_be_are_refused() {
    let code = load(0x10_0000, CODE, 5);
    assert_eq!(refusal(&image(&[code, load(0x10_0004, DATA, 4)])), ElfError::Overlap { offset: 120, paddr: 0x10_0004 });
    assert!(parse(&image(&[code, load(0x10_0005, DATA, 4)])).is_ok());
    assert!(parse(&image(&[code, load(0x10_0000, b"", 0)])).is_ok(), "an empty segment is nothing");
    assert_eq!(refusal(&image(&[load(0x10_0000, CODE, 4)])), ElfError::SegmentSize { offset: 64 });
    assert_eq!(
        refusal(&image(&[code, load(u64::MAX - 3, DATA, 4)])),
        ElfError::SegmentWraps { offset: 120, paddr: u64::MAX - 3 }
    );
}

#[test]
fn a_program_must_fit_between_the_hand_off_area_and_the_end_of_ram() {
    let code = load(0x10_0000, CODE, 5);
    let refused = |other, memory_bytes| {
        let image = image(&[code, other]);
        parse(&image)
            .unwrap()
            .load(HAND_OFF, memory_bytes, &mut |_, _| panic!("wrote in spite of the error"))
            .unwrap_err()
    };
    let ram = 4 << 20;
    assert_eq!(
        refused(load(0x9_efff, DATA, 4), ram),
        ElfError::HandOffArea { offset: 120, paddr: 0x9_efff, end: 0x9_f000 }
    );
    let outside = refused(load(ram - 3, DATA, 4), ram);
    assert_eq!(outside, ElfError::OutsideRam { offset: 120, paddr: ram - 3, end: ram + 1, memory_bytes: ram });
    assert!(outside.to_string().contains("0x3ffffd-0x400000") && outside.to_string().contains("4 MiB"));
    let fits = image(&[code, load(0x9_f000, DATA, 4), load(ram - 4, DATA, 4)]);
    assert!(parse(&fits).unwrap().load(HAND_OFF, ram, &mut |_, _| {}).is_ok());
}
