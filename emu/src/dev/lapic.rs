//! The local APIC of the one CPU, number 0: xAPIC and x2APIC (SDM Vol. 3A, chapter 10).
//!
//! It begins as PC firmware leaves it: enabled, the interrupts of the PIC let through (virtual wire mode on LINT0), so that a
//! guest that knows nothing of it need not.

mod message;
mod timer;

pub use message::Message;

use serde::{Deserialize, Serialize};

use crate::check::{Checked, ensure};
use message::delivery;
pub(crate) use timer::HZ;
use timer::Timer;

/// Where its registers are in xAPIC mode.
pub(crate) const ADDRESS: u64 = 0xfee0_0000;

/// IA32_APIC_BASE.
mod base {
    pub(super) const BSP: u64 = 1 << 8;
    pub(super) const EXTD: u64 = 1 << 10;
    pub(super) const EN: u64 = 1 << 11;
}

/// Registers by number: their offset divided by 16, or their MSR less 800H.
pub(crate) mod register {
    pub(super) const ID: u32 = 0x02;
    pub(super) const VERSION: u32 = 0x03;
    pub(super) const TPR: u32 = 0x08;
    pub(super) const APR: u32 = 0x09;
    pub(super) const PPR: u32 = 0x0a;
    pub(super) const EOI: u32 = 0x0b;
    pub(super) const RRD: u32 = 0x0c;
    pub(super) const LDR: u32 = 0x0d;
    pub(super) const DFR: u32 = 0x0e;
    pub(super) const SVR: u32 = 0x0f;
    pub(super) const ISR: u32 = 0x10;
    pub(super) const TMR: u32 = 0x18;
    pub(super) const IRR: u32 = 0x20;
    pub(super) const IRR_LAST: u32 = 0x27;
    pub(super) const ESR: u32 = 0x28;
    pub(super) const ICR: u32 = 0x30;
    pub(super) const ICR_HIGH: u32 = 0x31;
    pub(super) const LVT: u32 = 0x32;
    pub(super) const LVT_LAST: u32 = 0x37;
    pub(super) const INITIAL_COUNT: u32 = 0x38;
    pub(super) const CURRENT_COUNT: u32 = 0x39;
    pub(super) const DIVIDE: u32 = 0x3e;
    pub(super) const SELF_IPI: u32 = 0x3f;
}

/// Entries of the local vector table.
mod lvt {
    pub(super) const TIMER: usize = 0;
    pub(super) const PERFORMANCE: usize = 2;
    pub(super) const LINT0: usize = 3;
    pub(super) const LINT1: usize = 4;
    pub(super) const ERROR: usize = 5;

    pub(super) const MASKED: u32 = 1 << 16;
    pub(super) const MODE: u32 = 7 << 8;
    const PIN: u32 = 0xff | MODE | 1 << 13 | 1 << 15 | MASKED;
    const EVENT: u32 = 0xff | MODE | MASKED;
    /// What can be written: timer, thermal sensor, performance counters, LINT0, LINT1, error.
    pub(super) const WRITABLE: [u32; 6] = [0xff | MASKED | 3 << 17, EVENT, EVENT, PIN, PIN, 0xff | MASKED];
    /// Delivery status and remote IRR, which read as 0 and may be written.
    pub(super) const READ_ONLY: u32 = 1 << 12 | 1 << 14;
}

/// Integrated APIC, six entries in the local vector table, no suppression of the EOI broadcast.
const VERSION: u32 = 0x14 | 5 << 16;
/// Enabled by software.
const SVR_ENABLED: u32 = 1 << 8;
const SVR_WRITABLE: u32 = 0x1ff;
/// What can be written to the interrupt command register.
const ICR_WRITABLE: u32 = 0x000c_cfff;
/// The logical identifier of APIC 0 in x2APIC mode.
const X2APIC_LDR: u32 = 1;

/// Error status.
mod error {
    pub(super) const SEND_VECTOR: u32 = 1 << 5;
    pub(super) const RECEIVE_VECTOR: u32 = 1 << 6;
    pub(super) const REGISTER: u32 = 1 << 7;
    pub(super) const ALL: u32 = SEND_VECTOR | RECEIVE_VECTOR | REGISTER;
}

/// Vectors below are the CPU's own.
const VECTOR_MIN: u8 = 16;

/// A bit for each vector.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Vectors([u64; 4]);

impl Vectors {
    fn set(&mut self, vector: u8, on: bool) {
        let (word, bit) = (&mut self.0[usize::from(vector >> 6)], 1 << (vector & 63));
        *word = if on { *word | bit } else { *word & !bit };
    }

    fn has(&self, vector: u8) -> bool {
        self.0[usize::from(vector >> 6)] >> (vector & 63) & 1 != 0
    }

    fn highest(&self) -> Option<u8> {
        let (word, bits) = self.0.iter().enumerate().rev().find(|(_, bits)| **bits != 0)?;
        Some((word as u32 * 64 + bits.ilog2()) as u8)
    }

    /// 32 of them, as registers show them.
    fn register(&self, number: u32) -> u32 {
        (self.0[number as usize / 2 % 4] >> (number % 2 * 32)) as u32
    }

    fn is_possible(&self) -> bool {
        self.0[0] & ((1 << VECTOR_MIN) - 1) == 0
    }
}

/// An access that raises #GP in x2APIC mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused;

/// The local APIC.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lapic {
    /// IA32_APIC_BASE.
    base: u64,
    tpr: u8,
    irr: Vectors,
    isr: Vectors,
    tmr: Vectors,
    svr: u32,
    ldr: u32,
    dfr: u32,
    lvt: [u32; 6],
    /// Errors since the last write of ESR, and those before it, which it shows.
    errors: u32,
    esr: u32,
    icr: u64,
    timer: Timer,
    /// An NMI is on its way to the CPU.
    nmi: bool,
}

impl Default for Lapic {
    fn default() -> Self {
        Self::new()
    }
}

impl Lapic {
    /// As firmware leaves it.
    pub fn new() -> Self {
        let mut this = Self::reset(ADDRESS | base::BSP | base::EN);
        this.svr |= SVR_ENABLED;
        this.lvt[lvt::LINT0] = delivery::EXTINT << 8;
        this.lvt[lvt::LINT1] = delivery::NMI << 8;
        this
    }

    /// After power-on (10.4.7.1).
    fn reset(base: u64) -> Self {
        Self {
            base,
            tpr: 0,
            irr: Vectors::default(),
            isr: Vectors::default(),
            tmr: Vectors::default(),
            svr: 0xff,
            ldr: 0,
            dfr: u32::MAX,
            lvt: [lvt::MASKED; 6],
            errors: 0,
            esr: 0,
            icr: 0,
            timer: Timer::default(),
            nmi: false,
        }
    }

    /// Checks that it can be in this state.
    pub(crate) fn check(&self, has_x2apic: bool) -> Checked {
        let modes = self.base & (base::EN | base::EXTD);
        let known = self.base & !(base::EN | base::EXTD) == ADDRESS | base::BSP;
        ensure(known && modes != base::EXTD && (has_x2apic || modes & base::EXTD == 0), "IA32_APIC_BASE")?;
        let vectors = [&self.irr, &self.isr, &self.tmr].into_iter().all(Vectors::is_possible);
        let table = self.lvt.iter().zip(lvt::WRITABLE).all(|(entry, writable)| entry & !writable == 0);
        let masked = self.is_software_enabled() || self.lvt.iter().all(|entry| entry & lvt::MASKED != 0);
        let others = self.svr & !SVR_WRITABLE == 0
            && (self.errors | self.esr) & !error::ALL == 0
            && self.icr & u64::from(!ICR_WRITABLE) == 0
            && self.ldr & 0xff_ffff == 0
            && self.dfr | 0xf000_0000 == u32::MAX;
        ensure(vectors && table && masked && others, "local APIC")?;
        self.timer.check()
    }

    /// IA32_APIC_BASE.
    pub fn base(&self) -> u64 {
        self.base
    }

    /// Writes IA32_APIC_BASE: the legal changes of mode are those of figure 10-27. The registers stay at their address.
    ///
    /// # Errors
    /// Another change.
    pub fn set_base(&mut self, value: u64, has_x2apic: bool) -> Result<(), Refused> {
        const MODES: u64 = base::EN | base::EXTD;
        if value & !(MODES | base::BSP) != ADDRESS || value & base::EXTD != 0 && !has_x2apic {
            return Err(Refused);
        }
        match (self.base & MODES, value & MODES) {
            (_, base::EXTD) | (MODES, base::EN) | (0, MODES) => return Err(Refused),
            (_, 0) => *self = Self { nmi: self.nmi, ..Self::reset(ADDRESS | base::BSP) },
            (_, modes) => self.base = ADDRESS | base::BSP | modes,
        }
        Ok(())
    }

    /// Whether there is an APIC, as CPUID says.
    pub fn is_enabled(&self) -> bool {
        self.base & base::EN != 0
    }

    fn is_software_enabled(&self) -> bool {
        self.svr & SVR_ENABLED != 0
    }

    /// Whether its registers are MSRs.
    pub fn is_x2apic(&self) -> bool {
        self.base & base::EXTD != 0
    }

    /// Whether its registers are in memory.
    pub fn is_xapic(&self) -> bool {
        self.is_enabled() && !self.is_x2apic()
    }

    /// Whether an access to a register looks at the time.
    pub(crate) fn is_timed(&self, number: u32) -> bool {
        use register::{CURRENT_COUNT, DIVIDE, INITIAL_COUNT};
        matches!(number, INITIAL_COUNT | CURRENT_COUNT | DIVIDE) && !self.is_deadline_mode()
    }

    /// The task priority, bits 7:4 of which are CR8.
    pub fn tpr(&self) -> u8 {
        self.tpr
    }

    /// Sets the task priority.
    pub fn set_tpr(&mut self, value: u8) {
        self.tpr = value;
    }

    /// The processor priority (10.8.3.1).
    fn ppr(&self) -> u8 {
        let serving = self.isr.highest().unwrap_or(0);
        if self.tpr >> 4 >= serving >> 4 { self.tpr } else { serving & 0xf0 }
    }

    /// Whether an interrupt waits for the CPU.
    pub fn pending(&self) -> bool {
        let offered = self.irr.highest().is_some_and(|vector| vector >> 4 > self.ppr() >> 4);
        offered && self.is_enabled() && self.is_software_enabled()
    }

    /// Whether the PIC's interrupts reach the CPU: through LINT0, or, with the APIC off, directly.
    pub fn accepts_extint(&self) -> bool {
        let lint0 = self.lvt[lvt::LINT0];
        !self.is_enabled() || lint0 & (lvt::MASKED | lvt::MODE) == delivery::EXTINT << 8
    }

    /// The CPU takes the interrupt that is `pending`: its vector.
    pub fn acknowledge(&mut self) -> u8 {
        let vector = self.irr.highest().unwrap_or(self.svr as u8);
        self.irr.set(vector, false);
        self.isr.set(vector, true);
        vector
    }

    /// Whether an NMI waits for the CPU.
    pub fn nmi(&self) -> bool {
        self.nmi
    }

    /// The CPU takes the NMI.
    pub fn acknowledge_nmi(&mut self) {
        self.nmi = false;
    }

    /// Takes a message, if it is for this CPU; whether it was taken.
    pub fn receive(&mut self, message: &Message) -> bool {
        let dest = if message.dest == u8::MAX { u32::MAX } else { message.dest.into() };
        if !self.is_enabled() || !self.is_addressed(dest, message.logical) {
            return false;
        }
        match u32::from(message.mode) {
            delivery::FIXED | delivery::LOWEST => self.accept(message.vector, message.level),
            delivery::NMI => {
                self.nmi = true;
                true
            }
            _ => false,
        }
    }

    /// Whether a destination, of which all ones is everybody, has this CPU in it (10.6.2).
    fn is_addressed(&self, dest: u32, logical: bool) -> bool {
        let (model, id) = (self.dfr >> 28, self.ldr >> 24);
        match () {
            () if dest == u32::MAX => true,
            () if !logical => dest == 0,
            () if self.is_x2apic() => dest >> 16 == 0 && dest & X2APIC_LDR != 0,
            () if model == 0xf => dest & id != 0,
            () => model == 0 && dest >> 4 == id >> 4 && dest & id & 0xf != 0,
        }
    }

    /// Takes an interrupt; whether it could.
    fn accept(&mut self, vector: u8, level: bool) -> bool {
        if !self.is_software_enabled() {
            return false;
        }
        if vector < VECTOR_MIN {
            self.note_error(error::RECEIVE_VECTOR);
            return true;
        }
        self.irr.set(vector, true);
        self.tmr.set(vector, level);
        true
    }

    fn note_error(&mut self, error: u32) {
        if self.errors & error == 0 {
            self.errors |= error;
            self.raise(lvt::ERROR);
        }
    }

    /// An event of the local vector table.
    fn raise(&mut self, entry: usize) {
        let value = self.lvt[entry];
        if value & lvt::MASKED != 0 {
            return;
        }
        match (value & lvt::MODE) >> 8 {
            delivery::FIXED => {
                self.accept(value as u8, false);
            }
            delivery::NMI => self.nmi = true,
            _ => {}
        }
    }

    /// A performance counter has overflowed: its interrupt, which masks itself.
    pub fn raise_performance(&mut self) {
        self.raise(lvt::PERFORMANCE);
        self.lvt[lvt::PERFORMANCE] |= lvt::MASKED;
    }

    /// Reads a register at guest time `now_ns`; 0 where there is none.
    pub fn read(&mut self, number: u32, now_ns: u64) -> u32 {
        use register::*;
        match number {
            VERSION => self::VERSION,
            TPR => self.tpr.into(),
            PPR => self.ppr().into(),
            LDR if self.is_x2apic() => X2APIC_LDR,
            LDR => self.ldr,
            DFR => self.dfr,
            SVR => self.svr,
            ISR..TMR => self.isr.register(number - ISR),
            TMR..IRR => self.tmr.register(number - TMR),
            IRR..=IRR_LAST => self.irr.register(number - IRR),
            ESR => self.esr,
            ICR => self.icr as u32,
            ICR_HIGH => (self.icr >> 32) as u32,
            LVT..=LVT_LAST => self.lvt[(number - LVT) as usize],
            INITIAL_COUNT => self.timer.initial(),
            CURRENT_COUNT if self.is_deadline_mode() => 0,
            CURRENT_COUNT => self.timer.current(now_ns, self.is_periodic()),
            DIVIDE => self.timer.divide(),
            ID | APR | RRD | EOI => 0,
            _ => {
                self.note_error(error::REGISTER);
                0
            }
        }
    }

    /// Writes a register at guest time `now_ns`. Returns the vector of a level-triggered interrupt that has ended: the I/O
    /// APIC is to hear of it.
    pub fn write(&mut self, number: u32, value: u32, now_ns: u64) -> Option<u8> {
        use register::*;
        match number {
            TPR => self.tpr = value as u8,
            EOI => return self.end_of_interrupt(),
            LDR => self.ldr = value & 0xff00_0000,
            DFR => self.dfr = value | 0x0fff_ffff,
            SVR => {
                self.svr = value & SVR_WRITABLE;
                if !self.is_software_enabled() {
                    self.lvt.iter_mut().for_each(|entry| *entry |= lvt::MASKED);
                }
            }
            ESR => self.esr = std::mem::take(&mut self.errors),
            ICR => {
                self.icr = self.icr & !u64::from(u32::MAX) | u64::from(value & ICR_WRITABLE);
                self.send(value & ICR_WRITABLE);
            }
            ICR_HIGH => self.icr = self.icr & u64::from(u32::MAX) | u64::from(value) << 32,
            LVT..=LVT_LAST => self.write_lvt((number - LVT) as usize, value),
            // In TSC-deadline mode there is no count.
            INITIAL_COUNT if self.is_deadline_mode() => {}
            INITIAL_COUNT => self.timer.start(value, now_ns),
            DIVIDE => self.timer.set_divide(value, now_ns, self.is_periodic()),
            ID | VERSION | APR | PPR | RRD | ISR..=IRR_LAST | CURRENT_COUNT => {}
            _ => self.note_error(error::REGISTER),
        }
        None
    }

    fn write_lvt(&mut self, entry: usize, value: u32) {
        let was_deadline = self.is_deadline_mode();
        let masked = if self.is_software_enabled() { 0 } else { lvt::MASKED };
        self.lvt[entry] = value & lvt::WRITABLE[entry] | masked;
        if was_deadline != self.is_deadline_mode() {
            self.timer.disarm();
        }
    }

    fn end_of_interrupt(&mut self) -> Option<u8> {
        let vector = self.isr.highest()?;
        self.isr.set(vector, false);
        self.tmr.has(vector).then_some(vector)
    }

    /// An interprocessor interrupt (10.6.1): there is but one processor. SMI, INIT and start-up do nothing to it.
    fn send(&mut self, command: u32) {
        let (vector, mode, logical) = (command as u8, command >> 8 & 7, command & 1 << 11 != 0);
        let dest = match (self.icr >> 32) as u32 {
            dest if self.is_x2apic() => dest,
            dest if dest >> 24 == 0xff => u32::MAX,
            dest => dest >> 24,
        };
        let fixed = matches!(mode, delivery::FIXED | delivery::LOWEST);
        if fixed && vector < VECTOR_MIN {
            self.note_error(error::SEND_VECTOR);
        }
        let reaches = match command >> 18 & 3 {
            0 => self.is_addressed(dest, logical),
            1 | 2 => mode == delivery::FIXED,
            _ => false,
        };
        match mode {
            _ if !reaches => {}
            delivery::NMI => self.nmi = true,
            _ if fixed => {
                self.accept(vector, false);
            }
            _ => {}
        }
    }

    /// Reads a register as an MSR.
    ///
    /// # Errors
    /// There is none, or it cannot be read.
    pub fn read_msr(&mut self, number: u32, now_ns: u64) -> Result<u64, Refused> {
        use register::*;
        match number {
            ICR => Ok(self.icr),
            ID | VERSION | TPR | PPR | LDR | SVR..=ESR | LVT..=CURRENT_COUNT | DIVIDE => {
                Ok(self.read(number, now_ns).into())
            }
            _ => Err(Refused),
        }
    }

    /// Writes a register as an MSR; returns what `write` does.
    ///
    /// # Errors
    /// There is none, it cannot be written, or not with this value.
    pub fn write_msr(&mut self, number: u32, value: u64, now_ns: u64) -> Result<Option<u8>, Refused> {
        use register::*;
        let writable = match number {
            TPR | SELF_IPI => 0xff,
            EOI | ESR => 0,
            SVR => SVR_WRITABLE,
            ICR => ICR_WRITABLE,
            LVT..=LVT_LAST => lvt::WRITABLE[(number - LVT) as usize] | lvt::READ_ONLY,
            INITIAL_COUNT => u32::MAX,
            DIVIDE => 0xb,
            _ => return Err(Refused),
        };
        let high = if number == ICR { u64::MAX << 32 } else { 0 };
        if value & !(u64::from(writable) | high) != 0 {
            return Err(Refused);
        }
        match number {
            SELF_IPI => self.send(1 << 18 | value as u32),
            ICR => {
                self.icr = value;
                self.send(value as u32);
            }
            _ => return Ok(self.write(number, value as u32, now_ns)),
        }
        Ok(None)
    }
}

/// The timer (10.5.4).
impl Lapic {
    fn timer_mode(&self) -> u32 {
        self.lvt[lvt::TIMER] >> 17 & 3
    }

    fn is_periodic(&self) -> bool {
        self.timer_mode() == 1
    }

    fn is_deadline_mode(&self) -> bool {
        self.timer_mode() == 2
    }

    /// IA32_TSC_DEADLINE.
    pub fn deadline(&self) -> u64 {
        self.timer.deadline()
    }

    /// Writes IA32_TSC_DEADLINE, where the TSC is guest time and `tsc_adjust`. Nobody need know the time.
    pub fn set_deadline(&mut self, tsc: u64, tsc_adjust: u64) {
        if self.is_deadline_mode() {
            self.timer.set_deadline(tsc, tsc_adjust);
        }
    }

    /// The TSC has become guest time and `tsc_adjust`.
    pub fn adjust_tsc(&mut self, tsc_adjust: u64) {
        self.timer.set_deadline(self.timer.deadline(), tsc_adjust);
    }

    /// Lets the timer run up to guest time `now_ns`.
    pub fn advance(&mut self, now_ns: u64) {
        if self.timer.advance(now_ns, self.is_periodic()) {
            self.raise(lvt::TIMER);
        }
    }

    /// Guest time at which the timer acts.
    pub fn next_deadline(&self) -> Option<u64> {
        self.timer.next_deadline()
    }
}

#[cfg(test)]
mod tests;
