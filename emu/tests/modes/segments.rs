//! Descriptors, limits, types, and what looks at them.

use crate::guest::*;

#[test]
fn flat_32_bit_code_without_paging() {
    // mov eax, 0x12345678; mov [0x20000], eax; push -2; pop ebx; push word [0x20000]; call over; hlt; over: inc ecx; ret 2
    let mut guest = Guest::protected(&[
        0xb8, 0x78, 0x56, 0x34, 0x12, 0xa3, 0, 0, 2, 0, 0x6a, 0xfe, 0x5b, 0x66, 0xff, 0x35, 0, 0, 2, 0, 0xe8, 1, 0, 0,
        0, 0xf4, 0x41, 0xc2, 2, 0,
    ]);
    guest.cpu.gpr[1] = 0xffff_ffff_ffff_ffff;
    assert_eq!(guest.vector(), None);
    let cpu = guest.machine.state().cpu;
    assert_eq!(cpu.rip, CODE + 26);
    assert_eq!((cpu.gpr[3], cpu.gpr[1], cpu.gpr[4]), (0xffff_fffe, 0, STACK));
    assert_eq!((guest.word32(DATA), guest.word16(STACK - 2)), (0x1234_5678, 0x5678));
}

#[test]
fn offsets_wrap_at_4_gib() {
    // mov eax, [ebx + 0x10]; mov ecx, [ebx + esi * 4]; mov [edx - 4], eax; mov edi, [edx - 6]; hlt
    let code = [0x8b, 0x43, 0x10, 0x8b, 0x0c, 0xb3, 0x89, 0x42, 0xfc, 0x8b, 0x7a, 0xfa, 0xf4];
    let mut guest = Guest::protected(&code);
    guest.words(8, &[0x1111_2222_3333_4444]);
    let cpu = &mut guest.cpu;
    (cpu.gpr[3], cpu.gpr[6]) = (0xdead_beef_ffff_fff8, 5);
    cpu.gpr[2] = 0x9999_9999_0000_0004;
    let cpu = guest.run();
    assert_eq!((cpu.gpr[0], cpu.gpr[1]), (0x3333_4444, 0x1111_2222));
    assert_eq!(guest.word32(0), 0x3333_4444);
    assert_eq!(cpu.gpr[7], 0x4444_ffff, "over the end, where there is no memory");
}

#[test]
fn limits_and_types() {
    const LOAD: &[u8] = &[0x8b, 0x03]; // mov eax, [ebx]
    const LOAD_BYTE: &[u8] = &[0x8a, 0x03];
    const STORE: &[u8] = &[0x89, 0x03];
    const MOVS: &[u8] = &[0x89, 0xde, 0xa5]; // mov esi, ebx; movsd
    const FLD80: &[u8] = &[0xdb, 0x2b]; // fld tword [ebx]
    // (segment in DS, offset, code, faults)
    let cases = [
        (SMALL, 0xffc, LOAD, false),
        (SMALL, 0xffd, LOAD, true),
        (SMALL, 0xfff, LOAD_BYTE, false),
        (SMALL, 0x1000, LOAD_BYTE, true),
        (SMALL, 0xffff_fffe, LOAD, true),
        (SMALL, 0xffc, STORE, false),
        (SMALL, 0xffd, STORE, true),
        (SMALL, 0xffc, MOVS, false),
        (SMALL, 0xffd, MOVS, true),
        (SMALL, 0xff6, FLD80, false),
        (SMALL, 0xff7, FLD80, true),
        (DOWN, 0xfff, LOAD, true),
        (DOWN, 0x1000, LOAD, false),
        (DOWN, 0xffff_0000, LOAD, false),
        (DOWN, 0xffff_fffd, LOAD, true),
        (DOWN_16, 0xfff, LOAD_BYTE, true),
        (DOWN_16, 0x1000, LOAD_BYTE, false),
        (DOWN_16, 0xfffc, STORE, false),
        (DOWN_16, 0xfffd, STORE, true),
        (READ_ONLY, 0, LOAD, false),
        (READ_ONLY, 0, STORE, true),
        (0, 0, LOAD, true),
        (0, 0, STORE, true),
    ];
    for (selector, offset, code, faults) in cases {
        let load_ds = [0x8e, 0xd9]; // mov ds, ecx
        let mut guest = Guest::protected(&[&load_ds, code, &[0xf4]].concat());
        (guest.cpu.gpr[1], guest.cpu.gpr[3], guest.cpu.gpr[7]) = (selector.into(), offset, DATA + 0x8000);
        let what = format!("{code:x?} at {selector:x}:{offset:x}");
        let at = CODE as u32 + if code == MOVS { 4 } else { 2 };
        match faults {
            true => assert_eq!(guest.fault(), (GP, 0, at), "{what}"),
            false => assert_eq!(guest.vector(), None, "{what}"),
        }
    }
}

#[test]
fn stack_limits_are_stack_faults() {
    // mov eax, [ebp]; push eax; pop eax; call; ret; enter 16, 1; pusha; and an SS override
    let codes: [(&[u8], u64); 8] = [
        (&[0x8b, 0x45, 0x00], 0xffd),
        (&[0x50], 2),
        (&[0x58], 0xffd),
        (&[0xe8, 0, 0, 0, 0], 3),
        (&[0xc3], 0xffe),
        (&[0xc8, 16, 0, 1], 8),
        (&[0x60], 31),
        (&[0x36, 0x8b, 0x04, 0x24], 0xffd),
    ];
    for (code, sp) in codes {
        let mut guest = Guest::protected(code);
        // The handler has a stack of its own, in ring 0: the code runs in ring 3.
        guest.cpu = Guest::user(code).cpu;
        guest.cpu.seg[2] = segment(0x43, DATA, 0xfff, 0x40f3);
        (guest.cpu.gpr[4], guest.cpu.gpr[5]) = (sp, sp);
        assert_eq!(guest.vector(), Some(SS), "{code:x?}");
        assert_eq!(guest.stack(RING0 - 24), [0, CODE as u32, 0x33, 0x1_0002, sp as u32, 0x43], "{code:x?}");
    }
}

#[test]
fn a_16_bit_stack_wraps_at_64_kib() {
    // mov ss, ecx; push eax; pop ebx; hlt
    let mut guest = Guest::protected(&[0x8e, 0xd1, 0x50, 0x5b, 0x50, 0xf4]);
    (guest.cpu.gpr[0], guest.cpu.gpr[1], guest.cpu.gpr[4]) = (0x1234_5678, DATA_16.into(), 0xabcd_0000);
    let cpu = guest.run();
    assert_eq!((cpu.gpr[3], cpu.gpr[4]), (0x1234_5678, 0xabcd_fffc));
    assert_eq!(guest.word32(0x1_fffc), 0x1234_5678);
}

#[test]
fn segment_loads() {
    const NULL: u16 = 0;
    // (register, selector, vector and error code, if it faults)
    let cases = [
        (3, DATA_32, None),
        (3, NULL, None),
        (3, USER_DATA, None),
        (3, DATA_32 | 3, Some((GP, DATA_32))),
        (3, CONFORMING | 3, None),
        (3, READ_ONLY, None),
        (3, EXECUTE_ONLY, Some((GP, EXECUTE_ONLY))),
        (3, NOT_PRESENT, Some((NP, NOT_PRESENT))),
        (3, LDT, Some((GP, LDT))),
        (3, TABLE_LIMIT + 1, Some((GP, TABLE_LIMIT + 1))),
        (3, 0x0c, Some((GP, 0x0c))),
        (2, DATA_32, None),
        (2, NULL, Some((GP, 0))),
        (2, DATA_32 | 1, Some((GP, DATA_32))),
        (2, USER_DATA, Some((GP, USER_DATA & !3))),
        (2, CODE_32, Some((GP, CODE_32))),
        (2, READ_ONLY, Some((GP, READ_ONLY))),
        (2, NOT_PRESENT, Some((SS, NOT_PRESENT))),
    ];
    for (register, selector, fault) in cases {
        let mut guest = Guest::protected(&[0x8e, 0xc1 | register << 3, 0xf4]); // mov segment, ecx
        guest.cpu.gpr[1] = selector.into();
        let what = format!("register {register}, selector {selector:x}");
        match fault {
            Some((vector, error)) => assert_eq!(guest.fault(), (vector, error.into(), CODE as u32), "{what}"),
            None => {
                assert_eq!(guest.vector(), None, "{what}");
                assert_eq!(guest.machine.state().cpu.seg[usize::from(register)].selector, selector, "{what}");
            }
        }
    }
}

#[test]
fn a_loaded_descriptor_is_marked_accessed() {
    let mut guest = Guest::protected(&[0x8e, 0xd9, 0xf4]);
    guest.descriptor(SMALL, &[0x0040_9202_0000_0fff]);
    guest.cpu.gpr[1] = SMALL.into();
    guest.run();
    assert_eq!(guest.read::<8>(GDT + u64::from(SMALL))[5], 0x93);
}

#[test]
fn the_local_table() {
    // lldt cx; sldt ebx; mov ds, edx; mov eax, [4]; hlt
    let code = [0x0f, 0x00, 0xd1, 0x0f, 0x00, 0xc3, 0x8e, 0xda, 0xa1, 4, 0, 0, 0, 0xf4];
    let mut guest = Guest::protected(&code);
    guest.words(0x2_1000, &[0, 0x0040_9302_0000_0fff]);
    guest.words(DATA, &[0x5555_5555_0000_0000]);
    (guest.cpu.gpr[1], guest.cpu.gpr[2], guest.cpu.gpr[3]) = (LDT.into(), 0x0c, u64::MAX);
    let cpu = guest.run();
    assert_eq!((cpu.gpr[0], cpu.gpr[3]), (0x5555_5555, LDT.into()));
    // A busy TSS; then a second LTR is refused.
    let mut guest = Guest::protected(&[0x0f, 0x00, 0xd9, 0x0f, 0x00, 0xd9]);
    guest.cpu.gpr[1] = TSS_FREE.into();
    assert_eq!(guest.fault(), (GP, TSS_FREE.into(), CODE as u32 + 3));
}

#[test]
fn looking_at_descriptors() {
    // lar eax, ecx; setz bl; lsl edx, ecx; setz bh; verr cx; verw cx; hlt
    let code = [0x0f, 0x02, 0xc1, 0x0f, 0x94, 0xc3, 0x0f, 0x03, 0xd1, 0x0f, 0x94, 0xc7, 0xf4];
    // (selector, LAR, LSL)
    let cases = [
        (DATA_32, Some(0x00cf_9300), Some(u32::MAX)),
        (SMALL, Some(0x0040_9300), Some(0xfff)),
        (LDT, Some(0x0000_8200), Some(0x17)),
        (TSS_FREE, Some(0x0000_8900), Some(0x67)),
        (GATE, Some(0x0001_8c00), None),
        (0, None, None),
        (TABLE_LIMIT + 1, None, None),
        (DATA_32 | 3, None, None),
    ];
    for (selector, rights, limit) in cases {
        let mut guest = Guest::protected(&code);
        guest.descriptor(GATE, &[0x0001_8c00_0008_2000]);
        (guest.cpu.gpr[1], guest.cpu.gpr[3]) = (selector.into(), 0);
        let cpu = guest.run();
        let found = (cpu.gpr[3] & 1 != 0, cpu.gpr[3] & 0x100 != 0);
        assert_eq!(found, (rights.is_some(), limit.is_some()), "{selector:x}");
        assert_eq!(rights.unwrap_or(low(guest.cpu.gpr[0])), low(cpu.gpr[0]), "{selector:x}");
        assert_eq!(limit.unwrap_or(low(guest.cpu.gpr[2])), low(cpu.gpr[2]), "{selector:x}");
    }
    // arpl cx, dx; setz bl
    for (selector, source, raises) in [(0x10, 0x33, true), (0x13, 0x31, false)] {
        let mut guest = Guest::protected(&[0x63, 0xd1, 0x0f, 0x94, 0xc3, 0xf4]);
        (guest.cpu.gpr[1], guest.cpu.gpr[2]) = (selector, source);
        let cpu = guest.run();
        assert_eq!((cpu.gpr[1], cpu.gpr[3] & 1 == 1), (if raises { 0x13 } else { selector }, raises));
    }
}
