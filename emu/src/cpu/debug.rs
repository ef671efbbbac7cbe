//! Debug exceptions: breakpoints on code, data and ports, single-step (SDM Vol. 3B, 17.2 and 17.3).
//!
//! Nothing here costs anything while DR7 enables no breakpoint. When it does, instructions run one by one, and no access is
//! answered by the TLB (`Cpu::checked`), so that each is seen.

use super::Cpu;
use super::fault::Fault;
use super::flags;
use super::regs::{CS, cr4, dr6, dr7};
use crate::mem::Access;
use crate::state::Shadow;

/// What a breakpoint waits for: R/W in DR7.
mod kind {
    pub(super) const EXECUTE: u64 = 0;
    pub(super) const WRITE: u64 = 1;
    /// With CR4.DE.
    pub(super) const PORT: u64 = 2;
    pub(super) const ACCESS: u64 = 3;
}

impl Cpu {
    /// Whether any breakpoint is enabled.
    #[inline]
    pub(crate) fn has_breakpoints(&self) -> bool {
        self.dr[7] & dr7::ENABLED != 0
    }

    /// The bits B0-B3 of the enabled breakpoints of these kinds that `bytes` from `addr` touch.
    fn hits(&self, addr: u64, bytes: u64, kinds: &[u64]) -> u64 {
        let mut hit = 0;
        for n in 0..4 {
            let control = self.dr[7] >> (16 + 4 * n);
            let length = [1, 2, 8, 4][(control >> 2 & 3) as usize];
            // The low bits of the address are ignored (SDM Vol. 3B, 17.2.5).
            let start = self.dr[n] & !(length - 1);
            let touched =
                start <= addr.saturating_add(bytes.saturating_sub(1)) && addr <= start.saturating_add(length - 1);
            if self.dr[7] >> (2 * n) & 3 != 0 && kinds.contains(&(control & 3)) && touched {
                hit |= 1 << n;
            }
        }
        hit
    }

    /// Notes an access to memory that is about to happen. Out of line, as hardly anyone watches.
    #[inline]
    pub(crate) fn watch_memory(&mut self, addr: u64, bytes: u64, access: Access) {
        if self.has_breakpoints() {
            let kinds = if access == Access::Write { &[kind::WRITE, kind::ACCESS][..] } else { &[kind::ACCESS] };
            self.debug_pending |= self.hits(addr, bytes, kinds);
        }
    }

    /// Notes an access to ports.
    pub(crate) fn watch_port(&mut self, port: u16, bytes: u8) {
        if self.has_breakpoints() && self.cr4 & cr4::DE != 0 {
            self.debug_pending |= self.hits(port.into(), bytes.into(), &[kind::PORT]);
        }
    }

    /// A breakpoint on the instruction at `rip`: the fault to deliver. MOV SS suppresses it, as RF does.
    pub(crate) fn code_breakpoint(&mut self, shadow: Shadow) -> Option<Fault> {
        if !self.has_breakpoints() || self.rflags & flags::RF != 0 || shadow == Shadow::MovSs {
            return None;
        }
        let base = if self.is_long() { 0 } else { self.seg[CS].base };
        let linear = base.wrapping_add(self.rip) & self.ip_mask;
        match self.hits(linear, 1, &[kind::EXECUTE]) {
            0 => None,
            hit => {
                self.report(hit);
                Some(Fault::DB)
            }
        }
    }

    /// Whether a trap waits to be delivered, and nothing holds it off.
    pub(crate) fn debug_trap_is_due(&self) -> bool {
        self.debug_pending != 0 && self.shadow != Shadow::MovSs
    }

    /// #DB for what the instruction before did.
    pub(crate) fn debug_trap(&mut self) {
        let hit = std::mem::take(&mut self.debug_pending);
        self.report(hit);
        self.fault(Fault::DB);
        self.steps += 1;
    }

    fn report(&mut self, hit: u64) {
        self.dr[6] = self.dr[6] & !dr6::HITS | hit;
    }
}
