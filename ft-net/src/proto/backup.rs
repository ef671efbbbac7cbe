//! The replica that follows: it receives the machine, then the log, and takes over when its primary falls silent and
//! the arbiter agrees.
//!
//! Once it has begun to claim it never goes back to following: the connection is closed, so that the old primary finds
//! out, and exactly one of the two wins.

use std::collections::VecDeque;
use std::time::Duration;

use emu::Output;

use super::arbitration::{Answer, Arbitration, Ask};
use super::output::Outputs;
use super::primary::Primary;
use super::{Config, ConnId, PeerError, Transmit};
use crate::event::Event;
use crate::message::{Ack, Bye, Hello, Message, Role, StateEnd};
use crate::time::Time;

/// What the replaying machine is to take in, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Feed {
    /// A machine of this configuration, RAM all zero. Whatever was received before is void.
    Begin {
        /// The encoded `MachineConfig`.
        config: Vec<u8>,
    },
    /// Pages of its RAM.
    Pages {
        /// Encoded pages.
        bytes: Vec<u8>,
    },
    /// The rest of its state: it may be run from here.
    End {
        /// The encoded `MachineState`.
        state: Vec<u8>,
        /// The last entry whose effect is in the state.
        last_entry: u64,
    },
    /// Log entries.
    Log {
        /// The first entry in `bytes`.
        first: u64,
        /// The last.
        last: u64,
        /// The encoded entries.
        bytes: Vec<u8>,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// No connection.
    Seeking,
    /// Hello sent.
    Greeting,
    /// Hello answered; receives the machine, `chunks` page chunks so far.
    Receiving { chunks: u64 },
    /// Has the machine, receives the log.
    Following,
    /// Takes the primary for dead; the arbiter decides.
    Claiming,
    /// Has won the next generation; replays what it holds.
    Won,
    /// The guest is off; replays what it holds, then ends.
    Leaving,
    /// Never speaks again.
    Over,
}

/// A backup, from its first connection to its takeover or end.
#[derive(Debug)]
pub struct Backup {
    config: Config,
    phase: Phase,
    conn: Option<ConnId>,
    /// The primary and the generation it serves, from its Hello.
    primary: u64,
    generation: u64,
    heard: Time,
    spoke: Time,
    awake: Time,
    at: Ack,
    /// Produced by replay, and what of it is known to be out.
    outputs: Outputs,
    released: u64,
    /// The primary's guest clock when it was last heard.
    clock_ns: u64,
    suspected: Time,
    arbitration: Arbitration,
    feeds: VecDeque<Feed>,
    feed_bytes: usize,
    /// What the machine has taken in of this transfer: its beginning, then chunks of pages.
    taken: u64,
    mirror: VecDeque<Output>,
    transmits: VecDeque<Transmit>,
    events: VecDeque<Event>,
}

impl Backup {
    /// A backup that knows nothing yet.
    #[must_use]
    pub fn new(config: Config, now: Time) -> Self {
        Self {
            arbitration: Arbitration::new(config.retry),
            config,
            phase: Phase::Seeking,
            conn: None,
            primary: 0,
            generation: 0,
            heard: now,
            spoke: now,
            awake: now,
            at: Ack::default(),
            outputs: Outputs::default(),
            released: 0,
            clock_ns: 0,
            suspected: Time::ZERO,
            feeds: VecDeque::new(),
            feed_bytes: 0,
            taken: 0,
            mirror: VecDeque::new(),
            transmits: VecDeque::new(),
            events: VecDeque::new(),
        }
    }

    /// Does it look for a primary? Then connect, and say so by [`Self::handle_connect`].
    #[must_use]
    pub fn seeking(&self) -> bool {
        self.phase == Phase::Seeking
    }

    /// The run whose machine it looks for, as the shared directory tells. Without effect once it has found one.
    pub fn set_instance(&mut self, instance: u64) {
        if self.seeking() {
            self.config.instance = instance;
        }
    }

    /// The run that it belongs to.
    #[must_use]
    pub fn instance(&self) -> u64 {
        self.config.instance
    }

    // ---- from the network ----

    /// A connection to somebody who may be the primary exists.
    pub fn handle_connect(&mut self, now: Time, conn: ConnId) {
        self.wake(now);
        if self.phase != Phase::Seeking {
            self.transmits.push_back(Transmit::Close(conn));
            return;
        }
        self.phase = Phase::Greeting;
        self.conn = Some(conn);
        self.heard = now;
        let hello =
            Hello { instance: self.config.instance, replica: self.config.replica, generation: 0, role: Role::Backup };
        self.send(now, Message::Hello(hello));
    }

    /// The connection ended, for `reason`.
    pub fn handle_disconnect(&mut self, now: Time, conn: ConnId, reason: &str) {
        self.wake(now);
        if self.conn == Some(conn) {
            self.conn = None;
            self.lose_primary(now, reason.to_owned());
        }
    }

    /// A message arrived. One that breaks the protocol closes the connection and is reported as an event.
    pub fn handle_message(&mut self, now: Time, conn: ConnId, message: Message) {
        self.wake(now);
        if self.conn != Some(conn) || self.phase == Phase::Over {
            return;
        }
        self.heard = now;
        let result = match self.phase {
            Phase::Greeting => self.while_greeting(now, message),
            Phase::Receiving { chunks } => self.while_receiving(now, chunks, message),
            Phase::Following => self.while_following(now, message),
            _ => Ok(()),
        };
        if let Err(error) = result {
            self.events.push_back(Event::BadPeer { reason: error.to_string() });
            self.drop_connection();
            self.lose_primary(now, error.to_string());
        }
    }

    fn while_greeting(&mut self, now: Time, message: Message) -> Result<(), PeerError> {
        match message {
            Message::Hello(hello) if hello.instance != self.config.instance => {
                Err(PeerError::Instance { ours: self.config.instance, theirs: hello.instance })
            }
            Message::Hello(hello) if hello.role != Role::Primary => Err(PeerError::Role { role: hello.role }),
            Message::Hello(hello) => {
                self.primary = hello.replica;
                self.generation = hello.generation;
                self.phase = Phase::Receiving { chunks: 0 };
                self.taken = 0;
                Ok(())
            }
            Message::Refuse { reason } => {
                self.drop_connection();
                self.lose_primary(now, reason);
                Ok(())
            }
            other => Err(PeerError::Unexpected { kind: other.kind() }),
        }
    }

    fn while_receiving(&mut self, now: Time, chunks: u64, message: Message) -> Result<(), PeerError> {
        match message {
            Message::StateBegin { config } if chunks == 0 => self.feed(Feed::Begin { config })?,
            Message::Pages { chunk, bytes } if chunk == chunks + 1 => {
                self.feed(Feed::Pages { bytes })?;
                self.phase = Phase::Receiving { chunks: chunk };
            }
            Message::Pages { chunk, .. } => {
                return Err(PeerError::Sequence { what: "page chunk", due: chunks + 1, came: chunk });
            }
            Message::StateEnd(end) => self.have_state(now, *end)?,
            Message::Heartbeat { .. } => {}
            Message::Bye(_) => {
                self.drop_connection();
                self.lose_primary(now, "it is ending".to_owned());
            }
            other => return Err(PeerError::Unexpected { kind: other.kind() }),
        }
        Ok(())
    }

    fn have_state(&mut self, now: Time, end: StateEnd) -> Result<(), PeerError> {
        self.check_generation(end.generation)?;
        self.at = Ack { received: end.last_entry, replayed: end.last_entry, retired: 0 };
        self.outputs = Outputs::new(end.released);
        for (output, number) in end.unreleased.into_iter().zip(end.released + 1..) {
            self.outputs.push(number, 0, output);
        }
        self.released = end.released;
        self.clock_ns = end.clock_ns;
        self.feed(Feed::End { state: end.state, last_entry: end.last_entry })?;
        self.phase = Phase::Following;
        self.acknowledge(now);
        self.events.push_back(Event::Following {
            generation: self.generation,
            primary: self.primary,
            last_entry: end.last_entry,
        });
        Ok(())
    }

    fn while_following(&mut self, now: Time, message: Message) -> Result<(), PeerError> {
        match message {
            Message::Log { first, last, released, clock_ns, bytes } => {
                let due = self.at.received + 1;
                if first != due || last < first {
                    return Err(PeerError::Sequence { what: "log entry", due, came: first });
                }
                self.feed(Feed::Log { first, last, bytes })?;
                self.at.received = last;
                self.clock_ns = clock_ns;
                self.known_released(released);
                self.acknowledge(now);
            }
            Message::Heartbeat { generation, last_entry, released, clock_ns } => {
                self.check_generation(generation)?;
                if last_entry != self.at.received {
                    return Err(PeerError::Sequence { what: "log entry", due: self.at.received, came: last_entry });
                }
                self.clock_ns = clock_ns;
                self.known_released(released);
            }
            Message::Bye(Bye::PowerOff { outputs }) => {
                self.known_released(outputs);
                self.drop_connection();
                self.phase = Phase::Leaving;
                self.leave_when_drained();
            }
            Message::Bye(_) => {
                self.drop_connection();
                self.lose_primary(now, "it was stopped by its operator".to_owned());
            }
            other => return Err(PeerError::Unexpected { kind: other.kind() }),
        }
        Ok(())
    }

    fn check_generation(&self, theirs: u64) -> Result<(), PeerError> {
        let ours = self.generation;
        if ours == theirs { Ok(()) } else { Err(PeerError::Generation { ours, theirs }) }
    }

    /// Holds `feed` for the machine. The primary keeps to the window, so that twice the bound means a broken peer; the
    /// first chunks and the state are bounded by the frame size and the chunk window.
    fn feed(&mut self, feed: Feed) -> Result<(), PeerError> {
        if let Feed::Log { bytes, .. } = &feed {
            self.feed_bytes += bytes.len();
            if self.feed_bytes > 2 * self.config.log_bytes_max + (1 << 20) {
                return Err(PeerError::Flood { what: "log" });
            }
        }
        self.feeds.push_back(feed);
        Ok(())
    }

    // ---- time ----

    /// Time passes. Due at [`Self::poll_timeout`] at the latest; earlier calls do no harm.
    pub fn handle_tick(&mut self, now: Time) {
        self.wake(now);
        if self.conn.is_none() {
            return;
        }
        if now.since(self.heard) >= self.config.timeout {
            let reason = format!("silent for {} ms", now.since(self.heard).as_millis());
            self.drop_connection();
            self.lose_primary(now, reason);
        } else if now.since(self.spoke) >= self.config.heartbeat() && self.phase != Phase::Greeting {
            self.acknowledge(now);
        }
    }

    /// When [`Self::handle_tick`] is due.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Time> {
        let link = self.conn.map(|_| (self.heard + self.config.timeout).min(self.spoke + self.config.heartbeat()));
        let claim = if self.phase == Phase::Over { None } else { self.arbitration.poll_timeout() };
        [link, claim].into_iter().flatten().min()
    }

    /// After a pause of this process the primary's messages may still be unread: its silence proves nothing.
    fn wake(&mut self, now: Time) {
        if now.since(self.awake) >= self.config.pause() {
            self.heard = now;
        }
        self.awake = now;
    }

    // ---- takeover ----

    fn lose_primary(&mut self, now: Time, reason: String) {
        match self.phase {
            Phase::Greeting | Phase::Receiving { .. } => {
                self.phase = Phase::Seeking;
                self.feeds.clear();
                self.events.push_back(Event::Waiting { reason });
            }
            Phase::Following => {
                self.phase = Phase::Claiming;
                self.suspected = now;
                self.arbitration.want(now, Ask::Claim(self.generation + 1));
                let behind = self.at.received - self.at.replayed;
                self.events.push_back(Event::Suspected { reason, held: self.at.received, behind });
            }
            Phase::Seeking | Phase::Claiming | Phase::Won | Phase::Leaving | Phase::Over => {}
        }
    }

    /// The arbiter's answer to a question from [`Self::poll_ask`].
    pub fn handle_answer(&mut self, now: Time, ask: Ask, answer: Answer) {
        self.wake(now);
        let Some(answer) = self.arbitration.handle(now, ask, answer) else {
            return;
        };
        let generation = ask.generation();
        match answer {
            Answer::Unreachable { reason } => self.events.push_back(Event::ArbiterUnreachable { generation, reason }),
            Answer::Held { holder } => {
                self.end(Event::Halted { reason: format!("generation {generation} is held by {holder}") });
            }
            Answer::Won if self.phase == Phase::Claiming => self.phase = Phase::Won,
            Answer::Won | Answer::Free => {}
        }
    }

    /// Has it won the next generation? Then replay every entry held and call [`Self::take_over`].
    #[must_use]
    pub fn won(&self) -> bool {
        self.phase == Phase::Won
    }

    /// The machine has replayed everything that [`Self::poll_feed`] gave: from here on this replica serves. Outputs not known
    /// to be out are released again. `None` unless [`Self::won`], and while there is more to feed.
    pub fn take_over(&mut self, now: Time) -> Option<Primary> {
        if !self.won() || !self.feeds.is_empty() {
            return None;
        }
        self.phase = Phase::Over;
        let outputs = std::mem::take(&mut self.outputs);
        Some(Primary::new(self.config.clone(), now, self.generation + 1, self.at.received, outputs))
    }

    /// How many outputs a takeover would release again, and the last one known to be out.
    #[must_use]
    pub fn unreleased(&self) -> (u64, u64) {
        (self.outputs.pending() as u64, self.outputs.released())
    }

    /// When the primary was taken for dead.
    #[must_use]
    pub fn suspected(&self) -> Time {
        self.suspected
    }

    /// What the primary's guest clock shows `now`, judged by its last message, in ns.
    #[must_use]
    pub fn clock_ns(&self, now: Time) -> u64 {
        self.clock_ns.saturating_add(now.ns().saturating_sub(self.heard.ns()))
    }

    // ---- from the machine ----

    /// Replay produced output `number`.
    pub fn output(&mut self, number: u64, output: Output) {
        self.outputs.push(number, 0, output);
        self.known_released(self.released);
    }

    fn known_released(&mut self, number: u64) {
        self.released = self.released.max(number);
        self.mirror.extend(self.outputs.confirm(self.released));
    }

    /// Every entry up to `entry` has been replayed, `retired` instructions so far.
    pub fn handle_replayed(&mut self, now: Time, entry: u64, retired: u64) {
        let caught_up = entry != self.at.replayed && entry == self.at.received;
        self.at.replayed = entry;
        self.at.retired = retired;
        let due = now.since(self.spoke) >= self.config.heartbeat() / 10;
        if self.phase == Phase::Following && (caught_up || due) {
            self.acknowledge(now);
        }
        self.leave_when_drained();
    }

    /// The machine has been made, or has taken in the next chunk of pages.
    pub fn handle_taken(&mut self, now: Time) {
        if let Phase::Receiving { .. } = self.phase {
            self.send(now, Message::PagesAck { chunk: self.taken });
            self.taken += 1;
        }
    }

    /// The machine does not follow the log, or, if it was not yet `following`, cannot be had here: this replica must never serve.
    pub fn handle_failed(&mut self, now: Time, following: bool, reason: String) {
        self.send(now, Message::Bye(if following { Bye::Diverged } else { Bye::Unable }));
        self.end(if following { Event::Halted { reason } } else { Event::Unable { reason } });
    }

    /// The operator stops this replica; the primary goes on alone.
    pub fn detach(&mut self, now: Time) {
        if self.phase != Phase::Over {
            self.send(now, Message::Bye(Bye::Detach));
            self.drop_connection();
            self.phase = Phase::Over;
            self.events.push_back(Event::Detached);
        }
    }

    fn leave_when_drained(&mut self) {
        if self.phase == Phase::Leaving && self.at.replayed == self.at.received {
            self.phase = Phase::Over;
            self.events.push_back(Event::PoweredOff { power: self.outputs.ended() });
        }
    }

    fn end(&mut self, event: Event) {
        self.drop_connection();
        self.phase = Phase::Over;
        self.events.push_back(event);
    }

    // ---- results ----

    /// What the machine is to take in next, if it can.
    #[must_use]
    pub fn peek_feed(&self) -> Option<&Feed> {
        self.feeds.front()
    }

    /// What the machine is to take in next.
    pub fn poll_feed(&mut self) -> Option<Feed> {
        let feed = self.feeds.pop_front()?;
        if let Feed::Log { bytes, .. } = &feed {
            self.feed_bytes -= bytes.len();
        }
        Some(feed)
    }

    /// The next output that is known to be out, for the backup's own terminal.
    pub fn poll_mirror(&mut self) -> Option<Output> {
        self.mirror.pop_front()
    }

    /// The next thing to do on a connection.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.transmits.pop_front()
    }

    /// The next question to the arbiter; its answer goes to [`Self::handle_answer`].
    pub fn poll_ask(&mut self, now: Time) -> Option<Ask> {
        if self.phase == Phase::Over { None } else { self.arbitration.poll(now) }
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Has this replica spoken its last word as a backup?
    #[must_use]
    pub fn over(&self) -> bool {
        self.phase == Phase::Over
    }

    /// Received, replayed, retired.
    #[must_use]
    pub fn progress(&self) -> Ack {
        self.at
    }

    /// The silence after which it suspects its primary.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        self.config.timeout
    }

    fn acknowledge(&mut self, now: Time) {
        self.send(now, Message::Ack(self.at));
    }

    fn send(&mut self, now: Time, message: Message) {
        if let Some(conn) = self.conn {
            self.spoke = now;
            self.transmits.push_back(Transmit::Message(conn, message));
        }
    }

    fn drop_connection(&mut self) {
        if let Some(conn) = self.conn.take() {
            self.transmits.push_back(Transmit::Close(conn));
        }
    }
}
