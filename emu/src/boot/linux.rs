//! Linux kernels (bzImage) by the boot protocol of the kernel's Documentation/arch/x86/boot.rst, in 64-bit mode or, if a kernel
//! has no such entry, in 32-bit protected mode: no firmware, no real mode. The kernel finds its parameters, an E820 map, a
//! command line and an initial RAM disk in memory.

use std::fmt;

use super::memory_map::{HIGH_MEMORY, LOW_MEMORY_END, memory_map};
use super::unpack::{self, UnpackError};
use super::{Boot, acpi, hand_off, place_high, protected};
use crate::cpu::regs::{CS, RDI, RSI};
use crate::state::CpuState;

/// The boot parameters ("zero page").
const BOOT_PARAMS: u64 = 0x8000;
const BOOT_PARAMS_BYTES: usize = 0x1000;
/// The command line, NUL-terminated.
const COMMAND_LINE: u64 = 0x9000;
/// Entry of 64-bit code, relative to the protected-mode part.
const ENTRY_64: u64 = 0x200;
const SECTOR: u64 = 512;
const PARAGRAPH: u64 = 16;

/// Selectors that the protocol asks for: `__BOOT_CS`, `__BOOT_DS`.
const CODE: u16 = 0x10;
const DATA: u16 = 0x18;
/// Limit of the descriptor table: four descriptors.
const GDT_LIMIT: u16 = 0x1f;

// Offsets in the boot parameters; from `SETUP_HEADER` on also in the file.
const ACPI_RSDP_ADDR: usize = 0x070;
const EXT_RAMDISK_IMAGE: usize = 0x0c0;
const EXT_RAMDISK_SIZE: usize = 0x0c4;
const E820_ENTRIES: usize = 0x1e8;
const SETUP_HEADER: usize = 0x1f1;
const SETUP_SECTS: usize = 0x1f1;
const SYSSIZE: usize = 0x1f4;
const JUMP_LENGTH: usize = 0x201;
const HEADER: usize = 0x202;
const VERSION: usize = 0x206;
const TYPE_OF_LOADER: usize = 0x210;
const LOADFLAGS: usize = 0x211;
const RAMDISK_IMAGE: usize = 0x218;
const RAMDISK_SIZE: usize = 0x21c;
const CMD_LINE_PTR: usize = 0x228;
const INITRD_ADDR_MAX: usize = 0x22c;
const XLOADFLAGS: usize = 0x236;
const CMDLINE_SIZE: usize = 0x238;
const PAYLOAD_OFFSET: usize = 0x248;
const PAYLOAD_LENGTH: usize = 0x24c;
const PREF_ADDRESS: usize = 0x258;
const INIT_SIZE: usize = 0x260;
const E820_TABLE: usize = 0x2d0;

/// Of a kernel that says where its payload is: protocol 2.08 (Linux 2.6.26).
const VERSION_OF_PAYLOAD: u16 = 0x208;
/// Of a kernel that has everything used here: protocol 2.12 (Linux 3.8).
const VERSION_MIN: u16 = 0x20c;
const LOADED_HIGH: u8 = 1;
/// `XLF_KERNEL_64`: it has the 64-bit entry.
const KERNEL_64: u16 = 1;
/// `XLF_CAN_BE_LOADED_ABOVE_4G`: the disk may be anywhere below 4 GiB, whatever `initrd_addr_max` says.
const ABOVE_4G: u16 = 2;
const LOADER_UNDEFINED: u8 = 0xff;

/// Why a kernel cannot be booted. `Display` is one line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinuxError {
    /// The file ends before the kernel does.
    Truncated {
        /// Bytes that its header promises.
        needed: u64,
        /// Bytes that it has.
        file_bytes: u64,
    },
    /// Older than what is needed.
    Version {
        /// The protocol's, high byte major.
        version: u16,
    },
    /// A zImage, which is loaded low.
    LoadedLow,
    /// It wants to be where the hand-off is.
    Address {
        /// `pref_address`.
        address: u64,
    },
    /// A command line that is too long for this kernel.
    CommandLine {
        /// Its length.
        bytes: usize,
        /// What the kernel takes.
        max: usize,
    },
    /// Kernel and RAM disk do not fit into memory together.
    Memory {
        /// What they need, in bytes from address 0.
        needed: u64,
        /// What there is.
        memory_bytes: u64,
    },
}

impl fmt::Display for LinuxError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Truncated { needed, file_bytes } => write!(
                f,
                "the kernel is cut: its header at offset {SETUP_HEADER:#x} promises {needed} bytes, the file has {file_bytes}"
            ),
            Self::Version { version } => write!(
                f,
                "boot protocol {}.{:02} at offset {VERSION:#x}: a kernel of Linux 3.8 or later is needed",
                version >> 8,
                version & 0xff
            ),
            Self::LoadedLow => write!(f, "a zImage (loadflags at offset {LOADFLAGS:#x}): a bzImage is needed"),
            Self::Address { address } => {
                write!(
                    f,
                    "a kernel to be loaded at {address:#x} (offset {PREF_ADDRESS:#x}): below {HIGH_MEMORY:#x} there is no room"
                )
            }
            Self::CommandLine { bytes, max } => {
                write!(f, "a command line of {bytes} bytes: this kernel takes at most {max}")
            }
            Self::Memory { needed, memory_bytes } => write!(
                f,
                "kernel and initial RAM disk need {} MiB of guest memory, there are {}: choose more with --memory",
                needed.div_ceil(1 << 20),
                memory_bytes >> 20
            ),
        }
    }
}

impl std::error::Error for LinuxError {}

/// Whether `image` is a kernel with a boot protocol header.
pub(super) fn is_kernel(image: &[u8]) -> bool {
    image.get(HEADER..).is_some_and(|rest| rest.starts_with(b"HdrS"))
}

/// A kernel that is all there.
pub(super) struct Kernel<'a> {
    image: &'a [u8],
    /// The protected-mode part.
    code: &'a [u8],
    /// Where that is in the file.
    code_offset: u64,
}

impl<'a> Kernel<'a> {
    pub(super) fn parse(image: &'a [u8]) -> Result<Self, LinuxError> {
        let cut = |needed: u64| LinuxError::Truncated { needed, file_bytes: image.len() as u64 };
        let header_end = INIT_SIZE + 4;
        if image.len() < header_end {
            return Err(cut(header_end as u64));
        }
        let mut kernel = Self { image, code: &[], code_offset: 0 };
        if image[LOADFLAGS] & LOADED_HIGH == 0 {
            return Err(LinuxError::LoadedLow);
        }
        // "For backwards compatibility, if the setup_sects field contains 0, the real value is 4."
        let sectors = if image[SETUP_SECTS] == 0 { 4 } else { u64::from(image[SETUP_SECTS]) };
        kernel.code_offset = (sectors + 1) * SECTOR;
        let end = kernel.code_offset + u64::from(kernel.u32(SYSSIZE)) * PARAGRAPH;
        // The size is in whole paragraphs; the file need not be.
        if image.len() as u64 + PARAGRAPH <= end {
            return Err(cut(end));
        }
        kernel.code = image.get(kernel.code_offset as usize..image.len().min(end as usize)).ok_or(cut(end))?;
        Ok(kernel)
    }

    /// It can be booted from where it wants to be.
    fn check_protocol(&self) -> Result<(), LinuxError> {
        let version = self.u16(VERSION);
        if version < VERSION_MIN {
            return Err(LinuxError::Version { version });
        }
        if self.address() < HIGH_MEMORY {
            return Err(LinuxError::Address { address: self.address() });
        }
        Ok(())
    }

    /// The ELF inside of it; `None` if it does not say where that is.
    pub(super) fn unpack(&self) -> Option<Result<Vec<u8>, UnpackError>> {
        let (begin, length) = (self.u32(PAYLOAD_OFFSET), self.u32(PAYLOAD_LENGTH));
        if self.u16(VERSION) < VERSION_OF_PAYLOAD || length == 0 {
            return None;
        }
        let (begin, end) = (u64::from(begin), u64::from(begin) + u64::from(length));
        let Some(payload) = self.code.get(begin as usize..end as usize) else {
            let at = self.code_offset;
            let kernel_end = at + self.code.len() as u64;
            return Some(Err(UnpackError::Outside { offset: at + begin, end: at + end, kernel_end }));
        };
        Some(unpack::unpack(payload, self.code_offset + begin, self.u32(INIT_SIZE).into()))
    }

    /// The command line must not be longer than the kernel takes.
    pub(super) fn check_command_line(&self, command_line: &str) -> Result<(), LinuxError> {
        let max = (self.u32(CMDLINE_SIZE) as usize).min((LOW_MEMORY_END - COMMAND_LINE) as usize - 1);
        let bytes = command_line.len();
        if bytes > max { Err(LinuxError::CommandLine { bytes, max }) } else { Ok(()) }
    }

    fn u16(&self, at: usize) -> u16 {
        u16::from_le_bytes([self.image[at], self.image[at + 1]])
    }

    fn u32(&self, at: usize) -> u32 {
        u32::from(self.u16(at)) | u32::from(self.u16(at + 2)) << 16
    }

    /// Where it is loaded.
    fn address(&self) -> u64 {
        u64::from(self.u32(PREF_ADDRESS)) | u64::from(self.u32(PREF_ADDRESS + 4)) << 32
    }

    /// First address above what it needs before it knows the memory map.
    fn end(&self) -> u64 {
        self.address().saturating_add(u64::from(self.u32(INIT_SIZE)).max(self.code.len() as u64))
    }

    /// Where a RAM disk of `bytes` bytes goes: as high as possible.
    fn place(&self, bytes: u64, memory_bytes: u64) -> Result<u64, LinuxError> {
        let anywhere = self.u16(XLOADFLAGS) & ABOVE_4G != 0;
        let max = if anywhere { memory_bytes } else { memory_bytes.min(u64::from(self.u32(INITRD_ADDR_MAX)) + 1) };
        place_high(bytes, self.end(), max).map_err(|needed| LinuxError::Memory { needed, memory_bytes })
    }

    fn boot_params(&self, initrd: (u64, u64), memory_bytes: u64) -> Vec<u8> {
        let mut params = vec![0; BOOT_PARAMS_BYTES];
        let header_end = HEADER + usize::from(self.image[JUMP_LENGTH]);
        let header = &self.image[SETUP_HEADER..header_end.min(self.image.len())];
        params[SETUP_HEADER..][..header.len()].copy_from_slice(header);
        let mut put = |at: usize, bytes: &[u8]| params[at..at + bytes.len()].copy_from_slice(bytes);
        put(TYPE_OF_LOADER, &[LOADER_UNDEFINED]);
        put(CMD_LINE_PTR, &(COMMAND_LINE as u32).to_le_bytes());
        let (begin, bytes) = initrd;
        put(RAMDISK_IMAGE, &(begin as u32).to_le_bytes());
        put(EXT_RAMDISK_IMAGE, &((begin >> 32) as u32).to_le_bytes());
        put(RAMDISK_SIZE, &(bytes as u32).to_le_bytes());
        put(EXT_RAMDISK_SIZE, &((bytes >> 32) as u32).to_le_bytes());
        put(ACPI_RSDP_ADDR, &acpi::RSDP.to_le_bytes());
        let map = memory_map(memory_bytes);
        put(E820_ENTRIES, &[map.len() as u8]);
        for (i, range) in map.iter().enumerate() {
            put(E820_TABLE + i * range.e820().len(), &range.e820());
        }
        params
    }
}

/// What the CPU is set to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// RIP or EIP.
    pub(crate) rip: u64,
    /// RSI or ESI.
    pub(crate) boot_params: u64,
    /// 64-bit mode; otherwise protected mode without paging.
    is_64_bit: bool,
}

impl Entry {
    /// The CPU as a kernel finds it.
    pub(super) fn state(self) -> CpuState {
        let is_64_bit = self.is_64_bit;
        let mut state = if is_64_bit { CpuState::handed_off(self.rip) } else { protected::state(self.rip) };
        for (number, segment) in state.seg.iter_mut().enumerate() {
            segment.selector = if number == CS { CODE } else { DATA };
        }
        state.gdtr.limit = GDT_LIMIT;
        state.gpr[RDI] = 0;
        state.gpr[RSI] = self.boot_params;
        state
    }
}

/// Puts a kernel and what it needs into RAM of `memory_bytes` bytes, all zero. Writes nothing when it returns an error.
pub(super) fn load(boot: &Boot<'_>, memory_bytes: u64, write: &mut dyn FnMut(u64, &[u8])) -> Result<Entry, LinuxError> {
    let kernel = Kernel::parse(boot.image)?;
    kernel.check_protocol()?;
    let is_64_bit = kernel.u16(XLOADFLAGS) & KERNEL_64 != 0;
    kernel.check_command_line(boot.command_line)?;
    let disk = boot.modules.first().map_or(&[][..], |module| module.bytes);
    let at = kernel.place(disk.len() as u64, memory_bytes)?;
    let code = if is_64_bit { hand_off::CODE_DESCRIPTOR } else { protected::CODE_DESCRIPTOR };
    if is_64_bit {
        hand_off::build_page_tables(write);
    }
    write(hand_off::GDT, &hand_off::little_endian([0, 0, code, hand_off::DATA_DESCRIPTOR]));
    let initrd = if disk.is_empty() { (0, 0) } else { (at, disk.len() as u64) };
    write(BOOT_PARAMS, &kernel.boot_params(initrd, memory_bytes));
    write(COMMAND_LINE, boot.command_line.as_bytes());
    write(COMMAND_LINE + boot.command_line.len() as u64, &[0]);
    write(kernel.address(), kernel.code);
    write(at, disk);
    let rip = kernel.address() + if is_64_bit { ENTRY_64 } else { 0 };
    Ok(Entry { rip, boot_params: BOOT_PARAMS, is_64_bit })
}

#[cfg(test)]
mod tests {
    use super::super::Module;
    use super::super::memory_map::E820_RAM;
    use super::*;

    const MEMORY: u64 = 64 << 20;
    const ADDRESS: u64 = 16 << 20;

    /// A header as kernels have it, with two sectors of setup and 32 bytes of code.
    fn kernel() -> Vec<u8> {
        let mut image = vec![0; 2 * SECTOR as usize];
        let mut put = |at: usize, bytes: &[u8]| image[at..at + bytes.len()].copy_from_slice(bytes);
        put(SETUP_SECTS, &[1]);
        put(SYSSIZE, &2u32.to_le_bytes());
        put(JUMP_LENGTH, &[0x6a]);
        put(HEADER, b"HdrS");
        put(VERSION, &0x20fu16.to_le_bytes());
        put(LOADFLAGS, &[LOADED_HIGH]);
        put(INITRD_ADDR_MAX, &0x7fff_ffffu32.to_le_bytes());
        put(XLOADFLAGS, &(KERNEL_64 | ABOVE_4G).to_le_bytes());
        put(CMDLINE_SIZE, &2047u32.to_le_bytes());
        put(PREF_ADDRESS, &ADDRESS.to_le_bytes());
        put(INIT_SIZE, &(32u32 << 20).to_le_bytes());
        image.extend([0x90; 32]);
        image
    }

    fn boot<'a>(image: &'a [u8], modules: &'a [Module<'a>], command_line: &'a str) -> Boot<'a> {
        Boot { image, modules, command_line, protocol: None }
    }

    fn loaded(boot: &Boot<'_>) -> Result<(Entry, Vec<u8>), LinuxError> {
        let mut memory = vec![0; MEMORY as usize];
        let entry = load(boot, MEMORY, &mut |at, bytes| memory[at as usize..][..bytes.len()].copy_from_slice(bytes))?;
        Ok((entry, memory))
    }

    fn refused(change: impl Fn(&mut Vec<u8>)) -> String {
        let mut image = kernel();
        change(&mut image);
        let boot = boot(&image, &[], "");
        load(&boot, MEMORY, &mut |_, _| panic!("wrote in spite of the error")).unwrap_err().to_string()
    }

    #[test]
    fn everything_is_where_the_parameters_say() {
        let image = kernel();
        let initrd = [7; 5000];
        let modules = [Module { bytes: &initrd, command_line: "" }];
        let boot = boot(&image, &modules, "console=ttyS0");
        let (entry, memory) = loaded(&boot).unwrap();
        assert_eq!(entry, Entry { rip: ADDRESS + 0x200, boot_params: BOOT_PARAMS, is_64_bit: true });
        assert_eq!(memory[ADDRESS as usize..][..33], [[0x90; 32].as_slice(), &[0]].concat());
        let params = &memory[BOOT_PARAMS as usize..];
        let word = |at: usize| u32::from_le_bytes(params[at..at + 4].try_into().unwrap());
        assert_eq!(&params[HEADER..HEADER + 4], b"HdrS");
        assert_eq!(params[TYPE_OF_LOADER], LOADER_UNDEFINED);
        assert_eq!(&memory[word(CMD_LINE_PTR) as usize..][..14], b"console=ttyS0\0");
        assert_eq!((u64::from(word(RAMDISK_IMAGE)), word(RAMDISK_SIZE)), (MEMORY - 8192, 5000));
        assert_eq!(memory[MEMORY as usize - 8192..][..5001], [initrd.as_slice(), &[0]].concat());
        assert_eq!(params[E820_ENTRIES], 3);
        assert_eq!(u64::from(word(ACPI_RSDP_ADDR)), acpi::RSDP);
        let third = u64::from(word(E820_TABLE + 40)) + u64::from(word(E820_TABLE + 48));
        assert_eq!((third, word(E820_TABLE + 56)), (MEMORY, E820_RAM));
    }

    #[test]
    fn what_cannot_be_booted_is_named() {
        assert!(refused(|k| k.truncate(1040)).contains("promises 1056 bytes, the file has 1040"));
        assert!(refused(|k| k.truncate(0x210)).contains("the file has 528"));
        assert!(refused(|k| k[VERSION] = 4).contains("boot protocol 2.04"));
        assert!(refused(|k| k[LOADFLAGS] = 0).contains("a zImage"));
        assert!(refused(|k| k[PREF_ADDRESS + 3] = 0).contains("a kernel to be loaded at 0x0"));
        assert!(refused(|k| k[PREF_ADDRESS + 3] = 7).contains("choose more with --memory"));
        assert!(refused(|k| k[PREF_ADDRESS + 7] = 0xff).contains("choose more with --memory"));
    }

    #[test]
    fn a_kernel_without_a_64_bit_entry_is_entered_in_protected_mode() {
        let mut image = kernel();
        image[XLOADFLAGS] = 0;
        image.truncate(1041);
        let (entry, memory) = loaded(&boot(&image, &[], "")).unwrap();
        assert_eq!(entry, Entry { rip: ADDRESS, boot_params: BOOT_PARAMS, is_64_bit: false });
        assert_eq!(memory[ADDRESS as usize..][..18], [[0x90; 17].as_slice(), &[0]].concat());
        assert_eq!(memory[hand_off::PML4 as usize..hand_off::GDT as usize], [0; 0x6000]);
        let state = entry.state();
        assert_eq!((state.cr0, state.msr.efer, state.gpr[RSI]), (0x11, 0, BOOT_PARAMS));
        assert_eq!((state.code_bits(), state.seg[CS].selector), (32, CODE));
    }

    #[test]
    fn a_command_line_or_a_disk_too_large() {
        let image = kernel();
        let long = "x".repeat(2048);
        assert_eq!(loaded(&boot(&image, &[], &long)).unwrap_err(), LinuxError::CommandLine { bytes: 2048, max: 2047 });
        let disk = vec![0; 17 << 20];
        let modules = [Module { bytes: &disk, command_line: "" }];
        assert_eq!(
            loaded(&boot(&image, &modules, "")).unwrap_err(),
            LinuxError::Memory { needed: 65 << 20, memory_bytes: MEMORY }
        );
    }
}
