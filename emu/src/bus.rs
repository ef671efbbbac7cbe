//! Where the chips are: ports, interrupt lines, and what leaves through the door.

mod pci;

use crate::ClockMode;
use crate::cpu::Cpu;
use crate::cpu::fault::Trap;
use crate::dev::lapic::{self, Message};
use crate::dev::virtio::Console;
use crate::dev::{I8042, Ioapic, Lapic, Pci, Pic, Pit, Pm, Rtc, Uart, ioapic, pm};
use crate::event::{Output, Power, Query};
use crate::mem::PAGE_MASK;
use crate::position::Position;
use crate::state::ClockState;
use pci::is_pci_port;

/// COM1.
pub(crate) const UART: u16 = 0x3f8;
/// A write of this bit here resets the machine (as the PIIX does).
pub(crate) const RESET: u16 = 0xcf9;
const RESET_CPU: u8 = 1 << 2;
/// System control port A: another way to the reset line; the A20 gate is open.
const CONTROL_A: u16 = 0x92;
const CONTROL_A_RESET: u8 = 1;
const CONTROL_A_A20: u8 = 2;
/// Writing a byte here switches the machine off with that exit code.
const EXIT: u16 = 0x500;
/// The same for test kernels (QEMU's isa-debug-exit): the exit code is `value << 1 | 1`.
const DEBUG_EXIT: u16 = 0xf4;
/// Bytes for the console without a driver, for test kernels; reads as its own number (Bochs).
const DEBUG_CONSOLE: u16 = 0xe9;
/// Interrupt lines.
pub(crate) const IRQ_PIT: u8 = 0;
pub(crate) const IRQ_KEYBOARD: u8 = 1;
pub(crate) const IRQ_UART: u8 = 4;
pub(crate) const IRQ_RTC: u8 = 8;
pub(crate) const IRQ_SCI: u8 = 9;
/// The pin of the I/O APIC to which IRQ 0 goes; the others go to those of their number.
pub(crate) const PIN_PIT: u8 = 2;

/// The chips and the numbers of what has left.
pub(crate) struct Bus {
    pub(crate) uart: Uart,
    pub(crate) pic: Pic,
    pub(crate) lapic: Lapic,
    pub(crate) ioapic: Ioapic,
    pub(crate) pit: Pit,
    pub(crate) rtc: Rtc,
    pub(crate) i8042: I8042,
    pub(crate) pm: Pm,
    pub(crate) pci: Pci,
    /// `pci.is_due()`: devices have work for the run loop.
    pub(crate) work_is_due: bool,
    pub(crate) mode: ClockMode,
    pub(crate) clock: ClockState,
    pub(crate) outputs: u64,
    pub(crate) console_bytes: u64,
    pub(crate) power: Option<Power>,
}

impl Bus {
    /// Chips see that guest time is `ns`.
    pub(crate) fn advance(&mut self, ns: u64) {
        self.pit.advance(ns);
        self.rtc.advance(ns);
        self.lapic.advance(ns);
        self.update_lines();
    }

    /// Carries chip pins to the interrupt controllers.
    pub(crate) fn update_lines(&mut self) {
        if self.pit.take_edge0() {
            self.set_irq(IRQ_PIT, false);
            self.set_irq(IRQ_PIT, true);
        }
        if self.uart.take_fall() {
            self.set_irq(IRQ_UART, false);
        }
        if self.i8042.take_fall() {
            self.set_irq(IRQ_KEYBOARD, false);
        }
        self.set_irq(IRQ_KEYBOARD, self.i8042.irq());
        self.set_irq(IRQ_UART, self.uart.irq());
        self.set_irq(IRQ_RTC, self.rtc.irq());
        self.set_irq(IRQ_SCI, self.pm.sci());
        self.deliver_pins();
    }

    /// Carries what the pins of the I/O APIC ask for to the local APIC.
    fn deliver_pins(&mut self) {
        let lapic = &mut self.lapic;
        self.ioapic.deliver(|message| lapic.receive(message));
    }

    /// Sets a line, which goes to the PIC and to the I/O APIC.
    fn set_irq(&mut self, irq: u8, level: bool) {
        self.pic.set_line(irq, level);
        self.ioapic.set_line(if irq == IRQ_PIT { PIN_PIT } else { irq }, level);
    }

    /// A device writes `data` to `address` as a message-signalled interrupt.
    fn message(&mut self, address: u64, data: u32) {
        if let Some(message) = Message::from_write(address, data) {
            self.lapic.receive(&message);
        }
    }

    /// Whether a maskable interrupt waits for the CPU.
    pub(crate) fn interrupt_pending(&self) -> bool {
        self.lapic.pending() || self.lapic.accepts_extint() && self.pic.pending()
    }

    /// The CPU takes the interrupt that is pending: its vector. The PIC comes first.
    pub(crate) fn acknowledge(&mut self) -> u8 {
        let vector = match self.lapic.accepts_extint() && self.pic.pending() {
            true => self.pic.acknowledge(),
            false => self.lapic.acknowledge(),
        };
        self.update_lines();
        vector
    }

    /// A level-triggered interrupt has ended, if one has.
    pub(crate) fn end_of_interrupt(&mut self, ended: Option<u8>) {
        if let Some(vector) = ended {
            self.ioapic.end_of_interrupt(vector);
        }
        // Also where the local APIC has been enabled: levels wait for it.
        self.update_lines();
    }

    /// Console bytes that wait for the guest to read them.
    pub(crate) fn console_backlog(&self) -> usize {
        self.pci.console().map_or(self.uart.backlog(), Console::backlog)
    }

    /// Bytes typed at the console, wherever that is.
    pub(crate) fn console_receive(&mut self, bytes: &[u8]) {
        if self.pci.console().is_some() {
            self.pci.receive(bytes);
            self.update_functions();
        } else {
            self.uart.receive(bytes);
            self.update_lines();
        }
    }

    /// Guest time of the next event that a chip brings about by itself.
    pub(crate) fn next_deadline(&self) -> Option<u64> {
        [self.pit.next_deadline(), self.rtc.next_deadline(), self.lapic.next_deadline()].into_iter().flatten().min()
    }

    /// Whether the device at `phys` looks at the time, which must then be asked for before it is accessed.
    pub(crate) fn is_timed_memory(&self, phys: u64) -> bool {
        self.is_lapic(phys) && self.lapic.is_timed(lapic_register(phys))
    }

    fn is_lapic(&self, phys: u64) -> bool {
        phys & !PAGE_MASK == lapic::ADDRESS && self.lapic.is_xapic()
    }

    /// Reads device memory within a page at guest time `now`. Nothing there: all ones.
    pub(crate) fn mmio_read(&mut self, phys: u64, out: &mut [u8], now: u64) {
        if self.is_lapic(phys) {
            // Registers are 16 bytes apart, and have four.
            read_words(phys, out, |at| if at & 0xc == 0 { self.lapic.read(lapic_register(at), now) } else { 0 });
        } else if phys & !PAGE_MASK == ioapic::ADDRESS {
            read_words(phys, out, |at| self.ioapic.read(at & PAGE_MASK));
        } else if self.pci.read(phys, out) {
            self.update_functions();
        } else {
            out.fill(0xff);
        }
    }

    /// Writes device memory within a page at guest time `now`. What comes back is a byte for the console. The registers of the
    /// interrupt controllers take four aligned bytes, nothing else.
    pub(crate) fn mmio_write(&mut self, phys: u64, data: &[u8], now: u64) -> Option<u8> {
        let word = data.try_into().map(u32::from_le_bytes).ok();
        if self.is_lapic(phys) {
            let register = word.filter(|_| phys & 0xf == 0);
            let ended = register.map(|word| self.lapic.write(lapic_register(phys), word, now));
            self.end_of_interrupt(ended.flatten());
        } else if phys & !PAGE_MASK == ioapic::ADDRESS {
            if let Some(word) = word {
                self.ioapic.write(phys & PAGE_MASK, word);
            }
            self.update_lines();
        } else {
            let byte = self.pci.write(phys, data);
            self.update_functions();
            return byte;
        }
        None
    }
}

/// The number of the local APIC's register at `phys`.
fn lapic_register(phys: u64) -> u32 {
    ((phys & PAGE_MASK) >> 4) as u32
}

/// Reads registers of four bytes; `register` is given the address of each.
fn read_words(phys: u64, out: &mut [u8], mut register: impl FnMut(u64) -> u32) {
    let mut word = (u64::MAX, [0; 4]);
    for (at, byte) in (phys..).zip(out) {
        if word.0 != at & !3 {
            word = (at & !3, register(at & !3).to_le_bytes());
        }
        *byte = word.1[(at & 3) as usize];
    }
}

/// Whether a port's chip looks at the time.
fn is_timed(port: u16) -> bool {
    matches!(port, 0x40..=0x43 | 0x61 | 0x70 | 0x71) || pm_register(port).is_some_and(Pm::is_timed)
}

/// The register of the ACPI fixed hardware at `port`.
fn pm_register(port: u16) -> Option<u16> {
    port.checked_sub(pm::PORT).filter(|register| *register < pm::PORTS)
}

impl Cpu {
    /// Where the instruction in progress is.
    pub(crate) fn position(&self) -> Position {
        Position { retired: self.retired, steps: self.steps }
    }

    /// Asks the door.
    pub(crate) fn query(&mut self, query: Query) -> Result<u64, Trap> {
        let at = self.position();
        // SAFETY: set by `Machine::run` for as long as it runs.
        let answer = self.door.and_then(|mut door| unsafe { door.as_mut() }.query(at, query));
        answer.ok_or(Trap::Starved)
    }

    /// Guest time now, in nanoseconds.
    pub(crate) fn guest_time(&mut self) -> Result<u64, Trap> {
        match self.bus.mode {
            ClockMode::Host if self.bus.clock.asked == Some(self.position()) => Ok(self.bus.clock.base_ns),
            ClockMode::Host => {
                let ns = self.query(Query::Clock)?;
                Ok(self.bus.clock.answer(self.position(), ns))
            }
            ClockMode::Derived => Ok(self.bus.clock.at(ClockMode::Derived, self.retired)),
        }
    }

    /// Sends an output through the door.
    pub(crate) fn emit(&mut self, output: Output) {
        let at = self.position();
        self.bus.outputs += 1;
        let number = self.bus.outputs;
        if let Some(mut door) = self.door {
            // SAFETY: as in `query`.
            self.door_break |= unsafe { door.as_mut() }.output(at, number, output).is_break();
        }
    }

    /// Sends a byte to the console.
    pub(crate) fn print_byte(&mut self, byte: u8) {
        let offset = self.bus.console_bytes;
        self.bus.console_bytes += 1;
        self.emit(Output::Console { offset, byte });
    }

    /// The machine stops for good.
    pub(crate) fn power(&mut self, power: Power) {
        if self.bus.power.is_none() {
            self.bus.power = Some(power);
            self.emit(Output::Power(power));
        }
    }

    /// IN from `size` bytes at `port`.
    pub(crate) fn port_read(&mut self, port: u16, size: u8) -> Result<u32, Trap> {
        let ports = (0..u16::from(size)).map(|i| port.wrapping_add(i));
        let now = if ports.clone().any(is_timed) { self.guest_time()? } else { 0 };
        self.watch_port(port, size);
        if is_pci_port(port, size) {
            return Ok(self.bus.pci_port_read(port, size));
        }
        let mut value = 0;
        for (i, port) in ports.enumerate() {
            value |= u32::from(self.port_read_byte(port, now)) << (8 * i);
        }
        self.bus.update_lines();
        Ok(value)
    }

    fn port_read_byte(&mut self, port: u16, now: u64) -> u8 {
        let bus = &mut self.bus;
        match port {
            0x20 | 0x21 | 0xa0 | 0xa1 | 0x4d0 | 0x4d1 => bus.pic.read(port),
            0x40..=0x43 | 0x61 => bus.pit.read(port, now),
            0x60 => bus.i8042.read_data(),
            0x64 => bus.i8042.read_status(),
            0x70 | 0x71 => bus.rtc.read(port, now),
            CONTROL_A => CONTROL_A_A20,
            UART..=0x3ff => bus.uart.read((port - UART) as u8),
            DEBUG_CONSOLE => DEBUG_CONSOLE as u8,
            _ => pm_register(port).map_or(0xff, |register| bus.pm.read(register, now)),
        }
    }

    /// OUT of `size` bytes at `port`.
    pub(crate) fn port_write(&mut self, port: u16, size: u8, value: u32) -> Result<(), Trap> {
        let ports = (0..u16::from(size)).map(|i| port.wrapping_add(i));
        let now = if ports.clone().any(is_timed) { self.guest_time()? } else { 0 };
        self.watch_port(port, size);
        if is_pci_port(port, size) {
            if let Some(byte) = self.bus.pci_port_write(port, size, value) {
                self.print_byte(byte);
            }
            return Ok(());
        }
        // A wider access is to PCI's configuration address register.
        if port == RESET && size == 1 && value as u8 & RESET_CPU != 0 {
            self.power(Power::Reset);
        }
        for (byte, port) in value.to_le_bytes().into_iter().zip(ports) {
            self.port_write_byte(port, byte, now);
        }
        self.bus.update_lines();
        Ok(())
    }

    fn port_write_byte(&mut self, port: u16, value: u8, now: u64) {
        let bus = &mut self.bus;
        match port {
            0x20 | 0x21 | 0xa0 | 0xa1 | 0x4d0 | 0x4d1 => bus.pic.write(port, value),
            0x40..=0x43 | 0x61 => bus.pit.write(port, value, now),
            0x60 if bus.i8042.write_data(value) => self.power(Power::Reset),
            0x64 if bus.i8042.write_command(value) => self.power(Power::Reset),
            0x70 | 0x71 => bus.rtc.write(port, value, now),
            CONTROL_A if value & CONTROL_A_RESET != 0 => self.power(Power::Reset),
            UART..=0x3ff => {
                let byte = bus.uart.write((port - UART) as u8, value);
                if let Some(byte) = byte.filter(|_| bus.pci.console().is_none()) {
                    self.print_byte(byte);
                }
            }
            DEBUG_CONSOLE => self.print_byte(value),
            EXIT => self.power(Power::Off { code: value }),
            DEBUG_EXIT => self.power(Power::Off { code: value << 1 | 1 }),
            _ => {
                if pm_register(port).is_some_and(|register| bus.pm.write(register, value)) {
                    self.power(Power::Off { code: 0 });
                }
            }
        }
    }
}
