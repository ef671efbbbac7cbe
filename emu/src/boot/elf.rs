//! ELF files (System V ABI, gABI chapters 4 and 5; `elf(5)`): static ELF64 programs for x86-64, kernels of both classes, and
//! why a file is neither.

use std::ops::Range;

use super::not_elf;

mod error;

pub use error::ElfError;

const MAGIC: &[u8] = b"\x7fELF";

// Offsets in the file header, the same in both classes.
const EI_CLASS: u64 = 4;
const EI_DATA: u64 = 5;
const E_TYPE: u64 = 16;
const E_MACHINE: u64 = 18;
const E_ENTRY: u64 = 24;

const CLASS_32: u8 = 1;
const CLASS_64: u8 = 2;
const DATA_LITTLE_ENDIAN: u8 = 1;
const DATA_BIG_ENDIAN: u8 = 2;
const TYPE_EXECUTABLE: u16 = 2;
const TYPE_SHARED: u16 = 3;
const MACHINE_386: u16 = 3;
const MACHINE_X86_64: u16 = 62;

/// Where a class has its other fields, and how wide its addresses are, in bytes.
struct Class {
    word: u64,
    header: u64,
    e_phoff: u64,
    e_shoff: u64,
    /// `e_phnum`, `e_shentsize`, `e_shnum` follow.
    e_phentsize: u64,
    program_header: u64,
    p_offset: u64,
    /// `p_paddr`, `p_filesz`, `p_memsz` follow.
    p_vaddr: u64,
}

const ELF32: Class = Class {
    word: 4,
    header: 52,
    e_phoff: 28,
    e_shoff: 32,
    e_phentsize: 42,
    program_header: 32,
    p_offset: 4,
    p_vaddr: 8,
};
const ELF64: Class = Class {
    word: 8,
    header: 64,
    e_phoff: 32,
    e_shoff: 40,
    e_phentsize: 54,
    program_header: 56,
    p_offset: 8,
    p_vaddr: 16,
};

const PT_LOAD: u32 = 1;
const PT_DYNAMIC: u32 = 2;
const PT_INTERP: u32 = 3;
const PT_NOTE: u32 = 4;
const PT_TLS: u32 = 7;

/// `NT_GNU_ABI_TAG`, of notes of "GNU".
const ABI_TAG: u32 = 1;
/// `XEN_ELFNOTE_PHYS32_ENTRY`, of notes of "Xen": where a kernel is entered by PVH.
const PHYS32_ENTRY: u32 = 18;

/// A program or kernel, checked: its segments do not overlap and lie in the file, and its entry lies in one of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Elf<'a> {
    /// Where it begins, a physical address.
    pub entry: u64,
    /// Where a kernel is entered by PVH, if it says so: a physical address.
    pub pvh_entry: Option<u64>,
    /// What is to be in memory, by physical address.
    pub segments: Vec<Segment<'a>>,
}

/// A part of the program: `bytes`, then zeros.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment<'a> {
    /// Physical address.
    pub paddr: u64,
    /// Virtual address; equal where memory is identity-mapped.
    pub vaddr: u64,
    /// What the file has of it.
    pub bytes: &'a [u8],
    /// Size in memory, at least that of `bytes`.
    pub memory_bytes: u64,
    /// Where its program header is in the file.
    pub header_offset: u64,
}

impl Segment<'_> {
    /// First physical address above it.
    pub fn end(&self) -> u64 {
        self.paddr + self.memory_bytes
    }
}

/// The image of a file, read with checked offsets.
#[derive(Clone, Copy)]
struct File<'a> {
    image: &'a [u8],
    class: &'static Class,
}

impl<'a> File<'a> {
    fn bytes(self, part: &'static str, offset: u64, len: u64) -> Result<&'a [u8], ElfError> {
        let end = offset.saturating_add(len);
        let range = usize::try_from(offset).ok().zip(usize::try_from(end).ok());
        range.and_then(|(offset, end)| self.image.get(offset..end)).ok_or(ElfError::Truncated {
            part,
            offset,
            end,
            file_bytes: self.image.len() as u64,
        })
    }

    fn array<const N: usize>(self, part: &'static str, offset: u64) -> Result<[u8; N], ElfError> {
        let mut array = [0; N];
        array.copy_from_slice(self.bytes(part, offset, N as u64)?);
        Ok(array)
    }

    fn u16(self, part: &'static str, offset: u64) -> Result<u16, ElfError> {
        self.array(part, offset).map(u16::from_le_bytes)
    }

    fn u32(self, part: &'static str, offset: u64) -> Result<u32, ElfError> {
        self.array(part, offset).map(u32::from_le_bytes)
    }

    /// A number as wide as an address.
    fn word(self, part: &'static str, offset: u64) -> Result<u64, ElfError> {
        if self.class.word == 4 {
            return self.u32(part, offset).map(u64::from);
        }
        self.array(part, offset).map(u64::from_le_bytes)
    }
}

/// Reads and checks a bare-metal program. Whether it fits into a machine is checked by [`Elf::load`].
pub fn parse(image: &[u8]) -> Result<Elf<'_>, ElfError> {
    let (file, machine) = identify(image)?;
    if file.class.word != 8 {
        return Err(ElfError::Class { class: CLASS_32, machine });
    }
    file.bytes("file header", 0, file.class.header)?;
    if machine != MACHINE_X86_64 {
        return Err(ElfError::Machine { machine });
    }
    check_type(file)?;
    let headers = program_headers(file)?;
    check_sections(file)?;
    check_bare_metal(file, &headers)?;
    let entry = file.word("file header", E_ENTRY)?;
    checked(entry, None, segments(file, &headers)?)
}

/// Reads and checks a kernel of either class, to be entered in 32-bit protected mode.
pub fn parse_kernel(image: &[u8]) -> Result<Elf<'_>, ElfError> {
    let (file, machine) = identify(image)?;
    file.bytes("file header", 0, file.class.header)?;
    if machine != MACHINE_X86_64 && machine != MACHINE_386 {
        return Err(ElfError::Machine { machine });
    }
    check_type(file)?;
    let headers = program_headers(file)?;
    check_sections(file)?;
    let segments = segments(file, &headers)?;
    // Kernels that run elsewhere than they are loaded often name the address where they run.
    let entry = file.word("file header", E_ENTRY)?;
    let holds =
        |segment: &&Segment<'_>| (segment.vaddr..segment.vaddr.saturating_add(segment.memory_bytes)).contains(&entry);
    let entry = segments.iter().find(holds).map_or(entry, |segment| entry - segment.vaddr + segment.paddr);
    checked(entry, pvh_entry(file, &headers)?, segments)
}

impl Elf<'_> {
    /// Puts the program into RAM of `memory_bytes` bytes, all zero, which begins at physical address 0: calls
    /// `write(paddr, bytes)`. It must not touch what is `reserved`. Writes nothing when it returns an error.
    pub fn load(
        &self,
        reserved: &[Range<u64>],
        memory_bytes: u64,
        write: &mut dyn FnMut(u64, &[u8]),
    ) -> Result<(), ElfError> {
        for segment in &self.segments {
            let (offset, paddr, end) = (segment.header_offset, segment.paddr, segment.end());
            if let Some(reserved) = reserved.iter().find(|reserved| paddr < reserved.end && end > reserved.start) {
                return Err(ElfError::HandOffArea { offset, paddr, end: reserved.end });
            }
            if end > memory_bytes {
                return Err(ElfError::OutsideRam { offset, paddr, end, memory_bytes });
            }
        }
        for segment in &self.segments {
            write(segment.paddr, segment.bytes);
        }
        Ok(())
    }

    /// First physical address above all of it.
    pub fn end(&self) -> u64 {
        self.segments.iter().map(Segment::end).max().unwrap_or(0)
    }
}

/// The file with its class, and the machine that it is for.
fn identify(image: &[u8]) -> Result<(File<'_>, u16), ElfError> {
    let magic = &image[..image.len().min(MAGIC.len())];
    if magic.is_empty() || !MAGIC.starts_with(magic) {
        let (is, advice) = not_elf::describe(image);
        return Err(ElfError::NotElf { is, advice });
    }
    let file = File { image, class: &ELF64 };
    let [class, data] = file.array("file header", EI_CLASS)?;
    if data != DATA_LITTLE_ENDIAN {
        return Err(ElfError::ByteOrder { data });
    }
    let machine = file.u16("file header", E_MACHINE)?;
    match class {
        CLASS_64 => Ok((file, machine)),
        CLASS_32 => Ok((File { image, class: &ELF32 }, machine)),
        _ => Err(ElfError::Class { class, machine }),
    }
}

fn check_type(file: File<'_>) -> Result<(), ElfError> {
    match file.u16("file header", E_TYPE)? {
        TYPE_EXECUTABLE => Ok(()),
        TYPE_SHARED => Err(ElfError::UserProgram { sign: "it is position-independent (ET_DYN)", offset: E_TYPE }),
        kind => Err(ElfError::Type { kind }),
    }
}

/// (type, offset in the file) of every program header.
fn program_headers(file: File<'_>) -> Result<Vec<(u32, u64)>, ElfError> {
    let (at, expected) = (file.class.e_phentsize, file.class.program_header);
    let table = file.word("file header", file.class.e_phoff)?;
    let bytes = file.u16("file header", at)?;
    let count = u64::from(file.u16("file header", at + 2)?);
    if count > 0 && u64::from(bytes) != expected {
        return Err(ElfError::ProgramHeaderSize { bytes, expected, offset: at });
    }
    file.bytes("program header table", table, count * expected)?;
    (0..count)
        .map(|index| table + index * expected)
        .map(|offset| Ok((file.u32("program header", offset)?, offset)))
        .collect()
}

/// Sections are not used, but their table is what linkers write last: a file that lacks it has been cut.
fn check_sections(file: File<'_>) -> Result<(), ElfError> {
    let table = file.word("file header", file.class.e_shoff)?;
    let bytes = u64::from(file.u16("file header", file.class.e_phentsize + 4)?);
    let count = u64::from(file.u16("file header", file.class.e_phentsize + 6)?);
    if table != 0 {
        file.bytes("section header table", table, count * bytes)?;
    }
    Ok(())
}

/// A static Linux program would load and then crash at its first system call; better to say what it is.
fn check_bare_metal(file: File<'_>, headers: &[(u32, u64)]) -> Result<(), ElfError> {
    for &(kind, offset) in headers {
        let sign = match kind {
            PT_INTERP => "it asks for a dynamic loader (PT_INTERP)",
            PT_DYNAMIC => "it is dynamically linked (PT_DYNAMIC)",
            PT_TLS => "it has thread-local storage (PT_TLS)",
            PT_NOTE => {
                let has =
                    |wanted: fn(&Note<'_>) -> bool| Ok(notes(note_bytes(file, offset)?).any(|note| wanted(&note)));
                if has(|note| note.name == b"Linux\0" || note.name == b"Xen\0")? {
                    return Err(ElfError::NoPvh { offset });
                }
                // As crt1.o has it, or Go.
                if !has(|note| note.name == b"Go\0\0" || note.name == b"GNU\0" && note.kind == ABI_TAG)? {
                    continue;
                }
                "a note names its operating system (PT_NOTE)"
            }
            _ => continue,
        };
        return Err(ElfError::UserProgram { sign, offset });
    }
    Ok(())
}

/// Where a kernel wants to be entered by PVH.
fn pvh_entry(file: File<'_>, headers: &[(u32, u64)]) -> Result<Option<u64>, ElfError> {
    for &(_, offset) in headers.iter().filter(|(kind, _)| *kind == PT_NOTE) {
        let mut found =
            notes(note_bytes(file, offset)?).filter(|note| note.name == b"Xen\0" && note.kind == PHYS32_ENTRY);
        // Linux has a descriptor of 8 bytes, others have 4.
        if let Some((low, high)) = found.next().and_then(|note| note.descriptor.split_first_chunk::<4>()) {
            let high = high.first_chunk::<4>().map_or(0, |high| u32::from_le_bytes(*high));
            return Ok(Some(u64::from(u32::from_le_bytes(*low)) | u64::from(high) << 32));
        }
    }
    Ok(None)
}

fn note_bytes(file: File<'_>, header: u64) -> Result<&[u8], ElfError> {
    let (offset, bytes) = (header + file.class.p_offset, header + file.class.p_vaddr + 2 * file.class.word);
    file.bytes("note", file.word("program header", offset)?, file.word("program header", bytes)?)
}

struct Note<'a> {
    kind: u32,
    /// With its NUL, and padded as it is in the file to 4 bytes.
    name: &'a [u8],
    descriptor: &'a [u8],
}

/// Notes: sizes of name and descriptor, type, name and descriptor padded to 4 bytes.
fn notes(mut bytes: &[u8]) -> impl Iterator<Item = Note<'_>> {
    std::iter::from_fn(move || {
        let (header, rest) = bytes.split_first_chunk::<12>()?;
        let word = |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
        let padded = |bytes: u32| (bytes as usize).checked_next_multiple_of(4).unwrap_or(usize::MAX);
        let (name, rest) = rest.split_at(padded(word(0)).min(rest.len()));
        let (descriptor, rest) = rest.split_at(padded(word(4)).min(rest.len()));
        bytes = rest;
        Some(Note { kind: word(8), name, descriptor })
    })
}

fn segments<'a>(file: File<'a>, headers: &[(u32, u64)]) -> Result<Vec<Segment<'a>>, ElfError> {
    let mut segments = Vec::new();
    for &(_, offset) in headers.iter().filter(|(kind, _)| *kind == PT_LOAD) {
        segments.extend(segment(file, offset)?);
    }
    segments.sort_by_key(|segment| segment.paddr);
    Ok(segments)
}

/// Reads the PT_LOAD at `header`. An empty one is nothing.
fn segment(file: File<'_>, header: u64) -> Result<Option<Segment<'_>>, ElfError> {
    let field = |at| file.word("program header", header + at);
    let [vaddr, paddr, file_bytes, memory_bytes] =
        [0, 1, 2, 3].map(|n| field(file.class.p_vaddr + n * file.class.word));
    let (vaddr, paddr, file_bytes, memory_bytes) = (vaddr?, paddr?, file_bytes?, memory_bytes?);
    if file_bytes > memory_bytes {
        return Err(ElfError::SegmentSize { offset: header });
    }
    if memory_bytes == 0 {
        return Ok(None);
    }
    if paddr.checked_add(memory_bytes).is_none() {
        return Err(ElfError::SegmentWraps { offset: header, paddr });
    }
    let bytes = file.bytes("segment", field(file.class.p_offset)?, file_bytes)?;
    Ok(Some(Segment { paddr, vaddr, bytes, memory_bytes, header_offset: header }))
}

/// All of it together: segments do not overlap, entries lie in them.
fn checked<'a>(entry: u64, pvh_entry: Option<u64>, segments: Vec<Segment<'a>>) -> Result<Elf<'a>, ElfError> {
    if segments.is_empty() {
        return Err(ElfError::NoSegments);
    }
    for pair in segments.windows(2) {
        if pair[1].paddr < pair[0].end() {
            return Err(ElfError::Overlap { offset: pair[1].header_offset, paddr: pair[1].paddr });
        }
    }
    let is_inside = |entry: u64| segments.iter().any(|segment| (segment.paddr..segment.end()).contains(&entry));
    for entry in [Some(entry), pvh_entry].into_iter().flatten() {
        if !is_inside(entry) {
            return Err(ElfError::Entry { entry });
        }
    }
    Ok(Elf { entry, pvh_entry, segments })
}

#[cfg(test)]
mod tests;
