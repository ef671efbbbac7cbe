//! Guest time on a host: it goes on from where the machine was, at the pace of the host's monotonic clock.

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
        self.guest_ns
            .saturating_add(now.ns().saturating_sub(self.host.ns()))
    }

    /// When guest time will be `guest_ns`.
    pub(crate) fn when(self, guest_ns: u64) -> Time {
        Time::from_ns(
            self.host
                .ns()
                .saturating_add(guest_ns.saturating_sub(self.guest_ns)),
        )
    }
}
