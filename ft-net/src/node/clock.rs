//! Guest time on a host: it goes on from where the machine was, at the pace of the host's monotonic clock.

use std::fmt;
use std::sync::Arc;

use super::Host;
use crate::time::Time;

/// Guest time as a line through one known point.
#[derive(Clone, Copy, Debug)]
pub(crate) struct GuestClock {
    guest_ns: u64,
    host: Time,
}

impl GuestClock {
    /// Guest time is `guest_ns` at `host`.
    pub(crate) fn new(guest_ns: u64, host: Time) -> Self {
        Self { guest_ns, host }
    }

    /// Guest time at `now`, ns.
    pub(crate) fn at(self, now: Time) -> u64 {
        self.guest_ns.saturating_add(now.ns().saturating_sub(self.host.ns()))
    }

    /// When guest time will be `guest_ns`.
    pub(crate) fn when(self, guest_ns: u64) -> Time {
        Time::from_ns(self.host.ns().saturating_add(guest_ns.saturating_sub(self.guest_ns)))
    }
}

/// Answers to the guest's questions while its machine is live.
#[derive(Clone)]
pub struct Answers {
    pub(crate) host: Arc<dyn Host>,
    pub(crate) clock: GuestClock,
}

impl Answers {
    /// Guest time goes on from `guest_ns` now.
    #[must_use]
    pub fn new(host: Arc<dyn Host>, guest_ns: u64) -> Self {
        let clock = GuestClock::new(guest_ns, host.now());
        Self { host, clock }
    }

    /// Guest time of the host clock: nanoseconds since the machine was created.
    #[must_use]
    pub fn clock_ns(&self) -> u64 {
        self.clock.at(self.host.now())
    }

    /// 64 random bits.
    #[must_use]
    pub fn random(&self) -> u64 {
        self.host.random()
    }
}

impl fmt::Debug for Answers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answers").field("clock", &self.clock).finish_non_exhaustive()
    }
}
