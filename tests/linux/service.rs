//! A web server in a guest of a pair, asked through a forwarded port while primaries are killed: what it has answered it still
//! knows, whoever serves. Connections end with their primary; new ones work.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::harness::{NETWORK, initrd, linux};
use crate::pair::{Chance, PATIENCE, Site, until};

const KILLS: usize = 3;
const CUSTOMERS: usize = 3;

/// An order is written down, and answered by its place in the book.
const SERVER: &str = r#"
ip link set eth0 up; ip addr add 10.0.2.15/24 dev eth0; ip route add default via 10.0.2.2
mkdir -p /www/cgi-bin; seq 100000 > /www/numbers; > /www/book
cat > /www/cgi-bin/order <<'END'
#!/bin/sh
echo "$QUERY_STRING" >> /www/book
printf 'Content-Type: text/plain\r\n\r\n'
grep -nx "$QUERY_STRING" /www/book
END
printf '#!/bin/sh\npoweroff -f\n' > /www/cgi-bin/off
chmod +x /www/cgi-bin/*
httpd -h /www
while :; do sleep 1000; done"#;

/// What the server answers if it answers in full.
fn ask(server: SocketAddr, path: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect(server)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(stream, "GET {path} HTTP/1.0\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or(io::ErrorKind::UnexpectedEof)?;
    let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
    let whole = length.map_or(body.ends_with('\n'), |length| length.parse() == Ok(body.len()));
    if head.contains(" 200 OK\r\n") && whole { Ok(body.to_owned()) } else { Err(io::ErrorKind::InvalidData.into()) }
}

/// The same, as soon as somebody serves.
fn ask_until_answered(server: SocketAddr, path: &str) -> String {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match ask(server, path) {
            Ok(answer) => return answer,
            Err(error) => assert!(Instant::now() < deadline, "{path} was asked for in vain: {error}"),
        }
        thread::sleep(Duration::from_millis(20));
    }
}

/// Somebody who orders one thing after the other.
struct Customer {
    served: Arc<AtomicUsize>,
    /// The confirmed orders, with their places in the book.
    orders: JoinHandle<Vec<(usize, String)>>,
}

impl Customer {
    fn new(name: usize, server: SocketAddr, closed: Arc<AtomicBool>) -> Self {
        let served = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&served);
        let orders = thread::spawn(move || {
            let mut confirmed = Vec::new();
            // An order without an answer is not repeated: it may stand in the book or not.
            for number in 0.. {
                if closed.load(Ordering::Relaxed) {
                    break;
                }
                let order = format!("{name}.{number}");
                let Ok(answer) = ask(server, &format!("/cgi-bin/order?{order}")) else {
                    thread::sleep(Duration::from_millis(20));
                    continue;
                };
                let place = answer.strip_suffix(&format!(":{order}\n")).and_then(|place| place.parse().ok());
                confirmed.push((place.unwrap_or_else(|| panic!("{order} was answered by {answer:?}")), order));
                count.fetch_add(1, Ordering::Relaxed);
            }
            confirmed
        });
        Self { served, orders }
    }

    fn served(&self) -> usize {
        self.served.load(Ordering::Relaxed)
    }
}

/// Waits until each of them has been served again.
fn all_are_served(customers: &[Customer]) {
    let before: Vec<usize> = customers.iter().map(Customer::served).collect();
    until("an answer for each customer", || customers.iter().zip(&before).all(|(c, &before)| c.served() > before + 1));
}

#[test]
fn a_server_forgets_nothing_that_it_has_confirmed() {
    let Some(linux) = linux() else { return };
    let (mut chance, site) = (Chance::new(), Site::new("5000"));
    let server = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let net = format!("user,hostfwd=tcp:{server}-:80");
    let room = tempfile::tempdir().unwrap();
    let (kernel, disk) = (linux.join("vmlinuz"), room.path().join("initrd"));
    std::fs::write(&disk, initrd(&linux, &NETWORK, SERVER)).unwrap();
    let append = "console=ttyS0 panic=-1 loglevel=3";
    let options = ["--initrd", disk.to_str().unwrap(), "--memory", "128M", "--append", append, "--net", &net];
    let mut primary = site.run(&[&[kernel.to_str().unwrap(), "--primary"], &options[..]].concat());
    let numbers: String = (1..=100_000).map(|n| format!("{n}\n")).collect();
    assert!(ask_until_answered(server, "/numbers") == numbers);

    let closed = Arc::new(AtomicBool::new(false));
    let customers: Vec<_> = (0..CUSTOMERS).map(|name| Customer::new(name, server, Arc::clone(&closed))).collect();
    let mut backup = site.backup_with(&["--net", &net]);
    for _ in 0..KILLS {
        all_are_served(&customers);
        chance.nap(300);
        primary.kill();
        backup.hear("TOOK OVER");
        all_are_served(&customers);
        assert!(ask_until_answered(server, "/numbers") == numbers);
        (primary, backup) = (backup, site.backup_with(&["--net", &net]));
    }
    closed.store(true, Ordering::Relaxed);
    let confirmed: Vec<_> = customers.into_iter().flat_map(|customer| customer.orders.join().unwrap()).collect();
    check(&ask_until_answered(server, "/book"), &confirmed);
    let _ = ask(server, "/cgi-bin/off"); // Nobody is left to answer.
    assert_eq!((primary.code(), backup.code()), (Some(0), Some(0)));
}

/// Every confirmed order stands where it was said to stand, and none stands there twice.
fn check(book: &str, confirmed: &[(usize, String)]) {
    let lines: Vec<&str> = book.lines().collect();
    for (place, order) in confirmed {
        assert_eq!(lines.get(place - 1), Some(&order.as_str()), "place {place} of {book}");
    }
    let mut once = lines.clone();
    once.sort_unstable();
    once.dedup();
    assert_eq!(once.len(), lines.len(), "an order was taken twice:\n{book}");
}
