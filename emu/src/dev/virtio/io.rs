//! What a device sees while it works: the buffers of one queue, and the door.

use super::queue::{Chain, Queue, Span};
use super::{Broken, Outside, Starved};
use crate::event::{Output, Query};

/// One queue, with what is outside the device.
pub(crate) struct Io<'a> {
    pub(super) queue: &'a mut Queue,
    pub(super) outside: &'a mut dyn Outside,
    /// Features that the driver has accepted.
    pub(super) features: u64,
    pub(super) event_index: bool,
    /// The driver is to be interrupted.
    pub(super) interrupt: bool,
}

impl Io<'_> {
    /// Whether the driver has accepted the feature with this number.
    pub(crate) fn has_feature(&self, bit: u32) -> bool {
        self.features >> bit & 1 != 0
    }

    /// How many buffers wait. None: the queue rests until the next doorbell.
    pub(crate) fn waiting(&mut self) -> Result<u16, Broken> {
        let waiting = self.queue.waiting(self.outside)?;
        if waiting == 0 {
            self.rest(0)?;
        }
        Ok(waiting)
    }

    /// `waiting` buffers wait, which are not enough: the queue rests until the doorbell rings for another.
    pub(crate) fn rest(&mut self, waiting: u16) -> Result<(), Broken> {
        self.queue.rearm(self.outside, self.event_index, waiting)
    }

    /// How many buffers can wait.
    pub(crate) fn size(&self) -> u16 {
        self.queue.size
    }

    /// The next buffer, which stays where it is. None: the queue rests until the next doorbell.
    pub(crate) fn peek(&mut self) -> Result<Option<Chain>, Broken> {
        self.peek_ahead(0)
    }

    /// The buffer `ahead` places behind the next one.
    pub(crate) fn peek_ahead(&mut self, ahead: u16) -> Result<Option<Chain>, Broken> {
        if self.waiting()? <= ahead {
            return Ok(None);
        }
        self.queue.chain(self.outside, ahead).map(Some)
    }

    /// The next buffer is the device's, to be given back sooner or later.
    pub(crate) fn take(&mut self) {
        self.queue.advance();
    }

    /// Gives back a buffer that was taken, with `written` bytes written from its beginning.
    pub(crate) fn give_back(&mut self, head: u16, written: u32) -> Result<(), Broken> {
        self.interrupt |= self.queue.give_back(self.outside, head, written, self.event_index)?;
        Ok(())
    }

    /// Takes the next buffer and gives it back.
    pub(crate) fn complete(&mut self, chain: &Chain, written: u32) -> Result<(), Broken> {
        self.take();
        self.give_back(chain.head, written)
    }

    /// Reads from byte `at` of a buffer on, as much as there is; returns how much.
    pub(crate) fn read(&self, spans: &[Span], at: u64, out: &mut [u8]) -> Result<usize, Broken> {
        let mut done = 0;
        for (phys, length) in pieces(spans, at, out.len()) {
            self.outside.dma_read(phys, &mut out[done..done + length])?;
            done += length;
        }
        Ok(done)
    }

    /// Writes from byte `at` of a buffer on, as much as there is room for; returns how much.
    pub(crate) fn write(&mut self, spans: &[Span], at: u64, data: &[u8]) -> Result<usize, Broken> {
        let mut done = 0;
        for (phys, length) in pieces(spans, at, data.len()) {
            self.outside.dma_write(phys, &data[done..done + length])?;
            done += length;
        }
        Ok(done)
    }

    /// Asks the door. To be done before anything is changed.
    pub(crate) fn ask(&mut self, query: Query) -> Result<u64, Starved> {
        self.outside.ask(query)
    }

    /// Sends something through the door.
    pub(crate) fn send(&mut self, output: Output) {
        self.outside.send(output);
    }

    /// Reads what is at `offset` on disk `number`, which is on that disk.
    pub(crate) fn disk_read(&self, number: u8, offset: u64, out: &mut [u8]) {
        self.outside.disk_read(number, offset, out);
    }

    /// Writes it.
    pub(crate) fn disk_write(&mut self, number: u8, offset: u64, data: &[u8]) {
        self.outside.disk_write(number, offset, data);
    }

    /// Writes `length` zeros there.
    pub(crate) fn disk_zero(&mut self, number: u8, offset: u64, length: u64) {
        self.outside.disk_zero(number, offset, length);
    }

    /// Sends a byte to the console.
    pub(crate) fn print(&mut self, byte: u8) {
        self.outside.print(byte);
    }
}

/// Physical pieces of `length` bytes from byte `at` of a buffer on.
fn pieces(spans: &[Span], at: u64, length: usize) -> impl Iterator<Item = (u64, usize)> {
    let (mut skip, mut left) = (at, length);
    spans.iter().filter_map(move |&(phys, bytes)| {
        let bytes = u64::from(bytes);
        let skipped = skip.min(bytes);
        skip -= skipped;
        let here = left.min((bytes - skipped) as usize);
        left -= here;
        (here > 0).then_some((phys.wrapping_add(skipped), here))
    })
}
