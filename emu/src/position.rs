//! Where the machine is: its only clock.

use serde::{Deserialize, Serialize};

/// A place in the execution of one machine.
///
/// `retired` counts retired instructions exactly as a single-stepped CPU does: an instruction that
/// faults does not retire, a REP string instruction retires once. `rep` counts REP iterations done
/// since the last retirement, so that a place inside a long REP has a position of its own; it goes
/// back to 0 at the next retirement. Positions of one execution never decrease.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Position {
    /// Instructions retired since the machine was created.
    pub retired: u64,
    /// Iterations of a REP string instruction done since the last retirement.
    pub rep: u64,
}

impl Position {
    /// The position between two instructions, after `retired` of them.
    #[must_use]
    pub const fn at(retired: u64) -> Self {
        Self { retired, rep: 0 }
    }
}

impl std::fmt::Display for Position {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.rep {
            0 => write!(f, "{}", self.retired),
            rep => write!(f, "{}+{rep}", self.retired),
        }
    }
}
