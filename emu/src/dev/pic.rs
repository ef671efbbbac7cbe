//! The cascaded pair of 8259A interrupt controllers of a PC (Intel 8259A data sheet, order 231468), with the edge/level
//! control registers (ELCR) of the PIIX.

use serde::{Deserialize, Serialize};

use crate::check::{Checked, ensure};

const CASCADE: u8 = 2;
const SPURIOUS: u8 = 7;

const ICW1: u8 = 0x10;
const ICW1_ICW4_FOLLOWS: u8 = 0x01;
const ICW1_SINGLE: u8 = 0x02;
const ICW4_AUTO_EOI: u8 = 0x02;
const ICW4_SPECIAL_FULLY_NESTED: u8 = 0x10;

const OCW3: u8 = 0x08;
const OCW3_POLL: u8 = 0x04;

/// Port of the edge/level control register of IRQ 8 to 15.
pub(crate) const ELCR_SLAVE: u16 = 0x4d1;

/// IRQs 0, 1, 2 and 8, 13 are edge-triggered whatever the guest writes.
const ELCR_WRITABLE: [u8; 2] = [0xf8, 0xde];

/// What the next write to the data port means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Expect {
    /// OCW1, the interrupt mask: initialisation is over.
    Mask,
    Icw2,
    Icw3,
    Icw4,
}

/// One 8259A.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Chip {
    /// Levels of the inputs.
    lines: u8,
    /// Rising edges not yet acknowledged.
    edges: u8,
    /// Inputs that are level-triggered.
    elcr: u8,
    isr: u8,
    imr: u8,
    vector_base: u8,
    /// The input of lowest priority; the next one (modulo 8) has the highest.
    lowest: u8,
    expect: Expect,
    single: bool,
    icw4_follows: bool,
    auto_eoi: bool,
    rotate_on_auto_eoi: bool,
    special_mask: bool,
    special_fully_nested: bool,
    poll: bool,
    read_isr: bool,
}

impl Chip {
    fn new(vector_base: u8) -> Self {
        Chip {
            lines: 0,
            edges: 0,
            elcr: 0,
            isr: 0,
            imr: 0xff,
            vector_base,
            lowest: 7,
            expect: Expect::Mask,
            single: false,
            icw4_follows: false,
            auto_eoi: false,
            rotate_on_auto_eoi: false,
            special_mask: false,
            special_fully_nested: false,
            poll: false,
            read_isr: false,
        }
    }

    /// An edge is latched until it is acknowledged, but withdrawn when its line falls before that.
    fn set_line(&mut self, input: u8, level: bool) {
        let bit = 1 << input;
        if !level {
            self.lines &= !bit;
            self.edges &= !bit;
        } else if self.lines & bit == 0 {
            self.lines |= bit;
            self.edges |= bit;
        }
    }

    fn irr(&self, cascade: bool) -> u8 {
        let own = self.edges & !self.elcr | self.lines & self.elcr;
        if cascade { own | 1 << CASCADE } else { own }
    }

    /// Inputs from the highest priority to the lowest.
    fn by_priority(&self) -> impl Iterator<Item = u8> + use<> {
        let lowest = self.lowest;
        (1..=8).map(move |step| (lowest + step) & 7)
    }

    /// The input that asks for the CPU; nothing at or below an input in service does.
    fn requested(&self, cascade: bool) -> Option<u8> {
        if self.expect != Expect::Mask {
            return None;
        }
        let requests = self.irr(cascade) & !self.imr;
        if requests == 0 {
            return None;
        }
        let mut blocking = self.isr;
        if self.special_mask {
            blocking &= !self.imr;
        }
        if self.special_fully_nested {
            blocking &= !(1 << CASCADE);
        }
        let first = self.by_priority().find(|input| (requests | blocking) & 1 << input != 0)?;
        (blocking & 1 << first == 0).then_some(first)
    }

    /// The CPU takes `input`: IRR to ISR.
    fn take(&mut self, input: u8) {
        let bit = 1 << input;
        self.edges &= !bit;
        if !self.auto_eoi {
            self.isr |= bit;
        } else if self.rotate_on_auto_eoi {
            self.lowest = input;
        }
    }

    fn write_command(&mut self, value: u8) {
        if value & ICW1 != 0 {
            self.initialise(value);
        } else if value & OCW3 != 0 {
            self.write_ocw3(value);
        } else {
            self.write_ocw2(value);
        }
    }

    /// ICW1. The edge detectors are reset: a line that is high must fall first. Lines and ELCR are not the chip's to reset.
    fn initialise(&mut self, icw1: u8) {
        *self = Chip {
            lines: self.lines,
            elcr: self.elcr,
            imr: 0,
            expect: Expect::Icw2,
            single: icw1 & ICW1_SINGLE != 0,
            icw4_follows: icw1 & ICW1_ICW4_FOLLOWS != 0,
            ..Chip::new(0)
        };
    }

    fn write_data(&mut self, value: u8) {
        let after_icw3 = if self.icw4_follows { Expect::Icw4 } else { Expect::Mask };
        self.expect = match self.expect {
            Expect::Mask => {
                self.imr = value;
                Expect::Mask
            }
            Expect::Icw2 => {
                self.vector_base = value & 0xf8;
                if self.single { after_icw3 } else { Expect::Icw3 }
            }
            Expect::Icw3 => after_icw3, // the cascade is wired: slave on input 2
            Expect::Icw4 => {
                self.auto_eoi = value & ICW4_AUTO_EOI != 0;
                self.special_fully_nested = value & ICW4_SPECIAL_FULLY_NESTED != 0;
                Expect::Mask
            }
        };
    }

    /// End of interrupt and rotation.
    fn write_ocw2(&mut self, value: u8) {
        let input = value & 7;
        match value >> 5 {
            0b000 => self.rotate_on_auto_eoi = false,
            0b100 => self.rotate_on_auto_eoi = true,
            0b001 => {
                self.end_highest();
            }
            0b101 => {
                if let Some(ended) = self.end_highest() {
                    self.lowest = ended;
                }
            }
            0b011 => self.isr &= !(1 << input),
            0b111 => {
                self.isr &= !(1 << input);
                self.lowest = input;
            }
            0b110 => self.lowest = input,
            _ => {} // 010: no operation
        }
    }

    /// Non-specific EOI. In special mask mode it passes over masked inputs.
    fn end_highest(&mut self) -> Option<u8> {
        let candidates = if self.special_mask { self.isr & !self.imr } else { self.isr };
        let ended = self.by_priority().find(|input| candidates & 1 << input != 0)?;
        self.isr &= !(1 << ended);
        Some(ended)
    }

    fn write_ocw3(&mut self, value: u8) {
        match value >> 5 & 3 {
            0b10 => self.special_mask = false,
            0b11 => self.special_mask = true,
            _ => {}
        }
        if value & OCW3_POLL != 0 {
            self.poll = true;
        } else if value & 2 != 0 {
            self.read_isr = value & 1 != 0;
        }
    }

    fn read(&mut self, data_port: bool, cascade: bool) -> u8 {
        if std::mem::take(&mut self.poll) {
            return match self.requested(cascade) {
                Some(input) => {
                    self.take(input);
                    0x80 | input
                }
                None => 0,
            };
        }
        match (data_port, self.read_isr) {
            (true, _) => self.imr,
            (false, true) => self.isr,
            (false, false) => self.irr(cascade),
        }
    }
}

/// The master (IRQ 0-7) and the slave (IRQ 8-15) on its input 2.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pic {
    master: Chip,
    slave: Chip,
}

impl Default for Pic {
    fn default() -> Self {
        Self::new()
    }
}

impl Pic {
    /// The pair with the vectors that PC firmware gives it (0x08 and 0x70), everything masked.
    pub fn new() -> Self {
        Pic { master: Chip::new(0x08), slave: Chip::new(0x70) }
    }

    /// Checks that the pair can be in this state.
    pub(crate) fn check(&self) -> Checked {
        let possible = |chip: &Chip| chip.lowest <= 7 && chip.vector_base & 7 == 0;
        let elcr = [self.master.elcr & !ELCR_WRITABLE[0], self.slave.elcr & !ELCR_WRITABLE[1]];
        ensure(possible(&self.master) && possible(&self.slave) && elcr == [0, 0], "PIC")
    }

    /// Reads port 0x20, 0x21, 0xa0, 0xa1, 0x4d0 or 0x4d1; all ones elsewhere.
    pub fn read(&mut self, port: u16) -> u8 {
        let cascade = self.slave_requests();
        match port {
            0x20 | 0x21 => self.master.read(port & 1 != 0, cascade),
            0xa0 | 0xa1 => self.slave.read(port & 1 != 0, false),
            0x4d0 => self.master.elcr,
            0x4d1 => self.slave.elcr,
            _ => 0xff,
        }
    }

    /// Writes port 0x20, 0x21, 0xa0, 0xa1, 0x4d0 or 0x4d1; nothing happens elsewhere.
    pub fn write(&mut self, port: u16, value: u8) {
        match port {
            0x20 => self.master.write_command(value),
            0x21 => self.master.write_data(value),
            0xa0 => self.slave.write_command(value),
            0xa1 => self.slave.write_data(value),
            0x4d0 => self.master.elcr = value & ELCR_WRITABLE[0],
            0x4d1 => self.slave.elcr = value & ELCR_WRITABLE[1],
            _ => {}
        }
    }

    /// Sets the level of an interrupt line. IRQ 2 is the cascade and IRQs above 15 do not exist: both are ignored.
    pub fn set_line(&mut self, irq: u8, level: bool) {
        match irq {
            CASCADE | 16.. => {}
            0..8 => self.master.set_line(irq, level),
            8..16 => self.slave.set_line(irq - 8, level),
        }
    }

    /// Level of the INTR pin of the CPU.
    pub fn pending(&self) -> bool {
        self.master.requested(self.slave_requests()).is_some()
    }

    /// Interrupt acknowledge cycle: the vector to deliver. A request that has gone away becomes the spurious interrupt
    /// (input 7, not in service) of the chip that finds it gone.
    pub fn acknowledge(&mut self) -> u8 {
        let slave_input = self.slave.requested(false);
        match self.master.requested(slave_input.is_some()) {
            None => self.master.vector_base | SPURIOUS,
            Some(CASCADE) => {
                self.master.take(CASCADE);
                if let Some(input) = slave_input {
                    self.slave.take(input);
                }
                self.slave.vector_base | slave_input.unwrap_or(SPURIOUS)
            }
            Some(input) => {
                self.master.take(input);
                self.master.vector_base | input
            }
        }
    }

    /// The slave's INT pin. The master sees its level: no edge of it can be lost.
    fn slave_requests(&self) -> bool {
        self.slave.requested(false).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Initialised as Linux does it: vectors 0x30 and 0x38, normal EOI, nothing masked.
    fn linux() -> Pic {
        with_icw4(0x01)
    }

    fn with_icw4(icw4: u8) -> Pic {
        let mut pic = Pic::new();
        for (port, value) in [
            (0x20, 0x11),
            (0x21, 0x30),
            (0x21, 0x04),
            (0x21, icw4), //
            (0xa0, 0x11),
            (0xa1, 0x38),
            (0xa1, 0x02),
            (0xa1, icw4),
        ] {
            pic.write(port, value);
        }
        pic
    }

    fn in_service(pic: &mut Pic) -> (u8, u8) {
        pic.write(0x20, 0x0b);
        pic.write(0xa0, 0x0b);
        (pic.read(0x20), pic.read(0xa0))
    }

    #[test]
    fn nothing_comes_before_the_guest_unmasks() {
        let mut pic = Pic::new();
        for irq in 0..16 {
            pic.set_line(irq, true);
        }
        assert!(!pic.pending());
        pic.write(0x21, 0xfe);
        assert_eq!((pic.pending(), pic.acknowledge()), (true, 0x08));
    }

    #[test]
    fn linux_probe_reads_its_mask_back() {
        let mut pic = Pic::new();
        pic.write(0xa1, 0xff);
        pic.write(0x21, 0xfb);
        assert_eq!((pic.read(0x21), pic.read(0xa1)), (0xfb, 0xff));
    }

    #[test]
    fn edge_fires_once_and_needs_a_fall() {
        let mut pic = linux();
        pic.set_line(0, true);
        assert_eq!((pic.pending(), pic.acknowledge()), (true, 0x30));
        pic.write(0x20, 0x20);
        pic.set_line(0, true);
        assert!(!pic.pending());
        pic.set_line(0, false);
        pic.set_line(0, true);
        assert!(pic.pending());
    }

    #[test]
    fn edge_during_service_waits_for_eoi() {
        let mut pic = linux();
        pic.set_line(4, true);
        assert_eq!(pic.acknowledge(), 0x34);
        pic.set_line(4, false);
        pic.set_line(4, true);
        assert!(!pic.pending());
        pic.write(0x20, 0x64);
        assert_eq!((pic.pending(), pic.acknowledge()), (true, 0x34));
    }

    #[test]
    fn level_repeats_until_the_line_falls() {
        let mut pic = linux();
        pic.write(0x4d0, 0xff);
        assert_eq!(pic.read(0x4d0), 0xf8);
        pic.set_line(5, true);
        for _ in 0..3 {
            assert_eq!((pic.pending(), pic.acknowledge()), (true, 0x35));
            pic.write(0x20, 0x65);
        }
        pic.set_line(5, false);
        assert!(!pic.pending());
    }

    #[test]
    fn higher_priority_nests_lower_waits() {
        let mut pic = linux();
        pic.set_line(4, true);
        assert_eq!(pic.acknowledge(), 0x34);
        pic.set_line(5, true);
        assert!(!pic.pending());
        pic.set_line(1, true);
        assert_eq!((pic.pending(), pic.acknowledge()), (true, 0x31));
        assert_eq!(in_service(&mut pic), (0x12, 0));
        pic.write(0x20, 0x20);
        assert_eq!(in_service(&mut pic), (0x10, 0));
        pic.write(0x20, 0x20);
        assert_eq!((pic.pending(), pic.acknowledge()), (true, 0x35));
    }

    #[test]
    fn slave_goes_through_the_cascade() {
        let mut pic = linux();
        pic.set_line(8, true);
        pic.set_line(12, true);
        assert_eq!(pic.acknowledge(), 0x38);
        assert_eq!(in_service(&mut pic), (0x04, 0x01));
        pic.write(0xa0, 0x20);
        assert!(!pic.pending(), "the cascade is still in service");
        pic.write(0x20, 0x62);
        assert_eq!((pic.pending(), pic.acknowledge()), (true, 0x3c));
        pic.write(0x20, 0x62);
        pic.write(0xa0, 0x64);
        assert!(!pic.pending());
        assert_eq!(in_service(&mut pic), (0, 0));
    }

    #[test]
    fn masking_the_cascade_silences_the_slave() {
        let mut pic = linux();
        pic.write(0x21, 0x04);
        pic.set_line(8, true);
        assert!(!pic.pending());
        pic.write(0x21, 0);
        assert!(pic.pending());
    }

    #[test]
    fn a_request_that_went_away_is_spurious() {
        let mut pic = linux();
        pic.set_line(3, true);
        pic.set_line(3, false);
        assert!(!pic.pending());
        assert_eq!(pic.acknowledge(), 0x37);
        assert_eq!(in_service(&mut pic), (0, 0));
    }

    #[test]
    fn special_fully_nested_mode_lets_the_slave_nest() {
        let mut pic = with_icw4(0x11);
        pic.set_line(12, true);
        assert_eq!(pic.acknowledge(), 0x3c);
        pic.set_line(9, true);
        assert_eq!((pic.pending(), pic.acknowledge()), (true, 0x39));
        let mut pic = linux();
        pic.set_line(12, true);
        pic.acknowledge();
        pic.set_line(9, true);
        assert!(!pic.pending());
    }

    #[test]
    fn auto_eoi_leaves_nothing_in_service() {
        let mut pic = with_icw4(0x03);
        pic.set_line(8, true);
        pic.set_line(9, true);
        assert_eq!((pic.acknowledge(), pic.acknowledge()), (0x38, 0x39));
        assert_eq!(in_service(&mut pic), (0, 0));
        assert!(!pic.pending());
    }

    #[test]
    fn rotation_moves_the_served_input_to_the_end() {
        let mut pic = linux();
        pic.set_line(0, true);
        assert_eq!(pic.acknowledge(), 0x30);
        pic.write(0x20, 0xa0);
        for line in [0, 1] {
            pic.set_line(line, false);
            pic.set_line(line, true);
        }
        assert_eq!(pic.acknowledge(), 0x31);
        pic.write(0x20, 0xe1);
        assert_eq!(pic.acknowledge(), 0x30);
        pic.write(0x20, 0x60);
        pic.write(0x20, 0xc4); // 4 lowest, so 5 highest
        for line in [0, 5] {
            pic.set_line(line, false);
            pic.set_line(line, true);
        }
        assert_eq!(pic.acknowledge(), 0x35);
    }

    #[test]
    fn rotation_on_auto_eoi() {
        let mut pic = with_icw4(0x03);
        pic.write(0x20, 0x80);
        pic.write(0x4d0, 0x18); // inputs 3 and 4 by level
        pic.set_line(3, true);
        pic.set_line(4, true);
        assert_eq!([pic.acknowledge(), pic.acknowledge(), pic.acknowledge()], [0x33, 0x34, 0x33]);
        pic.write(0x20, 0x00);
        assert_eq!([pic.acknowledge(), pic.acknowledge()], [0x34, 0x34]);
    }

    #[test]
    fn special_mask_mode_admits_lower_priorities() {
        let mut pic = linux();
        pic.set_line(1, true);
        pic.acknowledge();
        pic.set_line(6, true);
        pic.write(0x21, 0x02);
        assert!(!pic.pending());
        pic.write(0x20, 0x68);
        assert_eq!((pic.pending(), pic.acknowledge()), (true, 0x36));
        pic.write(0x20, 0x20);
        assert_eq!(in_service(&mut pic), (0x02, 0), "a non-specific EOI passes over the masked input");
        pic.write(0x20, 0x48);
        pic.write(0x20, 0x20);
        assert_eq!(in_service(&mut pic), (0, 0));
    }

    #[test]
    fn poll_acknowledges_without_a_vector() {
        let mut pic = linux();
        pic.write(0x20, 0x0c);
        assert_eq!(pic.read(0x20), 0);
        pic.set_line(10, true);
        pic.write(0x20, 0x0c);
        assert_eq!(pic.read(0x20), 0x82);
        pic.write(0xa0, 0x0c);
        assert_eq!(pic.read(0xa1), 0x82);
        assert_eq!(in_service(&mut pic), (0x04, 0x04));
        assert!(!pic.pending());
    }

    #[test]
    fn irr_shows_requests_and_the_cascade() {
        let mut pic = linux();
        pic.set_line(7, true);
        pic.set_line(15, true);
        assert_eq!((pic.read(0x20), pic.read(0xa0)), (0x84, 0x80));
    }

    #[test]
    fn icw1_resets_the_edge_detectors_and_the_mask() {
        let mut pic = linux();
        pic.set_line(4, true);
        pic.write(0x21, 0xff);
        pic.write(0x20, 0x13); // single, ICW4 follows: no ICW3
        assert!(!pic.pending());
        pic.write(0x21, 0x50);
        pic.write(0x21, 0x01);
        assert_eq!(pic.read(0x21), 0);
        assert!(!pic.pending(), "the line must fall first");
        pic.set_line(4, false);
        pic.set_line(4, true);
        assert_eq!(pic.acknowledge(), 0x54);
    }
}
