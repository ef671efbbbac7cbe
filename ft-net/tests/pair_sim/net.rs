//! Connections in memory: in order, delayed, cut, or silent. A partition delays, as retransmission does; it loses nothing
//! unless the connection is cut as well.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use ft_net::Time;
use ft_net::proto::ConnId;

use crate::rng::Rng;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum End {
    Replica(usize),
    Client(usize),
}

#[derive(Clone, Debug)]
pub enum Packet {
    Opened,
    /// A message, as the frame that would be on the wire.
    Frame(Vec<u8>),
    Closed(&'static str),
}

struct Conn {
    ends: [End; 2],
    /// Packets on their way to each end.
    queues: [VecDeque<Packet>; 2],
    /// When the last of them arrives.
    last: [Time; 2],
    /// An end that has closed hears nothing more and says nothing more.
    closed: [bool; 2],
}

#[derive(Default)]
pub struct Net {
    conns: BTreeMap<ConnId, Conn>,
    blocked: BTreeMap<(End, End), Time>,
    next: u64,
}

/// A packet will arrive at side `side` of `conn`.
#[derive(Clone, Copy, Debug)]
pub struct Arrival {
    pub at: Time,
    pub conn: ConnId,
    pub side: usize,
}

impl Net {
    pub fn connect(&mut self, now: Time, from: End, to: End, rng: &mut Rng) -> (ConnId, Arrival) {
        self.next += 1;
        let conn = ConnId(self.next);
        let (queues, last, closed) = ([VecDeque::new(), VecDeque::new()], [now, now], [false, false]);
        self.conns.insert(conn, Conn { ends: [from, to], queues, last, closed });
        (conn, self.push(now, conn, 1, Packet::Opened, rng).expect("a new connection"))
    }

    fn push(&mut self, now: Time, conn: ConnId, side: usize, packet: Packet, rng: &mut Rng) -> Option<Arrival> {
        let c = self.conns.get_mut(&conn)?;
        let delay = if rng.chance(2) { rng.range(1000..15_000) } else { rng.range(50..1500) };
        c.last[side] = c.last[side].max(now + Duration::from_micros(delay));
        c.queues[side].push_back(packet);
        Some(Arrival { at: c.last[side], conn, side })
    }

    pub fn send(&mut self, now: Time, conn: ConnId, from: End, packet: Packet, rng: &mut Rng) -> Option<Arrival> {
        let c = self.conns.get_mut(&conn)?;
        let side = usize::from(c.ends[0] == from);
        if c.closed[1 - side] {
            return None;
        }
        if matches!(packet, Packet::Closed(_)) {
            c.closed[1 - side] = true;
        }
        self.push(now, conn, side, packet, rng)
    }

    /// Takes the packet that arrives; `Err`: not before that time.
    pub fn arrive(&mut self, now: Time, conn: ConnId, side: usize) -> Result<Option<(End, Packet)>, Time> {
        let Some(c) = self.conns.get_mut(&conn) else {
            return Ok(None);
        };
        if let Some(&until) = self.blocked.get(&key(c.ends[0], c.ends[1]))
            && now < until
        {
            return Err(until);
        }
        let packet = c.queues[side].pop_front();
        Ok(packet.filter(|_| !c.closed[side]).map(|packet| (c.ends[side], packet)))
    }

    pub fn receiver(&self, conn: ConnId, side: usize) -> Option<End> {
        self.conns.get(&conn).map(|c| c.ends[side])
    }

    pub fn block(&mut self, a: End, b: End, until: Time) {
        self.blocked.insert(key(a, b), until);
    }

    pub fn heal(&mut self) {
        self.blocked.clear();
    }

    pub fn between(&self, a: End, b: End) -> Vec<ConnId> {
        self.conns.iter().filter(|(_, c)| key(c.ends[0], c.ends[1]) == key(a, b)).map(|(&conn, _)| conn).collect()
    }

    /// Both ends lose the connection, and any number of the last packets on their way.
    pub fn cut(&mut self, now: Time, conn: ConnId, rng: &mut Rng) -> Vec<Arrival> {
        (0..2).filter_map(|side| self.lose_tail(now, conn, side, true, rng)).collect()
    }

    /// `end` is no more. What it has sent may be lost from any point on; its peers hear of it if `loud`.
    pub fn die(&mut self, now: Time, end: End, loud: bool, rng: &mut Rng) -> Vec<Arrival> {
        let conns: Vec<(ConnId, usize)> = self
            .conns
            .iter()
            .flat_map(|(&conn, c)| (0..2).filter(|&side| c.ends[side] == end).map(move |side| (conn, side)))
            .collect();
        conns.into_iter().filter_map(|(conn, side)| self.lose_tail(now, conn, 1 - side, loud, rng)).collect()
    }

    fn lose_tail(&mut self, now: Time, conn: ConnId, side: usize, loud: bool, rng: &mut Rng) -> Option<Arrival> {
        let c = self.conns.get_mut(&conn)?;
        if c.closed[1 - side] {
            return None;
        }
        let keep = rng.range(0..c.queues[side].len() as u64 + 1) as usize;
        c.queues[side].truncate(keep);
        c.closed[1 - side] = true;
        if loud { self.push(now, conn, side, Packet::Closed("connection reset"), rng) } else { None }
    }
}

fn key(a: End, b: End) -> (End, End) {
    if a < b { (a, b) } else { (b, a) }
}
