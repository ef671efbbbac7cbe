//! How a guest starts: reading its image and what the machine hands to it.
//!
//! | module | is |
//! |---|---|
//! | `load` | which protocol an image is booted by |
//! | `elf`, `hand_off` | bare ELF64 programs, and what they find |
//! | `linux`, `unpack` | bzImages by Linux's own boot protocol, and the ELF inside of them |
//! | `pvh`, `multiboot`, `protected` | kernels that are entered in 32-bit protected mode |
//! | `memory_map`, `initrd` | where RAM is; what an initial RAM disk looks like |
//! | `not_elf` | what other files are |

pub mod acpi;
pub mod elf;
pub mod hand_off;
mod initrd;
pub mod linux;
mod load;
mod memory_map;
mod multiboot;
mod not_elf;
mod protected;
mod pvh;
mod unpack;

pub use elf::{Elf, ElfError};
pub use initrd::{NoInitrd, check_initrd};
pub use linux::LinuxError;
pub use load::{Boot, BootError, ImageKind, Module, Protocol};
pub use multiboot::MultibootError;
pub use unpack::{Format, UnpackError};

pub(crate) use load::load;
use load::{PAGE, place_high};
