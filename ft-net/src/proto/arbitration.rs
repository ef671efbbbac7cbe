//! The dialogue with the arbiter: one question at a time, asked again while there is no answer.

use std::time::Duration;

use crate::time::Time;

/// A question to the arbiter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    /// May this replica serve this generation? Test-and-set.
    Claim(u64),
    /// Has anybody claimed this generation?
    Exists(u64),
}

impl Ask {
    /// The generation in question.
    #[must_use]
    pub fn generation(self) -> u64 {
        match self {
            Ask::Claim(generation) | Ask::Exists(generation) => generation,
        }
    }
}

/// What the arbiter says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The generation belongs to this replica, for good.
    Won,
    /// It belongs to somebody else, for good.
    Held {
        /// Who, in words.
        holder: String,
    },
    /// Nobody has claimed it so far (answer to [`Ask::Exists`] only).
    Free,
    /// No answer. The claim may or may not have been made.
    Unreachable {
        /// Why.
        reason: String,
    },
}

/// At most one question is on its way, and it is repeated every `retry` until it is answered.
#[derive(Debug)]
pub(crate) struct Arbitration {
    want: Option<Ask>,
    asked: Option<Ask>,
    not_before: Time,
    retry: Duration,
    complained: bool,
}

impl Arbitration {
    pub(crate) fn new(retry: Duration) -> Self {
        Self { want: None, asked: None, not_before: Time::ZERO, retry, complained: false }
    }

    /// Asks `ask` from now on. An earlier question is forgotten; its answer will be ignored.
    pub(crate) fn want(&mut self, now: Time, ask: Ask) {
        self.want = Some(ask);
        self.not_before = now;
        self.complained = false;
    }

    pub(crate) fn poll(&mut self, now: Time) -> Option<Ask> {
        let ask = self.want?;
        if self.asked.is_some() || now < self.not_before {
            return None;
        }
        self.asked = Some(ask);
        Some(ask)
    }

    pub(crate) fn poll_timeout(&self) -> Option<Time> {
        (self.want.is_some() && self.asked.is_none()).then_some(self.not_before)
    }

    /// The arbiter's answer to `ask`. What comes back is final, or a reason why nothing is known, worth telling once.
    pub(crate) fn handle(&mut self, now: Time, ask: Ask, answer: Answer) -> Option<Answer> {
        if self.asked == Some(ask) {
            self.asked = None;
        }
        if self.want != Some(ask) {
            return None;
        }
        if let Answer::Unreachable { .. } = answer {
            self.not_before = now + self.retry;
            let first = !self.complained;
            self.complained = true;
            return first.then_some(answer);
        }
        self.want = None;
        Some(answer)
    }
}
