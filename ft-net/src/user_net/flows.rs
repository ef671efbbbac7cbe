//! The TCP connections of the guest, with their streams on the host.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::time::Duration;

use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use smoltcp::time::Instant;
use socket2::SockRef;

use super::link::Link;
use super::segment::Pair;
use super::tcp::{Connection, Fate, Stream, refuse};

/// More connections at a time are refused.
const FLOWS_MAX: usize = 4096;

/// Timers are no finer than this.
const TICK_MIN: smoltcp::time::Duration = smoltcp::time::Duration::from_millis(1);

/// What is needed to do something at some time.
pub(super) struct At<'a> {
    pub(super) now: Instant,
    pub(super) link: &'a mut Link,
    pub(super) registry: &'a Registry,
}

/// The TCP connections of the guest.
#[derive(Default)]
pub(super) struct Flows {
    flows: BTreeMap<Token, Flow>,
    tokens: BTreeMap<Pair, Token>,
    /// When flows are to be looked at.
    due: BTreeSet<(Instant, Token)>,
    /// Flows that wait for room on the link.
    blocked: VecDeque<Token>,
}

struct Flow {
    pair: Pair,
    stream: TcpStream,
    phase: Phase,
    due: Option<Instant>,
    blocked: bool,
}

enum Phase {
    /// The host is still connecting; the guest's request.
    Connecting(Vec<u8>),
    Open(Box<Connection>),
}

impl Flows {
    /// Is there a connection of this name?
    pub(super) fn has(&self, pair: Pair) -> bool {
        self.tokens.contains_key(&pair)
    }

    /// The guest has sent `packet` on `pair`. `false`: there is no such connection.
    pub(super) fn hear(&mut self, at: &mut At<'_>, pair: Pair, packet: &[u8]) -> bool {
        let Some(&token) = self.tokens.get(&pair) else { return false };
        self.advance(at, token, Some(packet));
        true
    }

    /// The guest asks for `pair` by `packet`; that leads to `to`. It is answered when the host has an answer.
    pub(super) fn open(&mut self, at: &mut At<'_>, token: Token, pair: Pair, to: SocketAddr, packet: &[u8]) {
        let stream = if self.flows.len() < FLOWS_MAX { TcpStream::connect(to).ok() } else { None };
        let added = stream.is_some_and(|stream| self.add(at, token, pair, stream, Phase::Connecting(packet.to_vec())));
        if !added {
            refuse(at.now, packet, at.link);
        }
    }

    /// Somebody has connected by a forwarded port: the guest is asked.
    pub(super) fn forward(&mut self, at: &mut At<'_>, token: Token, pair: Pair, stream: TcpStream) {
        let _ = stream.set_nodelay(true); // It would only be slower.
        if self.flows.len() < FLOWS_MAX
            && let Some(connection) = Connection::connect(pair, at.now, seed(), at.link)
            && self.add(at, token, pair, stream, Phase::Open(Box::new(connection)))
        {
            self.advance(at, token, None);
        }
    }

    fn add(&mut self, at: &At<'_>, token: Token, pair: Pair, mut stream: TcpStream, phase: Phase) -> bool {
        let interest = Interest::READABLE | Interest::WRITABLE;
        let added = at.registry.register(&mut stream, token, interest).is_ok();
        if added {
            self.flows.insert(token, Flow { pair, stream, phase, due: None, blocked: false });
            self.tokens.insert(pair, token);
        }
        added
    }

    /// The stream of `token` is ready. `false`: it is none of ours.
    pub(super) fn ready(&mut self, at: &mut At<'_>, token: Token, readable: bool, writable: bool) -> bool {
        let Some(flow) = self.flows.get_mut(&token) else { return false };
        match &mut flow.phase {
            Phase::Open(connection) => {
                connection.ready(readable, writable);
                self.advance(at, token, None);
            }
            Phase::Connecting(packet) => {
                let packet = std::mem::take(packet);
                self.connected(at, token, packet);
            }
        }
        true
    }

    /// The host has connected, or has not.
    fn connected(&mut self, at: &mut At<'_>, token: Token, packet: Vec<u8>) {
        let Some(flow) = self.flows.get_mut(&token) else { return };
        let error = flow.stream.take_error().unwrap_or_else(Some);
        if error.is_none() && flow.stream.peer_addr().is_err() {
            flow.phase = Phase::Connecting(packet); // Not yet.
            return;
        }
        let _ = flow.stream.set_nodelay(true); // As above.
        let connection = if error.is_none() { Connection::accept(flow.pair, at.now, seed(), at.link) } else { None };
        match connection {
            Some(connection) => {
                flow.phase = Phase::Open(Box::new(connection));
                self.advance(at, token, Some(&packet));
            }
            None => {
                refuse(at.now, &packet, at.link);
                self.remove(at, token);
            }
        }
    }

    /// What is due at the time of `at`.
    pub(super) fn tick(&mut self, at: &mut At<'_>) {
        while let Some(&(due, token)) = self.due.first()
            && due <= at.now
        {
            self.due.remove(&(due, token));
            self.advance(at, token, None);
        }
    }

    /// There may be room on the link again.
    pub(super) fn unblock(&mut self, at: &mut At<'_>) {
        while at.link.has_room()
            && let Some(token) = self.blocked.pop_front()
        {
            if let Some(flow) = self.flows.get_mut(&token) {
                flow.blocked = false;
                self.advance(at, token, None);
            }
        }
    }

    /// When [`Self::tick`] is to be called.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.due.first().map(|&(due, _)| due)
    }

    fn advance(&mut self, at: &mut At<'_>, token: Token, arrived: Option<&[u8]>) {
        let Some(flow) = self.flows.get_mut(&token) else { return };
        let fate = match &mut flow.phase {
            Phase::Open(connection) => connection.advance(at.now, arrived, &mut flow.stream, at.link),
            // The guest asks again, or thinks better of it; either way the host's answer will find what it finds.
            Phase::Connecting(_) => return,
        };
        let due = match fate {
            Fate::Lives(due) => due,
            Fate::Blocked => {
                if !std::mem::replace(&mut flow.blocked, true) {
                    self.blocked.push_back(token);
                }
                None
            }
            Fate::Over => return self.remove(at, token),
        };
        // Never at once: whatever could be done at this time is done.
        let due = due.map(|due| due.max(at.now + TICK_MIN));
        if let Some(before) = std::mem::replace(&mut flow.due, due) {
            self.due.remove(&(before, token));
        }
        if let Some(due) = due {
            self.due.insert((due, token));
        }
    }

    fn remove(&mut self, at: &At<'_>, token: Token) {
        let Some(mut flow) = self.flows.remove(&token) else { return };
        let _ = at.registry.deregister(&mut flow.stream); // It is closed in any case.
        self.tokens.remove(&flow.pair);
        if let Some(due) = flow.due {
            self.due.remove(&(due, token));
        }
    }
}

impl Stream for TcpStream {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        Read::read(self, to)
    }

    fn write(&mut self, from: &[u8]) -> io::Result<usize> {
        match Write::write(self, from) {
            Ok(0) if !from.is_empty() => Err(ErrorKind::WriteZero.into()),
            result => result,
        }
    }

    fn finish(&mut self) {
        let _ = self.shutdown(Shutdown::Write); // It may be gone already.
    }

    fn reset(&mut self) {
        let _ = SockRef::from(&*self).set_linger(Some(Duration::ZERO)); // As above.
    }
}

/// A number that nobody can guess, for the sequence numbers of a connection.
fn seed() -> u64 {
    crate::runtime::random_id()
}
