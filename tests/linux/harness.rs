//! A kernel, an initial RAM disk made for the test, and a run of `ftemu` that is recorded and replayed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use cpio::newc::Builder;
use tempfile::TempDir;

use crate::prepared;

const DIRECTORY: u32 = 0o040_755;
const PROGRAM: u32 = 0o100_755;

// Exit codes, as the README has them.
pub const OFF: i32 = 0;
pub const RESET: i32 = 119;
pub const TRIPLE_FAULT: i32 = 120;

/// What virtio devices need of Debian's kernels, in the order in which they need each other.
pub const VIRTIO: [&str; 5] = [
    "drivers/virtio/virtio_ring",
    "drivers/virtio/virtio",
    "drivers/virtio/virtio_pci_modern_dev",
    "drivers/virtio/virtio_pci_legacy_dev",
    "drivers/virtio/virtio_pci",
];

/// What the network card needs, likewise.
pub const NETWORK: [&str; 8] = {
    let [ring, virtio, modern, legacy, pci] = VIRTIO;
    [ring, virtio, modern, legacy, pci, "net/core/failover", "drivers/net/net_failover", "drivers/net/virtio_net"]
};

/// Where `vmlinuz`, `busybox` and `modules` are, if they are to be had.
pub fn linux() -> Option<PathBuf> {
    prepared::by("linux", &[]).map(PathBuf::from)
}

/// An initial RAM disk: busybox under its most needed names, modules of the kernel (paths without `.ko`), and `script` as init,
/// which finds the modules loaded and the usual file systems mounted.
pub fn initrd(linux: &Path, modules: &[&str], script: &str) -> Vec<u8> {
    let read = |module: &&str| fs::read(linux.join("modules/kernel").join(format!("{module}.ko"))).unwrap();
    let contents: Vec<Vec<u8>> = modules.iter().map(read).collect();
    let names: Vec<String> = (0..modules.len()).map(|n| format!("lib/{n}.ko")).collect();
    let load: String = names.iter().map(|name| format!("insmod /{name}\n")).collect();
    let mount = "mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev";
    let init = format!("#!/bin/busybox sh\n/bin/busybox --install -s /bin\n{mount}\n{load}{script}\n");
    let busybox = fs::read(linux.join("busybox")).unwrap();
    let directories = ["bin", "lib", "mnt", "dev", "proc", "sys"];
    let mut entries: Vec<(&str, u32, &[u8])> = directories.map(|name| (name, DIRECTORY, &b""[..])).to_vec();
    entries.extend([("bin/busybox", PROGRAM, &busybox[..]), ("init", PROGRAM, init.as_bytes())]);
    entries.extend(names.iter().zip(&contents).map(|(name, module)| (name.as_str(), PROGRAM, module.as_slice())));
    let inputs = entries.iter().map(|(name, mode, data)| (Builder::new(name).mode(*mode), std::io::Cursor::new(*data)));
    cpio::write_cpio(inputs, Vec::new()).unwrap()
}

pub fn ftemu(room: &TempDir, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ftemu"));
    command.args(arguments).current_dir(room.path()).stdin(Stdio::null()).output().unwrap()
}

/// A boot. Files are named relative to the room in which it happens.
#[derive(Clone, Copy)]
pub struct Boot<'a> {
    /// File name in the directory of `.ci/linux`.
    pub kernel: &'a str,
    pub modules: &'a [&'a str],
    pub script: &'a str,
    /// More arguments of `ftemu run` and of `ftemu replay`.
    pub run: &'a [&'a str],
    pub replay: &'a [&'a str],
    /// How it ends.
    pub code: i32,
}

impl<'a> Boot<'a> {
    /// By the derived clock, and `script` ends it by a reset.
    pub fn new(script: &'a str) -> Self {
        Self { kernel: "vmlinuz", modules: &[], script, run: &["--clock", "derived"], replay: &[], code: RESET }
    }

    /// Boots, recorded; checks how it ends, and that the replay says the same, byte for byte. Returns the console; `None` if
    /// there is no kernel.
    pub fn go(&self) -> Option<String> {
        let linux = linux()?;
        let room = tempfile::tempdir().unwrap();
        Some(self.go_in(&room, &linux))
    }

    /// The same in a room that may have files in it already.
    pub fn go_in(&self, room: &TempDir, linux: &Path) -> String {
        fs::write(room.path().join("initrd"), initrd(linux, self.modules, self.script)).unwrap();
        let kernel = linux.join(self.kernel);
        let arguments = [&["run", kernel.to_str().unwrap(), "--initrd", "initrd"][..], self.run].concat();
        recorded_and_replayed(room, &arguments, self.replay, self.code)
    }
}

/// Runs `ftemu` with these arguments, recorded; checks how it ends, and that the replay says the same. Returns the console.
pub fn recorded_and_replayed(room: &TempDir, run: &[&str], replay: &[&str], code: i32) -> String {
    let _ = fs::remove_file(room.path().join("log"));
    let (command, rest) = run.split_first().unwrap();
    let lived = ftemu(room, &[&[command, "--record", "log"], rest].concat());
    let said = String::from_utf8_lossy(&lived.stderr);
    assert_eq!(lived.status.code(), Some(code), "{said}\n{}", String::from_utf8_lossy(&lived.stdout));
    let replayed = ftemu(room, &[&["replay", "log"], replay].concat());
    assert_eq!(replayed.status.code(), Some(0), "{}", String::from_utf8_lossy(&replayed.stderr));
    assert!(replayed.stdout == lived.stdout, "the console differs in the replay");
    String::from_utf8_lossy(&lived.stdout).replace("\r\n", "\n")
}

/// A line that the console must have shown.
#[track_caller]
pub fn said(console: &str, line: &str) {
    assert!(console.contains(&format!("\n{line}\n")), "{line:?} is missing in:\n{console}");
}
