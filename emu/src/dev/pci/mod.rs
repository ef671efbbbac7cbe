//! The PCI bus: configuration mechanism 1 (PCI Local Bus Specification 3.0, 3.2.2.3.2), a host bridge at 00:00.0 and the virtio
//! functions behind it. There is one bus and one function to a slot.
//!
//! There is no firmware, so the base addresses are assigned here; the guest may move them. Function `n` pulls the
//! interrupt line of ISA IRQ `10 + (n & 1)`, level-triggered.

pub mod config;
pub mod msix;

use serde::{Deserialize, Serialize};

use crate::check::{Checked, ensure};
use crate::config::{ConsolePort, Devices};
use crate::dev::virtio::{Block, Console, Entropy, Function, Model, Net, Outside, Starved};
use config::{ConfigSpace, Header, Identity};
use msix::Message;

/// The register that selects what the data register shows.
pub(crate) const CONFIG_ADDRESS: u16 = 0xcf8;
/// The data register: four ports.
pub(crate) const CONFIG_DATA: u16 = 0xcfc;

/// Slots of the virtio functions: they do not move when another device is plugged in.
const SLOT_CONSOLE: u8 = 1;
const SLOT_ENTROPY: u8 = 2;
const SLOT_NET: u8 = 3;
/// Disk 0; the others follow.
const SLOT_DISKS: u8 = 4;

/// ISA interrupt lines of even and odd slots.
pub(crate) const LINES: [u8; 2] = [10, 11];

/// A host bridge that no driver has anything special to do about.
const BRIDGE: Identity =
    Identity { vendor: 0x8086, device: 0x0d57, class: [0, 0, 6], revision: 0, subsystem: [0; 2], bars: &[], pin: 0 };

/// The bus with its functions.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pci {
    /// The address register.
    address: u32,
    /// Ascending slots, from 1.
    functions: Vec<Function>,
}

impl Pci {
    /// A bus with what `devices` says plugged in, after power-on.
    pub(crate) fn new(devices: &Devices) -> Self {
        let mut functions = Vec::new();
        if devices.console == ConsolePort::Virtio {
            functions.push(Function::new(SLOT_CONSOLE, Model::Console(Console::default())));
        }
        if devices.entropy {
            functions.push(Function::new(SLOT_ENTROPY, Model::Entropy(Entropy::default())));
        }
        if let Some(mac) = devices.net {
            functions.push(Function::new(SLOT_NET, Model::Net(Net::new(mac))));
        }
        for (number, disk) in (0..).zip(&devices.disks) {
            let model = disk.as_ref().map(|disk| Model::Block(Block::new(number, disk)));
            functions.extend(model.map(|model| Function::new(SLOT_DISKS + number, model)));
        }
        Self { address: 0, functions }
    }

    /// Checks that a bus with these devices can be in this state.
    pub(crate) fn check(&self, devices: &Devices) -> Checked {
        let new = Self::new(devices);
        ensure(self.address & !ADDRESS_KNOWN == 0, "PCI address")?;
        ensure(self.functions.len() == new.functions.len(), "PCI functions")?;
        self.functions.iter().zip(&new.functions).try_for_each(|(function, new)| function.check(new))
    }

    /// The address register.
    pub(crate) fn address(&self) -> u32 {
        self.address
    }

    /// Writes the address register.
    pub(crate) fn set_address(&mut self, value: u32) {
        self.address = value & ADDRESS_KNOWN;
    }

    /// Reads `size` bytes of the data register from byte `lane`, `lane + size <= 4`.
    pub(crate) fn config_read(&mut self, lane: u8, size: u8) -> u32 {
        let ones = u32::MAX >> (32 - 8 * u32::from(size));
        let Some((slot, register)) = self.selected() else { return ones };
        let offset = register + lane;
        if slot == 0 {
            return bridge().read(offset, size);
        }
        self.slot(slot).map_or(ones, |function| function.config_read(offset, size))
    }

    /// Writes them. What comes back is a byte for the console.
    pub(crate) fn config_write(&mut self, lane: u8, size: u8, value: u32) -> Option<u8> {
        let (slot, register) = self.selected()?;
        self.slot(slot)?.config_write(register + lane, size, value)
    }

    /// Slot and register that the address register selects.
    fn selected(&self) -> Option<(u8, u8)> {
        let [register, function, bus, enable] = self.address.to_le_bytes();
        (enable == 0x80 && bus == 0 && function & 7 == 0).then_some((function >> 3, register))
    }

    fn slot(&mut self, slot: u8) -> Option<&mut Function> {
        self.functions.iter_mut().find(|function| function.slot() == slot)
    }

    /// Reads device memory. False: nothing is there.
    pub(crate) fn read(&mut self, phys: u64, out: &mut [u8]) -> bool {
        self.functions.iter_mut().any(|function| function.read(phys, out))
    }

    /// Writes device memory. What comes back is a byte for the console.
    pub(crate) fn write(&mut self, phys: u64, data: &[u8]) -> Option<u8> {
        self.functions.iter_mut().find_map(|function| function.write(phys, data))
    }

    /// The next message that a function wants to send.
    pub(crate) fn poll_message(&mut self) -> Option<Message> {
        self.functions.iter_mut().find_map(Function::poll_message)
    }

    /// Levels of [`LINES`].
    pub(crate) fn lines(&self) -> [bool; 2] {
        let mut lines = [false; 2];
        for function in &self.functions {
            lines[usize::from(function.slot() & 1)] |= function.line();
        }
        lines
    }

    /// Whether a device has something to do.
    pub(crate) fn is_due(&self) -> bool {
        self.functions.iter().any(Function::is_due)
    }

    /// Does one thing that a device has to do.
    pub(crate) fn work(&mut self, outside: &mut dyn Outside) -> Result<(), Starved> {
        self.functions.iter_mut().find(|function| function.is_due()).map_or(Ok(()), |function| function.work(outside))
    }

    /// The console, if it is here.
    pub(crate) fn console(&self) -> Option<&Console> {
        self.functions.iter().find_map(|function| match function.model() {
            Model::Console(console) => Some(console),
            _ => None,
        })
    }

    /// What was written to disk `number` before flush `flush` is durable.
    pub(crate) fn flushed(&mut self, number: u8, flush: u64) {
        if let Some(function) = SLOT_DISKS.checked_add(number).and_then(|slot| self.slot(slot))
            && let Model::Block(block) = function.model_mut()
        {
            block.flushed(flush);
        }
    }

    /// The flushes that have not been answered: numbers of disks and of flushes.
    pub(crate) fn pending_flushes(&self) -> impl Iterator<Item = (u8, u64)> + '_ {
        self.functions.iter().filter_map(|function| match function.model() {
            Model::Block(block) => Some((block.number(), block.pending_flush()?)),
            _ => None,
        })
    }

    /// Bytes typed at the console.
    pub(crate) fn receive(&mut self, bytes: &[u8]) {
        if let Some(function) = self.slot(SLOT_CONSOLE)
            && let Model::Console(console) = function.model_mut()
        {
            console.receive(bytes);
        }
    }

    /// A frame for the network card; one without a driver does not hear it.
    pub(crate) fn receive_frame(&mut self, frame: &[u8]) {
        if let Some(function) = self.slot(SLOT_NET).filter(|function| function.is_running())
            && let Model::Net(net) = function.model_mut()
        {
            net.receive(frame);
        }
    }

    /// Whether the network card would take another frame, or is not there.
    pub(crate) fn frame_room(&self) -> bool {
        self.functions.iter().all(|function| match function.model() {
            Model::Net(net) => net.has_room(),
            _ => true,
        })
    }

    /// The terminal that shows the console has another size.
    pub(crate) fn resize_console(&mut self, columns: u16, rows: u16) {
        if let Some(function) = self.slot(SLOT_CONSOLE)
            && let Model::Console(console) = function.model_mut()
            && console.resize(columns, rows)
        {
            function.config_changed();
        }
    }
}

/// Bits of the address register that can be set.
const ADDRESS_KNOWN: u32 = 0x80ff_fffc;

/// Configuration space of the host bridge: nothing in it can be changed.
fn bridge() -> ConfigSpace {
    let mut space = ConfigSpace::default();
    Header::default().show(&BRIDGE, &mut space);
    space
}

#[cfg(test)]
mod tests;
