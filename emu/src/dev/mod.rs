//! The chips of the machine, one file each: registers in, state and pins out.
//!
//! A chip does no I/O, knows no door and no bus, and is its own saved state: `Clone`, `Eq` and serde say everything
//! about it. Guest time (nanoseconds since the machine was created) is passed in and never runs backwards.
//! docs/deviations.md lists where they differ from the data sheets.

pub mod i8042;
pub mod ioapic;
pub mod lapic;
pub mod pci;
pub mod pic;
pub mod pit;
pub mod pm;
pub mod rtc;
pub mod uart;
pub mod virtio;

pub use i8042::I8042;
pub use ioapic::Ioapic;
pub use lapic::Lapic;
pub use pci::Pci;
pub use pic::Pic;
pub use pit::Pit;
pub use pm::Pm;
pub use rtc::Rtc;
pub use uart::Uart;
