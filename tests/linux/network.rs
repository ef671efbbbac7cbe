//! The network card on a user-mode network: DHCP, and connections both ways.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use crate::harness::{Boot, NETWORK, said};

/// Serves `body` to the first who asks. Returns the port.
fn serve(body: Vec<u8>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let (mut request, mut byte) = (Vec::new(), [0]);
        while !request.ends_with(b"\r\n\r\n") {
            stream.read_exact(&mut byte).unwrap();
            request.push(byte[0]);
        }
        stream.write_all(&[b"HTTP/1.0 200 OK\r\n\r\n", &body[..]].concat()).unwrap();
    });
    port
}

/// Reads all that is served at `address`, as soon as somebody serves there; a guest that is not up yet resets.
fn fetch(address: std::net::SocketAddr) -> Vec<u8> {
    for _ in 0..3000 {
        let mut fetched = Vec::new();
        let whole = TcpStream::connect(address).is_ok_and(|mut stream| stream.read_to_end(&mut fetched).is_ok());
        if whole && !fetched.is_empty() {
            return fetched;
        }
        thread::sleep(Duration::from_millis(100));
    }
    Vec::new()
}

#[test]
fn a_network_leads_both_ways() {
    let bytes: Vec<u8> = (0..3_000_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let asked = serve(bytes.clone());
    let ear = TcpListener::bind("127.0.0.1:0").unwrap();
    let told = ear.local_addr().unwrap().port();
    let door = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let hear = thread::spawn(move || {
        let mut heard = Vec::new();
        ear.accept().unwrap().0.read_to_end(&mut heard).map(|_| heard)
    });
    let fetched = thread::spawn(move || fetch(door));
    let script = format!(
        r#"
cat > /lease <<'END'
#!/bin/sh
[ "$1" = bound ] || exit 0
ip addr add $ip/$mask dev $interface && ip route add default via $router && echo "lease $ip/$mask $router $dns"
END
chmod +x /lease
ip link set eth0 up
udhcpc -i eth0 -q -n -s /lease
ping -c 1 10.0.2.2 | grep -o '1 packets received'
wget -q -O /got http://10.0.2.2:{asked}/ && wc -c /got
nc 10.0.2.2 {told} < /got
nc -l -p 80 < /got
reboot -f"#
    );
    let net = format!("user,hostfwd=tcp:{door}-:80");
    let run = ["--clock", "derived", "--net", &net];
    let Some(console) = (Boot { modules: &NETWORK, run: &run, ..Boot::new(&script) }).go() else { return };
    for line in ["lease 10.0.2.15/24 10.0.2.2 10.0.2.3", "1 packets received", "3000000 /got"] {
        said(&console, line);
    }
    assert!(hear.join().unwrap().unwrap() == bytes, "what the guest has sent");
    assert!(fetched.join().unwrap() == bytes, "what the guest has served");
}
