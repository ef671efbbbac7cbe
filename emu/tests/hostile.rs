//! Guests that mean harm: whatever they do, nothing panics, a run comes back, and stops, digests and moves to a fresh machine
//! on the way cannot be seen.

#![allow(clippy::cast_possible_truncation, clippy::unwrap_used, reason = "a test panics when it fails")]

#[path = "guest/dice.rs"]
mod dice;
#[path = "hostile/snippets.rs"]
mod snippets;
#[path = "hostile/tables.rs"]
mod tables;

use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use dice::Dice;
use emu::{
    ClockMode, ConsoleClient, CpuModel, CpuState, DirtySet, Door, Input, Machine, MachineConfig, Output, Position,
    Power, Query, Segment, Stop, Table, Until,
};
use snippets::{SNIPPETS, TARGETS};

/// Answers from the position alone; keeps what happens.
#[derive(Default)]
struct Witness {
    seen: Vec<(Position, u64)>,
}

impl Door for Witness {
    fn query(&mut self, at: Position, query: Query) -> Option<u64> {
        let word = at.retired.wrapping_mul(77) + at.steps;
        Some(if query == Query::Clock { word } else { word.wrapping_mul(0x9e37_79b9_7f4a_7c15) })
    }
    fn output(&mut self, at: Position, number: u64, _: Output) -> ControlFlow<()> {
        self.seen.push((at, number));
        ControlFlow::Continue(())
    }
    fn interrupt(&mut self, at: Position, vector: u8) -> ControlFlow<()> {
        self.seen.push((at, u64::from(vector) << 32));
        ControlFlow::Continue(())
    }
}

const TABLES: u64 = 0x1000;
const PT: u64 = 0x4000;
const TSS: u64 = 0x5000;
const GDT: u64 = 0x6000;
const IDT: u64 = 0x7000;
const CODE: u64 = 0x1_0000;
const STACK: u64 = 0x2_0000;
const IST: u64 = 0x2_8000;
const RAM: u64 = 4 << 20;

/// RAM as it is to be, and the CPU.
struct Guest {
    ram: Vec<u8>,
    cpu: CpuState,
    clock: ClockMode,
}

impl Guest {
    /// The first 2 MiB identity-mapped in small pages, the next as one; all vectors lead to a HLT.
    fn new(code: &[u8]) -> Self {
        let mut guest = Self { ram: vec![0; RAM as usize], cpu: CpuState::handed_off(CODE), clock: ClockMode::Host };
        guest.words(TABLES, &[0x2007]);
        guest.words(0x2000, &[0x3007]);
        guest.words(0x3000, &[PT | 7, 0x20_0087, 0x4000_0087]);
        for page in 0..512 {
            guest.words(PT + 8 * page, &[page << 12 | 7]);
        }
        guest.words(GDT, &[0, 0x00af_9b00_0000_ffff, 0x00cf_9300_0000_ffff]);
        guest.words(GDT + 0x18, &[0x00cf_f300_0000_ffff, 0x00af_fb00_0000_ffff]);
        guest.words(TSS + 4, &[STACK, STACK, STACK]);
        guest.words(TSS + 36, &[IST]);
        for vector in 0..256 {
            guest.gate(vector, CODE + 0x800, 0);
        }
        guest.bytes(CODE + 0x800, &[0xf4]);
        guest.bytes(CODE, code);
        let cpu = &mut guest.cpu;
        cpu.gpr[4] = STACK;
        cpu.gdtr = Table { base: GDT, limit: 0x37 };
        cpu.idtr = Table { base: IDT, limit: 0xfff };
        cpu.tr = Segment { selector: 0x28, base: TSS, limit: 103, rights: 0x8b };
        cpu.msr.efer |= 1 << 11;
        guest
    }

    fn bytes(&mut self, at: u64, data: &[u8]) {
        self.ram[at as usize..][..data.len()].copy_from_slice(data);
    }

    fn words(&mut self, at: u64, words: &[u64]) {
        let bytes: Vec<u8> = words.iter().flat_map(|w| w.to_le_bytes()).collect();
        self.bytes(at, &bytes);
    }

    fn gate(&mut self, vector: u64, to: u64, ist: u64) {
        self.words(IDT + 16 * vector, &[to & 0xffff | 0x08 << 16 | ist << 32 | 0xee << 40 | (to >> 16) << 48, 0]);
    }

    /// The PIC's vectors at 0x20, lines as `mask` says, IRQ 4 of the UART on; a byte waits.
    fn interrupting(mut self, mask: u8) -> Machine {
        let set_up = [
            &[0x50, 0x52, 0xb0, 0x11, 0xe6, 0x20, 0xb0, 0x20, 0xe6, 0x21, 0xb0, 0x04, 0xe6, 0x21, 0xb0, 0x01][..],
            &[0xe6, 0x21, 0xb0, mask, 0xe6, 0x21, 0x66, 0xba, 0xfc, 0x03, 0xb0, 0x08, 0xee, 0x66, 0xba, 0xf9, 0x03],
            &[0xb0, 0x01, 0xee, 0x5a, 0x58, 0xe9],
            &(CODE as i32 - 0x3_0000 - 43).to_le_bytes(),
        ]
        .concat();
        assert_eq!(set_up.len(), 43);
        self.bytes(0x3_0000, &set_up);
        self.cpu.rip = 0x3_0000;
        let mut machine = self.machine();
        machine.deliver(&Input::Console { client: 1, seq: 1, bytes: vec![7] });
        machine
    }

    fn machine(&self) -> Machine {
        let config = MachineConfig {
            memory_bytes: RAM,
            clock: self.clock,
            epoch_s: 0,
            cpu: CpuModel::V3,
            devices: Default::default(),
        };
        let mut machine = Machine::new(config).unwrap();
        let mut state = machine.state();
        state.cpu = self.cpu.clone();
        machine.set_state(&state);
        for (pfn, page) in (0..).zip(self.ram.chunks_exact(4096)) {
            if page.iter().any(|&b| b != 0) {
                machine.write_page(pfn, page.try_into().unwrap());
            }
        }
        machine
    }
}

/// The same machine, made anew from what is saved of it.
fn moved(machine: &Machine) -> Machine {
    let mut other = Machine::restore(*machine.config(), &machine.state()).unwrap();
    for pfn in machine.used_pages() {
        other.write_page(pfn, machine.page(pfn));
    }
    other
}

/// Runs for some instructions, or until nothing moves any more.
fn straight(mut machine: Machine, instructions: u64) -> (Machine, Witness) {
    let mut door = Witness::default();
    let start = machine.position().retired;
    for _ in 0..100 {
        match machine.run(Until::About(start + instructions), &mut door) {
            Stop::Limit if machine.position().retired < start + instructions => {}
            _ => break,
        }
    }
    (machine, door)
}

/// Runs to `end` with stops, digests and moves on the way.
fn disturbed(mut machine: Machine, end: Position, stride: u64, dice: &mut Dice) -> (Machine, Witness) {
    let mut door = Witness::default();
    while machine.position() < end {
        let at = machine.position();
        let next = match dice.below(2) {
            0 => Position { retired: at.retired + 1 + dice.below(stride), steps: dice.below(3) },
            _ => Position { steps: at.steps + 1 + dice.below(stride), ..at },
        };
        let stop = machine.run(Until::Exactly(next.min(end)), &mut door);
        match dice.below(24) {
            0 => machine = moved(&machine),
            1 => drop(machine.ram_digest()),
            2 => drop(machine.take_dirty(DirtySet::Transfer)),
            _ => {}
        }
        if matches!(stop, Stop::Off(_) | Stop::Halted) {
            break;
        }
    }
    (machine, door)
}

/// Runs a machine straight and disturbed; returns it.
fn same_however_it_is_run(make: &dyn Fn() -> Machine, instructions: u64, dice: &mut Dice, what: &str) -> Machine {
    let (mut one, seen) = straight(make(), instructions);
    for stride in [1, 40] {
        let (mut two, mut seen_too) = disturbed(make(), one.position(), stride, dice);
        if one.power().is_some() {
            // Switching off takes no step: the other one stopped before it.
            two.run(Until::About(u64::MAX), &mut seen_too);
        }
        assert_eq!(seen.seen, seen_too.seen, "{what}");
        assert_eq!(one.position(), two.position(), "{what}");
        assert_eq!(one.state(), two.state(), "{what}");
        assert_eq!(one.ram_digest(), two.ram_digest(), "{what}");
    }
    one
}

fn check(make: impl Fn() -> Machine, what: &str) -> Machine {
    let mut dice = Dice(1);
    (0..20).map(|_| same_however_it_is_run(&make, 400, &mut dice, what)).last().unwrap()
}

#[test]
fn a_call_to_nowhere_that_pushes_over_itself() {
    let mut guest = Guest::new(&[0xff, 0xd0]); // call rax
    guest.cpu.gpr[0] = 1 << 63;
    guest.cpu.gpr[4] = CODE + 8;
    guest.gate(13, CODE + 0x800, 1);
    let machine = check(|| guest.machine(), "call rax");
    assert_eq!(machine.power(), Some(Power::Dead));
    assert_eq!(machine.position(), Position { retired: 1, steps: 0 });
}

#[test]
fn a_rep_that_overwrites_itself_is_fetched_anew() {
    let mut guest = Guest::new(&[0x90, 0xf3, 0xaa, 0x90, 0x90, 0xf4]); // nop; rep stosb; nop; nop; hlt
    (guest.cpu.gpr[0], guest.cpu.gpr[1], guest.cpu.gpr[7]) = (0x90, 100, CODE - 20);
    let machine = check(|| guest.machine(), "rep stosb");
    assert_eq!(machine.state().cpu.gpr[1], 100 - 22, "it ends when its prefix is gone");
}

#[test]
fn the_shadow_of_sti_lasts_for_one_iteration() {
    let mut guest = Guest::new(&[0xfb, 0xf3, 0xaa, 0xfa, 0xf4]); // sti; rep stosb; cli; hlt
    (guest.cpu.gpr[1], guest.cpu.gpr[7]) = (5000, 0x10_0000);
    let machine =
        check(|| Guest { ram: guest.ram.clone(), cpu: guest.cpu.clone(), ..guest }.interrupting(0), "sti; rep");
    assert_eq!(machine.state().cpu.gpr[1], 4999, "the interrupt came after the first");
}

#[test]
fn the_shadow_of_sti_is_seen_by_who_stops_in_it_alone() {
    // sti; rep stosb; cli; pushf; sti; nop; sti; mov [a device], eax; cli; sti; ud2
    let code =
        [0xfb, 0xf3, 0xaa, 0xfa, 0x9c, 0xfb, 0x90, 0xfb, 0xa3, 0, 0, 0, 0x20, 0, 0, 0, 0, 0xfa, 0xfb, 0x0f, 0x0b];
    let mut guest = Guest::new(&code);
    (guest.cpu.gpr[1], guest.cpu.gpr[7]) = (70, 0x10_0000);
    guest.words(0x3000 + 8 * 256, &[0x2000_0087]);
    let machine = check(|| guest.machine(), "sti");
    let mut stopped = guest.machine();
    stopped.run(Until::Exactly(Position { retired: 1, steps: 0 }), &mut Witness::default());
    assert_eq!(stopped.state().cpu.shadow, emu::Shadow::Sti);
    stopped.run(Until::Exactly(Position { retired: 1, steps: 1 }), &mut Witness::default());
    assert_eq!(stopped.state().cpu.shadow, emu::Shadow::None, "after one iteration");
    assert_eq!(machine.state().cpu.shadow, emu::Shadow::None, "the fault ended it");
}

#[test]
fn a_rep_over_code_of_others_drops_it() {
    let code = [0xff, 0xd6, 0x48, 0x89, 0xf7, 0xf3, 0xaa, 0xff, 0xd6, 0xf4]; // call rsi; mov rdi, rsi; rep stosb; call rsi; hlt
    let mut guest = Guest::new(&code);
    guest.bytes(0x4_0000, &[0xff, 0xc2, 0xc3]); // inc edx; ret
    guest.bytes(0x4_0040, &[0xc3]);
    (guest.cpu.gpr[0], guest.cpu.gpr[1], guest.cpu.gpr[2], guest.cpu.gpr[6]) = (0xc3, 4096, 0, 0x4_0000);
    let machine = check(|| guest.machine(), "rep stosb over code");
    assert_eq!((machine.state().cpu.gpr[2], machine.power()), (1, Some(Power::Dead)));
}

#[test]
fn an_interrupt_that_a_rep_outs_lets_through_comes_at_once() {
    let mut guest = Guest::new(&[0xfb, 0x90, 0xf3, 0x6e, 0xfa, 0xf4]); // sti; nop; rep outsb; cli; hlt
    guest.bytes(0x10_0000, &[0xff, 0xff, 0x00, 0xff, 0xff, 0xff]);
    (guest.cpu.gpr[1], guest.cpu.gpr[2], guest.cpu.gpr[6]) = (6, 0x21, 0x10_0000);
    let machine =
        check(|| Guest { ram: guest.ram.clone(), cpu: guest.cpu.clone(), ..guest }.interrupting(0xff), "rep outsb");
    assert_eq!(machine.state().cpu.gpr[1], 3, "after the third");
}

#[test]
fn a_write_to_either_half_of_code_that_crosses_within_one_frame() {
    // Two linear pages on one frame: `mov eax, imm32` begins at its end and goes on at its start.
    for hit in [0x4_1fff, 0x4_1000, 0x4_1003] {
        let mut guest = Guest::new(&[]);
        guest.words(PT + 8 * 0x42, &[0x4_1007]);
        guest.bytes(0x4_1fff, &[0xb8]);
        // 01 01 01 01; test ecx, ecx; jnz out; inc ecx; xor byte [rdi], 2; jmp rsi; out: hlt
        let rest = [1, 1, 1, 1, 0x85, 0xc9, 0x75, 0x07, 0xff, 0xc1, 0x80, 0x37, 0x02, 0xff, 0xe6, 0xf4];
        guest.bytes(0x4_1000, &rest);
        let cpu = &mut guest.cpu;
        (cpu.rip, cpu.gpr[1], cpu.gpr[6], cpu.gpr[7]) = (0x4_1fff, 0, 0x4_1fff, hit);
        let machine = check(|| guest.machine(), "crossing");
        let gpr = machine.state().cpu.gpr;
        let (eax, edx) = match hit {
            0x4_1fff => (0x0101_0101, 0x0101_0101), // b8 ^ 2: mov edx, imm32
            0x4_1000 => (0x0101_0103, 0),
            _ => (0x0301_0101, 0),
        };
        assert_eq!((gpr[0], gpr[2]), (eax, edx), "hit {hit:#x}");
    }
}

#[test]
fn a_guest_that_never_retires_anything_does_not_hold_the_host() {
    // #UD whose handler is UD2, on a stack of its own.
    let mut guest = Guest::new(&[0x0f, 0x0b]);
    guest.gate(6, CODE, 1);
    let mut machine = guest.machine();
    let mut door = Witness::default();
    for _ in 0..10 {
        let before = machine.position();
        assert_eq!(machine.run(Until::About(1000), &mut door), Stop::Limit);
        assert!(machine.position() > before && machine.position().retired == 0);
    }
    machine.deliver(&Input::Control(emu::Control::PowerOff));
    assert_eq!(machine.run(Until::About(1000), &mut door), Stop::Off(Power::Off { code: 0 }));
    // A REP that would take years.
    let mut guest = Guest::new(&[0xf3, 0xaa]);
    (guest.cpu.gpr[1], guest.cpu.gpr[7]) = (u64::MAX, 0x40_0000);
    guest.words(0x3000 + 16, &[0x4000_0087; 500]);
    let mut machine = guest.machine();
    assert_eq!(machine.run(Until::About(1000), &mut door), Stop::Limit);
}

#[test]
fn times_at_the_end_of_time() {
    for clock in [ClockMode::Host, ClockMode::Derived] {
        // PIT channel 0 in mode 2, the fastest; RTC with a periodic interrupt; rdtsc for ever.
        let code = [
            &[0xb0, 0x34, 0xe6, 0x43, 0xb0, 0x02, 0xe6, 0x40, 0xb0, 0x00, 0xe6, 0x40][..],
            &[0xb0, 0x0b, 0xe6, 0x70, 0xb0, 0x72, 0xe6, 0x71, 0x0f, 0x31, 0xe4, 0x40, 0xe4, 0x71, 0xeb, 0xf8],
        ]
        .concat();
        for ns in [0, 1, 1 << 40, 1 << 62, 1 << 63, u64::MAX - 1, u64::MAX] {
            let mut guest = Guest::new(&code);
            guest.clock = clock;
            let mut machine = guest.machine();
            let mut door = Witness::default();
            let mut now = 0;
            for input in [ns, ns.wrapping_add(5), u64::MAX, 3] {
                machine.run(Until::About(machine.position().retired + 100), &mut door);
                machine.deliver(&Input::Clock { ns: input });
                assert!(machine.clock_ns() >= now);
                now = machine.clock_ns();
                let _ = machine.next_deadline_ns();
            }
            let at = machine.position().retired;
            for _ in 0..100 {
                machine.run(Until::About(at + 1000), &mut door);
            }
            assert!(machine.position().retired > at + 900, "{clock:?} {ns:#x} at {}", machine.position());
        }
    }
}

#[test]
fn an_input_that_is_ignored_changes_nothing() {
    let guest = Guest::new(&[]);
    let mut machine = guest.machine();
    let before = machine.state();
    for seq in [0, 2, u64::MAX] {
        machine.deliver(&Input::Console { client: 9, seq, bytes: vec![1] });
    }
    assert_eq!(machine.state(), before);
    let mut state = before.clone();
    state.clients.insert(9, ConsoleClient { seq: u64::MAX, turn: u64::MAX });
    machine.set_state(&state);
    machine.deliver(&Input::Console { client: 9, seq: 0, bytes: vec![1] });
    assert_eq!(machine.state(), state);
}

#[test]
fn a_state_that_no_machine_can_have_is_refused() {
    let machine = Guest::new(&[]).machine();
    let spoilt: [fn(&mut emu::MachineState); 4] = [
        |state| state.clock.rate = 0,
        |state| state.clock.base_retired = 1,
        |state| state.clock.input_retired = u64::MAX,
        |state| state.position.retired = u64::MAX,
    ];
    for spoil in spoilt {
        let mut state = machine.state();
        spoil(&mut state);
        assert!(matches!(Machine::restore(*machine.config(), &state), Err(emu::MachineError::State(_))));
    }
}

#[test]
fn an_image_loaded_over_code_that_has_run() {
    let guest = Guest::new(&[]);
    let image = include_bytes!("../../testprogs/images/counter.elf");
    let mut fresh = guest.machine();
    fresh.load_elf(image, "").unwrap();
    let entry = fresh.state().cpu.rip;
    let mut guest = Guest::new(&[]);
    guest.bytes(entry, &[0xf4]);
    guest.cpu.rip = entry;
    let mut used = guest.machine();
    assert_eq!(used.run(Until::Exactly(Position::at(1)), &mut Witness::default()), Stop::Limit);
    used.load_elf(image, "").unwrap();
    let mut state = used.state();
    (state.position, state.cpu.halted) = (Position::default(), false);
    used.set_state(&state);
    used.run(Until::Exactly(Position::at(1)), &mut Witness::default());
    assert!(!used.is_halted());
}

/// `WINDOW` is mapped by an entry at `CODE + 0x100`, in the page where the code runs.
fn with_a_table_in_the_code(code: &[u8]) -> Guest {
    let mut guest = Guest::new(code);
    guest.words(0x3008, &[CODE | 7]);
    guest.bytes(CODE + 0x105, &[0, 0, 0]);
    guest
}

/// Linear address mapped by entry 2 of the table at `CODE`.
const WINDOW: u64 = 0x20_0000 + (2 << 12);

#[test]
fn an_accessed_bit_that_lands_in_the_running_block() {
    // mov rbx, [rdi]; jmp over the entry; its first byte is the immediate of `mov al, imm8`: 0x07 or marked, 0x27.
    let code = [0x48, 0x8b, 0x1f, 0x66, 0x66, 0x90, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x90, 0x90];
    let mut guest = with_a_table_in_the_code(&[&code[..], &[0xb0]].concat());
    // The entry: 07 00 05 00 00 00 00 00, frame 0x50000; as code: (mov al) 7; add [rip], al ...
    guest.words(CODE + 16, &[0x5_0007]);
    guest.cpu.gpr[7] = WINDOW;
    guest.bytes(CODE + 18, &[0x05]);
    let machine = check(|| guest.machine(), "mov rbx, [rdi]");
    assert_eq!(machine.state().cpu.gpr[0] & 0xff, 0x27);
}

#[test]
fn an_indirect_call_through_the_entry_that_its_push_marks() {
    let mut guest = Guest::new(&[0xff, 0x17]); // call [rdi]
    // The entry of the stack's page, as an address: frame 0x1f000; below, HLTs.
    guest.bytes(0x1_f000, &[0xf4; 0x80]);
    guest.cpu.gpr[7] = PT + 8 * 0x1f;
    guest.words(PT + 8 * 4, &[0x4027]);
    let machine = check(|| guest.machine(), "call [rdi]");
    assert_eq!(machine.state().cpu.rip, 0x1_f008, "read before it is marked");
}

fn code(dice: &mut Dice, bytes: usize) -> Vec<u8> {
    let mut code = Vec::new();
    while code.len() < bytes {
        match dice.below(10) {
            0 => code.push(dice.roll() as u8),
            1 | 2 => {
                let to = dice.one_of(TARGETS) as u32;
                code.extend([0x48, 0xc7, dice.one_of(&[0xc0, 0xc3, 0xc6, 0xc7, 0xc7])]);
                code.extend(to.to_le_bytes());
            }
            _ => {
                let (head, more) = dice.one_of(SNIPPETS);
                code.extend(head);
                for _ in 0..more {
                    code.push(if dice.below(2) == 0 { dice.roll() as u8 } else { dice.below(40) as u8 });
                }
            }
        }
    }
    code
}

fn random_guest(dice: &mut Dice) -> Guest {
    let mut guest = Guest::new(&[]);
    for page in 0..3 {
        let text = code(dice, 0xff0);
        guest.bytes(CODE + 0x1000 * page + dice.below(16), &text[..0xff0]);
    }
    for _ in 0..dice.below(12) {
        let (page, frame) = (
            dice.one_of(&[0x10, 0x11, 0x12, 0x50, 0x51, 0x1f, 0x20, 5]),
            dice.one_of(&[0x10, 0x11, 0x12, 0x50, 4, 3, 0x1f, 0x40000]),
        );
        guest.words(PT + 8 * page, &[frame << 12 | dice.below(0x80) | 1 | dice.below(2) << 1]);
    }
    for _ in 0..dice.below(40) {
        let vector = dice.one_of(&[0, 1, 6, 13, 14, 8, 0x20, 0x21, 0x24, 3]);
        guest.gate(vector, CODE + dice.below(0x3000), dice.below(2));
    }
    // A second root, at 0x8000: what it shares with the first one, and a window that it sees elsewhere.
    guest.words(0x8000, &[0x9007]);
    guest.words(0x9000, &[0xa007]);
    guest.words(0xa000, &[PT | 7, 0x87, dice.one_of(&[0x4000_0087, PT | 7])]);
    let cpu = &mut guest.cpu;
    if dice.below(3) == 0 {
        cpu.dr = [0, 0, 0, 0, 0, 0, 0xffff_0ff0, 0x400 | dice.roll() & 0xffff_00ff];
        (0..4).for_each(|n| cpu.dr[n] = dice.one_of(TARGETS).wrapping_add(dice.below(16)));
        cpu.cr4 |= dice.below(2) << 3;
    }
    cpu.cr4 |= dice.one_of(&[0, 0, 1 << 21, 1 << 8]);
    cpu.pmu.fixed_ctrl = dice.below(4);
    (cpu.pmu.global_ctrl, cpu.pmu.select) = (1 << 32 | dice.below(4), [0x0041_00c0, 0x0042_00c0]);
    for register in &mut cpu.gpr {
        *register =
            if dice.below(4) == 0 { dice.below(300) } else { dice.one_of(TARGETS).wrapping_add(dice.below(20)) };
    }
    if dice.below(8) != 0 {
        cpu.gpr[4] = STACK - 8 * dice.below(8);
    }
    cpu.gpr[2] = dice.one_of(&[0x21, 0x20, 0x40, 0x43, 0x70, 0x71, 0x3f8, 0x3f9, 0x3fc, 0x61, 0x4ff]);
    cpu.gpr[1] = dice.below(200);
    cpu.rip = CODE + dice.below(0x1100);
    cpu.rflags = 2 | dice.roll() & 0x0004_0fd5 | dice.one_of(&[0, 0, 0, 0, 0, 0x100, 1 << 16]);
    if dice.below(3) == 0 {
        cpu.seg[1] = Segment { selector: 0x23, base: 0, limit: u32::MAX, rights: 0xa0fb };
        cpu.seg[2] = Segment { selector: 0x1b, base: 0, limit: u32::MAX, rights: 0xc0f3 };
    }
    if dice.below(4) == 0 {
        cpu.cr0 &= !(1 << 16);
    }
    if dice.below(4) == 0 {
        cpu.cr0 |= 1 << 18;
    }
    for half in cpu.xmm.as_flattened_mut() {
        *half = dice.one_of(&[0, 1, 1 << 52, 0x7ff0_0000_0000_0001, 0x3ff0_0000_0000_0000, u64::MAX]);
    }
    for register in &mut cpu.fpu.regs {
        (register.sig, register.sign_exp) = (1 << 63 | dice.roll(), dice.roll() as u16);
    }
    (cpu.fpu.used, cpu.fpu.control) = (dice.roll() as u8, dice.one_of(&[0x37f, 0x340, 0x27e]));
    cpu.mxcsr = dice.one_of(&[0x1f80, 0x1f80, 0xffc0, 0x0f80, 0x1d00]);
    if dice.below(8) == 0 {
        cpu.cr0 ^= dice.one_of(&[2, 4, 8, 10]);
    }
    guest.clock = if dice.below(2) == 0 { ClockMode::Host } else { ClockMode::Derived };
    guest
}

/// How to make the guest of a seed, and what comes next.
fn seeded(seed: u64) -> (impl Fn() -> Machine, Dice) {
    let mut dice = Dice(seed << 20);
    let guest = random_guest(&mut dice);
    let interrupts = dice.below(2) == 0;
    let make = move || {
        let copy = Guest { ram: guest.ram.clone(), cpu: guest.cpu.clone(), clock: guest.clock };
        if interrupts { copy.interrupting(0xee) } else { copy.machine() }
    };
    (make, dice)
}

/// `HOSTILE=first..last` runs other seeds.
#[test]
fn random_guests_run_the_same_however_they_are_run() {
    let range = std::env::var("HOSTILE").unwrap_or_else(|_| "0..300".into());
    let (first, last) = range.split_once("..").unwrap();
    let (mut retired, mut events) = (0, 0);
    for seed in first.parse().unwrap()..last.parse::<u64>().unwrap() {
        let (make, mut dice) = seeded(seed);
        let run = || same_however_it_is_run(&make, 300, &mut dice, &format!("seed {seed}"));
        let machine = catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| {
            report_the_first_difference(seed);
            resume_unwind(panic)
        });
        retired += machine.position().retired;
        events += machine.outputs();
    }
    eprintln!("{retired} instructions, {events} outputs");
}

/// The first instruction after which a straight run and one step by step differ, for whoever mends a seed.
fn report_the_first_difference(seed: u64) {
    let (make, _) = seeded(seed);
    let mut slow = make();
    let mut door = Witness::default();
    for _ in 0..400 {
        let at = slow.position();
        let cpu = slow.state().cpu;
        let code = slow.peek(cpu.code_address(), 15);
        eprintln!("{at} {:#x} {}", cpu.rip, emu::disassemble(&code, cpu.rip, cpu.code_bits()));
        slow.run(Until::Exactly(Position { steps: at.steps + 1, ..at }), &mut door);
        let mut fast = make();
        fast.run(Until::Exactly(slow.position()), &mut door);
        if fast.state() != slow.state() || fast.ram_digest() != slow.ram_digest() {
            return eprintln!("straight: {:x?}\nin steps: {:x?}", fast.state().cpu, slow.state().cpu);
        }
    }
}
