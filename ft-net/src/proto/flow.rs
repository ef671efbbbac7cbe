//! Flow control by feedback (VM-FT 2.4): how far the backup is behind in time, and how much to slow the primary for it.

use std::collections::VecDeque;
use std::time::Duration;

use crate::time::Time;

/// Samples are at least this far apart.
const SAMPLE_EVERY: Duration = Duration::from_millis(5);

/// Execution lag: the age of the place that the backup has reached.
#[derive(Debug, Default)]
pub(crate) struct LagMeter {
    /// When the primary passed which count of retired instructions.
    passed: VecDeque<(u64, Time)>,
}

impl LagMeter {
    /// The primary is at `retired`.
    pub(crate) fn primary_at(&mut self, now: Time, retired: u64) {
        let due = self.passed.back().is_none_or(|&(last, at)| retired > last && now.since(at) >= SAMPLE_EVERY);
        if due {
            self.passed.push_back((retired, now));
        }
    }

    /// The backup is at `retired`.
    pub(crate) fn backup_at(&mut self, retired: u64) {
        while self.passed.front().is_some_and(|&(count, _)| count <= retired) {
            self.passed.pop_front();
        }
    }

    /// How long ago the primary passed the first place that the backup has not reached.
    pub(crate) fn lag(&self, now: Time) -> Duration {
        self.passed.front().map_or(Duration::ZERO, |&(_, at)| now.since(at))
    }
}

/// The brake of the primary: a share of its time, in 1/256.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Throttle {
    share: u8,
}

/// The most that the brake takes: 15/16 of the time. Beyond that the log window stops the primary altogether.
const SHARE_MAX: u8 = 240;
const STEP_UP: u8 = 16;
const STEP_DOWN: u8 = 4;

impl Throttle {
    /// One step of the slow loop: brake harder while the lag is above `lag_max`, let go gently once below half of it.
    pub(crate) fn adjust(&mut self, lag: Duration, lag_max: Duration) {
        if lag > lag_max {
            self.share = self.share.saturating_add(STEP_UP).min(SHARE_MAX);
        } else if lag < lag_max / 2 {
            self.share = self.share.saturating_sub(STEP_DOWN);
        }
    }

    /// How long to rest after executing for `ran`.
    #[must_use]
    pub fn pause_after(self, ran: Duration) -> Duration {
        ran * u32::from(self.share) / (256 - u32::from(self.share))
    }

    /// The share of the time that is taken from the guest, 0 to 1.
    #[must_use]
    pub fn share(self) -> f64 {
        f64::from(self.share) / 256.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lag_is_the_age_of_the_place_the_backup_has_not_reached() {
        let ms = |n: u64| Time::from_ns(n * 1_000_000);
        let mut meter = LagMeter::default();
        for step in 0..10 {
            meter.primary_at(ms(step * 10), step * 1000 + 1);
        }
        meter.backup_at(4500);
        assert_eq!(meter.lag(ms(100)), Duration::from_millis(50));
        meter.backup_at(9001);
        assert_eq!(meter.lag(ms(1000)), Duration::ZERO);
    }

    #[test]
    fn the_brake_grips_fast_and_lets_go_slowly() {
        let (max, slice) = (Duration::from_millis(100), Duration::from_millis(1));
        let mut throttle = Throttle::default();
        assert_eq!(throttle.pause_after(slice), Duration::ZERO);
        for _ in 0..100 {
            throttle.adjust(max * 2, max);
        }
        assert_eq!(throttle.pause_after(slice), slice * 15);
        for _ in 0..10 {
            throttle.adjust(Duration::ZERO, max);
        }
        assert!(throttle.share() > 0.7);
        throttle.adjust(max * 3 / 4, max);
        assert!(throttle.share() > 0.7);
    }
}
