//! Whether a saved state is one that a machine can be in. States come from files and peers: one that is not must be refused with
//! a word, not run into an assertion later.

use crate::config::{MachineConfig, MachineError};
use crate::cpu::flags;
use crate::cpu::model::{Feature, FeatureSet};
use crate::cpu::regs::{cr0, cr4, dr6, dr7, efer, xcr0};
use crate::cpu::{is_pat, pmu};
use crate::dev::uart::BACKLOG_MAX;
use crate::mem::{PHYS_BITS, is_canonical};
use crate::state::{CONSOLE_CLIENTS_MAX, CpuState, MachineState};

/// What is wrong, in words; nothing: `Ok`.
pub(crate) type Checked = Result<(), &'static str>;

/// An error unless `holds`.
pub(crate) fn ensure(holds: bool, what: &'static str) -> Checked {
    if holds { Ok(()) } else { Err(what) }
}

/// Counts beyond this are never reached, and leave room to add to them.
const COUNT_MAX: u64 = 1 << 62;
/// Bits of `Segment::rights` that a descriptor can have.
const RIGHTS: u16 = 0xf0ff;

impl MachineState {
    /// Checks that a machine of `config` can be in this state.
    ///
    /// # Errors
    /// Another version, or what is impossible about it.
    pub fn check(&self, config: &MachineConfig) -> Result<(), MachineError> {
        if self.version != Self::VERSION {
            return Err(MachineError::StateVersion(self.version));
        }
        self.check_all(config).map_err(MachineError::State)
    }

    fn check_all(&self, config: &MachineConfig) -> Checked {
        let at = self.position;
        ensure(at.retired <= COUNT_MAX && at.steps <= COUNT_MAX, "position")?;
        ensure(self.outputs <= COUNT_MAX && self.console_bytes <= self.outputs, "number of outputs")?;
        ensure(self.clients.len() <= CONSOLE_CLIENTS_MAX, "console clients")?;
        ensure(self.uart.backlog() <= BACKLOG_MAX, "console input that waits")?;
        self.clock.check(at.retired)?;
        self.uart.check()?;
        self.pic.check()?;
        self.lapic.check(FeatureSet::of(config.cpu).has(Feature::X2APIC))?;
        self.ioapic.check()?;
        self.pit.check()?;
        self.rtc.check()?;
        self.i8042.check()?;
        self.pm.check()?;
        self.pci.check(&config.devices)?;
        self.cpu.check(FeatureSet::of(config.cpu))
    }
}

impl CpuState {
    fn check(&self, features: FeatureSet) -> Checked {
        self.check_control(features)?;
        ensure(self.rflags & !flags::KNOWN == 0 && self.rflags & flags::FIXED != 0, "RFLAGS")?;
        let v86_possible = self.cr0 & cr0::PE != 0 && self.msr.efer & efer::LMA == 0;
        ensure(self.rflags & flags::VM == 0 || v86_possible, "RFLAGS: VM")?;
        let segments = self.seg.iter().chain([&self.ldtr, &self.tr]);
        for segment in segments {
            ensure(segment.rights & !RIGHTS == 0 && is_canonical(segment.base), "segment register")?;
        }
        ensure(is_canonical(self.gdtr.base) && is_canonical(self.idtr.base), "GDTR or IDTR")?;
        let [_, _, _, _, dr4, dr5, dr6, dr7] = self.dr;
        ensure(dr4 | dr5 == 0, "DR4 or DR5")?;
        ensure(dr6 & !dr6::KNOWN == dr6::ONES, "DR6")?;
        ensure(dr7 & !dr7::KNOWN == dr7::ONES, "DR7")?;
        ensure(self.debug_pending & !(dr6::HITS | dr6::BS | dr6::BT) == 0, "pending debug exceptions")?;
        ensure(self.mxcsr <= 0xffff, "MXCSR")?;
        ensure(self.fpu.opcode <= 0x7ff, "x87 opcode")?;
        ensure(pmu::is_possible(&self.pmu), "performance counters")?;
        self.check_msrs()
    }

    /// Control registers, and how they go together (SDM Vol. 3A, 2.5 and 4.1.1).
    fn check_control(&self, features: FeatureSet) -> Checked {
        let has = |register: u64, bit: u64| register & bit != 0;
        ensure(self.cr0 & !cr0::KNOWN == 0 && has(self.cr0, cr0::ET), "CR0")?;
        ensure(!has(self.cr0, cr0::PG) || has(self.cr0, cr0::PE), "CR0: PG without PE")?;
        ensure(!has(self.cr0, cr0::NW) || has(self.cr0, cr0::CD), "CR0: NW without CD")?;
        ensure(self.cr3 >> PHYS_BITS == 0, "CR3")?;
        ensure(self.cr4 & !features.cr4() == 0, "CR4")?;
        let long = has(self.msr.efer, efer::LMA);
        ensure(self.msr.efer & !features.efer() == 0, "IA32_EFER")?;
        ensure(long == (has(self.msr.efer, efer::LME) && has(self.cr0, cr0::PG)), "IA32_EFER: LMA")?;
        ensure(!long || has(self.cr4, cr4::PAE), "CR4: long mode without PAE")?;
        ensure(long || !has(self.cr4, cr4::PCIDE), "CR4: PCIDE outside long mode")?;
        ensure(self.xcr0 & !xcr0::KNOWN == 0 && has(self.xcr0, xcr0::X87), "XCR0")?;
        ensure(!has(self.xcr0, xcr0::AVX) || has(self.xcr0, xcr0::SSE), "XCR0: AVX without SSE")
    }

    fn check_msrs(&self) -> Checked {
        let msr = &self.msr;
        let addresses = [msr.lstar, msr.cstar, msr.kernel_gs_base, msr.sysenter_esp, msr.sysenter_eip];
        ensure(addresses.into_iter().all(is_canonical), "address in an MSR")?;
        ensure(u32::try_from(msr.fmask).is_ok(), "IA32_FMASK")?;
        ensure(is_pat(msr.pat), "IA32_PAT")
    }
}
