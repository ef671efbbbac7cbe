//! Exceptions and interrupts through the IDT in IA-32e mode (SDM Vol. 3A, 6.14; Vol. 2A, INT n).

use super::Cpu;
use super::fault::{Fault, Trap, vector};
use super::flags;
use super::regs::{CS, RSP, SS};
use super::segments::{self, Descriptor, is_null, null_stack, rights};
use crate::mem::{PAGE_MASK, is_canonical};
use crate::state::Shadow;

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

    /// Delivers a maskable interrupt before the instruction at `rip`.
    pub(crate) fn deliver_interrupt(&mut self, vector: u8) -> Result<(), TripleFault> {
        match self.deliver(vector, None, Source::External) {
            Err(Trap::Fault(fault)) => self.deliver_fault(fault),
            _ => Ok(()),
        }
    }

    /// Enters the handler of `vector` with return address `rip`; on an error nothing has happened.
    pub(crate) fn deliver(&mut self, vector: u8, error: Option<u32>, source: Source) -> Result<(), Trap> {
        let ext = if matches!(source, Source::Software) { 0 } else { EXT };
        let gate = self.gate(vector, source, ext)?;
        let (code, cpl) = self.gate_target(gate.selector, ext)?;
        let top = self.handler_stack(gate.ist, cpl, ext)?;
        if !is_canonical(gate.offset) {
            return Err(Fault::gp(ext).into());
        }
        // A #DB, and an interrupt in the middle of a REP, push it as it is (SDM Vol. 3B, 17.3.1.1).
        let resume = source == Source::Exception && vector != vector::DB;
        let pushed = self.rflags_all() | if resume { flags::RF } else { 0 };
        let selector = |segment: usize, cpu: &Self| u64::from(cpu.seg[segment].selector);
        let frame =
            [error.unwrap_or(0).into(), self.rip, selector(CS, self), pushed, self.gpr[RSP], selector(SS, self)];
        let sp = self.push_frame(top, &frame[usize::from(error.is_none())..], cpl, ext)?;
        self.mark_accessed(code)?;

        if cpl != self.cpl() {
            self.seg[SS] = null_stack(cpl);
        }
        self.seg[CS] = code.segment(gate.selector & !3 | u16::from(cpl));
        self.gpr[RSP] = sp;
        self.rip = gate.offset;
        let masked = if gate.masks { flags::IF } else { 0 };
        self.rflags &= !(flags::TF | flags::NT | flags::RF | flags::VM | masked);
        if vector == vector::DB {
            self.dr[7] &= !super::regs::dr7::GD;
        }
        (self.halted, self.shadow) = (false, Shadow::None);
        // INT n is stepped over.
        self.stepping = false;
        self.mode_changed();
        Ok(())
    }

    fn gate(&mut self, vector: u8, source: Source, ext: u32) -> Result<Gate, Trap> {
        let error = u32::from(vector) << 3 | IDT | ext;
        let offset = u64::from(vector) * 16;
        if offset + 15 > u64::from(self.idtr.limit) {
            return Err(Fault::gp(error).into());
        }
        let at = self.idtr.base.wrapping_add(offset);
        let low = self.load_system::<8>(at)?;
        let high = self.load_system::<8>(at.wrapping_add(8))?;
        let kind = low >> 40 & 0x1f;
        let dpl = (low >> 45 & 3) as u8;
        if !matches!(kind, 0xe | 0xf) || source == Source::Software && dpl < self.cpl() {
            return Err(Fault::gp(error).into());
        }
        if low >> 47 & 1 == 0 {
            return Err(Fault::np(error).into());
        }
        Ok(Gate {
            selector: (low >> 16) as u16,
            offset: low & 0xffff | low >> 32 & 0xffff_0000 | high << 32,
            ist: (low >> 32 & 7) as u8,
            masks: kind == 0xe,
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
        if !d.has(rights::L) || d.has(rights::D) {
            return Err(Fault::gp(error).into());
        }
        let cpl = if d.has(rights::CONFORMING) { self.cpl() } else { d.dpl() };
        Ok((d, cpl))
    }

    /// Where the frame is pushed: IST, the stack of an inner level, or here; aligned to 16 bytes.
    fn handler_stack(&mut self, ist: u8, cpl: u8, ext: u32) -> Result<u64, Trap> {
        let sp = if ist != 0 {
            self.tss_stack(28 + 8 * u64::from(ist), ext)?
        } else if cpl < self.cpl() {
            self.tss_stack(4 + 8 * u64::from(cpl), ext)?
        } else {
            self.gpr[RSP]
        };
        Ok(sp & !15)
    }

    fn tss_stack(&mut self, offset: u64, ext: u32) -> Result<u64, Trap> {
        if offset + 7 > u64::from(self.tr.limit) {
            return Err(Fault::ts(segments::code(self.tr.selector) | ext).into());
        }
        self.load_system::<8>(self.tr.base.wrapping_add(offset))
    }

    /// Pushes `frame`, lowest address first, below `top`: all of it or nothing. A fault names the first word that
    /// cannot be pushed, from the top.
    fn push_frame(&mut self, top: u64, frame: &[u64], cpl: u8, ext: u32) -> Result<u64, Trap> {
        let bytes = 8 * frame.len() as u64;
        let sp = top.wrapping_sub(bytes);
        if !is_canonical(sp) || !is_canonical(top.wrapping_sub(1)) {
            return Err(Fault::ss(ext).into());
        }
        let user = cpl == 3;
        let one_page = sp & PAGE_MASK <= 0x1000 - bytes;
        let probes = if one_page { 1 } else { frame.len() as u64 };
        for i in 1..=probes {
            self.probe_write(top.wrapping_sub(8 * i), 8, user)?;
        }
        for (at, word) in (sp..).step_by(8).zip(frame) {
            self.store(at, *word, 8, user)?;
        }
        Ok(sp)
    }
}
