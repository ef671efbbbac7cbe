//! Where code and data lie, on the host and in the guest alike.
//!
//! Both regions lie below 2 GiB, so that every addressing form reaches them, with nothing mapped around them.

/// Size of a page.
pub const PAGE: u64 = 4096;
/// Start of the data window: readable, writable, not executable.
pub const DATA: u64 = 0x1000_0000;
/// Bytes of the data window.
pub const DATA_LEN: u64 = 2 * PAGE;
/// Start of the code region: readable, writable, executable.
pub const CODE: u64 = 0x2000_0000;
/// Bytes of the code region.
pub const CODE_LEN: u64 = 2 * PAGE;
/// Start of the region of 32-bit code, as long as that of 64-bit code: what lies here runs in compatibility mode.
pub const CODE_32: u64 = 0x3000_0000;
/// Where the 32-bit instruction under test usually lies.
pub const START_32: u64 = CODE_32 + 0x400;
/// Where the instruction under test usually lies.
pub const START: u64 = CODE + 0x400;
/// What fills the code region: every way out of the tested bytes ends in a breakpoint.
pub const FILLER: u8 = 0xcc;
