//! The replication protocol: state machines without clocks, sockets, files or threads.
//!
//! Inputs arrive by `handle_*`, each with the time; results are fetched by `poll_*` until they are empty. After that
//! nothing happens before the next `handle_*` call, and `handle_tick` is due at `poll_timeout` at the latest.
//!
//! | file | is |
//! |---|---|
//! | `primary` | the replica that serves: joins, Output Rule, loss of its backup |
//! | `backup` | the replica that follows: state transfer, log, takeover |
//! | `link` | the backup as its primary sees it: acknowledgements, window, lag |
//! | `output` | outputs between production and release |
//! | `arbitration` | the dialogue with the arbiter |
//! | `inputs` | numbered client input on the serving side |
//! | `client` | the same on the client's side |
//! | `flow` | lag and the throttle that follows it |

pub mod arbitration;
pub mod backup;
pub mod client;
pub mod flow;
pub mod inputs;
mod link;
pub mod output;
pub mod primary;

use std::fmt;
use std::time::Duration;

use crate::message::{Message, Role};

/// One connection of this process; never used again for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId(pub u64);

/// What a replica is told at its start.
#[derive(Clone, Debug)]
pub struct Config {
    /// Id of the run: replicas and clients of another one are turned away.
    pub instance: u64,
    /// Id of this replica, random.
    pub replica: u64,
    /// Silence after which a peer is suspected. Heartbeats go out five times as often.
    pub timeout: Duration,
    /// How often an unreachable arbiter is asked again.
    pub retry: Duration,
    /// Log bytes that the backup has not replayed yet; at this bound the primary stops executing.
    pub log_bytes_max: usize,
    /// Outputs that are not out yet; at this bound the primary stops executing.
    pub outputs_max: usize,
    /// Page chunks of a state transfer on their way at one time.
    pub chunks_max: u64,
    /// Execution lag of the backup at which the primary is slowed down.
    pub lag_max: Duration,
    /// `false`: release outputs at once. Unsafe, to show what the rule is for.
    pub output_rule: bool,
}

impl Config {
    /// The defaults for replica `replica` of run `instance`.
    #[must_use]
    pub fn new(instance: u64, replica: u64) -> Self {
        Self {
            instance,
            replica,
            timeout: Duration::from_millis(1000),
            retry: Duration::from_millis(250),
            log_bytes_max: 16 << 20,
            outputs_max: 1 << 16,
            chunks_max: 32,
            lag_max: Duration::from_millis(500),
            output_rule: true,
        }
    }

    /// The interval between two heartbeats.
    #[must_use]
    pub fn heartbeat(&self) -> Duration {
        self.timeout / 5
    }

    /// A gap between two calls that is taken for a pause of this process. It must be shorter than what makes a peer
    /// suspect us: silence of `timeout`, counted from a heartbeat that may be `timeout / 5` old.
    #[must_use]
    pub fn pause(&self) -> Duration {
        self.timeout / 2
    }
}

/// What to do on a connection, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Transmit {
    /// Send a message.
    Message(ConnId, Message),
    /// Close it once everything before is sent.
    Close(ConnId),
}

/// How a peer broke the protocol. Its connection is closed, nothing else happens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PeerError {
    /// A message that has no place here.
    Unexpected {
        /// Its kind.
        kind: &'static str,
    },
    /// A replica of another run.
    Instance {
        /// Ours.
        ours: u64,
        /// Theirs.
        theirs: u64,
    },
    /// A message of another generation than the one joined.
    Generation {
        /// Ours.
        ours: u64,
        /// Theirs.
        theirs: u64,
    },
    /// Two of the same role met.
    Role {
        /// The role of both.
        role: Role,
    },
    /// Numbered things that do not follow each other.
    Sequence {
        /// What is numbered.
        what: &'static str,
        /// The number that was due.
        due: u64,
        /// The number that came.
        came: u64,
    },
    /// More than the agreed bound was sent.
    Flood {
        /// What.
        what: &'static str,
    },
}

impl fmt::Display for PeerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PeerError::Unexpected { kind } => {
                write!(f, "the peer sent {kind} where it has no place")
            }
            PeerError::Instance { ours, theirs } => {
                write!(f, "the peer belongs to run {theirs:016x}, this is run {ours:016x}")
            }
            PeerError::Generation { ours, theirs } => {
                write!(f, "the peer speaks for generation {theirs}, this is generation {ours}")
            }
            PeerError::Role { role } => write!(f, "the peer is a {role}, too"),
            PeerError::Sequence { what, due, came } => {
                write!(f, "{what} {came} from the peer where {due} was due")
            }
            PeerError::Flood { what } => write!(f, "the peer sent more {what} than agreed"),
        }
    }
}

impl std::error::Error for PeerError {}
