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

/// An initial RAM disk: busybox under its most needed names, modules of the kernel (paths without `.ko`) in `/lib`, and `script`
/// as init, which finds the modules loaded.
fn initrd(linux: &Path, modules: &[&str], script: &str, to: &Path) {
    let read = |module: &&str| fs::read(linux.join("modules/kernel").join(format!("{module}.ko"))).unwrap();
    let contents: Vec<Vec<u8>> = modules.iter().map(read).collect();
    let names: Vec<String> = (0..modules.len()).map(|n| format!("lib/{n}.ko")).collect();
    let load: String = names.iter().map(|name| format!("insmod /{name}\n")).collect();
    let init = format!("#!/bin/busybox sh\n/bin/busybox --install -s /bin\n{load}{script}\n");
    let busybox = fs::read(linux.join("busybox")).unwrap();
    let mut entries: Vec<(&str, u32, &[u8])> = vec![
        ("bin", DIRECTORY, b""),
        ("lib", DIRECTORY, b""),
        ("mnt", DIRECTORY, b""),
        ("dev", DIRECTORY, b""),
        ("proc", DIRECTORY, b""),
        ("sys", DIRECTORY, b""),
        ("bin/busybox", PROGRAM, &busybox),
        ("init", PROGRAM, init.as_bytes()),
    ];
    entries.extend(names.iter().zip(&contents).map(|(name, module)| (name.as_str(), PROGRAM, module.as_slice())));
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
    Some(boot_in(&room, &linux, clock, &[], script, &[], &[]))
}

/// The same in `room`, with `modules`, and more arguments for the run and for the replay.
fn boot_in(
    room: &TempDir,
    linux: &Path,
    clock: &str,
    modules: &[&str],
    script: &str,
    run: &[&str],
    replay: &[&str],
) -> String {
    initrd(linux, modules, script, &room.path().join("initrd"));
    let kernel = linux.join("vmlinuz");
    let options = ["--append", "console=ttyS0 panic=-1 reboot=t", "--clock", clock, "--record", "log"];
    let lived = ftemu(room, &[&["run", kernel.to_str().unwrap(), "--initrd", "initrd"], &options[..], run].concat());
    assert_eq!(lived.status.code(), TRIPLE_FAULT, "{}", String::from_utf8_lossy(&lived.stdout));
    let replayed = ftemu(room, &[&["replay", "log"], replay].concat());
    assert!(replayed.stdout == lived.stdout, "the console differs in the replay");
    assert_eq!(replayed.status.code(), Some(0), "{}", String::from_utf8_lossy(&replayed.stderr));
    String::from_utf8_lossy(&lived.stdout).replace("\r\n", "\n")
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

/// What virtio disks need of the kernel, in the order in which they need each other.
const DISK_MODULES: [&str; 6] = [
    "drivers/virtio/virtio_ring",
    "drivers/virtio/virtio",
    "drivers/virtio/virtio_pci_modern_dev",
    "drivers/virtio/virtio_pci_legacy_dev",
    "drivers/virtio/virtio_pci",
    "drivers/block/virtio_blk",
];

/// Runs a program of e2fsprogs; `None` if it is not there.
fn e2fs(room: &TempDir, arguments: &[&str]) -> Option<Output> {
    let path = format!("{}:/sbin:/usr/sbin", std::env::var("PATH").unwrap_or_default());
    let mut command = Command::new(arguments[0]);
    match command.args(&arguments[1..]).env("PATH", path).current_dir(room.path()).output() {
        Ok(output) => Some(output),
        Err(_) => {
            eprintln!("SKIPPED: no {} here (package e2fsprogs)", arguments[0]);
            None
        }
    }
}

#[test]
fn a_file_system_on_a_disk_that_follows_is_whole() {
    let linux = match linux() {
        Ok(linux) => linux,
        Err(why) => return eprintln!("{why}"),
    };
    let room = tempfile::tempdir().unwrap();
    fs::create_dir(room.path().join("root")).unwrap();
    fs::write(room.path().join("root/greeting"), "hello from the image\n").unwrap();
    let Some(made) = e2fs(&room, &["mke2fs", "-q", "-F", "-t", "ext4", "-d", "root", "disk.img", "32M"]) else {
        return;
    };
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    fs::copy(room.path().join("disk.img"), room.path().join("original.img")).unwrap();
    let script = r"
mount -t devtmpfs dev /dev
mount -t ext4 /dev/vda /mnt && cat /mnt/greeting
seq 1 20000 > /mnt/numbers; mkdir /mnt/many
for i in 1 2 3 4 5; do cp /mnt/numbers /mnt/many/$i; done; rm /mnt/many/3
sync; mount -o remount,ro /mnt && echo fixed
umount /mnt; mount -t ext4 -o ro /dev/vda /mnt
md5sum /mnt/many/5
umount /mnt; reboot -f";
    let run = ["--disk", "disk.img,mode=rw"];
    let console = boot_in(&room, &linux, "derived", &DISK_MODULES, script, &run, &["--disk", "original.img"]);
    for line in ["hello from the image", "fixed", "e071f707df7bbeee2a6a1eb48011ddd0  /mnt/many/5"] {
        assert!(console.contains(&format!("{line}\n")), "{line:?} is missing in:\n{console}");
    }
    let Some(checked) = e2fs(&room, &["e2fsck", "-f", "-n", "disk.img"]) else { return };
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stdout));
    let Some(read) = e2fs(&room, &["debugfs", "-R", "cat /many/4", "disk.img"]) else { return };
    let numbers: String = (1..=20_000).map(|n| format!("{n}\n")).collect();
    assert!(read.stdout == numbers.as_bytes(), "what the guest wrote is in the file");
}
