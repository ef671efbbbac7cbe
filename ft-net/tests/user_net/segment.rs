//! What the network answers itself.

use std::time::Duration;

use ft_net::user_net::{GATEWAY, GUEST, NAMESERVER, UserNet};
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::socket::{dhcpv4, icmp};
use smoltcp::wire::{Icmpv4Packet, Icmpv4Repr, Ipv4Cidr};

use crate::guest::Guest;

#[test]
fn an_address_a_router_and_a_name_server_by_dhcp() {
    let mut guest = Guest::new("user,mac=52:54:00:aa:bb:cc");
    guest.interface.update_ip_addrs(|addresses| addresses.clear());
    let handle = guest.sockets.add(dhcpv4::Socket::new());
    let (address, router, nameservers) =
        guest.until("a lease", |guest| match guest.sockets.get_mut::<dhcpv4::Socket<'_>>(handle).poll() {
            Some(dhcpv4::Event::Configured(lease)) => {
                Some((lease.address, lease.router, lease.dns_servers.iter().copied().collect::<Vec<_>>()))
            }
            _ => None,
        });
    assert_eq!((address, router, nameservers), (Ipv4Cidr::new(GUEST, 24), Some(GATEWAY), vec![NAMESERVER]));
}

#[test]
fn the_gateway_answers_pings() {
    let mut guest = Guest::new("user");
    let buffer = || icmp::PacketBuffer::new(vec![icmp::PacketMetadata::EMPTY; 4], vec![0; 4096]);
    let handle = guest.sockets.add(icmp::Socket::new(buffer(), buffer()));
    let checks = ChecksumCapabilities::default();
    for (to, seq_no) in [(GATEWAY, 1), (NAMESERVER, 2)] {
        let request = Icmpv4Repr::EchoRequest { ident: 77, seq_no, data: b"are you there?" };
        let socket = guest.sockets.get_mut::<icmp::Socket<'_>>(handle);
        if !socket.is_open() {
            socket.bind(icmp::Endpoint::Ident(77)).unwrap();
        }
        let room = socket.send(request.buffer_len(), to.into()).unwrap();
        request.emit(&mut Icmpv4Packet::new_unchecked(room), &checks);
        guest.until("a reply", |guest| {
            let (reply, from) = guest.sockets.get_mut::<icmp::Socket<'_>>(handle).recv().ok()?;
            let reply = Icmpv4Repr::parse(&Icmpv4Packet::new_checked(reply).unwrap(), &checks).unwrap();
            assert_eq!(reply, Icmpv4Repr::EchoReply { ident: 77, seq_no, data: b"are you there?" });
            assert_eq!(from, to.into());
            Some(())
        });
    }
}

/// Frames of which every byte is wrong in turn, and short ones: none does any harm.
#[test]
fn frames_of_any_bytes() {
    let mut guest = Guest::new("user");
    let send = |net: &UserNet, frame: &[u8]| net.send(frame.to_vec());
    let arp = "ffffffffffff525400123456 0806 0001080006040001 525400123456 0a00020f 000000000000 0a000202";
    let syn = "52550a000202525400123456 0800 450000280000400040060000 0a00020f 0a000202 \
               9c400001 00000001 00000000 5002ffff00000000";
    let ping = "52550a000202525400123456 0800 4500001c00000000400100000a00020f0a0002020800f7ff00000000";
    for text in [arp, syn, ping] {
        let digits: String = text.split_whitespace().collect();
        let frame: Vec<u8> =
            (0..digits.len() / 2).map(|i| u8::from_str_radix(&digits[2 * i..2 * i + 2], 16).unwrap()).collect();
        for length in 0..=frame.len() {
            send(&guest.wire.net, &frame[..length]);
        }
        for at in 0..frame.len() {
            for bits in [0x01, 0x80, 0xff] {
                let mut frame = frame.clone();
                frame[at] ^= bits;
                send(&guest.wire.net, &frame);
            }
            guest.pass(Duration::from_millis(1));
        }
    }
    // It still works.
    let handle = guest.connect(std::net::SocketAddrV4::new(NAMESERVER, 1));
    guest.until("a refusal", |guest| (guest.state(handle) == smoltcp::socket::tcp::State::Closed).then_some(()));
}
