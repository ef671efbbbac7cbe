//! What bad input gets: an exit code that is not zero and exactly one clear line, never a panic.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test may panic")]

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

fn ftemu(dir: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ftemu"));
    command.args(arguments).current_dir(dir).stdin(Stdio::null()).output().unwrap()
}

/// Runs it; it must fail with `code` and one line that contains `part`.
fn refused(dir: &Path, arguments: &[&str], code: i32, part: &str) {
    let output = ftemu(dir, arguments);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {stderr}");
    assert_eq!(stderr.lines().count(), 1, "{arguments:?}: {stderr}");
    assert!(stderr.starts_with("ftemu: ") && !stderr.contains("panicked"), "{arguments:?}: {stderr}");
    assert!(stderr.contains(part), "{arguments:?}: {stderr}");
}

fn room() -> TempDir {
    tempfile::tempdir().unwrap()
}

/// A finished log of a short run.
fn recorded(dir: &Path) -> PathBuf {
    let output = ftemu(dir, &["run", "guest:counter", "--append", "count=5 hz=0", "--record", "a.log"]);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(output.stdout, b"1\r\n2\r\n3\r\n4\r\n5\r\ndone\r\n");
    dir.join("a.log")
}

#[test]
fn command_lines_that_make_no_sense() {
    let room = room();
    for (arguments, part) in [
        (&[][..], "command is missing"),
        (&["fly"], "unrecognized subcommand 'fly'"),
        (&["run"], "<PROGRAM>"),
        (&["run", "--backup", "guest:kv"], "cannot be used with"),
        (&["run", "--backup", "--memory", "1M"], "cannot be used with"),
        (&["run", "--backup", "--record", "x"], "cannot be used with"),
        (&["run", "--backup", "--initrd", "x"], "cannot be used with"),
        (&["run", "--initrd", "x"], "<PROGRAM>"),
        (&["run", "guest:kv", "argument"], "--kernel"),
        (&["run", "--kernel", "x"], "<PROGRAM>"),
        (&["run", "--kernel", "x", "--initrd", "y", "z"], "cannot be used with"),
        (&["run", "x", "--boot", "bios"], "invalid value 'bios'"),
        (&["run", "--primary", "--backup", "guest:kv"], "cannot be used with"),
        (&["run", "guest:kv", "--primary", "--record", "x"], "cannot be used with"),
        (&["run", "guest:kv", "--name", "x"], "--primary"),
        (&["run", "guest:kv", "--unsafe-no-output-rule"], "--primary"),
        (&["run", "guest:kv", "--memory", "64X"], "a size looks like 64M"),
        (&["run", "guest:kv", "--clock", "sundial"], "sundial"),
        (&["run", "--backup", "--timeout-ms", "1"], "milliseconds"),
        (&["replay"], "<LOG>"),
        (&["replay", "x", "--until", "soon"], "soon"),
        (&["replay", "x", "--record", "y"], "--live"),
        (&["log"], "command is missing"),
        (&["log", "dump"], "<LOG>"),
    ] {
        refused(room.path(), arguments, 2, part);
    }
}

#[test]
fn programs_that_cannot_run() {
    let room = room();
    let dir = room.path();
    let kv = testprogs::find("kv").unwrap().image;
    let mut elf32 = kv.to_vec();
    elf32[4] = 1;
    let mut user = kv.to_vec();
    user[16] = 3; // ET_DYN: position-independent, as Linux programs are.
    fs::write(dir.join("cut.elf"), &kv[..kv.len() / 2]).unwrap();
    fs::write(dir.join("elf32.elf"), elf32).unwrap();
    fs::write(dir.join("user.elf"), user).unwrap();
    fs::write(dir.join("text.elf"), "#!/bin/sh\n").unwrap();
    fs::write(dir.join("empty.elf"), "").unwrap();
    for (program, part) in [
        ("none.elf", "cannot read none.elf"),
        (".", "not a file"),
        ("cut.elf", "cannot run cut.elf"),
        ("elf32.elf", "32-bit"),
        ("user.elf", "`ftemu wrap`"),
        ("text.elf", "cannot run text.elf"),
        ("empty.elf", "cannot run empty.elf"),
        ("guest:none", "`ftemu guests` lists them"),
    ] {
        refused(dir, &["run", program], 1, part);
        refused(dir, &["run", program, "--primary", "--shared", "s"], 1, part);
    }
}

/// A kernel that says where everything is, and has nothing there.
fn bzimage(payload: &[u8]) -> Vec<u8> {
    let mut image = vec![0; 1024];
    let mut put = |at: usize, bytes: &[u8]| image[at..at + bytes.len()].copy_from_slice(bytes);
    let paragraphs = u32::try_from(payload.len().div_ceil(16)).unwrap();
    put(0x1f1, &[1]);
    put(0x1f4, &paragraphs.to_le_bytes());
    put(0x201, b"\x6aHdrS\x0f\x02");
    put(0x211, &[1]);
    put(0x236, &[3]);
    put(0x238, &2047u32.to_le_bytes());
    put(0x24c, &u32::try_from(payload.len()).unwrap().to_le_bytes());
    put(0x258, &(16u64 << 20).to_le_bytes());
    put(0x260, &(1u32 << 20).to_le_bytes());
    [&image, payload].concat()
}

#[test]
fn kernels_that_cannot_be_booted() {
    let room = room();
    let dir = room.path();
    let put = |name: &str, bytes: &[u8]| fs::write(dir.join(name), bytes).unwrap();
    let fine = bzimage(b"BZh91AY&SY.............");
    let mut zimage = fine.clone();
    zimage[0x211] = 0;
    let mut old = fine.clone();
    old[0x206] = 3;
    let mut arm = vec![0; 0x300];
    arm[0x38..0x3c].copy_from_slice(b"ARM\x64");
    let mut riscv = testprogs::find("kv").unwrap().image.to_vec();
    riscv[18] = 243;
    put("fine", &fine);
    put("zimage", &zimage);
    put("old", &old);
    put("cut", &fine[..1030]);
    put("arm", &arm);
    put("riscv", &riscv);
    put("xz", &bzimage(b"\xfd7zXZ\0 and so on, of no use....\x08\0\0\0"));
    put("size", &bzimage(b"\x28\xb5\x2f\xfd\0\0\0\x7f"));
    put("unknown", &bzimage(b"compressed in 2031"));
    put("multiboot", testprogs::MULTIBOOT);
    put("multiboot-cut", &testprogs::MULTIBOOT[..4500]);
    put("script", b"#!/bin/sh\n");
    put("empty", b"");
    for (arguments, part) in [
        (&["zimage"][..], "cannot run zimage: a zImage (loadflags at offset 0x211)"),
        (&["old", "--boot", "linux"], "cannot run old: boot protocol 2.03 at offset 0x206"),
        (
            &["cut"],
            "cannot run cut: the kernel is cut: its header at offset 0x1f1 promises 1056 bytes, the file has 1030",
        ),
        (&["arm"], "cannot run arm: the file is a Linux kernel for 64-bit ARM"),
        (&["riscv"], "cannot run riscv: an ELF for RISC-V (e_machine 243, byte 18)"),
        (&["xz"], "cannot run xz: its xz payload is damaged before offset 0x4"),
        (&["size"], "cannot run size: its payload is to unpack to 2130706432 bytes (offset 0x404), not to 1048576"),
        (&["fine", "--boot", "pvh"], "cannot run fine: its payload at offset 0x400 is compressed by bzip2"),
        (&["unknown", "--boot", "pvh"], "cannot run unknown: its payload at offset 0x400 is of unknown compression"),
        (&["fine", "--boot", "multiboot"], "cannot run fine: no Multiboot header in the first 8192 bytes"),
        (&["fine", "--initrd", "none"], "cannot read none"),
        (&["fine", "--initrd", "script"], "script: not an initial RAM disk: the file is a script (byte 0)"),
        (&["fine", "--initrd", "empty"], "empty: not an initial RAM disk: the file is empty"),
        (&["fine", "--module", "script"], "--module is for a Multiboot kernel, which fine is not"),
        (&["fine", "--memory", "8M"], "cannot run fine: kernel and initial RAM disk need 17 MiB"),
        (&["guest:kv", "--initrd", "script"], "--initrd is for a Linux kernel, which guest:kv is not"),
        (&["multiboot", "--initrd", "script"], "--initrd is for a Linux kernel: multiboot takes --module"),
        (&["multiboot", "--module", "none of these"], "cannot read none"),
        (&["multiboot", "--boot", "pvh"], "cannot run multiboot: it has no PVH entry"),
        (&["multiboot-cut"], "cannot run multiboot-cut: truncated ELF"),
        (&["script", "--kernel", "fine"], "cannot run script: not a 64-bit ELF"),
        (&["none", "--kernel", "fine"], "cannot read none"),
        (&["script", "--kernel", "none"], "cannot read none"),
        (&["script", "--kernel", "script"], "--kernel is to be a Linux kernel (bzImage, vmlinux), which script is not"),
    ] {
        refused(dir, &[&["run"], arguments].concat(), 1, part);
    }
}

#[test]
fn a_multiboot_kernel_gets_its_modules_and_exits_by_the_debug_port() {
    let room = room();
    fs::write(room.path().join("kernel"), testprogs::MULTIBOOT).unwrap();
    fs::write(room.path().join("a"), "12").unwrap();
    let output = ftemu(
        room.path(),
        &["run", "kernel", "--append", "one two", "--module", "a first", "--module", "kernel", "--record", "log"],
    );
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(testprogs::MULTIBOOT_EXIT_CODE.into()), "{text}");
    assert!(
        text.contains("command line one two\n") && text.contains("module a first: 2 bytes, checksum 621\n"),
        "{text}"
    );
    assert!(text.contains("module kernel: "), "{text}");
    assert_eq!(String::from_utf8_lossy(&ftemu(room.path(), &["replay", "log"]).stdout), text);
}

#[test]
fn programs_that_cannot_be_wrapped() {
    let room = room();
    let dir = room.path();
    fs::write(dir.join("text"), "#!/bin/sh\n").unwrap();
    fs::write(dir.join("fine"), testprogs::find("kv").unwrap().image).unwrap();
    refused(dir, &["wrap", "none", "a.elf"], 1, "cannot read none");
    refused(dir, &["wrap", "text", "a.elf"], 1, "cannot wrap text: not a 64-bit ELF");
    refused(dir, &["wrap", "fine", "no/a.elf"], 1, "cannot write no/a.elf");
    refused(dir, &["wrap", "fine"], 2, "<GUEST.elf>");
}

#[test]
fn a_guest_without_its_program_says_so() {
    let room = room();
    fs::write(room.path().join("kernel.elf"), testprogs::userland::KERNEL).unwrap();
    let output = ftemu(room.path(), &["run", "kernel.elf"]);
    assert_eq!(output.status.code(), Some(126));
    assert!(String::from_utf8_lossy(&output.stdout).contains("`ftemu wrap PROGRAM"), "{output:?}");
}

#[test]
fn memory_that_nobody_has() {
    let room = room();
    refused(room.path(), &["run", "guest:kv", "--memory", "100000G"], 1, "memory");
    refused(room.path(), &["run", "guest:kv", "--memory", "12K"], 1, "guest memory of 12288 bytes");
    refused(room.path(), &["run", "guest:kv", "--memory", "99999999999G"], 2, "more than any host has");
}

#[test]
fn a_log_with_a_flipped_bit_is_refused_and_a_cut_one_is_replayed_as_far_as_it_goes() {
    let room = room();
    let whole = fs::read(recorded(room.path())).unwrap();
    let damaged = room.path().join("b.log");
    for at in (0..whole.len()).step_by(whole.len() / 40) {
        let mut bytes = whole.clone();
        bytes[at] ^= 1 << (at % 8);
        fs::write(&damaged, bytes).unwrap();
        refused(room.path(), &["replay", "b.log"], 1, if at < 8 { "not a log" } else { "b.log: the log" });
    }
    for at in (0..whole.len()).step_by(whole.len() / 40) {
        fs::write(&damaged, &whole[..at]).unwrap();
        let output = ftemu(room.path(), &["replay", "b.log"]);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
        match output.status.code() {
            Some(0) => assert!(stderr.contains("breaks off (offset"), "{stderr}"),
            Some(1) => assert!(stderr.contains("before the machine") || stderr.contains("not a log"), "{stderr}"),
            code => panic!("{code:?}: {stderr}"),
        }
    }
}

#[test]
fn logs_that_are_none_or_exist_already() {
    let room = room();
    recorded(room.path());
    for command in [&["replay"][..], &["log", "dump"], &["log", "stat"]] {
        refused(room.path(), &[command, &["none.log"]].concat(), 1, "cannot read none.log");
        refused(room.path(), &[command, &["."]].concat(), 1, "cannot read .");
    }
    refused(room.path(), &["run", "guest:kv", "--record", "a.log"], 1, "cannot create a.log");
    refused(room.path(), &["run", "guest:kv", "--record", "no/a.log"], 1, "cannot create no/a.log");
}

#[test]
fn a_log_is_replayed_looked_into_and_carried_on() {
    let room = room();
    recorded(room.path());
    let replay = ftemu(room.path(), &["replay", "a.log"]);
    assert_eq!(String::from_utf8_lossy(&replay.stdout), "1\r\n2\r\n3\r\n4\r\n5\r\ndone\r\n");
    assert!(String::from_utf8_lossy(&replay.stderr).contains("replayed to the end"), "{replay:?}");
    let dump = ftemu(room.path(), &["log", "dump", "a.log"]);
    let dump = String::from_utf8(dump.stdout).unwrap();
    assert!(dump.starts_with("1 ") && dump.contains("output 1: console '1'"), "{dump}");
    let stat = ftemu(room.path(), &["log", "stat", "a.log"]);
    assert!(String::from_utf8_lossy(&stat.stdout).contains("bytes per million instructions"), "{stat:?}");
    // From the middle it goes on live, and says the rest all the same.
    let middle: u64 = dump.lines().nth(4).unwrap().split([' ', '+']).nth(1).unwrap().parse().unwrap();
    let live = ftemu(room.path(), &["replay", "a.log", "--until", &middle.to_string(), "--live", "--record", "c.log"]);
    assert_eq!(live.stdout, replay.stdout, "{live:?}");
    let again = ftemu(room.path(), &["replay", "c.log"]);
    assert!(again.status.success() && replay.stdout.ends_with(&again.stdout), "{again:?}");
}

#[test]
fn exit_codes_tell_how_a_guest_ended() {
    let room = room();
    let code = |append: &str| ftemu(room.path(), &["run", "guest:faults", "--append", append]).status.code();
    assert_eq!((code(""), code("triple"), code("dead")), (Some(0), Some(120), Some(121)));
}

#[test]
fn addresses_and_directories_that_cannot_be_used() {
    let room = room();
    let dir = room.path();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    fs::write(dir.join("file"), "").unwrap();
    for role in [&["guest:kv", "--primary"][..], &["--backup"]] {
        let run = |more: &[&'static str]| [&["run"], role, more].concat();
        refused(dir, &[&run(&["--shared", "s", "--listen"])[..], &[&address]].concat(), 1, "cannot listen on");
        refused(dir, &run(&["--shared", "s", "--listen", "nowhere"]), 1, "cannot listen on nowhere");
        refused(dir, &run(&["--shared", "file"]), 1, "cannot create the shared directory");
        refused(dir, &run(&["--shared", "s", "--name", "../x"]), 1, "cannot be the name of a run");
    }
    refused(dir, &["attach", "--shared", "file"], 1, "cannot create the shared directory");
    refused(dir, &["status", "--shared", "file"], 1, "cannot create the shared directory");
}

#[test]
fn a_reader_that_goes_away_is_no_error_of_ours() {
    let room = room();
    for arguments in [&["run", "guest:dice", "--append", "throws=1000000"][..], &["guests"], &["--help"]] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ftemu"));
        let mut child = command
            .args(arguments)
            .current_dir(room.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{arguments:?}");
        assert!(output.status.code().is_some(), "{arguments:?}: {output:?}");
    }
}

/// What a log explains is shown, and nothing else.
#[test]
#[cfg(unix)]
fn a_log_that_cannot_grow_ends_the_run() {
    let room = room();
    let limited = r#"trap '' XFSZ; ulimit -f 400; exec "$0" run guest:dice --append throws=1000000 --record a.log"#;
    let mut shell = Command::new("sh");
    let output = shell.args(["-c", limited, env!("CARGO_BIN_EXE_ftemu")]).current_dir(room.path()).output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(1) && stderr.starts_with("ftemu: cannot write a.log at offset"), "{stderr}");
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    let replayed = ftemu(room.path(), &["replay", "a.log"]);
    assert!(String::from_utf8_lossy(&replayed.stderr).contains("the log breaks off"), "{replayed:?}");
    assert!(!output.stdout.is_empty() && replayed.stdout == output.stdout, "what was shown is not what was recorded");
}
