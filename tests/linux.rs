//! An unmodified Linux: boots, works, is recorded, and replays to the same bytes.
//!
//! `.ci/linux` has the kernel; where it is not to be had, these tests are skipped.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use cpio::newc::Builder;
use tempfile::TempDir;

const DIRECTORY: u32 = 0o040_755;
const PROGRAM: u32 = 0o100_755;
/// The guest restarts its CPU by a triple fault.
const TRIPLE_FAULT: Option<i32> = Some(120);

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

/// An initial RAM disk: busybox under its most needed names, and `script` as init.
fn initrd(linux: &Path, script: &str, to: &Path) {
    let init = format!("#!/bin/busybox sh\n/bin/busybox --install -s /bin\n{script}\n");
    let busybox = fs::read(linux.join("busybox")).unwrap();
    let entries: [(&str, u32, &[u8]); 6] = [
        ("bin", DIRECTORY, b""),
        ("dev", DIRECTORY, b""),
        ("proc", DIRECTORY, b""),
        ("sys", DIRECTORY, b""),
        ("bin/busybox", PROGRAM, &busybox),
        ("init", PROGRAM, init.as_bytes()),
    ];
    let inputs = entries.iter().map(|(name, mode, data)| (Builder::new(name).mode(*mode), std::io::Cursor::new(*data)));
    cpio::write_cpio(inputs, File::create(to).unwrap()).unwrap();
}

fn ftemu(room: &TempDir, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ftemu"));
    command.args(arguments).current_dir(room.path()).stdin(Stdio::null()).output().unwrap()
}

/// Boots with `script` as init, recorded; checks that the replay says the same, byte for byte. Returns the console.
fn boot_and_replay(clock: &str, script: &str) -> Option<String> {
    let linux = match linux() {
        Ok(linux) => linux,
        Err(why) => {
            eprintln!("{why}");
            return None;
        }
    };
    let room = tempfile::tempdir().unwrap();
    initrd(&linux, script, &room.path().join("initrd"));
    let kernel = linux.join("vmlinuz");
    let options = ["--append", "console=ttyS0 panic=-1 reboot=t", "--clock", clock, "--record", "log"];
    let lived = ftemu(&room, &[&["run", kernel.to_str().unwrap(), "--initrd", "initrd"], &options[..]].concat());
    assert_eq!(lived.status.code(), TRIPLE_FAULT, "{}", String::from_utf8_lossy(&lived.stdout));
    let replayed = ftemu(&room, &["replay", "log"]);
    assert!(replayed.stdout == lived.stdout, "the console differs in the replay");
    assert_eq!(replayed.status.code(), Some(0), "{}", String::from_utf8_lossy(&replayed.stderr));
    Some(String::from_utf8_lossy(&lived.stdout).replace("\r\n", "\n"))
}

#[test]
fn boots_to_a_shell_that_works() {
    let script = r#"
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev
echo "kernel $(uname -sm)"
seq 1 20000 | sha256sum
seq 1 20000 | gzip | gunzip | md5sum
i=0; while [ $i -lt 30 ]; do (exit 7) || i=$((i+1)); done; echo "forked $i"
awk 'BEGIN { printf "%.15f %.6e\n", 1 / 3, 1e20 / 7 }'
grep -c ttyS0 /proc/interrupts
reboot -f"#;
    let Some(console) = boot_and_replay("derived", script) else { return };
    let said = |line: &str| assert!(console.contains(&format!("\n{line}\n")), "{line:?} is missing in:\n{console}");
    said("kernel Linux x86_64");
    // As `seq 1 20000 | sha256sum` says everywhere.
    said("f6351f5ead9a700e34275480b3856ea738122a7c57bdeb744a631251c069587a  -");
    said("e071f707df7bbeee2a6a1eb48011ddd0  -");
    said("forked 30");
    said("0.333333333333333 1.428571e+19");
    said("1");
    assert!(!console.contains("WARNING:") && !console.contains("BUG:"), "{console}");
}

#[test]
fn boots_by_the_hosts_clock() {
    let Some(console) = boot_and_replay("host", "cat /proc/version 2>/dev/null; echo up; reboot -f") else { return };
    assert!(console.contains("\nup\n"), "{console}");
}
