//! RDMSR and WRMSR (SDM Vol. 4).

use super::Cpu;
use super::fault::{Fault, Trap};
use super::model::Feature;
use super::regs::{FS, GS, cr0, efer};
use crate::mem::is_canonical;

const TSC: u32 = 0x10;
const PLATFORM_ID: u32 = 0x17;
const APIC_BASE: u32 = 0x1b;
const TSC_ADJUST: u32 = 0x3b;
const BIOS_SIGN_ID: u32 = 0x8b;
const MTRRCAP: u32 = 0xfe;
const SYSENTER_CS: u32 = 0x174;
const SYSENTER_ESP: u32 = 0x175;
const SYSENTER_EIP: u32 = 0x176;
const MISC_ENABLE: u32 = 0x1a0;
const DEBUGCTL: u32 = 0x1d9;
const PAT: u32 = 0x277;
/// The local APIC's registers in x2APIC mode.
const X2APIC: u32 = 0x800;
const X2APIC_LAST: u32 = 0x8ff;
const TSC_DEADLINE: u32 = 0x6e0;
const XSS: u32 = 0xda0;
const EFER: u32 = 0xc000_0080;
const STAR: u32 = 0xc000_0081;
const LSTAR: u32 = 0xc000_0082;
const CSTAR: u32 = 0xc000_0083;
const FMASK: u32 = 0xc000_0084;
const FS_BASE: u32 = 0xc000_0100;
const GS_BASE: u32 = 0xc000_0101;
const KERNEL_GS_BASE: u32 = 0xc000_0102;
const TSC_AUX: u32 = 0xc000_0103;

/// IA32_MISC_ENABLE as it always reads: fast strings, performance counters; no branch trace, no PEBS.
const MISC_ENABLE_VALUE: u64 = 1 | 1 << 7 | 1 << 11 | 1 << 12;
/// IA32_DEBUGCTL: LBR and BTF.
const DEBUGCTL_IGNORED: u64 = 3;

/// Whether IA32_PAT can have a value.
pub(crate) fn is_pat(value: u64) -> bool {
    value.to_le_bytes().iter().all(|t| matches!(t, 0 | 1 | 4..=7))
}

fn canonical(value: u64) -> Result<u64, Trap> {
    if is_canonical(value) { Ok(value) } else { Err(Fault::GP0.into()) }
}

fn low32(value: u64) -> Result<u32, Trap> {
    u32::try_from(value).map_err(|_| Fault::GP0.into())
}

impl Cpu {
    /// The time-stamp counter: guest time and what the guest added to it.
    pub(crate) fn tsc(&mut self) -> Result<u64, Trap> {
        Ok(self.guest_time()?.wrapping_add(self.msr.tsc_adjust))
    }

    /// RDMSR.
    pub(crate) fn read_msr(&mut self, number: u32) -> Result<u64, Trap> {
        let msr = &self.msr;
        Ok(match number {
            TSC => self.tsc()?,
            TSC_ADJUST => msr.tsc_adjust,
            APIC_BASE => self.bus.lapic.base(),
            TSC_DEADLINE if self.features.has(Feature::TSC_DEADLINE) => self.bus.lapic.deadline(),
            X2APIC..=X2APIC_LAST => self.read_x2apic(number - X2APIC)?,
            PLATFORM_ID | BIOS_SIGN_ID | MTRRCAP | XSS => 0,
            MISC_ENABLE => MISC_ENABLE_VALUE,
            DEBUGCTL => 0,
            SYSENTER_CS => msr.sysenter_cs,
            SYSENTER_ESP => msr.sysenter_esp,
            SYSENTER_EIP => msr.sysenter_eip,
            PAT => msr.pat,
            EFER => msr.efer,
            STAR => msr.star,
            LSTAR => msr.lstar,
            CSTAR => msr.cstar,
            FMASK => msr.fmask,
            FS_BASE => self.seg[FS].base,
            GS_BASE => self.seg[GS].base,
            KERNEL_GS_BASE => msr.kernel_gs_base,
            TSC_AUX => msr.tsc_aux.into(),
            _ => return self.read_pmu(number),
        })
    }

    /// WRMSR.
    pub(crate) fn write_msr(&mut self, number: u32, value: u64) -> Result<(), Trap> {
        match number {
            TSC => {
                let now = self.guest_time()?;
                self.adjust_tsc(value.wrapping_sub(now));
            }
            TSC_ADJUST => self.adjust_tsc(value),
            APIC_BASE => {
                let has_x2apic = self.features.has(Feature::X2APIC);
                self.bus.lapic.set_base(value, has_x2apic).map_err(|_| Fault::GP0)?;
            }
            TSC_DEADLINE if self.features.has(Feature::TSC_DEADLINE) => {
                self.bus.lapic.set_deadline(value, self.msr.tsc_adjust);
            }
            X2APIC..=X2APIC_LAST => self.write_x2apic(number - X2APIC, value)?,
            BIOS_SIGN_ID | MISC_ENABLE => {}
            // There are no supervisor state components.
            XSS if value == 0 => {}
            // Branches are neither recorded nor stepped over.
            DEBUGCTL if value & !DEBUGCTL_IGNORED == 0 => {}
            PAT if !is_pat(value) => return Err(Fault::GP0.into()),
            SYSENTER_CS => self.msr.sysenter_cs = value,
            SYSENTER_ESP => self.msr.sysenter_esp = canonical(value)?,
            SYSENTER_EIP => self.msr.sysenter_eip = canonical(value)?,
            PAT => self.msr.pat = value,
            EFER => self.write_efer(value)?,
            STAR => self.msr.star = value,
            LSTAR => self.msr.lstar = canonical(value)?,
            CSTAR => self.msr.cstar = canonical(value)?,
            FMASK => self.msr.fmask = low32(value)?.into(),
            FS_BASE => self.seg[FS].base = canonical(value)?,
            GS_BASE => self.seg[GS].base = canonical(value)?,
            KERNEL_GS_BASE => self.msr.kernel_gs_base = canonical(value)?,
            TSC_AUX => self.msr.tsc_aux = low32(value)?,
            _ => return self.write_pmu(number, value),
        }
        Ok(())
    }

    fn adjust_tsc(&mut self, value: u64) {
        self.msr.tsc_adjust = value;
        self.bus.lapic.adjust_tsc(value);
    }

    /// Guest time, if register `number` of the local APIC looks at it. #GP if it is no MSR now.
    fn x2apic_time(&mut self, number: u32) -> Result<u64, Trap> {
        match self.bus.lapic.is_x2apic() {
            false => Err(Fault::GP0.into()),
            true if self.bus.lapic.is_timed(number) => self.guest_time(),
            true => Ok(0),
        }
    }

    fn read_x2apic(&mut self, number: u32) -> Result<u64, Trap> {
        let now = self.x2apic_time(number)?;
        Ok(self.bus.lapic.read_msr(number, now).map_err(|_| Fault::GP0)?)
    }

    fn write_x2apic(&mut self, number: u32, value: u64) -> Result<(), Trap> {
        let now = self.x2apic_time(number)?;
        let ended = self.bus.lapic.write_msr(number, value, now).map_err(|_| Fault::GP0)?;
        self.bus.end_of_interrupt(ended);
        Ok(())
    }

    fn write_efer(&mut self, value: u64) -> Result<(), Trap> {
        let old = self.msr.efer;
        let toggles_long = (old ^ value) & efer::LME != 0 && self.cr0 & cr0::PG != 0;
        if value & !self.features.efer() != 0 || toggles_long {
            return Err(Fault::GP0.into());
        }
        self.msr.efer = value & !efer::LMA | old & efer::LMA;
        self.mode_changed();
        Ok(())
    }
}
