//! The timer of the local APIC (SDM Vol. 3A, 10.5.4). It is never stepped: the count is a function of when it was started.

use serde::{Deserialize, Serialize};

use crate::check::{Checked, ensure};

/// Frequency of the crystal that CPUID leaf 15H names, which feeds the divider.
pub(crate) const HZ: u64 = 25_000_000;
const TICK_NS: u64 = 1_000_000_000 / HZ;

/// What can be written to the divide configuration register.
const DIVIDE: u32 = 0xb;

/// The timer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Timer {
    initial: u32,
    divide: u32,
    /// Count at `since_ns`; 0: stopped.
    count: u32,
    since_ns: u64,
    /// IA32_TSC_DEADLINE, and guest time when the TSC will be that; 0: not armed.
    deadline: u64,
    deadline_ns: u64,
}

impl Timer {
    pub(super) fn check(&self) -> Checked {
        ensure(self.divide & !DIVIDE == 0, "local APIC: timer")
    }

    fn tick_ns(&self) -> u64 {
        let shift = self.divide & 3 | self.divide >> 1 & 4;
        TICK_NS << ((shift + 1) % 8)
    }

    pub(super) fn initial(&self) -> u32 {
        self.initial
    }

    pub(super) fn divide(&self) -> u32 {
        self.divide
    }

    /// The count at `now_ns`.
    pub(super) fn current(&self, now_ns: u64, periodic: bool) -> u32 {
        let ticks = now_ns.saturating_sub(self.since_ns) / self.tick_ns();
        let count = u64::from(self.count);
        let left = match u64::from(self.initial) {
            _ if ticks < count => count - ticks,
            initial if periodic && count > 0 && initial > 0 => initial - (ticks - count) % initial,
            _ => 0,
        };
        left as u32
    }

    /// A write of the initial count starts the timer, or stops it with 0.
    pub(super) fn start(&mut self, count: u32, now_ns: u64) {
        (self.initial, self.count, self.since_ns) = (count, count, now_ns);
    }

    pub(super) fn set_divide(&mut self, value: u32, now_ns: u64, periodic: bool) {
        (self.count, self.since_ns) = (self.current(now_ns, periodic), now_ns);
        self.divide = value & DIVIDE;
    }

    /// Stops whatever runs.
    pub(super) fn disarm(&mut self) {
        (self.count, self.deadline, self.deadline_ns) = (0, 0, 0);
    }

    pub(super) fn deadline(&self) -> u64 {
        self.deadline
    }

    pub(super) fn set_deadline(&mut self, tsc: u64, tsc_adjust: u64) {
        let at = i128::from(tsc) - i128::from(tsc_adjust as i64);
        self.deadline = tsc;
        self.deadline_ns = if tsc == 0 { 0 } else { u64::try_from(at.max(0)).unwrap_or(u64::MAX) };
    }

    pub(super) fn next_deadline(&self) -> Option<u64> {
        let counted = self.since_ns.saturating_add(u64::from(self.count) * self.tick_ns());
        match () {
            () if self.deadline != 0 => Some(self.deadline_ns),
            () if self.count != 0 => Some(counted),
            () => None,
        }
    }

    /// Runs up to `now_ns`; whether the end has come (several ends are one).
    pub(super) fn advance(&mut self, now_ns: u64, periodic: bool) -> bool {
        let Some(end) = self.next_deadline().filter(|end| *end <= now_ns) else { return false };
        if self.deadline != 0 {
            (self.deadline, self.deadline_ns) = (0, 0);
        } else if periodic {
            let period = u64::from(self.initial).max(1) * self.tick_ns();
            (self.count, self.since_ns) = (self.initial, end + (now_ns - end) / period * period);
        } else {
            self.count = 0;
        }
        true
    }
}
