//! Interrupts as guests see them, through the local APIC, the I/O APIC and the PIC: which come, in what order, and when.
//!
//! Every guest runs straight, and again with a stop and a move to a fresh machine at each step, which must not be seen.

#![allow(clippy::unwrap_used, clippy::cast_possible_truncation, reason = "a test panics when it fails")]

mod guest;

use std::ops::ControlFlow;

use emu::{Control, Door, Input, Machine, Output, Position, Query, Stop, Until};
use guest::{CODE, Guest};

/// Handler of vector `n` is at `HANDLERS + 64 * n`; it appends `n` to `LOG`, to which R15 points.
const HANDLERS: u64 = 0x3_0000;
const LOG: u64 = 0x2_8000;
const LAPIC: u64 = 0xfee0_0000;
const IOAPIC: u64 = 0xfec0_0000;

const TPR: u32 = 0x08;
const EOI: u32 = 0x0b;
const SVR: u32 = 0x0f;
const ICR: u32 = 0x30;
const TIMER: u32 = 0x32;
const LINT0: u32 = 0x35;
const INITIAL: u32 = 0x38;
const DIVIDE: u32 = 0x3e;
const SELF: u32 = 1 << 18;

const STI: &[u8] = &[0xfb];
const CLI: &[u8] = &[0xfa];
const NOP: &[u8] = &[0x90];
const HLT: &[u8] = &[0xf4];
/// CLI, HLT: the end of a guest.
const END: &[u8] = &[0xfa, 0xf4];

/// How the local APIC is reached.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Via {
    Memory,
    Msrs,
}

const BOTH: [Via; 2] = [Via::Memory, Via::Msrs];

/// mov eax, value; mov [address], eax.
fn store(address: u64, value: u32) -> Vec<u8> {
    [&[0xb8][..], &value.to_le_bytes(), &[0xa3], &address.to_le_bytes()].concat()
}

fn wrmsr(number: u32, value: u64) -> Vec<u8> {
    let part = |opcode: u8, value: u64| [&[opcode][..], &(value as u32).to_le_bytes()].concat();
    [part(0xb9, number.into()), part(0xb8, value), part(0xba, value >> 32), vec![0x0f, 0x30]].concat()
}

/// mov dx, port; mov eax, value; out dx, al (or eax).
fn out(port: u16, value: u32, bytes: u8) -> Vec<u8> {
    let opcode = if bytes == 1 { 0xee } else { 0xef };
    [&[0x66, 0xba][..], &port.to_le_bytes(), &[0xb8], &value.to_le_bytes(), &[opcode]].concat()
}

/// mov eax, value; mov cr8, rax.
fn cr8(value: u8) -> Vec<u8> {
    [&[0xb8, value, 0, 0, 0][..], &[0x44, 0x0f, 0x22, 0xc0]].concat()
}

impl Via {
    fn begin(self) -> Vec<u8> {
        match self {
            Self::Memory => vec![],
            Self::Msrs => wrmsr(0x1b, LAPIC | 0xd00),
        }
    }

    fn set(self, register: u32, value: u32) -> Vec<u8> {
        match self {
            Self::Memory => store(LAPIC + u64::from(register) * 16, value),
            Self::Msrs => wrmsr(0x800 + register, value.into()),
        }
    }

    fn send(self, vector: u8) -> Vec<u8> {
        self.set(ICR, SELF | u32::from(vector))
    }
}

fn ioapic(index: u8, value: u32) -> Vec<u8> {
    [store(IOAPIC, index.into()), store(IOAPIC + 0x10, value)].concat()
}

/// Time that passes by being looked at; other questions have no answer.
struct Ticking(u64);

impl Door for Ticking {
    fn query(&mut self, _at: Position, query: Query) -> Option<u64> {
        self.0 += 1000;
        (query == Query::Clock).then_some(self.0)
    }
    fn output(&mut self, _at: Position, _number: u64, _output: Output) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }
    fn interrupt(&mut self, _at: Position, _vector: u8) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }
}

/// A guest whose handlers log, do what `inside` says for their vector, and end the interrupt.
fn guest(via: Via, code: &[Vec<u8>], inside: impl Fn(u8) -> Vec<u8>) -> Guest {
    let mut guest = Guest::new(&[via.begin(), code.concat(), END.to_vec()].concat());
    // The last GiB below 4, where the APICs are.
    guest.words(0x2018, &[0xc000_0087]);
    for vector in 0..=255u8 {
        let handler = HANDLERS + 64 * u64::from(vector);
        guest.gate_to(vector.into(), handler);
        // push rax, rcx, rdx; mov byte [r15], vector; inc r15
        let mut code = vec![0x50, 0x51, 0x52, 0x41, 0xc6, 0x07, vector, 0x49, 0xff, 0xc7];
        if vector == 13 {
            code.extend(END);
        }
        code.extend(inside(vector));
        if vector >= 32 {
            code.extend(via.set(EOI, 0));
        }
        code.extend([0x5a, 0x59, 0x58, 0x48, 0xcf]);
        assert!(code.len() <= 64);
        guest.write(handler, &code);
    }
    guest.state.cpu.gpr[15] = LOG;
    guest.start();
    guest
}

fn log(machine: &Machine) -> Vec<u8> {
    let page = machine.page((LOG >> 12) as u32);
    page[(LOG & 0xfff) as usize..].iter().copied().take_while(|vector| *vector != 0).collect()
}

/// Runs to the end of the guest; whenever it halts, `wake` says what comes. The vectors that were taken.
fn run(guest: &Guest, mut wake: impl FnMut(usize) -> Input) -> Vec<u8> {
    let (mut straight, mut moved) = (guest.moved(), guest.moved());
    let (mut door, mut other, mut halts) = (Ticking(0), Ticking(0), 0);
    loop {
        match straight.run(Until::About(straight.position().retired + 1000), &mut door) {
            Stop::Off(_) => break,
            Stop::Halted => {
                let input = wake(halts);
                halts += 1;
                step_to(&mut moved, straight.position(), &mut other);
                straight.deliver(&input);
                moved.deliver(&input);
                door.0 = door.0.max(straight.clock_ns());
                other.0 = door.0;
            }
            stop => panic!("{stop:?} at {:x?}", straight.state().cpu),
        }
    }
    step_to(&mut moved, straight.position(), &mut other);
    moved.run(Until::About(u64::MAX), &mut other);
    assert_eq!(moved.state(), straight.state());
    assert_eq!(moved.ram_digest(), straight.ram_digest());
    log(&straight)
}

fn step_to(moved: &mut Machine, end: Position, door: &mut Ticking) {
    while moved.position() < end {
        let at = moved.position();
        moved.run(Until::Exactly(Position { steps: at.steps + 1, ..at }), door);
        let mut fresh = Machine::restore(*moved.config(), &moved.state()).unwrap();
        for pfn in moved.used_pages() {
            fresh.write_page(pfn, moved.page(pfn));
        }
        *moved = fresh;
    }
}

fn nothing(_: usize) -> Input {
    panic!("it halted")
}

fn plain(_: u8) -> Vec<u8> {
    vec![]
}

#[test]
fn order_and_masks() {
    for via in BOTH {
        let send = |vector| via.send(vector);
        let cases: [(&[Vec<u8>], &[u8]); 6] = [
            // The highest first, whatever the order of arrival.
            (&[send(0x31), send(0x52), send(0x45), STI.into(), NOP.into(), NOP.into()], &[0x52, 0x45, 0x31]),
            // The shadow of STI lets CLI come first.
            (&[send(0x31), STI.into(), CLI.into(), NOP.into()], &[]),
            // The task priority holds its class and those below.
            (&[cr8(4), STI.into(), send(0x4f), send(0x50), send(0x31), cr8(2), NOP.into()], &[0x50, 0x4f, 0x31]),
            (&[via.set(TPR, 0x50), STI.into(), send(0x5f), via.set(TPR, 0x4f), NOP.into()], &[0x5f]),
            (&[cr8(15), STI.into(), send(0xff), NOP.into()], &[]),
            // Switched off by software.
            (&[via.set(SVR, 0xff), STI.into(), send(0x40), NOP.into()], &[]),
        ];
        for (code, vectors) in cases {
            assert_eq!(run(&guest(via, code, plain), nothing), vectors, "{via:?} {code:x?}");
        }
    }
}

#[test]
fn a_handler_that_lets_interrupts_in_is_interrupted_by_higher_classes_only() {
    for via in BOTH {
        let code = [STI.to_vec(), via.send(0x40), NOP.into()];
        let inside = |vector| match vector {
            0x40 => [via.send(0x60), STI.into(), NOP.into()].concat(),
            0x60 => [STI.to_vec(), via.send(0x50)].concat(),
            _ => vec![],
        };
        assert_eq!(run(&guest(via, &code, inside), nothing), [0x40, 0x60, 0x50]);
    }
}

#[test]
fn the_frame_returns_to_the_interrupted_instruction() {
    let guest = guest(Via::Msrs, &[STI.to_vec(), Via::Msrs.send(0x40)], plain);
    let mut machine = guest.moved();
    machine.run(Until::Exactly(Position { retired: 8 + 1, steps: 1 }), &mut Ticking(0));
    let cpu = machine.state().cpu;
    assert_eq!(cpu.rip, HANDLERS + 64 * 0x40);
    let sp = (cpu.gpr[4] & 0xfff) as usize;
    let page = machine.page((cpu.gpr[4] >> 12) as u32);
    let frame: [u64; 5] = std::array::from_fn(|i| u64::from_le_bytes(page[sp + 8 * i..][..8].try_into().unwrap()));
    let end = CODE + (Via::Msrs.begin().len() + 1 + Via::Msrs.send(0x40).len()) as u64;
    assert_eq!(frame, [end, 0x08, frame[2], guest::STACK, 0x10]);
    assert_eq!(frame[2] & 0x200, 0x200, "IF in the image");
    assert_eq!(cpu.rflags & 0x200, 0, "an interrupt gate");
}

#[test]
fn an_nmi_ignores_if_and_waits_for_the_handler_of_the_last() {
    for via in BOTH {
        let nmi = via.set(ICR, 0x400);
        let once = |vector| if vector == 2 { [via.send(0x40), STI.into(), NOP.into()].concat() } else { vec![] };
        let code = [nmi.clone(), NOP.into()];
        assert_eq!(run(&guest(via, &code, once), nothing), [2, 0x40]);
    }
    // Sent from its own handler, it comes after the IRET: for ever, but for the second one's end of the guest.
    let again = |vector| match vector {
        2 => [store(LAPIC + 0x300, 0x400), vec![0x41, 0x80, 0x7f, 0xfe, 2, 0x75, 2], END.into()].concat(),
        _ => vec![],
    };
    assert_eq!(run(&guest(Via::Memory, &[store(LAPIC + 0x300, 0x400)], again), nothing), [2, 2]);
}

#[test]
fn the_deadline_of_the_tsc() {
    for via in BOTH {
        let deadline = |tsc| wrmsr(0x6e0, tsc);
        let mode = via.set(TIMER, 0x4_0060);
        // IA32_TSC_ADJUST moves the deadline along.
        for (code, ns) in [
            ([mode.clone(), deadline(50_000)].concat(), 50_000),
            ([mode.clone(), wrmsr(0x3b, 10_000), deadline(50_000)].concat(), 40_000),
            ([mode.clone(), deadline(50_000), wrmsr(0x3b, 20_000)].concat(), 30_000),
        ] {
            let guest = guest(via, &[code, STI.into(), HLT.into()], plain);
            let mut machine = guest.moved();
            assert_eq!(machine.run(Until::About(1000), &mut guest::Closed), Stop::Halted, "nobody asks for the time");
            assert_eq!(machine.next_deadline_ns(), Some(ns));
            machine.deliver(&Input::Clock { ns: ns - 1 });
            assert_eq!(machine.run(Until::About(1000), &mut guest::Closed), Stop::Halted);
            assert_eq!(run(&guest, |_| Input::Clock { ns }), [0x60]);
        }
    }
}

#[test]
fn the_counting_timer() {
    for via in BOTH {
        let start = |lvt: u32, count| [via.set(DIVIDE, 0xb), via.set(TIMER, lvt), via.set(INITIAL, count)].concat();
        let halt = [STI, HLT].concat();
        let clock = |halt: usize| Input::Clock { ns: 1_000_000 * (halt as u64 + 1) };
        let once = [start(0x61, 100), halt.clone()];
        assert_eq!(run(&guest(via, &once, plain), clock), [0x61]);
        let thrice = [start(0x2_0062, 100), halt.clone(), HLT.into(), HLT.into()];
        assert_eq!(run(&guest(via, &thrice, plain), clock), [0x62; 3]);
        let masked = [start(0x1_0063, 100), start(0x64, 100), halt];
        assert_eq!(run(&guest(via, &masked, plain), clock), [0x64]);
    }
}

#[test]
fn a_level_comes_again_until_its_cause_is_gone() {
    const PM1_STATUS: u16 = 0x600;
    const BUTTON: u32 = 1 << 8;
    let setup = [
        ioapic(0x10 + 2 * 9, 0x8039),
        out(PM1_STATUS, BUTTON << 16, 4),
        [STI, HLT].concat(),
        // The handlers have run when the next instruction does.
        NOP.into(),
    ];
    // The third one clears the status.
    let inside = |vector| match vector {
        // cmp byte [r15-3], 0x39; jne +; out
        0x39 => [vec![0x41, 0x80, 0x7f, 0xfd, 0x39, 0x75, 10], out(PM1_STATUS, BUTTON, 4)].concat(),
        _ => vec![],
    };
    let guest = guest(Via::Memory, &setup, inside);
    assert_eq!(run(&guest, |_| Input::Control(Control::PowerButton)), [0x39; 3]);
}

#[test]
fn the_pic_reaches_the_cpu_through_lint0() {
    // ICW1-4: vectors from 0x30, all but IRQ 1 masked; keyboard interrupts on.
    let pic: Vec<u8> = [(0x20, 0x11), (0x21, 0x30), (0x21, 4), (0x21, 1), (0x21, 0xfd)]
        .into_iter()
        .chain([(0x64, 0x60), (0x60, 0x45)])
        .flat_map(|(port, value)| out(port, value, 1))
        .collect();
    // in al, 0x60; end of interrupt for the PIC
    let inside = |vector| if vector == 0x31 { [vec![0xe4, 0x60], out(0x20, 0x20, 1)].concat() } else { vec![] };
    let keys = |_| Input::Control(Control::CtrlAltDel);
    let wait = [STI.to_vec(), HLT.into(), [NOP; 8].concat()];
    for (local, vectors) in [
        (vec![], vec![0x31; 8]),
        // An APIC that is off is not in the way.
        (wrmsr(0x1b, LAPIC | 0x100), vec![0x31; 8]),
        (Via::Memory.set(LINT0, 0x1_0700), vec![0x40]),
    ] {
        let mask = local.len() == 14;
        let code = [pic.clone(), local, if mask { Via::Memory.send(0x40) } else { vec![] }, wait.concat()];
        assert_eq!(run(&guest(Via::Memory, &code, inside), keys), vectors);
    }
}

#[test]
fn msrs_that_do_not_exist_now_raise_gp() {
    const X2APIC: u64 = LAPIC | 0xd00;
    for (via, code) in [
        (Via::Memory, wrmsr(0x808, 0)),
        (Via::Memory, wrmsr(0x1b, LAPIC | 0x1900)),
        (Via::Memory, wrmsr(0x1b, LAPIC | 0x500)),
        (Via::Msrs, wrmsr(0x1b, LAPIC | 0x900)),
        (Via::Msrs, wrmsr(0x80b, 1)),
        (Via::Msrs, wrmsr(0x80e, 0)),
        (Via::Msrs, [wrmsr(0x1b, LAPIC | 0x100), wrmsr(0x1b, X2APIC)].concat()),
    ] {
        assert_eq!(run(&guest(via, std::slice::from_ref(&code), plain), nothing), [13], "{code:x?}");
    }
    // Its registers are no longer in memory: all ones.
    let code = [wrmsr(0x1b, X2APIC), vec![0xa1], (LAPIC + 0x30).to_le_bytes().into()];
    let guest = guest(Via::Memory, &code, plain);
    let mut machine = guest.moved();
    machine.run(Until::About(1000), &mut Ticking(0));
    assert_eq!(machine.state().cpu.gpr[0], u64::from(u32::MAX));
}

#[test]
fn a_jump_to_itself_is_the_end_unless_something_can_interrupt_it() {
    let spin = &[0xeb, 0xfe][..];
    let mut off = guest(Via::Memory, &[spin.into()], plain).moved();
    assert_eq!(off.run(Until::About(1000), &mut Ticking(0)), Stop::Off(emu::Power::Dead));
    assert_eq!((off.position(), off.state().cpu.rip), (Position::at(1), CODE));
    // An interrupt leads out of it: the handler moves the return address on.
    let inside = |vector| if vector == 0x60 { vec![0x48, 0x83, 0x44, 0x24, 0x18, 2] } else { vec![] };
    let code = [Via::Memory.set(TIMER, 0x4_0060), wrmsr(0x6e0, 5000), STI.into(), spin.into()];
    let mut on = guest(Via::Memory, &code, inside).moved();
    assert_eq!(on.run(Until::About(1000), &mut Ticking(0)), Stop::Limit);
    on.deliver(&Input::Clock { ns: 5000 });
    assert_eq!(on.run(Until::About(2000), &mut Ticking(0)), Stop::Off(emu::Power::Dead));
    assert_eq!(log(&on), [0x60]);
}

#[test]
fn an_overflowing_counter_interrupts_behind_the_instruction() {
    // IA32_PMC0 from -3, in ring 0, instructions retired; the WRMSR that enables it is the first.
    const SELECT: u64 = 0xc0 | 1 << 17 | 1 << 20 | 1 << 22;
    let start = [wrmsr(0xc1, 0xffff_fffd), wrmsr(0x186, SELECT)].concat();
    let fixed = [wrmsr(0x309, 0xffff_ffff_fffd), wrmsr(0x38d, 0b1001), wrmsr(0x38f, 1 << 32)].concat();
    // The vector is logged, the return address kept in RBX: mov rbx, [rsp + 24]
    let inside = |vector| if vector == 0x70 { vec![0x48, 0x8b, 0x5c, 0x24, 0x18] } else { vec![] };
    for start in [start, fixed] {
        for via in BOTH {
            let code = [via.set(0x34, 0x70), STI.into(), start.clone()].concat();
            let nops = via.begin().len() + code.len();
            let guest = guest(via, &[code, vec![0x90; 8]], inside);
            assert_eq!(run(&guest, nothing), [0x70]);
            let mut machine = guest.moved();
            machine.run(Until::About(1000), &mut Ticking(0));
            assert_eq!(machine.state().cpu.gpr[3], CODE + nops as u64 + 2, "two instructions after the WRMSR");
        }
    }
}
