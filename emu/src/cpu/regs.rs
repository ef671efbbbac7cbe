//! Register numbers and control-register bits, as the SDM names them.

/// Index into `Cpu::seg`.
pub(crate) const ES: usize = 0;
/// Code segment.
pub(crate) const CS: usize = 1;
/// Stack segment.
pub(crate) const SS: usize = 2;
/// Data segment.
pub(crate) const DS: usize = 3;
/// FS.
pub(crate) const FS: usize = 4;
/// GS.
pub(crate) const GS: usize = 5;

/// Index into `Cpu::gpr`.
pub(crate) const RAX: usize = 0;
/// RCX.
pub(crate) const RCX: usize = 1;
/// RDX.
pub(crate) const RDX: usize = 2;
/// RBX.
pub(crate) const RBX: usize = 3;
/// RSP.
pub(crate) const RSP: usize = 4;
/// RBP.
pub(crate) const RBP: usize = 5;
/// RSI.
pub(crate) const RSI: usize = 6;
/// RDI.
pub(crate) const RDI: usize = 7;
/// R11.
pub(crate) const R11: usize = 11;

/// CR0 (SDM Vol. 3A, 2.5).
pub(crate) mod cr0 {
    pub(crate) const PE: u64 = 1 << 0;
    pub(crate) const MP: u64 = 1 << 1;
    pub(crate) const EM: u64 = 1 << 2;
    pub(crate) const TS: u64 = 1 << 3;
    pub(crate) const ET: u64 = 1 << 4;
    pub(crate) const NE: u64 = 1 << 5;
    pub(crate) const WP: u64 = 1 << 16;
    pub(crate) const AM: u64 = 1 << 18;
    pub(crate) const NW: u64 = 1 << 29;
    pub(crate) const CD: u64 = 1 << 30;
    pub(crate) const PG: u64 = 1 << 31;
    /// The bits that exist.
    pub(crate) const KNOWN: u64 = PE | MP | EM | TS | ET | NE | WP | AM | NW | CD | PG;
}

/// CR4.
pub(crate) mod cr4 {
    pub(crate) const TSD: u64 = 1 << 2;
    pub(crate) const DE: u64 = 1 << 3;
    pub(crate) const PSE: u64 = 1 << 4;
    pub(crate) const PAE: u64 = 1 << 5;
    pub(crate) const PGE: u64 = 1 << 7;
    pub(crate) const PCE: u64 = 1 << 8;
    pub(crate) const OSFXSR: u64 = 1 << 9;
    pub(crate) const OSXMMEXCPT: u64 = 1 << 10;
    pub(crate) const UMIP: u64 = 1 << 11;
    pub(crate) const FSGSBASE: u64 = 1 << 16;
    pub(crate) const PCIDE: u64 = 1 << 17;
    pub(crate) const OSXSAVE: u64 = 1 << 18;
    pub(crate) const SMEP: u64 = 1 << 20;
    pub(crate) const SMAP: u64 = 1 << 21;
}

/// State components: bits of XCR0 and of the masks of XSAVE (SDM Vol. 1, 13.1).
pub(crate) mod xcr0 {
    pub(crate) const X87: u64 = 1 << 0;
    /// XMM registers and MXCSR.
    pub(crate) const SSE: u64 = 1 << 1;
    /// Upper halves of the YMM registers.
    pub(crate) const AVX: u64 = 1 << 2;
    /// The bits that can be set.
    pub(crate) const KNOWN: u64 = X87 | SSE | AVX;
}

/// IA32_EFER.
pub(crate) mod efer {
    pub(crate) const SCE: u64 = 1 << 0;
    pub(crate) const LME: u64 = 1 << 8;
    pub(crate) const LMA: u64 = 1 << 10;
    pub(crate) const NXE: u64 = 1 << 11;
}

/// DR6.
pub(crate) mod dr6 {
    /// Breakpoints that were hit.
    pub(crate) const HITS: u64 = 0xf;
    /// Single-step.
    pub(crate) const BS: u64 = 1 << 14;
    /// An access to a debug register was caught by DR7.GD.
    pub(crate) const BD: u64 = 1 << 13;
    /// A switch to a task whose TSS has T set.
    pub(crate) const BT: u64 = 1 << 15;
    /// Bits that read as one.
    pub(crate) const ONES: u64 = 0xffff_0ff0;
    /// Bits that can be set.
    pub(crate) const KNOWN: u64 = 0xe00f;
}

/// DR7.
pub(crate) mod dr7 {
    /// Breakpoints that are enabled, locally or globally.
    pub(crate) const ENABLED: u64 = 0xff;
    /// What a task switch disables: L0-L3 and LE.
    pub(crate) const LOCAL: u64 = 0x155;
    /// General detect: the next access to a debug register is #DB.
    pub(crate) const GD: u64 = 1 << 13;
    /// Bits that read as one.
    pub(crate) const ONES: u64 = 0x400;
    /// Bits that can be set.
    pub(crate) const KNOWN: u64 = 0xffff_23ff;
}
