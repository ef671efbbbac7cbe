//! What the SDM says about faults, their delivery, and REP, on hand-assembled code.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::cast_possible_truncation,
    reason = "a test panics when it fails"
)]

mod guest;

use emu::{CpuState, Position, Power, Stop};
use guest::*;

const P: u64 = 1;
const W: u64 = 2;
const U: u64 = 4;
const NX: u64 = 1 << 63;
const RESERVED: u64 = 1 << 51;

const LOAD: &[u8] = &[0x48, 0x8b, 0x07]; // mov rax, [rdi]
const STORE: &[u8] = &[0x48, 0x89, 0x07]; // mov [rdi], rax
const JUMP: &[u8] = &[0xff, 0xe7]; // jmp rdi

#[test]
fn page_fault_error_codes() {
    // (entry bits, code, ring 3, error code)
    let cases = [
        (0, LOAD, false, 0),
        (0, STORE, false, 2),
        (0, JUMP, false, 0x10),
        (0, LOAD, true, 4),
        (0, STORE, true, 6),
        (0, JUMP, true, 0x14),
        (P, STORE, false, 3),
        (P | W, LOAD, true, 5),
        (P | W, STORE, true, 7),
        (P | U, STORE, true, 7),
        (P | W, JUMP, true, 0x15),
        (P | W | U | NX, JUMP, false, 0x11),
        (P | W | U | NX, JUMP, true, 0x15),
        (P | W | U | RESERVED, LOAD, false, 9),
        (P | W | U | RESERVED, STORE, true, 0xf),
        (P | W | U | RESERVED, JUMP, true, 0x1d),
    ];
    for (bits, code, user, error) in cases {
        let mut guest = Guest::new(code);
        guest.words(PAGES, &[FRAME | bits]);
        guest.gate(PF, 0);
        if user {
            guest.enter_ring3();
        }
        guest.state.cpu.gpr[7] = WINDOW + 8;
        assert_eq!(guest.run(), Stop::Off(Power::Dead));
        let cpu = guest.machine.state().cpu;
        let top = if user { RING0 } else { STACK };
        let what = format!("entry {bits:#x}, {code:x?}, user {user}");
        assert_eq!(guest.word(top - 48), error, "{what}");
        assert_eq!(cpu.cr2, WINDOW + 8, "{what}");
        assert_eq!(cpu.gpr[4], top - 48, "{what}");
        let (rip, retired) = if code == JUMP { (WINDOW + 8, 2) } else { (CODE, 1) };
        assert_eq!(guest.word(top - 40), rip, "{what}");
        assert_eq!(guest.word(top - 24), 0x1_0002, "RF is pushed as 1, {what}");
        assert_eq!(guest.word(top - 16), STACK, "{what}");
        assert_eq!(guest.machine.position().retired, retired, "{what}");
        assert_eq!(cpu.seg[2].selector, if user { 0 } else { 0x10 }, "{what}");
    }
}

#[test]
fn accessed_and_dirty_bits() {
    for (code, bits) in [(LOAD, 0x20), (STORE, 0x60)] {
        let mut guest = Guest::new(&[code, &[0xf4]].concat());
        guest.words(PAGES, &[FRAME | P | W]);
        guest.state.cpu.gpr[7] = WINDOW;
        guest.run();
        assert_eq!(guest.word(PAGES), FRAME | P | W | bits);
        assert_eq!(guest.word(0x1000), 0x2027);
    }
}

#[test]
fn a_fault_in_the_delivery_of_a_page_fault_is_a_double_fault_on_its_ist_stack() {
    let mut guest = Guest::new(LOAD);
    guest.gate(DF, 1);
    guest.words(TSS_BASE + 36, &[RING0 + 8]);
    guest.state.cpu.tr = emu::Segment { selector: 0x28, base: TSS_BASE, limit: 103, rights: 0x8b };
    guest.state.cpu.gpr[7] = WINDOW;
    assert_eq!(guest.run(), Stop::Off(Power::Dead));
    assert_eq!(guest.machine.state().cpu.gpr[4], RING0 - 48, "aligned down to 16 bytes");
    assert_eq!((guest.word(RING0 - 48), guest.word(RING0 - 40)), (0, CODE));
}

#[test]
fn a_fault_in_the_delivery_of_a_double_fault_ends_the_machine() {
    let mut guest = Guest::new(LOAD);
    guest.state.cpu.gpr[7] = WINDOW;
    assert_eq!(guest.run(), Stop::Off(Power::TripleFault));
    assert_eq!(guest.machine.position(), Position { retired: 0, steps: 1 });
}

#[test]
fn a_delivery_that_cannot_push_changes_nothing_but_the_fault() {
    // The stack's upper page is not there: #PF, #PF, #DF, end.
    let mut guest = Guest::new(&[0x0f, 0x0b]);
    for vector in [6, PF, DF] {
        guest.gate(vector, 0);
    }
    guest.words(PAGES, &[FRAME | P | W]);
    guest.state.cpu.gpr[4] = WINDOW + 0x1010;
    assert_eq!(guest.run(), Stop::Off(Power::TripleFault));
    let cpu = guest.machine.state().cpu;
    assert_eq!((cpu.rip, cpu.gpr[4]), (CODE, WINDOW + 0x1010));
    assert_eq!(cpu.cr2, WINDOW + 0x1008, "the first word pushed");
    assert!(guest.read(FRAME, 4096).iter().all(|&b| b == 0));
}

#[test]
fn sti_holds_interrupts_off_for_one_instruction() {
    let mut guest = Guest::new(&[0xfb, 0x90, 0xfb, 0x90]); // sti; nop; sti; nop
    guest.start();
    assert!(guest.to(1, 0).shadow == emu::Shadow::Sti);
    assert!(guest.to(2, 0).shadow == emu::Shadow::None);
    assert!(guest.to(3, 0).shadow == emu::Shadow::None, "it was on already");
}

#[test]
fn every_iteration_of_a_rep_has_a_position() {
    let mut guest = Guest::new(&[0x90, 0xf3, 0xa4, 0x90]); // nop; rep movsb; nop
    guest.write(FRAME, b"0123456789");
    let cpu = &mut guest.state.cpu;
    (cpu.gpr[1], cpu.gpr[6], cpu.gpr[7]) = (10, FRAME, FRAME + 0x100);
    guest.start();
    for steps in [1, 4, 9] {
        let cpu = guest.to(1, steps);
        assert_eq!((cpu.gpr[1], cpu.gpr[6], cpu.rip), (10 - steps, FRAME + steps, CODE + 1));
        assert_eq!(guest.read(FRAME + 0x100, 10)[steps as usize..], vec![0; 10 - steps as usize]);
    }
    assert_eq!(guest.to(2, 0).gpr[1], 0);
    assert_eq!(guest.read(FRAME + 0x100, 10), b"0123456789");
    assert_eq!(guest.to(3, 0).rip, CODE + 4);
}

#[test]
fn a_rep_that_faults_keeps_what_it_did() {
    let mut guest = Guest::new(&[0xf3, 0x48, 0xab]); // rep stosq
    guest.words(PAGES, &[FRAME | P | W]);
    guest.gate(PF, 0);
    let cpu = &mut guest.state.cpu;
    (cpu.gpr[0], cpu.gpr[1], cpu.gpr[7]) = (7, 6, WINDOW + 0xff0);
    assert_eq!(guest.run(), Stop::Off(Power::Dead));
    let cpu = guest.machine.state().cpu;
    assert_eq!((cpu.gpr[1], cpu.gpr[7], cpu.cr2), (4, WINDOW + 0x1000, WINDOW + 0x1000));
    assert_eq!((guest.word(FRAME + 0xff0), guest.word(FRAME + 0xff8)), (7, 7));
    assert_eq!(guest.word(STACK - 40), CODE);
}

#[test]
fn overlapping_moves_go_element_by_element() {
    for (prefix, log) in [(&[][..], 0), (&[0x66][..], 1), (&[0x48][..], 3)] {
        for distance in 1..20u64 {
            let opcode = if log == 0 { 0xa4 } else { 0xa5 };
            let mut guest = Guest::new(&[&[0xf3], prefix, &[opcode, 0xf4]].concat());
            let (count, size) = (40u64, 1usize << log);
            let mut expected: Vec<u8> = (0..=255).collect();
            guest.write(FRAME, &expected);
            guest.write(FRAME + 256, &expected);
            expected.extend_from_within(..);
            for i in 0..count as usize {
                expected.copy_within(i * size..(i + 1) * size, i * size + distance as usize);
            }
            let cpu = &mut guest.state.cpu;
            (cpu.gpr[1], cpu.gpr[6], cpu.gpr[7]) = (count, FRAME, FRAME + distance);
            guest.run();
            assert_eq!(guest.read(FRAME, 512), expected, "size {size}, distance {distance}");
        }
    }
}

#[test]
fn comparisons_stop_where_they_should() {
    // repe cmpsb, repne scasb over a page border
    let mut guest = Guest::new(&[0xf3, 0xa6, 0xf4]);
    guest.write(FRAME + 0xffa, b"abcdefghij");
    guest.write(FRAME + 0x3ff0, b"abcdefgHij");
    let cpu = &mut guest.state.cpu;
    (cpu.gpr[1], cpu.gpr[6], cpu.gpr[7]) = (10, FRAME + 0xffa, FRAME + 0x3ff0);
    guest.run();
    let cpu = guest.machine.state().cpu;
    assert_eq!((cpu.gpr[1], cpu.gpr[6]), (2, FRAME + 0xffa + 8));
    assert_eq!(cpu.rflags & 0x41, 0, "'h' is above 'H'");

    let mut guest = Guest::new(&[0xf2, 0xae, 0xf4]);
    guest.write(FRAME + 0xffa, b"abcdefghij\0");
    let cpu = &mut guest.state.cpu;
    (cpu.gpr[1], cpu.gpr[7]) = (u64::MAX, FRAME + 0xffa);
    guest.run();
    let cpu = guest.machine.state().cpu;
    assert_eq!((!cpu.gpr[1] - 1, cpu.rflags & 0x40), (10, 0x40), "strlen");
}

const UD: u64 = 6;
const FSGSBASE: u64 = 1 << 16;

/// Whether `code` raises #UD at its first instruction.
fn is_undefined(code: &[u8], prepare: fn(&mut CpuState)) -> bool {
    let mut guest = Guest::new(&[code, &[0xf4]].concat());
    guest.gate(UD, 0);
    prepare(&mut guest.state.cpu);
    assert_eq!(guest.run(), Stop::Off(Power::Dead), "{code:x?}");
    guest.machine.state().cpu.rip == HANDLER + 1 && guest.word(STACK - 40) == CODE
}

#[test]
fn vex_encodings_that_do_not_exist() {
    // ANDN rax, rcx, rdx.
    assert!(!is_undefined(&[0xc4, 0xe2, 0xf0, 0xf2, 0xc2], |_| {}));
    // VEX.L; 66, F2, F3, LOCK or REX before VEX; VEX.vvvv of RORX, which has no such operand.
    assert!(is_undefined(&[0xc4, 0xe2, 0xf4, 0xf2, 0xc2], |_| {}));
    for prefix in [0x66, 0xf2, 0xf3, 0xf0, 0x48] {
        assert!(is_undefined(&[prefix, 0xc4, 0xe2, 0xf0, 0xf2, 0xc2], |_| {}), "{prefix:x}");
    }
    assert!(!is_undefined(&[0xc4, 0xe3, 0xfb, 0xf0, 0xc2, 1], |_| {}));
    assert!(is_undefined(&[0xc4, 0xe3, 0xf3, 0xf0, 0xc2, 1], |_| {}));
    // VPXOR xmm0, xmm0, xmm0: not advertised, and CR4.OSXSAVE is 0.
    assert!(is_undefined(&[0xc5, 0xf9, 0xef, 0xc0], |_| {}));
}

#[test]
fn fs_and_gs_bases_are_reached_only_with_fsgsbase() {
    for code in [0xf3_48_0f_ae_c0u64, 0xf3_48_0f_ae_c8, 0xf3_48_0f_ae_d0, 0xf3_48_0f_ae_d8] {
        let code = &code.to_be_bytes()[3..];
        assert!(is_undefined(code, |_| {}));
        assert!(!is_undefined(code, |cpu| cpu.cr4 |= FSGSBASE));
    }
    // wrfsbase rax; wrgsbase ecx; rdfsbase rdx; rdgsbase rbx; rdfsbase esi; hlt
    let mut guest = Guest::new(&[
        0xf3, 0x48, 0x0f, 0xae, 0xd0, 0xf3, 0x0f, 0xae, 0xd9, 0xf3, 0x48, 0x0f, 0xae, 0xc2, 0xf3, 0x48, 0x0f, 0xae,
        0xcb, 0xf3, 0x0f, 0xae, 0xc6, 0xf4,
    ]);
    let cpu = &mut guest.state.cpu;
    cpu.cr4 |= FSGSBASE;
    (cpu.gpr[0], cpu.gpr[1], cpu.gpr[6]) = (0xffff_8000_1234_5678, 0x1111_2222_3333_4444, u64::MAX);
    guest.run();
    let cpu = guest.machine.state().cpu;
    assert_eq!((cpu.seg[4].base, cpu.seg[5].base), (0xffff_8000_1234_5678, 0x3333_4444));
    assert_eq!((cpu.gpr[2], cpu.gpr[3], cpu.gpr[6]), (0xffff_8000_1234_5678, 0x3333_4444, 0x1234_5678));
}

#[test]
fn a_base_must_be_canonical() {
    let mut guest = Guest::new(&[0xf3, 0x48, 0x0f, 0xae, 0xd0, 0xf4]);
    guest.gate(13, 0);
    guest.state.cpu.cr4 |= FSGSBASE;
    guest.state.cpu.gpr[0] = 1 << 47;
    guest.run();
    assert_eq!((guest.machine.state().cpu.rip, guest.word(STACK - 48)), (HANDLER + 1, 0));
    assert_eq!(guest.machine.state().cpu.seg[4].base, 0);
}

#[test]
fn rdpid_reads_tsc_aux() {
    let mut guest = Guest::new(&[0xf3, 0x0f, 0xc7, 0xf8, 0xf4]);
    guest.state.cpu.msr.tsc_aux = 0x8765_4321;
    guest.state.cpu.gpr[0] = u64::MAX;
    guest.run();
    assert_eq!(guest.machine.state().cpu.gpr[0], 0x8765_4321);
}
