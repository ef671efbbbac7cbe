//! Kernels that are entered by PVH (Xen's docs/misc/pvh.pandoc and public/arch-x86/hvm/start_info.h): an ELF whose note says
//! where, in 32-bit protected mode; EBX points to `hvm_start_info`.

use super::elf::Elf;
use super::memory_map::memory_map;
use super::protected::{Entry, TOLD, Told, write_told};
use super::{Boot, BootError, acpi, place_high};

const MAGIC: u32 = 0x336e_c578;
/// The one with a memory map.
const VERSION: u32 = 1;

// Offsets in `hvm_start_info`.
const VERSION_OFFSET: usize = 4;
const NR_MODULES: usize = 12;
const MODLIST_PADDR: usize = 16;
const CMDLINE_PADDR: usize = 24;
const RSDP_PADDR: usize = 32;
const MEMMAP_PADDR: usize = 40;
const MEMMAP_ENTRIES: usize = 48;
const START_INFO_BYTES: usize = 56;

/// Puts `elf`, what `boot` has for it and `hvm_start_info` into RAM of `memory_bytes` bytes, all zero. Writes nothing when it
/// returns an error.
pub(super) fn load(
    elf: &Elf<'_>,
    boot: &Boot<'_>,
    memory_bytes: u64,
    write: &mut dyn FnMut(u64, &[u8]),
) -> Result<Entry, BootError> {
    let entry = elf.pvh_entry.ok_or(BootError::NoPvhEntry)?;
    let eip = u32::try_from(entry).map_err(|_| BootError::NoPvhEntry)?;
    // The first module is the RAM disk.
    let mut disks = Vec::new();
    let mut top = memory_bytes;
    for module in boot.modules {
        let at = place_high(module.bytes.len() as u64, elf.end(), top)
            .map_err(|needed| BootError::Memory { needed, memory_bytes })?;
        disks.push((at, *module));
        top = at;
    }
    let told = start_info(&disks, boot.command_line, memory_bytes);
    if !told.fits() {
        return Err(BootError::CommandLine { bytes: boot.command_line.len() });
    }
    elf.load(&told.reserved(), memory_bytes, write)?;
    write_told(&told, write);
    for (at, module) in disks {
        write(at, module.bytes);
    }
    Ok(Entry { eip, eax: 0, ebx: TOLD as u32 })
}

fn start_info(modules: &[(u64, super::Module<'_>)], command_line: &str, memory_bytes: u64) -> Told {
    let mut told = Told::new(START_INFO_BYTES);
    let command_line = told.push_string(command_line);
    let mut list = Vec::new();
    for (at, module) in modules {
        let command_line = if module.command_line.is_empty() { 0 } else { told.push_string(module.command_line) };
        list.extend([*at, module.bytes.len() as u64, command_line, 0].into_iter().flat_map(u64::to_le_bytes));
    }
    let list = told.push(&list);
    let map = memory_map(memory_bytes);
    let entries: Vec<u8> = map.iter().flat_map(|range| range.e820().into_iter().chain([0; 4])).collect();
    let entries = told.push(&entries);
    told.put(0, &MAGIC.to_le_bytes());
    told.put(VERSION_OFFSET, &VERSION.to_le_bytes());
    told.put(NR_MODULES, &(modules.len() as u32).to_le_bytes());
    told.put(MODLIST_PADDR, &list.to_le_bytes());
    told.put(CMDLINE_PADDR, &command_line.to_le_bytes());
    told.put(RSDP_PADDR, &acpi::RSDP.to_le_bytes());
    told.put(MEMMAP_PADDR, &entries.to_le_bytes());
    told.put(MEMMAP_ENTRIES, &(map.len() as u32).to_le_bytes());
    told
}

#[cfg(test)]
mod tests {
    use super::super::Module;
    use super::super::elf::Segment;
    use super::*;

    const MEMORY: u64 = 8 << 20;

    fn elf() -> Elf<'static> {
        let code = Segment { paddr: 0x10_0000, vaddr: 0, bytes: b"code", memory_bytes: 0x2000, header_offset: 64 };
        Elf { entry: 0x10_0000, pvh_entry: Some(0x10_0002), segments: vec![code] }
    }

    #[test]
    fn everything_is_where_start_info_says() {
        let modules =
            [Module { bytes: &[7; 5000], command_line: "" }, Module { bytes: b"second", command_line: "two" }];
        let boot = Boot { image: &[], modules: &modules, command_line: "console=ttyS0", protocol: None };
        let mut memory = vec![0; MEMORY as usize];
        let entry =
            load(&elf(), &boot, MEMORY, &mut |at, bytes| memory[at as usize..][..bytes.len()].copy_from_slice(bytes));
        assert_eq!(entry.unwrap(), Entry { eip: 0x10_0002, eax: 0, ebx: 0x8000 });
        let word = |at: u64| u64::from_le_bytes(memory[at as usize..][..8].try_into().unwrap());
        let text = |at: u64, text: &[u8]| assert_eq!(&memory[at as usize..][..text.len()], text);
        assert_eq!(word(0x8000), 0x1_336e_c578);
        assert_eq!(word(0x8008) >> 32, 2);
        text(word(0x8018), b"console=ttyS0\0");
        assert_eq!(word(0x8020), acpi::RSDP);
        let list = word(0x8010);
        assert_eq!((word(list), word(list + 8), word(list + 16)), (MEMORY - 0x2000, 5000, 0));
        assert_eq!(memory[MEMORY as usize - 0x2000..][..5001], [[7; 5000].as_slice(), &[0]].concat());
        assert_eq!((word(list + 32), word(list + 40)), (MEMORY - 0x3000, 6));
        text(word(list + 32), b"second\0");
        text(word(list + 48), b"two\0");
        let map = word(0x8028);
        assert_eq!(word(0x8030), 3);
        assert_eq!([word(map), word(map + 8), word(map + 16)], [0, 0x9_fc00, 1]);
        assert_eq!([word(map + 24), word(map + 32), word(map + 40)], [0xe_0000, 0x2_0000, 2]);
        assert_eq!([word(map + 48), word(map + 56), word(map + 64)], [0x10_0000, MEMORY - 0x10_0000, 1]);
        text(0x10_0000, b"code\0");
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let refused = |elf: &Elf<'_>, boot: &Boot<'_>| {
            load(elf, boot, MEMORY, &mut |_, _| panic!("wrote in spite of the error")).unwrap_err().to_string()
        };
        let large = vec![0; 7 << 20];
        let modules = [Module { bytes: &large, command_line: "" }];
        let boot = |modules, command_line| Boot { image: &[], modules, command_line, protocol: None };
        assert!(refused(&elf(), &boot(&modules, "")).contains("choose more with --memory"));
        let long = "x".repeat(0xa_0000);
        assert!(refused(&elf(), &boot(&[], &long)).contains("a command line of 655360 bytes"));
        let mut low = elf();
        low.segments[0].paddr = 0x8000;
        assert!(refused(&low, &boot(&[], "")).contains("physical address 0x8000"));
        let without = Elf { pvh_entry: None, ..elf() };
        assert!(refused(&without, &boot(&[], "")).contains("no PVH entry"));
        let beyond = Elf { pvh_entry: Some(1 << 32), ..elf() };
        assert!(refused(&beyond, &boot(&[], "")).contains("no PVH entry"));
    }
}
