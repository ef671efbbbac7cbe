//! The guest's Ethernet segment: what it says there is answered (ARP, ping, DHCP) or sorted (TCP, UDP).

use std::net::{Ipv4Addr, SocketAddrV4};

use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    ArpOperation, ArpPacket, ArpRepr, EthernetAddress, EthernetFrame, EthernetProtocol, Icmpv4Packet, Icmpv4Repr,
    IpProtocol, Ipv4Packet, Ipv4Repr, TcpPacket, UdpPacket, UdpRepr,
};

use super::dhcp;
use super::link::Link;
use super::plan::{GATEWAY_MAC, MTU, is_local, is_ours};

const HOP_LIMIT: u8 = 64;
/// Headers of a datagram.
const UDP_HEADERS: usize = 28;

/// Both ends of a flow as the guest sees them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Pair {
    pub(super) guest: SocketAddrV4,
    pub(super) far: SocketAddrV4,
}

/// What the guest has sent to somebody.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Heard<'a> {
    /// A TCP segment.
    Tcp {
        pair: Pair,
        /// It asks for a connection.
        opens: bool,
        /// The IP packet.
        packet: &'a [u8],
    },
    /// A UDP datagram.
    Udp { pair: Pair, payload: &'a [u8] },
}

/// Takes a frame of the guest. What is broken, or for nobody here, is dropped, as on any wire.
pub(super) fn hear<'a>(link: &mut Link, frame: &'a [u8]) -> Option<Heard<'a>> {
    let frame = EthernetFrame::new_checked(frame).ok()?;
    let to = frame.dst_addr();
    link.heard(frame.src_addr());
    if to != EthernetAddress(GATEWAY_MAC) && !to.is_broadcast() {
        return None;
    }
    match frame.ethertype() {
        EthernetProtocol::Arp => {
            answer_arp(link, frame.payload());
            None
        }
        EthernetProtocol::Ipv4 => hear_ip(link, frame.payload()),
        _ => None,
    }
}

fn answer_arp(link: &mut Link, packet: &[u8]) -> Option<()> {
    let ArpRepr::EthernetIpv4 {
        operation: ArpOperation::Request,
        source_hardware_addr,
        source_protocol_addr,
        target_protocol_addr,
        ..
    } = ArpRepr::parse(&ArpPacket::new_checked(packet).ok()?).ok()?
    else {
        return None;
    };
    is_ours(target_protocol_addr).then_some(())?;
    let reply = ArpRepr::EthernetIpv4 {
        operation: ArpOperation::Reply,
        source_hardware_addr: EthernetAddress(GATEWAY_MAC),
        source_protocol_addr: target_protocol_addr,
        target_hardware_addr: source_hardware_addr,
        target_protocol_addr: source_protocol_addr,
    };
    link.send(Some(source_hardware_addr), EthernetProtocol::Arp, reply.buffer_len(), |payload| {
        reply.emit(&mut ArpPacket::new_unchecked(payload));
    });
    Some(())
}

fn hear_ip<'a>(link: &mut Link, packet: &'a [u8]) -> Option<Heard<'a>> {
    let view = Ipv4Packet::new_checked(packet).ok()?;
    let ip = Ipv4Repr::parse(&view, &ChecksumCapabilities::default()).ok()?;
    if view.more_frags() || view.frag_offset() != 0 {
        return None; // Nobody whom this network is for sends fragments, but for datagrams beyond 1472 bytes.
    }
    let packet = &packet[..usize::from(view.total_len())];
    let (payload, length) = (&packet[usize::from(view.header_len())..], ip.payload_len);
    debug_assert_eq!(payload.len(), length);
    match ip.next_header {
        IpProtocol::Udp => hear_udp(link, &ip, payload),
        _ if !is_local(ip.src_addr) => None,
        IpProtocol::Tcp => {
            let tcp = TcpPacket::new_checked(payload).ok()?;
            let opens = tcp.syn() && !tcp.ack() && !tcp.rst();
            Some(Heard::Tcp { pair: pair(&ip, tcp.src_port(), tcp.dst_port()), opens, packet })
        }
        IpProtocol::Icmp if is_ours(ip.dst_addr) => {
            answer_ping(link, &ip, payload);
            None
        }
        _ => None,
    }
}

fn hear_udp<'a>(link: &mut Link, ip: &Ipv4Repr, payload: &'a [u8]) -> Option<Heard<'a>> {
    let view = UdpPacket::new_checked(payload).ok()?;
    let checks = ChecksumCapabilities::default();
    let udp = UdpRepr::parse(&view, &ip.src_addr.into(), &ip.dst_addr.into(), &checks).ok()?;
    if udp.dst_port == dhcp::SERVER_PORT && (is_ours(ip.dst_addr) || ip.dst_addr.is_broadcast()) {
        if let Some(answer) = dhcp::answer(view.payload()) {
            let from = SocketAddrV4::new(dhcp::SERVER, dhcp::SERVER_PORT);
            let to = SocketAddrV4::new(Ipv4Addr::BROADCAST, dhcp::CLIENT_PORT);
            send_datagram(link, Some(EthernetAddress::BROADCAST), from, to, &answer);
        }
        return None;
    }
    let pair = pair(ip, udp.src_port, udp.dst_port);
    is_local(ip.src_addr).then_some(Heard::Udp { pair, payload: view.payload() })
}

fn pair(ip: &Ipv4Repr, guest_port: u16, far_port: u16) -> Pair {
    Pair { guest: SocketAddrV4::new(ip.src_addr, guest_port), far: SocketAddrV4::new(ip.dst_addr, far_port) }
}

fn answer_ping(link: &mut Link, ip: &Ipv4Repr, payload: &[u8]) -> Option<()> {
    let checks = ChecksumCapabilities::default();
    let request = Icmpv4Packet::new_checked(payload).ok()?;
    let Icmpv4Repr::EchoRequest { ident, seq_no, data } = Icmpv4Repr::parse(&request, &checks).ok()? else {
        return None;
    };
    let reply = Icmpv4Repr::EchoReply { ident, seq_no, data };
    let header = ipv4(ip.dst_addr, ip.src_addr, IpProtocol::Icmp, reply.buffer_len());
    send_ip(link, None, &header, |payload| reply.emit(&mut Icmpv4Packet::new_unchecked(payload), &checks));
    Some(())
}

/// Sends the guest a datagram. `false`: it is too long.
pub(super) fn send_udp(link: &mut Link, pair: Pair, payload: &[u8]) -> bool {
    let fits = payload.len() + UDP_HEADERS <= MTU;
    if fits {
        send_datagram(link, None, pair.far, pair.guest, payload);
    }
    fits
}

fn send_datagram(link: &mut Link, mac: Option<EthernetAddress>, from: SocketAddrV4, to: SocketAddrV4, payload: &[u8]) {
    let udp = UdpRepr { src_port: from.port(), dst_port: to.port() };
    let header = ipv4(*from.ip(), *to.ip(), IpProtocol::Udp, udp.header_len() + payload.len());
    send_ip(link, mac, &header, |buffer| {
        udp.emit(
            &mut UdpPacket::new_unchecked(buffer),
            &(*from.ip()).into(),
            &(*to.ip()).into(),
            payload.len(),
            |buffer| buffer.copy_from_slice(payload),
            &ChecksumCapabilities::default(),
        );
    });
}

fn ipv4(from: Ipv4Addr, to: Ipv4Addr, next_header: IpProtocol, payload_len: usize) -> Ipv4Repr {
    Ipv4Repr { src_addr: from, dst_addr: to, next_header, payload_len, hop_limit: HOP_LIMIT }
}

fn send_ip(link: &mut Link, to: Option<EthernetAddress>, header: &Ipv4Repr, fill: impl FnOnce(&mut [u8])) {
    link.send(to, EthernetProtocol::Ipv4, header.buffer_len() + header.payload_len, |buffer| {
        let mut packet = Ipv4Packet::new_unchecked(buffer);
        header.emit(&mut packet, &ChecksumCapabilities::default());
        fill(packet.payload_mut());
    });
}
