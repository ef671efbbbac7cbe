//! UDP.

use std::net::{SocketAddrV4, UdpSocket};
use std::thread;
use std::time::Duration;

use ft_net::user_net::{GATEWAY, NAMESERVER};

use crate::guest::Guest;

/// Answers `count` datagrams with themselves, reversed. Returns its port.
fn mirror(count: usize) -> u16 {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = socket.local_addr().unwrap().port();
    thread::spawn(move || {
        for _ in 0..count {
            let mut buffer = [0; 2000];
            let (length, from) = socket.recv_from(&mut buffer).unwrap();
            buffer[..length].reverse();
            socket.send_to(&buffer[..length], from).unwrap();
        }
    });
    port
}

#[test]
fn each_pair_of_ends_is_a_flow() {
    let mut guest = Guest::new("user");
    let ports = [mirror(20), mirror(20)];
    let sockets = [guest.bind(1000), guest.bind(1001)];
    for round in 0..20u8 {
        let (port, socket) = (ports[usize::from(round % 2)], sockets[usize::from(round / 2 % 2)]);
        let to = SocketAddrV4::new(GATEWAY, port);
        assert_eq!(guest.ask(socket, to, &[round, 1, 2]), [2, 1, round]);
    }
    let long = vec![7; 1472];
    assert_eq!(guest.ask(sockets[0], SocketAddrV4::new(GATEWAY, ports[0]), &long), long);
}

#[test]
fn names_are_asked_of_the_name_server() {
    let mut guest = Guest::new(&format!("user,nameserver=127.0.0.1:{}", mirror(1)));
    let socket = guest.bind(2000);
    assert_eq!(guest.ask(socket, SocketAddrV4::new(NAMESERVER, 53), b"who?"), b"?ohw");
}

#[test]
fn a_forwarded_port_has_many_clients() {
    let mut guest = Guest::new("user,hostfwd=udp::0-:53");
    let door = guest.wire.net.forwards()[0].host;
    let server = guest.bind(53);
    let clients = [(); 3].map(|()| UdpSocket::bind("127.0.0.1:0").unwrap());
    for (number, client) in (0u8..).zip(&clients) {
        client.send_to(&[number], door).unwrap();
    }
    for _ in &clients {
        guest.until("a question", |guest| {
            let (question, from) = guest.udp(server).recv().ok().map(|(bytes, from)| (bytes.to_vec(), from))?;
            assert_eq!(from.endpoint.addr, GATEWAY.into());
            guest.udp(server).send_slice(&[question[0], 99], from.endpoint).unwrap();
            Some(())
        });
    }
    guest.pass(Duration::from_millis(50));
    for (number, client) in (0u8..).zip(&clients) {
        client.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let mut buffer = [0; 10];
        let (length, from) = client.recv_from(&mut buffer).unwrap();
        assert_eq!((&buffer[..length], from), (&[number, 99][..], door));
    }
}
