//! Where the chips are: ports, interrupt lines, and what leaves through the door.

mod pci;

use crate::ClockMode;
use crate::cpu::Cpu;
use crate::cpu::fault::Trap;
use crate::dev::virtio::Console;
use crate::dev::{Pci, Pic, Pit, Rtc, Uart};
use crate::event::{Output, Power, Query};
use crate::position::Position;
use crate::state::ClockState;
use pci::is_pci_port;

/// COM1.
const UART: u16 = 0x3f8;
/// Writing a byte here switches the machine off with that exit code.
const EXIT: u16 = 0x500;
/// Interrupt lines.
const IRQ_PIT: u8 = 0;
const IRQ_UART: u8 = 4;
const IRQ_RTC: u8 = 8;

/// The chips and the numbers of what has left.
pub(crate) struct Bus {
    pub(crate) uart: Uart,
    pub(crate) pic: Pic,
    pub(crate) pit: Pit,
    pub(crate) rtc: Rtc,
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
        self.update_lines();
    }

    /// Carries chip pins to the interrupt controller.
    pub(crate) fn update_lines(&mut self) {
        if self.pit.take_edge0() {
            self.pic.set_line(IRQ_PIT, false);
            self.pic.set_line(IRQ_PIT, true);
        }
        if self.uart.take_fall() {
            self.pic.set_line(IRQ_UART, false);
        }
        self.pic.set_line(IRQ_UART, self.uart.irq());
        self.pic.set_line(IRQ_RTC, self.rtc.irq());
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
        [self.pit.next_deadline(), self.rtc.next_deadline()].into_iter().flatten().min()
    }

    /// Whether the device at `phys` looks at the time, which must then be asked for before it is accessed.
    pub(crate) fn is_timed_memory(&self, _phys: u64) -> bool {
        false
    }

    /// Reads device memory within a page at guest time `now`. Nothing there: all ones.
    pub(crate) fn mmio_read(&mut self, phys: u64, out: &mut [u8], _now: u64) {
        if self.pci.read(phys, out) {
            self.update_functions();
        } else {
            out.fill(0xff);
        }
    }

    /// Writes device memory within a page at guest time `now`. What comes back is a byte for the console.
    pub(crate) fn mmio_write(&mut self, phys: u64, data: &[u8], _now: u64) -> Option<u8> {
        let byte = self.pci.write(phys, data);
        self.update_functions();
        byte
    }

    /// A device writes `data` to `address` to interrupt the CPU. There is no local APIC to hear it.
    fn message(&mut self, _address: u64, _data: u32) {}
}

/// Whether a port's chip looks at the time.
fn is_timed(port: u16) -> bool {
    matches!(port, 0x40..=0x43 | 0x61 | 0x70 | 0x71)
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
            0x70 | 0x71 => bus.rtc.read(port, now),
            UART..=0x3ff => bus.uart.read((port - UART) as u8),
            _ => 0xff,
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
            0x70 | 0x71 => bus.rtc.write(port, value, now),
            UART..=0x3ff => {
                let byte = bus.uart.write((port - UART) as u8, value);
                if let Some(byte) = byte.filter(|_| bus.pci.console().is_none()) {
                    self.print_byte(byte);
                }
            }
            EXIT => self.power(Power::Off { code: value }),
            _ => {}
        }
    }
}
