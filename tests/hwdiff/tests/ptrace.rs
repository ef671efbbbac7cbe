//! Instruction counts and registers against the host's CPU, single-stepped.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]
#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

use hwdiff::case::{Case, Cpu, Patch};
use hwdiff::compare::registers;
use hwdiff::emulated::Emulated;
use hwdiff::layout::{DATA, START};
use hwdiff::rng::Rng;
use hwdiff::sequence;
use hwdiff::traced::Traced;
use iced_x86::code_asm::registers::{gpr8::*, gpr32::*, gpr64::*};
use iced_x86::code_asm::{CodeAssembler, byte_ptr, qword_ptr};

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

/// Runs `case` on both and compares the count and the registers after each instruction.
fn compare(name: &str, case: &Case, traced: &mut Traced, emulated: &mut Emulated) -> usize {
    let host = traced.run(case).unwrap();
    let (states, outcome) = emulated.trace(case);
    for (n, (expected, got)) in host.states.iter().zip(&states).enumerate() {
        // A fault in the middle of a string instruction leaves RF in the host's view; it is not compared.
        let same =
            expected.gpr == got.gpr && expected.rip == got.rip && (expected.rflags ^ got.rflags) & !(1 << 16) == 0;
        assert!(
            same,
            "{name}: after {n} instructions\n before {}\n host   {}\n emu    {}\n code at {:x}",
            registers(if n > 0 { &states[n - 1] } else { &case.cpu }),
            registers(expected),
            registers(got),
            if n > 0 { states[n - 1].rip } else { START },
        );
    }
    assert_eq!(states.len(), host.states.len(), "{name}: retired; emu ended with {:?}", outcome.fault);
    // The same without stops on the way: whole blocks at a time, flags computed only where they are live.
    for count in (1..states.len()).step_by(1 + states.len() / 40) {
        let got = emulated.after(case, count as u64);
        assert!(
            got.gpr == states[count].gpr && got.rip == states[count].rip && got.rflags == states[count].rflags,
            "{name}: {count} instructions in one go\n stepped {}\n in one  {}",
            registers(&states[count]),
            registers(&got),
        );
    }
    let plain = emulated.retired_by(case);
    let breakpoint = u64::from(host.signal == 5);
    assert_eq!(plain, host.states.len() as u64 - 1 + breakpoint, "{name}: retired without stopping");
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
    let mut emulated = Emulated::new(false);
    for (name, assemble, retired) in PROGRAMS {
        let case = case(*assemble);
        assert_eq!(compare(name, &case, &mut traced, &mut emulated), *retired, "{name}");
    }
}

#[test]
fn random_programs_run_in_lockstep() {
    let Some(mut traced) = traced() else { return };
    let mut emulated = Emulated::new(false);
    let usable = sequence::usable_forms();
    let mut retired = 0;
    for seed in 0..100 {
        let case = sequence::program(&usable, 300, 3, &mut Rng::new(seed));
        retired += compare(&format!("seed {seed}"), &case, &mut traced, &mut emulated);
    }
    assert!(retired > 50_000, "only {retired} instructions compared");
}
