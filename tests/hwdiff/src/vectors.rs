//! Test vectors as text, made on a host whose CPU is the oracle and checked on every host.
//!
//! ```text
//! 4801d8 "add rax,rbx" rax=1 rbx=2 flags=C [10000ff8]=0011 => rax=3 flags=-
//! ```
//!
//! Bytes, what they are, the state before, the state after. What is not mentioned before `=>` is as in
//! [`Cpu::background`] (`yh3` is the upper half of YMM3), memory is 0 and the code lies at [`START`]; what is not
//! mentioned after it is as before.
//! The bytes are followed by breakpoints; the case ends at the first, unless another exception is given:
//! `#14(6) cr2=10002000` is vector, error code and address, with RIP at the start of the instruction.

use iced_x86::{CpuidFeature, Decoder, Instruction, InstructionInfoFactory};

use crate::campaign::rng_of;
use crate::case::{Case, Cpu, FIXED, Fault, Outcome, Patch, Subject};
use crate::compare::{GPR, bytes, differences, fault, flags, memory, x87_words};
use crate::emulated::Emulated;
use crate::features::Features;
use crate::forms::{FAMILIES, Form, forms};
use crate::layout::START;
use crate::rng::Rng;
use crate::{generate, raw, undefined};

/// Longer lines are left out: there are shorter ones that show the same.
const LINE_MAX: usize = 400;
/// Likewise of gathers, which read many places by three registers.
const GATHER_MAX: usize = 650;
/// Cases tried for each line wanted.
const TRIES: u64 = 4;
/// Raw encodings for each line wanted of a form.
const RAW: u64 = 400;

/// The vectors of `family`, `lines` for each form, with the outcomes of `subject`.
#[must_use]
pub fn emit(family: &str, lines: u64, seed: u64, subject: &mut dyn Subject) -> String {
    let mut text = format!("# Family {family}, made by hwdiff --emit-vectors on an Intel CPU.\n");
    if family == raw::FAMILY {
        let features = Features::of(&mut Emulated::new(true));
        text.extend((0..lines * RAW).filter_map(|number| one_raw(&features, rng_of(seed, number), subject)));
        return text;
    }
    for form in forms(Some(family)) {
        text += &format!("# {form}\n");
        let found = (0..lines * TRIES).filter_map(|number| one(form, seed, number, subject));
        let mut found: Vec<String> = found.take(usize::try_from(lines).unwrap_or(0)).collect();
        found.dedup();
        text += &found.concat();
    }
    text
}

/// Names of all families that fit into lines: one file each. The areas of XSAVE do not.
pub fn families() -> impl Iterator<Item = &'static str> {
    FAMILIES.iter().map(|(name, _)| *name).filter(|name| *name != "xsave").chain([raw::FAMILY])
}

fn one(form: Form, seed: u64, number: u64, subject: &mut dyn Subject) -> Option<String> {
    // Forms are numbered apart, so that they do not all get the same operands.
    let (mut case, instruction) = generate::case(form, &mut rng_of(seed + ((form.code as u64) << 8), number));
    forget_unused(&mut case.cpu, &instruction);
    let outcome = subject.run(&case);
    let line = line(&case, &instruction.to_string(), &outcome);
    (line.len() <= if form.is_gather() { GATHER_MAX } else { LINE_MAX }).then_some(line)
}

/// A raw encoding, said in as few words as it needs; none of an instruction that emu has not got, and few invalid ones.
fn one_raw(features: &Features, mut rng: Rng, subject: &mut dyn Subject) -> Option<String> {
    let (mut case, instruction) = raw::case(&mut rng);
    let dull = instruction.is_invalid() && case.cpu.rip == START && !rng.one_in(6);
    if dull || !instruction.is_invalid() && !features.contain(&instruction) {
        return None;
    }
    forget_unused(&mut case.cpu, &instruction);
    let background = Cpu::background(START);
    let of = |names: &[CpuidFeature]| instruction.cpuid_features().iter().any(|feature| names.contains(feature));
    if !of(&[CpuidFeature::FPU, CpuidFeature::FPU387, CpuidFeature::MMX, CpuidFeature::FXSR, CpuidFeature::SSSE3]) {
        (case.cpu.x87, case.cpu.mxcsr) = (background.x87, background.mxcsr);
    }
    let outcome = subject.run(&case);
    let bare = Case { memory: Vec::new(), ..case.clone() };
    if subject.run(&bare) == outcome {
        case = bare;
    }
    let line = line(&case, &instruction.to_string(), &outcome);
    (line.len() <= LINE_MAX).then_some(line)
}

/// Registers that the instruction does not touch need no mention.
fn forget_unused(cpu: &mut Cpu, instruction: &Instruction) {
    let background = Cpu::background(cpu.rip);
    let mut factory = InstructionInfoFactory::new();
    let used = factory.info(instruction).used_registers().to_vec();
    for n in 0..16 {
        if !used.iter().any(|u| u.register().is_gpr() && u.register().full_register().number() == n) {
            cpu.gpr[n] = background.gpr[n];
        }
        if n < 8 && !used.iter().any(|u| (u.register().is_st() || u.register().is_mm()) && u.register().number() == n) {
            cpu.x87.st[n] = background.x87.st[n];
        }
        if !used.iter().any(|u| u.register().is_vector_register() && u.register().number() == n) {
            (cpu.xmm[n], cpu.ymm_high[n]) = (background.xmm[n], background.ymm_high[n]);
        }
    }
}

fn line(case: &Case, assembly: &str, outcome: &Outcome) -> String {
    let mut words = vec![bytes(&case.code), format!("\"{assembly}\"")];
    if case.cpu.rip != START {
        words.push(format!("rip={:x}", case.cpu.rip));
    }
    changed_registers(&Cpu::background(START), &case.cpu, &mut words);
    words.extend((!case.memory.is_empty()).then(|| memory(&case.memory)));
    words.push("=>".into());
    changed_registers(&case.cpu, &outcome.cpu, &mut words);
    let plain = usual_end(case);
    if outcome.fault.vector != plain.0 {
        words.push(fault(outcome));
        if outcome.cpu.rip != case.cpu.rip {
            words.push(format!("rip={:x}", outcome.cpu.rip));
        }
    } else if outcome.cpu.rip != plain.1 {
        words.push(format!("rip={:x}", outcome.cpu.rip));
    }
    words.extend((!outcome.memory.is_empty()).then(|| memory(&outcome.memory)));
    words.join(" ") + "\n"
}

/// Vector and RIP of a case that falls through to the breakpoint after it.
fn usual_end(case: &Case) -> (u8, u64) {
    (3, case.cpu.rip + case.code.len() as u64 + 1)
}

fn changed_registers(before: &Cpu, after: &Cpu, words: &mut Vec<String>) {
    for (n, name) in GPR.iter().enumerate() {
        if before.gpr[n] != after.gpr[n] {
            words.push(format!("{name}={:x}", after.gpr[n]));
        }
    }
    if before.rflags != after.rflags {
        words.push(format!("flags={}", flags(after.rflags)));
    }
    for n in 0..16 {
        if before.xmm[n] != after.xmm[n] {
            words.push(format!("xmm{n}={:x}", after.xmm[n]));
        }
    }
    for n in 0..16 {
        if before.ymm_high[n] != after.ymm_high[n] {
            words.push(format!("yh{n}={:x}", after.ymm_high[n]));
        }
    }
    for ((name, old), (_, new)) in x87_words(&before.x87).into_iter().zip(x87_words(&after.x87)) {
        if old != new {
            words.push(format!("{name}={new:x}"));
        }
    }
    if before.mxcsr != after.mxcsr {
        words.push(format!("mxcsr={:x}", after.mxcsr));
    }
}

/// A case and what must come of it, from its line.
///
/// # Errors
/// The word that is not understood.
pub fn parse(line: &str) -> Result<(Case, Outcome), String> {
    let (before, after) = line.split_once(" =>").ok_or("no =>")?;
    let mut parts = before.splitn(3, '"');
    let code = hex_bytes(parts.next().unwrap_or("").trim()).ok_or("bad instruction bytes")?;
    let state = parts.nth(1).ok_or("no assembly text in quotes")?;
    let mut case = Case { code, cpu: Cpu::background(START), memory: Vec::new() };
    for word in state.split_whitespace() {
        set(word, &mut case.cpu, &mut case.memory, &mut None)?;
    }
    let mut cpu = case.cpu.clone();
    let (mut memory, mut fault) = (Vec::new(), None);
    let (vector, end) = usual_end(&case);
    cpu.rip = if after.contains('#') { case.cpu.rip } else { end };
    for word in after.split_whitespace() {
        set(word, &mut cpu, &mut memory, &mut fault)?;
    }
    let fault = fault.unwrap_or(Fault { vector, error: 0, cr2: 0 });
    Ok((case, Outcome { cpu, fault, memory }))
}

/// Applies one word to a state.
fn set(word: &str, cpu: &mut Cpu, memory: &mut Vec<Patch>, fault: &mut Option<Fault>) -> Result<(), String> {
    let bad = || format!("cannot read {word:?}");
    if let Some(exception) = word.strip_prefix('#') {
        let (vector, error) = exception.strip_suffix(')').and_then(|e| e.split_once('(')).unwrap_or((exception, "0"));
        let error = u64::from_str_radix(error, 16).map_err(|_| bad())?;
        *fault = Some(Fault { vector: vector.parse().map_err(|_| bad())?, error, cr2: 0 });
        return Ok(());
    }
    let (name, value) = word.split_once('=').ok_or_else(bad)?;
    if let Some(at) = name.strip_prefix('[').and_then(|n| n.strip_suffix(']')) {
        let at = u64::from_str_radix(at, 16).map_err(|_| bad())?;
        memory.push(Patch { at, bytes: hex_bytes(value).ok_or_else(bad)? });
        return Ok(());
    }
    if name == "flags" {
        cpu.rflags = parse_flags(value).ok_or_else(bad)?;
        return Ok(());
    }
    let number = u128::from_str_radix(value, 16).map_err(|_| bad())?;
    let short = || u64::try_from(number).map_err(|_| bad());
    let word = || u16::try_from(number).map_err(|_| bad());
    match name {
        "rip" => cpu.rip = short()?,
        "mxcsr" => cpu.mxcsr = u32::try_from(number).map_err(|_| bad())?,
        "fcw" => cpu.x87.control = word()?,
        "fsw" => cpu.x87.status = word()?,
        "ftw" => cpu.x87.tags = word()?,
        "fop" => cpu.x87.opcode = word()?,
        "fip" => cpu.x87.ip = short()?,
        "fdp" => cpu.x87.dp = short()?,
        "cr2" => fault.as_mut().ok_or_else(bad)?.cr2 = short()?,
        _ => {
            if let Some(n) = GPR.iter().position(|gpr| *gpr == name) {
                cpu.gpr[n] = short()?;
            } else if let Some(n) = name.strip_prefix("st").and_then(|n| n.parse::<usize>().ok()) {
                *cpu.x87.st.get_mut(n).ok_or_else(bad)? = number;
            } else if let Some(n) = name.strip_prefix("yh").and_then(|n| n.parse::<usize>().ok()) {
                *cpu.ymm_high.get_mut(n).ok_or_else(bad)? = number;
            } else {
                let n = name.strip_prefix("xmm").and_then(|n| n.parse::<usize>().ok()).ok_or_else(bad)?;
                *cpu.xmm.get_mut(n).ok_or_else(bad)? = number;
            }
        }
    }
    Ok(())
}

fn parse_flags(text: &str) -> Option<u64> {
    let (letters, rest) = text.split_once('^').unwrap_or((text, "0"));
    let mut value = FIXED ^ u64::from_str_radix(rest, 16).ok()?;
    for letter in letters.chars().filter(|c| *c != '-') {
        value |= 1
            << [('O', 11), ('D', 10), ('S', 7), ('Z', 6), ('A', 4), ('P', 2), ('C', 0)]
                .iter()
                .find(|l| l.0 == letter)?
                .1;
    }
    Some(value)
}

fn hex_bytes(text: &str) -> Option<Vec<u8>> {
    let digit = |n: usize| text.get(n..n + 2).and_then(|pair| u8::from_str_radix(pair, 16).ok());
    if text.len().is_multiple_of(2) { (0..text.len()).step_by(2).map(digit).collect() } else { None }
}

/// Runs every line of `text` on `subject`: how many there are, and what is wrong, one entry for each bad line.
pub fn check(text: &str, subject: &mut dyn Subject) -> (usize, Vec<String>) {
    let (mut count, mut wrong) = (0, Vec::new());
    for (number, line) in (1..).zip(text.lines()).filter(|(_, line)| !line.is_empty() && !line.starts_with('#')) {
        count += 1;
        match parse(line) {
            Err(error) => wrong.push(format!("line {number}: {error}")),
            Ok((case, expected)) => {
                let instruction = Decoder::with_ip(64, &case.code, case.cpu.rip, 0).decode();
                let lines = differences(&expected, &subject.run(&case), undefined::ignored(&instruction));
                if !lines.is_empty() {
                    wrong.push(format!("line {number}: {line}\n  {}", lines.join("\n  ")));
                }
            }
        }
    }
    (count, wrong)
}
