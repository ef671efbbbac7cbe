//! What the CPU has: one table of features, from which CPUID, the bits of CR4 that can be set, and the decision whether an
//! encoding is an instruction at all are derived (SDM Vol. 2A, CPUID; Vol. 3A, 2.5).
//!
//! The models are the levels of the x86-64 psABI, each with what CPUs of that level bring along for a kernel.

use serde::{Deserialize, Serialize};

use super::regs::{cr4, efer};

/// Which CPU the guest sees.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum CpuModel {
    /// x86-64-v1: SSE and SSE2.
    V1,
    /// x86-64-v2: SSE3 to SSE4.2, POPCNT, CMPXCHG16B.
    V2,
    /// x86-64-v3 and everything else that this machine has.
    #[default]
    V3,
}

impl std::fmt::Display for CpuModel {
    /// As on the command line.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::V1 => "v1",
            Self::V2 => "v2",
            Self::V3 => "v3",
        })
    }
}

/// Where a feature shows besides CPUID.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shows {
    /// Some instruction needs it.
    Instruction,
    /// It is a mode: `Row::cr4`, or EFER.
    Mode,
    /// It says how something behaves that is always there.
    Fact,
}

/// Index of a register in what CPUID returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Output {
    Eax = 0,
    Ebx = 1,
    Ecx = 2,
    Edx = 3,
}

/// A feature flag of CPUID.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row {
    pub(crate) feature: Feature,
    pub(crate) leaf: u32,
    pub(crate) output: Output,
    pub(crate) bit: u32,
    /// The lowest model that has it.
    pub(crate) since: CpuModel,
    #[cfg_attr(not(test), expect(dead_code, reason = "a test compares it with what is implemented"))]
    pub(crate) shows: Shows,
    /// Bits of CR4 that can be set with it.
    pub(crate) cr4: u64,
}

macro_rules! features {
    ($($name:ident $leaf:literal $output:ident $bit:literal $since:ident $shows:ident $cr4:expr;)+) => {
        /// Features, by their names in the SDM.
        #[expect(non_camel_case_types, clippy::upper_case_acronyms, reason = "the SDM's names")]
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Feature {
            $($name,)+
        }

        /// All of them; the position is the number in a `FeatureSet`.
        pub(crate) const FEATURES: &[Row] = &[$(Row {
            feature: Feature::$name,
            leaf: $leaf,
            output: Output::$output,
            bit: $bit,
            since: CpuModel::$since,
            shows: Shows::$shows,
            cr4: $cr4,
        },)+];
    };
}

features! {
    // Name      leaf output bit, first model, where it shows, bits of CR4
    FPU                0x1 Edx  0 V1 Instruction 0;
    DE                 0x1 Edx  2 V1 Mode        cr4::DE;
    PSE                0x1 Edx  3 V1 Mode        cr4::PSE;
    TSC                0x1 Edx  4 V1 Instruction cr4::TSD;
    MSR                0x1 Edx  5 V1 Instruction 0;
    PAE                0x1 Edx  6 V1 Mode        cr4::PAE;
    CX8                0x1 Edx  8 V1 Instruction 0;
    APIC               0x1 Edx  9 V1 Fact        0;
    SEP                0x1 Edx 11 V1 Instruction 0;
    PGE                0x1 Edx 13 V1 Mode        cr4::PGE;
    CMOV               0x1 Edx 15 V1 Instruction 0;
    PAT                0x1 Edx 16 V1 Fact        0;
    PSE36              0x1 Edx 17 V1 Fact        0;
    CLFSH              0x1 Edx 19 V1 Instruction 0;
    MMX                0x1 Edx 23 V1 Instruction 0;
    FXSR               0x1 Edx 24 V1 Instruction cr4::OSFXSR;
    SSE                0x1 Edx 25 V1 Instruction cr4::OSXMMEXCPT;
    SSE2               0x1 Edx 26 V1 Instruction 0;
    SSE3               0x1 Ecx  0 V2 Instruction 0;
    PCLMULQDQ          0x1 Ecx  1 V3 Instruction 0;
    SSSE3              0x1 Ecx  9 V2 Instruction 0;
    FMA                0x1 Ecx 12 V3 Instruction 0;
    CMPXCHG16B         0x1 Ecx 13 V2 Instruction 0;
    PCID               0x1 Ecx 17 V3 Mode        cr4::PCIDE;
    SSE4_1             0x1 Ecx 19 V2 Instruction 0;
    SSE4_2             0x1 Ecx 20 V2 Instruction 0;
    X2APIC             0x1 Ecx 21 V2 Fact        0;
    MOVBE              0x1 Ecx 22 V3 Instruction 0;
    POPCNT             0x1 Ecx 23 V2 Instruction 0;
    TSC_DEADLINE       0x1 Ecx 24 V2 Fact        0;
    AESNI              0x1 Ecx 25 V3 Instruction 0;
    XSAVE              0x1 Ecx 26 V3 Instruction cr4::OSXSAVE;
    AVX                0x1 Ecx 28 V3 Instruction 0;
    F16C               0x1 Ecx 29 V3 Instruction 0;
    RDRAND             0x1 Ecx 30 V3 Instruction 0;
    HYPERVISOR         0x1 Ecx 31 V1 Fact        0;
    ARAT               0x6 Eax  2 V1 Fact        0;
    FSGSBASE           0x7 Ebx  0 V3 Instruction cr4::FSGSBASE;
    TSC_ADJUST         0x7 Ebx  1 V3 Fact        0;
    BMI1               0x7 Ebx  3 V3 Instruction 0;
    AVX2               0x7 Ebx  5 V3 Instruction 0;
    FDP_EXCPTN_ONLY    0x7 Ebx  6 V1 Fact        0;
    SMEP               0x7 Ebx  7 V3 Mode        cr4::SMEP;
    BMI2               0x7 Ebx  8 V3 Instruction 0;
    ERMS               0x7 Ebx  9 V3 Fact        0;
    INVPCID            0x7 Ebx 10 V3 Instruction 0;
    NO_FPU_CS_DS       0x7 Ebx 13 V1 Fact        0;
    RDSEED             0x7 Ebx 18 V3 Instruction 0;
    ADX                0x7 Ebx 19 V3 Instruction 0;
    SMAP               0x7 Ebx 20 V3 Instruction cr4::SMAP;
    CLFLUSHOPT         0x7 Ebx 23 V3 Instruction 0;
    SHA                0x7 Ebx 29 V3 Instruction 0;
    UMIP               0x7 Ecx  2 V3 Mode        cr4::UMIP;
    GFNI               0x7 Ecx  8 V3 Instruction 0;
    VAES               0x7 Ecx  9 V3 Instruction 0;
    VPCLMULQDQ         0x7 Ecx 10 V3 Instruction 0;
    RDPID              0x7 Ecx 22 V3 Instruction 0;
    MOVDIRI            0x7 Ecx 27 V3 Instruction 0;
    SERIALIZE          0x7 Edx 14 V3 Instruction 0;
    XSAVEOPT           0xd Eax  0 V3 Instruction 0;
    XSAVEC             0xd Eax  1 V3 Instruction 0;
    XGETBV_ECX1        0xd Eax  2 V3 Fact        0;
    XSAVES             0xd Eax  3 V3 Instruction 0;
    LAHF_SAHF          0x8000_0001 Ecx  0 V2 Instruction 0;
    LZCNT              0x8000_0001 Ecx  5 V3 Instruction 0;
    PREFETCHW          0x8000_0001 Ecx  8 V3 Fact        0;
    SYSCALL            0x8000_0001 Edx 11 V1 Instruction 0;
    NX                 0x8000_0001 Edx 20 V1 Mode        0;
    PDPE1GB            0x8000_0001 Edx 26 V3 Fact        0;
    RDTSCP             0x8000_0001 Edx 27 V2 Instruction 0;
    LM                 0x8000_0001 Edx 29 V1 Mode        0;
    INVARIANT_TSC      0x8000_0007 Edx  8 V1 Fact        0;
}

const _: () = assert!(FEATURES.len() <= 128);

/// A set of features.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct FeatureSet(u128);

impl FeatureSet {
    /// Those of a model.
    pub(crate) fn of(model: CpuModel) -> Self {
        FEATURES.iter().filter(|row| row.since <= model).fold(Self::default(), |set, row| set.with(row.feature))
    }

    pub(crate) const fn with(self, feature: Feature) -> Self {
        Self(self.0 | 1 << feature as u32)
    }

    pub(crate) const fn has(self, feature: Feature) -> bool {
        self.0 >> feature as u32 & 1 != 0
    }

    /// Whether everything in `needed` is here.
    pub(crate) const fn has_all(self, needed: Self) -> bool {
        needed.0 & !self.0 == 0
    }

    /// Those of both.
    #[cfg(test)]
    pub(crate) fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    fn rows(self) -> impl Iterator<Item = &'static Row> {
        FEATURES.iter().filter(move |row| self.has(row.feature))
    }

    /// The feature flags in one register of a CPUID leaf.
    pub(crate) fn flags(self, leaf: u32, output: Output) -> u32 {
        self.rows().filter(|row| row.leaf == leaf && row.output == output).fold(0, |flags, row| flags | 1 << row.bit)
    }

    /// The bits of CR4 that can be set. PCE is always one: RDPMC is older than CPUID.
    pub(crate) fn cr4(self) -> u64 {
        self.rows().fold(cr4::PCE, |bits, row| bits | row.cr4)
    }

    /// The bits of IA32_EFER that can be set.
    pub(crate) fn efer(self) -> u64 {
        efer::SCE | efer::LME | efer::LMA | if self.has(Feature::NX) { efer::NXE } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_the_order_of_the_numbers_and_no_bit_has_two_names() {
        for (i, row) in FEATURES.iter().enumerate() {
            assert_eq!(row.feature as usize, i);
            let same = |other: &&Row| (other.leaf, other.output, other.bit) == (row.leaf, row.output, row.bit);
            assert_eq!(FEATURES.iter().filter(same).count(), 1, "{:?}", row.feature);
        }
    }

    #[test]
    fn models_have_what_the_psabi_lists() {
        use Feature as F;
        let v1 = [F::CMOV, F::CX8, F::FPU, F::FXSR, F::MMX, F::SYSCALL, F::SSE, F::SSE2];
        let v2 = [F::CMPXCHG16B, F::LAHF_SAHF, F::POPCNT, F::SSE3, F::SSE4_1, F::SSE4_2, F::SSSE3];
        let v3 = [F::BMI1, F::BMI2, F::LZCNT, F::MOVBE];
        for (model, has, lacks) in [
            (CpuModel::V1, &v1[..], [&v2[..], &v3[..]].concat()),
            (CpuModel::V2, &[&v1[..], &v2[..]].concat(), v3.to_vec()),
            (CpuModel::V3, &[&v1[..], &v2[..], &v3[..]].concat(), vec![]),
        ] {
            let set = FeatureSet::of(model);
            assert!(has.iter().all(|&f| set.has(f)), "{model:?}");
            assert!(!lacks.iter().any(|&f| set.has(f)), "{model:?}");
        }
    }
}
