//! Flags that are not compared. The manual leaves many undefined; emu follows recent Intel silicon wherever that is
//! consistent, so the list below is short. `hwdiff --silicon` repeats the experiment.

use iced_x86::Instruction;

/// Bits of RFLAGS that may differ after `instruction`.
#[must_use]
pub fn ignored_flags(_: &Instruction) -> u64 {
    // Nothing: this CPU is consistent in all of them.
    0
}
