//! Far transfers: far JMP, CALL and RET, and IRET (SDM Vol. 2A and 2B), in all modes.

use super::Cpu;
use super::fault::{Fault, Trap};
use super::flags;
use super::regs::{CS, DS, ES, FS, GS, RSP, SS};
use super::segments::{Descriptor, code, is_null, real_segment, rights, v86_segment};
use super::stack::Stack;
use super::task::Switch;
use crate::mem::is_canonical;
use crate::state::Segment;

/// #GP(0).
const GP: Result<(), Trap> = Err(Trap::Fault(Fault::GP0));

impl Cpu {
    /// Reads `bytes` (1, 2, 4 or 8) with the current privilege.
    pub(crate) fn load_bytes(&mut self, at: u64, bytes: u8) -> Result<u64, Trap> {
        let mut buffer = [0; 8];
        self.read_linear(at, &mut buffer[..usize::from(bytes)], self.user)?;
        Ok(u64::from_le_bytes(buffer))
    }

    /// Whether `rip` may be gone to in the code segment `d`.
    pub(super) fn check_offset(&self, d: Descriptor, rip: u64, bad: Fault) -> Result<(), Trap> {
        let long = self.is_ia32e() && d.has(rights::L);
        let good = if long { is_canonical(rip) } else { rip <= d.limit().into() };
        if good { Ok(()) } else { Err(bad.into()) }
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
        self.check_code(selector, d)?;
        Ok(d)
    }

    /// The stack segment a return to another level goes to: a null one for 64-bit code only.
    fn return_stack(&mut self, selector: u16, target: u16, d: Descriptor) -> Result<Segment, Trap> {
        let long = self.is_ia32e() && d.has(rights::L);
        self.stack_segment(selector, (target & 3) as u8, long, Fault::gp)
    }

    /// Commits a far return; `stack` is the outer one, with its selector.
    fn go_back(&mut self, selector: u16, d: Descriptor, rip: u64, stack: Option<(Segment, u64)>) {
        let outward = (selector & 3) as u8 > self.cpl();
        self.seg[CS] = d.segment(selector);
        self.rip = rip;
        if let Some((ss, sp)) = stack {
            self.seg[SS] = ss;
            self.mode_changed();
            self.gpr[RSP] = if self.is_long() { sp } else { Stack::in_segment(ss, sp, 0).pointer(self.gpr[RSP]) };
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
        // Even if it faults (SDM Vol. 3A, 6.7.1).
        self.nmi_blocked = false;
        if !self.is_protected() {
            return self.iret_real(bytes);
        }
        if self.rflags & flags::NT != 0 {
            if self.is_ia32e() {
                return GP;
            }
            let link = self.tss_field(0, 2, 0)?;
            return self.go_to_task(link as u16, Switch::Return);
        }
        let (stack, step) = (self.stack(), u64::from(bytes));
        // Silicon looks at the flags' word first, at CS before the outer stack, at SS before RIP: visible in what faults.
        let [image] = self.stack_words(&stack, 2 * step, bytes)?;
        let [rip, cs] = self.stack_words(&stack, 0, bytes)?;
        if image & flags::VM != 0 && bytes == 4 && self.cpl() == 0 && !self.is_ia32e() {
            return self.iret_to_v86(rip, cs as u16, image);
        }
        let cs = cs as u16;
        let d = self.return_target(cs)?;
        let mut to = None;
        if self.is_long() || (cs & 3) as u8 > self.cpl() {
            // Of SS no more than the selector is read.
            let [sp] = self.stack_words(&stack, 3 * step, bytes)?;
            let [ss] = self.stack_words(&stack, 4 * step, 2)?;
            to = Some((self.return_stack(ss as u16, cs, d)?, sp));
        }
        self.check_offset(d, rip, Fault::GP0)?;
        self.mark_accessed(d)?;
        let value = self.returned_flags(image, bytes);
        if to.is_none() {
            self.gpr[RSP] = self.stack_moved(3 * step);
        }
        self.go_back(cs, d, rip, to);
        self.set_rflags_all(value);
        Ok(())
    }

    /// IRET in real and virtual-8086 mode.
    fn iret_real(&mut self, bytes: u8) -> Result<(), Trap> {
        let [rip, cs, image] = self.stack_words(&self.stack(), 0, bytes)?;
        let segment = self.far_segment(cs as u16);
        if rip > segment.limit.into() {
            return GP;
        }
        self.gpr[RSP] = self.stack_moved(3 * u64::from(bytes));
        let value = self.returned_flags(image, bytes);
        (self.seg[CS], self.rip) = (segment, rip);
        self.set_rflags_all(value);
        Ok(())
    }

    /// IRET of CPL 0 to virtual-8086 mode (SDM Vol. 3B, 20.2.5).
    fn iret_to_v86(&mut self, rip: u64, cs: u16, image: u64) -> Result<(), Trap> {
        let [sp, ss, es, ds, fs, gs] = self.stack_words(&self.stack(), 12, 4)?;
        if rip > 0xffff {
            return GP;
        }
        for (register, selector) in [(ES, es), (CS, cs.into()), (SS, ss), (DS, ds), (FS, fs), (GS, gs)] {
            self.seg[register] = v86_segment(selector as u16);
        }
        (self.rip, self.gpr[RSP]) = (rip, sp);
        self.set_rflags_all(image);
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
        let (stack, step) = (self.stack(), u64::from(bytes));
        let [rip, cs] = self.stack_words::<2>(&stack, 0, bytes)?;
        let cs = cs as u16;
        if !self.is_protected() {
            let segment = self.far_segment(cs);
            if rip > segment.limit.into() {
                return GP;
            }
            self.gpr[RSP] = self.stack_moved(2 * step + drop);
            (self.seg[CS], self.rip) = (segment, rip);
            self.mode_changed();
            return Ok(());
        }
        let d = self.return_target(cs)?;
        self.check_offset(d, rip, Fault::GP0)?;
        if (cs & 3) as u8 == self.cpl() {
            self.mark_accessed(d)?;
            self.gpr[RSP] = self.stack_moved(2 * step + drop);
            self.go_back(cs, d, rip, None);
            return Ok(());
        }
        let [sp, ss] = self.stack_words::<2>(&stack, 2 * step + drop, bytes)?;
        let ss = self.return_stack(ss as u16, cs, d)?;
        self.mark_accessed(d)?;
        self.go_back(cs, d, rip, Some((ss, sp.wrapping_add(drop))));
        Ok(())
    }

    /// CS after a far transfer in real or virtual-8086 mode.
    fn far_segment(&self, selector: u16) -> Segment {
        if self.is_v86() { v86_segment(selector) } else { real_segment(selector, &self.seg[CS]) }
    }

    /// JMP or CALL (pushing words of `bytes`) through a far pointer.
    pub(crate) fn far_jump(&mut self, selector: u16, rip: u64, call: Option<u8>) -> Result<(), Trap> {
        if !self.is_protected() {
            return self.far_jump_real(selector, rip, call);
        }
        if is_null(selector) {
            return GP;
        }
        let d = self.descriptor(selector)?;
        if !d.has(rights::S) {
            return self.through_gate(selector, d, call.is_some());
        }
        self.check_far_target(selector, d, (selector & 3) as u8)?;
        self.enter_code(selector, d, rip, call)
    }

    fn far_jump_real(&mut self, selector: u16, rip: u64, call: Option<u8>) -> Result<(), Trap> {
        let segment = self.far_segment(selector);
        if rip > segment.limit.into() {
            return GP;
        }
        if let Some(bytes) = call {
            self.push_return_address(bytes)?;
        }
        (self.seg[CS], self.rip) = (segment, rip);
        self.mode_changed();
        Ok(())
    }

    /// Checks the code segment of a JMP or CALL that keeps the privilege.
    pub(super) fn check_far_target(&mut self, selector: u16, d: Descriptor, rpl: u8) -> Result<(), Trap> {
        let cpl = self.cpl();
        let level = if d.has(rights::CONFORMING) { d.dpl() <= cpl } else { rpl <= cpl && d.dpl() == cpl };
        if !d.has(rights::S | rights::CODE) || !level {
            return Err(Fault::gp(code(selector)).into());
        }
        self.check_code(selector, d)
    }

    /// Goes to `rip` in `d`, which has been checked, at the same privilege.
    pub(super) fn enter_code(&mut self, selector: u16, d: Descriptor, rip: u64, call: Option<u8>) -> Result<(), Trap> {
        self.check_offset(d, rip, Fault::GP0)?;
        self.mark_accessed(d)?;
        if let Some(bytes) = call {
            self.push_return_address(bytes)?;
        }
        let cpl = u16::from(self.cpl());
        self.seg[CS] = d.segment(selector & !3 | cpl);
        self.rip = rip;
        self.mode_changed();
        Ok(())
    }

    fn push_return_address(&mut self, bytes: u8) -> Result<(), Trap> {
        let mut stack = self.stack();
        self.push_words(&mut stack, &[self.seg[CS].selector.into(), self.rip], bytes, 0)?;
        self.gpr[RSP] = stack.pointer(self.gpr[RSP]);
        Ok(())
    }
}
