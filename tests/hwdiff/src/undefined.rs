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
    /// Bits of the x87's status word.
    pub fsw: u16,
    /// Units in the last place of x87 registers.
    pub ulps: u128,
}

/// What may differ after `instruction`.
#[must_use]
pub fn ignored(instruction: &Instruction) -> Ignored {
    match instruction.mnemonic() {
        // Which of several missing bytes is reported is not specified. Silicon reads an exception frame from its RFLAGS
        // downwards, and reports a byte that depends on the mask of MASKMOVDQU.
        Mnemonic::Iret
        | Mnemonic::Iretd
        | Mnemonic::Iretq
        | Mnemonic::Maskmovdqu
        | Mnemonic::Vmaskmovdqu
        | Mnemonic::Maskmovq
        | Mnemonic::Vmaskmovps
        | Mnemonic::Vmaskmovpd
        | Mnemonic::Vpmaskmovd
        | Mnemonic::Vpmaskmovq => Ignored { cr2: true, ..Ignored::default() },
        // The order in which the pieces of an image are read or written is not specified either.
        Mnemonic::Fldenv
        | Mnemonic::Fnstenv
        | Mnemonic::Fnsave
        | Mnemonic::Frstor
        | Mnemonic::Fxsave
        | Mnemonic::Fxsave64
        | Mnemonic::Fxrstor
        | Mnemonic::Fxrstor64
        | Mnemonic::Xsave
        | Mnemonic::Xsave64
        | Mnemonic::Xsaveopt
        | Mnemonic::Xsaveopt64
        | Mnemonic::Xsavec
        | Mnemonic::Xsavec64
        | Mnemonic::Xrstor
        | Mnemonic::Xrstor64 => Ignored { cr2: true, ..Ignored::default() },
        // Within one unit of the exact result on either side; whether that is rounded up is not the same then.
        Mnemonic::F2xm1
        | Mnemonic::Fyl2x
        | Mnemonic::Fyl2xp1
        | Mnemonic::Fptan
        | Mnemonic::Fpatan
        | Mnemonic::Fsin
        | Mnemonic::Fcos
        | Mnemonic::Fsincos => Ignored { fsw: 0x200, ulps: 1, ..Ignored::default() },
        // Flags: nothing. This CPU is consistent in all of them.
        _ => Ignored::default(),
    }
}
