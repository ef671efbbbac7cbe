//! Connections: two threads each, frames in and frames out.

use std::io::{self, BufReader, BufWriter, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, Sender, TryRecvError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::spawn;
use crate::frame::{self, ReadError};
use crate::message::Message;
use crate::proto::ConnId;

/// Messages that may wait for a peer that does not read; the protocol's windows keep an honest one far below.
const WAITING_MAX: usize = 1 << 16;

/// Connections of one process at a time.
const CONNECTIONS_MAX: usize = 256;

/// How long a closed connection waits for its peer to close, too.
const PARTING: Duration = Duration::from_secs(1);

/// What connections report.
#[derive(Debug)]
pub(super) enum Heard {
    /// Somebody connected.
    Opened(Connection),
    /// A message came.
    Message(ConnId, Message),
    /// No more will come.
    Closed {
        conn: ConnId,
        reason: String,
        /// The peer broke the protocol.
        bad: bool,
    },
}

/// The sending half of a connection.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) id: ConnId,
    to: Option<Sender<Message>>,
    waiting: Arc<AtomicUsize>,
    writer: JoinHandle<()>,
}

impl Connection {
    /// Starts the threads of `stream`; `heard` receives what comes, until it returns `false`.
    pub(super) fn start(
        stream: TcpStream,
        timeout: Duration,
        mut heard: impl FnMut(Heard) -> bool + Send + 'static,
    ) -> io::Result<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let id = ConnId(NEXT.fetch_add(1, Ordering::Relaxed));
        stream.set_nodelay(true)?;
        stream.set_write_timeout(Some(timeout.max(Duration::from_secs(1)) * 4))?;
        let (to, from) = mpsc::channel();
        let waiting = Arc::new(AtomicUsize::new(0));
        let (out, counter) = (stream.try_clone()?, Arc::clone(&waiting));
        let ended = Arc::new(AtomicBool::new(false));
        let reader_ended = Arc::clone(&ended);
        let writer = spawn("writer", move || {
            if write_all(&out, &from, &counter).is_ok() {
                part(&out, &reader_ended);
            } // Else the reader reports it, after what the peer has said before.
        })?;
        spawn("reader", move || {
            read_all(id, &stream, &mut heard);
            ended.store(true, Ordering::Release);
        })?;
        Ok(Self { id, to: Some(to), waiting, writer })
    }

    /// Sends a message. Never blocks; a peer that does not read is cut off.
    pub(super) fn send(&mut self, message: Message) {
        if self.waiting.fetch_add(1, Ordering::Relaxed) > WAITING_MAX {
            self.to = None;
        }
        if let Some(to) = &self.to {
            let _ = to.send(message); // The writer is gone: the reader reports it.
        }
    }

    /// Closes the connection after what was sent.
    pub(super) fn close(mut self) -> JoinHandle<()> {
        self.to = None;
        self.writer
    }
}

/// Writes messages until the connection is closed on this side.
fn write_all(stream: &TcpStream, from: &Receiver<Message>, waiting: &AtomicUsize) -> io::Result<()> {
    let mut out = BufWriter::with_capacity(1 << 16, stream);
    loop {
        let message = match from.try_recv() {
            Ok(message) => message,
            Err(TryRecvError::Disconnected) => return out.flush(),
            Err(TryRecvError::Empty) => {
                out.flush()?;
                match from.recv() {
                    Ok(message) => message,
                    Err(_) => return Ok(()),
                }
            }
        };
        waiting.fetch_sub(1, Ordering::Relaxed);
        frame::write(&mut out, &message)?;
    }
}

/// Closes politely: a host that is still being sent to when it closes resets the connection, and the last words are lost
/// on their way. So: no more from here, but listen until the peer has heard it and closes, too.
fn part(stream: &TcpStream, reader_ended: &AtomicBool) {
    let deadline = Instant::now() + PARTING;
    if stream.shutdown(Shutdown::Write).is_ok() {
        while !reader_ended.load(Ordering::Acquire) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(2));
        }
    }
    let _ = stream.shutdown(Shutdown::Both); // It may be gone already.
}

/// Reads messages until the connection ends. After nobody wants them any more they are read all the same, see [`part`].
fn read_all(conn: ConnId, stream: &TcpStream, heard: &mut dyn FnMut(Heard) -> bool) {
    let mut from = BufReader::with_capacity(1 << 16, stream);
    let mut wanted = true;
    loop {
        match frame::read(&mut from) {
            Ok(message) => wanted = wanted && heard(Heard::Message(conn, message)),
            Err(error) => {
                let bad = matches!(error, ReadError::Frame(_));
                heard(Heard::Closed { conn, reason: error.to_string(), bad });
                return;
            }
        }
    }
}

/// Takes connections until it is dropped.
#[derive(Debug)]
pub(super) struct Acceptor {
    stop: Arc<AtomicBool>,
    address: std::net::SocketAddr,
}

impl Acceptor {
    pub(super) fn start(
        listener: TcpListener,
        timeout: Duration,
        heard: impl Fn(Heard) -> bool + Clone + Send + 'static,
    ) -> io::Result<Self> {
        let (stop, address) = (Arc::new(AtomicBool::new(false)), listener.local_addr()?);
        let stopped = Arc::clone(&stop);
        spawn("accept", move || accept_all(&listener, timeout, &stopped, &heard))?;
        Ok(Self { stop, address })
    }
}

fn accept_all(
    listener: &TcpListener,
    timeout: Duration,
    stopped: &AtomicBool,
    heard: &(impl Fn(Heard) -> bool + Clone + Send + 'static),
) {
    let open = Arc::new(AtomicUsize::new(0));
    for stream in listener.incoming() {
        if stopped.load(Ordering::Relaxed) {
            return;
        }
        let Ok(stream) = stream else {
            std::thread::sleep(Duration::from_millis(20)); // Out of descriptors, most likely.
            continue;
        };
        if open.fetch_add(1, Ordering::Relaxed) >= CONNECTIONS_MAX {
            open.fetch_sub(1, Ordering::Relaxed);
            continue;
        }
        // The core must hear of a connection before it hears from it: the reader waits until that is done.
        let (ready, wait) = mpsc::channel::<()>();
        let (tell, count, mut wait) = (heard.clone(), Arc::clone(&open), Some(wait));
        let started = Connection::start(stream, timeout, move |what| {
            if let Some(wait) = wait.take() {
                let _ = wait.recv(); // Ends when the sender is dropped.
            }
            if matches!(what, Heard::Closed { .. }) {
                count.fetch_sub(1, Ordering::Relaxed);
            }
            tell(what)
        });
        if let Ok(connection) = started
            && !heard(Heard::Opened(connection))
        {
            return;
        }
        drop(ready);
    }
}

impl Drop for Acceptor {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect_timeout(&self.address, Duration::from_millis(200)); // Wakes the thread up.
    }
}
