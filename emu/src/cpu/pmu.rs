//! Performance counters: instructions retired, exactly (SDM Vol. 3B, chapter 20, architectural performance monitoring version 2).
//!
//! They are brought up to date when a chain of blocks is left, and when somebody looks: an instruction that changes the privilege
//! level ends its chain, so a chain belongs to the level at which it began. The WRMSR that starts a counter is its first. No
//! chain goes beyond an overflow that interrupts.

use super::Cpu;
use super::fault::{Fault, Trap};
use super::regs::cr4;
use crate::state::{PMU_COUNTERS, Pmu};

const PMC: u32 = 0xc1;
const PERFEVTSEL: u32 = 0x186;
const FIXED_CTR0: u32 = 0x309;
const FIXED_CTR_CTRL: u32 = 0x38d;
const GLOBAL_STATUS: u32 = 0x38e;
const GLOBAL_CTRL: u32 = 0x38f;
const GLOBAL_OVF_CTRL: u32 = 0x390;

/// Bits in a counter.
const WIDTH: u32 = 48;
const MASK: u64 = (1 << WIDTH) - 1;
/// The fixed counter in the global registers.
const FIXED: u64 = 1 << 32;
const GLOBAL: u64 = FIXED | ((1 << PMU_COUNTERS) - 1);
/// OVF_BUFFER and CondChgd, which can be cleared and are never set.
const GLOBAL_CLEAR: u64 = GLOBAL | 3 << 62;
/// FIXED_CTR_CTRL: in ring 0, in the others, and the interrupt.
const FIXED_PMI: u64 = 0b1000;
const FIXED_KNOWN: u64 = 0b0011 | FIXED_PMI;

/// IA32_PERFEVTSELx.
mod select {
    /// Event and unit mask of "instructions retired", and the counter mask, which must be 0.
    pub(super) const EVENT: u64 = 0xff00_ffff;
    pub(super) const RETIRED: u64 = 0x00c0;
    pub(super) const USR: u64 = 1 << 16;
    pub(super) const OS: u64 = 1 << 17;
    pub(super) const EDGE: u64 = 1 << 18;
    pub(super) const INT: u64 = 1 << 20;
    pub(super) const EN: u64 = 1 << 22;
    /// All bits but those of version 3 and above.
    pub(super) const KNOWN: u64 = 0xffff_ffff & !(1 << 21);
}

/// RDPMC's ECX: a fixed counter.
const RDPMC_FIXED: u32 = 1 << 30;

/// CPUID leaf 0AH: version 2, two counters and a fixed one of 48 bits; of the seven events only "instructions retired".
pub(super) const LEAF: [u32; 4] =
    [2 | (PMU_COUNTERS as u32) << 8 | WIDTH << 16 | 7 << 24, 0x7f & !(1 << 1), 0, 1 | WIDTH << 5];

impl Pmu {
    /// Whether something counts anywhere.
    fn is_on(&self) -> bool {
        self.global_ctrl & FIXED != 0 && self.fixed_ctrl & 3 != 0
            || (0..PMU_COUNTERS).any(|n| self.global_ctrl >> n & 1 != 0 && self.select[n] & select::EN != 0)
    }

    /// Whether a counter interrupts when it overflows: a general one, or the fixed one behind them.
    fn interrupts(&self, n: usize) -> bool {
        match self.select.get(n) {
            Some(select) => select & select::INT != 0,
            None => self.fixed_ctrl & FIXED_PMI != 0,
        }
    }

    /// Instructions after which an overflow may interrupt at the earliest.
    fn until_interrupt(&self) -> Option<u64> {
        let counters = self.counters.iter().chain([&self.fixed]).enumerate();
        counters.filter(|&(n, _)| self.interrupts(n)).map(|(_, counter)| MASK + 1 - counter).min()
    }

    /// Counts `retired` instructions of ring 0, or of another one; whether an overflow interrupts.
    fn count(&mut self, retired: u64, ring0: bool) -> bool {
        let fixed_ring = if ring0 { 1 } else { 2 };
        if self.global_ctrl & FIXED != 0 && self.fixed_ctrl & fixed_ring != 0 {
            self.fixed += retired;
        }
        let ring = if ring0 { select::OS } else { select::USR };
        for n in 0..PMU_COUNTERS {
            let wanted = self.select[n] & (select::EVENT | select::EDGE) == select::RETIRED;
            if wanted
                && self.global_ctrl >> n & 1 != 0
                && self.select[n] & select::EN != 0
                && self.select[n] & ring != 0
            {
                self.counters[n] += retired;
            }
        }
        (0..=PMU_COUNTERS).fold(false, |interrupts, n| self.overflow(n) | interrupts)
    }

    /// Wraps a counter that has overflowed; whether that interrupts.
    fn overflow(&mut self, n: usize) -> bool {
        let (counter, bit) = match self.counters.get_mut(n) {
            Some(counter) => (counter, 1 << n),
            None => (&mut self.fixed, FIXED),
        };
        if *counter <= MASK {
            return false;
        }
        *counter &= MASK;
        self.global_status |= bit;
        self.interrupts(n)
    }
}

impl Cpu {
    /// A chain of blocks begins.
    #[inline]
    pub(super) fn begin_counting(&mut self) {
        (self.counted, self.counted_ring0) = (self.retired, self.cpl() == 0);
    }

    /// Brings the counters up to `retired`.
    #[inline]
    pub(super) fn count_retired(&mut self) {
        let retired = self.retired - std::mem::replace(&mut self.counted, self.retired);
        if self.pmu.is_on() && self.pmu.count(retired, self.counted_ring0) {
            self.bus.lapic.raise_performance();
        }
    }

    /// The retired count beyond which no chain may go.
    #[inline]
    pub(crate) fn overflow_at(&self) -> u64 {
        let until = if self.pmu.is_on() { self.pmu.until_interrupt() } else { None };
        until.map_or(u64::MAX, |until| self.retired.saturating_add(until))
    }

    /// RDPMC (SDM Vol. 2B).
    pub(crate) fn read_counter(&mut self, number: u32) -> Result<u64, Trap> {
        if self.cpl() > 0 && self.cr4 & cr4::PCE == 0 {
            return Err(Fault::GP0.into());
        }
        self.count_retired();
        match number {
            RDPMC_FIXED => Ok(self.pmu.fixed),
            n => self.pmu.counters.get(n as usize).copied().ok_or(Fault::GP0.into()),
        }
    }

    /// RDMSR of what belongs here.
    pub(super) fn read_pmu(&mut self, number: u32) -> Result<u64, Trap> {
        self.count_retired();
        let pmu = &self.pmu;
        let of = |first: u32| (number - first) as usize % PMU_COUNTERS;
        Ok(match number {
            PMC..PMC_END => pmu.counters[of(PMC)],
            PERFEVTSEL..PERFEVTSEL_END => pmu.select[of(PERFEVTSEL)],
            FIXED_CTR0 => pmu.fixed,
            FIXED_CTR_CTRL => pmu.fixed_ctrl,
            GLOBAL_STATUS => pmu.global_status,
            GLOBAL_CTRL => pmu.global_ctrl,
            GLOBAL_OVF_CTRL => 0,
            _ => return Err(Fault::GP0.into()),
        })
    }

    /// WRMSR of what belongs here.
    pub(super) fn write_pmu(&mut self, number: u32, value: u64) -> Result<(), Trap> {
        self.count_retired();
        let pmu = &mut self.pmu;
        let of = |first: u32| (number - first) as usize % PMU_COUNTERS;
        let known = |mask: u64| if value & !mask == 0 { Ok(value) } else { Err(Trap::from(Fault::GP0)) };
        match number {
            // Only 32 bits can be written; the others are copies of the highest (20.2.8).
            PMC..PMC_END => pmu.counters[of(PMC)] = value as u32 as i32 as u64 & MASK,
            PERFEVTSEL..PERFEVTSEL_END => pmu.select[of(PERFEVTSEL)] = known(select::KNOWN)?,
            FIXED_CTR0 => pmu.fixed = known(MASK)?,
            FIXED_CTR_CTRL => pmu.fixed_ctrl = known(FIXED_KNOWN)?,
            GLOBAL_CTRL => pmu.global_ctrl = known(GLOBAL)?,
            GLOBAL_OVF_CTRL => pmu.global_status &= !known(GLOBAL_CLEAR)?,
            _ => return Err(Fault::GP0.into()),
        }
        Ok(())
    }
}

const PMC_END: u32 = PMC + PMU_COUNTERS as u32;
const PERFEVTSEL_END: u32 = PERFEVTSEL + PMU_COUNTERS as u32;

/// What makes a state of the counters impossible.
pub(crate) fn is_possible(pmu: &Pmu) -> bool {
    pmu.counters.iter().chain([&pmu.fixed]).all(|&counter| counter <= MASK)
        && pmu.select.iter().all(|&select| select & !select::KNOWN == 0)
        && pmu.fixed_ctrl & !FIXED_KNOWN == 0
        && (pmu.global_ctrl | pmu.global_status) & !GLOBAL == 0
}
