//! A boot whose primary is killed again and again.

use crate::harness::{initrd, linux};
use crate::pair::{Chance, Site};

/// Seconds of guest time between two kills, at random within them. With the clock of the host, guest time is real time.
const EVERY_MS: u64 = 5000;
const ROUNDS: u64 = 12;

/// What the kernel has said until init silences it is kept in `/said`; after that the guest computes for a while.
fn script() -> String {
    format!(
        "dmesg > /said; dmesg -n 1\n\
         i=0; while [ $i -lt {ROUNDS} ]; do i=$((i+1))\n\
         seq $i 20000 | awk -v i=$i '{{ s += $1 * $1 % 997 }} END {{ print i, s }}'; sleep 1; done\n\
         sed 's/^/said /' /said; poweroff -f"
    )
}

/// What init computes with `seq FIRST 20000 | awk ...`.
fn sum(first: u64) -> u64 {
    (first..=20_000).map(|n| n * n % 997).sum()
}

#[test]
fn a_boot_survives_a_kill_every_five_seconds() {
    let Some(linux) = linux() else { return };
    let (mut chance, site) = (Chance::new(), Site::new("5000"));
    let room = tempfile::tempdir().unwrap();
    let (kernel, disk) = (linux.join("vmlinuz"), room.path().join("initrd"));
    std::fs::write(&disk, initrd(&linux, &[], &script())).unwrap();
    let append = "console=ttyS0 panic=-1 loglevel=8";
    let options = ["--initrd", disk.to_str().unwrap(), "--memory", "128M", "--append", append, "--primary"];
    let mut primary = site.run(&[&[kernel.to_str().unwrap()], &options[..]].concat());
    primary.hear("serving");
    let mut kills = 0;
    let mut backup = site.backup();
    while !ends(&site.record()) {
        chance.nap(EVERY_MS / 2);
        if ends(&site.record()) {
            break;
        }
        primary.kill();
        backup.hear("TOOK OVER");
        kills += 1;
        (primary, backup) = (backup, site.backup());
        let rest = chance.below(EVERY_MS / 2);
        std::thread::sleep(std::time::Duration::from_millis(rest));
    }
    assert_eq!((primary.code(), backup.code()), (Some(0), Some(0)));
    assert!(kills >= 3, "{kills} kills");
    check(&String::from_utf8_lossy(&site.record()).replace("\r\n", "\n"));
}

/// Whether the guest has begun to say what it ends with.
fn ends(record: &[u8]) -> bool {
    String::from_utf8_lossy(record).contains("\nsaid ")
}

/// Byte for byte: what the kernel said is what it remembers to have said, and what init said is what it must say.
fn check(console: &str) {
    let at = console.find("\n1 ").unwrap() + 1;
    let (kernel, init) = console.split_at(at);
    let computed: String = (1..=ROUNDS).map(|n| format!("{n} {}\n", sum(n))).collect();
    let rest = init.strip_prefix(&computed).unwrap_or_else(|| panic!("not what init says:\n{init}"));
    let lines = rest.lines().filter_map(|line| line.strip_prefix("said "));
    let remembered: String = lines.map(|line| format!("{line}\n")).collect();
    assert!(remembered.lines().count() > 100, "{rest}");
    assert_eq!(kernel, remembered, "what the kernel said, and what it remembers");
}
