//! The machine's state as plain data: what is saved, transferred, digested. RAM is apart (`Machine::page`).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::dev::{I8042, Ioapic, Lapic, Pci, Pic, Pit, Pm, Rtc, Uart};
use crate::{Position, Power};

/// A segment register: the selector and its hidden descriptor (SDM Vol. 3A, 3.4.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Segment {
    /// Visible part.
    pub selector: u16,
    /// Linear address of the segment.
    pub base: u64,
    /// Limit in bytes, granularity applied.
    pub limit: u32,
    /// Descriptor bits 40-55 as in VMX access rights: type, S, DPL, P, AVL, L, D/B, G; 0: unusable (null).
    pub rights: u16,
}

/// GDTR or IDTR.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Table {
    /// Linear address.
    pub base: u64,
    /// Size in bytes, less one.
    pub limit: u16,
}

/// A number of the x87: double extended precision (SDM Vol. 1, 4.2.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct X80 {
    /// Significand with its explicit integer bit; the MMX register.
    pub sig: u64,
    /// Sign (bit 15) and biased exponent.
    pub sign_exp: u16,
}

/// The x87 (SDM Vol. 1, 8.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fpu {
    /// R0-R7, not relative to the top of stack. The low halves are MM0-MM7.
    pub regs: [X80; 8],
    /// Which of R0-R7 are not empty, R0 lowest.
    pub used: u8,
    /// Control word.
    pub control: u16,
    /// Status word, top of stack included.
    pub status: u16,
    /// Low 11 bits of the last instruction that raised an unmasked exception.
    pub opcode: u16,
    /// Address of the last instruction that was no control instruction.
    pub ip: u64,
    /// Address of the memory operand of the last instruction that raised an unmasked exception.
    pub dp: u64,
}

impl Default for Fpu {
    /// The state after FNINIT.
    fn default() -> Self {
        Self { regs: [X80::default(); 8], used: 0, control: 0x37f, status: 0, opcode: 0, ip: 0, dp: 0 }
    }
}

/// Registers of the CPU. Lazily kept state is materialised: equal behaviour, equal value.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CpuState {
    /// RAX RCX RDX RBX RSP RBP RSI RDI R8-R15.
    pub gpr: [u64; 16],
    /// Offset of the next instruction in CS: in 64-bit mode its linear address.
    pub rip: u64,
    /// All flags.
    pub rflags: u64,
    /// ES CS SS DS FS GS.
    pub seg: [Segment; 6],
    /// Local descriptor table.
    pub ldtr: Segment,
    /// Task register.
    pub tr: Segment,
    /// Global descriptor table.
    pub gdtr: Table,
    /// Interrupt descriptor table.
    pub idtr: Table,
    /// Control registers.
    pub cr0: u64,
    /// Page-fault linear address.
    pub cr2: u64,
    /// Page-table base.
    pub cr3: u64,
    /// Extensions.
    pub cr4: u64,
    /// What XSAVE manages and AVX needs.
    pub xcr0: u64,
    /// Page-directory-pointer-table entries, loaded with CR3 when PAE paging is on outside IA-32e mode.
    pub pdpte: [u64; 4],
    /// Debug registers 0-3, 6, 7 (DR4 and DR5 are aliases).
    pub dr: [u64; 8],
    /// Mode-specific registers that are plain storage, and EFER.
    pub msr: Msrs,
    /// XMM0-XMM15 as (low, high).
    pub xmm: [[u64; 2]; 16],
    /// The upper halves of YMM0-YMM15, likewise.
    pub ymm_high: [[u64; 2]; 16],
    /// SSE control and status.
    pub mxcsr: u32,
    /// x87 and MMX.
    pub fpu: Fpu,
    /// In HLT.
    pub halted: bool,
    /// Performance counters.
    pub pmu: Pmu,
    /// What is held off for one instruction.
    pub shadow: Shadow,
    /// NMIs wait for the IRET of the handler of one.
    pub nmi_blocked: bool,
    /// Debug exceptions of the instruction before, as bits of DR6: delivered before the next one.
    pub debug_pending: u64,
}

/// General performance counters.
pub(crate) const PMU_COUNTERS: usize = 2;

/// Performance counters, as the MSRs that they are (SDM Vol. 4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pmu {
    /// IA32_PMCx.
    pub counters: [u64; PMU_COUNTERS],
    /// IA32_PERFEVTSELx.
    pub select: [u64; PMU_COUNTERS],
    /// IA32_FIXED_CTR0: instructions retired.
    pub fixed: u64,
    /// IA32_FIXED_CTR_CTRL.
    pub fixed_ctrl: u64,
    /// IA32_PERF_GLOBAL_CTRL.
    pub global_ctrl: u64,
    /// IA32_PERF_GLOBAL_STATUS.
    pub global_status: u64,
}

impl Default for Pmu {
    /// After power-on, the general counters are enabled globally.
    fn default() -> Self {
        let global_ctrl = (1 << PMU_COUNTERS) - 1;
        Self { counters: [0; 2], select: [0; 2], fixed: 0, fixed_ctrl: 0, global_ctrl, global_status: 0 }
    }
}

/// What is held off for one instruction, and since which one (SDM Vol. 3A, 6.8.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Shadow {
    /// Nothing.
    #[default]
    None,
    /// Interrupts, after STI.
    Sti,
    /// Interrupts and debug exceptions, after a load of SS.
    MovSs,
}

/// MSRs as the SDM names them (Vol. 4).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Msrs {
    /// IA32_EFER.
    pub efer: u64,
    /// IA32_STAR.
    pub star: u64,
    /// IA32_LSTAR.
    pub lstar: u64,
    /// IA32_CSTAR.
    pub cstar: u64,
    /// IA32_FMASK.
    pub fmask: u64,
    /// IA32_KERNEL_GS_BASE.
    pub kernel_gs_base: u64,
    /// IA32_TSC_AUX.
    pub tsc_aux: u32,
    /// IA32_TSC_ADJUST: added to guest time to give the TSC.
    pub tsc_adjust: u64,
    /// IA32_SYSENTER_CS.
    pub sysenter_cs: u64,
    /// IA32_SYSENTER_ESP.
    pub sysenter_esp: u64,
    /// IA32_SYSENTER_EIP.
    pub sysenter_eip: u64,
    /// IA32_PAT.
    pub pat: u64,
}

/// Guest time (`clock.rs`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClockState {
    /// Guest time in nanoseconds at `base_retired`.
    pub base_ns: u64,
    /// Retired count at which `base_ns` was set (derived clock).
    pub base_retired: u64,
    /// Nanoseconds per instruction, 32.32 fixed point (derived clock).
    pub rate: u64,
    /// Value of the last clock input.
    pub input_ns: u64,
    /// Retired count of the last clock input.
    pub input_retired: u64,
    /// Where time was asked for last: an instruction that looks at several clocks asks once (host clock).
    pub asked: Option<Position>,
}

/// Console clients that are remembered. One that has been silent for longest makes room for a new one.
pub const CONSOLE_CLIENTS_MAX: usize = 256;

/// What is known of a client that types into the console.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConsoleClient {
    /// Number of its last input.
    pub seq: u64,
    /// Which console input of the machine that was.
    pub turn: u64,
}

/// Everything of a machine but RAM and configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MachineState {
    /// [`MachineState::VERSION`].
    pub version: u32,
    /// Where it is.
    pub position: Position,
    /// Guest time.
    pub clock: ClockState,
    /// Number of the last output.
    pub outputs: u64,
    /// Console bytes sent.
    pub console_bytes: u64,
    /// Console clients, at most [`CONSOLE_CLIENTS_MAX`] of them.
    pub clients: BTreeMap<u64, ConsoleClient>,
    /// The operator's request to switch off, taken before the next instruction.
    pub switch_off: bool,
    /// Off, and why.
    pub power: Option<Power>,
    /// The CPU.
    pub cpu: CpuState,
    /// Console UART.
    pub uart: Uart,
    /// The pair of 8259s.
    pub pic: Pic,
    /// Local APIC.
    pub lapic: Lapic,
    /// I/O APIC.
    pub ioapic: Ioapic,
    /// Interval timer.
    pub pit: Pit,
    /// Real-time clock.
    pub rtc: Rtc,
    /// Keyboard controller and keyboard.
    pub i8042: I8042,
    /// ACPI fixed hardware.
    pub pm: Pm,
    /// PCI devices.
    pub pci: Pci,
}

impl MachineState {
    /// Version of this layout; a state of another one is refused.
    pub const VERSION: u32 = 3;
}
