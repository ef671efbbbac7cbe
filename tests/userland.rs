//! Static Linux programs, with glibc, musl and Rust's library, for each level of x86-64: what they say here is what
//! they say on the host, byte for byte, and they end with the same code. Each run is recorded and replayed, too. What
//! the x87's transcendental functions give, which every maker has his own way, may be apart by units in the last place.

#![cfg(all(target_os = "linux", target_arch = "x86_64"))]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test panics when it fails")]

mod recording;

use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use emu::{ClockMode, CpuModel, Power, Until};
use rayon::prelude::*;
use recording::Boot;

/// What is built everywhere, and the work each is given: about 100 million instructions at most.
const PROGRAMS: [(&str, &str); 7] = [
    ("coremark", "300"),
    ("sha256", "50"),
    ("whetstone", "3000"),
    ("aes_gcm", "20"),
    ("json", "2500"),
    ("regex", "40"),
    ("zstd", "60"),
];
/// What asks about floating point in every detail, in C only.
const FLOATING_POINT: [(&str, &str); 2] = [("paranoia", ""), ("libm", "400")];
/// Programs for a level run on a CPU that has no more.
const LEVELS: [(&str, CpuModel); 3] = [("v1", CpuModel::V1), ("v2", CpuModel::V2), ("v3", CpuModel::V3)];

/// Says what was not tested, where a reader of the test's output sees it; `.ci/run` fails on it.
fn skipped(why: &str) {
    eprintln!("SKIPPED: programs of userland: {why}");
}

/// The levels that the host has, too.
fn levels() -> impl Iterator<Item = (&'static str, CpuModel)> {
    let has_v3 =
        is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") && is_x86_feature_detected!("bmi2");
    if !has_v3 {
        skipped("the host's CPU has no x86-64-v3 to compare with");
    }
    LEVELS.into_iter().filter(move |(_, model)| has_v3 || *model != CpuModel::V3)
}

fn present(tool: &str) -> bool {
    Command::new(tool).arg("--version").output().is_ok_and(|output| output.status.success())
        || Command::new(tool).arg("-dumpversion").output().is_ok_and(|output| output.status.success())
}

fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("testprogs/userland/programs")
}

/// Where programs stay from one run of the tests to the next.
fn built(variant: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("userland").join(variant)
}

/// Builds one thing at a time: tests share folders.
fn succeed(command: &mut Command) {
    static BUILDING: Mutex<()> = Mutex::new(());
    let _alone = BUILDING.lock().unwrap_or_else(PoisonError::into_inner);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Cargo as it was started itself, in the workspace of the programs.
fn cargo(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO"));
    command.args(arguments).current_dir(sources()).env_remove("RUSTFLAGS").env_remove("CARGO_TARGET_DIR");
    command
}

/// Whether the crates of the programs can be had.
fn crates_present() -> bool {
    cargo(&["fetch", "--locked"]).output().is_ok_and(|output| output.status.success())
}

/// The sources of the zstd library, which a crate brings along.
fn zstd_sources() -> String {
    let output = cargo(&["metadata", "--locked", "--format-version", "1"]).output().unwrap();
    let metadata = String::from_utf8(output.stdout).unwrap();
    let manifest = metadata.split('"').find(|text| text.contains("zstd-sys-") && text.ends_with("Cargo.toml")).unwrap();
    manifest.replace("Cargo.toml", "zstd/lib")
}

/// What a program left behind: what it wrote, and its exit code, or 128 and its signal.
#[derive(PartialEq, Debug)]
struct Outcome {
    text: String,
    code: i32,
}

/// Features that glibc must not use on the host, because a CPU of `model` has them not: its functions for them are others.
fn without_features(model: CpuModel) -> &'static str {
    match model {
        CpuModel::V1 => "glibc.cpu.hwcaps=-SSE4_1,-AVX,-AVX2,-FMA,-FMA4",
        CpuModel::V2 => "glibc.cpu.hwcaps=-AVX,-AVX2,-FMA,-FMA4",
        CpuModel::V3 => "",
    }
}

fn on_the_host(model: CpuModel, program: &Path, arguments: &str) -> Outcome {
    let mut command = Command::new(program);
    command.args(arguments.split_whitespace()).env_clear().env("GREETING", "hello");
    let output = command.env("GLIBC_TUNABLES", without_features(model)).output().unwrap();
    let code = output.status.code().or_else(|| output.status.signal().map(|signal| 128 + signal)).unwrap();
    Outcome { text: String::from_utf8(output.stdout).unwrap(), code }
}

/// Runs it in the guest kernel on a CPU of `model`, recorded, and replays the recording.
fn in_the_guest(model: CpuModel, program: &Path, arguments: &str, input: &str) -> Outcome {
    let name = program.display().to_string();
    let image = testprogs::userland::wrap("program", &std::fs::read(program).unwrap()).unwrap();
    let cmdline = format!("GREETING=hello {arguments}");
    let (name, clock) = (name.as_str(), ClockMode::Host);
    let boot = Boot { name, image: &image, cmdline: &cmdline, clock, cpu: model, disk: None, linux: None };
    let recorded = recording::record(&boot, input);
    recording::replay(&boot, &recorded, |_| Until::About(u64::MAX));
    let Some(Power::Off { code }) = recorded.power else { panic!("{name}: {:?}", recorded.power) };
    // The console is a terminal: it puts a carriage return before every newline.
    Outcome { text: String::from_utf8_lossy(&recorded.console).replace("\r\n", "\n"), code: code.into() }
}

/// The units in the last place between two words of 20 hexadecimal digits, which are numbers of the x87.
fn ulps_apart(a: &str, b: &str) -> u128 {
    let place = |word: &str| {
        let bits = u128::from_str_radix(word, 16).unwrap();
        let (sign, exponent, fraction) = (bits >> 79, bits >> 64 & 0x7fff, bits & u128::from(u64::MAX >> 1));
        let magnitude = (exponent << 63 | fraction) as i128;
        if sign == 0 { magnitude } else { -magnitude }
    };
    if a == b { 0 } else { place(a).abs_diff(place(b)) }
}

/// Whether two lines are the same but for the words of `near NAME ULPS WORD WORD ...`, and those are as near as that.
fn same_line(host: &str, guest: &str) -> bool {
    let (near, words): (Vec<_>, Vec<_>) = (host.split(' ').collect(), guest.split(' ').collect());
    let ["near", _, ulps, ..] = near[..] else { return host == guest };
    let ulps = ulps.parse().unwrap();
    let pairs = || near.iter().zip(&words);
    near.len() == words.len()
        && pairs().take(3).all(|(host, guest)| host == guest)
        && pairs().skip(3).all(|(host, guest)| ulps_apart(host, guest) <= ulps)
}

fn same_outcome(model: CpuModel, program: &Path, arguments: &str) {
    let (host, guest) = (on_the_host(model, program, arguments), in_the_guest(model, program, arguments, ""));
    for (host, guest) in host.text.lines().zip(guest.text.lines()) {
        assert!(same_line(host, guest), "{} {arguments}\nhost  {host}\nguest {guest}", program.display());
    }
    let end = |outcome: &Outcome| (outcome.text.lines().count(), outcome.code);
    assert_eq!(end(&guest), end(&host), "{} {arguments}", program.display());
}

fn every_program(model: CpuModel, folder: &Path, programs: &[(&str, &str)]) {
    programs.par_iter().for_each(|(name, rounds)| same_outcome(model, &folder.join(name), rounds));
}

/// Makes the C programs for `level`; gives their folder.
fn make(compiler: &str, level: &str) -> PathBuf {
    let folder = built(&format!("{compiler}-{level}"));
    let [compiler, level, out, zstd] =
        [("CC", compiler), ("LEVEL", level), ("OUT", &folder.display().to_string()), ("ZSTD", &zstd_sources())]
            .map(|(name, value)| format!("{name}={value}"));
    succeed(Command::new("make").args(["-j2", &compiler, &level, &out, &zstd]).current_dir(sources()));
    folder
}

/// Makes the Rust programs for `level`; gives their folder.
fn make_rust(level: &str) -> PathBuf {
    const TARGET: &str = "x86_64-unknown-linux-gnu";
    let cpu = if level == "v1" { "x86-64".to_owned() } else { format!("x86-64-{level}") };
    let folder = built(&format!("rust-{level}"));
    let mut command = cargo(&["build", "--release", "--locked", "--target", TARGET, "--target-dir"]);
    command
        .arg(&folder)
        .env("RUSTFLAGS", format!("-C target-cpu={cpu} -C target-feature=+crt-static"))
        .env("CFLAGS_x86_64_unknown_linux_gnu", format!("-march={cpu}"));
    succeed(&mut command);
    folder.join(TARGET).join("release")
}

/// The C programs with the library of `compiler`.
fn c_programs(compiler: &str) {
    if !(present("make") && present(compiler)) {
        return skipped(&format!("no make and {compiler} here"));
    }
    if !crates_present() {
        return skipped("the crates they need cannot be fetched");
    }
    for (level, model) in levels() {
        let folder = make(compiler, level);
        every_program(model, &folder, &PROGRAMS);
        every_program(model, &folder, &FLOATING_POINT);
        same_outcome(model, &folder.join("calls"), "");
    }
    let calls = make(compiler, "v1").join("calls");
    for reason in ["null", "code", "ud2", "divide", "abort"] {
        let (host, guest) = (on_the_host(CpuModel::V3, &calls, reason), in_the_guest(CpuModel::V3, &calls, reason, ""));
        assert_eq!(guest.code, host.code, "{reason}");
        let report = guest.text.strip_prefix(&host.text).unwrap();
        assert!(report.contains("userland: ") && report.contains("signal"), "{report}");
    }
}

#[test]
fn glibc_programs_do_what_they_do_on_the_host() {
    c_programs("gcc");
}

#[test]
fn musl_programs_do_what_they_do_on_the_host() {
    c_programs("musl-gcc");
}

#[test]
fn rust_programs_do_what_they_do_on_the_host() {
    if !(present("gcc") && crates_present()) {
        return skipped("no gcc here, or the crates they need cannot be fetched");
    }
    for (level, model) in levels() {
        every_program(model, &make_rust(level), &PROGRAMS);
    }
}

#[test]
fn a_program_talks_to_the_console() {
    if !(present("make") && present("gcc") && crates_present()) {
        return skipped("no make and gcc here, or the crates they need cannot be fetched");
    }
    let echo = make("gcc", "v1").join("echo");
    let outcome = in_the_guest(CpuModel::V3, &echo, "a b", "one\ntwox\u{8}\n\u{4}\n");
    let text = "program a b, GREETING=hello, a terminal\none\n1 [one]\ntwox\u{8} \u{8}\n2 [two]\nend\n";
    assert_eq!(outcome, Outcome { text: text.to_owned(), code: 2 });
}

#[test]
fn near_lines_allow_for_units_in_the_last_place() {
    let host = "near exp 1 3fff8000000000000000 bffe8000000000000000";
    assert!(same_line(host, "near exp 1 3ffeffffffffffffffff bffe8000000000000001"));
    assert!(!same_line(host, "near exp 1 3ffefffffffffffffffe bffe8000000000000000"));
    assert!(!same_line(host, "near exp 1 3fff8000000000000000 3ffe8000000000000000"));
    assert!(!same_line(host, "near exp 1 3fff8000000000000000"));
    assert!(!same_line("exp 3fff8000000000000000", "exp 3fff8000000000000001"));
}
