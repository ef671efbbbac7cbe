//! The client behind `ftemu attach` and `ftemu status`: the console lives outside the pair.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use emu::Control;

use super::connection::{Connection, Heard};
use super::host::random_id;
use super::seek::dial;
use super::{StartError, spawn};
use crate::frame;
use crate::message::{Bye, ClientStatus, Message};
use crate::node::Host;
use crate::node::disks::DiskOpener;
use crate::proto::client::Client;
use crate::shared::{ServingAt, Shared, SharedError};

use super::host::ProcessHost;

/// What a client may want to tell its user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AttachEvent {
    /// Connected to whoever serves.
    Connected(ServingAt),
    /// The connection is gone; it looks for whoever serves next.
    Lost,
    /// The replica said goodbye. After a power-off this is the end.
    Bye(Bye),
}

/// A connection to whoever serves, across takeovers. What is typed is sent again until it is safe.
#[derive(Debug)]
pub struct Attach {
    to: Sender<ToClient>,
    events: Receiver<AttachEvent>,
    progress: Arc<Progress>,
    typed: Mutex<u64>,
}

#[derive(Debug, Default)]
struct Progress {
    /// The last safe input.
    safe: AtomicU64,
}

enum ToClient {
    Typed(Vec<u8>),
    Pressed(Control),
    Resized(u16, u16),
    Heard(Heard),
}

impl Attach {
    /// Starts a client of the run in `shared`, giving up a silent connection after `timeout`.
    ///
    /// # Errors
    /// If the host has no threads left.
    pub fn start(shared: Shared, timeout: Duration) -> Result<Self, StartError> {
        let (to, from) = mpsc::channel();
        let (tell, events) = mpsc::channel();
        let progress = Arc::new(Progress::default());
        let host = ProcessHost::new(DiskOpener::default());
        let worker = Worker {
            client: Client::new(random_id(), timeout, host.now()),
            host,
            shared,
            timeout,
            connection: None,
            to: to.clone(),
            tell,
            progress: Arc::clone(&progress),
        };
        spawn("attach", move || worker.run(&from)).map_err(StartError::Thread)?;
        Ok(Self { to, events, progress, typed: Mutex::new(0) })
    }

    /// `bytes` were typed.
    pub fn input(&self, bytes: &[u8]) {
        let mut typed = self.typed.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        for chunk in bytes.chunks(crate::proto::inputs::INPUT_BYTES_MAX) {
            *typed += 1;
            let _ = self.to.send(ToClient::Typed(chunk.to_vec())); // The thread ends only after a power-off.
        }
    }

    /// A button was pressed. Lost only if whoever is told of it fails at that moment.
    pub fn control(&self, control: Control) {
        let _ = self.to.send(ToClient::Pressed(control)); // As above.
    }

    /// The terminal has so many columns and rows now.
    pub fn resize(&self, columns: u16, rows: u16) {
        let _ = self.to.send(ToClient::Resized(columns, rows)); // As above.
    }

    /// Will everything typed so far survive a crash of whoever serves?
    #[must_use]
    pub fn all_safe(&self) -> bool {
        let typed = self.typed.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        self.progress.safe.load(Ordering::Acquire) >= *typed
    }

    /// The next event, if there is one within `wait`.
    #[must_use]
    pub fn event(&self, wait: Duration) -> Option<AttachEvent> {
        self.events.recv_timeout(wait).ok()
    }
}

struct Worker {
    client: Client,
    host: ProcessHost,
    shared: Shared,
    timeout: Duration,
    connection: Option<Connection>,
    to: Sender<ToClient>,
    tell: Sender<AttachEvent>,
    progress: Arc<Progress>,
}

impl Worker {
    fn run(mut self, from: &Receiver<ToClient>) {
        let step = (self.timeout / 10).min(Duration::from_millis(100));
        loop {
            match from.recv_timeout(step) {
                Ok(ToClient::Typed(bytes)) => {
                    self.client.input(&bytes);
                }
                Ok(ToClient::Pressed(control)) => self.client.control(control),
                Ok(ToClient::Resized(columns, rows)) => self.client.resize(columns, rows),
                Ok(ToClient::Heard(heard)) => {
                    if self.heard(heard).is_err() {
                        return;
                    }
                }
                Err(RecvTimeoutError::Timeout) => self.seek(),
                Err(RecvTimeoutError::Disconnected) => return,
            }
            self.client.handle_tick(self.host.now());
            if self.client.seeking() {
                self.lose();
            }
            while let Some(message) = self.client.poll_message() {
                if let Some(connection) = &mut self.connection {
                    connection.send(message);
                }
            }
            self.progress.safe.store(self.client.safe(), Ordering::Release);
        }
    }

    /// `Err`: nobody listens any more.
    fn heard(&mut self, heard: Heard) -> Result<(), mpsc::SendError<AttachEvent>> {
        let ours = |conn| self.connection.as_ref().is_some_and(|connection| connection.id == conn);
        match heard {
            Heard::Message(conn, message) if ours(conn) => {
                self.client.handle_message(self.host.now(), message);
                self.client.take_bye().map_or(Ok(()), |bye| self.tell.send(AttachEvent::Bye(bye)))
            }
            Heard::Closed { conn, .. } if ours(conn) => {
                self.client.handle_disconnect();
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn lose(&mut self) {
        if let Some(connection) = self.connection.take() {
            connection.close();
            let _ = self.tell.send(AttachEvent::Lost); // Nobody may listen.
        }
    }

    fn seek(&mut self) {
        if !self.client.seeking() {
            return;
        }
        let Ok(Some(at)) = self.shared.serving() else {
            return;
        };
        let Ok(stream) = dial(&at.address, self.timeout) else {
            return;
        };
        let to = self.to.clone();
        let heard = move |what| to.send(ToClient::Heard(what)).is_ok();
        if let Ok(connection) = Connection::start(stream, self.timeout, heard) {
            self.connection = Some(connection);
            self.client.handle_connect(self.host.now());
            let _ = self.tell.send(AttachEvent::Connected(at)); // As above.
        }
    }
}

/// Reads the console of record as it grows.
#[derive(Debug)]
pub struct ConsoleReader {
    path: PathBuf,
    file: Option<File>,
    offset: u64,
}

impl ConsoleReader {
    /// The record of the run in `shared`, from byte `offset` on.
    #[must_use]
    pub fn new(shared: &Shared, offset: u64) -> Self {
        Self { path: shared.console_path(), file: None, offset }
    }

    /// Appends what is new to `to`; returns how many bytes.
    ///
    /// # Errors
    /// If the record cannot be read; a later call may work.
    pub fn read_new(&mut self, to: &mut Vec<u8>) -> io::Result<usize> {
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(File::open(&self.path)?),
        };
        let read = file.seek(SeekFrom::Start(self.offset)).and_then(|_| file.read_to_end(to));
        match read {
            Ok(bytes) => self.offset += bytes as u64,
            Err(_) => self.file = None,
        }
        read
    }

    /// How far it has read.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.offset
    }
}

/// What is known about a run.
#[derive(Clone, Debug)]
pub struct Status {
    /// Its id; `None`: there is none.
    pub instance: Option<u64>,
    /// Replicas that live and have a machine.
    pub living: Vec<u64>,
    /// Who has claimed which generation.
    pub generations: Vec<(u64, String)>,
    /// Who serves, by the shared directory.
    pub serving: Option<ServingAt>,
    /// What that replica says itself, if it answers.
    pub answer: Option<ClientStatus>,
}

/// Asks the shared directory and whoever serves.
///
/// # Errors
/// If the shared directory cannot be read.
pub fn status(shared: &Shared, timeout: Duration) -> Result<Status, SharedError> {
    let instance = shared.instance()?;
    let serving = shared.serving()?;
    let generations = instance.map_or(Ok(Vec::new()), |instance| shared.generations(instance))?;
    let answer = serving.as_ref().and_then(|at| ask_status(&at.address, timeout));
    Ok(Status { instance, living: shared.living()?, generations, serving, answer })
}

fn ask_status(address: &str, timeout: Duration) -> Option<ClientStatus> {
    let mut stream = dial(address, timeout).ok()?;
    stream.set_read_timeout(Some(timeout)).ok()?;
    frame::write(&mut stream, &Message::ClientHello { client: random_id() }).ok()?;
    let deadline = Instant::now() + timeout;
    while Instant::now() < deadline {
        if let Message::ClientStatus(status) = frame::read(&mut stream).ok()? {
            return Some(status);
        }
    }
    None
}
