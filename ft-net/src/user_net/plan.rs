//! Who has which address on the guest's network, and which of the host's addresses that is.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};

/// The host, which is the router as well; it answers pings.
pub const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 2);
/// Forwards DNS queries.
pub const NAMESERVER: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 3);
/// What DHCP gives the guest.
pub const GUEST: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 15);
/// 10.0.2.0/24.
pub(super) const NETMASK: Ipv4Addr = Ipv4Addr::new(255, 255, 255, 0);
/// The hardware address of the gateway and of everybody behind it.
pub(super) const GATEWAY_MAC: [u8; 6] = [0x52, 0x55, 10, 0, 2, 2];
/// An IP packet is at most this long.
pub(super) const MTU: usize = 1500;

const DNS_PORT: u16 = 53;

/// Could a guest have this address?
pub(super) fn is_local(address: Ipv4Addr) -> bool {
    let [.., host] = address.octets();
    address & NETMASK == GATEWAY & NETMASK && !matches!(host, 0 | 255) && !is_ours(address)
}

/// Does this side have this address on the guest's network?
pub(super) fn is_ours(address: Ipv4Addr) -> bool {
    matches!(address, GATEWAY | NAMESERVER)
}

/// Where on the host's network a guest arrives that asks for `to`; nowhere, if it is not to be reached.
pub(super) fn outside(to: SocketAddrV4, nameserver: Option<SocketAddr>) -> Option<SocketAddr> {
    let (address, port) = (*to.ip(), to.port());
    let special = address.is_loopback() || address.is_multicast() || address.is_broadcast() || address.octets()[0] == 0;
    match address {
        GATEWAY => Some(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port)),
        NAMESERVER if port == DNS_PORT => nameserver,
        _ if special || port == 0 || address & NETMASK == GATEWAY & NETMASK => None,
        _ => Some(to.into()),
    }
}

/// As whom the guest sees `from`, who comes by a forwarded port.
pub(super) fn inside(from: SocketAddr) -> SocketAddrV4 {
    let address = match from.ip() {
        IpAddr::V4(address) if address.is_loopback() || address & NETMASK == GATEWAY & NETMASK => GATEWAY,
        IpAddr::V4(address) => address,
        IpAddr::V6(_) => GATEWAY,
    };
    SocketAddrV4::new(address, from.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gateway_is_the_host_and_nobody_else_is() {
        let dns = Some(SocketAddr::from(([192, 0, 2, 53], 53)));
        let to = |text: &str| outside(text.parse().unwrap(), dns).map(|it| it.to_string());
        assert_eq!(to("10.0.2.2:80").as_deref(), Some("127.0.0.1:80"));
        assert_eq!(to("10.0.2.3:53").as_deref(), Some("192.0.2.53:53"));
        assert_eq!(to("198.51.100.7:443").as_deref(), Some("198.51.100.7:443"));
        for nowhere in ["10.0.2.3:80", "10.0.2.77:1", "127.0.0.1:22", "224.0.0.1:1", "255.255.255.255:67", "0.0.0.0:1"]
        {
            assert_eq!(to(nowhere), None, "{nowhere}");
        }
    }

    #[test]
    fn whoever_has_no_address_there_comes_from_the_gateway() {
        let from = |text: &str| inside(text.parse().unwrap()).to_string();
        assert_eq!(from("127.0.0.1:4000"), "10.0.2.2:4000");
        assert_eq!(from("[::1]:4000"), "10.0.2.2:4000");
        assert_eq!(from("192.0.2.9:4000"), "192.0.2.9:4000");
    }
}
