//! Linux kernels (bzImage) by the 64-bit boot protocol of the kernel's Documentation/arch/x86/boot.rst: no firmware, no
//! real mode. The kernel finds its parameters, an E820 map, a command line and an initial RAM disk in memory.

use std::fmt;

use super::{acpi, hand_off};

/// The boot parameters ("zero page").
const BOOT_PARAMS: u64 = 0x8000;
const BOOT_PARAMS_BYTES: usize = 0x1000;
/// The command line, NUL-terminated.
const COMMAND_LINE: u64 = 0x9000;
/// What the hand-off may use; above it lies what a firmware would have reserved.
const LOW_MEMORY_END: u64 = 0x9_fc00;
/// RAM again, above the legacy ROM area.
const HIGH_MEMORY: u64 = 0x10_0000;
/// Entry of 64-bit code, relative to the protected-mode part.
const ENTRY_64: u64 = 0x200;
const PAGE: u64 = 0x1000;
const SECTOR: u64 = 512;

/// Selectors that the protocol asks for: `__BOOT_CS`, `__BOOT_DS`.
pub(crate) const CODE: u16 = 0x10;
pub(crate) const DATA: u16 = 0x18;
/// Limit of the descriptor table: four descriptors.
pub(crate) const GDT_LIMIT: u16 = 0x1f;

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
const PREF_ADDRESS: usize = 0x258;
const INIT_SIZE: usize = 0x260;
const E820_TABLE: usize = 0x2d0;

/// Of a kernel that has everything used here: protocol 2.12 (Linux 3.8).
const VERSION_MIN: u16 = 0x20c;
const LOADED_HIGH: u8 = 1;
/// `XLF_KERNEL_64`: it has the 64-bit entry.
const KERNEL_64: u16 = 1;
/// `XLF_CAN_BE_LOADED_ABOVE_4G`: the disk may be anywhere below 4 GiB, whatever `initrd_addr_max` says.
const ABOVE_4G: u16 = 2;
const LOADER_UNDEFINED: u8 = 0xff;
const E820_RAM: u32 = 1;
const E820_RESERVED: u32 = 2;

/// What a kernel is started with.
#[derive(Clone, Copy, Debug, Default)]
pub struct LinuxBoot<'a> {
    /// The bzImage.
    pub kernel: &'a [u8],
    /// The initial RAM disk, empty if there is none.
    pub initrd: &'a [u8],
    /// The command line.
    pub command_line: &'a str,
}

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
    /// Older than the 64-bit boot protocol.
    Version {
        /// The protocol's, high byte major.
        version: u16,
    },
    /// A 32-bit kernel.
    Not64Bit,
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
                "boot protocol {}.{:02} at offset {VERSION:#x}: a 64-bit kernel of Linux 3.8 or later is needed",
                version >> 8,
                version & 0xff
            ),
            Self::Not64Bit => {
                write!(f, "a 32-bit kernel (xloadflags at offset {XLOADFLAGS:#x}): a 64-bit one is needed")
            }
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
#[must_use]
pub fn is_kernel(image: &[u8]) -> bool {
    image.get(HEADER..).is_some_and(|rest| rest.starts_with(b"HdrS"))
}

/// A kernel, checked.
struct Kernel<'a> {
    image: &'a [u8],
    /// The protected-mode part.
    code: &'a [u8],
}

impl<'a> Kernel<'a> {
    fn parse(image: &'a [u8]) -> Result<Self, LinuxError> {
        let cut = |needed: u64| LinuxError::Truncated { needed, file_bytes: image.len() as u64 };
        let header_end = INIT_SIZE + 4;
        if image.len() < header_end {
            return Err(cut(header_end as u64));
        }
        let mut kernel = Self { image, code: &[] };
        let version = kernel.u16(VERSION);
        if version < VERSION_MIN {
            return Err(LinuxError::Version { version });
        }
        if image[LOADFLAGS] & LOADED_HIGH == 0 {
            return Err(LinuxError::LoadedLow);
        }
        if kernel.u16(XLOADFLAGS) & KERNEL_64 == 0 {
            return Err(LinuxError::Not64Bit);
        }
        if kernel.address() < HIGH_MEMORY {
            return Err(LinuxError::Address { address: kernel.address() });
        }
        // "For backwards compatibility, if the setup_sects field contains 0, the real value is 4."
        let sectors = if image[SETUP_SECTS] == 0 { 4 } else { u64::from(image[SETUP_SECTS]) };
        let begin = (sectors + 1) * SECTOR;
        let end = begin + u64::from(kernel.u32(SYSSIZE)) * 16;
        kernel.code = image.get(begin as usize..end as usize).ok_or(cut(end))?;
        Ok(kernel)
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
        let needed = self.end().saturating_add(bytes.next_multiple_of(PAGE));
        let at = max.checked_sub(bytes).map(|at| at & !(PAGE - 1));
        at.filter(|at| *at >= self.end()).ok_or(LinuxError::Memory { needed, memory_bytes })
    }

    fn boot_params(&self, boot: &LinuxBoot<'_>, initrd: u64, memory_bytes: u64) -> Vec<u8> {
        let mut params = vec![0; BOOT_PARAMS_BYTES];
        let header_end = HEADER + usize::from(self.image[JUMP_LENGTH]);
        let header = &self.image[SETUP_HEADER..header_end.min(self.image.len())];
        params[SETUP_HEADER..][..header.len()].copy_from_slice(header);
        let mut put = |at: usize, bytes: &[u8]| params[at..at + bytes.len()].copy_from_slice(bytes);
        put(TYPE_OF_LOADER, &[LOADER_UNDEFINED]);
        put(CMD_LINE_PTR, &(COMMAND_LINE as u32).to_le_bytes());
        put(RAMDISK_IMAGE, &(initrd as u32).to_le_bytes());
        put(EXT_RAMDISK_IMAGE, &((initrd >> 32) as u32).to_le_bytes());
        put(RAMDISK_SIZE, &(boot.initrd.len() as u32).to_le_bytes());
        put(EXT_RAMDISK_SIZE, &((boot.initrd.len() as u64 >> 32) as u32).to_le_bytes());
        put(ACPI_RSDP_ADDR, &acpi::RSDP.to_le_bytes());
        let map = [
            (0, LOW_MEMORY_END, E820_RAM),
            (acpi::RSDP, acpi::END, E820_RESERVED),
            (HIGH_MEMORY, memory_bytes, E820_RAM),
        ];
        put(E820_ENTRIES, &[map.len() as u8]);
        for (i, (begin, end, kind)) in map.into_iter().enumerate() {
            let entry: Vec<u8> =
                [begin, end - begin].into_iter().flat_map(u64::to_le_bytes).chain(kind.to_le_bytes()).collect();
            put(E820_TABLE + i * entry.len(), &entry);
        }
        params
    }
}

/// What the CPU is set to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// RIP.
    pub(crate) rip: u64,
    /// RSI.
    pub(crate) boot_params: u64,
}

/// Puts a kernel and what it needs into RAM of `memory_bytes` bytes, all zero. Writes nothing when it returns an error.
pub(crate) fn load(
    boot: &LinuxBoot<'_>,
    memory_bytes: u64,
    write: &mut dyn FnMut(u64, &[u8]),
) -> Result<Entry, LinuxError> {
    let kernel = Kernel::parse(boot.kernel)?;
    let max = (kernel.u32(CMDLINE_SIZE) as usize).min((LOW_MEMORY_END - COMMAND_LINE) as usize - 1);
    if boot.command_line.len() > max {
        return Err(LinuxError::CommandLine { bytes: boot.command_line.len(), max });
    }
    let initrd = kernel.place(boot.initrd.len() as u64, memory_bytes)?;
    hand_off::build_page_tables(write);
    let descriptors = [0, 0, hand_off::CODE_DESCRIPTOR, hand_off::DATA_DESCRIPTOR];
    write(hand_off::GDT, &hand_off::little_endian(descriptors));
    let initrd_field = if boot.initrd.is_empty() { 0 } else { initrd };
    write(BOOT_PARAMS, &kernel.boot_params(boot, initrd_field, memory_bytes));
    write(COMMAND_LINE, boot.command_line.as_bytes());
    write(COMMAND_LINE + boot.command_line.len() as u64, &[0]);
    write(kernel.address(), kernel.code);
    write(initrd, boot.initrd);
    Ok(Entry { rip: kernel.address() + ENTRY_64, boot_params: BOOT_PARAMS })
}

#[cfg(test)]
mod tests {
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

    fn loaded(boot: &LinuxBoot<'_>) -> Result<(Entry, Vec<u8>), LinuxError> {
        let mut memory = vec![0; MEMORY as usize];
        let entry = load(boot, MEMORY, &mut |at, bytes| memory[at as usize..][..bytes.len()].copy_from_slice(bytes))?;
        Ok((entry, memory))
    }

    fn refused(change: impl Fn(&mut Vec<u8>)) -> String {
        let mut image = kernel();
        change(&mut image);
        let boot = LinuxBoot { kernel: &image, ..LinuxBoot::default() };
        load(&boot, MEMORY, &mut |_, _| panic!("wrote in spite of the error")).unwrap_err().to_string()
    }

    #[test]
    fn everything_is_where_the_parameters_say() {
        let image = kernel();
        let initrd = [7; 5000];
        let boot = LinuxBoot { kernel: &image, initrd: &initrd, command_line: "console=ttyS0" };
        let (entry, memory) = loaded(&boot).unwrap();
        assert_eq!(entry, Entry { rip: ADDRESS + 0x200, boot_params: BOOT_PARAMS });
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
        assert!(refused(|k| k.truncate(1054)).contains("promises 1056 bytes, the file has 1054"));
        assert!(refused(|k| k.truncate(0x210)).contains("the file has 528"));
        assert!(refused(|k| k[VERSION] = 4).contains("boot protocol 2.04"));
        assert!(refused(|k| k[XLOADFLAGS] = 0).contains("a 32-bit kernel"));
        assert!(refused(|k| k[LOADFLAGS] = 0).contains("a zImage"));
        assert!(refused(|k| k[PREF_ADDRESS + 3] = 0).contains("a kernel to be loaded at 0x0"));
        assert!(refused(|k| k[PREF_ADDRESS + 3] = 7).contains("choose more with --memory"));
        assert!(refused(|k| k[PREF_ADDRESS + 7] = 0xff).contains("choose more with --memory"));
    }

    #[test]
    fn a_command_line_or_a_disk_too_large() {
        let image = kernel();
        let long = "x".repeat(2048);
        let boot = LinuxBoot { kernel: &image, command_line: &long, ..LinuxBoot::default() };
        assert_eq!(loaded(&boot).unwrap_err(), LinuxError::CommandLine { bytes: 2048, max: 2047 });
        let disk = vec![0; 17 << 20];
        let boot = LinuxBoot { kernel: &image, initrd: &disk, ..LinuxBoot::default() };
        assert_eq!(loaded(&boot).unwrap_err(), LinuxError::Memory { needed: 65 << 20, memory_bytes: MEMORY });
    }
}
