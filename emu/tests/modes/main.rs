//! Operating modes besides 64-bit mode: what the SDM says about segments, gates, tables, frames and switches.

#![allow(clippy::unwrap_used, clippy::cast_possible_truncation, reason = "a test panics when it fails")]

#[path = "../guest/closed.rs"]
mod closed;
#[path = "../guest/dice.rs"]
mod dice;
mod guest;
mod paging;
mod random;
mod real;
mod segments;
mod tasks;
mod transfers;
