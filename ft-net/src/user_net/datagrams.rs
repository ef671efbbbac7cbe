//! The guest's UDP: each pair of ends has a socket of the host, until nothing is heard of it for a while.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use mio::net::UdpSocket;
use mio::{Interest, Token};
use smoltcp::time::{Duration, Instant};

use super::flows::At;
use super::segment::{Pair, send_udp};

const REFUSED: ErrorKind = ErrorKind::ConnectionRefused;
const RESET: ErrorKind = ErrorKind::ConnectionReset;

/// A pair is forgotten after this silence (RFC 4787, 4.3, asks for two minutes).
const SILENCE_MAX: Duration = Duration::from_secs(120);
/// More pairs make us forget the one that has been silent longest.
const FLOWS_MAX: usize = 512;

/// The guest's UDP.
#[derive(Default)]
pub(super) struct Datagrams {
    flows: BTreeMap<Pair, Flow>,
    pairs: BTreeMap<Token, Pair>,
}

struct Flow {
    way: Way,
    used: Instant,
}

/// How the guest's datagrams leave.
enum Way {
    Own(Token, UdpSocket),
    /// By the forwarded port where they were asked for: to this client.
    Forwarded(Token, SocketAddr),
}

/// What the caller is to do with a datagram.
pub(super) enum Handed {
    /// Nothing: done.
    Done,
    /// Send it to this client by the forwarded port of this token.
    Forwarded(Token, SocketAddr),
    /// There is no such pair yet: [`Datagrams::open`].
    Unknown,
}

impl Datagrams {
    /// The guest has sent `payload` on `pair`.
    pub(super) fn hear(&mut self, now: Instant, pair: Pair, payload: &[u8]) -> Handed {
        let Some(flow) = self.flows.get_mut(&pair) else { return Handed::Unknown };
        flow.used = now;
        match &flow.way {
            Way::Own(_, socket) => {
                let _ = socket.send(payload); // Datagrams may be lost.
                Handed::Done
            }
            &Way::Forwarded(token, client) => Handed::Forwarded(token, client),
        }
    }

    /// A socket of the host for `pair`, which leads to `to`; and the first datagram.
    pub(super) fn open(&mut self, at: &mut At<'_>, token: Token, pair: Pair, to: SocketAddr, payload: &[u8]) {
        let any = if to.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        let Ok(mut socket) = UdpSocket::bind(SocketAddr::new(any, 0)) else { return };
        if socket.connect(to).is_ok() && at.registry.register(&mut socket, token, Interest::READABLE).is_ok() {
            let _ = socket.send(payload); // Datagrams may be lost.
            self.insert(at, pair, Way::Own(token, socket));
            self.pairs.insert(token, pair);
        }
    }

    /// `client` has sent `payload` for the guest to the forwarded port of `token`.
    pub(super) fn forward(&mut self, at: &mut At<'_>, token: Token, pair: Pair, client: SocketAddr, payload: &[u8]) {
        self.insert(at, pair, Way::Forwarded(token, client));
        deliver(at, pair, payload);
    }

    fn insert(&mut self, at: &mut At<'_>, pair: Pair, way: Way) {
        if self.flows.len() >= FLOWS_MAX
            && let Some((&oldest, _)) = self.flows.iter().min_by_key(|(_, flow)| flow.used)
        {
            self.remove(at, oldest);
        }
        self.remove(at, pair);
        self.flows.insert(pair, Flow { way, used: at.now });
    }

    /// The socket of `token` is ready. `false`: it is none of ours.
    pub(super) fn ready(&mut self, at: &mut At<'_>, token: Token) -> bool {
        let Some(&pair) = self.pairs.get(&token) else { return false };
        let Some(Flow { way: Way::Own(_, socket), used }) = self.flows.get_mut(&pair) else { return true };
        *used = at.now;
        let mut buffer = [0; 1 << 16];
        loop {
            match socket.recv(&mut buffer) {
                Ok(length) => deliver(at, pair, &buffer[..length]),
                // What ICMP said about an earlier one: the guest will notice that no answer comes.
                Err(error) if matches!(error.kind(), REFUSED | RESET | ErrorKind::Interrupted) => {}
                Err(_) => return true, // Nothing more, most likely.
            }
        }
    }

    /// Forgets who has been silent for long.
    pub(super) fn tick(&mut self, at: &mut At<'_>) {
        let silent = self.flows.iter().filter(|(_, flow)| flow.used + SILENCE_MAX <= at.now);
        for pair in silent.map(|(&pair, _)| pair).collect::<Vec<_>>() {
            self.remove(at, pair);
        }
    }

    /// When [`Self::tick`] is to be called.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.flows.values().map(|flow| flow.used + SILENCE_MAX).min()
    }

    fn remove(&mut self, at: &mut At<'_>, pair: Pair) {
        if let Some(Flow { way: Way::Own(token, mut socket), .. }) = self.flows.remove(&pair) {
            let _ = at.registry.deregister(&mut socket); // It is closed in any case.
            self.pairs.remove(&token);
        }
    }
}

/// Sends the guest a datagram, if it is not too long and there is room.
fn deliver(at: &mut At<'_>, pair: Pair, payload: &[u8]) {
    if at.link.has_room() {
        send_udp(at.link, pair, payload);
    }
}
