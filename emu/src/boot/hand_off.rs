//! What a bare ELF finds when it is entered (ARCHITECTURE.md, "Bare ELF hand-off"): page tables, descriptors, boot
//! information and the values of the registers.

use std::ops::Range;

use super::ElfError;

/// Page tables: one PML4, one PDPT, four page directories.
pub const PML4: u64 = 0x1000;
const PDPT: u64 = 0x2000;
const DIRECTORIES: u64 = 0x3000;
/// Descriptor table.
pub const GDT: u64 = 0x7000;
/// Boot information.
pub const BOOT_INFO: u64 = 0x8000;
/// Size of the boot information in bytes.
pub const BOOT_INFO_BYTES: u32 = 64;
/// Command line, NUL-terminated.
pub const COMMAND_LINE: u64 = 0x8100;
/// Longest command line in bytes, without its NUL.
pub const COMMAND_LINE_BYTES_MAX: usize = 0xeff;
/// Lowest byte of the stack.
pub const STACK_BOTTOM: u64 = 0x9000;
/// First byte above the stack, and above all that the hand-off needs.
pub const STACK_TOP: u64 = 0x9f000;
/// Where nothing may be loaded.
pub const RESERVED: Range<u64> = 0..STACK_TOP;

/// Limit of the descriptor table: five descriptors and room for that of a TSS at [`TSS`].
pub const GDT_LIMIT: u16 = 0x37;
/// Selector of the 64-bit code segment, DPL 0.
pub const CODE: u16 = 0x08;
/// Selector of the data segment, DPL 0.
pub const DATA: u16 = 0x10;
/// Selector (with RPL 3) of the data segment, DPL 3. SYSRET finds it and [`USER_CODE`] when STAR(63:48) is 0x10.
pub const USER_DATA: u16 = 0x1b;
/// Selector (with RPL 3) of the 64-bit code segment, DPL 3.
pub const USER_CODE: u16 = 0x23;
/// Selector for a TSS, should the program make one.
pub const TSS: u16 = 0x28;

/// 64-bit code, DPL 0: present, accessed, readable, L, G (SDM Vol. 3A, 3.4.5).
pub const CODE_DESCRIPTOR: u64 = 0x00af_9b00_0000_ffff;
/// Flat data, DPL 0: present, accessed, writable, B, G.
pub const DATA_DESCRIPTOR: u64 = 0x00cf_9300_0000_ffff;
/// Flat data, DPL 3.
pub const USER_DATA_DESCRIPTOR: u64 = 0x00cf_f300_0000_ffff;
/// 64-bit code, DPL 3.
pub const USER_CODE_DESCRIPTOR: u64 = 0x00af_fb00_0000_ffff;

/// PE, MP, ET, NE, WP, PG.
pub const CR0: u64 = 0x8001_0033;
/// Page tables.
pub const CR3: u64 = PML4;
/// PAE, OSFXSR, OSXMMEXCPT.
pub const CR4: u64 = 0x620;
/// x87 alone: the state after reset.
pub const XCR0: u64 = 1;
/// IA32_EFER: LME, LMA.
pub const EFER: u64 = 0x500;
/// Interrupts off, direction up.
pub const RFLAGS: u64 = 0x2;
/// All SSE exceptions masked, round to nearest.
pub const MXCSR: u32 = 0x1f80;
/// Aligned as after a CALL, so that a C function can be the entry.
pub const RSP: u64 = STACK_TOP - 8;
/// The first argument of that function.
pub const RDI: u64 = BOOT_INFO;

const _: () = assert!(COMMAND_LINE + COMMAND_LINE_BYTES_MAX as u64 + 1 == STACK_BOTTOM);

const PRESENT_WRITABLE: u64 = 0x3;
const LARGE_PAGE: u64 = 0x80;
const LARGE_PAGE_BYTES: u64 = 2 << 20;
const ENTRIES: u64 = 512;

/// What the boot information tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BootInfo<'a> {
    /// Size of RAM, which begins at physical address 0.
    pub memory_bytes: u64,
    /// Frequency of the time-stamp counter.
    pub tsc_hz: u64,
    /// Command line without NUL; at most [`COMMAND_LINE_BYTES_MAX`] bytes.
    pub command_line: &'a [u8],
}

/// Builds everything in guest memory: calls `write(paddr, bytes)` for ranges that lie between [`PML4`] and
/// [`STACK_BOTTOM`]. The rest of that area is expected to be zero. Writes nothing when it returns an error.
pub fn build(info: &BootInfo<'_>, write: &mut dyn FnMut(u64, &[u8])) -> Result<(), ElfError> {
    if info.command_line.len() > COMMAND_LINE_BYTES_MAX {
        return Err(ElfError::CommandLine { bytes: info.command_line.len() });
    }
    build_page_tables(write);
    let descriptors = [0, CODE_DESCRIPTOR, DATA_DESCRIPTOR, USER_DATA_DESCRIPTOR, USER_CODE_DESCRIPTOR, 0, 0];
    write(GDT, &little_endian(descriptors));
    write(BOOT_INFO, &encode(info));
    write(COMMAND_LINE, info.command_line);
    write(COMMAND_LINE + info.command_line.len() as u64, &[0]);
    Ok(())
}

/// The first 4 GiB map to themselves.
pub(super) fn build_page_tables(write: &mut dyn FnMut(u64, &[u8])) {
    write(PML4, &little_endian([PDPT | PRESENT_WRITABLE]));
    for directory in 0..4 {
        let table = DIRECTORIES + directory * 0x1000;
        write(PDPT + directory * 8, &little_endian([table | PRESENT_WRITABLE]));
        let first = directory * ENTRIES;
        let pages = (first..first + ENTRIES).map(|page| (page * LARGE_PAGE_BYTES) | LARGE_PAGE | PRESENT_WRITABLE);
        write(table, &little_endian(pages));
    }
}

fn encode(info: &BootInfo<'_>) -> Vec<u8> {
    let mut bytes = b"FTEMUBI1".to_vec();
    bytes.extend(1u32.to_le_bytes());
    bytes.extend(BOOT_INFO_BYTES.to_le_bytes());
    bytes.extend(little_endian([info.memory_bytes, info.tsc_hz, COMMAND_LINE, info.command_line.len() as u64]));
    bytes.resize(BOOT_INFO_BYTES as usize, 0);
    bytes
}

pub(super) fn little_endian(words: impl IntoIterator<Item = u64>) -> Vec<u8> {
    words.into_iter().flat_map(u64::to_le_bytes).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn built(command_line: &[u8]) -> Vec<u8> {
        let mut memory = vec![0; 0xa000];
        let info = BootInfo { memory_bytes: 64 << 20, tsc_hz: 1_000_000_000, command_line };
        build(&info, &mut |paddr, bytes| {
            memory[usize::try_from(paddr).unwrap()..][..bytes.len()].copy_from_slice(bytes);
        })
        .unwrap();
        memory
    }

    fn word(memory: &[u8], paddr: u64) -> u64 {
        let at = usize::try_from(paddr).unwrap();
        u64::from_le_bytes(memory[at..at + 8].try_into().unwrap())
    }

    /// Walks the tables as the CPU does (SDM Vol. 3A, 4.5).
    fn translate(memory: &[u8], linear: u64) -> Option<u64> {
        let mut table = CR3;
        for shift in [39, 30, 21] {
            let entry = word(memory, table + (linear >> shift & 511) * 8);
            if entry & PRESENT_WRITABLE != PRESENT_WRITABLE {
                return None;
            }
            table = entry & 0x000f_ffff_ffff_f000;
            if entry & LARGE_PAGE != 0 {
                return Some(table + (linear & (LARGE_PAGE_BYTES - 1)));
            }
        }
        None
    }

    #[test]
    fn four_gib_map_to_themselves_and_nothing_else() {
        let memory = built(b"");
        for linear in (0..1 << 32).step_by(0x10_1003).chain([0x10_0000, 0xffff_ffff]) {
            assert_eq!(translate(&memory, linear), Some(linear));
        }
        for linear in [1 << 32, 1 << 39, 0xffff_8000_0000_0000] {
            assert_eq!(translate(&memory, linear), None);
        }
        assert_eq!(word(&memory, 0x6ff8), 0xffe0_0083);
    }

    #[test]
    fn descriptors_are_where_their_selectors_say() {
        let memory = built(b"");
        for (selector, descriptor) in [
            (0, 0),
            (CODE, CODE_DESCRIPTOR),
            (DATA, DATA_DESCRIPTOR),
            (USER_DATA, USER_DATA_DESCRIPTOR),
            (USER_CODE, USER_CODE_DESCRIPTOR),
            (TSS, 0),
            (TSS + 8, 0),
        ] {
            assert_eq!(word(&memory, GDT + u64::from(selector & !7)), descriptor);
            assert!((selector | 7) <= GDT_LIMIT);
            assert!(descriptor == 0 || (descriptor >> 45) & 3 == u64::from(selector & 3), "DPL is RPL");
        }
    }

    #[test]
    fn boot_information_byte_for_byte() {
        let memory = built(b"lines=5");
        let expected = b"FTEMUBI1\x01\0\0\0\x40\0\0\0\0\0\0\x04\0\0\0\0\0\xca\x9a\x3b\0\0\0\0\
                         \0\x81\0\0\0\0\0\0\x07\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
        assert_eq!(&memory[0x8000..0x8040], expected);
        assert_eq!(&memory[0x8100..0x8109], b"lines=5\0\0");
    }

    #[test]
    fn the_longest_command_line_ends_below_the_stack() {
        let longest = vec![b'x'; COMMAND_LINE_BYTES_MAX];
        let memory = built(&longest);
        assert_eq!(memory[0x8ffe..=0x9000], [b'x', 0, 0]);
        let too_long = vec![b'x'; COMMAND_LINE_BYTES_MAX + 1];
        let info = BootInfo { memory_bytes: 1 << 20, tsc_hz: 1, command_line: &too_long };
        let refused = build(&info, &mut |_, _| panic!("wrote in spite of the error"));
        assert_eq!(refused, Err(ElfError::CommandLine { bytes: COMMAND_LINE_BYTES_MAX + 1 }));
    }
}
