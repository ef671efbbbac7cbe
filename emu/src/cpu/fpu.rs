//! The x87 as a stack and as images in memory (SDM Vol. 1, 8.1, 10.5.1).

use crate::fp::x80::{Env, flag};
use crate::state::{Fpu, X80};

/// Bits of the status word besides the exceptions.
pub(crate) mod status {
    /// Error summary: an unmasked exception is pending.
    pub(crate) const ES: u16 = 1 << 7;
    pub(crate) const C0: u16 = 1 << 8;
    pub(crate) const C1: u16 = 1 << 9;
    pub(crate) const C2: u16 = 1 << 10;
    pub(crate) const C3: u16 = 1 << 14;
    /// Busy: a copy of ES.
    pub(crate) const B: u16 = 1 << 15;
    /// Top of stack.
    pub(crate) const TOP: u16 = 7 << 11;
}

use status::{B, C1, ES, TOP};

/// The bits of the control word that can be set, and the one that always is.
const CONTROL_KNOWN: u16 = 0x1f7f;
const CONTROL_ONES: u16 = 0x40;

impl Fpu {
    fn place(&self, i: u8) -> usize {
        usize::from((self.top() + i) & 7)
    }

    pub(crate) fn top(&self) -> u8 {
        (self.status >> 11 & 7) as u8
    }

    pub(crate) fn set_top(&mut self, top: u8) {
        self.status = self.status & !TOP | u16::from(top & 7) << 11;
    }

    /// ST(i); `None` if it is empty.
    pub(crate) fn st(&self, i: u8) -> Option<X80> {
        let at = self.place(i);
        (self.used >> at & 1 != 0).then_some(self.regs[at])
    }

    /// Writes ST(i), which is no longer empty.
    pub(crate) fn set_st(&mut self, i: u8, value: X80) {
        let at = self.place(i);
        self.regs[at] = value;
        self.used |= 1 << at;
    }

    /// Empties ST(i).
    pub(crate) fn free(&mut self, i: u8) {
        self.used &= !(1 << self.place(i));
    }

    pub(crate) fn push(&mut self, value: X80) {
        self.set_top(self.top().wrapping_sub(1));
        self.set_st(0, value);
    }

    pub(crate) fn pop(&mut self) {
        self.free(0);
        self.set_top(self.top() + 1);
    }

    pub(crate) fn env(&self) -> Env {
        Env::new(self.control)
    }

    /// Takes over the exceptions of an instruction; returns whether its result counts. Exceptions of the operands that
    /// are not masked stop it, and hide those of the result (SDM Vol. 1, 8.4).
    pub(crate) fn report(&mut self, env: &Env) -> bool {
        let unmasked = env.raised & !self.control & flag::ALL;
        let stopped = unmasked & flag::OPERAND != 0;
        let raised = if stopped { env.raised & (flag::OPERAND | flag::SF) } else { env.raised };
        let c1 = env.c1 && (!stopped || raised & flag::SF != 0);
        self.status = self.status & !C1 | raised | if c1 { C1 } else { 0 };
        if unmasked != 0 {
            self.status |= ES | B;
        }
        !stopped
    }

    /// ES and B follow from the flags and their masks.
    pub(crate) fn update_summary(&mut self) {
        let pending = self.status & !self.control & flag::ALL != 0;
        self.status = self.status & !(ES | B) | if pending { ES | B } else { 0 };
    }

    pub(crate) fn set_control(&mut self, value: u16) {
        self.control = value & CONTROL_KNOWN | CONTROL_ONES;
        self.update_summary();
    }

    /// The tag word: valid, zero, special, empty for each register (SDM Vol. 1, 8.1.7).
    pub(crate) fn tag_word(&self) -> u16 {
        (0..8).rev().fold(0, |word, at| {
            let value = self.regs[at];
            let tag = match value.sign_exp & 0x7fff {
                _ if self.used >> at & 1 == 0 => 3,
                0 if value.sig == 0 => 1,
                0 | 0x7fff => 2,
                _ if value.sig >> 63 == 0 => 2,
                _ => 0,
            };
            word << 2 | tag
        })
    }

    pub(crate) fn set_tag_word(&mut self, word: u16) {
        self.used = (0..8).fold(0, |used, at| used | u8::from(word >> (2 * at) & 3 != 3) << at);
    }

    /// The head of the FXSAVE area up to XMM0, without MXCSR; `wide`: with 64-bit addresses (SDM Vol. 1, table 10-2).
    pub(crate) fn fx_image(&self, wide: bool) -> [u8; 160] {
        let mut image = [0; 160];
        let mut put = |at: usize, bytes: &[u8]| image[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, &self.control.to_le_bytes());
        put(2, &self.status.to_le_bytes());
        put(4, &[self.used]);
        put(6, &self.opcode.to_le_bytes());
        let bytes = if wide { 8 } else { 4 };
        put(8, &self.ip.to_le_bytes()[..bytes]);
        put(16, &self.dp.to_le_bytes()[..bytes]);
        for i in 0..8 {
            let value = self.regs[self.place(i)];
            put(32 + 16 * usize::from(i), &value.sig.to_le_bytes());
            put(40 + 16 * usize::from(i), &value.sign_exp.to_le_bytes());
        }
        image
    }

    /// The other way round; `word(at)` gives eight bytes of the image.
    pub(crate) fn from_fx(word: impl Fn(u64) -> u64, wide: bool) -> Self {
        let mask = if wide { u64::MAX } else { u32::MAX.into() };
        let head = word(0);
        let mut fpu = Self {
            status: (head >> 16) as u16,
            used: (head >> 32) as u8,
            opcode: (head >> 48) as u16 & 0x7ff,
            // Kept canonical.
            ip: (((word(8) & mask) as i64) << 16 >> 16) as u64,
            dp: word(16) & mask,
            ..Self::default()
        };
        for i in 0..8 {
            let at = 32 + 16 * u64::from(i);
            fpu.regs[fpu.place(i)] = X80 { sig: word(at), sign_exp: word(at + 8) as u16 };
        }
        fpu.set_control(head as u16);
        fpu
    }

    /// An MMX instruction is about to run: all registers are in use, the stack begins at R0 (SDM Vol. 1, 9.5.1).
    pub(crate) fn enter_mmx(&mut self) {
        self.used = 0xff;
        self.status &= !TOP;
    }
}
