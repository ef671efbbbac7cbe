//! An unmodified Linux: boots, works, is recorded, and replays to the same bytes.
//!
//! `.ci/linux` has the kernel; where it is not to be had, these tests are skipped.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod recording;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use cpio::newc::Builder;
use emu::{ClockMode, CpuModel, Power, Until};
use recording::{Boot, Linux, record, replay};
use tempfile::TempDir;

const DIRECTORY: u32 = 0o040_755;
const PROGRAM: u32 = 0o100_755;
/// Exit codes, as the README has them.
const OFF: i32 = 0;
const RESET: i32 = 119;
const TRIPLE_FAULT: i32 = 120;
const MOUNT: &str = "mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev";

/// Where `vmlinuz` and `busybox` are, or why there are none.
fn linux() -> Result<PathBuf, String> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/.ci/linux");
    let output = Command::new(script).output().map_err(|e| format!("SKIPPED: {script}: {e}"))?;
    match output.status.code() {
        Some(0) => Ok(PathBuf::from(String::from_utf8(output.stdout).unwrap().trim())),
        Some(77) => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
        _ => panic!("{script}: {}", String::from_utf8_lossy(&output.stderr)),
    }
}

/// An initial RAM disk: busybox under its most needed names, drivers of buttons, and `script` as init.
fn initrd(linux: &Path, script: &str) -> Vec<u8> {
    let init = format!("#!/bin/busybox sh\n/bin/busybox --install -s /bin\n{MOUNT}\n{script}\n");
    let read = |path: &str| fs::read(linux.join(path)).unwrap();
    let busybox = read("busybox");
    let [button, evdev] = ["acpi/button", "input/evdev"].map(|name| read(&format!("modules/kernel/drivers/{name}.ko")));
    let entries: [(&str, u32, &[u8]); 8] = [
        ("button.ko", PROGRAM, &button),
        ("evdev.ko", PROGRAM, &evdev),
        ("bin", DIRECTORY, b""),
        ("dev", DIRECTORY, b""),
        ("proc", DIRECTORY, b""),
        ("sys", DIRECTORY, b""),
        ("bin/busybox", PROGRAM, &busybox),
        ("init", PROGRAM, init.as_bytes()),
    ];
    let inputs = entries.iter().map(|(name, mode, data)| (Builder::new(name).mode(*mode), std::io::Cursor::new(*data)));
    cpio::write_cpio(inputs, Vec::new()).unwrap()
}

fn ftemu(room: &TempDir, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ftemu"));
    command.args(arguments).current_dir(room.path()).stdin(Stdio::null()).output().unwrap()
}

/// Where the kernel is; `None`, said aloud, if there is none.
fn kernel() -> Option<PathBuf> {
    linux().inspect_err(|why| eprintln!("{why}")).ok()
}

/// Boots with `script` as init, recorded; checks how it ends, and that the replay says the same, byte for byte. Returns the
/// console.
fn boot_and_replay(options: &[&str], script: &str, code: i32) -> Option<String> {
    let linux = kernel()?;
    let room = tempfile::tempdir().unwrap();
    fs::write(room.path().join("initrd"), initrd(&linux, script)).unwrap();
    let kernel = linux.join("vmlinuz");
    let run = ["run", kernel.to_str().unwrap(), "--initrd", "initrd", "--record", "log"];
    let lived = ftemu(&room, &[&run[..], options].concat());
    assert_eq!(lived.status.code(), Some(code), "{}", String::from_utf8_lossy(&lived.stdout));
    let replayed = ftemu(&room, &["replay", "log"]);
    assert!(replayed.stdout == lived.stdout, "the console differs in the replay");
    assert_eq!(replayed.status.code(), Some(0), "{}", String::from_utf8_lossy(&replayed.stderr));
    Some(String::from_utf8_lossy(&lived.stdout).replace("\r\n", "\n"))
}

/// A line that the console must have shown.
#[track_caller]
fn said(console: &str, line: &str) {
    assert!(console.contains(&format!("\n{line}\n")), "{line:?} is missing in:\n{console}");
}

#[test]
fn boots_to_a_shell_that_works() {
    let script = r#"
echo "kernel $(uname -sm)"
seq 1 20000 | sha256sum
seq 1 20000 | gzip | gunzip | md5sum
i=0; while [ $i -lt 30 ]; do (exit 7) || i=$((i+1)); done; echo "forked $i"
awk 'BEGIN { printf "%.15f %.6e\n", 1 / 3, 1e20 / 7 }'
reboot -f"#;
    let Some(console) = boot_and_replay(&["--clock", "derived"], script, RESET) else { return };
    said(&console, "kernel Linux x86_64");
    // As `seq 1 20000 | sha256sum` says everywhere.
    said(&console, "f6351f5ead9a700e34275480b3856ea738122a7c57bdeb744a631251c069587a  -");
    said(&console, "e071f707df7bbeee2a6a1eb48011ddd0  -");
    said(&console, "forked 30");
    said(&console, "0.333333333333333 1.428571e+19");
    assert!(!console.contains("WARNING:") && !console.contains("BUG:"), "{console}");
}

#[test]
fn uses_the_apics_and_calibrates_nothing() {
    let script = r#"
awk '/ttyS0|acpi|i8042/ { print $3, $NF }' /proc/interrupts
awk '/LOC:/ { print ($2 > 10 ? "local timer ticks" : "no ticks") }' /proc/interrupts
cat /sys/devices/system/clocksource/clocksource0/current_clocksource
poweroff -f"#;
    let Some(console) = boot_and_replay(&["--clock", "host"], script, OFF) else { return };
    for line in ["IO-APIC ttyS0", "IO-APIC acpi", "IO-APIC i8042", "local timer ticks", "tsc"] {
        said(&console, line);
    }
    for text in ["TSC deadline timer available", "Calibrating delay loop (skipped)", "ACPI: PM: (supports S0 S5)"] {
        assert!(console.contains(text), "{text:?} is missing in:\n{console}");
    }
    for text in ["ACPI Error", "ACPI BIOS", "WARNING:", "Fast TSC calibration", "refined TSC"] {
        assert!(!console.contains(text), "{text:?} in:\n{console}");
    }
}

#[test]
fn every_end_has_its_exit_code() {
    // What `--append` replaces: the default is a panic that ends the run.
    let plain = &["--clock", "derived"][..];
    let by = |command_line| [plain, &["--append", command_line]].concat();
    for (options, script, code, text) in [
        (plain.to_vec(), "poweroff -f", OFF, "reboot: Power down"),
        (plain.to_vec(), "echo c > /proc/sysrq-trigger", RESET, "Kernel panic - not syncing: sysrq triggered crash"),
        (plain.to_vec(), "exit 3", RESET, "Kernel panic - not syncing: Attempted to kill init!"),
        (
            [plain, &["--memory", "160M"]].concat(),
            "tail /dev/zero; echo survived; poweroff -f",
            OFF,
            "Out of memory: Killed process",
        ),
        (by("console=ttyS0 reboot=t"), "reboot -f", TRIPLE_FAULT, "reboot: machine restart"),
        (by("console=ttyS0 acpi=off"), "reboot -f", RESET, "reboot: machine restart"),
        (by("console=ttyS0 nolapic noapic acpi=off"), "reboot -f", RESET, "reboot: machine restart"),
    ] {
        let Some(console) = boot_and_replay(&options, script, code) else { return };
        assert!(console.contains(text), "{text:?} is missing in:\n{console}");
    }
}

#[test]
fn the_operators_buttons() {
    let Some(linux) = kernel() else { return };
    let image = fs::read(linux.join("vmlinuz")).unwrap();
    let power = "insmod button.ko; insmod evdev.ko\n\
        for e in /dev/input/event*; do (head -c 24 $e > /dev/null; poweroff -f) & done; echo ready; wait";
    let keys = "echo 0 > /proc/sys/kernel/ctrl-alt-del; trap 'reboot -f' INT\n\
        echo ready; while :; do sleep 1; done";
    for (key, script, end) in [("\x01p", power, Power::Off { code: 0 }), ("\x01d", keys, Power::Reset)] {
        let initrd = initrd(&linux, script);
        let boot = Boot {
            name: "linux",
            image: &image,
            cmdline: "console=ttyS0",
            clock: ClockMode::Derived,
            cpu: CpuModel::V3,
            linux: Some(Linux { initrd: &initrd, ready: "\nready" }),
        };
        let recorded = record(&boot, key);
        assert_eq!(recorded.power, Some(end), "{}", String::from_utf8_lossy(&recorded.console));
        replay(&boot, &recorded, |_| Until::About(u64::MAX));
    }
}
