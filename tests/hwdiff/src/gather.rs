//! Gathers, whose memory operand is as many places as there are indices.

use iced_x86::{Instruction, OpCodeOperandKind as Kind, Register};

use crate::forms::{Form, is_vsib};
use crate::generate::Draft;
use crate::layout::{DATA, DATA_LEN};
use crate::rng::Rng;

/// What a form gathers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Gather {
    pub(crate) elements: usize,
    /// Bytes of an element, and of an index.
    pub(crate) bytes: usize,
    index_bytes: usize,
    /// The first of the registers that indices are in.
    first: Register,
}

/// Indices as they lie in a register.
pub(crate) type Indices = [u8; 32];

impl Gather {
    /// `None`: no gather. `instruction` has the form's registers.
    pub(crate) fn of(form: Form, instruction: &Instruction) -> Option<Self> {
        let kind = form.code.op_code().op_kinds().iter().find(|kind| is_vsib(kind))?;
        let index_bytes = if matches!(kind, Kind::mem_vsib64x | Kind::mem_vsib64y) { 8 } else { 4 };
        let wide = matches!(kind, Kind::mem_vsib32y | Kind::mem_vsib64y);
        let first = if wide { Register::YMM0 } else { Register::XMM0 };
        let bytes = instruction.memory_size().size();
        let elements = (instruction.op0_register().size() / bytes).min(first.size() / index_bytes);
        Some(Self { elements, bytes, index_bytes, first })
    }

    /// Sets the index register: another than those of the result and the mask, or (`any`) perhaps one of them, which is
    /// invalid. Gives its number.
    pub(crate) fn set_index(self, instruction: &mut Instruction, scale: u64, any: bool, rng: &mut Rng) -> usize {
        let taken = [instruction.op0_register().number(), instruction.op2_register().number()];
        let free: Vec<usize> = (0..16).filter(|n| any || !taken.contains(n)).collect();
        let number = rng.pick(&free);
        instruction.set_memory_index(self.first + u32::try_from(number).unwrap_or(0));
        instruction.set_memory_index_scale(u32::try_from(scale).unwrap_or(1));
        number
    }

    /// Indices that lead, times `scale`, up to 7 bytes before the offset that `at` gives for an element.
    pub(crate) fn indices(self, scale: u64, mut at: impl FnMut(usize) -> u64) -> Indices {
        let mut indices = [0; 32];
        for (n, index) in indices.chunks_exact_mut(self.index_bytes).enumerate() {
            let word = (at(n) as i64 / scale as i64).to_le_bytes();
            index.copy_from_slice(&word[..self.index_bytes]);
        }
        indices
    }

    /// The offset of element `n`.
    fn offset(self, indices: &Indices, n: usize, scale: u64) -> u64 {
        let mut word = [0; 8];
        word[8 - self.index_bytes..].copy_from_slice(&indices[n * self.index_bytes..][..self.index_bytes]);
        let index = i64::from_le_bytes(word) >> (64 - 8 * self.index_bytes);
        (index as u64).wrapping_mul(scale)
    }
}

impl Draft<'_> {
    /// A base and a vector of indices that mostly lead into the window, and something to be found there.
    pub(crate) fn gathered(&mut self, gather: Gather) {
        let scale = self.rng.pick(&[1u64, 2, 4, 8]);
        let any = self.rng.one_in(16);
        let number = gather.set_index(&mut self.instruction, scale, any, self.rng);
        let indices = gather.indices(scale, |_| match self.rng.below(24) {
            0 => self.rng.draw(),
            1 => self.rng.below(2 * DATA_LEN).wrapping_sub(DATA_LEN),
            _ => self.rng.below(DATA_LEN - 64),
        });
        let half = |at: usize| indices[at..at + 16].iter().rev().fold(0, |all, byte| all << 8 | u128::from(*byte));
        (self.cpu.xmm[number], self.cpu.ymm_high[number]) = (half(0), half(16));
        for n in 0..gather.elements {
            let offset = gather.offset(&indices, n, scale);
            if offset <= DATA_LEN - gather.bytes as u64 {
                let element = self.rng.bytes(gather.bytes);
                self.patch(DATA + offset, &element);
            }
        }
        let base = self.rng.below(16);
        let displacement = self.rng.below(256).wrapping_sub(128);
        self.cpu.gpr[usize::try_from(base).unwrap_or(0)] = DATA.wrapping_sub(displacement);
        self.instruction.set_memory_base(Register::RAX + u32::try_from(base).unwrap_or(0));
        self.instruction.set_memory_displacement64(displacement);
        self.instruction.set_memory_displ_size(1);
    }
}
