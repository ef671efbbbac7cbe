//! An unmodified Linux: boots, works, is recorded, and replays to the same bytes.
//!
//! `.ci/linux` has the kernel; where it is not to be had, these tests are skipped.

#![allow(clippy::unwrap_used, reason = "a test may panic")]
#![allow(unreachable_pub, reason = "a test has no outside")]

mod boot;
mod devices;
mod disks;
mod ends;
mod harness;
#[cfg(unix)]
mod kills;
mod network;
#[cfg(unix)]
#[path = "../pair/mod.rs"]
#[allow(dead_code, reason = "some of it is for other tests")]
mod pair;
#[path = "../prepared/mod.rs"]
mod prepared;
#[path = "../recording/mod.rs"]
mod recording;
#[cfg(unix)]
mod service;
#[cfg(unix)]
mod terminal;
