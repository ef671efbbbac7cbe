//! Instruction counts and registers against the host's CPU, single-stepped.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]
#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

use hwdiff::case::{Case, Cpu, Fault, Outcome, Patch};
use hwdiff::compare::{differences, registers};
use hwdiff::emulated::Emulated;
use hwdiff::layout::{DATA, START};
use hwdiff::rng::Rng;
use hwdiff::sequence;
use hwdiff::traced::Traced;
use hwdiff::undefined::Ignored;
use iced_x86::code_asm::registers::{gpr8::*, gpr32::*, gpr64::*};
use iced_x86::code_asm::{CodeAssembler, byte_ptr, qword_ptr};
use iced_x86::{Decoder, Instruction};

/// Tracing may be forbidden where tests run; then there is nothing to compare with.
fn traced() -> Option<Traced> {
    match Traced::new() {
        Ok(traced) => Some(traced),
        Err(error) => {
            eprintln!("SKIPPED: ptrace does not work here: {error}");
            None
        }
    }
}

/// What differs between two states; a fault in the middle of a string instruction leaves RF in the host's view.
fn differing(host: &Cpu, emulated: &Cpu) -> Vec<String> {
    let outcome = |cpu: &Cpu| Outcome {
        cpu: Cpu { rflags: cpu.rflags & !(1 << 16), ..cpu.clone() },
        fault: Fault { vector: 1, error: 0, cr2: 0 },
        memory: Vec::new(),
    };
    differences(&outcome(host), &outcome(emulated), Ignored::default())
}

/// Runs `case` on both and compares the count, the registers after each instruction and all that is left.
fn compare(name: &str, case: &Case, traced: &mut Traced, emulated: &mut Emulated) -> usize {
    let host = traced.run(case).unwrap();
    let (states, outcome) = emulated.trace(case);
    for (n, (expected, got)) in host.states.iter().zip(&states).enumerate() {
        let lines = differing(expected, got);
        let before = if n > 0 { &states[n - 1] } else { &case.cpu };
        assert!(lines.is_empty(), "{name}: after {n}\n before {}\n {}", registers(before), lines.join("\n "));
    }
    assert_eq!(states.len(), host.states.len(), "{name}: retired; emu ended with {:?}", outcome.fault);
    // The same without stops on the way: whole blocks at a time, flags computed only where they are live.
    for count in (1..states.len()).step_by(1 + states.len() / 40) {
        let lines = differing(&states[count], &emulated.after(case, count as u64));
        assert!(lines.is_empty(), "{name}: {count} in one go (host is stepped)\n {}", lines.join("\n "));
    }
    let plain = emulated.retired_by(case);
    let breakpoint = u64::from(host.signal == 5);
    assert_eq!(plain, host.states.len() as u64 - 1 + breakpoint, "{name}: retired without stopping");
    let end = Cpu { rip: outcome.cpu.rip - breakpoint, ..outcome.cpu };
    assert!(differing(&host.end, &end).is_empty(), "{name}: {}", differing(&host.end, &end).join("\n "));
    assert_eq!(host.memory, outcome.memory, "{name}: memory");
    host.states.len() - 1
}

type Assemble = fn(&mut CodeAssembler) -> Result<(), iced_x86::IcedError>;

fn case(assemble: Assemble) -> Case {
    let mut a = CodeAssembler::new(64).unwrap();
    assemble(&mut a).unwrap();
    let mut cpu = Cpu::background(START);
    cpu.gpr[4] = DATA + 0x1800;
    cpu.gpr[6] = DATA + 0x100;
    cpu.gpr[7] = DATA + 0x400;
    Case { code: a.assemble(START).unwrap(), cpu, memory: vec![Patch { at: DATA + 0x100, bytes: (1..=200).collect() }] }
}

#[rustfmt::skip]
const PROGRAMS: &[(&str, Assemble, usize)] = &[
    ("straight", |a| { a.mov(rax, 1u64)?; a.add(rax, rax)?; a.xor(ecx, ecx) }, 3),
    ("loop", |a| {
        a.mov(ecx, 10)?;
        let mut top = a.create_label();
        a.set_label(&mut top)?;
        a.dec(ecx)?;
        a.jne(top)
    }, 21),
    ("loop instruction", |a| {
        a.mov(rcx, 5u64)?;
        let mut top = a.create_label();
        a.set_label(&mut top)?;
        a.inc(rax)?;
        a.loop_(top)
    }, 11),
    ("rep movsb retires once", |a| { a.mov(ecx, 100)?; a.rep().movsb() }, 2),
    ("rep stosq", |a| { a.mov(ecx, 17)?; a.rep().stosq() }, 2),
    ("rep of nothing", |a| { a.xor(ecx, ecx)?; a.rep().movsq()?; a.nop() }, 3),
    ("repne scasb", |a| { a.mov(ecx, 100)?; a.mov(al, 42)?; a.mov(rdi, rsi)?; a.repne().scasb()?; a.sete(al) }, 5),
    ("repe cmpsb", |a| { a.mov(ecx, 100)?; a.lea(rdi, qword_ptr(rsi + 1))?; a.repe().cmpsb() }, 3),
    ("calls", |a| {
        let (mut function, mut end) = (a.create_label(), a.create_label());
        a.mov(edi, 6)?;
        a.call(function)?;
        a.jmp(end)?;
        a.set_label(&mut function)?;
        a.push(rdi)?;
        a.dec(edi)?;
        let mut leaf = a.create_label();
        a.je(leaf)?;
        a.call(function)?;
        a.set_label(&mut leaf)?;
        a.pop(rdi)?;
        a.ret()?;
        a.set_label(&mut end)?;
        a.nop()
    }, 39),
    ("writes the next instruction", |a| {
        let mut next = a.create_label();
        a.mov(byte_ptr(next), 0x90)?;
        a.set_label(&mut next)?;
        a.db(&[0xf4])?;
        a.inc(eax)
    }, 3),
    ("flags", |a| { a.stc()?; a.lahf()?; a.cmc()?; a.sbb(rdx, rdx)?; a.cmovne(rdx, rsi) }, 5),
    ("ends in a fault", |a| { a.inc(eax)?; a.xor(ecx, ecx)?; a.div(ecx)?; a.inc(eax) }, 2),
];

#[test]
fn programs_retire_what_the_cpu_retires() {
    let Some(mut traced) = traced() else { return };
    let mut emulated = Emulated::new(true);
    for (name, assemble, retired) in PROGRAMS {
        let case = case(*assemble);
        assert_eq!(compare(name, &case, &mut traced, &mut emulated), *retired, "{name}");
    }
}

/// The instruction that ends `case` by a page fault; an invalid one if none does.
fn fault_of(case: &Case, emulated: &mut Emulated) -> Instruction {
    let (_, outcome) = emulated.trace(case);
    let at = usize::try_from(outcome.cpu.rip - START).unwrap_or(usize::MAX);
    match (outcome.fault.vector, case.code.get(at..)) {
        (14, Some(code)) => Decoder::new(64, code, 0).decode(),
        _ => Instruction::new(),
    }
}

/// `SEQUENCES=first..last` runs other programs.
fn seeds() -> (u64, u64) {
    let range = std::env::var("SEQUENCES").unwrap_or_else(|_| "0..100".into());
    let (first, last) = range.split_once("..").unwrap();
    (first.parse().unwrap(), last.parse().unwrap())
}

#[test]
fn random_programs_run_in_lockstep() {
    let Some(mut traced) = traced() else { return };
    let mut emulated = Emulated::new(true);
    let usable = sequence::usable_forms();
    assert!(usable.len() > 1500, "nearly all forms: {}", usable.len());
    let (mut retired, mut strings, mut gathers) = (0, 0, 0);
    let (first, last) = seeds();
    for seed in first..last {
        let case = sequence::program(&usable, 300, 3, &mut Rng::new(seed));
        retired += compare(&format!("seed {seed}"), &case, &mut traced, &mut emulated);
        let end = fault_of(&case, &mut emulated);
        strings += u64::from(end.is_string_instruction());
        gathers += u64::from(end.is_vsib());
    }
    eprintln!("{retired} instructions; {strings} faults in the middle of REP, {gathers} of gathers");
    assert!(retired as u64 > 200 * (last - first), "only {retired} instructions compared");
    assert!(strings.min(gathers) > (last - first) / 10, "only {strings} faults of REP and {gathers} of gathers");
}
