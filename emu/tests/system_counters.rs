//! Performance counters count instructions retired, exactly, in the rings that were asked for.

#![allow(clippy::unwrap_used, clippy::cast_possible_truncation, reason = "a test panics when it fails")]

mod guest;

use emu::{CpuState, Position, Until};
use guest::*;

const FIXED: u64 = 1 << 32;
const USR: u64 = 1 << 16;
const OS: u64 = 1 << 17;
const EN: u64 = 1 << 22;
const RETIRED: u64 = 0xc0;

/// mov ecx, number; rdpmc; and the value to RDX:RAX.
fn rdpmc(number: u32) -> Vec<u8> {
    [&[0xb9][..], &number.to_le_bytes(), &[0x0f, 0x33]].concat()
}

fn wrmsr(number: u32, value: u64) -> Vec<u8> {
    let part = |opcode: u8, value: u64| [&[opcode][..], &(value as u32).to_le_bytes()].concat();
    [part(0xb9, number.into()), part(0xb8, value), part(0xba, value >> 32), vec![0x0f, 0x30]].concat()
}

/// Runs `code` to HLT in one go and in pieces; the registers at the end.
fn run(code: &[u8], prepare: impl Fn(&mut CpuState)) -> CpuState {
    let make = || {
        let mut guest = Guest::new(&[code, &[0xf4]].concat());
        guest.gate(13, 0);
        prepare(&mut guest.state.cpu);
        guest.start();
        guest
    };
    let (mut straight, mut pieces) = (make(), make());
    straight.machine.run(Until::About(100_000), &mut Closed);
    while pieces.machine.power().is_none() {
        let at = pieces.machine.position();
        let next = Position { retired: at.retired + 1 + at.retired % 7, steps: 0 };
        pieces.machine.run(Until::Exactly(next), &mut Closed);
        pieces.machine = pieces.moved();
    }
    assert_eq!(straight.machine.state(), pieces.machine.state());
    straight.machine.state().cpu
}

#[test]
fn the_fixed_counter_counts_between_two_wrmsr() {
    // A loop of 1000 times 2 instructions, a REP and an instruction that faults between start and stop.
    let work = [0xb9, 0xe8, 3, 0, 0, 0xff, 0xc9, 0x75, 0xfc, 0xb9, 5, 0, 0, 0, 0xf3, 0xaa];
    let code = [wrmsr(0x38d, 3), wrmsr(0x38f, FIXED), work.to_vec(), wrmsr(0x38f, 0)].concat();
    let cpu = run(&code, |cpu| cpu.gpr[7] = FRAME);
    // The WRMSR that starts it, the work, and the three moves before the one that stops it.
    assert_eq!(cpu.pmu.fixed, 1 + (1 + 2000 + 2) + 3);
    assert_eq!(cpu.pmu.global_status, 0);
}

#[test]
fn general_counters_count_the_event_and_the_rings_they_are_told() {
    let cases = [
        (RETIRED | EN | OS, 3 + 4),
        (RETIRED | EN | OS | USR, 3 + 4),
        (RETIRED | EN | USR, 0),
        (RETIRED | OS, 0),
        (0x3c | EN | OS, 0),
        (RETIRED | 1 << 8 | EN | OS, 0),
        (RETIRED | EN | OS | 1 << 24, 0),
        (RETIRED | EN | OS | 1 << 18, 0),
    ];
    for (select, expected) in cases {
        // Three NOPs, and the loads of the WRMSR that stops it; the one that starts it is the first.
        let code = [wrmsr(0x187, select), vec![0x90; 3], wrmsr(0x187, 0)].concat();
        let cpu = run(&code, |_| {});
        assert_eq!((cpu.pmu.counters[1], cpu.pmu.counters[0]), (expected, 0), "{select:#x}");
    }
}

#[test]
fn rdpmc_reads_them() {
    for (number, index) in [(0u32, 0), (1, 1), (1 << 30, 2)] {
        let cpu = run(&rdpmc(number), |cpu| {
            (cpu.pmu.counters, cpu.pmu.fixed) = ([0x1111_2222_3333, 0x4444_5555_6666], 0x7777_8888_9999);
        });
        let value = [0x1111_2222_3333u64, 0x4444_5555_6666, 0x7777_8888_9999][index];
        assert_eq!((cpu.gpr[0], cpu.gpr[2]), (value & 0xffff_ffff, value >> 32));
    }
    for number in [2, (1 << 30) + 1, 1 << 31] {
        assert_eq!(run(&rdpmc(number), |_| {}).rip, HANDLER + 1, "#GP");
    }
}

#[test]
fn rings_are_told_apart_and_rdpmc_needs_cr4_pce_outside_ring_0() {
    for (pce, faults) in [(0, true), (1 << 8, false)] {
        // nop; nop; rdpmc; int 0x40 from ring 3
        let mut guest = Guest::new(&[0x90, 0x90, 0x0f, 0x33, 0xcd, 0x40]);
        guest.gate(13, 0);
        guest.gate_to(0x40, HANDLER);
        guest.enter_ring3();
        let cpu = &mut guest.state.cpu;
        (cpu.cr4, cpu.gpr[1]) = (cpu.cr4 | pce, 1 << 30);
        (cpu.pmu.fixed_ctrl, cpu.pmu.global_ctrl) = (2, FIXED | 1);
        cpu.pmu.select[0] = RETIRED | EN | OS;
        guest.run();
        let cpu = guest.machine.state().cpu;
        // HLT in ring 0; NOP, NOP, RDPMC, INT in ring 3.
        assert_eq!((cpu.pmu.fixed, cpu.pmu.counters[0]), (if faults { 2 } else { 4 }, 1));
        assert_eq!(guest.word(RING0 - 48) == 0 && guest.word(RING0 - 40) == CODE + 2, faults);
    }
}

#[test]
fn a_counter_that_overflows_says_so_and_goes_on() {
    let code = [vec![0x90; 10], wrmsr(0x390, 1)].concat();
    let cpu = run(&code, |cpu| {
        (cpu.pmu.fixed, cpu.pmu.fixed_ctrl) = ((1 << 48) - 4, 1);
        (cpu.pmu.counters[0], cpu.pmu.select[0]) = ((1 << 48) - 1, RETIRED | EN | OS);
        cpu.pmu.global_ctrl = FIXED | 1;
    });
    assert_eq!(cpu.pmu.fixed, 10 + 4 + 1 - 4);
    assert_eq!(cpu.pmu.global_status, FIXED, "the other bit was cleared");
}

#[test]
fn reserved_bits_and_what_cannot_be_written() {
    let bad = [
        (0x186, 1 << 32),
        (0x186, 1 << 21),
        (0x309, 1 << 48),
        (0x38d, 4),
        (0x38d, 1 << 4),
        (0x38e, 0),
        (0x38f, 4),
        (0x38f, 1 << 33),
        (0x390, 4),
        (0xc3, 0),
        (0x188, 0),
        (0x30a, 0),
    ];
    for (number, value) in bad {
        assert_eq!(run(&wrmsr(number, value), |_| {}).rip, HANDLER + 1, "MSR {number:#x} = {value:#x}");
    }
    // A general counter takes 32 bits, and extends their sign.
    let cpu = run(&[wrmsr(0xc1, 0x1234_8000_0000), wrmsr(0xc2, 0x7fff_ffff)].concat(), |_| {});
    assert_eq!(cpu.pmu.counters, [0xffff_8000_0000, 0x7fff_ffff]);
}
