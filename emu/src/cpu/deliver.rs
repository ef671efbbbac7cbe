//! Exceptions and interrupts (SDM Vol. 3A, chapter 6; Vol. 2A, INT n), in all modes.

use super::Cpu;
use super::fault::{Fault, Trap, vector};
use super::flags;
use super::mode::truncated;
use super::regs::{CS, DS, ES, FS, GS, RSP, SS, cr0};
use super::segments::{self, Descriptor, is_null, null_stack, rights, system};
use super::stack::Stack;
use super::task::Switch;
use crate::state::{Segment, Shadow};

/// A fault while delivering #DF: the machine shuts down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TripleFault;

/// Where an event comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// An exception of the instruction.
    Exception,
    /// The interrupt controller.
    External,
    /// INT n, INT3: the gate's DPL counts.
    Software,
    /// INT1: as software, but the gate's DPL does not count.
    Privileged,
}

/// How exceptions combine (SDM Vol. 3A, table 6-4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    Benign,
    Contributory,
    PageFault,
    DoubleFault,
}

impl Class {
    fn of(vector: u8) -> Self {
        match vector {
            vector::DE | vector::TS..=vector::GP => Self::Contributory,
            vector::PF => Self::PageFault,
            vector::DF => Self::DoubleFault,
            _ => Self::Benign,
        }
    }
}

/// The part of an IDT gate that counts.
struct Gate {
    selector: u16,
    offset: u64,
    ist: u8,
    /// Interrupt gate, not trap gate.
    masks: bool,
    /// Bytes of the words it pushes.
    bytes: u8,
    /// It leads to a task.
    is_task: bool,
}

/// Bits of an IDT error code: the event was external; the selector is a gate's.
const EXT: u32 = 1;
const IDT: u32 = 2;

impl Cpu {
    /// Delivers an exception of the instruction at `rip`, and what comes of trying.
    pub(crate) fn deliver_fault(&mut self, fault: Fault) -> Result<(), TripleFault> {
        let mut fault = fault;
        loop {
            if fault.vector == vector::PF {
                self.cr2 = fault.address;
            }
            let Err(Trap::Fault(second)) = self.deliver(fault.vector, fault.error, Source::Exception) else {
                return Ok(());
            };
            use Class::{Contributory, DoubleFault, PageFault};
            fault = match (Class::of(fault.vector), Class::of(second.vector)) {
                (DoubleFault, Contributory | PageFault) => return Err(TripleFault),
                (Contributory, Contributory) | (PageFault, Contributory | PageFault) => {
                    if second.vector == vector::PF {
                        self.cr2 = second.address;
                    }
                    Fault { vector: vector::DF, error: Some(0), address: 0 }
                }
                _ => second,
            };
        }
    }

    /// Delivers an interrupt or NMI before the instruction at `rip`.
    pub(crate) fn deliver_interrupt(&mut self, vector: u8) -> Result<(), TripleFault> {
        match self.deliver(vector, None, Source::External) {
            Err(Trap::Fault(fault)) => self.deliver_fault(fault),
            _ => Ok(()),
        }
    }

    /// Enters the handler of `vector` with return address `rip`; on an error nothing has happened.
    pub(crate) fn deliver(&mut self, vector: u8, error: Option<u32>, source: Source) -> Result<(), Trap> {
        if self.cr0 & cr0::PE == 0 {
            return self.deliver_real(vector);
        }
        let ext = if matches!(source, Source::Software) { 0 } else { EXT };
        let gate = self.gate(vector, source, ext)?;
        // A #DB, and an interrupt in the middle of a REP, push it as it is (SDM Vol. 3B, 17.3.1.1).
        let resume = source == Source::Exception && vector != vector::DB;
        if gate.is_task {
            let by = Switch::Event { error, ext, resume };
            match source {
                // An instruction: it is over.
                Source::Software | Source::Privileged => self.go_to_task(gate.selector, by)?,
                _ => self.switch_task(gate.selector, by)??,
            }
            self.entered(vector);
            return Ok(());
        }
        let (code, cpl) = self.gate_target(gate.selector, ext)?;
        let (ss, mut stack) = self.handler_stack(&gate, cpl, ext)?;
        self.check_offset(code, gate.offset, Fault::gp(ext))?;
        let pushed = self.rflags_all() | if resume { flags::RF } else { 0 };
        let selector = |segment: usize| u64::from(self.seg[segment].selector);
        let frame = [
            selector(GS),
            selector(FS),
            selector(DS),
            selector(ES),
            selector(SS),
            self.gpr[RSP],
            pushed,
            selector(CS),
            self.rip,
            error.unwrap_or(0).into(),
        ];
        let from = match ss {
            _ if self.is_v86() => 0,
            None if gate.bytes != 8 => 6,
            _ => 4,
        };
        let frame = &frame[from..frame.len() - usize::from(error.is_none())];
        let bad = segments::code(ss.map_or(0, |ss| ss.selector)) | ext;
        self.push_words(&mut stack, frame, gate.bytes, bad)?;
        self.mark_accessed(code)?;

        if self.is_v86() {
            for register in [ES, DS, FS, GS] {
                self.seg[register] = Segment::default();
            }
        }
        if let Some(ss) = ss {
            self.seg[SS] = ss;
        }
        self.seg[CS] = code.segment(gate.selector & !3 | u16::from(cpl));
        self.gpr[RSP] = stack.pointer(self.gpr[RSP]);
        self.rip = gate.offset;
        let masked = if gate.masks { flags::IF } else { 0 };
        self.rflags &= !(flags::TF | flags::NT | flags::RF | flags::VM | masked);
        self.entered(vector);
        Ok(())
    }

    fn entered(&mut self, vector: u8) {
        if vector == vector::DB {
            self.dr[7] &= !super::regs::dr7::GD;
        }
        (self.halted, self.shadow) = (false, Shadow::None);
        // INT n is stepped over.
        self.stepping = false;
        self.mode_changed();
    }

    /// Real mode: a far pointer of the interrupt vector table (SDM Vol. 3B, 20.1.4).
    fn deliver_real(&mut self, vector: u8) -> Result<(), Trap> {
        let offset = u64::from(vector) * 4;
        if offset + 3 > u64::from(self.idtr.limit) {
            return Err(Fault::gp(u32::from(vector) << 3 | IDT).into());
        }
        let pointer = self.load_system::<4>(self.idtr.base.wrapping_add(offset))?;
        let segment = segments::real_segment((pointer >> 16) as u16, &self.seg[CS]);
        let rip = pointer & 0xffff;
        if rip > segment.limit.into() {
            return Err(Fault::GP0.into());
        }
        let mut stack = self.stack();
        let frame = [self.rflags_all(), self.seg[CS].selector.into(), self.rip];
        self.push_words(&mut stack, &frame, 2, 0)?;
        self.gpr[RSP] = stack.pointer(self.gpr[RSP]);
        (self.seg[CS], self.rip) = (segment, rip);
        self.rflags &= !(flags::IF | flags::TF | flags::RF | flags::AC);
        self.entered(vector);
        Ok(())
    }

    fn gate(&mut self, vector: u8, source: Source, ext: u32) -> Result<Gate, Trap> {
        let error = u32::from(vector) << 3 | IDT | ext;
        let bytes = if self.is_ia32e() { 16 } else { 8 };
        let offset = u64::from(vector) * bytes;
        if offset + bytes - 1 > u64::from(self.idtr.limit) {
            return Err(Fault::gp(error).into());
        }
        let at = self.idtr.base.wrapping_add(offset);
        let low = self.load_system::<8>(at)?;
        let high = if bytes == 16 { self.load_system::<8>(at.wrapping_add(8))? } else { 0 };
        let kind = (low >> 40 & 0x1f) as u16;
        let dpl = (low >> 45 & 3) as u8;
        let is_wide = matches!(kind, system::INTERRUPT_GATE | system::TRAP_GATE);
        let is_legacy = matches!(kind, system::TASK_GATE | system::INTERRUPT_GATE_16 | system::TRAP_GATE_16);
        let known = is_wide || bytes == 8 && is_legacy;
        if !known || source == Source::Software && dpl < self.cpl() {
            return Err(Fault::gp(error).into());
        }
        if low >> 47 & 1 == 0 {
            return Err(Fault::np(error).into());
        }
        let words = match (bytes, is_wide) {
            (16, _) => 8,
            (_, true) => 4,
            _ => 2,
        };
        let offset = low & 0xffff | low >> 32 & 0xffff_0000 | high << 32;
        Ok(Gate {
            selector: (low >> 16) as u16,
            offset: truncated(offset, words),
            ist: if words == 8 { (low >> 32 & 7) as u8 } else { 0 },
            masks: matches!(kind, system::INTERRUPT_GATE | system::INTERRUPT_GATE_16),
            bytes: words,
            is_task: kind == system::TASK_GATE,
        })
    }

    /// The handler's code segment and privilege.
    fn gate_target(&mut self, selector: u16, ext: u32) -> Result<(Descriptor, u8), Trap> {
        if is_null(selector) {
            return Err(Fault::gp(ext).into());
        }
        let error = segments::code(selector) | ext;
        let d = self.descriptor(selector).map_err(|trap| match trap {
            Trap::Fault(f) if f.vector == vector::GP => Fault::gp(error).into(),
            trap => trap,
        })?;
        if !d.has(rights::S | rights::CODE) || d.dpl() > self.cpl() {
            return Err(Fault::gp(error).into());
        }
        if !d.has(rights::P) {
            return Err(Fault::np(error).into());
        }
        if self.is_ia32e() && d.rights() & (rights::L | rights::D) != rights::L {
            return Err(Fault::gp(error).into());
        }
        let cpl = if d.has(rights::CONFORMING) { self.cpl() } else { d.dpl() };
        // Only CPL 0 takes over from virtual-8086 mode.
        if self.is_v86() && cpl != 0 {
            return Err(Fault::gp(error).into());
        }
        Ok((d, cpl))
    }

    /// Where the frame is pushed: IST, the stack of an inner level (with its SS), or here; in IA-32e mode aligned to 16 bytes.
    fn handler_stack(&mut self, gate: &Gate, cpl: u8, ext: u32) -> Result<(Option<Segment>, Stack), Trap> {
        let inner = cpl < self.cpl();
        if gate.bytes != 8 {
            if !inner {
                return Ok((None, self.stack()));
            }
            let (ss, stack) = self.inner_stack(cpl, ext)?;
            return Ok((Some(ss), stack));
        }
        let sp = if gate.ist != 0 {
            self.tss_field(28 + 8 * u64::from(gate.ist), 8, ext)?
        } else if inner {
            self.tss_field(4 + 8 * u64::from(cpl), 8, ext)?
        } else {
            self.gpr[RSP]
        };
        Ok((inner.then(|| null_stack(cpl)), Stack::long(sp & !15, cpl)))
    }
}
