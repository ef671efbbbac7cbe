//! What is not compared. The manual leaves much undefined; emu follows recent Intel silicon wherever that is consistent,
//! so the list below is short. `hwdiff --silicon` repeats the experiment for flags.

use iced_x86::{Instruction, Mnemonic};

/// Parts of an outcome that may differ.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ignored {
    /// Bits of RFLAGS.
    pub flags: u64,
    /// The address of a page fault.
    pub cr2: bool,
}

/// What may differ after `instruction`.
#[must_use]
pub fn ignored(instruction: &Instruction) -> Ignored {
    match instruction.mnemonic() {
        // Which of several missing bytes is reported is not specified. Silicon reads an exception frame from its RFLAGS
        // downwards, and reports a byte that depends on the mask of MASKMOVDQU.
        Mnemonic::Iret | Mnemonic::Iretd | Mnemonic::Iretq | Mnemonic::Maskmovdqu => {
            Ignored { cr2: true, ..Ignored::default() }
        }
        // Flags: nothing. This CPU is consistent in all of them.
        _ => Ignored::default(),
    }
}
