//! Who may serve a generation: a test-and-set that all replicas of a run can reach (VM-FT 3.2).
//!
//! Its answers are sticky: a generation once won belongs to its winner for good, even if that one has died since.

mod file;

pub use file::FileArbiter;

use crate::proto::arbitration::{Answer, Ask};

/// A store that decides. Calls may block for as long as the storage does: never call them from the thread that speaks
/// to peers.
pub trait Arbiter: Send {
    /// Claims `generation` for this replica: [`Answer::Won`], also when it has been won by this replica before,
    /// [`Answer::Held`] or [`Answer::Unreachable`].
    fn claim(&mut self, generation: u64) -> Answer;

    /// Has anybody claimed `generation`? [`Answer::Held`], [`Answer::Free`] or [`Answer::Unreachable`].
    fn exists(&mut self, generation: u64) -> Answer;

    /// Answers a question of the protocol.
    fn answer(&mut self, ask: Ask) -> Answer {
        match ask {
            Ask::Claim(generation) => self.claim(generation),
            Ask::Exists(generation) => self.exists(generation),
        }
    }
}
