//! A replica while it follows: the machine is received, then replays the log as it comes.

use std::collections::VecDeque;
use std::sync::Arc;

use super::clock::Answers;
use super::engine::{EngineError, Follower, Leader, Pace, Segment};
use super::serving::Serving;
use super::{Host, Next};
use crate::event::Event;
use crate::proto::backup::{Backup, Feed};
use crate::time::Time;

/// The backup's half of a [`super::Node`].
pub(crate) struct Following<L: Leader> {
    pub(crate) backup: Backup,
    pub(crate) events: VecDeque<Event>,
    follower: Option<L::Follower>,
    /// The follower has its whole state.
    ready: bool,
    /// It has replayed what it was fed.
    drained: bool,
    pages: u64,
    bytes: u64,
}

impl<L: Leader> Following<L> {
    pub(crate) fn new(backup: Backup) -> Self {
        Self { backup, events: VecDeque::new(), follower: None, ready: false, drained: false, pages: 0, bytes: 0 }
    }

    pub(crate) fn run_slice(&mut self, host: &dyn Host, budget: u64) -> Next {
        if self.backup.over() {
            return Next::Over;
        }
        let now = host.now();
        match self.advance(host, now, budget) {
            Ok(Pace::Busy) => Next::Again { rest: std::time::Duration::ZERO },
            Ok(Pace::Idle) => Next::Wait,
            Err(error) => {
                self.backup.handle_failed(now, self.ready, error.to_string());
                Next::Over
            }
        }
    }

    fn advance(&mut self, host: &dyn Host, now: Time, budget: u64) -> Result<Pace, EngineError> {
        loop {
            if let Some(Feed::Begin { config }) = self.backup.peek_feed() {
                // To look at the images of its disks may take long: the primary is to hear of us meanwhile.
                let Some(follower) = L::Follower::new(config, host)? else {
                    return Ok(Pace::Idle);
                };
                (self.pages, self.bytes, self.ready) = (0, 0, false);
                self.follower = Some(follower);
            }
            let Some(feed) = self.backup.poll_feed() else { break };
            self.take_in(now, feed)?;
        }
        let Some(follower) = self.follower.as_mut().filter(|_| self.ready) else {
            return Ok(Pace::Idle);
        };
        let pace = follower.run(budget)?;
        self.drained = pace == Pace::Idle;
        while let Some(produced) = follower.poll_output() {
            self.backup.output(produced.number, produced.output);
        }
        let (entry, retired) = (follower.replayed(), follower.position().retired);
        self.backup.handle_replayed(now, entry, retired);
        Ok(pace)
    }

    fn take_in(&mut self, now: Time, feed: Feed) -> Result<(), EngineError> {
        match (feed, &mut self.follower) {
            (Feed::Begin { .. }, _) => self.backup.handle_taken(now),
            (Feed::Pages { bytes }, Some(follower)) => {
                self.pages += follower.write_pages(&bytes)?;
                self.bytes += bytes.len() as u64;
                self.backup.handle_taken(now);
            }
            (Feed::End { state, last_entry }, Some(follower)) => {
                follower.restore(&state, last_entry)?;
                self.ready = true;
                self.events.push_back(Event::Transfer { pages: self.pages, bytes: self.bytes });
            }
            (Feed::Log { first, last, bytes }, Some(follower)) => follower.feed(&Segment { first, last, bytes })?,
            (_, None) => {
                return Err(EngineError("the primary sent a state without its beginning".to_owned()));
            }
        }
        Ok(())
    }

    /// Becomes the primary, if the next generation is won and everything held is replayed.
    pub(crate) fn take_over(&mut self, host: &Arc<dyn Host>) -> Option<Serving<L>> {
        if !self.drained {
            return None;
        }
        let now = host.now();
        let (reissued, released) = self.backup.unreleased();
        let primary = self.backup.take_over(now)?;
        let generation = primary.generation();
        let follower = self.follower.take()?;
        let clock_ns = self.backup.clock_ns(now).max(follower.clock_ns());
        let answers = Answers::new(Arc::clone(host), clock_ns);
        let leader = match follower.go_live(answers.clone()) {
            Ok(leader) => leader,
            Err(error) => {
                let reason = error.to_string();
                self.events.push_back(Event::Halted { reason });
                return None;
            }
        };
        let position = leader.position();
        let mut serving = Serving::new(primary, leader, answers);
        serving.events.append(&mut self.events);
        serving.events.push_back(Event::TookOver {
            generation,
            position,
            released,
            reissued,
            took: now.since(self.backup.suspected()),
        });
        Some(serving)
    }

    pub(crate) fn follower(&self) -> Option<&L::Follower> {
        self.follower.as_ref()
    }
}
