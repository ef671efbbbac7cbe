//! The client's side of numbered input: what was typed is sent again, to whoever serves, until it is safe.

use std::collections::VecDeque;
use std::time::Duration;

use emu::Control;

use super::inputs::INPUT_BYTES_MAX;
use crate::message::{Bye, ClientStatus, Message};
use crate::time::Time;

/// One client. It survives its connections.
#[derive(Debug)]
pub struct Client {
    id: u64,
    timeout: Duration,
    connected: bool,
    heard: Time,
    spoke: Time,
    /// The last input that is safe.
    safe: u64,
    /// Inputs `safe + 1 ..`.
    unsafe_inputs: VecDeque<Vec<u8>>,
    /// How many of them were sent on this connection.
    sent: usize,
    controls: VecDeque<Control>,
    /// Columns and rows of the terminal, and whether whoever serves has been told.
    size: Option<(u16, u16)>,
    told_size: bool,
    queue: VecDeque<Message>,
    status: Option<ClientStatus>,
    over: Option<Bye>,
}

/// Inputs sent but not known to be safe at one time.
const WINDOW: usize = 64;

impl Client {
    /// A client with identity `id` (random) that gives up a connection after `timeout` of silence.
    #[must_use]
    pub fn new(id: u64, timeout: Duration, now: Time) -> Self {
        Self {
            id,
            timeout,
            connected: false,
            heard: now,
            spoke: now,
            safe: 0,
            unsafe_inputs: VecDeque::new(),
            sent: 0,
            controls: VecDeque::new(),
            size: None,
            told_size: false,
            queue: VecDeque::new(),
            status: None,
            over: None,
        }
    }

    /// `bytes` were typed. Returns the number of the last input that carries them.
    pub fn input(&mut self, bytes: &[u8]) -> u64 {
        self.unsafe_inputs.extend(bytes.chunks(INPUT_BYTES_MAX).map(<[u8]>::to_vec));
        self.safe + self.unsafe_inputs.len() as u64
    }

    /// A button was pressed: told once, when somebody is there to be told.
    pub fn control(&mut self, control: Control) {
        self.controls.push_back(control);
    }

    /// The terminal has so many columns and rows now: whoever serves is told, and whoever serves next.
    pub fn resize(&mut self, columns: u16, rows: u16) {
        (self.size, self.told_size) = (Some((columns, rows)), false);
    }

    /// A connection to whoever serves exists.
    pub fn handle_connect(&mut self, now: Time) {
        self.connected = true;
        self.heard = now;
        self.sent = 0;
        self.told_size = false;
        self.queue.clear();
        self.hello(now);
    }

    /// The connection ended.
    pub fn handle_disconnect(&mut self) {
        self.connected = false;
        self.queue.clear();
    }

    /// A message arrived; one that has no place here is ignored.
    pub fn handle_message(&mut self, now: Time, message: Message) {
        self.heard = now;
        match message {
            Message::ClientAck { seq } => {
                while self.safe < seq && self.unsafe_inputs.pop_front().is_some() {
                    self.safe += 1;
                    self.sent = self.sent.saturating_sub(1);
                }
            }
            Message::ClientStatus(status) => self.status = Some(status),
            Message::Bye(bye) => self.over = Some(bye),
            _ => {}
        }
    }

    /// Time passes; due every fifth of the timeout.
    pub fn handle_tick(&mut self, now: Time) {
        if self.connected && now.since(self.heard) >= self.timeout {
            self.handle_disconnect();
        } else if self.connected && now.since(self.spoke) >= self.timeout / 5 {
            self.hello(now);
            self.sent = 0; // What the machine could not take at first is offered again.
        }
    }

    /// The next message to send.
    pub fn poll_message(&mut self) -> Option<Message> {
        if !self.connected {
            return None;
        }
        if let Some(message) = self.queue.pop_front() {
            return Some(message);
        }
        if let Some(control) = self.controls.pop_front() {
            return Some(Message::ClientControl(control));
        }
        if let Some((columns, rows)) = self.size.filter(|_| !std::mem::replace(&mut self.told_size, true)) {
            return Some(Message::ClientSize { columns, rows });
        }
        let bytes = self.unsafe_inputs.get(self.sent).filter(|_| self.sent < WINDOW)?.clone();
        self.sent += 1;
        Some(Message::ClientInput { seq: self.safe + self.sent as u64, bytes })
    }

    /// Should the caller look for whoever serves and connect?
    #[must_use]
    pub fn seeking(&self) -> bool {
        !self.connected && self.over.is_none()
    }

    /// The last input that is safe: it will survive a crash of whoever serves.
    #[must_use]
    pub fn safe(&self) -> u64 {
        self.safe
    }

    /// Is everything typed safe?
    #[must_use]
    pub fn all_safe(&self) -> bool {
        self.unsafe_inputs.is_empty()
    }

    /// What whoever serves said last about itself.
    #[must_use]
    pub fn status(&self) -> Option<ClientStatus> {
        self.status
    }

    /// The farewell of whoever served: after a power-off nobody will serve again, after a detach the backup will.
    pub fn take_bye(&mut self) -> Option<Bye> {
        self.over.take()
    }

    fn hello(&mut self, now: Time) {
        self.spoke = now;
        self.queue.push_back(Message::ClientHello { client: self.id });
    }
}
