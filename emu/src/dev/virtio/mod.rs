//! Virtio 1.2 devices behind PCI functions, without the legacy interface.
//!
//! | module | is |
//! |---|---|
//! | `queue` | split virtqueues (2.7) |
//! | `transport` | status, features and queues as the common configuration shows them (2.1 to 2.4, 4.1.4.3) |
//! | `function` | the PCI function: bars, capabilities, interrupts, work (4.1) |
//! | `block`, `entropy`, `console`, `net` | devices (5.2, 5.4, 5.3, 5.1) |
//!
//! A doorbell only marks a queue; [`Function::work`] does one unit of work as a step of the machine's run loop
//! (ARCHITECTURE.md, "Device memory and DMA").

mod block;
mod console;
mod entropy;
mod function;
mod io;
mod net;
mod queue;
mod transport;

pub use block::Block;
pub use console::Console;
pub use entropy::Entropy;
pub use function::Function;
pub use net::Net;

use serde::{Deserialize, Serialize};

use crate::check::Checked;
use crate::event::{Output, Query};
use io::Io;

/// Guest memory as a device reaches it: RAM, nothing else.
pub(crate) trait Dma {
    /// Reads RAM.
    ///
    /// # Errors
    /// If some of it is not RAM.
    fn dma_read(&self, phys: u64, out: &mut [u8]) -> Result<(), Broken>;

    /// Writes RAM.
    ///
    /// # Errors
    /// If some of it is not RAM; nothing is written.
    fn dma_write(&mut self, phys: u64, data: &[u8]) -> Result<(), Broken>;
}

/// All that a device reaches outside itself while it works.
pub(crate) trait Outside: Dma {
    /// Asks the door.
    ///
    /// # Errors
    /// There is no answer yet.
    fn ask(&mut self, query: Query) -> Result<u64, Starved>;

    /// Sends something through the door.
    fn send(&mut self, output: Output);

    /// Sends a byte to the console.
    fn print(&mut self, byte: u8);

    /// Reads what is at `offset` on disk `number`, which is on that disk.
    fn disk_read(&self, number: u8, offset: u64, out: &mut [u8]);

    /// Writes it.
    fn disk_write(&mut self, number: u8, offset: u64, data: &[u8]);

    /// Writes `length` zeros there.
    fn disk_zero(&mut self, number: u8, offset: u64, length: u64);
}

/// A query has no answer yet. The device has changed nothing, and will ask again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Starved;

/// The driver has done what it must not: the device needs a reset (2.1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Broken;

/// Why a unit of work was not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failed {
    /// See [`Starved`].
    Starved,
    /// See [`Broken`].
    Broken,
}

impl From<Starved> for Failed {
    fn from(_: Starved) -> Self {
        Self::Starved
    }
}

impl From<Broken> for Failed {
    fn from(_: Broken) -> Self {
        Self::Broken
    }
}

/// What makes a device of a kind out of queues and a door. Its value is its state; constants are functions of it.
pub(crate) trait Device {
    /// Device ID (5).
    fn id(&self) -> u16;

    /// PCI class code: programming interface, subclass, class.
    fn class(&self) -> [u8; 3];

    /// The largest size of each queue, powers of two.
    fn queues(&self) -> &'static [u16];

    /// Feature bits of this kind (0 to 23, 50 to 127) that it offers.
    fn features(&self) -> u64 {
        0
    }

    /// Its configuration, as it reads now.
    fn config(&self) -> Vec<u8> {
        Vec::new()
    }

    /// Whether a driver that has started is told that the configuration has changed, because it looks only then.
    fn announces_config(&self) -> bool {
        false
    }

    /// The driver writes its configuration. What comes back is a byte for the console.
    fn write_config(&mut self, _offset: u32, _data: &[u8]) -> Option<u8> {
        None
    }

    /// The driver takes back all buffers of `queue`: of each queue, if it resets the device.
    fn reset_queue(&mut self, _queue: usize) {}

    /// Whether queue `queue`, in which buffers may be waiting, is of interest now.
    fn wants(&self, _queue: usize) -> bool {
        true
    }

    /// Does one unit of work with the buffers of `queue`: bounded, and either it changes something that brings the end of the
    /// work nearer, or it finds by [`Io::peek`] that there is no buffer, which ends it until the next doorbell.
    ///
    /// # Errors
    /// [`Failed::Starved`], having changed nothing, or [`Failed::Broken`].
    fn work(&mut self, queue: usize, io: &mut Io<'_>) -> Result<(), Failed>;

    /// Checks that such a device can be in this state.
    fn check(&self) -> Checked;
}

/// The devices that there are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Model {
    /// Disk.
    Block(Block),
    /// Entropy.
    Entropy(Entropy),
    /// Console.
    Console(Console),
    /// Network card.
    Net(Net),
}

impl Model {
    /// Whether it is the device that `new` is, whatever has happened to it.
    fn is_same_device(&self, new: &Self) -> bool {
        match (self, new) {
            (Self::Block(block), Self::Block(new)) => block.is_same_disk(new),
            (Self::Net(net), Self::Net(new)) => net.is_same_card(new),
            _ => std::mem::discriminant(self) == std::mem::discriminant(new),
        }
    }

    fn device(&self) -> &dyn Device {
        match self {
            Self::Block(device) => device,
            Self::Entropy(device) => device,
            Self::Console(device) => device,
            Self::Net(device) => device,
        }
    }

    fn device_mut(&mut self) -> &mut dyn Device {
        match self {
            Self::Block(device) => device,
            Self::Entropy(device) => device,
            Self::Console(device) => device,
            Self::Net(device) => device,
        }
    }
}

#[cfg(test)]
mod tests;
