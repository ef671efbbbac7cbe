//! Guest time: one number, nanoseconds since the machine was created. It never runs backwards.

use crate::check::ensure;
use crate::state::ClockState;
use crate::{ClockMode, Position};

/// Ticks of the TSC per second: a tick is a nanosecond.
pub const TSC_HZ: u64 = 1_000_000_000;

/// One nanosecond per instruction in 32.32 fixed point.
const RATE_ONE: u64 = 1 << 32;
/// Bounds of the rate: 4000 to 0.5 million instructions per millisecond.
const RATE_MIN: u64 = RATE_ONE >> 6;
const RATE_MAX: u64 = RATE_ONE << 11;

impl ClockState {
    /// Guest time 0, one nanosecond per instruction until the first input says otherwise.
    #[must_use]
    pub fn new() -> Self {
        Self { rate: RATE_ONE, ..Self::default() }
    }

    /// Guest time at `retired`, as far as it is known without asking.
    #[must_use]
    pub fn at(&self, mode: ClockMode, retired: u64) -> u64 {
        match mode {
            ClockMode::Host => self.base_ns,
            ClockMode::Derived => {
                let ran = u128::from(retired - self.base_retired) * u128::from(self.rate) >> 32;
                self.base_ns.saturating_add(u64::try_from(ran).unwrap_or(u64::MAX))
            }
        }
    }

    /// The first retired count at which guest time is at least `ns` (derived clock).
    #[must_use]
    pub fn retired_at(&self, ns: u64) -> u64 {
        let wait = u128::from(ns.saturating_sub(self.base_ns)) << 32;
        let ran = wait.div_ceil(u128::from(self.rate));
        self.base_retired.saturating_add(u64::try_from(ran).unwrap_or(u64::MAX))
    }

    /// Checks that a machine that has retired so many instructions can have this clock.
    pub(crate) fn check(&self, retired: u64) -> crate::check::Checked {
        let known = (RATE_MIN..=RATE_MAX).contains(&self.rate);
        ensure(known && self.base_retired <= retired && self.input_retired <= retired, "clock")
    }

    /// The answer to a query at `at` (host clock): guest time is now `ns`, or stays where it was.
    pub(crate) fn answer(&mut self, at: Position, ns: u64) -> u64 {
        self.base_ns = self.base_ns.max(ns);
        self.asked = Some(at);
        self.base_ns
    }

    /// A clock input at `retired`. With the derived clock the rate becomes that of the interval since the last
    /// input; where guest time is ahead it waits at half that rate, it is never set back. What a guest that is `asleep` is
    /// told says nothing about how fast it runs.
    pub(crate) fn input(&mut self, mode: ClockMode, retired: u64, ns: u64, asleep: bool) {
        let now = self.at(mode, retired);
        if mode == ClockMode::Derived {
            let (ran, passed) = (retired - self.input_retired, ns.saturating_sub(self.input_ns));
            if ran > 0 && passed > 0 && !asleep {
                let measured = (u128::from(passed) << 32) / u128::from(ran);
                let rate = u64::try_from(measured).unwrap_or(RATE_MAX).clamp(RATE_MIN, RATE_MAX);
                self.rate = if ns >= now { rate } else { (rate / 2).max(RATE_MIN) };
            }
            (self.input_ns, self.input_retired) = (ns.max(self.input_ns), retired);
            self.base_retired = retired;
        }
        self.base_ns = now.max(ns);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn derived_time_follows_inputs_and_never_runs_back() {
        let mut clock = ClockState::new();
        let mode = ClockMode::Derived;
        assert_eq!(clock.at(mode, 1000), 1000);
        clock.input(mode, 1_000_000, 500_000, false); // twice as fast as assumed: ahead, so slewed
        assert_eq!(clock.at(mode, 1_000_000), 1_000_000);
        assert_eq!(clock.rate, RATE_ONE / 4);
        let before = clock.at(mode, 1_500_000);
        clock.input(mode, 1_500_000, 9_000_000, false);
        assert!(before < 9_000_000);
        assert_eq!(clock.at(mode, 1_500_000), 9_000_000);
    }

    #[test]
    fn sleep_does_not_count_as_time_that_the_guest_ran() {
        let mut clock = ClockState::new();
        let mode = ClockMode::Derived;
        clock.input(mode, 1_000_000, 2_000_000, false);
        let rate = clock.rate;
        clock.input(mode, 1_000_100, 900_000_000, true);
        assert_eq!((clock.rate, clock.at(mode, 1_000_100)), (rate, 900_000_000));
        // What it runs after that is measured from there.
        clock.input(mode, 2_000_100, 902_000_000, false);
        assert_eq!(clock.rate, rate);
    }

    #[test]
    fn the_count_of_a_deadline_is_the_first_that_reaches_it() {
        let mut clock = ClockState::new();
        clock.rate = RATE_ONE / 3;
        for ns in [1, 2, 999, 1_000_003] {
            let at = clock.retired_at(ns);
            assert!(clock.at(ClockMode::Derived, at) >= ns && clock.at(ClockMode::Derived, at - 1) < ns);
        }
    }
}
