//! What the pair needs of a machine with its log. The protocol never looks inside either.

use std::fmt;

use emu::{Input, Output, Position};

use super::Host;
pub use super::clock::Answers;

/// How a slice of execution ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// There is more to do at once.
    Busy,
    /// Nothing to do before the next input.
    Idle,
}

/// Entries as they travel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Number of the first entry.
    pub first: u64,
    /// Number of the last entry.
    pub last: u64,
    /// The encoded entries.
    pub bytes: Vec<u8>,
}

/// An output and the entry that the Output Rule waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Produced {
    /// 1, 2, 3 ... on every replica alike.
    pub number: u64,
    /// Number of its log entry; 0 from a [`Follower`].
    pub entry: u64,
    /// The output.
    pub output: Output,
}

/// A live machine whose doing is recorded: what a primary runs.
pub trait Leader: Sized {
    /// The same machine while it replays.
    type Follower: Follower<Leader = Self>;

    /// Executes at most about `budget` instructions; its questions are answered by the [`Answers`] given at its making.
    fn run(&mut self, budget: u64) -> Pace;

    /// Delivers `input` at the current position and records it.
    fn deliver(&mut self, input: Input);

    /// Records the current position, so that a backup can follow a guest that logs nothing.
    fn mark(&mut self);

    /// Number of the last entry recorded.
    fn last_entry(&self) -> u64;

    /// The entries recorded since the last call, in one or more segments: until `None`.
    fn take_segment(&mut self) -> Option<Segment>;

    /// The next output produced.
    fn poll_output(&mut self) -> Option<Produced>;

    /// Where the machine is.
    fn position(&self) -> Position;

    /// The guest time that the machine has seen last.
    fn clock_ns(&self) -> u64;

    /// The guest time at which the machine wants an [`Input::Clock`].
    fn clock_due_ns(&self) -> Option<u64>;

    /// The last input of `client` that the machine has.
    fn console_seq(&self, client: u64) -> u64;

    /// Can the machine take more typed bytes?
    fn console_room(&self) -> bool;

    /// Does its console know the size of a terminal?
    fn has_size(&self) -> bool {
        false
    }

    /// The hardware address of its network card, if it has one.
    fn mac(&self) -> Option<[u8; 6]> {
        None
    }

    /// Can the machine take more frames?
    fn frame_room(&self) -> bool {
        false
    }

    /// The encoded configuration, and what else [`Follower::new`] needs.
    fn config(&self) -> Vec<u8>;

    /// Every page that is not as in a new machine, and forgets which were written.
    fn all_pages(&mut self) -> Vec<u32>;

    /// Instructions met that the machine does not implement, by name, each once: they raised #UD.
    fn take_unimplemented(&mut self) -> Vec<String> {
        Vec::new()
    }

    /// The pages written since the last call of this or of [`Self::all_pages`].
    fn dirty_pages(&mut self) -> Vec<u32>;

    /// The contents of `pages`, encoded.
    fn encode_pages(&self, pages: &[u32]) -> Vec<u8>;

    /// Everything but pages, encoded. Called with no entry or output left to take.
    fn state(&mut self) -> Vec<u8>;
}

/// A machine that replays: what a backup runs.
pub trait Follower: Sized {
    /// The same machine once it is live.
    type Leader: Leader<Follower = Self>;

    /// A machine with RAM all zero, and nothing written to its disks, which `host` has. `None`: not yet, try again.
    ///
    /// # Errors
    /// If `config` is not an encoded configuration, or the host cannot provide such a machine.
    fn new(config: &[u8], host: &dyn Host) -> Result<Option<Self>, EngineError>;

    /// Takes in pages. Returns how many.
    ///
    /// # Errors
    /// If `bytes` are not encoded pages of this machine.
    fn write_pages(&mut self, bytes: &[u8]) -> Result<u64, EngineError>;

    /// Takes in the rest of the state; the log goes on after `last_entry`.
    ///
    /// # Errors
    /// If `state` is not an encoded state of this machine.
    fn restore(&mut self, state: &[u8], last_entry: u64) -> Result<(), EngineError>;

    /// Takes in the next entries of the log.
    ///
    /// # Errors
    /// If they are not encoded entries that begin where the last ones ended.
    fn feed(&mut self, segment: &Segment) -> Result<(), EngineError>;

    /// Replays at most about `budget` instructions, never beyond the log.
    ///
    /// # Errors
    /// If the machine does something else than the log says.
    fn run(&mut self, budget: u64) -> Result<Pace, EngineError>;

    /// The next output produced by replay.
    fn poll_output(&mut self) -> Option<Produced>;

    /// The last entry replayed.
    fn replayed(&self) -> u64;

    /// Where the machine is.
    fn position(&self) -> Position;

    /// The guest time that the machine has seen last.
    fn clock_ns(&self) -> u64;

    /// Ends the replay and carries on live. Every entry fed has been replayed; the next one recorded has the next number.
    ///
    /// # Errors
    /// If something is left to replay.
    fn go_live(self, answers: Answers) -> Result<Self::Leader, EngineError>;
}

/// What went wrong in a machine or its log, in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineError(pub String);

impl fmt::Display for EngineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for EngineError {}
