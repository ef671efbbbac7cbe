//! The thread of the network: it waits for the guest's frames, for sockets of the host and for timers, all at once.

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, SocketAddrV4};
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use mio::{Events, Poll, Registry, Token};
use smoltcp::time::Instant as NetInstant;

use super::datagrams::{Datagrams, Handed};
use super::doors::{Door, Visitor};
use super::flows::{At, Flows};
use super::link::Link;
use super::options::NetOptions;
use super::plan::{inside, outside};
use super::segment::{Heard, Pair, hear};
use super::wire::Wire;
use super::{Deliver, WAKER};

/// Frames and visitors that are taken in before others have their turn.
const TURN: usize = 256;
/// A port that is taken, or a host without descriptors, is tried again this often.
const RETRY_EVERY: Duration = Duration::from_millis(250);
/// The first port that a visitor is given if its own is in use towards the guest.
const SPARE_PORT: u16 = 49_152;

/// Everything that the thread owns.
pub(super) struct Relay {
    options: NetOptions,
    poll: Poll,
    registry: Registry,
    zero: Instant,
    link: Link,
    flows: Flows,
    datagrams: Datagrams,
    doors: Vec<Door>,
    /// When doors are tried again.
    retry: Option<Instant>,
    next_token: usize,
    wire: Arc<Wire>,
    deliver: Deliver,
    /// What datagrams of the host are received into.
    buffer: Vec<u8>,
}

/// [`At`] of this moment.
macro_rules! at {
    ($relay:expr) => {
        &mut At { now: $relay.now(), link: &mut $relay.link, registry: &$relay.registry }
    };
}

impl Relay {
    pub(super) fn new(poll: Poll, options: NetOptions, wire: Arc<Wire>, deliver: Deliver) -> io::Result<Self> {
        let first = WAKER.0 + 1;
        let doors: Vec<Door> =
            options.forwards.iter().enumerate().map(|(i, &forward)| Door::new(Token(first + i), forward)).collect();
        Ok(Self {
            registry: poll.registry().try_clone()?,
            poll,
            zero: Instant::now(),
            link: Link::new(options.mac),
            flows: Flows::default(),
            datagrams: Datagrams::default(),
            next_token: first + doors.len(),
            doors,
            retry: None,
            wire,
            deliver,
            buffer: vec![0; 1 << 16],
            options,
        })
    }

    /// Begins to listen wherever it does not yet. The first port that cannot be had, and why.
    pub(super) fn open_doors(&mut self) -> Result<(), (SocketAddr, io::Error)> {
        let mut result = Ok(());
        for door in &mut self.doors {
            if let Err(error) = door.open(&self.registry) {
                result = result.and(Err((door.forward.host, error)));
            }
        }
        self.retry = self.doors.iter().any(|door| !door.is_open()).then(|| Instant::now() + RETRY_EVERY);
        result
    }

    /// The doors, with the ports that they have got.
    pub(super) fn doors(&self) -> &[Door] {
        &self.doors
    }

    /// Runs until the wire is cut.
    pub(super) fn run(mut self, from_guest: &Receiver<Vec<u8>>) {
        let mut events = Events::with_capacity(TURN);
        let mut more = false;
        while !self.wire.is_cut() {
            let wait = if more { Some(Duration::ZERO) } else { self.next_due() };
            match self.poll.poll(&mut events, wait) {
                Err(error) if error.kind() != ErrorKind::Interrupted => return, // Nothing can be waited for.
                _ => {}
            }
            for event in &events {
                let readable = event.is_readable() || event.is_read_closed() || event.is_error();
                let writable = event.is_writable() || event.is_write_closed() || event.is_error();
                self.ready(event.token(), readable, writable);
            }
            self.wire.listening();
            more = self.hear_guest(from_guest);
            self.tick();
            self.send();
        }
    }

    fn now(&self) -> NetInstant {
        NetInstant::from_micros(i64::try_from(self.zero.elapsed().as_micros()).unwrap_or(i64::MAX))
    }

    /// How long to wait if nothing happens.
    fn next_due(&self) -> Option<Duration> {
        let now = self.now();
        let due = [self.flows.next_due(), self.datagrams.next_due()].into_iter().flatten().min();
        let due =
            due.map(|due| Duration::from_micros(due.total_micros().saturating_sub(now.total_micros()).max(0) as u64));
        let retry = self.retry.map(|at| at.saturating_duration_since(Instant::now()));
        [due, retry].into_iter().flatten().min()
    }

    fn tick(&mut self) {
        self.flows.tick(at!(self));
        self.datagrams.tick(at!(self));
        if self.retry.is_some_and(|at| at <= Instant::now()) {
            let _ = self.open_doors(); // Again later.
            for index in 0..self.doors.len() {
                self.visit(index);
            }
        }
    }

    /// Takes in what the guest has sent. `true`: there is more.
    fn hear_guest(&mut self, from_guest: &Receiver<Vec<u8>>) -> bool {
        for _ in 0..TURN {
            let Ok(frame) = from_guest.try_recv() else { return false };
            match hear(&mut self.link, &frame) {
                Some(Heard::Tcp { pair, opens, packet }) => self.hear_tcp(pair, opens, packet),
                Some(Heard::Udp { pair, payload }) => self.hear_udp(pair, payload),
                None => {}
            }
        }
        true
    }

    fn hear_tcp(&mut self, pair: Pair, opens: bool, packet: &[u8]) {
        if self.flows.hear(at!(self), pair, packet) {
            return;
        }
        match self.outside(pair.far).filter(|_| opens) {
            Some(to) => {
                let token = self.token();
                self.flows.open(at!(self), token, pair, to, packet);
            }
            None => super::tcp::refuse(self.now(), packet, &mut self.link),
        }
    }

    fn hear_udp(&mut self, pair: Pair, payload: &[u8]) {
        match self.datagrams.hear(self.now(), pair, payload) {
            Handed::Done => {}
            Handed::Forwarded(token, client) => {
                if let Some(door) = self.doors.iter().find(|door| door.token == token) {
                    door.answer(client, payload);
                }
            }
            Handed::Unknown => {
                if let Some(to) = self.outside(pair.far) {
                    let token = self.token();
                    self.datagrams.open(at!(self), token, pair, to, payload);
                }
            }
        }
    }

    /// Where that is on the host's network, if the guest may go there.
    fn outside(&self, to: SocketAddrV4) -> Option<SocketAddr> {
        if self.options.restrict { None } else { outside(to, self.options.nameserver) }
    }

    fn token(&mut self) -> Token {
        self.next_token += 1;
        Token(self.next_token)
    }

    fn ready(&mut self, token: Token, readable: bool, writable: bool) {
        if token == WAKER || self.flows.ready(at!(self), token, readable, writable) {
            return;
        }
        if !self.datagrams.ready(at!(self), token)
            && let Some(index) = self.doors.iter().position(|door| door.token == token)
        {
            self.visit(index);
        }
    }

    /// Lets in who waits at a door.
    fn visit(&mut self, index: usize) {
        loop {
            let door = &self.doors[index];
            let (guest, door_token) = (door.guest(), door.token);
            match door.visitor(&mut self.buffer) {
                Ok(Visitor::Stream(stream, from)) => {
                    if let Some(pair) = self.unused(guest, inside(from)) {
                        let token = self.token();
                        self.flows.forward(at!(self), token, pair, stream);
                    }
                }
                Ok(Visitor::Datagram(length, from)) => {
                    let pair = Pair { guest, far: inside(from) };
                    let payload = &self.buffer[..length];
                    self.datagrams.forward(at!(self), door_token, pair, from, payload);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted) => {}
                Err(_) => {
                    self.retry = Some(Instant::now() + RETRY_EVERY); // Out of descriptors, most likely.
                    return;
                }
            }
        }
    }

    /// `far` to `guest`, under another port if there is such a connection.
    fn unused(&self, guest: SocketAddrV4, far: SocketAddrV4) -> Option<Pair> {
        let ports = std::iter::once(far.port()).chain(SPARE_PORT..=u16::MAX);
        let mut pairs = ports.map(|port| Pair { guest, far: SocketAddrV4::new(*far.ip(), port) });
        pairs.find(|&pair| !self.flows.has(pair))
    }

    /// Sends the guest what it takes.
    fn send(&mut self) {
        while self.wire.has_room() {
            let Some(frame) = self.link.poll() else { return };
            self.wire.sent();
            (self.deliver)(frame);
            self.flows.unblock(at!(self));
        }
    }
}
