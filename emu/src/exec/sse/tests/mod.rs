//! Every instruction through decoder, binding and handler: against the real CPU where there is one, against committed
//! digests everywhere; and what surrounds them: alignment, page crossings, availability, exceptions.

mod inputs;
mod rows;

use super::X;
use crate::cpu::fault::{Fault, Trap};
use crate::cpu::flags::Lazy;
use crate::cpu::{Cpu, Exit};
use crate::fp::mxcsr;
use crate::machine::Machine;

/// What may be compared, and with what.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Does not look at MXCSR.
    Exact,
    /// Does.
    Float,
    /// Likewise, and gives flags.
    Flags,
    /// Its result is defined here, not by the host.
    Approximate,
}

/// What an instruction may read and write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct State {
    xmm: [X; 2],
    rax: u64,
    mxcsr: u32,
    flags: u64,
}

struct Row {
    kind: Kind,
    name: &'static str,
    bytes: &'static [u8],
    /// The same bytes on the host.
    native: fn(&mut State),
}

/// Runs instruction bytes on the host.
macro_rules! native {
    ($($byte:literal)+) => {{
        #[cfg(target_arch = "x86_64")]
        fn run(s: &mut State) {
            use std::arch::x86_64::__m128i;
            let (mut own, mut csr) = (0u32, s.mxcsr);
            // SAFETY: vectors are plain bytes; the instruction touches XMM0, RAX and flags only, MXCSR masks all
            // exceptions and is restored.
            unsafe {
                let mut a = std::mem::transmute::<X, __m128i>(s.xmm[0]);
                let b = std::mem::transmute::<X, __m128i>(s.xmm[1]);
                std::arch::asm!(
                    "stmxcsr [{own}]",
                    "ldmxcsr [{csr}]",
                    "xor ecx, ecx",
                    concat!(".byte ", $($byte, ",",)+ "0x90"),
                    "pushfq",
                    "pop rcx",
                    "stmxcsr [{csr}]",
                    "ldmxcsr [{own}]",
                    own = in(reg) &raw mut own,
                    csr = in(reg) &raw mut csr,
                    inout("xmm0") a,
                    in("xmm1") b,
                    inout("rax") s.rax,
                    out("rcx") s.flags,
                );
                s.xmm[0] = std::mem::transmute::<__m128i, X>(a);
            }
            s.mxcsr = csr;
            s.flags &= crate::cpu::flags::ARITH;
        }
        #[cfg(not(target_arch = "x86_64"))]
        fn run(_: &mut State) {}
        run as fn(&mut State)
    }};
}
use native;

const CODE: u64 = 0x10_0000;
const DATA: u64 = 0x11_0000;

/// A CPU after the hand-off with `code` before it.
struct Rig(Machine);

impl Rig {
    fn new(code: &[u8]) -> Self {
        let config = crate::MachineConfig {
            memory_bytes: 16 << 20,
            clock: crate::ClockMode::Derived,
            epoch_s: 0,
            cpu: crate::CpuModel::V3,
            devices: Default::default(),
        };
        let mut machine = Machine::new(config).expect("16 MiB");
        let cpu = machine.cpu();
        let info = crate::boot::hand_off::BootInfo { memory_bytes: 16 << 20, tsc_hz: 1, command_line: b"" };
        crate::boot::hand_off::build(&info, &mut |phys, data| cpu.mem.write(phys, data)).expect("no command line");
        cpu.set_state(&crate::CpuState::handed_off(CODE));
        cpu.mem.write(CODE, code);
        Self(machine)
    }

    fn cpu(&mut self) -> &mut Cpu {
        self.0.cpu()
    }

    /// Runs the instruction at `CODE` alone; says how it left.
    fn step(&mut self) -> Exit {
        let cpu = self.cpu();
        cpu.rip = CODE;
        cpu.single = true;
        cpu.exit = Exit::None;
        let header = cpu.find_block(CODE).expect("mapped").expect("room");
        // SAFETY: a block just found, of one instruction.
        unsafe { crate::engine::run_chain(cpu, header, 1) };
        cpu.exit
    }

    fn apply(&mut self, s: &mut State) -> Exit {
        let cpu = self.cpu();
        cpu.ymm[0][0] = words(s.xmm[0]);
        cpu.ymm[1][0] = words(s.xmm[1]);
        (cpu.gpr[0], cpu.mxcsr, cpu.flags) = (s.rax, s.mxcsr, Lazy::explicit(0));
        let exit = self.step();
        let cpu = self.cpu();
        (s.rax, s.mxcsr, s.flags) = (cpu.gpr[0], cpu.mxcsr, cpu.flags.get());
        s.xmm = [bytes(cpu.ymm[0][0]), bytes(cpu.ymm[1][0])];
        exit
    }

    fn bytes(&self, phys: u64, length: usize) -> Vec<u8> {
        self.0.peek(phys, length)
    }
}

fn words(x: X) -> [u64; 2] {
    let x = u128::from_le_bytes(x);
    [x as u64, (x >> 64) as u64]
}

fn bytes(w: [u64; 2]) -> X {
    (u128::from(w[0]) | u128::from(w[1]) << 64).to_le_bytes()
}

/// MXCSR values with all exceptions masked: rounding modes, DAZ, FTZ, PE already set or not.
fn modes(kind: Kind) -> Vec<u32> {
    let masked = mxcsr::FLAGS << mxcsr::MASK_SHIFT;
    if !matches!(kind, Kind::Float | Kind::Flags) {
        return vec![masked];
    }
    (0..32u32)
        .map(|i| {
            let bit = |n: u32, value: u32| if i >> n & 1 == 1 { value } else { 0 };
            masked | (i & 3) << mxcsr::RC_SHIFT | bit(2, mxcsr::DAZ) | bit(3, mxcsr::FTZ) | bit(4, mxcsr::PE)
        })
        .collect()
}

/// Runs all rows of some kinds, checks them against the host if it can tell, and digests the results.
fn digest(kinds: &[Kind]) -> u64 {
    let inputs = inputs::all();
    let mut hash = xxhash_rust::xxh3::Xxh3::new();
    for row in rows::ROWS.iter().filter(|r| kinds.contains(&r.kind)) {
        let mut rig = Rig::new(row.bytes);
        for mxcsr in modes(row.kind) {
            for &(a, b) in &inputs {
                let before = State { xmm: [a, b], rax: words(a)[0], mxcsr, flags: 0 };
                let mut ours = before;
                assert_eq!(rig.apply(&mut ours), Exit::None, "{} left its block", row.name);
                check(row, &before, &ours);
                hash.update(&ours.xmm[0]);
                hash.update(&ours.rax.to_le_bytes());
                hash.update(&ours.mxcsr.to_le_bytes());
                hash.update(&ours.flags.to_le_bytes());
            }
        }
    }
    hash.digest()
}

fn check(row: &Row, before: &State, ours: &State) {
    if cfg!(not(target_arch = "x86_64")) || row.kind == Kind::Approximate {
        return;
    }
    let mut host = *before;
    (row.native)(&mut host);
    if row.kind != Kind::Flags {
        host.flags = 0;
    }
    assert_eq!(*ours, host, "{}\n {before:x?}\n ours {ours:x?}\n host {host:x?}", row.name);
}

#[test]
fn integers_and_moves_are_those_of_the_real_cpu() {
    assert_eq!(digest(&[Kind::Exact]), 6_175_924_118_709_664_685);
}

#[test]
fn floating_point_is_that_of_the_real_cpu_bit_for_bit_and_flag_for_flag() {
    assert_eq!(digest(&[Kind::Float, Kind::Flags]), 9_330_495_856_589_555_369);
}

#[test]
fn approximations_are_the_same_everywhere() {
    assert_eq!(digest(&[Kind::Approximate]), 7_418_989_066_173_158_382);
}

/// The digest was taken when results, MXCSR and faults were those of the real CPU, which a test cannot show without
/// catching its signals.
#[test]
fn unmasked_exceptions_are_those_once_compared() {
    let inputs = inputs::all();
    let mut hash = xxhash_rust::xxh3::Xxh3::new();
    for row in rows::ROWS.iter().filter(|r| matches!(r.kind, Kind::Float | Kind::Flags)) {
        let mut rig = Rig::new(row.bytes);
        for (unmasked, rounding) in [1, 2, 4, 8, 16, 32, 24, 48, 63].into_iter().flat_map(|u| [(u, 0u32), (u, 2)]) {
            let mxcsr = (mxcsr::FLAGS & !unmasked) << mxcsr::MASK_SHIFT | rounding << mxcsr::RC_SHIFT;
            for &(a, b) in inputs.iter().step_by(7) {
                let mut ours = State { xmm: [a, b], rax: words(a)[0], mxcsr, flags: 0 };
                let faulted = rig.apply(&mut ours) != Exit::None;
                assert_eq!(faulted, ours.mxcsr & unmasked != 0, "{} {ours:x?}", row.name);
                hash.update(&ours.xmm[0]);
                hash.update(&ours.mxcsr.to_le_bytes());
            }
        }
    }
    assert_eq!(hash.digest(), 14_559_003_529_049_669_535);
}

/// The fault that the instruction of `code` raises, with RAX = `rax`.
fn fault_of(code: &[u8], rax: u64, prepare: impl Fn(&mut Cpu)) -> Option<Fault> {
    let mut rig = Rig::new(code);
    rig.cpu().gpr[0] = rax;
    rig.cpu().ymm = [[[0x3ff8_0000_0000_0000, 0x1111], [2, 3]]; 16];
    prepare(rig.cpu());
    let before = rig.cpu().ymm;
    match rig.step() {
        Exit::Trap(Trap::Fault(fault)) => {
            assert_eq!((rig.cpu().rip, rig.cpu().ymm), (CODE, before), "a faulting instruction changes nothing");
            Some(fault)
        }
        exit => {
            assert_eq!(exit, Exit::None);
            None
        }
    }
}

#[test]
fn aligned_forms_insist() {
    // movaps xmm0,[rax]; movaps [rax],xmm0; paddd xmm0,[rax]; addps xmm0,[rax]; movntdq [rax],xmm0
    let aligned: [&[u8]; 5] =
        [&[0x0f, 0x28, 0], &[0x0f, 0x29, 0], &[0x66, 0x0f, 0xfe, 0], &[0x0f, 0x58, 0], &[0x66, 0x0f, 0xe7, 0]];
    for code in aligned {
        assert_eq!(fault_of(code, DATA + 8, |_| {}), Some(Fault::GP0), "{code:x?}");
        assert_eq!(fault_of(code, DATA + 16, |_| {}), None, "{code:x?}");
    }
    // movups both ways, addsd, movlps, movdqu
    let others: [&[u8]; 5] =
        [&[0x0f, 0x10, 0], &[0x0f, 0x11, 0], &[0xf2, 0x0f, 0x58, 0], &[0x0f, 0x12, 0], &[0xf3, 0x0f, 0x6f, 0]];
    for code in others {
        assert_eq!(fault_of(code, DATA + 1, |_| {}), None, "{code:x?}");
        assert_eq!(fault_of(code, 1 << 63, |_| {}), Some(Fault::GP0), "{code:x?}");
        assert_eq!(
            fault_of(code, 1 << 32, |_| {}),
            Some(Fault::page(1 << 32, u32::from(code[1] == 0x11) * 2)),
            "{code:x?}"
        );
    }
}

#[test]
fn availability_is_checked() {
    use crate::cpu::regs::{cr0, cr4};
    let pxor = [0x66, 0x0f, 0xef, 0xc1];
    assert_eq!(fault_of(&pxor, 0, |c| c.cr0 |= cr0::TS), Some(Fault::NM));
    assert_eq!(fault_of(&pxor, 0, |c| c.cr0 |= cr0::TS | cr0::EM), Some(Fault::UD));
    assert_eq!(fault_of(&pxor, 0, |c| c.cr4 &= !cr4::OSFXSR), Some(Fault::UD));
    // movnti [rax],ecx has no vector operand.
    assert_eq!(fault_of(&[0x0f, 0xc3, 0x08], DATA, |c| c.cr0 |= cr0::TS), None);
    // paddd mm0,mm1; cvtpi2ps xmm0,mm1; paddb mm0,[rax]; pinsrw mm0,eax,0; movq [rax],mm0
    let mmx: [&[u8]; 5] =
        [&[0x0f, 0xfe, 0xc1], &[0x0f, 0x2a, 0xc1], &[0x0f, 0xfc, 0], &[0x0f, 0xc4, 0xc0, 0], &[0x0f, 0x7f, 0]];
    let pending = |c: &mut Cpu| (c.fpu.control, c.fpu.status) = (0x37e, 0x8081);
    for code in mmx {
        assert_eq!(fault_of(code, DATA, |_| {}), None, "{code:x?}");
        assert_eq!(fault_of(code, DATA, |c| c.cr0 |= cr0::TS), Some(Fault::NM), "{code:x?}");
        assert_eq!(fault_of(code, DATA, |c| c.cr0 |= cr0::TS | cr0::EM), Some(Fault::UD), "{code:x?}");
        assert_eq!(fault_of(code, DATA, pending), Some(Fault::MF), "{code:x?}");
    }
    // fld1, fadd dword [rax], fstp qword [rax], fld tword [rax], fldcw [rax]
    let x87: [&[u8]; 5] = [&[0xd9, 0xe8], &[0xd8, 0], &[0xdd, 0x18], &[0xdb, 0x28], &[0xd9, 0x28]];
    for code in x87 {
        assert_eq!(fault_of(code, DATA, |_| {}), None, "{code:x?}");
        assert_eq!(fault_of(code, DATA, |c| c.cr0 |= cr0::TS), Some(Fault::NM), "{code:x?}");
        assert_eq!(fault_of(code, DATA, |c| c.cr0 |= cr0::EM), Some(Fault::NM), "{code:x?}");
        assert_eq!(fault_of(code, DATA, pending), Some(Fault::MF), "{code:x?}");
    }
    // fnstsw ax, fninit, fnstcw [rax] do not wait; wait looks at MP.
    for code in [[0xdf, 0xe0], [0xdb, 0xe3], [0xd9, 0x38]] {
        assert_eq!(fault_of(&code, DATA, pending), None, "{code:x?}");
    }
    assert_eq!(fault_of(&[0x9b], 0, pending), Some(Fault::MF));
    assert_eq!(fault_of(&[0x9b], 0, |c| c.cr0 |= cr0::TS | cr0::MP), Some(Fault::NM));
    assert_eq!(fault_of(&[0x9b], 0, |c| c.cr0 = c.cr0 & !cr0::MP | cr0::TS), None);
}

/// VEX-encoded instructions look at XCR0, not at CR0.EM and CR4.OSFXSR; most do not insist on alignment.
#[test]
fn avx_is_available_when_its_state_is_enabled() {
    use crate::cpu::regs::{cr0, cr4};
    let on = |c: &mut Cpu| (c.cr4, c.xcr0) = (c.cr4 | cr4::OSXSAVE, 7);
    // vpxor xmm0,xmm0,xmm1; vaddps ymm0,ymm1,[rax]; vzeroupper; vldmxcsr [rax+0x18]; vpmaskmovd [rax],ymm1,ymm0
    let all: [&[u8]; 5] = [
        &[0xc5, 0xf9, 0xef, 0xc1],
        &[0xc5, 0xf4, 0x58, 0x00],
        &[0xc5, 0xf8, 0x77],
        &[0xc5, 0xf8, 0xae, 0x50, 0x18],
        &[0xc4, 0xe2, 0x75, 0x8e, 0x00],
    ];
    for code in all {
        assert_eq!(fault_of(code, DATA + 1, on), None, "{code:x?}");
        assert_eq!(fault_of(code, DATA, |_| {}), Some(Fault::UD), "{code:x?} without OSXSAVE");
        let sse_only = |c: &mut Cpu| (c.cr4, c.xcr0) = (c.cr4 | cr4::OSXSAVE, 3);
        assert_eq!(fault_of(code, DATA, sse_only), Some(Fault::UD), "{code:x?} without XCR0[2]");
        let switched = |c: &mut Cpu| {
            on(c);
            c.cr0 |= cr0::TS | cr0::EM;
        };
        assert_eq!(fault_of(code, DATA, switched), Some(Fault::NM), "{code:x?} after a task switch");
    }
    // andn eax,eax,ecx has a VEX prefix and no vector operand.
    assert_eq!(fault_of(&[0xc4, 0xe2, 0x78, 0xf2, 0xc1], 0, |_| {}), None);
    // vmovaps ymm0,[rax]; vmovntps [rax],ymm0
    for code in [[0xc5, 0xfc, 0x28, 0x00], [0xc5, 0xfc, 0x2b, 0x00]] {
        assert_eq!(fault_of(&code, DATA + 16, on), Some(Fault::GP0), "{code:x?}");
        assert_eq!(fault_of(&code, DATA + 32, on), None, "{code:x?}");
    }
    // vmovups ymm0,[rax] and back, across pages.
    let mut rig = Rig::new(&[0xc5, 0xfc, 0x10, 0x00]);
    on(rig.cpu());
    let data: Vec<u8> = (1..=32).collect();
    rig.cpu().mem.write(DATA + 0xff0, &data);
    rig.cpu().gpr[0] = DATA + 0xff0;
    assert_eq!(rig.step(), Exit::None);
    assert_eq!(rig.cpu().ymm[0].map(bytes).concat(), data);
}

/// A gather that faults keeps what it has; the mask says what is left.
#[test]
fn a_gather_goes_on_where_it_was_stopped() {
    use crate::cpu::regs::cr4;
    // vpgatherdd xmm0,[rax+xmm1*4],xmm2
    let mut rig = Rig::new(&[0xc4, 0xe2, 0x69, 0x90, 0x04, 0x88]);
    let cpu = rig.cpu();
    (cpu.cr4, cpu.xcr0) = (cpu.cr4 | cr4::OSXSAVE, 7);
    cpu.mem.write(DATA, &0x1111_2222_3333_4444u64.to_le_bytes());
    cpu.gpr[0] = DATA;
    let far = (1u64 << 32) - DATA >> 2;
    cpu.ymm[0] = [[0x5555_5555_6666_6666, 0x7777_7777_8888_8888], [9, 9]];
    cpu.ymm[1] = [[1, far], [0, 0]];
    cpu.ymm[2] = [[0x8000_0000 | 1 << 32, 0xffff_ffff_8000_0000], [7, 7]];
    assert_eq!(rig.step(), Exit::Trap(Trap::Fault(Fault::page(1 << 32, 0))));
    let cpu = rig.cpu();
    assert_eq!(cpu.ymm[0], [[0x5555_5555_1111_2222, 0x7777_7777_8888_8888], [0, 0]], "the first element is there");
    assert_eq!(cpu.ymm[2], [[0, u64::MAX], [0, 0]], "two are left");
    cpu.ymm[1][0][1] = 0;
    assert_eq!(rig.step(), Exit::None);
    let cpu = rig.cpu();
    assert_eq!(cpu.ymm[0][0], [0x5555_5555_1111_2222, 0x3333_4444_3333_4444]);
    assert_eq!(cpu.ymm[2], [[0; 2]; 2]);
}

/// XGETBV and XSETBV at CPL 0: what is enabled, and what cannot be.
#[test]
fn extended_state_is_enabled_step_by_step() {
    use crate::cpu::regs::{RAX, RCX, RDX, cr0, cr4};
    let (xgetbv, xsetbv, xsave) = ([0x0f, 0x01, 0xd0], [0x0f, 0x01, 0xd1], [0x0f, 0xae, 0x20]);
    let on = |c: &mut Cpu| c.cr4 |= cr4::OSXSAVE;
    for code in [xgetbv, xsetbv, xsave] {
        assert_eq!(fault_of(&code, DATA, |c| c.gpr[RCX] = 0), Some(Fault::UD), "{code:x?} without CR4.OSXSAVE");
    }
    assert_eq!(fault_of(&xsave, DATA, on), None);
    assert_eq!(fault_of(&xsave, DATA + 32, on), Some(Fault::GP0), "not aligned");
    assert_eq!(fault_of(&xsave, DATA, |c| (c.cr0, c.cr4) = (c.cr0 | cr0::TS, c.cr4 | cr4::OSXSAVE)), Some(Fault::NM));
    let set = |high: u64, low: u64, number: u64| {
        fault_of(&xsetbv, low, move |c| {
            on(c);
            (c.gpr[RCX], c.gpr[RDX]) = (number, high);
        })
    };
    assert_eq!([set(0, 1, 0), set(0, 3, 0), set(0, 7, 0)], [None; 3]);
    for (high, low, number) in [(0, 0, 0), (0, 6, 0), (0, 5, 0), (0, 0xf, 0), (1, 7, 0), (0, 7, 1)] {
        assert_eq!(set(high, low, number), Some(Fault::GP0), "{high:x} {low:x} {number}");
    }
    let mut rig = Rig::new(&xgetbv);
    let read = |rig: &mut Rig, number: u64| {
        rig.cpu().gpr[RCX] = number;
        assert_eq!(rig.step(), Exit::None);
        rig.cpu().gpr[RAX]
    };
    on(rig.cpu());
    rig.cpu().xcr0 = 7;
    assert_eq!([read(&mut rig, 0), read(&mut rig, 1)], [7, 0], "enabled, in use");
    (rig.cpu().mxcsr, rig.cpu().ymm[3][1]) = (0x1fa0, [0, 1]);
    assert_eq!(read(&mut rig, 1), 6);
}

/// CPUID mirrors CR4.OSXSAVE and gives the size of what is enabled.
#[test]
fn cpuid_follows_the_extended_state() {
    use crate::cpu::regs::{RAX, RBX, RCX, cr4};
    let mut rig = Rig::new(&[0x0f, 0xa2]);
    let mut cpuid = |leaf: u64, cr4: u64, xcr0: u64| {
        let cpu = rig.cpu();
        (cpu.gpr[RAX], cpu.gpr[RCX]) = (leaf, 0);
        (cpu.cr4, cpu.xcr0) = (cpu.cr4 & !cr4::OSXSAVE | cr4, xcr0);
        assert_eq!(rig.step(), Exit::None);
        (rig.cpu().gpr[RBX], rig.cpu().gpr[RCX])
    };
    assert_eq!(cpuid(1, 0, 1).1 >> 26 & 3, 1);
    assert_eq!(cpuid(1, cr4::OSXSAVE, 1).1 >> 26 & 3, 3);
    assert_eq!((cpuid(13, cr4::OSXSAVE, 3), cpuid(13, cr4::OSXSAVE, 7)), ((576, 832), (832, 832)));
}

#[test]
fn unmasked_exceptions_raise_xm_and_leave_the_flag() {
    use crate::cpu::regs::cr4;
    let divsd = [0xf2, 0x0f, 0x5e, 0xc1];
    let zero_divisor = |masks: u32| {
        move |c: &mut Cpu| {
            c.ymm[1][0] = [0, 0];
            c.mxcsr = masks;
        }
    };
    assert_eq!(fault_of(&divsd, 0, zero_divisor(0x1f80)), None);
    assert_eq!(fault_of(&divsd, 0, zero_divisor(0x1d80)), Some(Fault::XM));
    let without = |c: &mut Cpu| {
        zero_divisor(0x1d80)(c);
        c.cr4 &= !cr4::OSXMMEXCPT;
    };
    assert_eq!(fault_of(&divsd, 0, without), Some(Fault::UD));
    let mut rig = Rig::new(&divsd);
    let mut s = State { xmm: [bytes([1, 0]), [0; 16]], rax: 0, mxcsr: 0x1d80, flags: 0 };
    assert!(matches!(rig.apply(&mut s), Exit::Trap(_)));
    assert_eq!(s.mxcsr, 0x1d80 | mxcsr::ZE);
}

#[test]
fn stores_write_what_they_should_across_pages() {
    let x = bytes([0x0807_0605_0403_0201, 0x100f_0e0d_0c0b_0a09]);
    let edge = DATA + 0xffb;
    // movups, movss, movsd, movhps, movlpd, movq, movd to [rax]
    let stores: [(&[u8], &[u8]); 7] = [
        (&[0x0f, 0x11, 0], &x),
        (&[0xf3, 0x0f, 0x11, 0], &x[..4]),
        (&[0xf2, 0x0f, 0x11, 0], &x[..8]),
        (&[0x0f, 0x17, 0], &x[8..]),
        (&[0x66, 0x0f, 0x13, 0], &x[..8]),
        (&[0x66, 0x0f, 0xd6, 0], &x[..8]),
        (&[0x66, 0x0f, 0x7e, 0], &x[..4]),
    ];
    for (code, expected) in stores {
        let mut rig = Rig::new(code);
        let mut s = State { xmm: [x, [0; 16]], rax: edge, mxcsr: 0x1f80, flags: 0 };
        assert_eq!(rig.apply(&mut s), Exit::None);
        let mut memory = vec![0; 24];
        memory[4..4 + expected.len()].copy_from_slice(expected);
        assert_eq!(rig.bytes(edge - 4, 24), memory, "{code:x?}");
    }
}

#[test]
fn loads_read_what_they_should_across_pages() {
    let x = bytes([0x0807_0605_0403_0201, 0x100f_0e0d_0c0b_0a09]);
    let old = bytes([u64::MAX, u64::MAX]);
    let edge = DATA + 0xfff;
    // movups, movss, movsd, movhps, movlpd, movq, movd, pinsrw 1 from [rax]
    let loads: [(&[u8], [u64; 2]); 8] = [
        (&[0x0f, 0x10, 0], words(x)),
        (&[0xf3, 0x0f, 0x10, 0], [0x0403_0201, 0]),
        (&[0xf2, 0x0f, 0x10, 0], [words(x)[0], 0]),
        (&[0x0f, 0x16, 0], [u64::MAX, words(x)[0]]),
        (&[0x66, 0x0f, 0x12, 0], [words(x)[0], u64::MAX]),
        (&[0xf3, 0x0f, 0x7e, 0], [words(x)[0], 0]),
        (&[0x66, 0x0f, 0x6e, 0], [0x0403_0201, 0]),
        (&[0x66, 0x0f, 0xc4, 0, 1], [0xffff_ffff_0201_ffff, u64::MAX]),
    ];
    for (code, expected) in loads {
        let mut rig = Rig::new(code);
        rig.cpu().mem.write(edge, &x);
        let mut s = State { xmm: [old, [0; 16]], rax: edge, mxcsr: 0x1f80, flags: 0 };
        assert_eq!(rig.apply(&mut s), Exit::None);
        assert_eq!(words(s.xmm[0]), expected, "{code:x?}");
    }
}

#[test]
fn maskmovdqu_writes_the_chosen_bytes() {
    let mut rig = Rig::new(&[0x66, 0x0f, 0xf7, 0xc1]);
    rig.cpu().gpr[7] = DATA + 0xffc;
    rig.cpu().mem.write(DATA + 0xffc, &[0xee; 16]);
    let mask = bytes([0x80ff_0000_7f00_8000, 0x8000_0000_0000_0000]);
    let mut s = State { xmm: [[0x11; 16], mask], rax: 0, mxcsr: 0x1f80, flags: 0 };
    assert_eq!(rig.apply(&mut s), Exit::None);
    let expected = [0xee, 0x11, 0xee, 0xee, 0xee, 0xee, 0x11, 0x11, 0xee, 0xee, 0xee, 0xee, 0xee, 0xee, 0xee, 0x11];
    assert_eq!(rig.bytes(DATA + 0xffc, 16), expected);
}
