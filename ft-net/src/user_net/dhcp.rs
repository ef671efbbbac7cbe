//! A DHCP server with one lease (RFC 2131).

use std::net::Ipv4Addr;

use smoltcp::wire::{DhcpMessageType, DhcpOption, DhcpPacket, DhcpRepr};

use super::plan::{GATEWAY, GUEST, NAMESERVER, NETMASK};

pub(super) const SERVER: Ipv4Addr = GATEWAY;
pub(super) const SERVER_PORT: u16 = 67;
pub(super) const CLIENT_PORT: u16 = 68;

const LEASE_S: u32 = 86_400;
/// RFC 2132, 3.8.
const OPTION_NAMESERVER: u8 = 6;

/// The answer to a client's message, if there is one.
pub(super) fn answer(message: &[u8]) -> Option<Vec<u8>> {
    let packet = DhcpPacket::new_checked(message).ok()?;
    let request = DhcpRepr::parse(&packet).ok()?;
    let for_us = request.server_identifier.is_none_or(|server| server == SERVER);
    let wanted = request.requested_ip.unwrap_or(request.client_ip);
    match request.message_type {
        DhcpMessageType::Discover => emit(&request, DhcpMessageType::Offer),
        DhcpMessageType::Request if for_us && wanted == GUEST => emit(&request, DhcpMessageType::Ack),
        DhcpMessageType::Request if for_us => emit(&request, DhcpMessageType::Nak),
        DhcpMessageType::Inform => emit(&request, DhcpMessageType::Ack),
        _ => None,
    }
}

fn emit(request: &DhcpRepr<'_>, message_type: DhcpMessageType) -> Option<Vec<u8>> {
    let gives = message_type != DhcpMessageType::Nak;
    let leases = gives && request.message_type != DhcpMessageType::Inform;
    let nameserver = [DhcpOption { kind: OPTION_NAMESERVER, data: &NAMESERVER.octets() }];
    let reply = DhcpRepr {
        message_type,
        your_ip: if leases { GUEST } else { Ipv4Addr::UNSPECIFIED },
        server_ip: SERVER,
        router: gives.then_some(GATEWAY),
        subnet_mask: gives.then_some(NETMASK),
        server_identifier: Some(SERVER),
        lease_duration: leases.then_some(LEASE_S),
        additional_options: if gives { &nameserver } else { &[] },
        requested_ip: None,
        client_identifier: None,
        parameter_request_list: None,
        dns_servers: None,
        max_size: None,
        renew_duration: None,
        rebind_duration: None,
        secs: 0,
        ..request.clone()
    };
    let mut bytes = vec![0; reply.buffer_len()];
    reply.emit(&mut DhcpPacket::new_unchecked(&mut bytes[..])).ok()?;
    Some(bytes)
}
