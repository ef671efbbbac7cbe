//! When what was logged goes to the backup: soon if somebody waits for it, else together with what comes next.
//!
//! A message costs about fifty bytes whatever is in it, and a guest that works logs a few entries in each slice of its
//! execution. Nobody waits for those: what a takeover loses with them nobody has seen (the Output Rule, VM-FT 2.2).

use std::time::Duration;

use crate::time::Time;

/// Entries that nobody waits for are sent this often, and a guest that logs nothing is marked this often.
pub const EVERY: Duration = Duration::from_millis(20);

/// A console is a slow line: what it shows can wait this long for what comes next.
pub const CONSOLE: Duration = Duration::from_millis(5);

/// Decides, slice by slice.
#[derive(Clone, Debug)]
pub struct Batch {
    /// When what was logged is to be sent.
    due: Time,
}

impl Batch {
    /// A batch that begins now.
    #[must_use]
    pub fn new(now: Time) -> Self {
        Self { due: now + EVERY }
    }

    /// Somebody waits at `at` for the backup to have what was logged.
    pub fn wanted(&mut self, at: Time) {
        self.due = self.due.min(at);
    }

    /// A slice of execution has ended. `true`: what was logged is to be sent now.
    pub fn is_due(&mut self, now: Time) -> bool {
        let due = now >= self.due;
        if due {
            *self = Self::new(now);
        }
        due
    }
}
