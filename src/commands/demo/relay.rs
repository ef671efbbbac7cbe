//! A network between primary and backup that takes its time, and that loses what is on its way when the sender dies: as
//! a real one does, and as two processes on one host never do.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use ft_net::shared::Shared;

/// How often a waiting byte looks whether the wire still exists.
const LOOK_EVERY: Duration = Duration::from_millis(1);

/// Listens for backups and connects them to whoever serves.
pub(super) struct Relay {
    address: String,
    /// How often the wire has been cut. A connection lives as long as this stays what it was at its beginning.
    cuts: Arc<AtomicU64>,
}

/// One direction of one connection.
struct Wire {
    delay: Duration,
    cuts: Arc<AtomicU64>,
    born: u64,
}

impl Relay {
    /// Starts one that delays what the primary says by `delay`.
    pub(super) fn start(shared: Shared, delay: Duration) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").context("cannot listen on 127.0.0.1")?;
        let address = listener.local_addr().context("cannot listen on 127.0.0.1")?.to_string();
        let cuts = Arc::new(AtomicU64::new(0));
        let wires = Arc::clone(&cuts);
        std::thread::spawn(move || {
            for backup in listener.incoming().map_while(Result::ok) {
                let wire = |delay| Wire { delay, cuts: Arc::clone(&wires), born: wires.load(Ordering::SeqCst) };
                let _ = connect(&shared, backup, wire(delay), wire(Duration::ZERO)); // A backup tries again.
            }
        });
        Ok(Self { address, cuts })
    }

    /// Where backups connect.
    pub(super) fn address(&self) -> &str {
        &self.address
    }

    /// Loses everything that is on its way, and all connections.
    pub(super) fn cut(&self) {
        self.cuts.fetch_add(1, Ordering::SeqCst);
    }
}

fn connect(shared: &Shared, backup: TcpStream, down: Wire, up: Wire) -> Result<()> {
    let at = shared.serving()?.context("nobody serves")?;
    let primary = TcpStream::connect(&at.address)?;
    for stream in [&primary, &backup] {
        stream.set_nodelay(true)?;
    }
    down.carry(primary.try_clone()?, backup.try_clone()?);
    up.carry(backup, primary);
    Ok(())
}

impl Wire {
    fn is_cut(&self) -> bool {
        self.cuts.load(Ordering::SeqCst) != self.born
    }

    fn carry(self, mut from: TcpStream, to: TcpStream) {
        let (sent, arriving) = mpsc::channel();
        let delay = self.delay;
        std::thread::spawn(move || self.deliver(&arriving, to));
        std::thread::spawn(move || {
            let mut buffer = vec![0; 1 << 16];
            while let Ok(count @ 1..) = from.read(&mut buffer) {
                if sent.send((Instant::now() + delay, buffer[..count].to_vec())).is_err() {
                    return;
                }
            }
        });
    }

    fn deliver(&self, arriving: &Receiver<(Instant, Vec<u8>)>, mut to: TcpStream) {
        while let Ok((due, bytes)) = arriving.recv() {
            while Instant::now() < due && !self.is_cut() {
                std::thread::sleep(LOOK_EVERY);
            }
            if self.is_cut() || to.write_all(&bytes).is_err() {
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Both); // It may be closed already.
    }
}
