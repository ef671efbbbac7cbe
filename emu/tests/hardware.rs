//! Guests that abuse the hardware: random accesses to ports, configuration space and device memory, random rings.

#![allow(clippy::cast_possible_truncation, clippy::unwrap_used, reason = "a test panics when it fails")]

mod guest {
    pub(crate) mod dice;
    pub(crate) mod hardware;
}

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use guest::dice::Dice;
use guest::hardware::survives;

/// Guests that are run; `HARDWARE_GUESTS=n` runs others, and more.
const GUESTS: u64 = 2000;

#[test]
fn no_guest_breaks_its_machine() {
    let count = std::env::var("HARDWARE_GUESTS").ok().and_then(|text| text.parse().ok()).unwrap_or(GUESTS);
    let mut witnessed = 0;
    for seed in 0..count {
        let mut dice = Dice(seed);
        let data: Vec<u8> = (0..20 + dice.below(600)).map(|_| dice.roll() as u8).collect();
        witnessed += catch_unwind(AssertUnwindSafe(|| survives(&data))).unwrap_or_else(|panic| {
            eprintln!("guest {seed}");
            resume_unwind(panic)
        });
    }
    assert!(witnessed as u64 > 100 * count, "the devices have been at work: {witnessed}");
}
