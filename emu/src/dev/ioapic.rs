//! The I/O APIC (Intel 82093AA data sheet, order 290566; version 20H with the EOI register of the ICH): 24 pins, each sent
//! to the local APIC as its redirection entry says.

use serde::{Deserialize, Serialize};

use super::lapic::Message;
use crate::check::{Checked, ensure};

/// Where its registers are.
pub(crate) const ADDRESS: u64 = 0xfec0_0000;
/// Pins.
pub const PINS: u8 = 24;

const SELECT: u64 = 0x00;
const WINDOW: u64 = 0x10;
const EOI: u64 = 0x40;

const ID: u8 = 0x00;
const VERSION: u8 = 0x01;
const ARBITRATION: u8 = 0x02;
const REDIRECTION: u8 = 0x10;
const REDIRECTION_LAST: u8 = REDIRECTION + 2 * PINS - 1;

const VERSION_VALUE: u32 = 0x20 | (PINS as u32 - 1) << 16;

// A redirection entry.
const REMOTE_IRR: u64 = 1 << 14;
const LEVEL: u64 = 1 << 15;
const MASKED: u64 = 1 << 16;
/// What can be written: vector, delivery mode, destination mode, polarity, trigger, mask, destination.
const WRITABLE: u64 = 0xff00_0000_0001_afff;

/// The I/O APIC. Its sets of pins have a bit for each.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ioapic {
    select: u8,
    id: u32,
    /// Redirection entries, without what the sets below say.
    entries: [u64; PINS as usize],
    masked: u32,
    level: u32,
    /// Level-triggered: accepted by the local APIC, not yet ended.
    remote_irr: u32,
    /// Lines that are asserted.
    lines: u32,
    /// Edges that have not been sent.
    edges: u32,
}

impl Default for Ioapic {
    fn default() -> Self {
        Self::new()
    }
}

const ALL: u32 = (1 << PINS) - 1;

impl Ioapic {
    /// All pins masked.
    pub fn new() -> Self {
        Self { select: 0, id: 0, entries: [0; 24], masked: ALL, level: 0, remote_irr: 0, lines: 0, edges: 0 }
    }

    /// Checks that it can be in this state.
    pub(crate) fn check(&self) -> Checked {
        let sets = self.masked | self.level | self.remote_irr | self.lines | self.edges;
        let entries = self.entries.iter().all(|entry| entry & !(WRITABLE & !(LEVEL | MASKED)) == 0);
        ensure(sets & !ALL == 0 && entries && self.id & !0x0f00_0000 == 0, "I/O APIC")
    }

    /// Asserts a pin or releases it, whatever its polarity. Edges on masked pins are lost. Pins above 23 do not exist.
    pub fn set_line(&mut self, pin: u8, asserted: bool) {
        let bit = if pin < PINS { 1 << pin } else { 0 };
        if asserted && self.lines & bit == 0 {
            self.edges |= bit & !self.level & !self.masked;
        }
        self.lines = if asserted { self.lines | bit } else { self.lines & !bit };
    }

    /// Sends what is to be sent; `send` says whether it was accepted. An edge is sent once, a level again until it is.
    pub fn deliver(&mut self, mut send: impl FnMut(&Message) -> bool) {
        let mut ready = (self.edges | self.lines & self.level & !self.remote_irr) & !self.masked;
        self.edges = 0;
        while ready != 0 {
            let pin = ready.trailing_zeros();
            ready &= ready - 1;
            let bit = 1 << pin;
            let accepted = send(&self.message(pin as usize));
            if accepted && self.level & bit != 0 {
                self.remote_irr |= bit;
            }
        }
    }

    fn message(&self, pin: usize) -> Message {
        let entry = self.entries[pin];
        Message {
            dest: (entry >> 56) as u8,
            logical: entry & 1 << 11 != 0,
            mode: (entry >> 8 & 7) as u8,
            vector: entry as u8,
            level: self.level >> pin & 1 != 0,
        }
    }

    /// A level-triggered interrupt has ended.
    pub fn end_of_interrupt(&mut self, vector: u8) {
        for (pin, entry) in self.entries.iter().enumerate() {
            if *entry as u8 == vector {
                self.remote_irr &= !(1 << pin);
            }
        }
    }

    /// Reads the four bytes at `offset`; 0 where there is nothing.
    pub fn read(&self, offset: u64) -> u32 {
        match (offset, self.select) {
            (SELECT, _) => self.select.into(),
            (WINDOW, ID | ARBITRATION) => self.id,
            (WINDOW, VERSION) => VERSION_VALUE,
            (WINDOW, index @ REDIRECTION..=REDIRECTION_LAST) => {
                let entry = self.entry(usize::from((index - REDIRECTION) / 2));
                (entry >> (32 * (index & 1))) as u32
            }
            _ => 0,
        }
    }

    /// Writes the four bytes at `offset`.
    pub fn write(&mut self, offset: u64, value: u32) {
        match (offset, self.select) {
            (SELECT, _) => self.select = value as u8,
            (WINDOW, ID) => self.id = value & 0x0f00_0000,
            (WINDOW, index @ REDIRECTION..=REDIRECTION_LAST) => {
                let pin = usize::from((index - REDIRECTION) / 2);
                let shift = 32 * (index & 1);
                let kept = self.entry(pin) & !(u64::from(u32::MAX) << shift);
                self.set_entry(pin, kept | u64::from(value) << shift);
            }
            (EOI, _) => self.end_of_interrupt(value as u8),
            _ => {}
        }
    }

    fn entry(&self, pin: usize) -> u64 {
        let flag = |set: u32, flag: u64| if set >> pin & 1 != 0 { flag } else { 0 };
        self.entries[pin] | flag(self.masked, MASKED) | flag(self.level, LEVEL) | flag(self.remote_irr, REMOTE_IRR)
    }

    fn set_entry(&mut self, pin: usize, value: u64) {
        let set = |set: &mut u32, on: bool| *set = *set & !(1 << pin) | u32::from(on) << pin;
        set(&mut self.masked, value & MASKED != 0);
        set(&mut self.level, value & LEVEL != 0);
        self.entries[pin] = value & WRITABLE & !(LEVEL | MASKED);
        // Remote IRR means nothing for an edge; drivers clear it by way of one.
        self.remote_irr &= self.level;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(ioapic: &mut Ioapic, pin: u8, entry: u64) {
        for (index, half) in [(0, entry as u32), (1, (entry >> 32) as u32)] {
            ioapic.write(SELECT, u32::from(REDIRECTION + 2 * pin + index));
            ioapic.write(WINDOW, half);
        }
    }

    fn get(ioapic: &mut Ioapic, index: u8) -> u32 {
        ioapic.write(SELECT, index.into());
        ioapic.read(WINDOW)
    }

    fn sent(ioapic: &mut Ioapic, accepted: bool) -> Vec<Message> {
        let mut messages = vec![];
        ioapic.deliver(|message| {
            messages.push(*message);
            accepted
        });
        messages
    }

    fn fixed(vector: u8, level: bool) -> Message {
        Message { dest: 0, logical: false, mode: 0, vector, level }
    }

    #[test]
    fn registers() {
        let mut ioapic = Ioapic::new();
        assert_eq!((get(&mut ioapic, ID), get(&mut ioapic, VERSION)), (0, 0x0017_0020));
        assert_eq!(get(&mut ioapic, REDIRECTION), MASKED as u32);
        set(&mut ioapic, 5, u64::MAX);
        assert_eq!(
            get(&mut ioapic, REDIRECTION + 10),
            0x0001_afff,
            "delivery status and remote IRR are not the guest's"
        );
        assert_eq!(get(&mut ioapic, REDIRECTION + 11), 0xff00_0000);
        assert_eq!(get(&mut ioapic, REDIRECTION + 2 * PINS), 0);
        assert!(ioapic.check().is_ok());
    }

    #[test]
    fn an_edge_is_sent_once() {
        let mut ioapic = Ioapic::new();
        ioapic.set_line(4, true);
        set(&mut ioapic, 4, 0x34);
        assert_eq!(sent(&mut ioapic, true), [], "it came while the pin was masked");
        ioapic.set_line(4, false);
        ioapic.set_line(4, true);
        ioapic.set_line(4, true);
        assert_eq!(sent(&mut ioapic, false), [fixed(0x34, false)]);
        assert_eq!(sent(&mut ioapic, true), []);
    }

    #[test]
    fn a_level_is_sent_until_accepted_and_again_after_its_end() {
        let mut ioapic = Ioapic::new();
        set(&mut ioapic, 10, LEVEL | 0x3a);
        ioapic.set_line(10, true);
        assert_eq!(sent(&mut ioapic, false), [fixed(0x3a, true)]);
        assert_eq!(sent(&mut ioapic, true), [fixed(0x3a, true)]);
        assert_eq!(sent(&mut ioapic, true), []);
        assert_eq!(get(&mut ioapic, REDIRECTION + 20), (LEVEL | REMOTE_IRR) as u32 | 0x3a);
        ioapic.end_of_interrupt(0x3b);
        assert_eq!(sent(&mut ioapic, true), [], "another vector");
        ioapic.end_of_interrupt(0x3a);
        assert_eq!(sent(&mut ioapic, true), [fixed(0x3a, true)]);
        ioapic.set_line(10, false);
        ioapic.write(EOI, 0x3a);
        assert_eq!(sent(&mut ioapic, true), []);
        assert_eq!(get(&mut ioapic, REDIRECTION + 20), LEVEL as u32 | 0x3a);
    }

    #[test]
    fn a_masked_level_waits_and_a_detour_by_way_of_edge_clears_remote_irr() {
        let mut ioapic = Ioapic::new();
        set(&mut ioapic, 9, MASKED | LEVEL | 0x39);
        ioapic.set_line(9, true);
        assert_eq!(sent(&mut ioapic, true), []);
        set(&mut ioapic, 9, LEVEL | 0x39);
        assert_eq!(sent(&mut ioapic, true).len(), 1);
        set(&mut ioapic, 9, MASKED | 0x39);
        set(&mut ioapic, 9, MASKED | LEVEL | 0x39);
        assert_eq!(get(&mut ioapic, REDIRECTION + 18), (MASKED | LEVEL) as u32 | 0x39);
    }

    #[test]
    fn the_destination_goes_along() {
        let mut ioapic = Ioapic::new();
        set(&mut ioapic, 2, 0xa500_0000_0000_0930);
        ioapic.set_line(2, true);
        assert_eq!(
            sent(&mut ioapic, true),
            [Message { dest: 0xa5, logical: true, mode: 1, vector: 0x30, level: false }]
        );
        ioapic.set_line(24, true);
        ioapic.set_line(255, true);
        assert!(ioapic.check().is_ok());
    }
}
