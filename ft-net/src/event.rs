//! What a replica tells its operator: one clear line each.

use std::fmt;
use std::time::Duration;

use emu::{Position, Power};

/// Something that the operator of a replica may want to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// This replica serves `generation`, at start or after a takeover.
    Serving {
        /// The generation.
        generation: u64,
    },
    /// A backup begins to receive the machine.
    Joining {
        /// Its id.
        backup: u64,
    },
    /// State transfer goes on.
    Transfer {
        /// Pages sent or received so far.
        pages: u64,
        /// Bytes sent or received so far.
        bytes: u64,
    },
    /// The backup has said that it holds the whole machine. The Output Rule holds since the machine was cut.
    Protected {
        /// Id of the backup.
        backup: u64,
        /// Where the machine was cut.
        last_entry: u64,
        /// How long the guest stood still for the last pages.
        pause: Duration,
    },
    /// A backup was turned away.
    Refused {
        /// Its id.
        backup: u64,
        /// Why.
        reason: String,
    },
    /// The backup is gone.
    BackupLost {
        /// Why.
        reason: String,
    },
    /// The primary runs on without a backup.
    Alone {
        /// The generation it has claimed for that.
        generation: u64,
    },
    /// The arbiter cannot be reached: nothing is decided, nothing is released.
    ArbiterUnreachable {
        /// The generation in question.
        generation: u64,
        /// Why.
        reason: String,
    },
    /// The backup looks for a primary.
    Waiting {
        /// Why there is none yet.
        reason: String,
    },
    /// The backup holds the whole machine and follows the log.
    Following {
        /// The generation it has joined.
        generation: u64,
        /// Id of the primary.
        primary: u64,
        /// The last entry whose effect is in the state received.
        last_entry: u64,
    },
    /// The backup takes the primary for dead and asks the arbiter.
    Suspected {
        /// Why.
        reason: String,
        /// The last entry that the backup holds.
        held: u64,
        /// How many of them it still has to replay.
        behind: u64,
    },
    /// The backup has become the primary.
    TookOver {
        /// The generation that it serves now.
        generation: u64,
        /// Where it carries on.
        position: Position,
        /// Outputs known to be out before.
        released: u64,
        /// Outputs emitted again, because nobody knows whether the old primary did.
        reissued: u64,
        /// From suspicion to going live.
        took: Duration,
    },
    /// A peer broke the protocol; its connection is closed.
    BadPeer {
        /// What it did.
        reason: String,
    },
    /// The guest met an instruction that this version does not implement: #UD.
    Unimplemented {
        /// Its mnemonic.
        name: String,
        /// Instructions retired until it was noticed.
        retired: u64,
    },
    /// The guest is without a network here.
    NoNetwork {
        /// Why.
        reason: String,
    },
    /// The shared directory does not work; what needs it is tried again and again.
    Storage {
        /// What does not work.
        reason: String,
    },
    /// This replica has no right to speak any more.
    Halted {
        /// Why.
        reason: String,
    },
    /// This backup cannot have the machine.
    Unable {
        /// Why.
        reason: String,
    },
    /// The guest is off and everything it said is out.
    PoweredOff {
        /// How; a backup that was told so does not ask.
        power: Option<Power>,
    },
    /// The operator stopped this replica.
    Detached,
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Event::Serving { generation } => write!(f, "serving, generation {generation}"),
            Event::Joining { backup } => write!(f, "backup {backup:016x} is joining"),
            Event::Transfer { pages, bytes } => {
                write!(f, "state transfer: {pages} pages, {} KiB", bytes / 1024)
            }
            Event::Protected { backup, last_entry, pause } => write!(
                f,
                "protected by backup {backup:016x} from entry {last_entry} (the guest paused {:.1} ms)",
                pause.as_secs_f64() * 1e3
            ),
            Event::Unimplemented { name, retired } => {
                write!(f, "the guest met {name}, which is not implemented: #UD, before instruction {retired}")
            }
            Event::Refused { backup, reason } => {
                write!(f, "backup {backup:016x} refused: {reason}")
            }
            Event::BackupLost { reason } => write!(f, "backup lost: {reason}"),
            Event::Alone { generation } => {
                write!(f, "NOT PROTECTED: running alone, generation {generation}, until a backup joins")
            }
            Event::ArbiterUnreachable { generation, reason } => {
                write!(f, "waiting for the arbiter (generation {generation}): {reason}")
            }
            Event::Waiting { reason } => write!(f, "waiting for a primary: {reason}"),
            Event::Following { generation, primary, last_entry } => {
                write!(f, "backup of {primary:016x}, generation {generation}, following from entry {last_entry}")
            }
            Event::Suspected { reason, held, behind } => {
                write!(f, "primary lost: {reason}; log held up to entry {held}, {behind} still to replay")
            }
            Event::TookOver { generation, position, released, reissued, took } => write!(
                f,
                "TOOK OVER: generation {generation}, at instruction {position}, {released} outputs were out, \
                 {reissued} reissued, {:.1} ms after suspicion",
                took.as_secs_f64() * 1e3
            ),
            Event::BadPeer { reason } => write!(f, "connection closed: {reason}"),
            Event::NoNetwork { reason } => write!(f, "the guest has no network: {reason}"),
            Event::Storage { reason } => write!(f, "storage trouble, trying again: {reason}"),
            Event::Halted { reason } => write!(f, "halted: {reason}"),
            Event::Unable { reason } => write!(f, "cannot have this machine: {reason}"),
            Event::PoweredOff { power: None } => write!(f, "the guest is off"),
            Event::PoweredOff { power: Some(Power::Off { code }) } => {
                write!(f, "the guest switched itself off, exit code {code}")
            }
            Event::PoweredOff { power: Some(Power::Reset) } => write!(f, "the guest asked for a reset"),
            Event::PoweredOff { power: Some(Power::TripleFault) } => write!(f, "the guest died of a triple fault"),
            Event::PoweredOff { power: Some(Power::Dead) } => {
                write!(f, "the guest halted with interrupts off: nothing can wake it")
            }
            Event::Detached => write!(f, "stopped by the operator"),
        }
    }
}
