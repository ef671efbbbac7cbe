//! A network card (virtio 1.2, 5.1). Frames from outside wait in a queue until the guest has buffers for them.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::io::Io;
use super::queue::Chain;
use super::{Device, Failed};
use crate::check::{Checked, ensure};
use crate::event::{FRAME_BYTES_MAX, Output};

const RECEIVE: usize = 0;

// Features (5.1.3).
const CHECKSUM: u32 = 0;
const MAC: u32 = 5;
const HOST_TSO4: u32 = 11;
const MERGEABLE: u32 = 15;
const STATUS: u32 = 16;

/// Status in the configuration: there is a carrier.
const LINK_UP: u8 = 1;
/// What stands in front of every frame in a buffer (5.1.6).
const HEADER_BYTES: usize = 12;
const HEADER_BUFFERS: usize = 10;
/// Its flag: the checksum from `start` on is to be put `offset` behind that.
const NEEDS_CHECKSUM: u8 = 1;
/// Two hardware addresses and a type.
const FRAME_BYTES_MIN: usize = 14;
/// Frames from outside that may wait; more are lost.
const WAITING_MAX: usize = 64;

/// A network card.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Net {
    mac: [u8; 6],
    /// Frames from outside that the guest has not taken.
    arrived: VecDeque<Vec<u8>>,
}

impl Net {
    pub(crate) fn new(mac: [u8; 6]) -> Self {
        Self { mac, arrived: VecDeque::new() }
    }

    /// Whether it is the card that `new` is, whatever has happened to it.
    pub(super) fn is_same_card(&self, new: &Self) -> bool {
        self.mac == new.mac
    }

    /// A frame arrives. One that is no frame, or for which there is no room, is lost.
    pub(crate) fn receive(&mut self, frame: &[u8]) {
        if is_frame(frame.len()) && self.has_room() {
            self.arrived.push_back(frame.to_vec());
        }
    }

    /// Whether another frame can wait.
    pub(crate) fn has_room(&self) -> bool {
        self.arrived.len() < WAITING_MAX
    }

    /// How many frames the guest has not taken.
    #[cfg(test)]
    pub(super) fn backlog(&self) -> usize {
        self.arrived.len()
    }

    /// Gives the guest the next frame: in one buffer, or in as many as it takes if the driver can put them together.
    fn receive_into(&mut self, io: &mut Io<'_>) -> Result<(), Failed> {
        let Some(frame) = self.arrived.front() else { return Ok(()) };
        let mut packet = vec![0; HEADER_BYTES];
        packet.extend(frame);
        let chains = match room(io, packet.len() as u64)? {
            Room::Enough(chains) => chains,
            Room::NotYet => return Ok(()),
            Room::Never => Vec::new(),
        };
        packet[HEADER_BUFFERS..HEADER_BYTES].copy_from_slice(&(chains.len() as u16).to_le_bytes());
        self.arrived.pop_front();
        let mut rest = &packet[..];
        for chain in &chains {
            let written = io.write(&chain.writable, 0, rest)?;
            rest = &rest[written..];
            io.complete(chain, written as u32)?;
        }
        Ok(())
    }

    /// Sends the frame in the guest's next buffer.
    fn send_from(&mut self, io: &mut Io<'_>) -> Result<(), Failed> {
        let Some(chain) = io.peek()? else { return Ok(()) };
        let mut header = [0; HEADER_BYTES];
        let length = chain.readable_bytes().saturating_sub(HEADER_BYTES as u64);
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        if is_frame(length) {
            let mut bytes = vec![0; length];
            io.read(&chain.readable, 0, &mut header)?;
            io.read(&chain.readable, HEADER_BYTES as u64, &mut bytes)?;
            if header[0] & NEEDS_CHECKSUM != 0 && io.has_feature(CHECKSUM) {
                let at = |n: usize| usize::from(u16::from_le_bytes([header[n], header[n + 1]]));
                fill_checksum(&mut bytes, at(6), at(8));
            }
            io.send(Output::Frame { bytes });
        }
        io.complete(&chain, 0)?;
        Ok(())
    }
}

fn is_frame(length: usize) -> bool {
    (FRAME_BYTES_MIN..=FRAME_BYTES_MAX).contains(&length)
}

/// Whether the guest has buffers for a packet.
enum Room {
    Enough(Vec<Chain>),
    /// When the doorbell rings again.
    NotYet,
    /// Such a packet is lost.
    Never,
}

/// The buffers that take `length` bytes: one, or with [`MERGEABLE`] as many as it takes.
fn room(io: &mut Io<'_>, length: u64) -> Result<Room, Failed> {
    let chains_max = if io.has_feature(MERGEABLE) { io.size() } else { 1 };
    let (mut chains, mut found) = (Vec::new(), 0);
    for ahead in 0..chains_max {
        let Some(chain) = io.peek_ahead(ahead)? else {
            io.rest(ahead)?;
            return Ok(Room::NotYet);
        };
        found += chain.writable_bytes();
        chains.push(chain);
        if found >= length {
            return Ok(Room::Enough(chains));
        }
    }
    Ok(Room::Never)
}

/// The Internet checksum (RFC 1071) of everything from `start` on, `offset` behind that. If it is not there, nothing.
fn fill_checksum(frame: &mut [u8], start: usize, offset: usize) {
    let Some(part) = frame.get_mut(start..) else { return };
    let sum = part
        .chunks(2)
        .fold(0u64, |sum, pair| sum + u64::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)])));
    let folded = (sum & 0xffff) + (sum >> 16 & 0xffff) + (sum >> 32);
    let folded = (folded & 0xffff) + (folded >> 16);
    if let Some(place) = part.get_mut(offset..offset + 2) {
        // A sum of zero means "none" to UDP; all ones is the same number.
        let checksum = !(folded as u16);
        place.copy_from_slice(&if checksum == 0 { 0xffff } else { checksum }.to_be_bytes());
    }
}

impl Device for Net {
    fn id(&self) -> u16 {
        1
    }

    /// Network controller, Ethernet.
    fn class(&self) -> [u8; 3] {
        [0, 0, 0x02]
    }

    fn queues(&self) -> &'static [u16] {
        &[256, 256]
    }

    fn features(&self) -> u64 {
        1 << CHECKSUM | 1 << MAC | 1 << HOST_TSO4 | 1 << MERGEABLE | 1 << STATUS
    }

    fn config(&self) -> Vec<u8> {
        let mut config = self.mac.to_vec();
        config.extend([LINK_UP, 0]);
        config
    }

    fn reset_queue(&mut self, queue: usize) {
        if queue == RECEIVE {
            self.arrived.clear();
        }
    }

    fn wants(&self, queue: usize) -> bool {
        queue != RECEIVE || !self.arrived.is_empty()
    }

    fn work(&mut self, queue: usize, io: &mut Io<'_>) -> Result<(), Failed> {
        if queue == RECEIVE { self.receive_into(io) } else { self.send_from(io) }
    }

    fn check(&self) -> Checked {
        let frames = self.arrived.iter().all(|frame| is_frame(frame.len()));
        ensure(frames && self.arrived.len() <= WAITING_MAX, "frames that wait")
    }
}
