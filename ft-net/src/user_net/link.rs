//! The wire to the guest: frames on their way to it, and how IP packets become frames.

use std::collections::VecDeque;

use smoltcp::phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::time::Instant;
use smoltcp::wire::{ETHERNET_HEADER_LEN, EthernetAddress, EthernetFrame, EthernetProtocol, EthernetRepr};

use super::plan::{GATEWAY_MAC, MTU};

/// Frames that may wait here. What can wait elsewhere (TCP) is not sent beyond that; what cannot is dropped.
const FRAMES_MAX: usize = 64;
/// Not even answers wait beyond this.
const ANSWERS_MAX: usize = 4 * FRAMES_MAX;

/// The wire to the guest.
#[derive(Debug)]
pub(super) struct Link {
    frames: VecDeque<Vec<u8>>,
    /// Who is at the other end.
    guest: EthernetAddress,
}

impl Link {
    pub(super) fn new(guest: [u8; 6]) -> Self {
        Self { frames: VecDeque::new(), guest: EthernetAddress(guest) }
    }

    /// The guest has sent a frame from `address`: it may have given itself another one.
    pub(super) fn heard(&mut self, address: EthernetAddress) {
        if address.is_unicast() {
            self.guest = address;
        }
    }

    /// The next frame for the guest.
    pub(super) fn poll(&mut self) -> Option<Vec<u8>> {
        self.frames.pop_front()
    }

    pub(super) fn has_room(&self) -> bool {
        self.frames.len() < FRAMES_MAX
    }

    /// Sends a frame with `length` bytes of payload, which `fill` writes.
    pub(super) fn send<R>(
        &mut self,
        to: Option<EthernetAddress>,
        ethertype: EthernetProtocol,
        length: usize,
        fill: impl FnOnce(&mut [u8]) -> R,
    ) -> R {
        let mut frame = EthernetFrame::new_unchecked(vec![0; ETHERNET_HEADER_LEN + length]);
        let header =
            EthernetRepr { src_addr: EthernetAddress(GATEWAY_MAC), dst_addr: to.unwrap_or(self.guest), ethertype };
        header.emit(&mut frame);
        let result = fill(frame.payload_mut());
        if self.frames.len() < ANSWERS_MAX {
            self.frames.push_back(frame.into_inner());
        }
        result
    }
}

/// What a TCP connection sees of the link: the packet that has just come for it, and room for what it sends.
#[derive(Debug)]
pub(super) struct Port<'a> {
    pub(super) arrived: Option<&'a [u8]>,
    pub(super) link: &'a mut Link,
}

impl Device for Port<'_> {
    type RxToken<'a>
        = Arrived<'a>
    where
        Self: 'a;
    type TxToken<'a>
        = Leaving<'a>
    where
        Self: 'a;

    fn receive(&mut self, _: Instant) -> Option<(Arrived<'_>, Leaving<'_>)> {
        let packet = self.arrived.take()?;
        Some((Arrived(packet), Leaving(self.link)))
    }

    fn transmit(&mut self, _: Instant) -> Option<Leaving<'_>> {
        self.link.has_room().then_some(Leaving(self.link))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ip;
        capabilities.max_transmission_unit = MTU;
        capabilities
    }
}

pub(super) struct Arrived<'a>(&'a [u8]);

impl RxToken for Arrived<'_> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, read: F) -> R {
        read(self.0)
    }
}

pub(super) struct Leaving<'a>(&'a mut Link);

impl TxToken for Leaving<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, length: usize, fill: F) -> R {
        self.0.send(None, EthernetProtocol::Ipv4, length, fill)
    }
}
