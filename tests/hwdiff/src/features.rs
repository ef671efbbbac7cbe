//! What the emulated CPU advertises, in the decoder's terms.

use iced_x86::{CpuidFeature as F, Instruction};

use crate::case::{Case, Cpu, Subject};
use crate::layout::START;

const EBX: usize = 3;
const ECX: usize = 1;
const EDX: usize = 2;

/// Features with a bit of CPUID: leaf (subleaf 0), register, bit.
#[rustfmt::skip]
const BITS: &[(F, u64, usize, u32)] = &[
    (F::FPU, 1, EDX, 0), (F::FPU287, 1, EDX, 0), (F::FPU387, 1, EDX, 0), (F::TSC, 1, EDX, 4), (F::MSR, 1, EDX, 5),
    (F::CX8, 1, EDX, 8),
    (F::SEP, 1, EDX, 11), (F::CMOV, 1, EDX, 15), (F::CLFSH, 1, EDX, 19), (F::MMX, 1, EDX, 23), (F::FXSR, 1, EDX, 24),
    (F::SSE, 1, EDX, 25), (F::SSE2, 1, EDX, 26),
    (F::SSE3, 1, ECX, 0), (F::PCLMULQDQ, 1, ECX, 1), (F::MONITOR, 1, ECX, 3), (F::VMX, 1, ECX, 5), (F::SMX, 1, ECX, 6),
    (F::SSSE3, 1, ECX, 9), (F::FMA, 1, ECX, 12), (F::CMPXCHG16B, 1, ECX, 13), (F::SSE4_1, 1, ECX, 19), (F::SSE4_2, 1, ECX, 20),
    (F::MOVBE, 1, ECX, 22), (F::POPCNT, 1, ECX, 23), (F::AES, 1, ECX, 25), (F::XSAVE, 1, ECX, 26), (F::AVX, 1, ECX, 28),
    (F::F16C, 1, ECX, 29), (F::RDRAND, 1, ECX, 30),
    (F::FSGSBASE, 7, EBX, 0), (F::BMI1, 7, EBX, 3), (F::AVX2, 7, EBX, 5), (F::BMI2, 7, EBX, 8), (F::INVPCID, 7, EBX, 10),
    (F::RTM, 7, EBX, 11), (F::MPX, 7, EBX, 14), (F::RDSEED, 7, EBX, 18), (F::ADX, 7, EBX, 19), (F::SMAP, 7, EBX, 20),
    (F::CLFLUSHOPT, 7, EBX, 23), (F::CLWB, 7, EBX, 24), (F::SHA, 7, EBX, 29),
    (F::PREFETCHWT1, 7, ECX, 0), (F::PKU, 7, ECX, 3), (F::WAITPKG, 7, ECX, 5), (F::GFNI, 7, ECX, 8), (F::VAES, 7, ECX, 9),
    (F::VPCLMULQDQ, 7, ECX, 10), (F::RDPID, 7, ECX, 22), (F::MOVDIRI, 7, ECX, 27), (F::MOVDIR64B, 7, ECX, 28),
    (F::SERIALIZE, 7, EDX, 14),
    (F::LZCNT, 0x8000_0001, ECX, 5), (F::PREFETCHW, 0x8000_0001, ECX, 8), (F::SYSCALL, 0x8000_0001, EDX, 11),
    (F::RDTSCP, 0x8000_0001, EDX, 27), (F::X64, 0x8000_0001, EDX, 29),
];

/// Features that every CPU of 64 bits has without saying so, or that are no more than a way to write NOP.
const ALWAYS: [F; 9] =
    [F::INTEL8086, F::INTEL186, F::INTEL286, F::INTEL386, F::INTEL486, F::CPUID, F::MULTIBYTENOP, F::PAUSE, F::CET_IBT];

/// The features of a subject.
pub struct Features(Vec<F>);

impl Features {
    /// What CPUID says on `subject`.
    pub fn of(subject: &mut dyn Subject) -> Self {
        let mut cpuid = |leaf: u64| {
            let mut cpu = Cpu::background(START);
            (cpu.gpr[0], cpu.gpr[ECX]) = (leaf, 0);
            subject.run(&Case { code: vec![0x0f, 0xa2], cpu, memory: Vec::new() }).cpu.gpr
        };
        let leaves = [1, 7, 0x8000_0001].map(|leaf| (leaf, cpuid(leaf)));
        let has = |&&(_, leaf, register, bit): &&(F, u64, usize, u32)| {
            leaves.iter().any(|(number, gpr)| *number == leaf && gpr[register] >> bit & 1 == 1)
        };
        Self(ALWAYS.into_iter().chain(BITS.iter().filter(has).map(|row| row.0)).collect())
    }

    /// Whether `instruction` is one of a CPU with these features.
    #[must_use]
    pub fn contain(&self, instruction: &Instruction) -> bool {
        instruction.cpuid_features().iter().all(|feature| self.0.contains(feature))
    }
}
