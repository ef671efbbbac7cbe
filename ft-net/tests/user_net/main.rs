//! The user-mode network against another TCP/IP stack in the place of the guest, and real sockets on the other side.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

mod datagrams;
mod guest;
mod segment;
mod streams;
