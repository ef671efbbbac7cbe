//! `ftemu run --snapshot` and `--from`: a run goes on where another one was, in a process of its own.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test may panic")]

use std::path::Path;
use std::process::{Command, Output, Stdio};

fn ftemu(dir: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ftemu"));
    command.args(arguments).current_dir(dir).stdin(Stdio::null()).output().unwrap()
}

const COUNTER: [&str; 4] = ["run", "guest:counter", "--append", "count=9 hz=0"];
const ALL: &[u8] = b"1\r\n2\r\n3\r\n4\r\n5\r\n6\r\n7\r\n8\r\n9\r\ndone\r\n";

#[test]
fn a_run_goes_on_from_a_snapshot() {
    let room = tempfile::tempdir().unwrap();
    for (number, when) in ["console:4\r\n", "300", "0"].into_iter().enumerate() {
        let snapshot = &format!("{number}.snapshot");
        let first = ftemu(room.path(), &[&COUNTER[..], &["--snapshot", snapshot, "--snapshot-at", when]].concat());
        assert_eq!((first.status.code(), &first.stdout[..]), (Some(0), ALL), "{first:?}");
        let log = &format!("{number}.log");
        let rest = ftemu(room.path(), &["run", "--from", snapshot, "--record", log]);
        assert!(rest.status.success() && ALL.ends_with(&rest.stdout), "{rest:?}");
        if number == 0 {
            assert!(rest.stdout.len() < ALL.len(), "it began anew");
        }
        // What goes on from a snapshot can be recorded and replayed as any other run.
        let replayed = ftemu(room.path(), &["replay", log]);
        assert_eq!((replayed.status.code(), replayed.stdout), (Some(0), rest.stdout));
    }
}

#[test]
fn what_is_no_snapshot_is_refused_in_one_line() {
    let room = tempfile::tempdir().unwrap();
    let dir = room.path();
    std::fs::write(dir.join("text"), "#!/bin/sh\n").unwrap();
    assert!(ftemu(dir, &[&COUNTER[..], &["--record", "a.log"]].concat()).status.success());
    let taken = ftemu(dir, &[&COUNTER[..], &["--snapshot", "good", "--snapshot-at", "300"]].concat());
    assert!(taken.status.success(), "{taken:?}");
    let good = std::fs::read(dir.join("good")).unwrap();
    std::fs::write(dir.join("cut"), &good[..good.len() / 2]).unwrap();
    for (arguments, code, part) in [
        (&["run", "--from", "nothing"][..], 1, "nothing"),
        (&["run", "--from", "text"], 1, "text"),
        (&["run", "--from", "cut"], 1, "cut"),
        (&["run", "--from", "a.log"], 1, "replay --live"),
        (&["run", "--from", "good", "guest:kv"], 2, "cannot be used with"),
        (&["run", "guest:kv", "--snapshot", "good", "--snapshot-at", "1"], 1, "good"),
        (&["run", "guest:kv", "--snapshot", "x"], 2, "--snapshot-at"),
        (&["run", "guest:kv", "--snapshot", "x", "--snapshot-at", "soon"], 2, "console:TEXT"),
    ] {
        let output = ftemu(dir, arguments);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {stderr}");
        assert!(stderr.lines().count() == 1 && stderr.contains(part), "{arguments:?}: {stderr}");
    }
}

#[test]
fn a_run_that_ends_too_early_says_so() {
    let room = tempfile::tempdir().unwrap();
    let output = ftemu(room.path(), &[&COUNTER[..], &["--snapshot", "x", "--snapshot-at", "9G"]].concat());
    assert!(output.status.success() && !room.path().join("x").exists());
    assert!(String::from_utf8(output.stderr).unwrap().contains("there is no x"));
}
