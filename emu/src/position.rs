//! Where the machine is: its only clock.

use serde::{Deserialize, Serialize};

/// A place in the execution of one machine.
///
/// `retired` counts retired instructions exactly as a single-stepped CPU does: an instruction that
/// faults does not retire, a REP string instruction retires once. `steps` counts what happened since the last
/// retirement without retiring anything: iterations of a REP, deliveries of faults and interrupts, chip deadlines
/// of the derived clock. So every place at which a machine can stop, and an input can arrive, has a position of its
/// own. Positions of one execution never decrease; running *to* a position ends at the first that is not below it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Position {
    /// Instructions retired since the machine was created.
    pub retired: u64,
    /// Steps since the last retirement that retired nothing: REP iterations, deliveries.
    pub steps: u64,
}

impl Position {
    /// The position between two instructions, after `retired` of them.
    #[must_use]
    pub const fn at(retired: u64) -> Self {
        Self { retired, steps: 0 }
    }
}

impl std::fmt::Display for Position {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.steps {
            0 => write!(f, "{}", self.retired),
            steps => write!(f, "{}+{steps}", self.retired),
        }
    }
}
