//! What CPUID says is what there is: for each model and each feature flag, the instruction or the bit of a control register that
//! goes with it is there exactly if the flag is set.

#![allow(clippy::unwrap_used, clippy::cast_possible_truncation, reason = "a test panics when it fails")]

mod guest;

use emu::{CpuModel, CpuState, Power, Stop};
use guest::*;

const MODELS: [CpuModel; 3] = [CpuModel::V1, CpuModel::V2, CpuModel::V3];
const UD: u64 = 6;
const GP: u64 = 13;

/// EAX, EBX, ECX, EDX of a leaf.
fn cpuid(model: CpuModel, leaf: u32, sub: u64) -> [u32; 4] {
    let mut guest = Guest::with_model(&[0x0f, 0xa2, 0xf4], model);
    (guest.state.cpu.gpr[0], guest.state.cpu.gpr[1]) = (leaf.into(), sub);
    guest.run();
    let gpr = guest.machine.state().cpu.gpr;
    [gpr[0], gpr[3], gpr[1], gpr[2]].map(|r| u32::try_from(r).unwrap())
}

/// Runs one instruction; the vector that it raised.
fn raises(model: CpuModel, code: &[u8], prepare: impl Fn(&mut CpuState)) -> Option<u64> {
    let mut guest = Guest::with_model(&[code, &[0xf4]].concat(), model);
    let cpu = &mut guest.state.cpu;
    cpu.cr4 |= 1 << 9;
    (cpu.gpr[6], cpu.gpr[7]) = (FRAME, FRAME + 0x100);
    prepare(cpu);
    for vector in [UD, GP] {
        guest.gate(vector, 0);
    }
    assert_eq!(guest.run(), Stop::Off(Power::Dead), "{code:x?}");
    let (cpu, retired) = (guest.machine.state().cpu, guest.machine.position().retired);
    let at = cpu.gpr[4];
    match (cpu.rip == HANDLER + 1, retired) {
        (false, _) => None,
        // #GP has an error code, #UD none.
        (true, _) if at == STACK - 48 => Some(GP),
        (true, _) => Some(UD),
    }
}

const EBX: usize = 1;
const ECX: usize = 2;
const EDX: usize = 3;

/// An instruction for each flag (SDM Vol. 2; the leaf, the register and the bit from table 3-8).
const INSTRUCTIONS: &[(&str, u32, usize, u32, &[u8])] = &[
    ("FPU: FLD1", 1, EDX, 0, &[0xd9, 0xe8]),
    ("MSR: RDMSR", 1, EDX, 5, &[0xb9, 0x77, 2, 0, 0, 0x0f, 0x32]),
    ("CX8: CMPXCHG8B", 1, EDX, 8, &[0x0f, 0xc7, 0x0e]),
    ("CMOV", 1, EDX, 15, &[0x0f, 0x44, 0xc1]),
    ("CLFSH: CLFLUSH", 1, EDX, 19, &[0x0f, 0xae, 0x3e]),
    ("MMX: PADDB", 1, EDX, 23, &[0x0f, 0xfc, 0xc1]),
    ("FXSR: FXSAVE", 1, EDX, 24, &[0x0f, 0xae, 0x06]),
    ("SSE: ADDPS", 1, EDX, 25, &[0x0f, 0x58, 0xc1]),
    ("SSE2: ADDPD", 1, EDX, 26, &[0x66, 0x0f, 0x58, 0xc1]),
    ("SSE3: ADDSUBPS", 1, ECX, 0, &[0xf2, 0x0f, 0xd0, 0xc1]),
    ("SSE3: FISTTP", 1, ECX, 0, &[0xdb, 0x0e]),
    ("PCLMULQDQ", 1, ECX, 1, &[0x66, 0x0f, 0x3a, 0x44, 0xc1, 0]),
    ("SSSE3: PSHUFB", 1, ECX, 9, &[0x66, 0x0f, 0x38, 0x00, 0xc1]),
    ("FMA: VFMADD132PS", 1, ECX, 12, &[0xc4, 0xe2, 0x79, 0x98, 0xc1]),
    ("CMPXCHG16B", 1, ECX, 13, &[0x48, 0x0f, 0xc7, 0x0e]),
    ("SSE4.1: PMULLD", 1, ECX, 19, &[0x66, 0x0f, 0x38, 0x40, 0xc1]),
    ("SSE4.2: PCMPGTQ", 1, ECX, 20, &[0x66, 0x0f, 0x38, 0x37, 0xc1]),
    ("SSE4.2: CRC32", 1, ECX, 20, &[0xf2, 0x0f, 0x38, 0xf1, 0xc1]),
    ("MOVBE", 1, ECX, 22, &[0x0f, 0x38, 0xf0, 0x06]),
    ("POPCNT", 1, ECX, 23, &[0xf3, 0x0f, 0xb8, 0xc1]),
    ("AESNI: AESENC", 1, ECX, 25, &[0x66, 0x0f, 0x38, 0xdc, 0xc1]),
    ("AVX: VADDPS", 1, ECX, 28, &[0xc5, 0xf0, 0x58, 0xc2]),
    ("F16C: VCVTPH2PS", 1, ECX, 29, &[0xc4, 0xe2, 0x79, 0x13, 0xc1]),
    ("FSGSBASE: RDFSBASE", 7, EBX, 0, &[0xf3, 0x0f, 0xae, 0xc0]),
    ("BMI1: ANDN", 7, EBX, 3, &[0xc4, 0xe2, 0xf0, 0xf2, 0xc2]),
    ("AVX2: VPADDD", 7, EBX, 5, &[0xc5, 0xf5, 0xfe, 0xc2]),
    ("BMI2: PDEP", 7, EBX, 8, &[0xc4, 0xe2, 0xf3, 0xf5, 0xc2]),
    ("INVPCID, type in RBP", 7, EBX, 10, &[0x66, 0x0f, 0x38, 0x82, 0x2f]),
    ("ADX: ADCX", 7, EBX, 19, &[0x66, 0x0f, 0x38, 0xf6, 0xc1]),
    ("SMAP: CLAC", 7, EBX, 20, &[0x0f, 0x01, 0xca]),
    ("CLFLUSHOPT", 7, EBX, 23, &[0x66, 0x0f, 0xae, 0x3e]),
    ("SHA: SHA1NEXTE", 7, EBX, 29, &[0x0f, 0x38, 0xc8, 0xc1]),
    ("GFNI: GF2P8MULB", 7, ECX, 8, &[0x66, 0x0f, 0x38, 0xcf, 0xc1]),
    ("VAES: VAESENC", 7, ECX, 9, &[0xc4, 0xe2, 0x75, 0xdc, 0xc2]),
    ("VPCLMULQDQ", 7, ECX, 10, &[0xc4, 0xe3, 0x75, 0x44, 0xc2, 0]),
    ("RDPID", 7, ECX, 22, &[0xf3, 0x0f, 0xc7, 0xf8]),
    ("MOVDIRI", 7, ECX, 27, &[0x0f, 0x38, 0xf9, 0x06]),
    ("SERIALIZE", 7, EDX, 14, &[0x0f, 0x01, 0xe8]),
    ("LAHF", 0x8000_0001, ECX, 0, &[0x9f]),
    ("SAHF", 0x8000_0001, ECX, 0, &[0x9e]),
    ("RDTSCP (CR4.TSD is 0)", 0x8000_0001, EDX, 27, &[0x0f, 0x01, 0xf9]),
];

#[test]
fn an_instruction_is_there_exactly_if_its_flag_is_set() {
    for model in MODELS {
        for &(name, leaf, register, bit, code) in INSTRUCTIONS {
            if name.starts_with("RDTSCP") && model >= CpuModel::V2 {
                continue; // it would ask the door
            }
            let advertised = cpuid(model, leaf, 0)[register] >> bit & 1 != 0;
            let raised = raises(model, code, |cpu| {
                // FSGSBASE, OSXSAVE and AVX's state, and zero for the type.
                cpu.cr4 |= if model == CpuModel::V3 { 1 << 16 | 1 << 18 } else { 0 };
                cpu.xcr0 = 7;
                cpu.gpr[5] = 0;
            });
            assert_eq!(raised, (!advertised).then_some(UD), "{model}: {name}");
        }
    }
}

/// Flags, and the bits of CR4 that can be set with them (SDM Vol. 3A, 2.5).
const CR4: &[(u32, u32, usize, u32)] = &[
    (0, 1, EDX, 1),
    (1, 1, EDX, 1),
    (2, 1, EDX, 4),
    (3, 1, EDX, 2),
    (4, 1, EDX, 3),
    (5, 1, EDX, 6),
    (6, 1, EDX, 7),
    (7, 1, EDX, 13),
    (9, 1, EDX, 24),
    (10, 1, EDX, 25),
    (11, 7, ECX, 2),
    (13, 1, ECX, 5),
    (14, 1, ECX, 6),
    (16, 7, EBX, 0),
    (17, 1, ECX, 17),
    (18, 1, ECX, 26),
    (20, 7, EBX, 7),
    (21, 7, EBX, 20),
    (22, 7, ECX, 3),
    (23, 7, ECX, 7),
    (24, 7, ECX, 31),
];

#[test]
fn bits_of_cr4_go_with_flags() {
    for model in MODELS {
        for bit in 0..64u32 {
            let advertised = match CR4.iter().find(|row| row.0 == bit) {
                Some(&(_, leaf, register, flag)) => cpuid(model, leaf, 0)[register] >> flag & 1 != 0,
                None => bit == 8, // PCE
            };
            // SMEP and SMAP would forbid the rest of the test, whose pages are the user's.
            if matches!(bit, 20 | 21) && advertised {
                continue;
            }
            // mov cr4, rax
            let raised = raises(model, &[0x0f, 0x22, 0xe0], |cpu| cpu.gpr[0] = cpu.cr4 | 1 << bit);
            assert_eq!(raised, (!advertised).then_some(GP), "{model}: CR4 bit {bit}");
        }
    }
}

#[test]
fn prefixes_that_make_another_instruction_are_ignored_without_it() {
    for (model, tzcnt, lzcnt) in [(CpuModel::V1, 4, 4), (CpuModel::V3, 4, 59)] {
        // tzcnt rax, rsi; lzcnt rcx, rsi: BSF and BSR on CPUs that do not know them
        let code = [0xf3, 0x48, 0x0f, 0xbc, 0xc6, 0xf3, 0x48, 0x0f, 0xbd, 0xce, 0xf4];
        let mut guest = Guest::with_model(&code, model);
        guest.state.cpu.gpr[6] = 0x10;
        guest.run();
        let cpu = guest.machine.state().cpu;
        assert_eq!((cpu.gpr[0], cpu.gpr[1]), (tzcnt, lzcnt), "{model}");
    }
    // PREFETCHW, PAUSE, ENDBR64, RDSSPQ are hints everywhere.
    for code in [&[0x0f, 0x0d, 0x0e][..], &[0xf3, 0x90], &[0xf3, 0x0f, 0x1e, 0xfa], &[0xf3, 0x48, 0x0f, 0x1e, 0xc8]] {
        assert_eq!(raises(CpuModel::V1, code, |_| {}), None);
    }
    // WBNOINVD is WBINVD.
    assert_eq!(raises(CpuModel::V3, &[0xf3, 0x0f, 0x09], |_| {}), None);
}

#[test]
fn a_missing_instruction_in_the_middle_of_a_block_faults_at_its_place() {
    // add eax, 1 (its flags are still to be seen); popcnt ecx, eax; hlt
    let mut guest = Guest::with_model(&[0x83, 0xc0, 1, 0xf3, 0x0f, 0xb8, 0xc8, 0xf4], CpuModel::V1);
    guest.gate(UD, 0);
    guest.state.cpu.gpr[0] = 0xffff_ffff;
    guest.run();
    assert_eq!(guest.word(STACK - 40), CODE + 3);
    assert_eq!(guest.word(STACK - 24) & 0x8d5, 0x55, "CF, PF, AF, ZF of the ADD");
    assert_eq!(guest.machine.position().retired, 2);
    assert!(guest.machine.take_unimplemented().is_empty(), "nothing to report");
}

#[test]
fn efer_nxe_goes_with_nx() {
    for model in MODELS {
        assert_eq!(cpuid(model, 0x8000_0001, 0)[EDX] >> 20 & 1, 1, "every model has NX");
        let wrmsr = [0xb9, 0x80, 0, 0, 0xc0, 0x0f, 0x30];
        let set = |bits: u64| move |cpu: &mut CpuState| (cpu.gpr[0], cpu.gpr[2]) = (bits & 0xffff_ffff, bits >> 32);
        assert_eq!(raises(model, &wrmsr, set(0xd01)), None);
        for reserved in [1, 2, 7, 9, 12, 14, 15, 40] {
            assert_eq!(raises(model, &wrmsr, set(0xd01 | 1 << reserved)), Some(GP), "EFER bit {reserved}");
        }
    }
}
