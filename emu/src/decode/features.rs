//! Which features of the CPU an instruction needs.

use iced_x86::{CodeSize, CpuidFeature, DecoderOptions, Instruction, Mnemonic};

use super::Operation;
use crate::cpu::model::{Feature, FeatureSet};

/// What the features make of encodings that are one instruction with them, and another one without.
pub(super) fn options(features: FeatureSet) -> u32 {
    // WBNOINVD, which is not here, is WBINVD with a prefix; TZCNT and LZCNT are BSF and BSR with one.
    let without = |feature, option| if features.has(feature) { 0 } else { option };
    DecoderOptions::NO_WBNOINVD
        | without(Feature::BMI1, DecoderOptions::NO_MPFX_0FBC)
        | without(Feature::LZCNT, DecoderOptions::NO_MPFX_0FBD)
}

/// The features that an instruction needs; `None`: one that no model has.
pub(super) fn needs(i: &Instruction) -> Option<FeatureSet> {
    use CpuidFeature as C;
    use Feature as F;
    let mut set = FeatureSet::default();
    for feature in i.cpuid_features() {
        set = set.with(match feature {
            C::INTEL8086 | C::INTEL186 | C::INTEL286 | C::INTEL386 | C::INTEL486 | C::X64 | C::CPUID | C::RDPMC => {
                continue;
            }
            C::ADX => F::ADX,
            C::AES => F::AESNI,
            C::AVX => F::AVX,
            C::AVX2 => F::AVX2,
            C::BMI1 => F::BMI1,
            C::BMI2 => F::BMI2,
            C::CLFLUSHOPT => F::CLFLUSHOPT,
            C::CLFSH => F::CLFSH,
            C::CMOV => F::CMOV,
            C::CMPXCHG16B => F::CMPXCHG16B,
            C::CX8 => F::CX8,
            C::F16C => F::F16C,
            C::FMA => F::FMA,
            C::FPU | C::FPU287 | C::FPU387 => F::FPU,
            C::FSGSBASE => F::FSGSBASE,
            C::FXSR => F::FXSR,
            C::GFNI => F::GFNI,
            C::INVPCID => F::INVPCID,
            C::LZCNT => F::LZCNT,
            C::MMX => F::MMX,
            C::MOVBE => F::MOVBE,
            C::MOVDIRI => F::MOVDIRI,
            C::MSR => F::MSR,
            C::PCLMULQDQ => F::PCLMULQDQ,
            C::POPCNT => F::POPCNT,
            C::RDPID => F::RDPID,
            C::RDRAND => F::RDRAND,
            C::RDSEED => F::RDSEED,
            C::RDTSCP => F::RDTSCP,
            C::SEP => F::SEP,
            C::SERIALIZE => F::SERIALIZE,
            C::SHA => F::SHA,
            C::SMAP => F::SMAP,
            C::SSE => F::SSE,
            C::SSE2 => F::SSE2,
            C::SSE3 => F::SSE3,
            C::SSE4_1 => F::SSE4_1,
            C::SSE4_2 => F::SSE4_2,
            C::SSSE3 => F::SSSE3,
            C::SYSCALL => F::SYSCALL,
            C::TSC => F::TSC,
            C::VAES => F::VAES,
            C::VPCLMULQDQ => F::VPCLMULQDQ,
            C::XSAVE => F::XSAVE,
            C::XSAVEC => F::XSAVEC,
            C::XSAVEOPT => F::XSAVEOPT,
            C::XSAVES => F::XSAVES,
            // Hints are NOPs to a CPU that does not know them.
            _ if Operation::of(i.mnemonic()) == Operation::Nop => continue,
            _ => return None,
        });
    }
    let lahf_sahf = matches!(i.mnemonic(), Mnemonic::Lahf | Mnemonic::Sahf) && i.code_size() == CodeSize::Code64;
    Some(if lahf_sahf { set.with(F::LAHF_SAHF) } else { set })
}

#[cfg(test)]
mod tests {
    use iced_x86::{Code, EncodingKind};

    use super::*;
    use crate::CpuModel;
    use crate::cpu::model::{FEATURES, Shows};

    #[test]
    fn what_is_implemented_is_advertised_and_the_other_way_round() {
        let all = FeatureSet::of(CpuModel::V3);
        let mut used = FeatureSet::default();
        for code in Code::values() {
            let mut i = Instruction::default();
            i.set_code(code);
            i.set_code_size(CodeSize::Code64);
            if Operation::of(i.mnemonic()) == Operation::Invalid {
                continue;
            }
            match needs(&i) {
                Some(needed) => {
                    assert!(all.has_all(needed), "{code:?} is implemented, its feature not advertised");
                    used = used.union(needed);
                }
                None => assert!(is_of_another_cpu(code), "{code:?} is implemented, its feature not known"),
            }
        }
        for row in FEATURES.iter().filter(|row| row.shows == Shows::Instruction) {
            assert!(used.has(row.feature), "{:?} is advertised, but no instruction needs it", row.feature);
        }
    }

    /// Forms under the mnemonic of an instruction that is here.
    fn is_of_another_cpu(code: Code) -> bool {
        let name = format!("{code:?}");
        let old =
            ["Popw_CS", "Mov_r32_tr", "Mov_tr_r32", "Cmpxchg486_rm8_r8", "Cmpxchg486_rm16_r16", "Cmpxchg486_rm32_r32"];
        !matches!(code.encoding(), EncodingKind::Legacy | EncodingKind::VEX)
            || name.starts_with("VEX_KNC_")
            || old.contains(&name.as_str())
    }
}
