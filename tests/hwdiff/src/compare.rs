//! Two outcomes of one case, side by side.

use crate::case::{Case, Cpu, FIXED, Fault, Outcome, Patch, STATUS, X87};
use crate::undefined::Ignored;

/// Names of the general-purpose registers in encoding order.
pub const GPR: [&str; 16] =
    ["rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15"];

/// First address that is the kernel's. Whether something is mapped there is not a program's business.
const KERNEL_HALF: u64 = (1 << 47) - crate::layout::PAGE;

/// What differs apart from `ignored`, one line each; empty if nothing does.
#[must_use]
pub fn differences(host: &Outcome, emulated: &Outcome, ignored: Ignored) -> Vec<String> {
    let mut lines = Vec::new();
    if host == emulated {
        return lines;
    }
    let mut differ = |name: &str, host: String, emulated: String| {
        if host != emulated {
            lines.push(format!("{name}: host {host}, emu {emulated}"));
        }
    };
    for (n, name) in GPR.iter().enumerate() {
        differ(name, hex(host.cpu.gpr[n]), hex(emulated.cpu.gpr[n]));
    }
    differ("rip", hex(host.cpu.rip), hex(emulated.cpu.rip));
    differ("flags", flags(host.cpu.rflags & !ignored.flags), flags(emulated.cpu.rflags & !ignored.flags));
    for n in 0..16 {
        differ(&format!("xmm{n}"), format!("{:x}", host.cpu.xmm[n]), format!("{:x}", emulated.cpu.xmm[n]));
    }
    for n in 0..16 {
        differ(&format!("yh{n}"), hex(host.cpu.ymm_high[n]), hex(emulated.cpu.ymm_high[n]));
    }
    differ("mxcsr", hex(host.cpu.mxcsr), hex(emulated.cpu.mxcsr));
    for (name, host, emulated) in words_of_x87(host, emulated) {
        let mask = if name == "fsw" { !u128::from(ignored.fsw) } else { u128::MAX };
        let (host, emulated) = (host & mask, emulated & mask);
        if name.starts_with("st") && ulps_apart(host, emulated) <= ignored.ulps {
            continue;
        }
        differ(&name, hex(host), hex(emulated));
    }
    let exception = |outcome: &Outcome| fault_text(as_told(outcome.fault, ignored));
    differ("exception", exception(host), exception(emulated));
    differ("memory", memory(&host.memory), memory(&emulated.memory));
    lines
}

/// What a program can know of an exception, less what is ignored.
fn as_told(seen: Fault, ignored: Ignored) -> Fault {
    // Linux reports every address of its own half as present.
    let error = if seen.vector == 14 && seen.cr2 >= KERNEL_HALF { seen.error & !1 } else { seen.error };
    Fault { error, cr2: if ignored.cr2 { 0 } else { seen.cr2 }, ..seen }
}

/// `#14(6) cr2=10002000`: vector, error code, address.
#[must_use]
pub fn fault(outcome: &Outcome) -> String {
    fault_text(as_told(outcome.fault, Ignored::default()))
}

fn fault_text(fault: Fault) -> String {
    match fault.vector {
        14 => format!("#14({:x}) cr2={:x}", fault.error, fault.cr2),
        8 | 10..=13 | 17 => format!("#{}({:x})", fault.vector, fault.error),
        vector => format!("#{vector}"),
    }
}

/// RFLAGS as the letters of the flags that are set; `-` for none, the rest in hexadecimal.
#[must_use]
pub fn flags(rflags: u64) -> String {
    const LETTERS: [(char, u64); 7] = [('O', 11), ('D', 10), ('S', 7), ('Z', 6), ('A', 4), ('P', 2), ('C', 0)];
    let mut text: String = LETTERS.iter().filter(|(_, bit)| rflags >> bit & 1 == 1).map(|(letter, _)| letter).collect();
    let rest = (rflags ^ FIXED) & !(STATUS | 1 << 10);
    if text.is_empty() {
        text.push('-');
    }
    if rest != 0 {
        text += &format!("^{rest:x}");
    }
    text
}

/// `[10000ff8]=0011` for every patch.
#[must_use]
pub fn memory(patches: &[Patch]) -> String {
    let one = |p: &Patch| format!("[{:x}]={}", p.at, bytes(&p.bytes));
    patches.iter().map(one).collect::<Vec<_>>().join(" ")
}

/// Bytes as hexadecimal digits.
#[must_use]
pub fn bytes(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// Distance of two double-extended numbers of the same sign, in units of the last place.
fn ulps_apart(a: u128, b: u128) -> u128 {
    let rank = |x: u128| {
        let exponent = (x >> 64 & 0x7fff).max(1) - 1;
        let magnitude = (exponent << 63) + (x & u128::from(u64::MAX));
        magnitude | (x >> 79 & 1) << 100
    };
    rank(a).abs_diff(rank(b))
}

/// The x87 of two outcomes, word by word.
fn words_of_x87(host: &Outcome, emulated: &Outcome) -> Vec<(String, u128, u128)> {
    let (a, b) = (x87_words(&host.cpu.x87), x87_words(&emulated.cpu.x87));
    a.into_iter().zip(b).map(|((name, a), (_, b))| (name, a, b)).collect()
}

/// Name and value of everything in the x87.
#[must_use]
pub fn x87_words(x87: &X87) -> Vec<(String, u128)> {
    let head = [
        ("fcw", x87.control.into()),
        ("fsw", x87.status.into()),
        ("ftw", x87.tags.into()),
        ("fop", x87.opcode.into()),
        ("fip", x87.ip.into()),
        ("fdp", x87.dp.into()),
    ];
    let head = head.into_iter().map(|(name, value)| (name.to_owned(), value));
    head.chain(x87.st.iter().enumerate().map(|(n, &value)| (format!("st{n}"), value))).collect()
}

fn hex(value: impl std::fmt::LowerHex) -> String {
    format!("{value:x}")
}

/// Registers on two lines, for reports.
#[must_use]
pub fn registers(cpu: &Cpu) -> String {
    let gpr: Vec<String> = GPR.iter().zip(cpu.gpr).map(|(name, value)| format!("{name}={value:x}")).collect();
    format!("{} rip={:x} flags={}", gpr.join(" "), cpu.rip, flags(cpu.rflags))
}

/// Everything needed to understand a difference.
#[must_use]
pub fn report(case: &Case, assembly: &str, host: &Outcome, emulated: &Outcome, lines: &[String]) -> String {
    let side =
        |name: &str, o: &Outcome| format!("  {name:5} {} {} {}\n", registers(&o.cpu), fault(o), memory(&o.memory));
    let mut text =
        format!("{} \"{assembly}\"\n  in    {} {}\n", bytes(&case.code), registers(&case.cpu), memory(&case.memory));
    for (n, value) in case.cpu.xmm.iter().enumerate().filter(|(n, _)| assembly.contains(&format!("mm{n}"))) {
        text += &format!("  in    ymm{n}={:032x}_{value:032x} mxcsr={:x}\n", case.cpu.ymm_high[n], case.cpu.mxcsr);
    }
    if case.cpu.x87 != X87::INITIAL {
        let words: Vec<_> = x87_words(&case.cpu.x87).iter().map(|(name, value)| format!("{name}={value:x}")).collect();
        text += &format!("  in    {}\n", words.join(" "));
    }
    text += &side("host", host);
    text += &side("emu", emulated);
    for line in lines {
        text += &format!("  {line}\n");
    }
    text
}
