//! Pairs as real processes, and what happens to them: kill -9, SIGSTOP, storage that goes away.
//!
//! `FTEMU_KILLS=200 cargo test --release --test process` kills more often; `FTEMU_SEED` repeats the moments of the kills.

#![cfg(unix)]
#![allow(clippy::expect_used, clippy::unwrap_used, unreachable_pub, reason = "a test may panic, and has no outside")]

mod pair;

use std::collections::BTreeMap;
use std::time::Duration;

use pair::{Chance, Client, Replica, Site, until};

const TIMEOUT_MS: &str = "5000";
/// `exit::HALTED` of the command line.
const HALTED: Option<i32> = Some(123);

fn kills_wanted(default: u64) -> u64 {
    std::env::var("FTEMU_KILLS").ok().and_then(|kills| kills.parse().ok()).unwrap_or(default)
}

/// What `counter` says.
fn numbers(count: u64) -> Vec<u8> {
    let mut text: String = (1..=count).map(|n| format!("{n}\r\n")).collect();
    text.push_str("done\r\n");
    text.into_bytes()
}

/// Kills `primary`, and waits until `backup` serves in its place with a new backup. Gives both.
fn take_over(site: &Site, primary: Replica, mut backup: Replica) -> (Replica, Replica) {
    primary.kill();
    backup.hear("TOOK OVER");
    (backup, site.backup())
}

#[test]
fn fifty_random_kills_and_not_a_byte_missing_or_changed() {
    let (mut chance, wanted) = (Chance::new(), kills_wanted(50));
    let mut kills = 0;
    while kills < wanted {
        let (expected, site) = (numbers(400), Site::new(TIMEOUT_MS));
        let mut primary = site.primary("counter", "count=400 hz=200");
        let client = site.attach();
        let mut backup = site.backup();
        while kills < wanted && site.record().len() < expected.len() * 2 / 3 {
            chance.nap(40);
            (primary, backup) = take_over(&site, primary, backup);
            kills += 1;
        }
        assert_eq!(primary.code(), Some(0));
        assert_eq!(backup.code(), Some(0));
        assert_eq!(site.record(), expected, "the record");
        assert_eq!(client.end(), (Some(0), expected), "what somebody outside saw");
    }
}

#[test]
fn what_was_seen_of_a_clock_is_never_taken_back() {
    let (mut chance, site) = (Chance::new(), Site::new(TIMEOUT_MS));
    let mut primary = site.primary("clock", "ticks=2000 hz=500");
    let client = site.attach();
    let mut backup = site.backup();
    for _ in 0..5 {
        chance.nap(150);
        (primary, backup) = take_over(&site, primary, backup);
    }
    assert_eq!((primary.code(), backup.code()), (Some(0), Some(0)));
    let (code, seen) = client.end();
    let text = String::from_utf8(seen.clone()).unwrap();
    assert!(text.ends_with("clock: monotonic, 2000 ticks\r\n"), "{text}");
    assert_eq!((code, seen), (Some(0), site.record()));
}

#[test]
fn a_pair_goes_on_from_a_snapshot() {
    let (room, site) = (tempfile::tempdir().unwrap(), Site::new(TIMEOUT_MS));
    let path = room.path().join("snapshot");
    let snapshot = ["--snapshot", path.to_str().unwrap(), "--snapshot-at", "console:50\r\n"];
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_ftemu"));
    command.args(["run", "guest:counter", "--append", "count=100 hz=50"]).args(snapshot);
    let alone = command.stdin(std::process::Stdio::null()).output().unwrap();
    assert_eq!(alone.stdout, numbers(100));
    let mut primary = site.run(&["--from", path.to_str().unwrap(), "--primary"]);
    primary.hear("serving");
    let (mut primary, mut backup) = take_over(&site, primary, site.backup());
    assert_eq!((primary.code(), backup.code()), (Some(0), Some(0)));
    // All that the snapshot had not said, from the beginning of the record.
    assert_eq!(site.record(), numbers(100)[numbers(50).len() - "done\r\n".len()..]);
}

#[test]
fn a_stopped_primary_that_comes_back_has_not_spoken_and_ends() {
    let site = Site::new("400");
    let mut old = site.primary("counter", "count=500 hz=100");
    let mut new = site.backup();
    site.wait_for_record(100);
    old.signal(libc::SIGSTOP);
    new.hear("TOOK OVER");
    let before = site.record().len();
    site.wait_for_record(before + 100);
    old.signal(libc::SIGCONT);
    assert_eq!(old.code(), HALTED, "{:#?}", old.said());
    old.hear("halted");
    assert_eq!(new.code(), Some(0));
    assert_eq!(site.record(), numbers(500));
}

#[test]
fn without_its_backup_a_primary_goes_on_and_another_may_join() {
    let site = Site::new(TIMEOUT_MS);
    let mut primary = site.primary("counter", "count=400 hz=100");
    for _ in 0..3 {
        site.backup().kill();
        primary.hear("NOT PROTECTED");
    }
    let backup = site.backup();
    assert!(site.status().contains("protected by a backup"), "{}", site.status());
    let (mut primary, mut backup) = take_over(&site, primary, backup);
    assert_eq!((primary.code(), backup.code()), (Some(0), Some(0)));
    assert_eq!(site.record(), numbers(400));
}

#[test]
fn after_both_are_killed_a_new_run_needs_no_cleaning() {
    let site = Site::new(TIMEOUT_MS);
    let mut early = site.waiting_backup();
    early.hear("waiting for a primary");
    let first = site.primary("counter", "count=4000 hz=100");
    early.hear("following from");
    site.wait_for_record(50);
    first.kill();
    early.kill();
    let before = site.record();
    let mut second = site.primary("counter", "count=100 hz=100");
    let mut backup = site.backup();
    let previous = std::fs::read(site.dir().join("console.previous")).unwrap();
    assert!(previous.len() >= before.len() && numbers(4000).starts_with(&previous));
    assert_eq!((second.code(), backup.code()), (Some(0), Some(0)));
    assert_eq!(site.record(), numbers(100));
}

#[test]
fn while_the_shared_directory_is_away_nobody_takes_over() {
    let site = Site::new(TIMEOUT_MS);
    let primary = site.primary("counter", "count=300 hz=100");
    let mut backup = site.backup();
    site.wait_for_record(100);
    let away = site.dir().with_extension("away");
    std::fs::rename(site.dir(), &away).unwrap();
    primary.kill();
    backup.hear("waiting for the arbiter");
    std::thread::sleep(Duration::from_millis(700));
    assert!(!backup.said().iter().any(|line| line.contains("TOOK OVER")), "{:#?}", backup.said());
    std::fs::rename(&away, site.dir()).unwrap();
    backup.hear("TOOK OVER");
    assert_eq!(backup.code(), Some(0));
    assert_eq!(site.record(), numbers(300));
}

#[test]
fn names_do_not_disturb_each_other() {
    let (one, two) = Site::new(TIMEOUT_MS).beside("other");
    let (first, mut second) = (one.primary("counter", "count=200 hz=100"), two.primary("counter", "count=100 hz=100"));
    let (backup, mut quiet) = (one.backup(), two.backup());
    let (mut first, mut backup) = take_over(&one, first, backup);
    assert_eq!([first.code(), backup.code(), second.code(), quiet.code()], [Some(0); 4]);
    assert_eq!((one.record(), two.record()), (numbers(200), numbers(100)));
}

/// Waits until the client's screen has `count` lines.
fn wait_for_lines(client: &Client, count: usize) {
    until("more replies", || client.screen().lines().count() >= count);
}

#[test]
fn twenty_kills_and_a_client_of_the_store_loses_and_repeats_no_command() {
    let (mut chance, site) = (Chance::new(), Site::new(TIMEOUT_MS));
    let mut primary = site.primary("kv", "echo=0");
    let mut client = site.attach();
    let mut backup = site.backup();
    let mut typed = 0;
    for round in 0..kills_wanted(20) {
        for _ in 0..10 {
            client.type_in("INCR n\n");
            typed += 1;
            chance.nap(4);
        }
        if round % 3 == 0 {
            wait_for_lines(&client, 1 + typed); // Sometimes the client waits, sometimes it types ahead.
        }
        (primary, backup) = take_over(&site, primary, backup);
    }
    client.type_in("QUIT\n");
    let (code, screen) = client.end();
    assert_eq!((code, primary.code(), backup.code()), (Some(0), Some(0), Some(0)));
    let mut expected = "kv ready\r\n".to_owned();
    expected.extend((1..=typed).map(|n| format!("{n} {n}\r\n")));
    expected.push_str(&format!("{} BYE\r\n", typed + 1));
    assert_eq!(String::from_utf8(screen).unwrap(), expected);
}

/// Checks what a lock server has said, from the output alone: one holder at a time, and tokens and time only grow.
#[derive(Default)]
struct LockChecker {
    holders: BTreeMap<String, (String, u64)>,
    sequence: u64,
    ms: u64,
    token: u64,
    grants: u64,
}

impl LockChecker {
    fn line(&mut self, line: &str) {
        let words: Vec<&str> = line.split(' ').collect();
        let number = |at: usize| words[at].parse::<u64>().unwrap_or_else(|_| panic!("{line}"));
        assert_eq!(number(0), self.sequence + 1, "a reply is missing or repeated: {line}");
        self.sequence += 1;
        if words[2] != "EXPIRED" {
            assert!(number(1) >= self.ms, "time ran backwards: {line}");
            self.ms = number(1);
        }
        let held = self.holders.get(*words.get(3).unwrap_or(&""));
        match words[2] {
            "GRANTED" => {
                assert!(held.is_none(), "granted to two: {line}, held by {held:?}");
                assert!(number(6) > self.token, "an old token: {line}");
                self.token = number(6);
                self.grants += 1;
                self.holders.insert(words[3].into(), (words[4].into(), number(6)));
            }
            "RELEASED" | "EXPIRED" => {
                assert_eq!(held, Some(&(words[4].into(), number(6))), "a lost grant: {line}");
                self.holders.remove(words[3]);
            }
            "DENIED" => assert_eq!(held.map(|held| held.0.as_str()), Some(words[7]), "a lost grant: {line}"),
            "REFUSED" | "BYE" => {}
            _ => panic!("what is this? {line}"),
        }
    }
}

#[test]
fn the_lock_server_grants_no_lock_twice_and_loses_no_grant() {
    let (mut chance, site) = (Chance::new(), Site::new(TIMEOUT_MS));
    let mut primary = site.primary("lock", "echo=0 lease=40");
    let mut client = site.attach();
    let mut backup = site.backup();
    let mut commands = 0;
    for _ in 0..kills_wanted(20) {
        for _ in 0..8 {
            let (lock, who, token) = (chance.below(3), chance.below(4), chance.below(commands + 1));
            client.type_in(&match chance.below(4) {
                0 => format!("RELEASE l{lock} c{who} {token}\n"),
                _ => format!("ACQUIRE l{lock} c{who}\n"),
            });
            commands += 1;
            chance.nap(20);
        }
        (primary, backup) = take_over(&site, primary, backup);
    }
    client.type_in("QUIT\n");
    let (code, screen) = client.end();
    assert_eq!((code, primary.code(), backup.code()), (Some(0), Some(0), Some(0)));
    assert_eq!(screen, site.record(), "what was seen and what is recorded");
    let text = String::from_utf8(screen).unwrap();
    let mut lines = text.lines();
    assert_eq!(lines.next(), Some("lock ready, lease 40 ms"));
    let mut checker = LockChecker::default();
    lines.for_each(|line| checker.line(line));
    assert!(checker.sequence > commands && checker.grants > commands / 20, "too quiet: {text}");
}

/// What the guest `disk` says, when nobody dies, about the image at `path`.
fn said_of_disk(append: &str, path: &std::path::Path) -> Vec<u8> {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_ftemu"));
    let output = command.args(["run", "guest:disk", "--append", append, "--disk"]).arg(path).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// An image in `room`, no two sectors alike.
fn image_in(room: &tempfile::TempDir) -> std::path::PathBuf {
    let path = room.path().join("a.img");
    let image = (0..(4 << 20) + 512_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8);
    std::fs::write(&path, image.collect::<Vec<u8>>()).unwrap();
    path
}

#[test]
fn a_disk_survives_what_its_hosts_do_not() {
    let (mut chance, room) = (Chance::new(), tempfile::tempdir().unwrap());
    let path = image_in(&room);
    let copy = room.path().join("copy.img");
    std::fs::copy(&path, &copy).unwrap();
    let image = std::fs::read(&path).unwrap();
    let append = "ops=20000 every=60";
    let expected = said_of_disk(append, &path);
    let disk = ["--disk", path.to_str().unwrap()];
    let site = Site::new(TIMEOUT_MS);
    let mut primary = site.primary_with("disk", append, &disk);
    // One backup finds the image where the primary has it, the next has a copy of its own.
    let mut backup = site.backup();
    for round in 0..4 {
        chance.nap(150);
        if site.record().len() >= expected.len() {
            break;
        }
        primary.kill();
        backup.hear("TOOK OVER");
        primary = backup;
        let own = ["--disk", copy.to_str().unwrap()];
        backup = site.waiting_backup_with(if round % 2 == 0 { &own } else { &[] });
        backup.hear("following from");
    }
    assert_eq!((primary.code(), backup.code()), (Some(0), Some(0)));
    assert_eq!(String::from_utf8(site.record()).unwrap(), String::from_utf8(expected).unwrap());
    assert!(std::fs::read(&path).unwrap() == image, "an overlay leaves the image alone");
}

#[test]
fn a_backup_with_another_image_is_none() {
    let room = tempfile::tempdir().unwrap();
    let path = image_in(&room);
    let other = room.path().join("other.img");
    let mut image = std::fs::read(&path).unwrap();
    image[0] ^= 1;
    std::fs::write(&other, image).unwrap();
    let site = Site::new(TIMEOUT_MS);
    let options = ["--disk", path.to_str().unwrap()];
    let mut primary = site.primary_with("disk", "ops=1000000 every=1000", &options);
    let mut backup = site.waiting_backup_with(&["--disk", other.to_str().unwrap()]);
    let line = backup.hear("cannot have this machine");
    assert!(line.contains("other.img") && line.contains("digest") && line.contains("disk 0"), "{line}");
    assert_eq!(backup.code(), Some(1));
    primary.hear("it cannot have this machine");
    site.backup();
    primary.kill();
}
