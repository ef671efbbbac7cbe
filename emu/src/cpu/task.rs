//! Hardware task switches (SDM Vol. 3A, chapter 8): protected mode outside IA-32e mode, with TSSs of 32 and of 16 bits.

use super::Cpu;
use super::fault::{Fault, Trap, vector};
use super::flags;
use super::regs::{CS, DS, ES, FS, GS, RAX, SS, cr0, cr4, dr6, dr7};
use super::segments::{Descriptor, code, is_null, rights, system, v86_segment};
use crate::state::{Segment, Shadow};

/// What switches tasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Switch {
    /// JMP: the old task is over.
    Jump,
    /// CALL: the new task returns to the old one.
    Call,
    /// Likewise an interrupt or exception; its error code, if it has one, goes onto the new task's stack. EXT is a bit of
    /// selector error codes.
    Event {
        error: Option<u32>,
        ext: u32,
        /// What RFLAGS.RF is in the image of the old task.
        resume: bool,
    },
    /// IRET with NT set: back along the link.
    Return,
}

/// Where a TSS keeps what: instruction pointer, flags, general registers and segment registers follow each other.
#[derive(Clone, Copy)]
struct Layout {
    /// Bytes of a field.
    word: u8,
    /// Offset of the instruction pointer.
    first: u64,
    /// ES CS SS DS, in a 32-bit TSS FS and GS, too.
    segments: usize,
    /// The smallest limit.
    limit: u32,
}

const TSS_32: Layout = Layout { word: 4, first: 0x20, segments: 6, limit: 0x67 };
const TSS_16: Layout = Layout { word: 2, first: 0x0e, segments: 4, limit: 0x2b };
const CR3: u64 = 0x1c;
const TRAP: u64 = 0x64;

impl Layout {
    fn of(rights: u16) -> Self {
        if rights & rights::TYPE & 8 != 0 { TSS_32 } else { TSS_16 }
    }

    /// Offset of field `n` from the instruction pointer on.
    fn at(self, n: usize) -> u64 {
        self.first + n as u64 * u64::from(self.word)
    }
}

/// Fields from the instruction pointer on.
const FLAGS: usize = 1;
const GPRS: usize = 2;
const SEGMENTS: usize = 10;

/// What a TSS says of its task.
struct Task {
    layout: Layout,
    cr3: u64,
    /// Instruction pointer, flags, general registers, segment registers, local descriptor table.
    fields: [u64; 17],
    trap: bool,
}

impl Task {
    fn selector(&self, n: usize) -> u16 {
        self.fields[SEGMENTS + n] as u16
    }

    fn ldt(&self) -> u16 {
        self.selector(self.layout.segments)
    }
}

impl Cpu {
    /// Switches to the task of the TSS `selector`. An error before the switch has changed nothing; one of the new task (its
    /// segments, its stack) is returned with the new task in place.
    pub(super) fn switch_task(&mut self, selector: u16, by: Switch) -> Result<Result<(), Trap>, Trap> {
        let (d, segment) = self.new_tss(selector, by)?;
        let layout = Layout::of(segment.rights);
        if segment.limit < layout.limit {
            return Err(Fault::ts(code(selector) | by.ext()).into());
        }
        let task = self.read_task(segment.base, layout)?;
        self.save_task(by)?;
        self.mark_tasks(d, by)?;
        if by.nests() {
            self.store_system(segment.base, &self.tr.selector.to_le_bytes())?;
        }
        self.tr = Segment { rights: segment.rights | BUSY, ..segment };
        self.enter_task(&task, by);
        Ok(self.qualify(&task, by))
    }

    /// A task switch of an instruction. What the new task raises belongs to the new task.
    pub(super) fn go_to_task(&mut self, selector: u16, by: Switch) -> Result<(), Trap> {
        match self.switch_task(selector, by)? {
            Err(Trap::Fault(fault)) => self.fault(fault),
            Err(trap) => return Err(trap),
            Ok(()) => {}
        }
        Ok(())
    }

    /// The TSS to switch to: available, or on the way back busy.
    fn new_tss(&mut self, selector: u16, by: Switch) -> Result<(Descriptor, Segment), Trap> {
        let returns = by == Switch::Return;
        let error = code(selector) | by.ext();
        let bad = if returns { Fault::ts(error) } else { Fault::gp(error) };
        if is_null(selector) || selector & 4 != 0 {
            return Err(bad.into());
        }
        let d = self.find_descriptor(selector, 8)?.ok_or(bad)?;
        let kinds = if returns { [system::TSS_BUSY, system::TSS_16_BUSY] } else { [system::TSS, system::TSS_16] };
        if !kinds.contains(&(d.rights() & rights::TYPE)) {
            return Err(bad.into());
        }
        if !d.has(rights::P) {
            return Err(Fault::np(error).into());
        }
        Ok((d, d.segment(selector)))
    }

    fn read_task(&mut self, base: u64, layout: Layout) -> Result<Task, Trap> {
        let mut fields = [0; 17];
        let count = SEGMENTS + layout.segments + 1;
        for (n, field) in fields.iter_mut().enumerate().take(count) {
            *field = self.system_word(base.wrapping_add(layout.at(n)), layout.word)?;
        }
        let wide = layout.word == 4;
        let cr3 = if wide { self.system_word(base.wrapping_add(CR3), 4)? } else { 0 };
        let trap = wide && self.system_word(base.wrapping_add(TRAP), 2)? & 1 != 0;
        Ok(Task { layout, cr3, fields, trap })
    }

    fn system_word(&mut self, at: u64, bytes: u8) -> Result<u64, Trap> {
        if bytes == 4 { self.load_system::<4>(at) } else { self.load_system::<2>(at) }
    }

    /// Writes the old task into its TSS: all of it, or with an error nothing.
    fn save_task(&mut self, by: Switch) -> Result<(), Trap> {
        let layout = Layout::of(self.tr.rights);
        if self.tr.limit < layout.limit {
            return Err(Fault::ts(code(self.tr.selector) | by.ext()).into());
        }
        let word = usize::from(layout.word);
        let mut image = self.rflags_all();
        match by {
            Switch::Return => image &= !flags::NT,
            Switch::Event { resume: true, .. } => image |= flags::RF,
            _ => {}
        }
        let mut bytes = Vec::with_capacity(SEGMENTS * word);
        for value in [self.rip, image].iter().chain(&self.gpr[RAX..8]) {
            bytes.extend(&value.to_le_bytes()[..word]);
        }
        let base = self.tr.base;
        let segments = [ES, CS, SS, DS, FS, GS];
        // The upper halves of selectors stay as they are.
        let places = (0..layout.segments).map(|n| base.wrapping_add(layout.at(SEGMENTS + n)));
        for place in places.clone() {
            self.probe_system(place, 2)?;
        }
        self.store_system(base.wrapping_add(layout.first), &bytes)?;
        for (place, register) in places.zip(segments) {
            self.store_system(place, &self.seg[register].selector.to_le_bytes())?;
        }
        Ok(())
    }

    /// Busy bits: a task that is over is available, one that runs is busy.
    fn mark_tasks(&mut self, new: Descriptor, by: Switch) -> Result<(), Trap> {
        if !by.nests() && !is_null(self.tr.selector) {
            let old = self.descriptor(self.tr.selector)?;
            self.store_rights(old, old.rights() & !BUSY)?;
        }
        if by != Switch::Return {
            self.store_rights(new, new.rights() | BUSY)?;
        }
        Ok(())
    }

    /// Takes over what needs no check. Segments are empty until they are qualified.
    fn enter_task(&mut self, task: &Task, by: Switch) {
        self.cr0 |= cr0::TS;
        self.dr[7] &= !dr7::LOCAL;
        if task.layout.word == 4 && self.cr0 & cr0::PG != 0 {
            self.cr3 = task.cr3;
        }
        let nested = if by.nests() { flags::NT } else { 0 };
        let image = task.fields[FLAGS] | nested;
        self.rip = task.fields[0];
        self.gpr[RAX..8].copy_from_slice(&task.fields[GPRS..SEGMENTS]);
        let is_v86 = image & flags::VM != 0 && task.layout.word == 4;
        for (n, register) in [ES, CS, SS, DS, FS, GS].into_iter().enumerate() {
            let selector = if n < task.layout.segments { task.selector(n) } else { 0 };
            self.seg[register] =
                if is_v86 { v86_segment(selector) } else { Segment { selector, ..Segment::default() } };
        }
        if !is_v86 {
            // The privilege of the new task.
            self.seg[SS].rights = (task.selector(1) & 3) << 5;
        }
        self.ldtr = Segment { selector: task.ldt(), ..Segment::default() };
        self.set_rflags_all(if is_v86 { image } else { image & !flags::VM });
        if task.trap {
            self.debug_pending |= dr6::BT;
        }
        (self.halted, self.shadow, self.stepping) = (false, Shadow::None, false);
        self.mode_changed();
    }

    /// Loads the segments of the task that now runs; then what an exception pushes (SDM Vol. 3A, table 8-1).
    fn qualify(&mut self, task: &Task, by: Switch) -> Result<(), Trap> {
        if self.cr0 & cr0::PG != 0 && self.cr4 & cr4::PAE != 0 {
            self.load_pdptes(self.cr3)?;
        }
        let ext = by.ext();
        let ldt = task.ldt();
        if !is_null(ldt) {
            self.load_ldt(ldt).map_err(|trap| as_invalid_tss(trap, code(ldt) | ext))?;
        }
        if !self.is_v86() {
            self.qualify_segments(task, ext)?;
        }
        if self.rip > self.seg[CS].limit.into() {
            return Err(Fault::gp(ext).into());
        }
        if let Switch::Event { error: Some(error), .. } = by {
            self.push(error.into(), task.layout.word)?;
        }
        Ok(())
    }

    fn qualify_segments(&mut self, task: &Task, ext: u32) -> Result<(), Trap> {
        let invalid = |selector: u16| Fault::ts(code(selector) | ext);
        let cs = task.selector(1);
        let rpl = (cs & 3) as u8;
        let d = if is_null(cs) { None } else { self.find_descriptor(cs, 8)? };
        let d = d.ok_or(invalid(cs))?;
        let level = if d.has(rights::CONFORMING) { d.dpl() <= rpl } else { d.dpl() == rpl };
        if !d.has(rights::S | rights::CODE) || !level {
            return Err(invalid(cs).into());
        }
        if !d.has(rights::P) {
            return Err(Fault::np(code(cs) | ext).into());
        }
        self.mark_accessed(d)?;
        self.seg[CS] = d.segment(cs);
        let bad = if ext == 0 { Fault::ts } else { |error| Fault::ts(error | 1) };
        self.seg[SS] = self.stack_segment(task.selector(2), rpl, false, bad)?;
        self.mode_changed();
        let wide = task.layout.segments == 6;
        for (n, register) in [(3, DS), (0, ES), (4, FS), (5, GS)] {
            let selector = if n < 4 || wide { task.selector(n) } else { 0 };
            let loaded = self.load_segment(register, selector);
            loaded.map_err(|trap| as_invalid_tss(trap, code(selector) | ext))?;
        }
        Ok(())
    }
}

/// The busy bit of a TSS descriptor's type.
const BUSY: u16 = 2;

impl Switch {
    /// EXT in selector error codes.
    fn ext(self) -> u32 {
        if let Self::Event { ext, .. } = self { ext } else { 0 }
    }

    /// Whether the new task returns to the old one.
    fn nests(self) -> bool {
        matches!(self, Self::Call | Self::Event { .. })
    }
}

/// What is #GP when an instruction loads a selector is #TS in a task switch; a segment that is not present stays #NP.
fn as_invalid_tss(trap: Trap, error: u32) -> Trap {
    match trap {
        Trap::Fault(fault) if fault.vector == vector::GP => Fault::ts(error).into(),
        Trap::Fault(fault) if fault.vector == vector::NP => Fault::np(error).into(),
        trap => trap,
    }
}
