//! TCP.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, SocketAddrV4, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use ft_net::user_net::{GATEWAY, NAMESERVER, NetError, Ports, UserNet};
use smoltcp::socket::tcp::State;

use crate::guest::Guest;

const MEGABYTE: usize = 1 << 20;

/// Bytes that do not repeat for long.
fn pattern(length: usize) -> Vec<u8> {
    let mut state = 1u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state.to_be_bytes()[0]
    };
    (0..length).map(|_| next()).collect()
}

/// A server on the host's loopback for one connection, and its address as the guest sees it.
fn server<R: Send + 'static>(serve: impl FnOnce(TcpStream) -> R + Send + 'static) -> (SocketAddrV4, JoinHandle<R>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let to = SocketAddrV4::new(GATEWAY, listener.local_addr().unwrap().port());
    (to, thread::spawn(move || serve(listener.accept().unwrap().0)))
}

/// A client of the forwarded port of `guest` on a thread of its own.
fn client<R: Send + 'static>(guest: &Guest, act: impl FnOnce(TcpStream) -> R + Send + 'static) -> JoinHandle<R> {
    let to: SocketAddr = guest.wire.net.forwards()[0].host;
    thread::spawn(move || act(TcpStream::connect(to).unwrap()))
}

fn read_all(mut stream: &TcpStream) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).map(|_| bytes)
}

/// Lets the guest go on until `thread` has ended.
fn join<R>(guest: &mut Guest, thread: JoinHandle<R>) -> R {
    guest.until("the other side's end", |_| thread.is_finished().then_some(()));
    thread.join().unwrap()
}

#[test]
fn ten_megabytes_to_the_host_and_an_orderly_end() {
    let mut guest = Guest::new("user");
    let (to, served) = server(|stream| read_all(&stream).unwrap());
    let connection = guest.connect(to);
    guest.established(connection);
    let bytes = pattern(10 * MEGABYTE);
    guest.send_all(connection, &bytes);
    guest.tcp(connection).close();
    assert!(join(&mut guest, served) == bytes);
    assert_eq!(guest.receive_all(connection), Ok(vec![]));
}

#[test]
fn ten_megabytes_from_the_host_and_an_orderly_end() {
    let mut guest = Guest::new("user");
    let bytes = pattern(10 * MEGABYTE);
    let all = bytes.clone();
    let (to, served) = server(move |mut stream| stream.write_all(&all).unwrap());
    let connection = guest.connect(to);
    assert!(guest.receive_all(connection) == Ok(bytes));
    join(&mut guest, served);
}

#[test]
fn each_direction_ends_by_itself() {
    let mut guest = Guest::new("user");
    let (to, served) = server(|mut stream| {
        let question = read_all(&stream).unwrap();
        thread::sleep(Duration::from_millis(50));
        stream.write_all(&pattern(300_000)).unwrap();
        question
    });
    let connection = guest.connect(to);
    guest.established(connection);
    guest.send_all(connection, b"all of it?");
    guest.tcp(connection).close();
    assert!(guest.receive_all(connection) == Ok(pattern(300_000)));
    assert_eq!(join(&mut guest, served), b"all of it?");

    // The other way: the host has nothing to say, and listens.
    let (to, served) = server(|stream| {
        stream.shutdown(Shutdown::Write).unwrap();
        read_all(&stream).unwrap()
    });
    let connection = guest.connect(to);
    assert_eq!(guest.receive_all(connection), Ok(vec![]));
    guest.send_all(connection, &pattern(300_000));
    guest.tcp(connection).close();
    assert!(join(&mut guest, served) == pattern(300_000));
}

#[test]
fn nobody_there_is_said_at_once() {
    let mut guest = Guest::new("user");
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let began = Instant::now();
    for (address, port) in [(GATEWAY, free), (NAMESERVER, 80)] {
        let connection = guest.connect(SocketAddrV4::new(address, port));
        guest.until("a refusal", |guest| (guest.state(connection) == State::Closed).then_some(()));
    }
    assert!(began.elapsed() < Duration::from_secs(5));
}

#[test]
fn a_reset_remains_a_reset() {
    let mut guest = Guest::new("user");
    // Of the host: it closes with something unread.
    let (to, served) = server(|stream| while stream.peek(&mut [0]).unwrap() == 0 {});
    let connection = guest.connect(to);
    guest.established(connection);
    guest.send_all(connection, b"unread");
    assert_eq!(guest.receive_all(connection), Err(vec![]));
    join(&mut guest, served);
    // Of the guest.
    let (to, served) = server(|stream| read_all(&stream));
    let connection = guest.connect(to);
    guest.established(connection);
    guest.tcp(connection).abort();
    assert_eq!(join(&mut guest, served).unwrap_err().kind(), io::ErrorKind::ConnectionReset);
}

#[test]
fn a_forwarded_port_leads_into_the_guest() {
    let mut guest = Guest::new("user,hostfwd=tcp::0-:80");
    let listener = guest.listen(80);
    let asked = client(&guest, |mut stream| {
        stream.write_all(&pattern(MEGABYTE)).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        read_all(&stream).unwrap()
    });
    let question = guest.receive_all(listener).unwrap_or_else(|_| panic!("a reset"));
    assert_eq!(guest.tcp(listener).remote_endpoint().unwrap().addr, GATEWAY.into());
    guest.send_all(listener, &question[..1000]);
    guest.tcp(listener).close();
    assert!(question == pattern(MEGABYTE));
    assert!(join(&mut guest, asked) == pattern(1000));

    // Where nobody listens in the guest.
    let asked = client(&guest, |stream| read_all(&stream));
    assert_eq!(join(&mut guest, asked).unwrap_err().kind(), io::ErrorKind::ConnectionReset);
}

#[test]
fn a_host_that_does_not_read_stops_the_guest_and_loses_nothing() {
    let mut guest = Guest::new("user");
    let go = Arc::new(AtomicBool::new(false));
    let may = Arc::clone(&go);
    let (to, served) = server(move |stream| {
        while !may.load(Ordering::Relaxed) {
            thread::sleep(Duration::from_millis(5));
        }
        read_all(&stream).unwrap()
    });
    let connection = guest.connect(to);
    guest.established(connection);
    let (bytes, mut sent) = (pattern(30 * MEGABYTE), 0);
    let began = Instant::now();
    while began.elapsed() < Duration::from_millis(700) {
        if guest.tcp(connection).can_send() {
            sent += guest.tcp(connection).send_slice(&bytes[sent..]).unwrap();
        }
        guest.step();
    }
    assert!(sent < 20 * MEGABYTE, "the guest could send {sent} bytes to nobody");
    go.store(true, Ordering::Relaxed);
    guest.send_all(connection, &bytes[sent..]);
    guest.tcp(connection).close();
    assert!(join(&mut guest, served) == bytes);
}

#[test]
fn a_guest_that_does_not_read_stops_the_host() {
    let mut guest = Guest::new("user");
    let (to, served) = server(|mut stream| stream.write_all(&pattern(30 * MEGABYTE)).unwrap());
    let connection = guest.connect(to);
    guest.established(connection);
    guest.pass(Duration::from_millis(700));
    assert!(!served.is_finished(), "30 MB have gone where nobody reads");
    assert!(guest.receive_all(connection) == Ok(pattern(30 * MEGABYTE)));
    join(&mut guest, served);
}

#[test]
fn two_thousand_short_connections() {
    const COUNT: usize = 2000;
    const AT_ONCE: usize = 50;
    let mut guest = Guest::new("user");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let to = SocketAddrV4::new(GATEWAY, listener.local_addr().unwrap().port());
    let served = thread::spawn(move || {
        for stream in listener.incoming().take(COUNT) {
            let mut stream = stream.unwrap();
            let mut question = [0; 4];
            stream.read_exact(&mut question).unwrap();
            stream.write_all(&question).unwrap();
        }
    });
    let (mut begun, mut done, mut open) = (0u32, 0, Vec::new());
    guest.until("all connections", |guest| {
        while open.len() < AT_ONCE && (begun as usize) < COUNT {
            open.push((guest.connect(to), begun, false));
            begun += 1;
        }
        open.retain_mut(|(handle, number, asked)| {
            let socket = guest.tcp(*handle);
            if !*asked && socket.can_send() {
                socket.send_slice(&number.to_be_bytes()).unwrap();
                *asked = true;
            }
            if socket.recv_queue() < 4 {
                return true;
            }
            let mut answer = [0; 4];
            socket.recv_slice(&mut answer).unwrap();
            assert_eq!(answer, number.to_be_bytes());
            socket.abort();
            guest.poll();
            guest.remove(*handle);
            done += 1;
            false
        });
        (done == COUNT).then_some(())
    });
    served.join().unwrap();
}

#[test]
fn a_restricted_guest_reaches_nobody_and_is_reached() {
    let mut guest = Guest::new("user,restrict=on,hostfwd=tcp::0-:80");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let connection = guest.connect(SocketAddrV4::new(GATEWAY, listener.local_addr().unwrap().port()));
    guest.until("a refusal", |guest| (guest.state(connection) == State::Closed).then_some(()));
    let listener = guest.listen(80);
    let asked = client(&guest, |stream| read_all(&stream).unwrap());
    guest.established(listener);
    guest.send_all(listener, b"hello");
    guest.tcp(listener).close();
    assert_eq!(join(&mut guest, asked), b"hello");
}

#[test]
fn a_port_that_is_taken() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = taken.local_addr().unwrap();
    let options = format!("user,hostfwd=tcp::{}-:80", at.port()).parse().unwrap();
    match UserNet::start(&options, Ports::Now, drop) {
        Err(NetError::Port(port, error)) => {
            assert_eq!((port, error.kind()), (at, io::ErrorKind::AddrInUse));
        }
        other => panic!("{other:?}"),
    }
    let net = UserNet::start(&options, Ports::WhenFree, drop).unwrap();
    drop(taken);
    let began = Instant::now();
    while TcpStream::connect(at).is_err() {
        assert!(began.elapsed() < Duration::from_secs(10), "it is not tried again");
        thread::sleep(Duration::from_millis(10));
    }
    drop(net);
    assert!(TcpStream::connect(at).is_err(), "the port is still open");
}
