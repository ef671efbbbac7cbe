//! Call gates (SDM Vol. 3A, 5.8.3 to 5.8.5), and the stacks of inner levels in the TSS.

use super::Cpu;
use super::fault::{Fault, Trap};
use super::regs::{CS, RSP, SS};
use super::segments::{Descriptor, code, is_null, null_stack, rights, system};
use super::stack::Stack;
use super::task::Switch;
use crate::state::Segment;

impl Cpu {
    /// JMP or CALL to a system descriptor: a call gate, a task gate or a TSS.
    pub(super) fn through_gate(&mut self, selector: u16, gate: Descriptor, call: bool) -> Result<(), Trap> {
        let kind = gate.rights() & rights::TYPE;
        let ia32e = self.is_ia32e();
        let is_task = matches!(kind, system::TSS_16 | system::TASK_GATE | system::TSS);
        if ia32e && kind != system::CALL_GATE || !is_task && !matches!(kind, system::CALL_GATE | system::CALL_GATE_16) {
            return Err(Fault::gp(code(selector)).into());
        }
        if gate.dpl() < self.cpl() || gate.dpl() < (selector & 3) as u8 {
            return Err(Fault::gp(code(selector)).into());
        }
        let high = if ia32e { self.upper_half(selector, gate)? } else { 0 };
        if !gate.has(rights::P) {
            return Err(Fault::np(code(selector)).into());
        }
        if is_task {
            let tss = if kind == system::TASK_GATE { gate.gate_selector() } else { selector };
            return self.go_to_task(tss, if call { Switch::Call } else { Switch::Jump });
        }
        let bytes = match (ia32e, kind) {
            (true, _) => 8,
            (_, system::CALL_GATE) => 4,
            _ => 2,
        };
        let offset = super::mode::truncated(gate.gate_offset() | high << 32, bytes);
        self.enter_gate(gate, offset, bytes, call)
    }

    fn enter_gate(&mut self, gate: Descriptor, offset: u64, bytes: u8, call: bool) -> Result<(), Trap> {
        let target = gate.gate_selector();
        if is_null(target) {
            return Err(Fault::GP0.into());
        }
        let d = self.descriptor(target)?;
        let bad = Fault::gp(code(target));
        if !d.has(rights::S | rights::CODE) || d.dpl() > self.cpl() {
            return Err(bad.into());
        }
        if self.is_ia32e() && d.rights() & (rights::L | rights::D) != rights::L {
            return Err(bad.into());
        }
        if call && !d.has(rights::CONFORMING) && d.dpl() < self.cpl() {
            if !d.has(rights::P) {
                return Err(Fault::np(code(target)).into());
            }
            return self.call_inward(gate, d, offset, bytes);
        }
        // The gate's own RPL does not count.
        self.check_far_target(target, d, 0)?;
        self.enter_code(target, d, offset, call.then_some(bytes))
    }

    /// CALL to a more privileged level: another stack, with the parameters.
    fn call_inward(&mut self, gate: Descriptor, d: Descriptor, offset: u64, bytes: u8) -> Result<(), Trap> {
        let cpl = d.dpl();
        let (ss, mut stack) = self.inner_stack(cpl, 0)?;
        let count = if bytes == 8 { 0 } else { gate.gate_parameters() };
        let mut words = [0; 35];
        (words[0], words[1]) = (self.seg[SS].selector.into(), self.gpr[RSP]);
        let outer = self.stack();
        for (word, n) in words[2..].iter_mut().zip((0..count).rev()) {
            [*word] = self.stack_words(&outer, n * u64::from(bytes), bytes)?;
        }
        let n = 2 + count as usize;
        (words[n], words[n + 1]) = (self.seg[CS].selector.into(), self.rip);
        self.check_offset(d, offset, Fault::GP0)?;
        self.push_words(&mut stack, &words[..n + 2], bytes, code(ss.selector))?;
        self.mark_accessed(d)?;
        self.seg[SS] = ss;
        self.gpr[RSP] = stack.pointer(self.gpr[RSP]);
        self.seg[CS] = d.segment(gate.gate_selector() & !3 | u16::from(cpl));
        self.rip = offset;
        self.mode_changed();
        Ok(())
    }

    /// SS and stack of inner level `cpl` from the TSS; `ext` goes into error codes.
    pub(super) fn inner_stack(&mut self, cpl: u8, ext: u32) -> Result<(Segment, Stack), Trap> {
        if self.is_ia32e() {
            let sp = self.tss_field(4 + 8 * u64::from(cpl), 8, ext)?;
            return Ok((null_stack(cpl), Stack::long(sp, cpl)));
        }
        let wide = self.tr.rights & rights::TYPE & 8 != 0;
        let (sp, ss) = if wide {
            let at = 4 + 8 * u64::from(cpl);
            // Both or none: the limit is looked at for the whole of it.
            self.tss_field(at + 4, 4, ext)?;
            (self.tss_field(at, 4, ext)?, self.tss_field(at + 4, 2, ext)?)
        } else {
            let at = 2 + 4 * u64::from(cpl);
            self.tss_field(at + 2, 2, ext)?;
            (self.tss_field(at, 2, ext)?, self.tss_field(at + 2, 2, ext)?)
        };
        let bad = if ext == 0 { Fault::ts } else { |error| Fault::ts(error | 1) };
        let segment = self.stack_segment(ss as u16, cpl, false, bad)?;
        Ok((segment, Stack::in_segment(segment, sp, cpl)))
    }

    /// `bytes` at `offset` of the TSS; beyond its limit #TS(TR).
    pub(super) fn tss_field(&mut self, offset: u64, bytes: u8, ext: u32) -> Result<u64, Trap> {
        if offset + u64::from(bytes) - 1 > u64::from(self.tr.limit) {
            return Err(Fault::ts(code(self.tr.selector) | ext).into());
        }
        let at = self.tr.base.wrapping_add(offset);
        match bytes {
            2 => self.load_system::<2>(at),
            4 => self.load_system::<4>(at),
            _ => self.load_system::<8>(at),
        }
    }
}
