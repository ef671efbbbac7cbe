//! Which protocol an image is booted by.

use std::fmt;

use super::linux::{self, Kernel, LinuxError};
use super::multiboot::{self, MultibootError};
use super::unpack::UnpackError;
use super::{ElfError, elf, pvh};
use crate::state::CpuState;

pub(super) const PAGE: u64 = 0x1000;

/// What is booted, and what it gets.
#[derive(Clone, Copy, Debug)]
pub struct Boot<'a> {
    /// The file: what [`ImageKind`] knows, but no bare program (`Machine::load_elf`).
    pub image: &'a [u8],
    /// For Linux, the initial RAM disk, if any; for Multiboot, any number.
    pub modules: &'a [Module<'a>],
    /// The command line.
    pub command_line: &'a str,
    /// How; `None`: as [`ImageKind::protocol`] says, and if a bzImage cannot be booted by PVH, by its own protocol.
    pub protocol: Option<Protocol>,
}

/// A file that a kernel finds in memory.
#[derive(Clone, Copy, Debug)]
pub struct Module<'a> {
    /// Its contents.
    pub bytes: &'a [u8],
    /// Its command line or name.
    pub command_line: &'a str,
}

/// How a kernel is entered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// Multiboot 1: 32-bit protected mode.
    Multiboot,
    /// PVH: 32-bit protected mode. A bzImage is unpacked by us.
    Pvh,
    /// The boot protocol of Linux, 64-bit where a kernel has it: a bzImage unpacks itself, and chooses where it runs (KASLR).
    Linux,
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Multiboot => "Multiboot",
            Self::Pvh => "PVH",
            Self::Linux => "the boot protocol of Linux",
        })
    }
}

/// What an image looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImageKind {
    /// A Linux kernel with a boot protocol header.
    BzImage,
    /// A Multiboot kernel.
    Multiboot,
    /// An ELF with a PVH entry, such as vmlinux.
    Pvh,
    /// Anything else: a bare ELF64, or what cannot be booted.
    Other,
}

impl ImageKind {
    /// What `image` looks like.
    #[must_use]
    pub fn of(image: &[u8]) -> Self {
        if linux::is_kernel(image) {
            Self::BzImage
        } else if multiboot::is_kernel(image) {
            Self::Multiboot
        } else if elf::parse_kernel(image).is_ok_and(|kernel| kernel.pvh_entry.is_some()) {
            Self::Pvh
        } else {
            Self::Other
        }
    }

    /// Whether it takes an initial RAM disk.
    #[must_use]
    pub fn is_linux(self) -> bool {
        matches!(self, Self::BzImage | Self::Pvh)
    }

    /// How it is booted unless one chooses; `None`: as a bare program.
    #[must_use]
    pub fn protocol(self) -> Option<Protocol> {
        match self {
            Self::Multiboot => Some(Protocol::Multiboot),
            Self::BzImage | Self::Pvh => Some(Protocol::Pvh),
            Self::Other => None,
        }
    }
}

/// Why an image cannot be booted. `Display` is one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BootError {
    /// Of an ELF, perhaps one that was inside of a bzImage.
    Elf(ElfError),
    /// Of a bzImage.
    Linux(LinuxError),
    /// Of what is inside of a bzImage.
    Unpack(UnpackError),
    /// Of a Multiboot header.
    Multiboot(MultibootError),
    /// A kernel without a PVH entry, or with one above 4 GiB.
    NoPvhEntry,
    /// Not a bzImage.
    NoBzImage,
    /// The command lines do not fit where they are told.
    CommandLine {
        /// Their length.
        bytes: usize,
    },
    /// Kernel and modules do not fit into memory together.
    Memory {
        /// What they need, in bytes from address 0.
        needed: u64,
        /// What there is.
        memory_bytes: u64,
    },
}

impl fmt::Display for BootError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Elf(error) => error.fmt(f),
            Self::Linux(error) => error.fmt(f),
            Self::Unpack(error) => error.fmt(f),
            Self::Multiboot(error) => error.fmt(f),
            Self::NoPvhEntry => f.write_str("it has no PVH entry below 4 GiB (a note of type 18 of Xen; CONFIG_PVH)"),
            Self::NoBzImage => f.write_str("not a bzImage (no HdrS at offset 0x202)"),
            Self::CommandLine { bytes } => write!(f, "a command line of {bytes} bytes: there is no room for it"),
            Self::Memory { needed, memory_bytes } => write!(
                f,
                "kernel and modules need {} MiB of guest memory, there are {}: choose more with --memory",
                needed.div_ceil(1 << 20),
                memory_bytes >> 20
            ),
        }
    }
}

impl std::error::Error for BootError {}

impl From<ElfError> for BootError {
    fn from(error: ElfError) -> Self {
        Self::Elf(error)
    }
}

impl From<LinuxError> for BootError {
    fn from(error: LinuxError) -> Self {
        Self::Linux(error)
    }
}

impl From<UnpackError> for BootError {
    fn from(error: UnpackError) -> Self {
        Self::Unpack(error)
    }
}

impl From<MultibootError> for BootError {
    fn from(error: MultibootError) -> Self {
        Self::Multiboot(error)
    }
}

/// Puts an image and what it gets into RAM of `memory_bytes` bytes, all zero; gives the CPU as it is entered. Writes nothing
/// when it returns an error.
pub(crate) fn load(
    boot: &Boot<'_>,
    memory_bytes: u64,
    write: &mut dyn FnMut(u64, &[u8]),
) -> Result<CpuState, BootError> {
    let kind = ImageKind::of(boot.image);
    match boot.protocol.or(kind.protocol()).unwrap_or(Protocol::Pvh) {
        Protocol::Multiboot => Ok(multiboot::load(boot, memory_bytes, write)?.state()),
        Protocol::Linux if kind != ImageKind::BzImage => Err(BootError::NoBzImage),
        Protocol::Linux => Ok(linux::load(boot, memory_bytes, write)?.state()),
        Protocol::Pvh if kind != ImageKind::BzImage => {
            Ok(pvh::load(&elf::parse_kernel(boot.image)?, boot, memory_bytes, write)?.state())
        }
        Protocol::Pvh => match load_unpacked(boot, memory_bytes, write) {
            // It can unpack itself.
            Err(error) if boot.protocol.is_none() && error.is_only_of_pvh() => {
                Ok(linux::load(boot, memory_bytes, write)?.state())
            }
            result => result,
        },
    }
}

/// What is inside of a bzImage, by PVH.
fn load_unpacked(boot: &Boot<'_>, memory_bytes: u64, write: &mut dyn FnMut(u64, &[u8])) -> Result<CpuState, BootError> {
    let kernel = Kernel::parse(boot.image)?;
    kernel.check_command_line(boot.command_line)?;
    let image = kernel.unpack().ok_or(BootError::NoPvhEntry)??;
    Ok(pvh::load(&elf::parse_kernel(&image)?, boot, memory_bytes, write)?.state())
}

impl BootError {
    /// Whether the kernel may boot by another protocol.
    fn is_only_of_pvh(&self) -> bool {
        match self {
            Self::NoPvhEntry | Self::Elf(ElfError::NotElf { .. }) => true,
            Self::Unpack(error) => error.is_only_ours(),
            _ => false,
        }
    }
}

/// Where `bytes` bytes go, on pages of their own: as high as possible below `top`, but not below `floor`. Otherwise how much
/// memory that would take.
pub(super) fn place_high(bytes: u64, floor: u64, top: u64) -> Result<u64, u64> {
    let at = top.checked_sub(bytes).map(|at| at & !(PAGE - 1));
    let pages = bytes.checked_next_multiple_of(PAGE).unwrap_or(u64::MAX);
    at.filter(|at| *at >= floor).ok_or(floor.saturating_add(pages))
}

#[cfg(test)]
mod tests;
