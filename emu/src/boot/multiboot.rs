//! Kernels that are entered by Multiboot (the Multiboot Specification, version 0.6.96): ELF files, or any file whose header
//! has the addresses. 32-bit protected mode; EAX is a magic number, EBX points to the information.

use std::fmt;

use super::elf::{self, Elf, Segment};
use super::memory_map::{HIGH_MEMORY, LOW_MEMORY_END, memory_map};
use super::protected::{Entry, TOLD, Told, write_told};
use super::{Boot, BootError, PAGE};

const HEADER_MAGIC: u32 = 0x1bad_b002;
/// The header is in so many bytes from the beginning of the file (3.1).
const SEARCHED_BYTES: usize = 8192;
const LOADER_MAGIC: u32 = 0x2bad_b002;
const LOADER_NAME: &str = concat!("ftemu ", env!("CARGO_PKG_VERSION"));

/// Of the header's flags (3.1.2), what a kernel may demand: aligned modules, a memory map, and a video mode, which it does not
/// get: as other loaders that have no screen do, we leave it to the kernel to see that there is none.
const FLAGS_KNOWN: u32 = 0x7;
const FLAGS_DEMANDS: u32 = 0xffff;
const FLAG_ADDRESSES: u32 = 1 << 16;

// Offsets in the information (3.3), and the bits of its flags for what is there.
const MEM_LOWER: usize = 4;
const MEM_UPPER: usize = 8;
const CMDLINE: usize = 16;
const MODS_COUNT: usize = 20;
const MODS_ADDR: usize = 24;
const MMAP_LENGTH: usize = 44;
const MMAP_ADDR: usize = 48;
const BOOT_LOADER_NAME: usize = 64;
const INFORMATION_BYTES: usize = 116;
const HAS_MEM: u32 = 1 << 0;
const HAS_CMDLINE: u32 = 1 << 2;
const HAS_MODS: u32 = 1 << 3;
const HAS_MMAP: u32 = 1 << 6;
const HAS_LOADER_NAME: u32 = 1 << 9;
/// Bytes of an entry of the memory map behind its size.
const MMAP_ENTRY_BYTES: u32 = 20;

/// What is wrong with a Multiboot header. `Display` is one line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MultibootError {
    /// There is none.
    NoHeader,
    /// It demands what is not there.
    Flags {
        /// Where it is.
        offset: u64,
        /// The flags that are not known.
        unknown: u32,
    },
    /// Its addresses contradict each other or the file.
    Addresses {
        /// Where it is.
        offset: u64,
        /// What is wrong.
        reason: &'static str,
    },
}

impl fmt::Display for MultibootError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoHeader => write!(f, "no Multiboot header in the first {SEARCHED_BYTES} bytes"),
            Self::Flags { offset, unknown } => {
                write!(f, "the Multiboot header at offset {offset:#x} demands what is not there: flags {unknown:#x}")
            }
            Self::Addresses { offset, reason } => {
                write!(f, "the addresses of the Multiboot header at offset {offset:#x} cannot be: {reason}")
            }
        }
    }
}

impl std::error::Error for MultibootError {}

/// A header: where it is, and its words from the flags on, as far as the file goes.
struct Header {
    offset: usize,
    flags: u32,
}

/// The first header of `image`: magic number, flags and checksum at a multiple of 4.
fn find(image: &[u8]) -> Option<Header> {
    let searched = &image[..image.len().min(SEARCHED_BYTES)];
    (0..searched.len()).step_by(4).find_map(|offset| {
        let [magic, flags, checksum] = [0, 4, 8].map(|at| word(searched, offset + at));
        let (magic, flags, checksum) = (magic?, flags?, checksum?);
        let valid = magic == HEADER_MAGIC && magic.wrapping_add(flags).wrapping_add(checksum) == 0;
        valid.then_some(Header { offset, flags })
    })
}

fn word(image: &[u8], at: usize) -> Option<u32> {
    image.get(at..)?.first_chunk::<4>().map(|bytes| u32::from_le_bytes(*bytes))
}

/// Whether `image` has a header.
pub(super) fn is_kernel(image: &[u8]) -> bool {
    find(image).is_some()
}

/// Puts a kernel, its modules and the information into RAM of `memory_bytes` bytes, all zero. Writes nothing when it returns
/// an error.
pub(super) fn load(boot: &Boot<'_>, memory_bytes: u64, write: &mut dyn FnMut(u64, &[u8])) -> Result<Entry, BootError> {
    let header = find(boot.image).ok_or(MultibootError::NoHeader)?;
    let offset = header.offset as u64;
    let unknown = header.flags & FLAGS_DEMANDS & !FLAGS_KNOWN;
    if unknown != 0 {
        return Err(MultibootError::Flags { offset, unknown }.into());
    }
    let kernel = match header.flags & FLAG_ADDRESSES {
        0 => elf::parse_kernel(boot.image)?,
        _ => by_addresses(boot.image, &header).map_err(|reason| MultibootError::Addresses { offset, reason })?,
    };
    let eip = u32::try_from(kernel.entry).map_err(|_| super::ElfError::Entry { entry: kernel.entry })?;
    let places = place_modules(boot, kernel.end(), memory_bytes)?;
    let told = information(boot, &places, memory_bytes);
    if !told.fits() {
        return Err(BootError::CommandLine { bytes: (told.end() - TOLD) as usize });
    }
    kernel.load(&told.reserved(), memory_bytes, write)?;
    write_told(&told, write);
    for (at, module) in places.iter().zip(boot.modules) {
        write(*at, module.bytes);
    }
    Ok(Entry { eip, eax: LOADER_MAGIC, ebx: TOLD as u32 })
}

/// The kernel as the address fields of its header have it (3.1.3); otherwise what is wrong with them.
fn by_addresses<'a>(image: &'a [u8], header: &Header) -> Result<Elf<'a>, &'static str> {
    let field =
        |number: usize| word(image, header.offset + 12 + 4 * number).map(u64::from).ok_or("the file ends there");
    let [header_at, load, load_end, bss_end, entry] = [field(0)?, field(1)?, field(2)?, field(3)?, field(4)?];
    let before = header_at.checked_sub(load).ok_or("header_addr is below load_addr")?;
    let begin = header.offset.checked_sub(before as usize).ok_or("load_addr is before the file begins")?;
    // Zero: all of the file; no bss.
    let bytes = match load_end {
        0 => &image[begin..],
        _ => {
            let length = load_end.checked_sub(load).ok_or("load_end_addr is below load_addr")?;
            image.get(begin..begin + length as usize).ok_or("load_end_addr is beyond the end of the file")?
        }
    };
    let memory_bytes = match bss_end {
        0 => bytes.len() as u64,
        _ => bss_end.checked_sub(load).ok_or("bss_end_addr is below load_addr")?,
    };
    if memory_bytes < bytes.len() as u64 {
        return Err("bss_end_addr is below load_end_addr");
    }
    if !(load..load + memory_bytes).contains(&entry) {
        return Err("entry_addr is outside of what is loaded");
    }
    let segment = Segment { paddr: load, vaddr: load, bytes, memory_bytes, header_offset: header.offset as u64 };
    Ok(Elf { entry, pvh_entry: None, segments: vec![segment] })
}

/// Where modules go: above the kernel, one behind the other, each on a page of its own.
fn place_modules(boot: &Boot<'_>, kernel_end: u64, memory_bytes: u64) -> Result<Vec<u64>, BootError> {
    let mut at = kernel_end.max(HIGH_MEMORY);
    let mut places = Vec::new();
    for module in boot.modules {
        at = at.checked_next_multiple_of(PAGE).unwrap_or(u64::MAX);
        places.push(at);
        at = at.saturating_add(module.bytes.len() as u64);
    }
    if places.is_empty() || at <= memory_bytes {
        return Ok(places);
    }
    Err(BootError::Memory { needed: at, memory_bytes })
}

fn information(boot: &Boot<'_>, places: &[u64], memory_bytes: u64) -> Told {
    let mut told = Told::new(INFORMATION_BYTES);
    let command_line = told.push_string(boot.command_line);
    let name = told.push_string(LOADER_NAME);
    let mut modules = Vec::new();
    for (at, module) in places.iter().zip(boot.modules) {
        let string = told.push_string(module.command_line);
        let fields = [*at, at + module.bytes.len() as u64, string, 0];
        modules.extend(fields.into_iter().flat_map(|field| (field as u32).to_le_bytes()));
    }
    let modules = told.push(&modules);
    let entry = |range: &super::memory_map::Range| [&MMAP_ENTRY_BYTES.to_le_bytes()[..], &range.e820()].concat();
    let map: Vec<u8> = memory_map(memory_bytes).iter().flat_map(entry).collect();
    let map_at = told.push(&map);
    let mut put = |at: usize, value: u64| told.put(at, &(value as u32).to_le_bytes());
    put(0, u64::from(HAS_MEM | HAS_CMDLINE | HAS_MODS | HAS_MMAP | HAS_LOADER_NAME));
    put(MEM_LOWER, LOW_MEMORY_END >> 10);
    put(MEM_UPPER, (memory_bytes - HIGH_MEMORY) >> 10);
    put(CMDLINE, command_line);
    put(MODS_COUNT, boot.modules.len() as u64);
    put(MODS_ADDR, modules);
    put(MMAP_LENGTH, map.len() as u64);
    put(MMAP_ADDR, map_at);
    put(BOOT_LOADER_NAME, name);
    told
}

#[cfg(test)]
mod tests;
