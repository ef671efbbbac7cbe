//! Numbered client input on the serving side. An acknowledgement to a client is an output, too: it obeys the Output Rule.

use std::collections::{BTreeMap, VecDeque};

use emu::Control;

use super::ConnId;

/// One input as it came from a client; not delivered yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientInput {
    /// Identity of the client.
    pub client: u64,
    /// 1, 2, 3 ... for each client.
    pub seq: u64,
    /// What was typed.
    pub bytes: Vec<u8>,
}

/// The longest input of one message.
pub const INPUT_BYTES_MAX: usize = 128;

/// Inputs not yet delivered; more are dropped, and their clients send them again.
const QUEUE_MAX: usize = 1024;
/// Buttons likewise: what is pressed faster is pressed in vain.
const CONTROLS_MAX: usize = 16;

/// The clients of a primary.
#[derive(Debug, Default)]
pub(crate) struct Clients {
    conns: BTreeMap<ConnId, u64>,
    /// Came in, not delivered yet.
    arrived: VecDeque<ClientInput>,
    /// Delivered, not acknowledged yet, in the order of their entries.
    pending: VecDeque<Pending>,
    controls: VecDeque<Control>,
    /// Columns and rows of the terminal that told last, not delivered yet.
    size: Option<(u16, u16)>,
}

#[derive(Debug)]
struct Pending {
    client: u64,
    seq: u64,
    entry: u64,
}

impl Clients {
    pub(crate) fn add(&mut self, conn: ConnId, client: u64) {
        self.conns.insert(conn, client);
    }

    /// `true` if `conn` was a client's.
    pub(crate) fn remove(&mut self, conn: ConnId) -> bool {
        self.conns.remove(&conn).is_some()
    }

    pub(crate) fn is_client(&self, conn: ConnId) -> bool {
        self.conns.contains_key(&conn)
    }

    pub(crate) fn conns(&self) -> impl Iterator<Item = ConnId> + '_ {
        self.conns.keys().copied()
    }

    pub(crate) fn arrived(&mut self, conn: ConnId, seq: u64, bytes: Vec<u8>) {
        if let Some(&client) = self.conns.get(&conn)
            && self.arrived.len() < QUEUE_MAX
        {
            self.arrived.push_back(ClientInput { client, seq, bytes });
        }
    }

    pub(crate) fn pressed(&mut self, control: Control) {
        if self.controls.len() < CONTROLS_MAX {
            self.controls.push_back(control);
        }
    }

    pub(crate) fn poll_control(&mut self) -> Option<Control> {
        self.controls.pop_front()
    }

    pub(crate) fn resized(&mut self, columns: u16, rows: u16) {
        self.size = Some((columns, rows));
    }

    pub(crate) fn poll_size(&mut self) -> Option<(u16, u16)> {
        self.size.take()
    }

    pub(crate) fn has_arrived(&self) -> bool {
        !self.arrived.is_empty()
    }

    pub(crate) fn has_wish(&self) -> bool {
        !self.controls.is_empty() || self.size.is_some()
    }

    pub(crate) fn poll(&mut self) -> Option<ClientInput> {
        self.arrived.pop_front()
    }

    /// The machine has input `seq` of `client`: by entry `entry` just now, or by an earlier one.
    pub(crate) fn logged(&mut self, client: u64, seq: u64, entry: Option<u64>) {
        let entry = match entry {
            Some(entry) => entry,
            // A repeated input is as safe as the last of this client that still waits.
            None => self.pending.iter().rev().find(|p| p.client == client).map_or(0, |p| p.entry),
        };
        let at = self.pending.partition_point(|p| p.entry <= entry);
        self.pending.insert(at, Pending { client, seq, entry });
    }

    /// The next acknowledgement that may leave when entries up to `entry_max` are safe.
    pub(crate) fn poll_ack(&mut self, entry_max: u64) -> Option<(u64, u64)> {
        if self.pending.front()?.entry > entry_max {
            return None;
        }
        self.pending.pop_front().map(|p| (p.client, p.seq))
    }

    /// The connections of `client`.
    pub(crate) fn of(&self, client: u64) -> impl Iterator<Item = ConnId> + '_ {
        self.conns.iter().filter(move |&(_, &id)| id == client).map(|(&conn, _)| conn)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buttons_are_bounded() {
        let mut clients = Clients::default();
        for _ in 0..100 {
            clients.pressed(Control::PowerButton);
        }
        assert_eq!(std::iter::from_fn(|| clients.poll_control()).count(), CONTROLS_MAX);
        assert!(!clients.has_wish());
    }

    #[test]
    fn a_repeated_input_is_acknowledged_no_earlier_than_the_first() {
        let mut clients = Clients::default();
        clients.logged(7, 1, Some(40));
        clients.logged(7, 1, None);
        clients.logged(8, 3, None);
        assert_eq!(clients.poll_ack(39), Some((8, 3)));
        assert_eq!(clients.poll_ack(39), None);
        assert_eq!(clients.poll_ack(40), Some((7, 1)));
        assert_eq!(clients.poll_ack(40), Some((7, 1)));
        assert_eq!(clients.poll_ack(u64::MAX), None);
    }
}
