//! Far transfers, gates, interrupts and system calls, and what only 32-bit code has.

use emu::{Stop, Until};

use crate::guest::*;

#[test]
fn far_jumps_and_returns() {
    // (target selector, fault)
    let cases = [
        (CODE_32, None),
        (CONFORMING, None),
        (USER_CODE, Some((GP, USER_CODE & !3))),
        (CODE_32 | 1, Some((GP, CODE_32))),
        (DATA_32, Some((GP, DATA_32))),
        (0, Some((GP, 0))),
        (NOT_PRESENT, Some((GP, NOT_PRESENT))),
    ];
    for (selector, fault) in cases {
        let [a, b] = selector.to_le_bytes();
        let mut guest = Guest::protected(&[0xea, 8, 0, 1, 0, a, b, 0x90, 0xf4]); // jmp selector:0x10008
        match fault {
            Some((vector, error)) => {
                assert_eq!(guest.fault(), (vector, error.into(), CODE as u32), "{selector:x}");
            }
            None => assert_eq!((guest.vector(), guest.machine.state().cpu.rip), (None, CODE + 9), "{selector:x}"),
        }
    }
    // call 0x20:0x20 (16-bit, based at CODE); there: o32 retf
    let mut guest = Guest::protected(&[0x9a, 0x20, 0, 0, 0, CODE_16 as u8, 0, 0xf4]);
    guest.write(CODE + 0x20, &[0x66, 0xcb]);
    assert_eq!(guest.vector(), None);
    assert_eq!(guest.machine.state().cpu.rip, CODE + 8);
    assert_eq!(guest.stack(STACK - 8), [CODE as u32 + 7, CODE_32.into()]);
}

#[test]
fn a_code_segment_ends_at_its_limit() {
    // jmp 0x20:0xfffe: nop, nop, and no more.
    let mut guest = Guest::protected(&[0xea, 0xfe, 0xff, 0, 0, CODE_16 as u8, 0]);
    guest.write(CODE + 0xfffe, &[0x90, 0x90, 0x90]);
    assert_eq!(guest.fault(), (GP, 0, 0x1_0000));
    assert_eq!(guest.machine.position().retired, 4, "jump, two NOPs, HLT");
    // An instruction over the limit; a jump beyond it, which is the jump's fault.
    let mut guest = Guest::protected(&[0xea, 0xfe, 0xff, 0, 0, CODE_16 as u8, 0]);
    guest.write(CODE + 0xfffe, &[0xb8, 0, 0]);
    assert_eq!(guest.fault(), (GP, 0, 0xfffe));
    let mut guest = Guest::protected(&[0xea, 0, 0, 1, 0, CODE_16 as u8, 0]);
    assert_eq!(guest.fault(), (GP, 0, CODE as u32));
    // A block that was decoded under a wide limit, entered under a narrow one.
    let mut guest = Guest::protected(&[0xe8, 0x0b, 0, 0, 0, 0xea, 0, 0, 0, 0, EXECUTE_ONLY as u8, 0]);
    guest.write(CODE + 0x10, &[0x40, 0x40, 0x40, 0xc3]);
    guest.descriptor(EXECUTE_ONLY, &[0x0040_9901_0010_0001]);
    assert_eq!(guest.fault(), (GP, 0, 2));
    assert_eq!(low(guest.machine.state().cpu.gpr[0]), 5);
}

#[test]
fn a_32_bit_call_gate_to_ring_0() {
    // call 0x83:0; hlt (not allowed in ring 3)
    let code = [0x9a, 0, 0, 0, 0, GATE as u8 | 3, 0, 0xf4];
    let gate = |dpl: u64, kind: u64, selector: u16, count: u64| {
        0x1_2000 & 0xffff | u64::from(selector) << 16 | count << 32 | (0x80 | dpl << 5 | kind) << 40 | 1 << 48
    };
    let guest = |descriptor: u64| {
        let mut guest = Guest::user(&code);
        guest.descriptor(GATE, &[descriptor]);
        guest.write(STACK - 8, &[1, 0, 0, 0, 2, 0, 0, 0]);
        guest.cpu.gpr[4] = STACK - 8;
        guest.write(0x1_2000, &[0xf4]);
        guest
    };
    let mut good = guest(gate(3, 0xc, CODE_32, 2));
    assert_eq!(good.vector(), None);
    let cpu = good.machine.state().cpu;
    assert_eq!((cpu.rip, cpu.seg[1].selector, cpu.seg[2].selector), (0x1_2001, CODE_32, DATA_32));
    assert_eq!(cpu.gpr[4], RING0 - 24);
    let frame = [CODE as u32 + 7, 0x33, 1, 2, STACK as u32 - 8, 0x3b];
    assert_eq!(good.stack(RING0 - 24), frame);

    let mut back = guest(gate(3, 0xc, CODE_32, 2));
    back.write(0x1_2000, &[0xca, 8, 0]); // retf 8
    assert_eq!(back.vector(), Some(GP), "HLT in ring 3");
    assert_eq!(back.stack(RING0 - 24), [0, CODE as u32 + 7, 0x33, 0x1_0002, STACK as u32, 0x3b]);
    assert_eq!(back.machine.state().cpu.seg[3].selector, USER_DATA);

    let mut narrow = guest(gate(3, 4, CODE_32, 1));
    narrow.write(0x2000, &[0xf4]);
    assert_eq!(narrow.vector(), None);
    assert_eq!(narrow.machine.state().cpu.gpr[4], RING0 - 10);
    let words: [u16; 5] = std::array::from_fn(|i| narrow.word16(RING0 - 10 + 2 * i as u64));
    assert_eq!(words, [7, 0x33, 1, (STACK - 8) as u16, 0x3b]);

    let bad = [
        (gate(0, 0xc, CODE_32, 0), GP, GATE),
        (gate(3, 0xc, CODE_32, 0) & !(1 << 47), NP, GATE),
        (gate(3, 0xc, 0, 0), GP, 0),
        (gate(3, 0xc, DATA_32, 0), GP, DATA_32),
        (gate(3, 0xc, TABLE_LIMIT + 1, 0), GP, TABLE_LIMIT + 1),
        (gate(3, 0xe, CODE_32, 0), GP, GATE),
    ];
    for (descriptor, vector, error) in bad {
        let mut guest = guest(descriptor);
        assert_eq!(guest.fault(), (vector, error.into(), CODE as u32), "{descriptor:x}");
    }
    // A stack that does not fit.
    for (ss, vector, error) in [(0u16, TS, 0u16), (USER_DATA, TS, 0x38), (CODE_32, TS, CODE_32)] {
        let mut guest = guest(gate(3, 0xc, CODE_32, 0));
        guest.write(TSS + 8, &ss.to_le_bytes());
        // The fault's handler needs a stack as well: a conforming one runs on that of ring 3.
        guest.gate(vector, 0xee, CONFORMING | 3, HANDLERS + 16 * vector);
        guest.gate(GP, 0xee, CONFORMING | 3, 0x1_2800);
        guest.write(HANDLERS + 16 * vector, &[0x90, 0xeb, 0xfd]); // a jump to itself alone would be the end
        guest.start();
        assert_eq!(guest.machine.run(Until::About(50), &mut Closed), Stop::Limit);
        assert_eq!(guest.word32(STACK - 24), error.into(), "{ss:x}");
    }
}

#[test]
fn interrupts_through_32_bit_and_16_bit_gates() {
    // int 0x30 from ring 3, ring 0; interrupt and trap gates of both sizes.
    for (user, kind, size, masks) in
        [(true, 0xee, 4, true), (true, 0xef, 4, false), (false, 0x8e, 4, true), (false, 0x87, 2, false)]
    {
        let mut guest = if user { Guest::user(&[0xcd, 0x30]) } else { Guest::protected(&[0xcd, 0x30]) };
        guest.cpu.rflags |= IF;
        let to = if size == 2 { 0x2300 } else { HANDLERS + 16 * 0x30 };
        guest.write(0x2300, &[0xf4]);
        guest.gate(0x30, kind, CODE_32, to);
        guest.start();
        guest.machine.run(Until::About(2), &mut Closed);
        let cpu = guest.machine.state().cpu;
        assert_eq!(cpu.rip, to + 1);
        assert_eq!(cpu.rflags & IF == 0, masks, "{kind:x}");
        let top = if user { RING0 } else { STACK };
        let words = if user { 5 } else { 3 };
        assert_eq!(cpu.gpr[4], top - words * size);
        if size == 4 {
            assert_eq!(guest.stack(top - 4 * words), [CODE as u32 + 2, if user { 0x33 } else { 8 }, 0x202]);
        } else {
            let frame: [u16; 3] = std::array::from_fn(|i| guest.word16(top - 6 + 2 * i as u64));
            assert_eq!(frame, [2, 8, 0x202]);
        }
        if user {
            assert_eq!(guest.stack(top - 8), [STACK as u32, 0x3b]);
        }
    }
    // The gate's DPL counts for INT n, not for faults.
    let mut guest = Guest::user(&[0xcd, 0x30]);
    assert_eq!(guest.fault(), (GP, 0x30 * 8 + 2, CODE as u32));
    let mut guest = Guest::user(&[0x0f, 0x0b]);
    assert_eq!(guest.vector(), Some(UD));
}

#[test]
fn iret_to_ring_3_drops_segments_of_ring_0() {
    let mut guest = Guest::protected(&[0xcf]);
    let frame = [CODE as u32 + 0x40, 0x33, 0x3202, 0x1_7000, 0x3b];
    let bytes: Vec<u8> = frame.iter().flat_map(|w: &u32| w.to_le_bytes()).collect();
    guest.write(STACK, &bytes);
    guest.write(CODE + 0x40, &[0x8c, 0xd8, 0xcd, 0x30]); // mov eax, ds; int 0x30
    guest.cpu.seg[0] = segment(USER_DATA, 0, u32::MAX, 0xc0f3);
    guest.gate(0x30, 0xee, CODE_32, HANDLERS + 16 * 0x30);
    assert_eq!(guest.vector(), Some(0x30));
    let cpu = guest.machine.state().cpu;
    assert_eq!((low(cpu.gpr[0]), cpu.seg[3].selector, cpu.seg[0].selector), (0, 0, USER_DATA));
    assert_eq!(guest.stack(RING0 - 20), [CODE as u32 + 0x44, 0x33, 0x3202, 0x1_7000, 0x3b]);
}

#[test]
fn compatibility_mode_under_a_64_bit_kernel() {
    // push 1; mov eax, [esp]; inc eax; int 0x30
    let mut guest = Guest::compat(&[0x6a, 1, 0x8b, 0x04, 0x24, 0x40, 0xcd, 0x30]);
    assert_eq!(guest.vector(), Some(0x30));
    let cpu = guest.machine.state().cpu;
    assert_eq!((cpu.gpr[0], cpu.code_bits()), (2, 64));
    let frame: [u64; 5] = std::array::from_fn(|i| u64::from_le_bytes(guest.read(RING0 - 40 + 8 * i as u64)));
    assert_eq!(frame, [CODE + 8, 0x33, 2, STACK - 4, 0x3b]);
    // syscall is for 64-bit code; sysret leads here, sysenter from here.
    let mut guest = Guest::compat(&[0x0f, 0x05]);
    assert_eq!(guest.vector(), Some(UD));
    let mut guest = Guest::compat(&[0x0f, 0x34]);
    (guest.cpu.msr.sysenter_cs, guest.cpu.msr.sysenter_esp) = (CODE_64.into(), RING0 - 64);
    guest.cpu.msr.sysenter_eip = 0x1_2000;
    guest.write(0x1_2000, &[0xf4]);
    let cpu = guest.run();
    assert_eq!((cpu.rip, cpu.gpr[4], cpu.seg[1].selector, cpu.seg[2].selector), (0x1_2001, RING0 - 64, 0x18, 0x20));
    // sysexit to 32-bit code, which calls back.
    let mut guest = Guest::compat(&[0xcd, 0x30]);
    guest.cpu.msr.sysenter_cs = 0x20;
    (guest.cpu.gpr[1], guest.cpu.gpr[2]) = (STACK, CODE);
    guest.cpu.rip = 0x1_2000;
    guest.cpu.seg[1] = segment(CODE_64, 0, u32::MAX, 0xa09b);
    guest.cpu.seg[2] = segment(DATA_32, 0, u32::MAX, 0xc093);
    guest.write(0x1_2000, &[0x0f, 0x35]);
    assert_eq!(guest.vector(), Some(0x30));
    assert_eq!(u64::from_le_bytes(guest.read(RING0 - 32)), 0x33);
}

#[test]
fn a_64_bit_call_gate() {
    // From ring 3: call far [rbx]; an m16:32 pointer whose offset does not count.
    let mut guest = Guest::compat(&[0xff, 0x1b]);
    guest.descriptor(GATE, &[0x0001_ec00_0018_2000, 0]);
    guest.write(DATA, &[0, 0, 0, 0, GATE as u8 | 3, 0]);
    guest.write(0x1_2000, &[0xf4]);
    guest.cpu.gpr[3] = DATA;
    let cpu = guest.run();
    assert_eq!((cpu.rip, cpu.gpr[4], cpu.seg[2].selector), (0x1_2001, RING0 - 32, 0));
    let frame: [u64; 4] = std::array::from_fn(|i| u64::from_le_bytes(guest.read(RING0 - 32 + 8 * i as u64)));
    assert_eq!(frame, [CODE + 2, 0x33, STACK, 0x3b]);
    // To code that is not 64-bit code, and with a type in the upper half.
    for (words, error) in [([0x0001_ec00_0008_2000, 0], CODE_32), ([0x0001_ec00_0018_2000, 1 << 40], GATE)] {
        let mut guest = Guest::compat(&[0xff, 0x1b]);
        guest.descriptor(GATE, &words);
        guest.write(DATA, &[0, 0, 0, 0, GATE as u8 | 3, 0]);
        guest.cpu.gpr[3] = DATA;
        assert_eq!(guest.vector(), Some(GP));
        assert_eq!(guest.word32(RING0 - 48), error.into());
    }
}

#[test]
fn what_64_bit_mode_does_not_have() {
    // bound; into; aam 0
    for (code, vector) in [(&[0x62, 0x03][..], 5), (&[0xb0, 0x7f, 0x04, 1, 0xce], 4), (&[0xd4, 0], 0)] {
        let mut guest = Guest::protected(code);
        guest.words(DATA, &[0x0000_0010_ffff_fff0]);
        (guest.cpu.gpr[0], guest.cpu.gpr[3]) = (0x11, DATA);
        assert_eq!(guest.vector(), Some(vector), "{code:x?}");
    }
    let mut guest = Guest::protected(&[0x62, 0x03, 0xf4]);
    guest.words(DATA, &[0x0000_0010_ffff_fff0]);
    (guest.cpu.gpr[0], guest.cpu.gpr[3]) = (0xffff_fff0, DATA);
    assert_eq!(guest.vector(), None, "both bounds are included, and signed");
}

#[test]
fn cr8_and_other_registers_of_64_bit_mode_do_not_exist() {
    for code in [&[0x0f, 0x01, 0xf8][..], &[0x0f, 0x07]] {
        let mut guest = Guest::protected(code); // swapgs; sysret
        assert_eq!(guest.vector(), Some(UD), "{code:x?}");
    }
}
