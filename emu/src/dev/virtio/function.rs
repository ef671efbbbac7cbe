//! A virtio device as a PCI function (virtio 1.2, 4.1): bars, capabilities, interrupts, and its work.

use serde::{Deserialize, Serialize};

use super::transport::{COMMON_BYTES, Effect, FEATURES, Transport};
use super::{Device, Failed, Io, Model, Outside, Starved};
use crate::check::{Checked, ensure};
use crate::dev::pci::LINES;
use crate::dev::pci::config::{Bar, COMMAND_MASTER, COMMAND_NO_INTX, ConfigSpace, Header, Identity};
use crate::dev::pci::msix::{self, Message, Msix};

const VENDOR: u16 = 0x1af4;
/// The device ID less the virtio ID.
const DEVICE: u16 = 0x1040;

/// Where base addresses are assigned, and how far from slot to slot.
const ASSIGNED: u32 = 0xfe00_0000;
const ASSIGNED_STEP: u32 = 0x1_0000;

const BAR_REGISTERS: usize = 0;
const BAR_MSIX: usize = 2;
const BARS: [Bar; 2] = [
    Bar { number: BAR_REGISTERS, bytes: 0x4000, wide: true },
    Bar { number: BAR_MSIX, bytes: msix::BAR_BYTES, wide: false },
];

/// Areas of the bar with the registers.
const AREA_BYTES: u32 = 0x1000;
const AREA_COMMON: u32 = 0;
const AREA_ISR: u32 = 1;
const AREA_DEVICE: u32 = 2;
const AREA_NOTIFY: u32 = 3;
/// From one queue's doorbell to the next.
const NOTIFY_STEP: u32 = 4;

/// Places of the capabilities in configuration space.
const AT_MSIX: u8 = 0x40;
const AT_COMMON: u8 = 0x50;
const AT_ISR: u8 = 0x60;
const AT_DEVICE: u8 = 0x70;
const AT_NOTIFY: u8 = 0x80;
const AT_WINDOW: u8 = 0x98;
/// Capabilities that are the vendor's.
const CAPABILITY_VENDOR: u8 = 9;
// Types of virtio capabilities (4.1.4).
const TYPE_COMMON: u8 = 1;
const TYPE_NOTIFY: u8 = 2;
const TYPE_ISR: u8 = 3;
const TYPE_DEVICE: u8 = 4;
const TYPE_WINDOW: u8 = 5;

/// The upper byte of the message control of MSI-X.
const MSIX_CONTROL: usize = AT_MSIX as usize + 3;
/// The window's fields.
const WINDOW_BAR: usize = AT_WINDOW as usize + 4;
const WINDOW_OFFSET: usize = AT_WINDOW as usize + 8;
const WINDOW_LENGTH: usize = AT_WINDOW as usize + 12;
const WINDOW_DATA: usize = AT_WINDOW as usize + 16;

// Interrupt status (4.1.4.5).
const ISR_QUEUE: u8 = 1;
const ISR_CONFIG: u8 = 2;

/// A piece of a bar that is reached through configuration space (4.1.4.9).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Window {
    bar: u8,
    offset: u32,
    length: u32,
}

/// A virtio device in a slot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Function {
    slot: u8,
    header: Header,
    msix: Msix,
    window: Window,
    isr: u8,
    transport: Transport,
    model: Model,
}

impl Function {
    /// A device after power-on, its base addresses assigned.
    pub(crate) fn new(slot: u8, model: Model) -> Self {
        let sizes = model.device().queues();
        let line = LINES[usize::from(slot & 1)];
        let identity = identity(model.device());
        Self {
            slot,
            header: Header::assigned(&identity, ASSIGNED + u32::from(slot) * ASSIGNED_STEP, line),
            msix: Msix::new(sizes.len() + 1),
            window: Window::default(),
            isr: 0,
            transport: Transport::new(sizes),
            model,
        }
    }

    /// Checks that a function that began as `new` can be in this state.
    pub(crate) fn check(&self, new: &Self) -> Checked {
        ensure(self.model.is_same_device(&new.model) && self.slot == new.slot, "PCI function")?;
        let device = self.model.device();
        self.header.check(&identity(device))?;
        self.msix.check(&new.msix)?;
        ensure(self.isr & !(ISR_QUEUE | ISR_CONFIG) == 0, "virtio interrupt status")?;
        self.transport.check(features(device), device.queues())?;
        device.check()
    }

    pub(crate) fn slot(&self) -> u8 {
        self.slot
    }

    /// Whether a driver runs it.
    pub(crate) fn is_running(&self) -> bool {
        self.transport.is_running()
    }

    pub(crate) fn model(&self) -> &Model {
        &self.model
    }

    pub(crate) fn model_mut(&mut self) -> &mut Model {
        &mut self.model
    }
}

/// Configuration space and bars.
impl Function {
    /// Reads `size` bytes of configuration space.
    pub(crate) fn config_read(&mut self, offset: u8, size: u8) -> u32 {
        let mut space = self.config_space();
        if touches_window(offset, size) {
            let mut data = [0; 4];
            if let Some((bar, at, length)) = self.open_window() {
                self.read_bar(bar, at, &mut data[..length]);
            }
            space.put(WINDOW_DATA, &data);
        }
        space.read(offset, size)
    }

    /// Writes them. What comes back is a byte for the console.
    pub(crate) fn config_write(&mut self, offset: u8, size: u8, value: u32) -> Option<u8> {
        let bytes = value.to_le_bytes();
        let bytes = &bytes[..usize::from(size)];
        if touches_window(offset, size) {
            let (bar, at, length) = self.open_window()?;
            let data = bytes.get(..length).filter(|_| usize::from(offset) == WINDOW_DATA)?;
            return self.write_bar(bar, at, data);
        }
        let identity = identity(self.model.device());
        for (at, &byte) in (usize::from(offset)..).zip(bytes) {
            match at {
                MSIX_CONTROL => self.msix.set_control(byte),
                WINDOW_BAR => self.window.bar = byte,
                WINDOW_OFFSET..WINDOW_LENGTH => set_byte(&mut self.window.offset, at % 4, byte),
                WINDOW_LENGTH..WINDOW_DATA => set_byte(&mut self.window.length, at % 4, byte),
                _ => self.header.write(&identity, at, byte),
            }
        }
        None
    }

    fn config_space(&self) -> ConfigSpace {
        let mut space = ConfigSpace::default();
        self.header.show(&identity(self.model.device()), &mut space);
        if self.asks() {
            Header::show_interrupt(&mut space);
        }
        space.add_capability(AT_MSIX, msix::CAPABILITY, &self.msix.capability(BAR_MSIX as u32));
        let areas = [
            (AT_COMMON, TYPE_COMMON, AREA_COMMON, COMMON_BYTES as u32),
            (AT_ISR, TYPE_ISR, AREA_ISR, 1),
            (AT_DEVICE, TYPE_DEVICE, AREA_DEVICE, AREA_BYTES),
            (AT_NOTIFY, TYPE_NOTIFY, AREA_NOTIFY, AREA_BYTES),
        ];
        for (at, kind, area, length) in areas {
            let bytes = if kind == TYPE_NOTIFY { 20 } else { 16 };
            add_capability(&mut space, at, [bytes, kind, BAR_REGISTERS as u8], area * AREA_BYTES, length);
        }
        space.put(usize::from(AT_NOTIFY) + 16, &NOTIFY_STEP.to_le_bytes());
        let Window { bar, offset, length } = self.window;
        add_capability(&mut space, AT_WINDOW, [20, TYPE_WINDOW, bar], offset, length);
        space
    }

    /// What the window shows, if it is something.
    fn open_window(&self) -> Option<(usize, u32, usize)> {
        let Window { bar, offset, length } = self.window;
        let bytes = BARS.iter().find(|known| known.number == usize::from(bar))?.bytes;
        let aligned = matches!(length, 1 | 2 | 4) && offset.is_multiple_of(length);
        (aligned && offset < bytes).then_some((bar.into(), offset, length as usize))
    }

    /// Reads device memory. False: not this function's.
    pub(crate) fn read(&mut self, phys: u64, out: &mut [u8]) -> bool {
        let place = self.header.decode(&identity(self.model.device()), phys, out.len());
        place.is_some_and(|(bar, offset)| {
            self.read_bar(bar, offset, out);
            true
        })
    }

    /// Writes device memory. What comes back is a byte for the console.
    pub(crate) fn write(&mut self, phys: u64, data: &[u8]) -> Option<u8> {
        let (bar, offset) = self.header.decode(&identity(self.model.device()), phys, data.len())?;
        self.write_bar(bar, offset, data)
    }

    fn read_bar(&mut self, bar: usize, offset: u32, out: &mut [u8]) {
        if bar == BAR_MSIX {
            return self.msix.read(offset, out);
        }
        let device = self.model.device();
        let (area, at) = (offset / AREA_BYTES, (offset % AREA_BYTES) as usize);
        match area {
            AREA_COMMON => copy_from(&self.transport.read(features(device)), at, out),
            AREA_ISR if at == 0 => copy_from(&[std::mem::take(&mut self.isr)], 0, out),
            AREA_DEVICE => copy_from(&device.config(), at, out),
            _ => out.fill(0),
        }
    }

    fn write_bar(&mut self, bar: usize, offset: u32, data: &[u8]) -> Option<u8> {
        if bar == BAR_MSIX {
            self.msix.write(offset, data);
            return None;
        }
        let device = self.model.device_mut();
        let at = offset % AREA_BYTES;
        match offset / AREA_BYTES {
            AREA_COMMON => match self.transport.write(at as usize, data, features(device), device.queues()) {
                Effect::Nothing => {}
                Effect::QueueReset(queue) => device.reset_queue(queue),
                Effect::Reset => {
                    (0..device.queues().len()).for_each(|queue| device.reset_queue(queue));
                    self.isr = 0;
                    self.msix.withdraw();
                }
                Effect::Started if device.announces_config() => self.config_changed(),
                Effect::Started => {}
            },
            AREA_DEVICE => return device.write_config(at, data),
            AREA_NOTIFY if at.is_multiple_of(NOTIFY_STEP) => self.transport.notify(at / NOTIFY_STEP),
            _ => {}
        }
        None
    }
}

/// Interrupts and work.
impl Function {
    /// The next message that it sends.
    pub(crate) fn poll_message(&mut self) -> Option<Message> {
        if self.header.commands(COMMAND_MASTER) { self.msix.poll() } else { None }
    }

    /// Level of its interrupt line.
    pub(crate) fn line(&self) -> bool {
        self.asks() && !self.header.commands(COMMAND_NO_INTX)
    }

    fn asks(&self) -> bool {
        self.isr != 0 && !self.msix.is_enabled()
    }

    /// The configuration of the device has changed.
    pub(crate) fn config_changed(&mut self) {
        if self.transport.config_changed() {
            self.interrupt(ISR_CONFIG, self.transport.config_vector());
        }
    }

    fn interrupt(&mut self, cause: u8, vector: u16) {
        match self.msix.is_enabled() {
            true => self.msix.raise(vector),
            false => self.isr |= cause,
        }
    }

    /// Whether it has something to do.
    pub(crate) fn is_due(&self) -> bool {
        self.next_queue().is_some()
    }

    /// The first queue with something to do.
    fn next_queue(&self) -> Option<usize> {
        if !self.transport.is_running() || !self.header.commands(COMMAND_MASTER) {
            return None;
        }
        let device = self.model.device();
        let due = |queue: &usize| self.transport.queues[*queue].notified && device.wants(*queue);
        (0..self.transport.queues.len()).find(due)
    }

    /// Does one unit of work.
    pub(crate) fn work(&mut self, outside: &mut dyn Outside) -> Result<(), Starved> {
        let Some(number) = self.next_queue() else { return Ok(()) };
        let (features, event_index) = (self.transport.features(), self.transport.event_index());
        let queue = &mut self.transport.queues[number];
        let vector = queue.vector;
        let mut io = Io { queue, outside, features, event_index, interrupt: false };
        let done = self.model.device_mut().work(number, &mut io);
        if io.interrupt {
            self.interrupt(ISR_QUEUE, vector);
        }
        match done {
            Ok(()) => {}
            Err(Failed::Starved) => return Err(Starved),
            Err(Failed::Broken) => {
                if self.transport.needs_reset() {
                    self.interrupt(ISR_CONFIG, self.transport.config_vector());
                }
            }
        }
        Ok(())
    }
}

fn identity(device: &dyn Device) -> Identity {
    Identity {
        vendor: VENDOR,
        device: DEVICE + device.id(),
        class: device.class(),
        revision: 1,
        subsystem: [VENDOR, DEVICE + device.id()],
        bars: &BARS,
        pin: 1,
    }
}

/// Everything that a device offers.
fn features(device: &dyn Device) -> u64 {
    FEATURES | device.features()
}

fn touches_window(offset: u8, size: u8) -> bool {
    let (first, end) = (usize::from(offset), usize::from(offset) + usize::from(size));
    first < WINDOW_DATA + 4 && end > WINDOW_DATA
}

/// A virtio capability: its length, type and bar, and what part of the bar.
fn add_capability(space: &mut ConfigSpace, at: u8, [bytes, kind, bar]: [u8; 3], offset: u32, length: u32) {
    space.add_capability(at, CAPABILITY_VENDOR, &[bytes, kind, bar, 0, 0, 0]);
    space.put(usize::from(at) + 8, &offset.to_le_bytes());
    space.put(usize::from(at) + 12, &length.to_le_bytes());
}

/// `out` becomes what is in `from` at `at`, zeros beyond it.
fn copy_from(from: &[u8], at: usize, out: &mut [u8]) {
    let rest = from.iter().skip(at).copied().chain(std::iter::repeat(0));
    for (to, byte) in out.iter_mut().zip(rest) {
        *to = byte;
    }
}

fn set_byte(word: &mut u32, n: usize, byte: u8) {
    let mut bytes = word.to_le_bytes();
    bytes[n] = byte;
    *word = u32::from_le_bytes(bytes);
}
