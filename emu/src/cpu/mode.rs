//! Operating modes (SDM Vol. 3A, 2.2), and logical addresses: segment and offset to a linear address.

use super::Cpu;
use super::fault::{Fault, Trap};
use super::flags;
use super::regs::{CS, DS, ES, FS, SS, cr0, efer};
use super::segments::rights;
use crate::mem::{Access, is_canonical};
use crate::state::Segment;

/// How code is decoded and reaches memory: part of the key of its blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Mode {
    /// 64-bit mode.
    Long = 0,
    /// 32-bit code whose CS, DS, ES and SS span all 4 GiB: no limits to look at, blocks and links as in 64-bit mode.
    Flat = 1,
    /// 32-bit code with other segments: every access is checked.
    Segmented32 = 2,
    /// 16-bit code, likewise.
    Segmented16 = 3,
}

impl Mode {
    /// Size of code.
    pub(crate) fn bits(self) -> u32 {
        match self {
            Self::Long => 64,
            Self::Flat | Self::Segmented32 => 32,
            Self::Segmented16 => 16,
        }
    }

    /// Whether every access is checked against its segment.
    pub(crate) fn is_segmented(self) -> bool {
        matches!(self, Self::Segmented32 | Self::Segmented16)
    }
}

/// The low `bytes` bytes of `value`.
pub(crate) fn truncated(value: u64, bytes: u8) -> u64 {
    value & u64::MAX >> (64 - 8 * u32::from(bytes.clamp(1, 8)))
}

impl Segment {
    fn has(&self, bits: u16) -> bool {
        self.rights & bits == bits
    }

    /// Data that grows down: what is above the limit is valid.
    fn is_expand_down(&self) -> bool {
        self.rights & (rights::CODE | rights::EXPAND_DOWN) == rights::EXPAND_DOWN
    }

    /// Writable data, all 4 GiB of it.
    fn is_flat_data(&self) -> bool {
        let wanted = rights::P | rights::S | rights::READ_WRITE;
        self.base == 0 && self.limit == u32::MAX && self.has(wanted) && self.rights & 0xc == 0
    }

    /// Whether `bytes` at `offset` are within the limit (SDM Vol. 3A, 5.3). Nothing is beyond 4 GiB: such accesses wrap.
    pub(crate) fn holds(&self, offset: u64, bytes: u64) -> bool {
        let last = offset + bytes - 1;
        if self.is_expand_down() {
            let top = if self.has(rights::D) { u32::MAX } else { 0xffff };
            return offset > self.limit.into() && last <= top.into();
        }
        last <= self.limit.into() || self.limit == u32::MAX
    }

    /// Whether the type allows an access (SDM Vol. 3A, 3.4.5.1).
    fn allows(&self, access: Access) -> bool {
        match access {
            Access::Read => self.rights & rights::CODE == 0 || self.has(rights::READ_WRITE),
            Access::Write => self.rights & rights::CODE == 0 && self.has(rights::READ_WRITE),
            Access::Execute => self.has(rights::CODE),
        }
    }

    /// The stack pointer's bits, outside 64-bit mode.
    pub(crate) fn stack_bytes(&self) -> u8 {
        if self.has(rights::D) { 4 } else { 2 }
    }
}

impl Cpu {
    /// IA-32e mode: 64-bit mode and compatibility mode.
    pub(crate) fn is_ia32e(&self) -> bool {
        self.msr.efer & efer::LMA != 0
    }

    /// 64-bit mode.
    pub(crate) fn is_long(&self) -> bool {
        self.mode == Mode::Long
    }

    /// Virtual-8086 mode.
    pub(crate) fn is_v86(&self) -> bool {
        self.rflags & flags::VM != 0
    }

    /// Protected mode, not virtual-8086 mode: selectors name descriptors.
    pub(crate) fn is_protected(&self) -> bool {
        self.cr0 & cr0::PE != 0 && !self.is_v86()
    }

    /// Bytes of a control register, of the base of a descriptor table, of the instruction pointer.
    pub(crate) fn word_bytes(&self) -> u8 {
        if self.is_long() { 8 } else { 4 }
    }

    pub(super) fn find_mode(&self) -> Mode {
        let code = &self.seg[CS];
        if self.is_ia32e() && code.has(rights::L) {
            return Mode::Long;
        }
        if !code.has(rights::D) {
            return Mode::Segmented16;
        }
        let flat = code.base == 0
            && code.limit == u32::MAX
            && [ES, SS, DS].iter().all(|&s| self.seg[s].is_flat_data())
            && self.seg[SS].has(rights::D);
        if flat { Mode::Flat } else { Mode::Segmented32 }
    }

    /// What the instruction pointer is relative to, and how far it may go.
    pub(super) fn code_context(&self) -> u64 {
        let code = &self.seg[CS];
        if self.is_long() { 0 } else { code.base & u64::from(u32::MAX) | u64::from(code.limit) << 32 }
    }

    /// The linear address of `bytes` at `offset` in segment `register`, if that may be accessed so: #SS(0) or #GP(0).
    pub(crate) fn linear(&self, register: usize, offset: u64, bytes: u64, access: Access) -> Result<u64, Trap> {
        let segment = &self.seg[register];
        let found = if self.is_long() {
            let at = offset.wrapping_add(if register >= FS { segment.base } else { 0 });
            (is_canonical(at) && is_canonical(at.wrapping_add(bytes - 1))).then_some(at)
        } else {
            self.reach(segment, offset, bytes, access)
        };
        found.ok_or(if register == SS { Fault::SS0 } else { Fault::GP0 }.into())
    }

    /// The same outside 64-bit mode, in a segment that need not be loaded.
    pub(crate) fn reach(&self, segment: &Segment, offset: u64, bytes: u64, access: Access) -> Option<u64> {
        // Real mode does not look at the type.
        let typed = !self.is_protected() || segment.has(rights::P) && segment.allows(access);
        (typed && segment.holds(offset, bytes)).then_some(segment.base.wrapping_add(offset) & u64::from(u32::MAX))
    }

    /// The linear address that the instruction at `rip` is fetched from.
    pub(crate) fn fetch_address(&self, rip: u64) -> Result<u64, Trap> {
        if self.is_long() {
            return if is_canonical(rip) { Ok(rip) } else { Err(Fault::GP0.into()) };
        }
        let code = &self.seg[CS];
        if rip > code.limit.into() {
            return Err(Fault::GP0.into());
        }
        Ok(code.base.wrapping_add(rip) & u64::from(u32::MAX))
    }

    /// Bytes of code from `rip` to the end of its segment.
    pub(crate) fn code_room(&self, rip: u64) -> u64 {
        if self.mode.is_segmented() { (u64::from(self.seg[CS].limit) + 1).saturating_sub(rip) } else { u64::MAX }
    }

    /// Whether a near branch may go to `rip`.
    pub(crate) fn check_target(&self, rip: u64) -> Result<(), Trap> {
        self.fetch_address(rip).map(|_| ())
    }
}
