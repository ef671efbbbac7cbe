//! The replica that serves one generation.
//!
//! It releases output *n* when its backup holds entry *e(n)*, or at once while it has no backup. Losing a backup that
//! could take over (one that was sent `StateEnd`), it claims the next generation before it releases anything more.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use emu::{Control, Output};

use super::arbitration::{Answer, Arbitration, Ask};
use super::flow::Throttle;
use super::inputs::{ClientInput, Clients, INPUT_BYTES_MAX};
use super::link::{Link, Phase};
use super::output::Outputs;
use super::{Config, ConnId, PeerError, Transmit};
use crate::event::Event;
use crate::message::{Bye, ClientStatus, Hello, Message, Role, StateEnd};
use crate::time::Time;

/// May this replica speak?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// Yes, under the Output Rule if there is a backup.
    Serving,
    /// This process was paused for so long that its backup may have taken over: no, until the arbiter has been asked.
    Fencing,
    /// Its backup is gone: no, until the next generation is won.
    Claiming,
    /// Never again.
    Over,
}

/// The primary of one generation, and of those that it claims after losing a backup.
#[derive(Debug)]
pub struct Primary {
    config: Config,
    generation: u64,
    standing: Standing,
    link: Option<Link>,
    /// Connections that have not said who they are.
    strangers: BTreeMap<ConnId, Time>,
    clients: Clients,
    outputs: Outputs,
    arbitration: Arbitration,
    last_entry: u64,
    /// The operator wants this replica to stop as soon as its backup holds everything.
    leaving: bool,
    /// Guest time of the machine's host clock, for heartbeats.
    clock_ns: u64,
    transmits: VecDeque<Transmit>,
    events: VecDeque<Event>,
    /// The last time anything was handled.
    awake: Time,
}

impl Primary {
    /// Serves `generation`, which this replica has claimed, alone. `last_entry` is the last entry of the log so far;
    /// `outputs` are those of the machine so far, all of which may leave.
    #[must_use]
    pub fn new(config: Config, now: Time, generation: u64, last_entry: u64, outputs: Outputs) -> Self {
        Self {
            arbitration: Arbitration::new(config.retry),
            config,
            generation,
            standing: Standing::Serving,
            link: None,
            strangers: BTreeMap::new(),
            clients: Clients::default(),
            outputs,
            last_entry,
            leaving: false,
            clock_ns: 0,
            transmits: VecDeque::new(),
            events: VecDeque::from([Event::Serving { generation }]),
            awake: now,
        }
    }

    // ---- from the network ----

    /// Somebody connected.
    pub fn handle_connect(&mut self, now: Time, conn: ConnId) {
        self.wake(now);
        self.strangers.insert(conn, now);
        if self.standing == Standing::Over {
            self.close(conn);
        }
    }

    /// A connection ended, for `reason`.
    pub fn handle_disconnect(&mut self, now: Time, conn: ConnId, reason: &str) {
        self.wake(now);
        self.strangers.remove(&conn);
        self.clients.remove(conn);
        if self.link.as_ref().is_some_and(|link| link.conn == conn) {
            self.lose_backup(now, reason.to_owned());
        }
    }

    /// A message arrived. One that breaks the protocol closes its connection and is reported as an event.
    pub fn handle_message(&mut self, now: Time, conn: ConnId, message: Message) {
        self.wake(now);
        if self.standing == Standing::Over {
            return;
        }
        let result = if self.link.as_ref().is_some_and(|link| link.conn == conn) {
            self.hear_backup(now, message)
        } else if self.clients.is_client(conn) {
            self.hear_client(conn, message)
        } else if self.strangers.remove(&conn).is_some() {
            self.hear_stranger(now, conn, message)
        } else {
            Ok(()) // Closed by us; the peer does not know yet.
        };
        if let Err(error) = result {
            self.events.push_back(Event::BadPeer { reason: error.to_string() });
            self.close(conn);
            self.handle_disconnect(now, conn, &error.to_string());
        }
    }

    fn hear_stranger(&mut self, now: Time, conn: ConnId, message: Message) -> Result<(), PeerError> {
        match message {
            Message::Hello(hello) => self.greet(now, conn, &hello),
            Message::ClientHello { client } => {
                self.clients.add(conn, client);
                self.send_status(conn);
                Ok(())
            }
            other => Err(PeerError::Unexpected { kind: other.kind() }),
        }
    }

    fn greet(&mut self, now: Time, conn: ConnId, hello: &Hello) -> Result<(), PeerError> {
        let refusal = if hello.instance != self.config.instance {
            Some(PeerError::Instance { ours: self.config.instance, theirs: hello.instance }.to_string())
        } else if hello.role != Role::Backup {
            Some(PeerError::Role { role: Role::Primary }.to_string())
        } else if let Some(link) = &self.link {
            Some(format!("generation {} has a backup already, {:016x}", self.generation, link.replica))
        } else if self.standing != Standing::Serving || self.leaving {
            Some(format!("generation {} is ending; try again", self.generation))
        } else {
            None
        };
        if let Some(reason) = refusal {
            self.events.push_back(Event::Refused { backup: hello.replica, reason: reason.clone() });
            self.send(conn, Message::Refuse { reason });
            self.close(conn);
            return Ok(());
        }
        self.link = Some(Link::new(now, conn, hello.replica));
        self.events.push_back(Event::Joining { backup: hello.replica });
        let answer = Hello {
            instance: self.config.instance,
            replica: self.config.replica,
            generation: self.generation,
            role: Role::Primary,
        };
        self.send(conn, Message::Hello(answer));
        Ok(())
    }

    fn hear_backup(&mut self, now: Time, message: Message) -> Result<(), PeerError> {
        let Some(link) = &mut self.link else {
            return Ok(());
        };
        link.heard = now;
        match message {
            Message::Ack(ack) => {
                link.handle_ack(ack)?;
                let backup = link.replica;
                if let Some((last_entry, pause)) = link.unconfirmed.take() {
                    self.events.push_back(Event::Protected { backup, last_entry, pause });
                }
                self.leave();
                Ok(())
            }
            Message::PagesAck { chunk } => match &mut link.phase {
                Phase::Transfer { sent, acked } if chunk > *sent || acked.is_some_and(|acked| chunk < acked) => {
                    Err(PeerError::Sequence { what: "page chunk", due: *sent, came: chunk })
                }
                Phase::Transfer { acked, .. } => {
                    *acked = Some(chunk);
                    Ok(())
                }
                Phase::Protected => Ok(()),
            },
            Message::Bye(bye) => {
                let reason = match bye {
                    Bye::Unable => "it cannot have this machine, and says why itself",
                    Bye::Diverged => "its replay does not match the log",
                    Bye::Detach | Bye::PowerOff { .. } => "it was stopped by its operator",
                };
                let conn = link.conn;
                self.close(conn);
                self.lose_backup(now, reason.to_owned());
                Ok(())
            }
            other => Err(PeerError::Unexpected { kind: other.kind() }),
        }
    }

    fn hear_client(&mut self, conn: ConnId, message: Message) -> Result<(), PeerError> {
        match message {
            Message::ClientInput { bytes, .. } if bytes.len() > INPUT_BYTES_MAX => {
                Err(PeerError::Flood { what: "input in one message" })
            }
            Message::ClientInput { seq, bytes } => {
                self.clients.arrived(conn, seq, bytes);
                Ok(())
            }
            Message::ClientControl(control) => {
                self.clients.pressed(control);
                Ok(())
            }
            Message::ClientSize { columns, rows } => {
                self.clients.resized(columns, rows);
                Ok(())
            }
            Message::ClientHello { .. } => {
                self.send_status(conn);
                Ok(())
            }
            other => Err(PeerError::Unexpected { kind: other.kind() }),
        }
    }

    // ---- time ----

    /// Time passes. Due at [`Self::poll_timeout`] at the latest; earlier calls do no harm.
    pub fn handle_tick(&mut self, now: Time) {
        self.wake(now);
        let timeout = self.config.timeout;
        let silent: Vec<ConnId> =
            self.strangers.iter().filter(|&(_, &since)| now.since(since) >= timeout).map(|(&conn, _)| conn).collect();
        for conn in silent {
            self.strangers.remove(&conn);
            self.close(conn);
        }
        let Some(link) = &mut self.link else { return };
        link.adjust_throttle(now, &self.config);
        if now.since(link.heard) >= timeout {
            let reason = format!("silent for {} ms", now.since(link.heard).as_millis());
            let conn = link.conn;
            self.close(conn);
            self.lose_backup(now, reason);
        } else if now.since(link.spoke) >= self.config.heartbeat() {
            self.heartbeat(now);
        }
    }

    fn heartbeat(&mut self, now: Time) {
        let message = Message::Heartbeat {
            generation: self.generation,
            last_entry: self.last_entry,
            released: self.outputs.released(),
            clock_ns: self.clock_ns,
        };
        if let Some(link) = &mut self.link {
            link.spoke = now;
            let conn = link.conn;
            self.send(conn, message);
        }
    }

    /// When [`Self::handle_tick`] is due.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Time> {
        if self.standing == Standing::Over {
            return None;
        }
        let link = self.link.as_ref().map(|link| link.spoke + self.config.heartbeat());
        let hello = self.strangers.values().min().map(|&since| since + self.config.timeout);
        [link, hello, self.arbitration.poll_timeout()].into_iter().flatten().min()
    }

    /// Notices that this process was paused: its backup may have taken over in the meantime (a fence), and the peer's
    /// messages may still be unread, so that its silence proves nothing.
    fn wake(&mut self, now: Time) {
        let paused = now.since(self.awake) >= self.config.pause();
        self.awake = now;
        if !paused {
            return;
        }
        if let Some(link) = &mut self.link {
            link.heard = now;
            if link.protected() && self.standing == Standing::Serving {
                self.standing = Standing::Fencing;
                self.arbitration.want(now, Ask::Exists(self.generation + 1));
            }
        }
        for since in self.strangers.values_mut() {
            *since = now;
        }
    }

    // ---- generations ----

    fn lose_backup(&mut self, now: Time, reason: String) {
        let Some(link) = self.link.take() else { return };
        if self.standing == Standing::Over {
            return;
        }
        self.events.push_back(Event::BackupLost { reason });
        if link.protected() {
            self.standing = Standing::Claiming;
            self.arbitration.want(now, Ask::Claim(self.generation + 1));
        }
    }

    /// The arbiter's answer to a question from [`Self::poll_ask`].
    pub fn handle_answer(&mut self, now: Time, ask: Ask, answer: Answer) {
        self.wake(now);
        let Some(answer) = self.arbitration.handle(now, ask, answer) else {
            return;
        };
        let generation = ask.generation();
        match (ask, answer) {
            (_, Answer::Unreachable { reason }) => {
                self.events.push_back(Event::ArbiterUnreachable { generation, reason });
            }
            (_, Answer::Held { holder }) => {
                self.halt(format!("generation {generation} is held by {holder}"));
            }
            (Ask::Claim(_), Answer::Won) => {
                self.generation = generation;
                self.standing = Standing::Serving;
                self.events.push_back(Event::Alone { generation });
                self.leave();
            }
            (Ask::Exists(_), Answer::Free) if self.standing == Standing::Fencing => self.standing = Standing::Serving,
            (Ask::Exists(_), _) | (Ask::Claim(_), Answer::Free) => {}
        }
    }

    fn halt(&mut self, reason: String) {
        self.events.push_back(Event::Halted { reason });
        self.transmits.clear();
        self.end(None);
    }

    /// Never speaks again; the last word to every connection is `bye`.
    fn end(&mut self, bye: Option<Bye>) {
        self.standing = Standing::Over;
        let link = self.link.take().map(|link| link.conn);
        let conns: Vec<ConnId> =
            link.into_iter().chain(self.clients.conns()).chain(self.strangers.keys().copied()).collect();
        for conn in conns {
            if let Some(bye) = bye {
                self.send(conn, Message::Bye(bye));
            }
            self.close(conn);
        }
        self.strangers.clear();
        self.clients = Clients::default();
    }

    /// The operator stops this replica. It stands still, hands over when its backup holds the whole log, and ends at once if
    /// there is none. The log must have been handed in up to its end by [`Self::log`].
    pub fn detach(&mut self, now: Time) {
        self.wake(now);
        self.leaving = true;
        self.leave();
    }

    fn leave(&mut self) {
        let ready = match &self.link {
            Some(link) if link.protected() => link.holds_all(),
            _ => self.standing != Standing::Claiming,
        };
        if self.leaving && ready && self.standing != Standing::Over {
            self.events.push_back(Event::Detached);
            self.end(Some(Bye::Detach));
        }
    }

    // ---- from the machine ----

    /// Entries `first..=last` were recorded. Sent at once to a backup that has the state they belong to.
    /// `retired` is the machine's count after them.
    pub fn log(&mut self, now: Time, first: u64, last: u64, bytes: Vec<u8>, retired: u64) {
        assert_eq!(first, self.last_entry + 1, "entries are numbered without gaps");
        self.last_entry = last;
        let released = self.outputs.released();
        if let Some(link) = self.link.as_mut().filter(|link| link.protected()) {
            link.sent_log(now, last, bytes.len(), retired);
            link.spoke = now;
            let conn = link.conn;
            self.send(conn, Message::Log { first, last, released, clock_ns: self.clock_ns, bytes });
        }
    }

    /// The machine produced output `number`; `entry` is its log entry.
    pub fn output(&mut self, number: u64, entry: u64, output: Output) {
        self.outputs.push(number, entry, output);
    }

    /// The host's guest clock, told to the backup so that guest time goes on across a takeover.
    pub fn set_clock(&mut self, clock_ns: u64) {
        self.clock_ns = clock_ns;
    }

    /// An input from [`Self::poll_input`] is in the machine: by log entry `entry`, or `None` if it was there before.
    pub fn input_logged(&mut self, client: u64, seq: u64, entry: Option<u64>) {
        self.clients.logged(client, seq, entry);
    }

    /// May the machine execute? Not after the end, not while a buffer is full.
    #[must_use]
    pub fn may_run(&self) -> bool {
        let window = self.link.as_ref().map_or(0, Link::window_bytes);
        self.standing != Standing::Over
            && !self.leaving
            && window < self.config.log_bytes_max
            && self.outputs.pending() < self.config.outputs_max
    }

    /// How much to slow the machine down for a backup that lags.
    #[must_use]
    pub fn throttle(&self) -> Throttle {
        self.link.as_ref().map_or(Throttle::default(), |link| link.throttle)
    }

    /// How long ago the machine passed the place that the backup replays now.
    #[must_use]
    pub fn lag(&self, now: Time) -> Duration {
        self.link.as_ref().map_or(Duration::ZERO, |link| link.lag(now))
    }

    // ---- state transfer ----

    /// The connection of the backup that waits for the machine or is receiving it.
    #[must_use]
    pub fn joining(&self) -> Option<ConnId> {
        let link = self.link.as_ref()?;
        (!link.protected() && self.standing == Standing::Serving).then_some(link.conn)
    }

    /// How many page chunks may be sent now: none before the backup has made a machine.
    #[must_use]
    pub fn transfer_room(&self) -> u64 {
        match self.link.as_ref().map(|link| link.phase) {
            Some(Phase::Transfer { sent, acked: Some(acked) }) => self.config.chunks_max.saturating_sub(sent - acked),
            _ => 0,
        }
    }

    /// Sends the machine's configuration to [`Self::joining`].
    pub fn begin_state(&mut self, config: Vec<u8>) {
        if let Some(conn) = self.joining() {
            self.send(conn, Message::StateBegin { config });
        }
    }

    /// Sends a chunk of pages to [`Self::joining`].
    pub fn send_pages(&mut self, bytes: Vec<u8>) {
        if let Some(Link { conn, phase: Phase::Transfer { sent, .. }, .. }) = &mut self.link {
            *sent += 1;
            let (conn, chunk) = (*conn, *sent);
            self.send(conn, Message::Pages { chunk, bytes });
        }
    }

    /// Sends the rest of the machine, cut after the last entry of [`Self::log`]. The Output Rule holds for this backup
    /// from before the message leaves: that order is what keeps the history single.
    pub fn end_state(&mut self, state: Vec<u8>, pause: Duration) {
        if self.joining().is_none() {
            return;
        }
        let Some(link) = &mut self.link else { return };
        link.protect(self.last_entry, pause);
        let conn = link.conn;
        let end = StateEnd {
            generation: self.generation,
            state,
            last_entry: self.last_entry,
            released: self.outputs.released(),
            unreleased: self.outputs.unreleased().collect(),
            clock_ns: self.clock_ns,
        };
        self.send(conn, Message::StateEnd(Box::new(end)));
    }

    // ---- results ----

    /// The last entry whose consequences may become visible outside; `None`: nothing may.
    fn visible(&self) -> Option<u64> {
        match (self.standing, &self.link) {
            (Standing::Serving, Some(link)) if link.protected() => Some(link.acked()),
            (Standing::Serving, _) => Some(u64::MAX),
            _ => None,
        }
    }

    /// The next output that may leave: (number, output). It must reach the sink before any later one.
    pub fn poll_release(&mut self) -> Option<(u64, Output)> {
        let entry_max = if self.config.output_rule { self.visible()? } else { self.visible().map(|_| u64::MAX)? };
        self.outputs.poll(entry_max)
    }

    /// The sink has written every output up to `number`.
    pub fn handle_released(&mut self, now: Time, number: u64) {
        self.wake(now);
        self.outputs.confirm(number);
        if self.standing == Standing::Over {
            return;
        }
        if let Some(power) = self.outputs.ended() {
            self.events.push_back(Event::PoweredOff { power: Some(power) });
            self.end(Some(Bye::PowerOff { outputs: self.outputs.released() }));
        }
    }

    /// The next thing to do on a connection.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        while let Some((client, seq)) = self.visible().and_then(|entry_max| self.clients.poll_ack(entry_max)) {
            let conns: Vec<ConnId> = self.clients.of(client).collect();
            for conn in conns {
                self.send(conn, Message::ClientAck { seq });
            }
        }
        self.transmits.pop_front()
    }

    /// The next question to the arbiter; its answer goes to [`Self::handle_answer`].
    pub fn poll_ask(&mut self, now: Time) -> Option<Ask> {
        if self.standing == Standing::Over { None } else { self.arbitration.poll(now) }
    }

    /// Is there one for [`Self::poll_input`]?
    #[must_use]
    pub fn has_input(&self) -> bool {
        self.clients.has_arrived()
    }

    /// Is there one for [`Self::poll_control`] or [`Self::poll_size`]?
    #[must_use]
    pub fn has_wish(&self) -> bool {
        self.clients.has_wish()
    }

    /// The next input of a client, for the machine; then [`Self::input_logged`].
    pub fn poll_input(&mut self) -> Option<ClientInput> {
        self.clients.poll()
    }

    /// The next button that a client has pressed, for the machine.
    pub fn poll_control(&mut self) -> Option<Control> {
        self.clients.poll_control()
    }

    /// Columns and rows that the terminal of a client has now, for the machine.
    pub fn poll_size(&mut self) -> Option<(u16, u16)> {
        self.clients.poll_size()
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// The run that it belongs to.
    #[must_use]
    pub fn instance(&self) -> u64 {
        self.config.instance
    }

    /// The generation that this replica serves.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Has this replica spoken its last word?
    #[must_use]
    pub fn over(&self) -> bool {
        self.standing == Standing::Over
    }

    /// Is there a backup that could take over?
    #[must_use]
    pub fn protected(&self) -> bool {
        self.link.as_ref().is_some_and(Link::protected)
    }

    fn send_status(&mut self, conn: ConnId) {
        let status = ClientStatus {
            generation: self.generation,
            replica: self.config.replica,
            protected: self.protected(),
            released: self.outputs.released(),
        };
        self.send(conn, Message::ClientStatus(status));
    }

    fn send(&mut self, conn: ConnId, message: Message) {
        self.transmits.push_back(Transmit::Message(conn, message));
    }

    fn close(&mut self, conn: ConnId) {
        self.transmits.push_back(Transmit::Close(conn));
    }
}
