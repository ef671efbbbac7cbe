//! The user-mode network: a guest's Ethernet whose other end are ordinary sockets of this process, as QEMU's `-netdev user`.
//!
//! | who | address |
//! |---|---|
//! | the guest, by DHCP | 10.0.2.15/24 |
//! | the host (its loopback) and the router, answers pings | 10.0.2.2 |
//! | DNS forwarder, to the host's resolver | 10.0.2.3 |
//!
//! TCP connections of the guest end here and are carried on by sockets of the host; so are UDP flows. Forwarded ports lead
//! the other way. IPv4 only, without fragments.
//!
//! | module | is |
//! |---|---|
//! | `options` | what the user says of the network |
//! | `plan` | who has which address |
//! | `link` | frames on their way to the guest |
//! | `segment`, `dhcp` | what the guest says on its Ethernet, sorted or answered |
//! | `tcp` | one TCP connection: the guest's end here, and a stream |
//! | `flows`, `datagrams`, `doors` | the sockets of the host: TCP, UDP, forwarded ports |
//! | `resolver` | the host's own resolver |
//! | `relay`, `wire` | the thread, and how it and the machine's thread wake each other |

mod datagrams;
mod dhcp;
mod doors;
mod flows;
mod link;
mod options;
mod plan;
mod relay;
mod resolver;
mod segment;
mod tcp;
mod wire;

pub use self::options::{Forward, NetOptions, OptionError, Protocol};
pub use self::plan::{GATEWAY, GUEST, NAMESERVER};

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::{self, SyncSender};
use std::thread::JoinHandle;

use mio::{Poll, Token, Waker};

use self::relay::Relay;
use self::wire::Wire;

/// Frames of the guest that wait for this thread; more are lost.
const FROM_GUEST_MAX: usize = 1024;

/// Wakes the thread.
const WAKER: Token = Token(0);

/// Takes a frame for the guest; [`UserNet::taken`] is called for each when the machine has it.
type Deliver = Box<dyn FnMut(Vec<u8>) + Send>;

/// What to do about a forwarded port that is in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ports {
    /// Do not start.
    Now,
    /// Try until they are free: after a takeover the old primary may still have them.
    WhenFree,
}

/// Why there is no network.
#[derive(Debug)]
pub enum NetError {
    /// A forwarded port cannot be listened on.
    Port(SocketAddr, io::Error),
    /// The host lacks what the network needs.
    Host(io::Error),
}

impl fmt::Display for NetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Port(at, error) => write!(f, "cannot forward {at}: {error}"),
            Self::Host(error) => write!(f, "cannot start the network: {error}"),
        }
    }
}

impl std::error::Error for NetError {}

impl From<io::Error> for NetError {
    fn from(error: io::Error) -> Self {
        Self::Host(error)
    }
}

/// Takes the guest's frames to the network, from any thread.
#[derive(Clone, Debug)]
pub struct Uplink {
    to: SyncSender<Vec<u8>>,
    wire: Arc<Wire>,
}

impl Uplink {
    /// A frame of the guest. Never blocks; a network that cannot keep up loses frames.
    pub fn send(&self, frame: Vec<u8>) {
        if self.to.try_send(frame).is_ok() {
            self.wire.wake();
        }
    }
}

/// A running network. It ends, and its connections with it, when this is dropped.
#[derive(Debug)]
pub struct UserNet {
    uplink: Uplink,
    forwards: Vec<Forward>,
    thread: Option<JoinHandle<()>>,
}

impl UserNet {
    /// Starts the thread. `deliver` gets the frames for the guest; it must not block.
    ///
    /// # Errors
    /// If a forwarded port cannot be had now and `ports` says so, or the host lacks something.
    pub fn start(
        options: &NetOptions,
        ports: Ports,
        deliver: impl FnMut(Vec<u8>) + Send + 'static,
    ) -> Result<Self, NetError> {
        let mut options = options.clone();
        options.nameserver = options.nameserver.or_else(resolver::of_host);
        let poll = Poll::new()?;
        let wire = Arc::new(Wire::new(Waker::new(poll.registry(), WAKER)?));
        let mut relay = Relay::new(poll, options, Arc::clone(&wire), Box::new(deliver))?;
        match relay.open_doors() {
            Err((at, error)) if ports == Ports::Now => return Err(NetError::Port(at, error)),
            _ => {}
        }
        let forwards = relay.doors().iter().map(|door| door.forward).collect();
        let (to, from_guest) = mpsc::sync_channel(FROM_GUEST_MAX);
        let thread = std::thread::Builder::new().name("network".to_owned()).spawn(move || relay.run(&from_guest))?;
        Ok(Self { uplink: Uplink { to, wire }, forwards, thread: Some(thread) })
    }

    /// A frame of the guest, as by [`Self::uplink`].
    pub fn send(&self, frame: Vec<u8>) {
        self.uplink.send(frame);
    }

    /// For another thread.
    #[must_use]
    pub fn uplink(&self) -> Uplink {
        self.uplink.clone()
    }

    /// The machine has taken a frame that was delivered: another may come.
    pub fn taken(&self) {
        self.uplink.wire.taken();
    }

    /// The forwarded ports, with the number that the host chose instead of 0.
    #[must_use]
    pub fn forwards(&self) -> &[Forward] {
        &self.forwards
    }
}

impl Drop for UserNet {
    fn drop(&mut self) {
        self.uplink.wire.cut();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join(); // Its ports are free now.
        }
    }
}
