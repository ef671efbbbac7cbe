//! What the engine remembers cannot be seen: a run with stops, digests and moves to a fresh machine is the same run, also where
//! the guest changes page tables without telling the CPU (ARCHITECTURE.md, "The TLB cannot be seen").

#![allow(clippy::unwrap_used, reason = "a test panics when it fails")]

use std::ops::ControlFlow;

use emu::{ClockMode, CpuModel, DirtySet, Door, Machine, MachineConfig, Output, Position, Power, Query, Stop, Until};

/// Nobody asks, nobody listens.
struct Silence;

impl Door for Silence {
    fn query(&mut self, _: Position, _: Query) -> Option<u64> {
        Some(0)
    }
    fn output(&mut self, _: Position, _: u64, _: Output) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }
    fn interrupt(&mut self, _: Position, _: u8) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }
}

/// Remaps the 2 MiB page at 8 MiB fifty times without INVLPG, clearing its accessed and dirty bits, and sums what it then reads
/// there and in the page table.
const REMAPPER: &[u8] = &[
    0x48, 0xc7, 0xc3, 0x20, 0x30, 0x00, 0x00, // mov rbx, 0x3020 (the page directory's entry)
    0x48, 0xc7, 0xc6, 0x00, 0x00, 0x80, 0x00, // mov rsi, 0x800000
    0xb9, 0x32, 0x00, 0x00, 0x00, // mov ecx, 50
    0x48, 0x8b, 0x03, // again: mov rax, [rbx]
    0x48, 0x35, 0x00, 0x00, 0x20, 0x00, // xor rax, 0x200000
    0x24, 0x9f, // and al, 0x9f (A and D off)
    0x48, 0x89, 0x03, // mov [rbx], rax
    0x48, 0x03, 0x16, // add rdx, [rsi]
    0x48, 0x03, 0x13, // add rdx, [rbx]
    0x48, 0xff, 0x06, // inc qword [rsi]
    0x48, 0x03, 0x13, // add rdx, [rbx]
    0xff, 0xc9, // dec ecx
    0x75, 0xe2, // jnz again
    0xf4, // hlt
];

/// Likewise for its own code page: clears the accessed bit of the 2 MiB page in which it runs, and reads the entry.
const SELF_REMAPPER: &[u8] = &[
    0x48, 0xc7, 0xc3, 0x08, 0x30, 0x00, 0x00, // mov rbx, 0x3008
    0xb9, 0x32, 0x00, 0x00, 0x00, // mov ecx, 50
    0x80, 0x23, 0x9f, // again: and byte [rbx], 0x9f
    0x90, // nop
    0x48, 0x03, 0x13, // add rdx, [rbx]
    0xff, 0xc9, // dec ecx
    0x75, 0xf5, // jnz again
    0xf4, // hlt
];

fn machine(code: &[u8]) -> Machine {
    let config = MachineConfig {
        memory_bytes: 16 << 20,
        clock: ClockMode::Host,
        epoch_s: 0,
        cpu: CpuModel::V3,
        devices: Default::default(),
    };
    let mut machine = Machine::new(config).unwrap();
    machine.load_elf(testprogs_counter(), "").unwrap();
    let mut state = machine.state();
    state.cpu.rip = 0x20_0000;
    machine.set_state(&state);
    let mut page = [0; 4096];
    page[..code.len()].copy_from_slice(code);
    machine.write_page(0x200, &page);
    machine
}

/// Any valid image: only its hand-off is used.
fn testprogs_counter() -> &'static [u8] {
    include_bytes!("../../testprogs/images/counter.elf")
}

/// The same machine, made anew from what is saved of it.
fn moved(machine: &Machine) -> Machine {
    let mut other = Machine::restore(*machine.config(), &machine.state()).unwrap();
    for pfn in machine.used_pages() {
        other.write_page(pfn, machine.page(pfn));
    }
    other
}

fn straight(code: &[u8]) -> Machine {
    let mut machine = machine(code);
    assert_eq!(machine.run(Until::About(1_000_000), &mut Silence), Stop::Off(Power::Dead));
    machine
}

fn assert_same(mut one: Machine, mut two: Machine) {
    assert_eq!(one.position(), two.position());
    assert_eq!(one.state(), two.state());
    assert_eq!(one.ram_digest(), two.ram_digest());
}

fn undisturbed_by(mut disturb: impl FnMut(Machine) -> Machine) {
    for code in [REMAPPER, SELF_REMAPPER] {
        let mut disturbed = machine(code);
        while disturbed.power().is_none() {
            let at = disturbed.position();
            disturbed.run(Until::Exactly(Position { steps: at.steps + 1, ..at }), &mut Silence);
            disturbed = disturb(disturbed);
        }
        assert_same(straight(code), disturbed);
    }
}

#[test]
fn stops_cannot_be_seen() {
    undisturbed_by(|machine| machine);
}

#[test]
fn digests_and_dirty_pages_cannot_be_seen() {
    undisturbed_by(|mut machine| {
        machine.ram_digest();
        machine.take_dirty(DirtySet::Transfer);
        machine
    });
}

#[test]
fn a_move_to_a_fresh_machine_cannot_be_seen() {
    let mut countdown = 0;
    undisturbed_by(|machine| {
        countdown = (countdown + 1) % 7;
        if countdown == 0 { moved(&machine) } else { machine }
    });
}

#[test]
fn a_changed_table_entry_takes_effect_at_once() {
    let machine = straight(REMAPPER);
    // 25 increments on each of the two pages behind the one address.
    let count = |machine: &Machine, pfn| u64::from_le_bytes(machine.page(pfn)[..8].try_into().unwrap());
    assert_eq!((count(&machine, 0x800), count(&machine, 0xa00)), (25, 25));
    // And the entry was marked accessed and dirty each time.
    assert_eq!(machine.page(3)[0x20] & 0x60, 0x60);
}
