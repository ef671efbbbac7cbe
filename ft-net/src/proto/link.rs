//! The backup as its primary sees it.

use std::collections::VecDeque;
use std::time::Duration;

use super::flow::{LagMeter, Throttle};
use super::{Config, ConnId, PeerError};
use crate::message::Ack;
use crate::time::Time;

/// How far the backup has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// It receives the machine and could not take over.
    Transfer {
        /// Page chunks sent.
        sent: u64,
        /// Page chunks taken in; `None`: it has no machine yet to take them into.
        acked: Option<u64>,
    },
    /// It has, or may have, the whole machine: the Output Rule holds.
    Protected,
}

#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) conn: ConnId,
    pub(crate) replica: u64,
    pub(crate) phase: Phase,
    pub(crate) throttle: Throttle,
    /// When the backup was last heard.
    pub(crate) heard: Time,
    /// When we last sent it something.
    pub(crate) spoke: Time,
    /// Where the state was cut and how long the guest paused for it, until the backup says that it holds the state.
    pub(crate) unconfirmed: Option<(u64, Duration)>,
    /// The last entry sent.
    sent: u64,
    /// The last entry that the backup holds.
    acked: u64,
    /// The last entry that it said it holds.
    confirmed: u64,
    /// Log messages not replayed yet: (last entry, bytes).
    window: VecDeque<(u64, usize)>,
    window_bytes: usize,
    lag: LagMeter,
    adjusted: Time,
}

impl Link {
    pub(crate) fn new(now: Time, conn: ConnId, replica: u64) -> Self {
        Self {
            conn,
            replica,
            phase: Phase::Transfer { sent: 0, acked: None },
            throttle: Throttle::default(),
            heard: now,
            spoke: now,
            unconfirmed: None,
            sent: 0,
            acked: 0,
            confirmed: 0,
            window: VecDeque::new(),
            window_bytes: 0,
            lag: LagMeter::default(),
            adjusted: now,
        }
    }

    pub(crate) fn protected(&self) -> bool {
        self.phase == Phase::Protected
    }

    /// The state was cut after `last_entry`. Everything up to there is in the state that makes the backup able to take
    /// over, so it cannot be contradicted: it counts as acknowledged.
    pub(crate) fn protect(&mut self, last_entry: u64, pause: Duration) {
        self.phase = Phase::Protected;
        self.unconfirmed = Some((last_entry, pause));
        self.sent = last_entry;
        self.acked = last_entry;
    }

    pub(crate) fn acked(&self) -> u64 {
        self.acked
    }

    /// Does it hold everything there is, by its own word?
    pub(crate) fn holds_all(&self) -> bool {
        self.protected() && self.confirmed == self.sent
    }

    pub(crate) fn window_bytes(&self) -> usize {
        self.window_bytes
    }

    pub(crate) fn sent_log(&mut self, now: Time, last: u64, bytes: usize, retired: u64) {
        self.sent = last;
        self.window.push_back((last, bytes));
        self.window_bytes += bytes;
        self.lag.primary_at(now, retired);
    }

    pub(crate) fn handle_ack(&mut self, ack: Ack) -> Result<(), PeerError> {
        if ack.received > self.sent || ack.replayed > ack.received {
            return Err(PeerError::Sequence { what: "acknowledgement", due: self.sent, came: ack.received });
        }
        self.confirmed = ack.received;
        self.acked = self.acked.max(ack.received);
        while self.window.front().is_some_and(|&(last, _)| last <= ack.replayed) {
            self.window_bytes -= self.window.pop_front().map_or(0, |(_, bytes)| bytes);
        }
        self.lag.backup_at(ack.retired);
        Ok(())
    }

    /// One step of the slow loop, once per heartbeat interval.
    pub(crate) fn adjust_throttle(&mut self, now: Time, config: &Config) {
        if self.protected() && now.since(self.adjusted) >= config.heartbeat() {
            self.adjusted = now;
            self.throttle.adjust(self.lag.lag(now), config.lag_max);
        }
    }

    pub(crate) fn lag(&self, now: Time) -> Duration {
        self.lag.lag(now)
    }
}
