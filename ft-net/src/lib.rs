//! The pair: a second copy of the machine in lockstep, and who may speak when one of them is gone.
//!
//! | module | is |
//! |---|---|
//! | [`proto`] | the protocol as state machines: no clock, socket, file or thread |
//! | [`message`], [`frame`] | what travels, and its form on a byte stream |
//! | [`event`] | what a replica tells its operator |
//! | [`node`] | a machine, its log and the protocol in one object: a replica |
//! | [`arbiter`] | who may serve a generation: test-and-set on shared storage |
//! | [`shared`] | the shared directory: who serves where, who lives, the console of record |
//! | [`runtime`] | the same replica as threads and sockets; the client behind `ftemu attach` |
//! | [`user_net`] | the network outside the machine, made of ordinary sockets |
//!
//! docs/protocol.md has the messages, the invariants and the argument for a single history.

pub mod arbiter;
pub mod event;
pub mod frame;
pub mod message;
pub mod node;
pub mod proto;
pub mod runtime;
pub mod shared;
mod time;
pub mod user_net;

pub use time::Time;
