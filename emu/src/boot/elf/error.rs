//! What is wrong with an ELF file.

use std::fmt;

use super::{DATA_BIG_ENDIAN, E_ENTRY, E_MACHINE, E_TYPE, EI_CLASS, EI_DATA, MACHINE_X86_64};
use crate::boot::hand_off;

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
    /// Program headers of another size than those of the class.
    ProgramHeaderSize {
        /// `e_phentsize`.
        bytes: u16,
        /// What it should be.
        expected: u64,
        /// Where it is.
        offset: u64,
    },
    /// A kernel of Linux or Xen that has no PVH entry.
    NoPvh {
        /// Where the program header of its notes is.
        offset: u64,
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
        /// First physical address above that area.
        end: u64,
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
            Self::ProgramHeaderSize { bytes, expected, offset } => {
                write!(f, "program headers of {bytes} bytes instead of {expected} (byte {offset}): {CORRUPT}")
            }
            Self::NoPvh { offset } => write!(
                f,
                "a kernel without a PVH entry (CONFIG_PVH; no such note, program header at byte {offset}): give its bzImage"
            ),
            Self::NoSegments => write!(f, "nothing to load: no PT_LOAD segment: {LINK}"),
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
            Self::HandOffArea { offset, paddr, end } => write!(
                f,
                "a segment at physical address {paddr:#x} (program header at byte {offset}), where page tables, boot \
                 information and stack are: link at 0x100000 or above, never below {end:#x}"
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
