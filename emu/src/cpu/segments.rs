//! Descriptors and segment registers (SDM Vol. 3A, chapters 3 and 5).

use super::Cpu;
use super::fault::{Fault, Trap};
use super::regs::SS;
use crate::mem::is_canonical;
use crate::state::Segment;

/// Bits of `Segment::rights`.
pub(crate) mod rights {
    /// Accessed (code and data); busy (TSS).
    pub(crate) const ACCESSED: u16 = 1 << 0;
    /// Readable code, writable data.
    pub(crate) const READ_WRITE: u16 = 1 << 1;
    /// Conforming code.
    pub(crate) const CONFORMING: u16 = 1 << 2;
    /// Data whose offsets are above the limit.
    pub(crate) const EXPAND_DOWN: u16 = 1 << 2;
    /// Code, not data.
    pub(crate) const CODE: u16 = 1 << 3;
    /// Code or data, not system.
    pub(crate) const S: u16 = 1 << 4;
    /// Present.
    pub(crate) const P: u16 = 1 << 7;
    /// 64-bit code.
    pub(crate) const L: u16 = 1 << 13;
    /// 32-bit code, stack (B).
    pub(crate) const D: u16 = 1 << 14;
    /// Type and S.
    pub(crate) const TYPE: u16 = 0x1f;

    /// Flat 64-bit code, DPL 0 (SYSCALL).
    pub(crate) const FLAT_CODE: u16 = 0xa09b;
    /// Flat 32-bit code, DPL 0 (SYSENTER).
    pub(crate) const FLAT_CODE_32: u16 = 0xc09b;
    /// Flat writable data, DPL 0 (SYSCALL).
    pub(crate) const FLAT_DATA: u16 = 0xc093;
    /// Data as virtual-8086 mode sees it.
    pub(crate) const V86: u16 = 0x00f3;
}

/// System descriptor types in `rights & TYPE` (SDM Vol. 3A, table 3-2).
pub(crate) mod system {
    pub(crate) const TSS_16: u16 = 0x1;
    pub(crate) const LDT: u16 = 0x2;
    pub(crate) const TSS_16_BUSY: u16 = 0x3;
    pub(crate) const CALL_GATE_16: u16 = 0x4;
    pub(crate) const TASK_GATE: u16 = 0x5;
    pub(crate) const INTERRUPT_GATE_16: u16 = 0x6;
    pub(crate) const TRAP_GATE_16: u16 = 0x7;
    pub(crate) const TSS: u16 = 0x9;
    pub(crate) const TSS_BUSY: u16 = 0xb;
    pub(crate) const CALL_GATE: u16 = 0xc;
    pub(crate) const INTERRUPT_GATE: u16 = 0xe;
    pub(crate) const TRAP_GATE: u16 = 0xf;
}
use system::{CALL_GATE, CALL_GATE_16, LDT, TASK_GATE, TSS, TSS_16, TSS_16_BUSY, TSS_BUSY};

/// A descriptor and where it stands.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Descriptor {
    at: u64,
    raw: u64,
}

impl Descriptor {
    /// Bits 40-55 without the limit.
    pub(crate) fn rights(self) -> u16 {
        (self.raw >> 40) as u16 & 0xf0ff
    }

    /// Whether all of `bits` are set.
    pub(crate) fn has(self, bits: u16) -> bool {
        self.rights() & bits == bits
    }

    pub(crate) fn dpl(self) -> u8 {
        (self.rights() >> 5 & 3) as u8
    }

    fn base(self) -> u64 {
        self.raw >> 16 & 0xff_ffff | self.raw >> 56 << 24
    }

    /// Limit in bytes.
    pub(crate) fn limit(self) -> u32 {
        let limit = (self.raw & 0xffff | self.raw >> 32 & 0xf_0000) as u32;
        if self.raw >> 55 & 1 != 0 { limit << 12 | 0xfff } else { limit }
    }

    /// A gate's offset, without the upper half it has in IA-32e mode.
    pub(crate) fn gate_offset(self) -> u64 {
        self.raw & 0xffff | self.raw >> 32 & 0xffff_0000
    }

    /// A gate's target.
    pub(crate) fn gate_selector(self) -> u16 {
        (self.raw >> 16) as u16
    }

    /// Parameters that a call gate copies.
    pub(crate) fn gate_parameters(self) -> u64 {
        self.raw >> 32 & 0x1f
    }

    pub(crate) fn segment(self, selector: u16) -> Segment {
        let accessed = self.rights() | if self.has(rights::S) { rights::ACCESSED } else { 0 };
        Segment { selector, base: self.base(), limit: self.limit(), rights: accessed }
    }
}

/// The error code of a selector.
pub(crate) fn code(selector: u16) -> u32 {
    u32::from(selector & !3)
}

/// Whether a selector is null.
pub(crate) fn is_null(selector: u16) -> bool {
    selector & !3 == 0
}

/// The null SS of an inner level in 64-bit mode.
pub(crate) fn null_stack(cpl: u8) -> Segment {
    Segment { selector: cpl.into(), rights: u16::from(cpl) << 5, ..Segment::default() }
}

/// A segment register loaded in virtual-8086 mode (SDM Vol. 3B, 20.2.1).
pub(crate) fn v86_segment(selector: u16) -> Segment {
    Segment { selector, base: u64::from(selector) << 4, limit: 0xffff, rights: rights::V86 }
}

/// A segment register loaded in real mode: limit and rights stay.
pub(crate) fn real_segment(selector: u16, old: &Segment) -> Segment {
    Segment { selector, base: u64::from(selector) << 4, ..*old }
}

impl Cpu {
    /// The descriptor of a selector that is not null; `None` beyond the table.
    pub(super) fn find_descriptor(&mut self, selector: u16, bytes: u64) -> Result<Option<Descriptor>, Trap> {
        let (base, limit) = match selector & 4 {
            0 => (self.gdtr.base, u64::from(self.gdtr.limit)),
            _ if self.ldtr.rights & rights::P == 0 => return Ok(None),
            _ => (self.ldtr.base, u64::from(self.ldtr.limit)),
        };
        let offset = u64::from(selector & !7);
        if offset + bytes - 1 > limit {
            return Ok(None);
        }
        let at = base.wrapping_add(offset);
        Ok(Some(Descriptor { at, raw: self.load_system::<8>(at)? }))
    }

    /// The descriptor of a selector that is not null; #GP(selector) beyond the table.
    pub(crate) fn descriptor(&mut self, selector: u16) -> Result<Descriptor, Trap> {
        self.find_descriptor(selector, 8)?.ok_or(Fault::gp(code(selector)).into())
    }

    /// Sets the accessed bit in the table.
    pub(crate) fn mark_accessed(&mut self, d: Descriptor) -> Result<(), Trap> {
        if !d.has(rights::ACCESSED) {
            self.store_rights(d, d.rights() | rights::ACCESSED)?;
        }
        Ok(())
    }

    /// Writes the low byte of a descriptor's rights.
    pub(super) fn store_rights(&mut self, d: Descriptor, rights: u16) -> Result<(), Trap> {
        self.store_system(d.at + 5, &[rights as u8])
    }

    /// MOV, POP, LSS, LFS, LGS to a segment register (SDM Vol. 2B, MOV).
    pub(crate) fn load_segment(&mut self, register: usize, selector: u16) -> Result<(), Trap> {
        self.seg[register] = match register {
            _ if self.is_v86() => v86_segment(selector),
            _ if !self.is_protected() => real_segment(selector, &self.seg[register]),
            SS => self.stack_segment(selector, self.cpl(), self.is_long(), Fault::gp)?,
            _ => self.data_segment(selector)?,
        };
        self.mode_changed();
        Ok(())
    }

    fn data_segment(&mut self, selector: u16) -> Result<Segment, Trap> {
        if is_null(selector) {
            return Ok(Segment { selector, ..Segment::default() });
        }
        let d = self.descriptor(selector)?;
        let readable = d.has(rights::S) && (!d.has(rights::CODE) || d.has(rights::READ_WRITE));
        let privileged = !d.has(rights::CODE | rights::CONFORMING);
        let level = self.cpl().max((selector & 3) as u8);
        if !readable || privileged && level > d.dpl() {
            return Err(Fault::gp(code(selector)).into());
        }
        if !d.has(rights::P) {
            return Err(Fault::np(code(selector)).into());
        }
        self.mark_accessed(d)?;
        Ok(d.segment(selector))
    }

    /// Checks a selector for SS at privilege `cpl`, of `long` code; `bad` makes the fault for one that does not fit.
    pub(crate) fn stack_segment(
        &mut self,
        selector: u16,
        cpl: u8,
        long: bool,
        bad: fn(u32) -> Fault,
    ) -> Result<Segment, Trap> {
        let rpl = (selector & 3) as u8;
        if is_null(selector) {
            if !long || cpl == 3 || rpl != cpl {
                return Err(bad(0).into());
            }
            return Ok(null_stack(cpl));
        }
        let d = self.find_descriptor(selector, 8)?.ok_or(bad(code(selector)))?;
        let writable = d.has(rights::S | rights::READ_WRITE) && !d.has(rights::CODE);
        if !writable || rpl != cpl || d.dpl() != cpl {
            return Err(bad(code(selector)).into());
        }
        if !d.has(rights::P) {
            return Err(Fault::ss(code(selector) | bad(0).error.unwrap_or(0)).into());
        }
        self.mark_accessed(d)?;
        Ok(d.segment(selector))
    }

    /// Checks that the code segment `d` is present, and not of a kind that IA-32e mode does not have.
    pub(crate) fn check_code(&mut self, selector: u16, d: Descriptor) -> Result<(), Trap> {
        if self.is_ia32e() && d.has(rights::L | rights::D) {
            return Err(Fault::gp(code(selector)).into());
        }
        if !d.has(rights::P) {
            return Err(Fault::np(code(selector)).into());
        }
        Ok(())
    }

    /// LLDT (SDM Vol. 2A).
    pub(crate) fn load_ldt(&mut self, selector: u16) -> Result<(), Trap> {
        self.ldtr = match is_null(selector) {
            true => Segment { selector, ..Segment::default() },
            false => self.system_segment(selector, &[LDT])?.1,
        };
        Ok(())
    }

    /// LTR (SDM Vol. 2A): marks the TSS busy.
    pub(crate) fn load_tr(&mut self, selector: u16) -> Result<(), Trap> {
        if is_null(selector) {
            return Err(Fault::GP0.into());
        }
        let kinds: &[u16] = if self.is_ia32e() { &[TSS] } else { &[TSS, TSS_16] };
        let (d, mut segment) = self.system_segment(selector, kinds)?;
        segment.rights |= 2; // busy
        self.store_rights(d, segment.rights)?;
        self.tr = segment;
        Ok(())
    }

    /// A system segment of the GDT (SDM Vol. 3A, 3.5; 7.2.2).
    fn system_segment(&mut self, selector: u16, kinds: &[u16]) -> Result<(Descriptor, Segment), Trap> {
        let bad = Fault::gp(code(selector));
        if selector & 4 != 0 {
            return Err(bad.into());
        }
        let bytes = if self.is_ia32e() { 16 } else { 8 };
        let d = self.find_descriptor(selector, bytes)?.ok_or(bad)?;
        if !kinds.contains(&(d.rights() & rights::TYPE)) {
            return Err(bad.into());
        }
        if !d.has(rights::P) {
            return Err(Fault::np(code(selector)).into());
        }
        let mut segment = d.segment(selector);
        if self.is_ia32e() {
            segment.base |= self.upper_half(selector, d)? << 32;
            if !is_canonical(segment.base) {
                return Err(bad.into());
            }
        }
        Ok((d, segment))
    }

    /// What the second eight bytes of a 16-byte descriptor hold for bits 63-32; its type there must be 0.
    pub(super) fn upper_half(&mut self, selector: u16, d: Descriptor) -> Result<u64, Trap> {
        let bad = Fault::gp(code(selector));
        self.find_descriptor(selector, 16)?.ok_or(bad)?;
        let high = self.load_system::<8>(d.at + 8)?;
        if high >> 40 & 0x1f != 0 { Err(bad.into()) } else { Ok(high & u64::from(u32::MAX)) }
    }

    /// What LAR, LSL, VERR and VERW may look at: `None` sets ZF to 0.
    fn visible(&mut self, selector: u16, system: &[u16], legacy: &[u16]) -> Result<Option<Descriptor>, Trap> {
        if is_null(selector) {
            return Ok(None);
        }
        let Some(d) = self.find_descriptor(selector, 8)? else { return Ok(None) };
        let kind = d.rights() & rights::TYPE;
        let valid = d.has(rights::S) || system.contains(&kind) || !self.is_ia32e() && legacy.contains(&kind);
        let level = self.cpl().max((selector & 3) as u8);
        let allowed = d.has(rights::S | rights::CODE | rights::CONFORMING) || level <= d.dpl();
        Ok((valid && allowed).then_some(d))
    }

    /// LAR (SDM Vol. 2A): access rights as in the second doubleword; silicon leaves the limit's bits in.
    pub(crate) fn access_rights(&mut self, selector: u16) -> Result<Option<u64>, Trap> {
        let d =
            self.visible(selector, &[LDT, TSS, TSS_BUSY, CALL_GATE], &[TSS_16, TSS_16_BUSY, CALL_GATE_16, TASK_GATE])?;
        Ok(d.map(|d| d.raw >> 32 & 0x00ff_ff00))
    }

    /// LSL (SDM Vol. 2A): limit in bytes.
    pub(crate) fn segment_limit(&mut self, selector: u16) -> Result<Option<u64>, Trap> {
        let d = self.visible(selector, &[LDT, TSS, TSS_BUSY], &[TSS_16, TSS_16_BUSY])?;
        Ok(d.map(|d| d.limit().into()))
    }

    /// VERR, VERW (SDM Vol. 2D).
    pub(crate) fn verify(&mut self, selector: u16, write: bool) -> Result<bool, Trap> {
        let d = self.visible(selector, &[], &[])?;
        Ok(d.is_some_and(|d| match (d.has(rights::CODE), write) {
            (true, true) => false,
            (true, false) | (false, true) => d.has(rights::READ_WRITE),
            (false, false) => true,
        }))
    }
}
