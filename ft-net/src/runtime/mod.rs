//! A replica as a process: threads and sockets around one [`Node`](crate::node::Node).
//!
//! One thread owns the node and lets the machine run; it never waits for a peer, a disk or a terminal. Every other thread
//! does one thing that may block and reports to it:
//!
//! | thread | does |
//! |---|---|
//! | accept | takes connections |
//! | reader, writer (for each connection) | frames in, frames out |
//! | connect | finds and reaches a primary |
//! | storage | asks the arbiter, publishes who serves |
//! | console | writes the console of record |
//! | observer | tells the operator |
//! | network | is the other end of the guest's Ethernet ([`crate::user_net`]) |

mod attach;
mod connection;
mod console;
mod core;
mod host;
mod network;
mod observer;
mod seek;
mod storage;

pub use self::attach::{Attach, AttachEvent, ConsoleReader, Status, status};
pub use self::core::{run_backup, run_primary};
pub use self::host::{ProcessHost, random_id};
pub use self::observer::Observer;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use emu::Power;

use crate::node::disks::DiskOpener;
use crate::node::engine::EngineError;
use crate::shared::{Shared, SharedError};
use crate::user_net::{NetError, NetOptions};

/// What a replica is told at its start.
#[derive(Clone, Debug)]
pub struct Options {
    /// The shared directory of the run.
    pub shared: Shared,
    /// Id of this replica: [`random_id`].
    pub replica: u64,
    /// Where it listens when it serves, `host:port`; port 0: any.
    pub listen: String,
    /// What others connect to, if that is not where it listens.
    pub advertise: Option<String>,
    /// Where a backup finds its primary, if not by the shared directory.
    pub connect: Option<String>,
    /// Silence after which a peer is suspected.
    pub timeout: Duration,
    /// The network of a machine that has a network card, while this replica serves it.
    pub net: NetOptions,
    /// `false`: outputs do not wait for the backup. Unsafe.
    pub output_rule: bool,
    /// How a backup comes by the images of disks.
    pub disks: DiskOpener,
}

impl Options {
    /// The defaults: loopback, one second.
    #[must_use]
    pub fn new(shared: Shared) -> Self {
        Self {
            shared,
            replica: random_id(),
            listen: "127.0.0.1:0".to_owned(),
            advertise: None,
            connect: None,
            timeout: Duration::from_millis(1000),
            net: NetOptions::default(),
            output_rule: true,
            disks: DiskOpener::default(),
        }
    }
}

/// How a replica ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Exit {
    /// The guest is off. A backup that was only told so knows how if it had replayed everything.
    PoweredOff(Option<Power>),
    /// It lost its right to speak, for this reason.
    Halted(String),
    /// A backup cannot have the machine, for this reason.
    Unable(String),
    /// Its operator stopped it.
    Detached,
}

/// Why a replica could not start.
#[derive(Debug)]
pub enum StartError {
    /// The shared directory cannot be used.
    Shared(SharedError),
    /// The address cannot be listened on.
    Listen {
        /// The address.
        address: String,
        /// What the host says.
        error: std::io::Error,
    },
    /// The machine cannot be made.
    Machine(EngineError),
    /// The network cannot be had.
    Network(NetError),
    /// The arbiter does not give the first generation.
    Arbiter {
        /// Why.
        reason: String,
    },
    /// The host has no threads left.
    Thread(std::io::Error),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StartError::Shared(error) => error.fmt(f),
            StartError::Listen { address, error } => {
                write!(f, "cannot listen on {address}: {error}")
            }
            StartError::Machine(error) => error.fmt(f),
            StartError::Network(error) => error.fmt(f),
            StartError::Arbiter { reason } => {
                write!(f, "the arbiter does not give generation 1: {reason}")
            }
            StartError::Thread(error) => write!(f, "cannot start a thread: {error}"),
        }
    }
}

impl std::error::Error for StartError {}

impl From<SharedError> for StartError {
    fn from(error: SharedError) -> Self {
        StartError::Shared(error)
    }
}

/// The operator's hand on a running replica. Clones are the same hand; safe to use from a signal handler's thread.
#[derive(Clone, Debug, Default)]
pub struct Operator {
    wish: Arc<AtomicU8>,
}

const DETACH: u8 = 1;
const POWER_OFF: u8 = 2;

impl Operator {
    /// Stops this replica; the other one goes on.
    pub fn detach(&self) {
        self.wish.fetch_or(DETACH, Ordering::Relaxed);
    }

    /// Switches the guest off. Only the primary can.
    pub fn power_off(&self) {
        self.wish.fetch_or(POWER_OFF, Ordering::Relaxed);
    }

    fn take(&self) -> (bool, bool) {
        let wish = self.wish.swap(0, Ordering::Relaxed);
        (wish & DETACH != 0, wish & POWER_OFF != 0)
    }
}

/// Starts a thread with a name that shows in a debugger.
fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> std::io::Result<std::thread::JoinHandle<()>> {
    std::thread::Builder::new().name(name.to_owned()).spawn(work)
}
