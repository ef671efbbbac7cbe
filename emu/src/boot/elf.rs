//! Static ELF64 programs for x86-64 (System V ABI, gABI chapters 4 and 5; `elf(5)`), and why a file is not one.

use std::fmt;

use super::{hand_off, not_elf};

const MAGIC: &[u8] = b"\x7fELF";
const HEADER_BYTES: u64 = 64;
const PROGRAM_HEADER_BYTES: u64 = 56;

// Offsets in the file header.
const EI_CLASS: u64 = 4;
const EI_DATA: u64 = 5;
const E_TYPE: u64 = 16;
const E_MACHINE: u64 = 18;
const E_ENTRY: u64 = 24;
const E_PHOFF: u64 = 32;
const E_SHOFF: u64 = 40;
const E_PHENTSIZE: u64 = 54;
const E_PHNUM: u64 = 56;
const E_SHENTSIZE: u64 = 58;
const E_SHNUM: u64 = 60;

const CLASS_64: u8 = 2;
const DATA_LITTLE_ENDIAN: u8 = 1;
const DATA_BIG_ENDIAN: u8 = 2;
const TYPE_EXECUTABLE: u16 = 2;
const TYPE_SHARED: u16 = 3;
const MACHINE_X86_64: u16 = 62;

// Offsets in a program header.
const P_OFFSET: u64 = 8;
const P_PADDR: u64 = 24;
const P_FILESZ: u64 = 32;
const P_MEMSZ: u64 = 40;

const PT_LOAD: u32 = 1;
const PT_DYNAMIC: u32 = 2;
const PT_INTERP: u32 = 3;
const PT_NOTE: u32 = 4;
const PT_TLS: u32 = 7;

/// A program, checked: its segments do not overlap and lie in the file, and its entry lies in one of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Elf<'a> {
    /// Where it begins, a physical address (memory is identity-mapped).
    pub entry: u64,
    /// What is to be in memory, by physical address.
    pub segments: Vec<Segment<'a>>,
}

/// A part of the program: `bytes`, then zeros.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment<'a> {
    /// Physical address.
    pub paddr: u64,
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

/// Why an image cannot be run. `Display` is one line: what it is, at which byte that shows, what to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ElfError {
    /// Something else entirely.
    NotElf {
        /// What it looks like.
        is: &'static str,
        /// What to do.
        advice: &'static str,
    },
    /// The file ends too early.
    Truncated {
        /// What is cut.
        part: &'static str,
        /// Where that begins.
        offset: u64,
        /// Where it ends, at most `u64::MAX`.
        end: u64,
        /// Size of the file.
        file_bytes: u64,
    },
    /// Not the 64-bit class.
    Class {
        /// EI_CLASS.
        class: u8,
        /// `e_machine`, if the file goes that far.
        machine: u16,
    },
    /// Not little-endian.
    ByteOrder {
        /// EI_DATA.
        data: u8,
    },
    /// For another machine.
    Machine {
        /// `e_machine`.
        machine: u16,
    },
    /// Not an executable: an object file, a core dump.
    Type {
        /// `e_type`.
        kind: u16,
    },
    /// A program that needs an operating system.
    UserProgram {
        /// How that shows.
        sign: &'static str,
        /// At which byte of the file.
        offset: u64,
    },
    /// Program headers of another size than 56 bytes.
    ProgramHeaderSize {
        /// `e_phentsize`.
        bytes: u16,
    },
    /// Nothing to load.
    NoSegments,
    /// A segment is larger in the file than in memory.
    SegmentSize {
        /// Where its program header is.
        offset: u64,
    },
    /// A segment does not fit into the address space.
    SegmentWraps {
        /// Where its program header is.
        offset: u64,
        /// Its physical address.
        paddr: u64,
    },
    /// Two segments want the same memory.
    Overlap {
        /// Where the program header of the second one is.
        offset: u64,
        /// The first physical address that both want.
        paddr: u64,
    },
    /// A segment lies where the page tables, the boot information or the stack are.
    HandOffArea {
        /// Where its program header is.
        offset: u64,
        /// Its physical address.
        paddr: u64,
    },
    /// A segment does not fit into RAM.
    OutsideRam {
        /// Where its program header is.
        offset: u64,
        /// Its physical address.
        paddr: u64,
        /// First physical address above it.
        end: u64,
        /// Size of RAM.
        memory_bytes: u64,
    },
    /// The entry is in no segment.
    Entry {
        /// `e_entry`.
        entry: u64,
    },
    /// The command line does not fit into the boot information.
    CommandLine {
        /// Its length.
        bytes: usize,
    },
}

/// The image of a file, read with checked offsets.
#[derive(Clone, Copy)]
struct File<'a>(&'a [u8]);

impl<'a> File<'a> {
    fn bytes(self, part: &'static str, offset: u64, len: u64) -> Result<&'a [u8], ElfError> {
        let end = offset.saturating_add(len);
        let range = usize::try_from(offset).ok().zip(usize::try_from(end).ok());
        range.and_then(|(offset, end)| self.0.get(offset..end)).ok_or(ElfError::Truncated {
            part,
            offset,
            end,
            file_bytes: self.0.len() as u64,
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

    fn u64(self, part: &'static str, offset: u64) -> Result<u64, ElfError> {
        self.array(part, offset).map(u64::from_le_bytes)
    }
}

/// Reads and checks an image. Whether it fits into a machine is checked by [`Elf::load`].
pub fn parse(image: &[u8]) -> Result<Elf<'_>, ElfError> {
    let file = File(image);
    check_identity(file)?;
    let headers = program_headers(file)?;
    check_sections(file)?;
    check_bare_metal(file, &headers)?;

    let mut segments = Vec::new();
    for &(kind, offset) in &headers {
        if kind == PT_LOAD {
            segments.extend(segment(file, offset)?);
        }
    }
    if segments.is_empty() {
        return Err(ElfError::NoSegments);
    }
    segments.sort_by_key(|segment| segment.paddr);
    for pair in segments.windows(2) {
        if pair[1].paddr < pair[0].end() {
            return Err(ElfError::Overlap { offset: pair[1].header_offset, paddr: pair[1].paddr });
        }
    }
    let entry = file.u64("file header", E_ENTRY)?;
    if !segments.iter().any(|segment| (segment.paddr..segment.end()).contains(&entry)) {
        return Err(ElfError::Entry { entry });
    }
    Ok(Elf { entry, segments })
}

impl Elf<'_> {
    /// Puts the program into RAM of `memory_bytes` bytes, all zero, which begins at physical address 0: calls
    /// `write(paddr, bytes)`. Writes nothing when it returns an error.
    pub fn load(&self, memory_bytes: u64, write: &mut dyn FnMut(u64, &[u8])) -> Result<(), ElfError> {
        for segment in &self.segments {
            let (offset, paddr, end) = (segment.header_offset, segment.paddr, segment.end());
            if paddr < hand_off::STACK_TOP {
                return Err(ElfError::HandOffArea { offset, paddr });
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
}

/// The file header says: 64-bit, little-endian, x86-64, executable.
fn check_identity(file: File<'_>) -> Result<(), ElfError> {
    let magic = &file.0[..file.0.len().min(MAGIC.len())];
    if magic.is_empty() || !MAGIC.starts_with(magic) {
        let (is, advice) = not_elf::describe(file.0);
        return Err(ElfError::NotElf { is, advice });
    }
    let [class, data] = file.array("file header", EI_CLASS)?;
    if data != DATA_LITTLE_ENDIAN {
        return Err(ElfError::ByteOrder { data });
    }
    let machine = file.u16("file header", E_MACHINE)?;
    if class != CLASS_64 {
        return Err(ElfError::Class { class, machine });
    }
    file.bytes("file header", 0, HEADER_BYTES)?;
    if machine != MACHINE_X86_64 {
        return Err(ElfError::Machine { machine });
    }
    match file.u16("file header", E_TYPE)? {
        TYPE_EXECUTABLE => Ok(()),
        TYPE_SHARED => Err(ElfError::UserProgram { sign: "it is position-independent (ET_DYN)", offset: E_TYPE }),
        kind => Err(ElfError::Type { kind }),
    }
}

/// (type, offset in the file) of every program header.
fn program_headers(file: File<'_>) -> Result<Vec<(u32, u64)>, ElfError> {
    let table = file.u64("file header", E_PHOFF)?;
    let count = u64::from(file.u16("file header", E_PHNUM)?);
    let bytes = file.u16("file header", E_PHENTSIZE)?;
    if count > 0 && u64::from(bytes) != PROGRAM_HEADER_BYTES {
        return Err(ElfError::ProgramHeaderSize { bytes });
    }
    file.bytes("program header table", table, count * PROGRAM_HEADER_BYTES)?;
    (0..count)
        .map(|index| table + index * PROGRAM_HEADER_BYTES)
        .map(|offset| Ok((file.u32("program header", offset)?, offset)))
        .collect()
}

/// Sections are not used, but their table is what linkers write last: a file that lacks it has been cut.
fn check_sections(file: File<'_>) -> Result<(), ElfError> {
    let table = file.u64("file header", E_SHOFF)?;
    let count = u64::from(file.u16("file header", E_SHNUM)?);
    let bytes = u64::from(file.u16("file header", E_SHENTSIZE)?);
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
            PT_NOTE if has_system_note(note_bytes(file, offset)?) => "a note names its operating system (PT_NOTE)",
            _ => continue,
        };
        return Err(ElfError::UserProgram { sign, offset });
    }
    Ok(())
}

fn note_bytes(file: File<'_>, header: u64) -> Result<&[u8], ElfError> {
    let offset = file.u64("program header", header + P_OFFSET)?;
    file.bytes("note", offset, file.u64("program header", header + P_FILESZ)?)
}

/// Whether notes hold a GNU ABI tag (type 1, as crt1.o has it) or a Go build id: sizes of name and descriptor, type, name
/// and descriptor padded to 4 bytes.
fn has_system_note(mut notes: &[u8]) -> bool {
    const ABI_TAG: u32 = 1;
    while let Some((header, rest)) = notes.split_first_chunk::<12>() {
        let word = |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
        let padded = |bytes: u32| (bytes as usize).checked_next_multiple_of(4).unwrap_or(usize::MAX);
        if rest.starts_with(b"Go\0") || rest.starts_with(b"GNU\0") && word(8) == ABI_TAG {
            return true;
        }
        let skip = padded(word(0)).saturating_add(padded(word(4)));
        notes = rest.get(skip..).unwrap_or(&[]);
    }
    false
}

/// Reads the PT_LOAD at `header`. An empty one is nothing.
fn segment(file: File<'_>, header: u64) -> Result<Option<Segment<'_>>, ElfError> {
    let field = |at| file.u64("program header", header + at);
    let (file_bytes, memory_bytes, paddr) = (field(P_FILESZ)?, field(P_MEMSZ)?, field(P_PADDR)?);
    if file_bytes > memory_bytes {
        return Err(ElfError::SegmentSize { offset: header });
    }
    if memory_bytes == 0 {
        return Ok(None);
    }
    if paddr.checked_add(memory_bytes).is_none() {
        return Err(ElfError::SegmentWraps { offset: header, paddr });
    }
    let bytes = file.bytes("segment", field(P_OFFSET)?, file_bytes)?;
    Ok(Some(Segment { paddr, bytes, memory_bytes, header_offset: header }))
}

fn machine_name(machine: u16) -> &'static str {
    match machine {
        2 => "SPARC",
        3 => "Intel 80386",
        8 => "MIPS",
        20 => "PowerPC",
        21 => "64-bit PowerPC",
        22 => "IBM S/390",
        40 => "32-bit Arm",
        43 => "64-bit SPARC",
        50 => "Itanium",
        MACHINE_X86_64 => "x86-64",
        183 => "64-bit Arm (AArch64)",
        243 => "RISC-V",
        247 => "BPF",
        258 => "LoongArch",
        _ => "an unknown machine",
    }
}

impl fmt::Display for ElfError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const LINK: &str = "link with -ffreestanding -static -nostdlib -no-pie, see CONTRIBUTING.md";
        const BUILD: &str = "build it for 64-bit x86 (x86-64)";
        const CORRUPT: &str = "the file is damaged or its linker is broken: build it again";
        match *self {
            Self::NotElf { is, advice } => write!(f, "the file is {is} (byte 0): {advice}"),
            Self::Truncated { part, offset, end, file_bytes } => write!(
                f,
                "truncated ELF: its {part} at byte {offset} ends at byte {end}, the file at byte {file_bytes}: \
                 copy or build it again"
            ),
            Self::Class { class: 1, machine } => {
                write!(f, "a 32-bit ELF for {} (byte {EI_CLASS}): {BUILD}", machine_name(machine))
            }
            Self::Class { class, .. } => write!(f, "an ELF of unknown class {class} (byte {EI_CLASS}): {BUILD}"),
            Self::ByteOrder { data: DATA_BIG_ENDIAN } => write!(f, "a big-endian ELF (byte {EI_DATA}): {BUILD}"),
            Self::ByteOrder { data } => write!(f, "an ELF of unknown byte order {data} (byte {EI_DATA}): {CORRUPT}"),
            Self::Machine { machine } => {
                write!(f, "an ELF for {} (e_machine {machine}, byte {E_MACHINE}): {BUILD}", machine_name(machine))
            }
            Self::Type { kind: 1 } => {
                write!(f, "an object file (e_type 1, byte {E_TYPE}): link it, see CONTRIBUTING.md")
            }
            Self::Type { kind: 4 } => write!(f, "a core dump (e_type 4, byte {E_TYPE}): give the program itself"),
            Self::Type { kind } => write!(f, "not an executable (e_type {kind}, byte {E_TYPE}): {LINK}"),
            Self::UserProgram { sign, offset } => write!(
                f,
                "a Linux user program: {sign}, byte {offset}; ftemu runs bare-metal ELFs: `ftemu wrap` makes one of a \
                 static program; or {LINK}"
            ),
            Self::ProgramHeaderSize { bytes } => {
                write!(f, "program headers of {bytes} bytes instead of 56 (byte {E_PHENTSIZE}): {CORRUPT}")
            }
            Self::NoSegments => write!(f, "nothing to load: no PT_LOAD segment (e_phnum, byte {E_PHNUM}): {LINK}"),
            Self::SegmentSize { offset } => {
                write!(f, "a segment larger in the file than in memory (program header at byte {offset}): {CORRUPT}")
            }
            Self::SegmentWraps { offset, paddr } => write!(
                f,
                "a segment at {paddr:#x} that exceeds the address space (program header at byte {offset}): {CORRUPT}"
            ),
            Self::Overlap { offset, paddr } => write!(
                f,
                "two segments overlap at physical address {paddr:#x} (program header at byte {offset}): \
                 separate them in the linker script"
            ),
            Self::HandOffArea { offset, paddr } => write!(
                f,
                "a segment at physical address {paddr:#x} (program header at byte {offset}), where page tables, boot \
                 information and stack are: link at 0x100000 or above, never below {:#x}",
                hand_off::STACK_TOP
            ),
            Self::OutsideRam { offset, paddr, end, memory_bytes } => write!(
                f,
                "a segment at physical addresses {paddr:#x}-{:#x} (program header at byte {offset}) outside of the {} MiB \
                 of guest memory: give the guest more memory or link lower",
                end - 1,
                memory_bytes >> 20
            ),
            Self::Entry { entry } => write!(
                f,
                "the entry point {entry:#x} (e_entry, byte {E_ENTRY}) is in no segment by physical address: \
                 name an entry with -e or ENTRY() and link where the program runs"
            ),
            Self::CommandLine { bytes } => write!(
                f,
                "a command line of {bytes} bytes: at most {} fit, shorten it",
                hand_off::COMMAND_LINE_BYTES_MAX
            ),
        }
    }
}

impl std::error::Error for ElfError {}

#[cfg(test)]
mod tests;
