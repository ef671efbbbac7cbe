//! States that come from a file or a peer: one that no machine can be in is refused with a word, and no state at all makes the
//! machine panic.

#![allow(clippy::unwrap_used, clippy::cast_possible_truncation, reason = "a test panics when it fails")]

mod guest;

use emu::{ConsoleClient, Input, Machine, MachineError, MachineState, Until};
use guest::*;

fn running() -> (Machine, MachineState) {
    let mut guest = Guest::new(&[0x48, 0xff, 0xc0, 0xeb, 0xfb]); // inc rax; jmp back
    guest.start();
    guest.machine.run(Until::About(1000), &mut Closed);
    let state = guest.machine.state();
    (guest.machine, state)
}

fn refused(machine: &Machine, state: &MachineState) -> Option<&'static str> {
    match Machine::restore(*machine.config(), state) {
        Ok(_) => None,
        Err(MachineError::State(what)) => Some(what),
        Err(other) => panic!("{other}"),
    }
}

/// What is done to a state, and what is said of it.
type Case = (&'static str, fn(&mut MachineState));

const CASES: &[Case] = &[
    ("position", |s| s.position.retired = u64::MAX),
    ("position", |s| s.position.steps = u64::MAX),
    ("number of outputs", |s| s.outputs = u64::MAX),
    ("number of outputs", |s| s.console_bytes = s.outputs + 1),
    ("console clients", |s| s.clients = (0..1000).map(|id| (id, ConsoleClient::default())).collect()),
    ("clock", |s| s.clock.rate = 0),
    ("clock", |s| s.clock.rate = u64::MAX),
    ("clock", |s| s.clock.base_retired = s.position.retired + 1),
    ("clock", |s| s.clock.input_retired = s.position.retired + 1),
    ("CR0", |s| s.cpu.cr0 |= 1 << 40),
    ("CR0", |s| s.cpu.cr0 &= !0x10),
    ("CR0: PG without PE", |s| s.cpu.cr0 &= !1),
    ("CR0: NW without CD", |s| s.cpu.cr0 |= 1 << 29),
    ("CR3", |s| s.cpu.cr3 |= 1 << 40),
    ("CR4", |s| s.cpu.cr4 |= 1 << 15),
    ("CR4: long mode without PAE", |s| s.cpu.cr4 &= !0x20),
    ("IA32_EFER", |s| s.cpu.msr.efer |= 2),
    ("IA32_EFER: LMA", |s| s.cpu.msr.efer &= !0x400),
    ("XCR0", |s| s.cpu.xcr0 = 0),
    ("XCR0", |s| s.cpu.xcr0 = 0xe7),
    ("XCR0: AVX without SSE", |s| s.cpu.xcr0 = 5),
    ("RFLAGS", |s| s.cpu.rflags |= 1 << 15),
    ("RFLAGS", |s| s.cpu.rflags = 0),
    ("segment register", |s| s.cpu.seg[3].rights |= 0x0f00),
    ("segment register", |s| s.cpu.seg[4].base = 1 << 47),
    ("segment register", |s| s.cpu.tr.base = 1 << 63),
    ("GDTR or IDTR", |s| s.cpu.idtr.base = 1 << 63),
    ("DR4 or DR5", |s| s.cpu.dr[4] = 1),
    ("DR6", |s| s.cpu.dr[6] = 0),
    ("DR7", |s| s.cpu.dr[7] |= 1 << 32),
    ("pending debug exceptions", |s| s.cpu.debug_pending = 0x10),
    ("MXCSR", |s| s.cpu.mxcsr = 1 << 16),
    ("x87 opcode", |s| s.cpu.fpu.opcode = 0x800),
    ("performance counters", |s| s.cpu.pmu.fixed = 1 << 48),
    ("performance counters", |s| s.cpu.pmu.global_status = 4),
    ("performance counters", |s| s.cpu.pmu.select[1] = 1 << 32),
    ("address in an MSR", |s| s.cpu.msr.lstar = 1 << 47),
    ("IA32_FMASK", |s| s.cpu.msr.fmask = 1 << 32),
    ("IA32_PAT", |s| s.cpu.msr.pat = 2),
];

#[test]
fn what_cannot_be_is_refused_by_name() {
    let (machine, state) = running();
    assert_eq!(refused(&machine, &state), None);
    for &(what, damage) in CASES {
        let mut damaged = state.clone();
        damage(&mut damaged);
        assert_eq!(refused(&machine, &damaged), Some(what));
    }
    let mut other = state.clone();
    other.version += 1;
    let Err(error) = Machine::restore(*machine.config(), &other) else { panic!("restored") };
    assert!(matches!(error, MachineError::StateVersion(_)));
}

#[test]
fn console_input_is_bounded() {
    let (mut machine, _) = running();
    let input = |client, seq, bytes: usize| Input::Console { client, seq, bytes: vec![b'x'; bytes] };
    machine.deliver(&input(1, 1, 60_000));
    machine.deliver(&input(1, 2, 60_000));
    assert_eq!((machine.console_seq(1), machine.console_backlog()), (1, 60_000), "no room: not taken");
    machine.deliver(&input(1, 2, 5_000));
    assert_eq!((machine.console_seq(1), machine.console_backlog()), (2, 65_000));
    for client in 2..1000 {
        machine.deliver(&input(client, 1, 0));
        machine.deliver(&input(2, client, 0));
    }
    assert_eq!(machine.state().clients.len(), 256);
    assert_eq!(machine.console_seq(2), 999, "it was never silent for long");
    assert_eq!((machine.console_seq(1), machine.console_seq(999)), (0, 1));
    assert_eq!(refused(&machine, &machine.state()), None);
}
