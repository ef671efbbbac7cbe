//! Debug exceptions: breakpoints on code, data and ports, single-step, and what holds them off (SDM Vol. 3B, 17.2 and 17.3).

#![allow(clippy::unwrap_used, clippy::cast_possible_truncation, reason = "a test panics when it fails")]

mod guest;

use emu::{CpuState, Position, Power, Shadow, Stop, Until};
use guest::*;

const DB: u64 = 1;
const TF: u64 = 1 << 8;
const RF: u64 = 1 << 16;
const BS: u64 = 1 << 14;
const DE: u64 = 1 << 3;
/// Where the test's handler notes (RIP, RFLAGS, DR6) of each #DB, growing upward; its cursor is at `CURSOR`.
const NOTES: u64 = 0x3_0000;
const CURSOR: u64 = 0x3_0ff8;
const DATA: u64 = FRAME;

const EXECUTE: u64 = 0;
const WRITE: u64 = 1;
const PORT: u64 = 2;
const ACCESS: u64 = 3;

/// DR7 with breakpoint `n` enabled for `kind` and `length` bytes.
fn dr7(n: u64, kind: u64, length: u64) -> u64 {
    let code = [0, 0, 1, 0, 3, 0, 0, 0, 2][length as usize];
    0x400 | 1 << (2 * n) | (kind | code << 2) << (16 + 4 * n)
}

/// A handler for #DB that notes and returns with RF set, so that code breakpoints are passed. The code ends with INT 0x41, which
/// nothing steps into, and which halts.
fn guest(code: &[u8]) -> Guest {
    let mut guest = Guest::new(&[code, &[0xcd, 0x41]].concat());
    guest.gate_to(0x41, HANDLER);
    let handler = [
        &[0x50, 0x53][..],                              // push rax; push rbx
        &[0x48, 0x8b, 0x1c, 0x25, 0xf8, 0x0f, 0x03, 0], // mov rbx, [CURSOR]
        &[0x48, 0x8b, 0x44, 0x24, 0x10],                // mov rax, [rsp + 16]
        &[0x48, 0x89, 0x03],                            // mov [rbx], rax
        &[0x48, 0x8b, 0x44, 0x24, 0x20],                // mov rax, [rsp + 32]
        &[0x48, 0x89, 0x43, 0x08],                      // mov [rbx + 8], rax
        &[0x0f, 0x21, 0xf0, 0x48, 0x89, 0x43, 0x10],    // mov rax, dr6; mov [rbx + 16], rax
        &[0x31, 0xc0, 0x0f, 0x23, 0xf0],                // xor eax, eax; mov dr6, rax
        &[0x48, 0x83, 0xc3, 0x18],                      // add rbx, 24
        &[0x48, 0x89, 0x1c, 0x25, 0xf8, 0x0f, 0x03, 0], // mov [CURSOR], rbx
        &[0x81, 0x4c, 0x24, 0x20, 0, 0, 1, 0],          // or dword [rsp + 32], RF
        &[0x5b, 0x58, 0x48, 0xcf],                      // pop rbx; pop rax; iretq
    ]
    .concat();
    guest.write(HANDLER + 0x100, &handler);
    guest.gate_to(DB, HANDLER + 0x100);
    guest.words(CURSOR, &[NOTES]);
    guest
}

/// (distance of RIP from the code, RFLAGS.RF, DR6 without its ones) of each #DB of a run to HLT, the same however it is run.
fn notes(make: impl Fn() -> Guest) -> Vec<(i64, bool, u64)> {
    let mut straight = make();
    assert_eq!(straight.run(), Stop::Off(Power::Dead));
    let mut pieces = make();
    pieces.start();
    while pieces.machine.power().is_none() {
        let at = pieces.machine.position();
        let next = Position { steps: at.steps + 1, ..at };
        pieces.machine.run(Until::Exactly(next), &mut Closed);
        pieces.machine = pieces.moved();
    }
    assert_eq!(straight.machine.position(), pieces.machine.position());
    assert_eq!(straight.machine.state(), pieces.machine.state());
    assert_eq!(read(&straight), read(&pieces));
    read(&straight)
}

fn read(guest: &Guest) -> Vec<(i64, bool, u64)> {
    let note = |at| {
        let (rip, flags, dr6) = (guest.word(at), guest.word(at + 8), guest.word(at + 16));
        (rip.wrapping_sub(CODE) as i64, flags & RF != 0, dr6 & !0xffff_0ff0)
    };
    (NOTES..guest.word(CURSOR)).step_by(24).map(note).collect()
}

fn with(code: &[u8], prepare: impl Fn(&mut CpuState)) -> Vec<(i64, bool, u64)> {
    notes(|| {
        let mut guest = guest(code);
        prepare(&mut guest.state.cpu);
        guest
    })
}

#[test]
fn a_code_breakpoint_is_a_fault_that_rf_passes() {
    let nops = [0x90; 6];
    for n in 0..4 {
        let seen = with(&nops, |cpu| {
            cpu.dr[n] = CODE + 2;
            cpu.dr[7] = dr7(n as u64, EXECUTE, 1);
        });
        assert_eq!(seen, [(2, false, 1 << n)], "RF is pushed as it was");
    }
    // Disabled, or on no first byte of an instruction.
    assert_eq!(with(&nops, |cpu| cpu.dr[0] = CODE + 2), []);
    let long = [0x48, 0x81, 0xc0, 0, 0, 0, 0];
    assert_eq!(with(&long, |cpu| (cpu.dr[0], cpu.dr[7]) = (CODE + 2, dr7(0, EXECUTE, 1))), []);
    // RF of the state it starts in.
    let resumed = |cpu: &mut CpuState| {
        (cpu.dr[0], cpu.dr[7], cpu.rflags) = (CODE, dr7(0, EXECUTE, 1), cpu.rflags | RF);
    };
    assert_eq!(with(&nops, resumed), []);
}

#[test]
fn a_code_breakpoint_in_a_loop_is_hit_each_time() {
    let code = [0xb9, 3, 0, 0, 0, 0x90, 0xff, 0xc9, 0x75, 0xfb]; // mov ecx, 3; nop; dec ecx; jnz back
    let seen = with(&code, |cpu| (cpu.dr[1], cpu.dr[7]) = (CODE + 5, dr7(1, EXECUTE, 1)));
    assert_eq!(seen, [(5, false, 2); 3]);
}

#[test]
fn data_breakpoints_of_all_lengths_and_places() {
    // mov [rdi], al / ax / eax / rax, and loads
    let stores: [&[u8]; 4] = [&[0x88, 0x07], &[0x66, 0x89, 0x07], &[0x89, 0x07], &[0x48, 0x89, 0x07]];
    let loads: [&[u8]; 4] = [&[0x8a, 0x07], &[0x66, 0x8b, 0x07], &[0x8b, 0x07], &[0x48, 0x8b, 0x07]];
    for (log, (store, load)) in stores.into_iter().zip(loads).enumerate() {
        for length in [1, 2, 4, 8] {
            for place in 0..24 {
                let (first, last) = (DATA + place, DATA + place + (1 << log) - 1);
                let touched = first < DATA + 8 + length && last >= DATA + 8;
                for (code, kind, counts) in
                    [(store, WRITE, true), (store, ACCESS, true), (load, WRITE, false), (load, ACCESS, true)]
                {
                    let mut guest = guest(code);
                    let cpu = &mut guest.state.cpu;
                    // The low bits of the address do not count.
                    (cpu.dr[2], cpu.dr[7]) = (DATA + 8 + (place & (length - 1)), dr7(2, kind, length));
                    cpu.gpr[7] = first;
                    guest.run();
                    let seen = read(&guest);
                    let expected: &[_] = if touched && counts { &[(code.len() as i64, false, 4)] } else { &[] };
                    assert_eq!(seen, expected, "{code:x?} at {place}, {length} bytes, kind {kind}");
                }
            }
        }
    }
}

#[test]
fn every_kind_of_access_is_seen() {
    // The instruction, and what of it the breakpoint on the word at RDI (and RSP) sees.
    let cases: [(&[u8], u64); 11] = [
        (&[0x48, 0x01, 0x07], WRITE),       // add [rdi], rax
        (&[0x50], WRITE),                   // push rax
        (&[0xff, 0x37], ACCESS),            // push qword [rdi]
        (&[0x58], ACCESS),                  // pop rax
        (&[0xe8, 0, 0, 0, 0], WRITE),       // call next
        (&[0x48, 0x0f, 0xc7, 0x0f], WRITE), // cmpxchg16b [rdi]
        (&[0xaa], WRITE),                   // stosb
        (&[0xac], ACCESS),                  // lodsb
        (&[0x0f, 0x11, 0x07], WRITE),       // movups [rdi], xmm0
        (&[0xdd, 0x1f], WRITE),             // fstp qword [rdi]
        (&[0x0f, 0x01, 0x07], WRITE),       // sgdt [rdi]
    ];
    for (code, kind) in cases {
        let stack = matches!(code[0], 0x50 | 0xe8);
        let seen = with(code, |cpu| {
            (cpu.dr[3], cpu.dr[7]) = (DATA, dr7(3, kind, 8));
            (cpu.gpr[6], cpu.gpr[7], cpu.cr4) = (DATA, DATA, cpu.cr4 | 1 << 9);
            cpu.gpr[4] = match code[0] {
                0x58 => DATA,
                _ if stack => DATA + 8,
                _ => cpu.gpr[4],
            };
        });
        // The handler's own pops and pushes may touch the watched stack again: the first note counts.
        assert_eq!(seen.first(), Some(&(code.len() as i64, false, 8)), "{code:x?}");
    }
}

#[test]
fn an_instruction_that_faults_has_hit_no_data_breakpoint() {
    // movsq: reads the watched word, then faults on its write.
    let mut guest = guest(&[0x48, 0xa5]);
    guest.gate(PF, 0);
    let cpu = &mut guest.state.cpu;
    (cpu.gpr[6], cpu.gpr[7], cpu.dr[0], cpu.dr[7]) = (DATA, WINDOW, DATA, dr7(0, ACCESS, 8));
    assert_eq!(guest.run(), Stop::Off(Power::Dead));
    assert_eq!((guest.word(CURSOR), guest.machine.state().cpu.debug_pending), (NOTES, 0));
}

#[test]
fn a_rep_traps_after_the_iteration() {
    // rep stosb over a watched byte: the trap comes between iterations, with RF, and the REP goes on.
    let make = |bytes: u64| {
        move |cpu: &mut CpuState| {
            (cpu.gpr[1], cpu.gpr[7], cpu.dr[0], cpu.dr[7]) = (bytes, DATA, DATA + 3, dr7(0, WRITE, 1));
        }
    };
    assert_eq!(with(&[0xf3, 0xaa], make(8)), [(0, true, 1)]);
    assert_eq!(with(&[0xf3, 0xaa], make(4)), [(2, false, 1)], "the last one ends it");
    assert_eq!(with(&[0xf3, 0xaa], make(3)), []);
    // Single-stepping steps iterations.
    let step = |cpu: &mut CpuState| (cpu.gpr[1], cpu.gpr[7], cpu.rflags) = (3, DATA, cpu.rflags | TF);
    assert_eq!(with(&[0xf3, 0xaa, 0x90], step), [(0, true, BS), (0, true, BS), (2, false, BS), (3, false, BS)]);
}

#[test]
fn a_gather_traps_before_it_faults() {
    // vpgatherdd xmm0, [rdi + xmm1*4], xmm2: two elements of what is there, one of what is not.
    let make = |prepare: fn(&mut CpuState)| {
        move || {
            let mut guest = guest(&[0xc4, 0xe2, 0x69, 0x90, 0x04, 0x8f]);
            guest.gate(PF, 0);
            let cpu = &mut guest.state.cpu;
            (cpu.gpr[7], cpu.cr4, cpu.xcr0) = (DATA, cpu.cr4 | 1 << 9 | 1 << 18, 7);
            cpu.xmm[1] = [1 << 32, (WINDOW - DATA) / 4 | 2 << 32];
            cpu.xmm[2] = [u64::MAX; 2];
            prepare(cpu);
            guest.words(DATA, &[0x22 << 32 | 0x11]);
            guest
        }
    };
    let end = |prepare| {
        let mut guest = make(prepare)();
        guest.run();
        let cpu = guest.machine.state().cpu;
        assert_eq!((cpu.rip, cpu.cr2), (HANDLER + 1, WINDOW), "the fault comes in the end");
        assert_eq!((cpu.xmm[0], cpu.xmm[2]), ([0x22 << 32 | 0x11, 0], [0, u64::MAX]));
        notes(make(prepare))
    };
    assert_eq!(end(|_| {}), []);
    assert_eq!(end(|cpu| cpu.rflags |= TF), [(0, true, BS)]);
    assert_eq!(end(|cpu| (cpu.dr[0], cpu.dr[7]) = (DATA + 4, dr7(0, ACCESS, 4))), [(0, true, 1)]);
    // What faults has not been seen, nor has what is behind it.
    assert_eq!(end(|cpu| (cpu.dr[0], cpu.dr[7]) = (WINDOW, dr7(0, ACCESS, 4))), []);
    assert_eq!(end(|cpu| (cpu.dr[0], cpu.dr[7]) = (DATA + 8, dr7(0, ACCESS, 4))), []);
}

#[test]
fn ports_are_watched_with_cr4_de() {
    for (code, length) in [(&[0xe6, 0x80][..], 2), (&[0xe4, 0x80], 2), (&[0x66, 0xe5, 0x7f], 3), (&[0x6e], 1)] {
        for de in [DE, 0] {
            let seen = with(code, |cpu| {
                (cpu.dr[0], cpu.dr[7], cpu.cr4) = (0x80, dr7(0, PORT, 1), cpu.cr4 & !DE | de);
                (cpu.gpr[2], cpu.gpr[6]) = (0x80, DATA);
            });
            let expected: &[_] = if de != 0 { &[(length, false, 1)] } else { &[] };
            assert_eq!(seen, expected, "{code:x?}");
        }
    }
}

#[test]
fn single_step_traps_after_each_instruction_but_the_one_that_sets_tf() {
    // pushfq; or dword [rsp], TF; popfq; nop; nop; pushfq; and dword [rsp], ~TF; popfq; nop
    let code = [
        0x9c, 0x81, 0x0c, 0x24, 0, 1, 0, 0, 0x9d, 0x90, 0x90, 0x9c, 0x81, 0x24, 0x24, 0xff, 0xfe, 0xff, 0xff, 0x9d,
        0x90,
    ];
    let seen = with(&code, |_| {});
    let at: Vec<i64> = seen.iter().map(|note| note.0).collect();
    assert_eq!(at, [10, 11, 12, 19, 20], "the last one after the POPF that clears it");
    assert!(seen.iter().all(|&(_, rf, dr6)| !rf && dr6 == BS));
}

#[test]
fn int_n_is_stepped_over() {
    // int 0x40, whose handler is an IRETQ; nop
    let seen = notes(|| {
        let mut guest = guest(&[0xcd, 0x40, 0x90]);
        guest.gate_to(0x40, HANDLER + 0x200);
        guest.write(HANDLER + 0x200, &[0x90, 0x48, 0xcf]);
        guest.state.cpu.rflags |= TF;
        guest
    });
    assert_eq!(seen, [(3, false, BS)], "after the NOP behind");
}

#[test]
fn mov_ss_holds_off_debug_exceptions_for_one_instruction() {
    // mov ss, [rdi]; nop; nop
    let code = [0x8e, 0x17, 0x90, 0x90];
    let watch = |cpu: &mut CpuState| (cpu.gpr[7], cpu.dr[0], cpu.dr[7]) = (DATA, DATA, dr7(0, ACCESS, 2));
    let seen = notes(|| {
        let mut guest = guest(&code);
        guest.words(DATA, &[0x10]);
        watch(&mut guest.state.cpu);
        guest
    });
    assert_eq!(seen, [(3, false, 1)], "after the first NOP");
    // A code breakpoint on that NOP is not hit; a step comes with the next one.
    let seen = notes(|| {
        let mut guest = guest(&code);
        guest.words(DATA, &[0x10]);
        let cpu = &mut guest.state.cpu;
        (cpu.gpr[7], cpu.dr[1], cpu.dr[7], cpu.rflags) = (DATA, CODE + 2, dr7(1, EXECUTE, 1), cpu.rflags | TF);
        guest
    });
    assert_eq!(seen, [(3, false, BS), (4, false, BS)]);
    // STI holds off interrupts only.
    let seen = with(&[0xfb, 0x90], |cpu| cpu.rflags |= TF);
    assert_eq!(seen, [(1, false, BS), (2, false, BS)]);
    let mut guest = guest(&code);
    guest.words(DATA, &[0x10]);
    guest.state.cpu.gpr[7] = DATA;
    guest.start();
    assert_eq!(guest.to(1, 0).shadow, Shadow::MovSs);
}

#[test]
fn several_causes_are_one_exception() {
    let seen = with(&[0x88, 0x07, 0x90], |cpu| {
        (cpu.gpr[7], cpu.rflags) = (DATA, cpu.rflags | TF);
        (cpu.dr[0], cpu.dr[1]) = (DATA, DATA);
        cpu.dr[7] = dr7(0, WRITE, 1) | dr7(1, ACCESS, 4);
    });
    assert_eq!(seen, [(2, false, BS | 3), (3, false, BS)]);
}

#[test]
fn general_detect_guards_the_debug_registers() {
    // mov rax, dr7, guarded: a fault, and GD is off in the handler.
    let seen = with(&[0x0f, 0x21, 0xf8], |cpu| cpu.dr[7] |= 1 << 13);
    assert_eq!(seen, [(0, true, 1 << 13)], "RF is pushed as 1");
}

#[test]
fn dr4_and_dr5_are_aliases_unless_cr4_de() {
    // mov rax, dr4; mov rcx, dr5
    let code = [0x0f, 0x21, 0xe0, 0x0f, 0x21, 0xe9, 0xf4];
    let mut guest = Guest::new(&code);
    guest.state.cpu.cr4 &= !DE;
    guest.state.cpu.dr[7] = 0x400 | 0x300;
    guest.run();
    let cpu = guest.machine.state().cpu;
    assert_eq!((cpu.gpr[0], cpu.gpr[1]), (0xffff_0ff0, 0x700));
    let mut guest = Guest::new(&code);
    guest.gate(6, 0);
    guest.state.cpu.cr4 |= DE;
    guest.run();
    assert_eq!(guest.word(STACK - 40), CODE, "#UD");
}

#[test]
fn reserved_bits_of_dr6_and_dr7() {
    // mov dr6, rax; mov dr7, rcx; mov rdx, dr6; mov rbx, dr7
    let code = [0x0f, 0x23, 0xf0, 0x0f, 0x23, 0xf9, 0x0f, 0x21, 0xf2, 0x0f, 0x21, 0xfb, 0xf4];
    let mut guest = Guest::new(&code);
    (guest.state.cpu.gpr[0], guest.state.cpu.gpr[1]) = (0xffff_ffff, 0xffff_df00);
    guest.run();
    let cpu = guest.machine.state().cpu;
    assert_eq!((cpu.gpr[2], cpu.gpr[3]), (0xffff_efff & !0x1000 | 0xffff_0ff0, 0xffff_0700));
    for register in [0xf0, 0xf8] {
        let mut guest = Guest::new(&[0x0f, 0x23, register, 0xf4]);
        guest.gate(13, 0);
        guest.state.cpu.gpr[0] = 1 << 32;
        guest.run();
        assert_eq!(guest.word(STACK - 40), CODE, "#GP");
    }
}
