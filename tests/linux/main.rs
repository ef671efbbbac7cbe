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
mod network;
#[path = "../recording/mod.rs"]
mod recording;
