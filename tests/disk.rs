//! Disks as a user has them: files, what becomes of them, and what is said of those that will not do.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

use std::fs;
use std::io::BufReader;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use emu::{Image, Images, Input, Until};
use replay::log::{LogItem, LogReader};
use replay::{Event, Replayer, Snapshot};
use tempfile::TempDir;

/// A room with `a.img`, which is of no whole number of blocks.
fn room() -> TempDir {
    let room = tempfile::tempdir().unwrap();
    let image: Vec<u8> = (0..(1 << 20) + 512_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    fs::write(room.path().join("a.img"), image).unwrap();
    room
}

fn command(room: &TempDir, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ftemu"));
    command.args(arguments).current_dir(room.path()).stdin(Stdio::null());
    command
}

fn ftemu(room: &TempDir, arguments: &[&str]) -> Output {
    command(room, arguments).output().unwrap()
}

/// Runs the guest `disk` with these options; it must be content. Returns what it said.
fn guest(room: &TempDir, append: &str, options: &[&str]) -> (String, String) {
    let output = ftemu(room, &[&["run", "guest:disk", "--append", append], options].concat());
    let said = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert_eq!(output.status.code(), Some(0), "{said:?}");
    said
}

/// The word behind `name` in what the guest said.
fn said(console: &str, name: &str) -> String {
    let line = console.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("{name}: {console}"));
    line.trim().to_owned()
}

/// `content` as a qcow2 image of version 2: clusters of 64 KiB, those of zeros left out.
fn qcow2(content: &[u8], backed: bool) -> Vec<u8> {
    const CLUSTER: usize = 1 << 16;
    const COPIED: u64 = 1 << 63;
    let put = |image: &mut Vec<u8>, at: usize, bytes: &[u8]| image[at..at + bytes.len()].copy_from_slice(bytes);
    // Header, L1 table, L2 table, table of reference counts, reference counts, data.
    let mut image = vec![0; 5 * CLUSTER];
    put(&mut image, 0, b"QFI\xfb\0\0\0\x02");
    if backed {
        put(&mut image, 8, &[0, 0, 0, 0, 0, 0, 0, 80, 0, 0, 0, 4]);
        put(&mut image, 80, b"base");
    }
    put(&mut image, 20, &16_u32.to_be_bytes());
    put(&mut image, 24, &(content.len() as u64).to_be_bytes());
    put(&mut image, 36, &1_u32.to_be_bytes());
    put(&mut image, 40, &(CLUSTER as u64).to_be_bytes());
    put(&mut image, 48, &(3 * CLUSTER as u64).to_be_bytes());
    put(&mut image, 56, &1_u32.to_be_bytes());
    put(&mut image, CLUSTER, &(2 * CLUSTER as u64 | COPIED).to_be_bytes());
    put(&mut image, 3 * CLUSTER, &(4 * CLUSTER as u64).to_be_bytes());
    for (n, data) in content.chunks(CLUSTER).enumerate() {
        if data.iter().any(|&byte| byte != 0) {
            let at = image.len();
            put(&mut image, 2 * CLUSTER + 8 * n, &(at as u64 | COPIED).to_be_bytes());
            image.extend(data);
            image.resize(at + CLUSTER, 0);
        }
    }
    for n in 0..image.len() / CLUSTER {
        put(&mut image, 4 * CLUSTER + 2 * n, &[0, 1]);
    }
    image
}

#[test]
fn a_qcow2_image_is_what_is_in_it() {
    let room = room();
    let path = room.path().join("a.img");
    let mut image = fs::read(&path).unwrap();
    image[0x2_0000..0x6_0000].fill(0);
    fs::write(&path, &image).unwrap();
    fs::write(room.path().join("a.qcow2"), qcow2(&image, false)).unwrap();
    let (raw, _) = guest(&room, "ops=60", &["--disk", "a.img"]);
    let (console, _) = guest(&room, "ops=60", &["--disk", "a.qcow2", "--record", "log"]);
    assert_eq!(console, raw);
    for disk in ["a.qcow2", "a.img"] {
        let output = ftemu(&room, &["replay", "log", "--disk", disk]);
        assert_eq!(output.status.code(), Some(0), "{disk}: {}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(String::from_utf8(output.stdout).unwrap(), raw, "{disk}: the content counts, not its format");
    }
}

/// One line on stderr that has all of `parts`, and nothing else happens.
fn refused(room: &TempDir, arguments: &[&str], parts: &[&str]) {
    let output = ftemu(room, arguments);
    let line = String::from_utf8(output.stderr).unwrap();
    assert!(matches!(output.status.code(), Some(1 | 2)), "{arguments:?}: {:?} {line}", output.status);
    assert!(line.lines().count() == 1 && parts.iter().all(|part| line.contains(part)), "{arguments:?}: {line}");
    assert!(output.stdout.is_empty(), "{arguments:?}");
}

#[test]
fn what_will_not_do_is_named() {
    let room = room();
    let write = |name: &str, bytes: &[u8]| fs::write(room.path().join(name), bytes).unwrap();
    write("empty", b"");
    write("odd", &[0; 1000]);
    write("image.vmdk", &[&b"KDMV"[..], &[0; 508]].concat());
    write("broken.qcow2", &[&b"QFI\xfb"[..], &[0; 508]].concat());
    write("needy.qcow2", &qcow2(&[7; 4096], true));
    write("good.qcow2", &qcow2(&[7; 4096], false));
    write("image.gz", &[&b"\x1f\x8b\x08"[..], &[0; 509]].concat());
    write("fixed", &[0; 512]);
    let mut permissions = fs::metadata(room.path().join("fixed")).unwrap().permissions();
    permissions.set_readonly(true);
    fs::set_permissions(room.path().join("fixed"), permissions).unwrap();
    fs::create_dir(room.path().join("folder")).unwrap();
    for (disk, part) in [
        ("nowhere", "nowhere"),
        ("empty", "empty"),
        ("odd", "1000 bytes are no multiple of 512"),
        ("folder", "not a file"),
        ("image.vmdk", "qemu-img convert"),
        ("broken.qcow2", "qcow2"),
        ("needy.qcow2", "another image"),
        ("good.qcow2,mode=rw", "only a raw image can follow"),
        ("image.gz", "compressed"),
        ("fixed,mode=rw", "read-only"),
        ("a.img,mode=rx", "mode=ro, mode=cow and mode=rw"),
        ("a.img,size=1", "size=1"),
        (",mode=ro", "missing"),
    ] {
        refused(&room, &["run", "guest:disk", "--disk", disk], &[part, disk.split(',').next().unwrap()]);
    }
    let twice = ["run", "guest:disk", "--disk", "a.img", "--disk", "./a.img,mode=rw"];
    refused(&room, &twice, &["a.img", "two disks"]);
    let five = [&["run", "guest:disk"][..], &["--disk", "a.img"].repeat(5)].concat();
    refused(&room, &five, &["at most 4"]);
    refused(&room, &["run", "guest:disk", "--primary", "--disk", "a.img,mode=rw"], &["a.img", "--primary"]);
    refused(&room, &["run", "--backup", "--disk", "a.img,mode=ro"], &["a.img", "mode"]);
}

#[test]
fn four_disks_are_four() {
    let room = room();
    let second = fs::read(room.path().join("a.img")).unwrap()[..4096].to_vec();
    fs::write(room.path().join("b,c.img"), second).unwrap();
    let disks = ["--disk", "a.img", "--disk", "a.img,mode=ro", "--disk", "b,,c.img,mode=cow", "--disk", "a.img"];
    let (console, _) = guest(&room, "disk=2 ops=20", &disks);
    assert!(console.contains("disk 2: 8 sectors, read and write"), "{console}");
    let (console, _) = guest(&room, "disk=1 ops=20", &disks);
    assert!(console.contains("disk 1: 2049 sectors, read only"), "{console}");
}

#[test]
fn an_overlay_ends_with_the_run_and_says_so() {
    let room = room();
    let before = fs::read(room.path().join("a.img")).unwrap();
    let (console, words) = guest(&room, "ops=60", &["--disk", "a.img"]);
    assert!(words.contains("mode=rw keeps them"), "{words}");
    let (_, words) = guest(&room, "ops=60", &["--disk", "a.img,mode=cow"]);
    assert_eq!(words, "", "who asked for it knows");
    assert!(fs::read(room.path().join("a.img")).unwrap() == before);
    assert_ne!(said(&console, "found"), said(&console, "left"));
}

#[test]
fn a_file_that_follows_has_what_the_guest_has_left() {
    let room = room();
    fs::copy(room.path().join("a.img"), room.path().join("original.img")).unwrap();
    let (first, _) = guest(&room, "ops=60", &["--disk", "a.img,mode=rw", "--record", "log"]);
    let (second, _) = guest(&room, "ops=60 seed=2", &["--disk", "a.img,mode=rw"]);
    assert_eq!(said(&first, "left"), said(&second, "found"));
    refused(&room, &["replay", "log"], &["a.img", "digest", "mode=rw", "--disk"]);
    let replayed = ftemu(&room, &["replay", "log", "--disk", "original.img"]);
    assert_eq!(String::from_utf8(replayed.stdout).unwrap(), first);
    assert_eq!(replayed.status.code(), Some(0));
}

#[test]
fn a_recorded_machine_finds_its_images_and_knows_them() {
    let room = room();
    let (console, _) = guest(&room, "ops=60", &["--disk", "a.img", "--record", "log"]);
    let replay = |log: &str, options: &[&str]| {
        let output = ftemu(&room, &[&["replay", log], options].concat());
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(String::from_utf8(output.stdout).unwrap(), console);
    };
    replay("log", &[]);
    // Both moved elsewhere together.
    fs::create_dir(room.path().join("moved")).unwrap();
    let rename = |from: &str, to: &str| fs::rename(room.path().join(from), room.path().join(to)).unwrap();
    rename("a.img", "moved/a.img");
    rename("log", "moved/log");
    replay("moved/log", &[]);
    // The image alone.
    rename("moved/a.img", "moved/b.img");
    refused(&room, &["replay", "moved/log"], &["a.img", "disk 0", "--disk"]);
    replay("moved/log", &["--disk", "moved/b.img"]);
    fs::write(room.path().join("small.img"), [0; 512]).unwrap();
    refused(&room, &["replay", "moved/log", "--disk", "small.img"], &["small.img", "512 bytes", "1049088 bytes"]);
    replay("moved/log", &["--disk", "small.img", "--disk", "moved/b.img"]);
    let mut changed = fs::read(room.path().join("moved/b.img")).unwrap();
    changed[77] ^= 1;
    fs::write(room.path().join("moved/a.img"), changed).unwrap();
    refused(&room, &["replay", "moved/log"], &["a.img", "digest", "original"]);
}

#[test]
fn a_snapshot_takes_what_was_written_with_it() {
    let room = room();
    let snapshot = ["--snapshot", "saved", "--snapshot-at", "console:40 done"];
    let (console, _) = guest(&room, "ops=60 every=20", &[&["--disk", "a.img,mode=cow"], &snapshot[..]].concat());
    let output = ftemu(&room, &["run", "--from", "saved"]);
    let rest = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(console.ends_with(&rest) && rest.contains("left") && !rest.contains("found"), "{rest}");
}

/// Starts a guest that writes for a long time.
fn writer(room: &TempDir, options: &[&str]) -> Child {
    let arguments = ["run", "guest:disk", "--append", "ops=1000000 every=20", "--disk", "a.img,mode=rw"];
    let mut command = command(room, &[&arguments, options].concat());
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

fn end(mut child: Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

/// Waits until the image is not as it was.
fn wait_for_writes(image: &Path, before: &[u8]) {
    for _ in 0..6000 {
        if fs::read(image).unwrap() != before {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("nothing is written");
}

#[test]
fn one_run_writes_to_an_image_and_no_other_has_it() {
    let room = room();
    let image = room.path().join("a.img");
    let before = fs::read(&image).unwrap();
    let child = writer(&room, &[]);
    wait_for_writes(&image, &before);
    refused(&room, &["run", "guest:disk", "--disk", "a.img,mode=rw"], &["a.img", "another run has it"]);
    refused(&room, &["run", "guest:disk", "--disk", "a.img"], &["a.img", "another run writes to it"]);
    end(child);
    guest(&room, "ops=5", &["--disk", "a.img,mode=rw"]);
}

/// The writes of a recorded run, in order, and how many of them came before the last flush that was answered.
fn writes_of(log: &Path, image: Vec<u8>) -> (Vec<(u64, Vec<u8>)>, usize) {
    let mut reader = LogReader::open(BufReader::new(fs::File::open(log).unwrap())).unwrap();
    let snapshot = Snapshot::read(&mut reader).unwrap();
    let mut images = Images::default();
    images[0] = Some(Arc::new(image) as Arc<dyn Image>);
    let mut machine = snapshot.restore_with_images(images).unwrap();
    let mut replayer = Replayer::new(machine.position(), 1);
    let (mut writes, mut flushes, mut durable) = (Vec::new(), Vec::new(), 0);
    while let Some(item) = reader.next().unwrap() {
        let LogItem::Entries(segment) = item else { continue };
        let answered = |event: &Event| matches!(event, Event::Input(Input::Flushed { .. }));
        let answers = segment.entries.iter().filter(|entry| answered(&entry.event)).count();
        replayer.push(segment).unwrap();
        replayer.step(&mut machine, Until::About(u64::MAX));
        while let Some(emitted) = replayer.poll_output() {
            match emitted.output {
                emu::Output::Disk { offset, bytes, .. } => writes.push((offset, bytes)),
                emu::Output::Flush { .. } => flushes.push(writes.len()),
                _ => {}
            }
        }
        durable += answers;
    }
    (writes, durable.checked_sub(1).map_or(0, |last| flushes[last]))
}

#[test]
fn a_kill_leaves_a_file_that_the_guest_has_written_up_to_some_point() {
    let room = room();
    let image = room.path().join("a.img");
    for round in 0..3 {
        let before = fs::read(&image).unwrap();
        let log = format!("log{round}");
        let child = writer(&room, &["--record", &log]);
        wait_for_writes(&image, &before);
        std::thread::sleep(Duration::from_millis(70 * round));
        end(child);
        let after = fs::read(&image).unwrap();
        let (writes, durable) = writes_of(&room.path().join(log), before.clone());
        assert!(
            is_prefix(before, &writes, durable, &after),
            "round {round}: {} writes, {durable} durable",
            writes.len()
        );
    }
}

/// Whether `file` is `before` with at least `least` of the writes, in their order, the last one perhaps in part.
fn is_prefix(before: Vec<u8>, writes: &[(u64, Vec<u8>)], least: usize, file: &[u8]) -> bool {
    let mut state = before;
    for (done, (offset, bytes)) in writes.iter().enumerate() {
        let at = usize::try_from(*offset).unwrap();
        let came = bytes.iter().zip(&file[at..]).take_while(|(new, there)| new == there).count();
        if done >= least && file[..at] == state[..at] && file[at + came..] == state[at + came..] {
            return true;
        }
        state[at..at + bytes.len()].copy_from_slice(bytes);
    }
    file == state
}
