//! State transfer from a running machine: pre-copy in rounds, each sending what the last one dirtied, then a cut.

use std::time::Duration;

use super::engine::Leader;
use crate::event::Event;
use crate::proto::ConnId;
use crate::proto::primary::Primary;

/// Pages of one message.
const CHUNK_PAGES: usize = 64;

/// So few dirty pages left are sent while the guest stands still.
const CUT_PAGES: usize = 256;

/// Chunks sent between two slices of execution: the guest runs while its memory travels.
const STEP_CHUNKS: u32 = 2;

/// A guest that dirties pages faster than they travel is cut after so many rounds all the same.
const ROUNDS_MAX: u32 = 8;

/// An event is due each time so many pages have been sent.
const EVENT_PAGES: u64 = 32 * 1024;

/// One transfer under way.
#[derive(Debug)]
pub(crate) struct Transfer {
    conn: ConnId,
    /// What is left of this round, last page first.
    pages: Vec<u32>,
    rounds: u32,
    sent_pages: u64,
    sent_bytes: u64,
}

impl Transfer {
    /// Begins the transfer to [`Primary::joining`].
    pub(crate) fn begin<L: Leader>(conn: ConnId, primary: &mut Primary, leader: &mut L) -> Self {
        primary.begin_state(leader.config());
        let mut pages = leader.all_pages();
        pages.reverse();
        Self { conn, pages, rounds: 1, sent_pages: 0, sent_bytes: 0 }
    }

    /// Whom it is for.
    pub(crate) fn conn(&self) -> ConnId {
        self.conn
    }

    /// Sends what the channel takes now. `true`: little enough is left, cut the machine by [`Self::cut`].
    pub(crate) fn step<L: Leader>(&mut self, primary: &mut Primary, leader: &mut L) -> Step {
        let mut event = None;
        let mut chunks = 0;
        loop {
            if primary.transfer_room() == 0 || chunks == STEP_CHUNKS {
                return Step { cut: false, event };
            }
            if self.pages.is_empty() {
                self.pages = leader.dirty_pages();
                self.pages.reverse();
                self.rounds += 1;
            }
            let last_round = self.rounds > 1 && (self.pages.len() <= CUT_PAGES || self.rounds > ROUNDS_MAX);
            if last_round {
                return Step { cut: true, event };
            }
            let before = self.sent_pages / EVENT_PAGES;
            self.send_chunk(primary, leader);
            chunks += 1;
            if self.sent_pages / EVENT_PAGES > before {
                event = Some(Event::Transfer { pages: self.sent_pages, bytes: self.sent_bytes });
            }
        }
    }

    /// Sends everything that is left. The machine stands still, and the caller has taken its entries and outputs.
    pub(crate) fn cut<L: Leader>(mut self, primary: &mut Primary, leader: &mut L, pause: impl FnOnce() -> Duration) {
        let mut dirty = leader.dirty_pages();
        dirty.reverse();
        self.pages.extend(dirty);
        self.pages.sort_unstable_by(|a, b| b.cmp(a));
        self.pages.dedup();
        while !self.pages.is_empty() {
            self.send_chunk(primary, leader);
        }
        let state = leader.state();
        primary.end_state(state, pause());
    }

    fn send_chunk<L: Leader>(&mut self, primary: &mut Primary, leader: &L) {
        let count = self.pages.len().min(CHUNK_PAGES);
        let mut chunk = self.pages.split_off(self.pages.len() - count);
        chunk.reverse();
        let bytes = leader.encode_pages(&chunk);
        self.sent_pages += count as u64;
        self.sent_bytes += bytes.len() as u64;
        primary.send_pages(bytes);
    }
}

/// What one step of a transfer found.
#[derive(Debug)]
pub(crate) struct Step {
    /// The machine can be cut now.
    pub(crate) cut: bool,
    /// Progress worth telling.
    pub(crate) event: Option<Event>,
}
