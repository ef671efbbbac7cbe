//! Far transfers: IRET, far RET, JMP and CALL (SDM Vol. 2A and 2B), to 64-bit code.

use super::Cpu;
use super::fault::{Fault, Trap};
use super::flags;
use super::regs::{CS, DS, ES, FS, GS, RSP, SS};
use super::segments::{Descriptor, code, is_null, rights};
use crate::mem::is_canonical;
use crate::state::Segment;

impl Cpu {
    /// `N` stack words of `bytes` each from `at`.
    fn stack_words<const N: usize>(&mut self, at: u64, bytes: u8) -> Result<[u64; N], Trap> {
        let mut words = [0; N];
        for (i, word) in (0u64..).zip(words.iter_mut()) {
            let at = at.wrapping_add(i * u64::from(bytes));
            if !is_canonical(at) || !is_canonical(at.wrapping_add(u64::from(bytes) - 1)) {
                return Err(Fault::SS0.into());
            }
            *word = self.load_bytes(at, bytes)?;
        }
        Ok(words)
    }

    /// Reads `bytes` (1, 2, 4 or 8) with the current privilege.
    pub(crate) fn load_bytes(&mut self, at: u64, bytes: u8) -> Result<u64, Trap> {
        let mut buffer = [0; 8];
        self.read_linear(at, &mut buffer[..usize::from(bytes)], self.user)?;
        Ok(u64::from_le_bytes(buffer))
    }

    /// The code segment a far return goes to.
    fn return_target(&mut self, selector: u16) -> Result<Descriptor, Trap> {
        if is_null(selector) {
            return Err(Fault::GP0.into());
        }
        let d = self.descriptor(selector)?;
        let rpl = (selector & 3) as u8;
        let level = if d.has(rights::CONFORMING) { d.dpl() <= rpl } else { d.dpl() == rpl };
        if !d.has(rights::S | rights::CODE) || rpl < self.cpl() || !level {
            return Err(Fault::gp(code(selector)).into());
        }
        self.check_long_code(selector, d)?;
        Ok(d)
    }

    /// Commits a far return.
    fn go_back(&mut self, selector: u16, d: Descriptor, rip: u64, stack: Option<(Segment, u64)>) {
        let outward = (selector & 3) as u8 > self.cpl();
        self.seg[CS] = d.segment(selector);
        self.rip = rip;
        if let Some((ss, sp)) = stack {
            (self.seg[SS], self.gpr[RSP]) = (ss, sp);
        }
        if outward {
            self.drop_inner_segments();
        }
        self.mode_changed();
    }

    /// Data segments that the outer level may not use become null.
    fn drop_inner_segments(&mut self) {
        for register in [ES, DS, FS, GS] {
            let cpl = self.cpl();
            let segment = &mut self.seg[register];
            let r = segment.rights;
            let conforming = r & (rights::CODE | rights::CONFORMING) == rights::CODE | rights::CONFORMING;
            if r & rights::P != 0 && !conforming && ((r >> 5 & 3) as u8) < cpl {
                // The base stays: FS and GS of 64-bit code are set by MSR.
                *segment = Segment { base: segment.base, ..Segment::default() };
            }
        }
    }

    /// IRET with operands of `bytes`.
    pub(crate) fn iret(&mut self, bytes: u8) -> Result<(), Trap> {
        if self.rflags & flags::NT != 0 {
            return Err(Fault::GP0.into());
        }
        // Silicon looks at the flags' word first, at CS before the outer stack, at SS before RIP: visible in what faults.
        let (frame, step) = (self.gpr[RSP], u64::from(bytes));
        let [image] = self.stack_words(frame.wrapping_add(2 * step), bytes)?;
        let [rip, cs] = self.stack_words(frame, bytes)?;
        let cs = cs as u16;
        let d = self.return_target(cs)?;
        // Of SS no more than the selector is read.
        let [sp] = self.stack_words(frame.wrapping_add(3 * step), bytes)?;
        let [ss] = self.stack_words(frame.wrapping_add(4 * step), 2)?;
        let ss = self.stack_segment(ss as u16, (cs & 3) as u8, Fault::gp)?;
        if !is_canonical(rip) {
            return Err(Fault::GP0.into());
        }
        self.mark_accessed(d)?;
        let value = self.returned_flags(image, bytes);
        self.go_back(cs, d, rip, Some((ss, sp)));
        self.set_rflags_all(value);
        Ok(())
    }

    /// RFLAGS after IRET with this image: what may change depends on CPL and IOPL.
    fn returned_flags(&self, image: u64, bytes: u8) -> u64 {
        let old = self.rflags_all();
        let mut may = flags::ARITH | flags::TF | flags::DF | flags::NT;
        if bytes > 2 {
            may |= flags::AC | flags::ID | flags::RF;
        }
        if u64::from(self.cpl()) <= (old & flags::IOPL) >> 12 {
            may |= flags::IF;
        }
        if self.cpl() == 0 {
            may |= flags::IOPL;
        }
        old & !may | image & may
    }

    /// RET far with operands of `bytes`, dropping `drop` bytes of parameters.
    pub(crate) fn far_return(&mut self, bytes: u8, drop: u64) -> Result<(), Trap> {
        let sp = self.gpr[RSP];
        let [rip, cs] = self.stack_words::<2>(sp, bytes)?;
        let cs = cs as u16;
        let d = self.return_target(cs)?;
        if !is_canonical(rip) {
            return Err(Fault::GP0.into());
        }
        let rpl = (cs & 3) as u8;
        let above = sp.wrapping_add(2 * u64::from(bytes)).wrapping_add(drop);
        if rpl == self.cpl() {
            self.mark_accessed(d)?;
            self.gpr[RSP] = above;
            self.go_back(cs, d, rip, None);
            return Ok(());
        }
        let [sp, ss] = self.stack_words::<2>(above, bytes)?;
        let ss = self.stack_segment(ss as u16, rpl, Fault::gp)?;
        self.mark_accessed(d)?;
        self.go_back(cs, d, rip, Some((ss, sp.wrapping_add(drop))));
        Ok(())
    }

    /// The code segment a far JMP or CALL goes to, at the same privilege.
    fn far_target(&mut self, selector: u16) -> Result<Descriptor, Trap> {
        if is_null(selector) {
            return Err(Fault::GP0.into());
        }
        let d = self.descriptor(selector)?;
        if !d.has(rights::S) {
            self.note_unimplemented("call gate");
        }
        let rpl = (selector & 3) as u8;
        let cpl = self.cpl();
        let level = if d.has(rights::CONFORMING) { d.dpl() <= cpl } else { rpl <= cpl && d.dpl() == cpl };
        if !d.has(rights::S | rights::CODE) || !level {
            return Err(Fault::gp(code(selector)).into());
        }
        self.check_long_code(selector, d)?;
        Ok(d)
    }

    /// JMP or CALL (pushing words of `bytes`) through a far pointer.
    pub(crate) fn far_jump(&mut self, selector: u16, rip: u64, call: Option<u8>) -> Result<(), Trap> {
        let d = self.far_target(selector)?;
        if !is_canonical(rip) {
            return Err(Fault::GP0.into());
        }
        self.mark_accessed(d)?;
        if let Some(bytes) = call {
            let step = u64::from(bytes);
            let sp = self.gpr[RSP].wrapping_sub(2 * step);
            if !is_canonical(sp) || !is_canonical(sp.wrapping_add(2 * step - 1)) {
                return Err(Fault::SS0.into());
            }
            self.probe_write(sp.wrapping_add(step), step, self.user)?;
            self.store(sp, self.rip, bytes.into(), self.user)?;
            self.store(sp.wrapping_add(step), self.seg[CS].selector.into(), bytes.into(), self.user)?;
            self.gpr[RSP] = sp;
        }
        let cpl = u16::from(self.cpl());
        self.seg[CS] = d.segment(selector & !3 | cpl);
        self.rip = rip;
        self.mode_changed();
        Ok(())
    }
}
