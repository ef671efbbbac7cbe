//! Nothing of the host leaks: what is recorded on this host replays on aarch64 with the same digests, and back.
//!
//! `.ci/aarch64` builds the other ftemu, which runs under QEMU; where that is not to be had, this test is skipped.

#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod prepared;

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// Guest, its command line, clock, what is typed.
type Run = (&'static str, &'static str, &'static str, &'static str);

/// Short ones: there, an emulator runs in an emulator. Guest programs print something different each time where they may.
const RUNS: [Run; 14] = [
    ("counter", "count=20 hz=100", "host", ""),
    ("counter", "count=20 hz=100", "derived", ""),
    ("clock", "ticks=10 hz=50", "host", ""),
    ("clock", "ticks=10 hz=50", "derived", ""),
    ("dice", "throws=50", "host", ""),
    ("faults", "", "host", ""),
    ("faults", "triple", "derived", ""),
    ("selfmod", "rounds=20", "host", ""),
    ("exact", "", "derived", ""),
    ("mixed", "n=1", "host", ""),
    ("sha256", "n=1", "derived", ""),
    ("sort", "n=1", "host", ""),
    ("copy", "n=1", "derived", ""),
    ("kv", "", "host", "SET a 1\nINCR a\nINCR a\nSET b 40\nSUM\nLIST\nDEL b\nCOUNT\nQUIT\n"),
];

/// A command that runs ftemu.
type Ftemu = Vec<String>;

/// ftemu for aarch64, if it is to be had.
fn aarch64() -> Option<Ftemu> {
    prepared::by("aarch64", &["build"]).map(|words| words.lines().map(str::to_owned).collect())
}

fn run(ftemu: &Ftemu, arguments: &[&str], log: &Path, typed: &str) -> Output {
    let mut command = Command::new(&ftemu[0]);
    command.args(&ftemu[1..]).args(arguments).arg(log);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let _ = stdin.write_all(typed.as_bytes()); // Guests that read nothing may be gone.
    drop(stdin);
    child.wait_with_output().unwrap()
}

/// Records with `here`; checks that `there` says, byte for byte, the same as `here` when it replays: console, count, digest.
fn compare((guest, append, clock, typed): Run, here: &Ftemu, there: &Ftemu) {
    let about = format!("{guest} {append} {clock}, recorded by {}", here[0]);
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log");
    let program = format!("guest:{guest}");
    let record = ["run", &program, "--memory", "32M", "--append", append, "--clock", clock, "--record"];
    let recorded = run(here, &record, &log, typed);
    let (own, other) = (run(here, &["replay"], &log, ""), run(there, &["replay"], &log, ""));
    for replayed in [&own, &other] {
        let said = String::from_utf8_lossy(&replayed.stderr);
        assert!(replayed.status.success() && said.contains("replayed to the end"), "{about}: {said}");
        assert_eq!(replayed.stdout, recorded.stdout, "{about}");
    }
    assert_eq!(String::from_utf8_lossy(&other.stderr), String::from_utf8_lossy(&own.stderr), "{about}");
}

#[test]
fn a_log_replays_on_another_architecture() {
    let here = vec![env!("CARGO_BIN_EXE_ftemu").to_owned()];
    let Some(there) = aarch64() else { return };
    for case in RUNS {
        compare(case, &here, &there);
        compare(case, &there, &here);
    }
}

/// Instructions of a boot that are replayed there.
const BOOT: &str = "200000000";

#[test]
fn the_boot_of_linux_replays_on_another_architecture() {
    let here = vec![env!("CARGO_BIN_EXE_ftemu").to_owned()];
    let Some(linux) = prepared::by("linux", &[]) else { return };
    let kernel = Path::new(&linux).join("vmlinuz");
    let Some(there) = aarch64() else { return };
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log");
    for clock in ["host", "derived"] {
        let _ = std::fs::remove_file(&log);
        // Without a root file system it ends by a panic, long behind what is replayed.
        let record = ["run", kernel.to_str().unwrap(), "--memory", "128M", "--clock", clock, "--record"];
        let recorded = run(&here, &record, &log, "");
        let said = String::from_utf8_lossy(&recorded.stdout);
        assert!(said.contains("Kernel panic - not syncing: VFS"), "{said}");
        let replay = ["replay", "--until", BOOT];
        let [own, other] = [&here, &there].map(|ftemu| run(ftemu, &replay, &log, ""));
        for replayed in [&own, &other] {
            let said = String::from_utf8_lossy(&replayed.stderr);
            assert!(replayed.status.success() && said.contains("replayed up to --until"), "{said}");
            assert!(replayed.stdout.len() > 5000 && recorded.stdout.starts_with(&replayed.stdout), "{said}");
        }
        // The digest of the whole machine is in what they say.
        assert_eq!(String::from_utf8_lossy(&other.stderr), String::from_utf8_lossy(&own.stderr), "{clock}");
        assert_eq!(other.stdout, own.stdout, "{clock}");
    }
}
