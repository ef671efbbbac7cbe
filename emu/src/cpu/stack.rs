//! The stack as far transfers, events and instructions outside the fast path see it (SDM Vol. 1, 6.2).

use super::Cpu;
use super::fault::{Fault, Trap};
use super::mode::truncated;
use super::regs::{RSP, SS};
use crate::mem::{Access, PAGE_BITS, is_canonical};
use crate::state::Segment;

/// Words pushed at once at most: an interrupt in virtual-8086 mode has ten, a call gate 35.
const WORDS_MAX: usize = 36;

/// A stack: the current one, or one that is about to be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stack {
    segment: Segment,
    /// Stack pointer.
    sp: u64,
    /// Bytes of the stack pointer: 8 in 64-bit mode, else as SS.B says.
    bytes: u8,
    /// Accesses are user accesses.
    user: bool,
}

impl Stack {
    /// A stack outside 64-bit mode.
    pub(crate) fn in_segment(segment: Segment, sp: u64, cpl: u8) -> Self {
        let bytes = segment.stack_bytes();
        Self { segment, sp: truncated(sp, bytes), bytes, user: cpl == 3 }
    }

    /// A stack of 64-bit mode.
    pub(crate) fn long(sp: u64, cpl: u8) -> Self {
        Self { segment: Segment::default(), sp, bytes: 8, user: cpl == 3 }
    }

    /// What RSP becomes: a pointer of 16 bits leaves the rest of `rsp`.
    pub(crate) fn pointer(&self, rsp: u64) -> u64 {
        if self.bytes == 2 { rsp & !0xffff | self.sp } else { self.sp }
    }

    /// Moves the stack pointer.
    pub(crate) fn drop_bytes(&mut self, by: u64) {
        self.sp = truncated(self.sp.wrapping_add(by), self.bytes);
    }
}

impl Cpu {
    /// The current stack.
    pub(crate) fn stack(&self) -> Stack {
        match self.is_long() {
            true => Stack::long(self.gpr[RSP], self.cpl()),
            false => Stack::in_segment(self.seg[SS], self.gpr[RSP], self.cpl()),
        }
    }

    /// Linear address of `bytes` at `at` from the top of `stack`.
    fn on_stack(&self, stack: &Stack, at: u64, bytes: u64, access: Access) -> Option<u64> {
        let offset = truncated(stack.sp.wrapping_add(at), stack.bytes);
        if stack.bytes == 8 {
            return (is_canonical(offset) && is_canonical(offset.wrapping_add(bytes - 1))).then_some(offset);
        }
        self.reach(&stack.segment, offset, bytes, access)
    }

    /// Pushes `words` of `bytes` each, the first one first: all of them, or with an error none. The error is that of the first
    /// that cannot be pushed, #SS with `error` if its place is not in the stack.
    pub(crate) fn push_words(&mut self, stack: &mut Stack, words: &[u64], bytes: u8, error: u32) -> Result<(), Trap> {
        let step = u64::from(bytes);
        let mut places = [0; WORDS_MAX];
        let mut probed = None;
        let mut at = 0u64;
        for (place, _) in places.iter_mut().zip(words) {
            at = at.wrapping_sub(step);
            *place = self.on_stack(stack, at, step, Access::Write).ok_or(Fault::ss(error))?;
            let page = Some(*place >> PAGE_BITS);
            if page != probed || (*place + step - 1) >> PAGE_BITS != *place >> PAGE_BITS {
                self.probe_write(*place, step, stack.user)?;
                probed = page;
            }
        }
        for (place, word) in places.iter().zip(words) {
            self.store(*place, *word, bytes.into(), stack.user)?;
        }
        stack.drop_bytes(at);
        Ok(())
    }

    /// `N` words of `bytes` each from `at` above the top of `stack`, lowest first.
    pub(crate) fn stack_words<const N: usize>(&mut self, stack: &Stack, at: u64, bytes: u8) -> Result<[u64; N], Trap> {
        let mut words = [0; N];
        for (at, word) in (at..).step_by(bytes.into()).zip(words.iter_mut()) {
            let place = self.on_stack(stack, at, bytes.into(), Access::Read).ok_or(Fault::SS0)?;
            *word = self.load_bytes(place, bytes)?;
        }
        Ok(words)
    }

    /// The word of `bytes` at `at` above the top of the current stack.
    pub(crate) fn stack_word(&mut self, at: u64, bytes: u8) -> Result<u64, Trap> {
        let [word] = self.stack_words(&self.stack(), at, bytes)?;
        Ok(word)
    }

    /// RSP after adding `by`.
    pub(crate) fn stack_moved(&self, by: u64) -> u64 {
        let mut stack = self.stack();
        stack.drop_bytes(by);
        stack.pointer(self.gpr[RSP])
    }

    /// Pushes the low `written` bytes of a word of `bytes`.
    pub(crate) fn push_part(&mut self, value: u64, bytes: u8, written: u8) -> Result<(), Trap> {
        let step = u64::from(bytes).wrapping_neg();
        let at = self.on_stack(&self.stack(), step, written.into(), Access::Write).ok_or(Fault::SS0)?;
        self.store(at, value, written.into(), self.user)?;
        self.gpr[RSP] = self.stack_moved(step);
        Ok(())
    }

    /// Pushes a word.
    pub(crate) fn push(&mut self, value: u64, bytes: u8) -> Result<(), Trap> {
        self.push_part(value, bytes, bytes)
    }
}
