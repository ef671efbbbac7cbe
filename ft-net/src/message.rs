//! What travels between replicas, and between a client and the replica that serves. docs/protocol.md tells the story.

use emu::{Control, Output};
use serde::{Deserialize, Serialize};

/// One message. [`crate::frame`] puts it on a byte stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Message {
    /// First message in both directions between replicas.
    Hello(Hello),
    /// The primary does not take this backup; the reason is for people. The connection ends.
    Refuse {
        /// One line.
        reason: String,
    },
    /// State transfer begins.
    StateBegin {
        /// What a machine needs to be made, encoded: `MachineConfig`, and where the primary has the images of its disks.
        config: Vec<u8>,
    },
    /// Some pages. A later copy of a page replaces an earlier one.
    Pages {
        /// 1, 2, 3 ... within one transfer.
        chunk: u64,
        /// Encoded pages.
        bytes: Vec<u8>,
    },
    /// The backup has made the machine and taken in every chunk up to this one. The first comes before any chunk, once the images
    /// of its disks are found to be the same.
    PagesAck {
        /// The last chunk; 0: none yet.
        chunk: u64,
    },
    /// State transfer is complete: from here on the backup can take over.
    StateEnd(Box<StateEnd>),
    /// Log entries `first..=last`.
    Log {
        /// Number of the first entry.
        first: u64,
        /// Number of the last entry.
        last: u64,
        /// The last output that has reached the outside.
        released: u64,
        /// The primary's guest clock, ns.
        clock_ns: u64,
        /// The encoded entries.
        bytes: Vec<u8>,
    },
    /// Backup to primary: what it holds and how far it has replayed. Also its heartbeat.
    Ack(Ack),
    /// Primary to backup, when there is nothing else to say.
    Heartbeat {
        /// The generation it serves.
        generation: u64,
        /// The last entry sent.
        last_entry: u64,
        /// The last output that has reached the outside.
        released: u64,
        /// The primary's guest clock, ns.
        clock_ns: u64,
    },
    /// The sender leaves, and it is not a failure.
    Bye(Bye),
    /// First message of a client.
    ClientHello {
        /// Its identity, random; inputs are numbered for each client.
        client: u64,
    },
    /// Typed bytes.
    ClientInput {
        /// 1, 2, 3 ... for each client.
        seq: u64,
        /// What was typed.
        bytes: Vec<u8>,
    },
    /// Every input of this client up to `seq` will survive a crash of the sender.
    ClientAck {
        /// The last such input.
        seq: u64,
    },
    /// Answer to [`Message::ClientHello`], also when it is repeated as a ping.
    ClientStatus(ClientStatus),
    /// A button was pressed. Not numbered and not sent again: what is lost with a replica can be seen to be, and pressed again.
    ClientControl(Control),
    /// The size of the client's terminal, when it is connected and whenever it changes. The last that was told holds.
    ClientSize {
        /// Characters in a line.
        columns: u16,
        /// Lines.
        rows: u16,
    },
}

/// Who is speaking.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// Id of the run, as in the shared directory.
    pub instance: u64,
    /// Id of the speaking replica, random.
    pub replica: u64,
    /// The generation it serves; 0 from a backup.
    pub generation: u64,
    /// What the speaker is.
    pub role: Role,
}

/// The two roles of a replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Role {
    /// Executes, records, speaks.
    Primary,
    /// Replays.
    Backup,
}

impl std::fmt::Display for Role {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Role::Primary => "primary",
            Role::Backup => "backup",
        })
    }
}

/// The last message of a state transfer: everything that is not pages, cut between two entries.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateEnd {
    /// The generation that the backup joins; it may claim the next one.
    pub generation: u64,
    /// The encoded `MachineState`.
    pub state: Vec<u8>,
    /// The last entry whose effect is in the state. The log goes on with the next.
    pub last_entry: u64,
    /// The last output that has reached the outside.
    pub released: u64,
    /// Outputs `released + 1 ..` that the machine has produced already.
    pub unreleased: Vec<Output>,
    /// The primary's guest clock, ns.
    pub clock_ns: u64,
}

/// Where the backup is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ack {
    /// Every entry up to this one is in the backup's buffer.
    pub received: u64,
    /// Every entry up to this one has been replayed.
    pub replayed: u64,
    /// Retired instructions of the replaying machine.
    pub retired: u64,
}

/// Why a replica leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Bye {
    /// The guest is off and all its output is out: both end.
    PowerOff {
        /// The last output of this machine.
        outputs: u64,
    },
    /// The operator stopped this replica: the other one goes on.
    Detach,
    /// The backup's replay does not match the log: it is of no use and will not take over.
    Diverged,
    /// The backup cannot have the machine that it was sent: an image of a disk is missing there, or is another one.
    Unable,
}

/// What a client may know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientStatus {
    /// The generation that serves.
    pub generation: u64,
    /// Id of the serving replica.
    pub replica: u64,
    /// Is there a backup that could take over?
    pub protected: bool,
    /// The last output that has reached the outside.
    pub released: u64,
}

impl Message {
    /// The kind, for error messages.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Message::Hello(_) => "Hello",
            Message::Refuse { .. } => "Refuse",
            Message::StateBegin { .. } => "StateBegin",
            Message::Pages { .. } => "Pages",
            Message::PagesAck { .. } => "PagesAck",
            Message::StateEnd(_) => "StateEnd",
            Message::Log { .. } => "Log",
            Message::Ack(_) => "Ack",
            Message::Heartbeat { .. } => "Heartbeat",
            Message::Bye(_) => "Bye",
            Message::ClientHello { .. } => "ClientHello",
            Message::ClientInput { .. } => "ClientInput",
            Message::ClientAck { .. } => "ClientAck",
            Message::ClientStatus(_) => "ClientStatus",
            Message::ClientControl(_) => "ClientControl",
            Message::ClientSize { .. } => "ClientSize",
        }
    }
}
