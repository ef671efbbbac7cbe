//! Guest time from the host's monotonic clock.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Nanoseconds of guest time, going on from where a machine was when this was made.
#[derive(Debug)]
pub(crate) struct HostClock {
    start: Instant,
    base_ns: u64,
}

impl HostClock {
    /// A clock that shows `base_ns` now.
    pub(crate) fn new(base_ns: u64) -> Self {
        Self { start: Instant::now(), base_ns }
    }

    /// Guest time now.
    pub(crate) fn now_ns(&self) -> u64 {
        let passed = u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.base_ns.saturating_add(passed)
    }

    /// How long until guest time is `ns`.
    pub(crate) fn until(&self, ns: u64) -> Duration {
        Duration::from_nanos(ns.saturating_sub(self.now_ns()))
    }
}

/// Seconds since 1970 by the host: what the real-time clock of a new machine shows.
pub(crate) fn epoch_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
