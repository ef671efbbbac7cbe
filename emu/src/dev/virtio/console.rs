//! A console of one port (virtio 1.2, 5.3).
//!
//! As with the UART, bytes from the host wait in a queue until the guest takes them; they survive a reset of the device.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::io::Io;
use super::{Device, Failed};
use crate::check::{Checked, ensure};
use crate::dev::uart::BACKLOG_MAX;

const RECEIVE: usize = 0;
/// Features: the size of the terminal is known; there is an emergency port.
const SIZE: u64 = 1 << 0;
const EMERGENCY_WRITE: u64 = 1 << 2;
/// Configuration: columns, rows, ports, emergency write.
const CONFIG_PORTS: usize = 4;
const CONFIG_EMERGENCY: u32 = 8;
const CONFIG_BYTES: usize = 12;
/// Bytes that are printed in one step.
const PRINT_MAX: usize = 4096;

/// A terminal behind a virtio device.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Console {
    /// Characters in a line and lines; 0: not known.
    size: [u16; 2],
    /// Bytes from the host that the guest has not taken.
    received: VecDeque<u8>,
    /// How much of the next buffer has been printed.
    printed: u64,
}

impl Console {
    /// Bytes arrive from the host.
    pub(crate) fn receive(&mut self, bytes: &[u8]) {
        self.received.extend(bytes);
    }

    /// How many bytes from the host the guest has not taken.
    pub(crate) fn backlog(&self) -> usize {
        self.received.len()
    }

    /// The terminal has this size. True if that is new.
    pub(crate) fn resize(&mut self, columns: u16, rows: u16) -> bool {
        std::mem::replace(&mut self.size, [columns, rows]) != [columns, rows]
    }

    fn receive_into(&mut self, io: &mut Io<'_>) -> Result<(), Failed> {
        let Some(chain) = io.peek()? else { return Ok(()) };
        let bytes = self.received.make_contiguous();
        let written = io.write(&chain.writable, 0, bytes)?;
        self.received.drain(..written);
        io.complete(&chain, written as u32)?;
        Ok(())
    }

    fn print_from(&mut self, io: &mut Io<'_>) -> Result<(), Failed> {
        let Some(chain) = io.peek()? else { return Ok(()) };
        let mut bytes = [0; PRINT_MAX];
        let length = io.read(&chain.readable, self.printed, &mut bytes)?;
        bytes[..length].iter().for_each(|&byte| io.print(byte));
        self.printed += length as u64;
        if self.printed >= chain.readable_bytes() {
            self.printed = 0;
            io.complete(&chain, 0)?;
        }
        Ok(())
    }
}

impl Device for Console {
    fn id(&self) -> u16 {
        3
    }

    /// Communication controller, other.
    fn class(&self) -> [u8; 3] {
        [0, 0x80, 0x07]
    }

    fn queues(&self) -> &'static [u16] {
        &[64, 64]
    }

    fn features(&self) -> u64 {
        SIZE | EMERGENCY_WRITE
    }

    fn config(&self) -> Vec<u8> {
        let mut config = vec![0; CONFIG_BYTES];
        config[0..2].copy_from_slice(&self.size[0].to_le_bytes());
        config[2..4].copy_from_slice(&self.size[1].to_le_bytes());
        config[CONFIG_PORTS] = 1;
        config
    }

    /// Linux does not look at the size of a terminal that had one before.
    fn announces_config(&self) -> bool {
        self.size != [0, 0]
    }

    fn write_config(&mut self, offset: u32, data: &[u8]) -> Option<u8> {
        if offset == CONFIG_EMERGENCY { data.first().copied() } else { None }
    }

    fn reset_queue(&mut self, queue: usize) {
        if queue != RECEIVE {
            self.printed = 0;
        }
    }

    fn wants(&self, queue: usize) -> bool {
        queue != RECEIVE || !self.received.is_empty()
    }

    fn work(&mut self, queue: usize, io: &mut Io<'_>) -> Result<(), Failed> {
        if queue == RECEIVE { self.receive_into(io) } else { self.print_from(io) }
    }

    fn check(&self) -> Checked {
        ensure(self.received.len() <= BACKLOG_MAX, "console input that waits")
    }
}
