//! PCI on the bus: configuration ports, device memory, interrupts, and devices at work.

use super::Bus;
use crate::cpu::Cpu;
use crate::dev::pci::{CONFIG_ADDRESS, CONFIG_DATA, LINES};
use crate::dev::virtio::{Broken, Dma, Outside, Starved};
use crate::event::{Output, Query};
use crate::mem::by_page;

/// Whether an access is one to configuration space. The address register is there for whole words only.
pub(super) fn is_pci_port(port: u16, size: u8) -> bool {
    (port, size) == (CONFIG_ADDRESS, 4) || data_lane(port, size).is_some()
}

/// The byte of the data register that `port` is, if all of `size` bytes are there.
fn data_lane(port: u16, size: u8) -> Option<u8> {
    let lane = u8::try_from(port.checked_sub(CONFIG_DATA)?).ok()?;
    (lane < 4 && size <= 4 - lane).then_some(lane)
}

impl Bus {
    /// Reads a port for which `is_pci_port` holds.
    pub(super) fn pci_port_read(&mut self, port: u16, size: u8) -> u32 {
        let Some(lane) = data_lane(port, size) else { return self.pci.address() };
        let value = self.pci.config_read(lane, size);
        self.update_functions();
        value
    }

    /// Writes a port for which `is_pci_port` holds. What comes back is a byte for the console.
    pub(super) fn pci_port_write(&mut self, port: u16, size: u8, value: u32) -> Option<u8> {
        let Some(lane) = data_lane(port, size) else {
            self.pci.set_address(value);
            return None;
        };
        let byte = self.pci.config_write(lane, size, value);
        self.update_functions();
        byte
    }

    /// Carries what the functions ask for to the interrupt controllers, and notes whether they have work. To be called after
    /// everything that may change them.
    pub(crate) fn update_functions(&mut self) {
        while let Some(message) = self.pci.poll_message() {
            self.message(message.address, message.data);
        }
        for (irq, level) in LINES.into_iter().zip(self.pci.lines()) {
            self.set_irq(irq, level);
        }
        self.deliver_pins();
        self.work_is_due = self.pci.is_due();
    }
}

impl Cpu {
    /// Lets a device do one unit of the work that is due: a step of the run loop, with a position of its own.
    pub(crate) fn device_work(&mut self) -> Result<(), Starved> {
        let mut pci = std::mem::take(&mut self.bus.pci);
        let done = pci.work(self);
        self.bus.pci = pci;
        done?;
        self.bus.update_functions();
        self.steps += 1;
        Ok(())
    }
}

impl Dma for Cpu {
    fn dma_read(&self, phys: u64, out: &mut [u8]) -> Result<(), Broken> {
        self.mem.read(phys, out).ok_or(Broken)
    }

    fn dma_write(&mut self, phys: u64, data: &[u8]) -> Result<(), Broken> {
        if !self.mem.is_ram(phys, data.len() as u64) {
            return Err(Broken);
        }
        by_page(phys, data).for_each(|(at, here)| self.write_phys(at, here));
        Ok(())
    }
}

impl Outside for Cpu {
    fn ask(&mut self, query: Query) -> Result<u64, Starved> {
        self.query(query).map_err(|_| Starved)
    }

    fn send(&mut self, output: Output) {
        self.emit(output);
    }

    fn print(&mut self, byte: u8) {
        self.print_byte(byte);
    }

    fn disk_read(&self, number: u8, offset: u64, out: &mut [u8]) {
        if let Some(disk) = self.disks.get(number.into()) {
            disk.read(offset, out);
        }
    }

    fn disk_write(&mut self, number: u8, offset: u64, data: &[u8]) {
        if let Some(disk) = self.disks.get_mut(number.into()) {
            disk.write(offset, data);
        }
    }

    fn disk_zero(&mut self, number: u8, offset: u64, length: u64) {
        if let Some(disk) = self.disks.get_mut(number.into()) {
            disk.zero(offset, length);
        }
    }
}
