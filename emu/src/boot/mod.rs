//! How a guest starts: reading its image and what the machine hands to it.

pub mod acpi;
pub mod elf;
pub mod hand_off;
pub mod linux;
mod not_elf;

pub use elf::{Elf, ElfError};
pub use linux::{LinuxBoot, LinuxError};
