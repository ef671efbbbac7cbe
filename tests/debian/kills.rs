//! A pair of processes: the primary is killed at random within every five seconds, from the first instruction until the guest
//! is about to be off. Nobody who uses the guest notices.

use std::sync::Arc;

use crate::pair::{Chance, Site};
use crate::remembered::{APPEND, Remembered};
use crate::storm::Storm;
use crate::terminal::Terminal;
use crate::{NETWORK, NETWORK_SAYS, PYTHON, PYTHON_SAYS, debian, one_at_a_time};

const WRITE: &str = "seq 1000000 > n && sync";
/// Each statement is a transaction, which waits for the disk.
const INSERT: &str = "sqlite3 db 'create table t(n integer primary key, s text)' && for i in $(seq 100); do \
    sqlite3 db \"insert into t values($i, printf('%0200d', $i))\" || break; done; echo $i";
/// From the disk, and not from what the kernel remembers of it.
const READ: &str = "sync; echo 3 > /proc/sys/vm/drop_caches; sha256sum n; \
    sqlite3 db 'select count(*), sum(n), sum(length(s)) from t; pragma integrity_check'";
const READ_SAYS: &str = "90433fcbd9e16297e6a7c1dacb1056394743194776e52f78ebf0a44b80b6b14f  n\n100|5050|20000\nok\n";
/// The disk at rest, of which the kernel tells. Redis would not end before it has saved something.
const CHECK_DISK: &str = "systemctl stop redis-server nginx; sync; echo u > /proc/sysrq-trigger; \
    while grep -q ' / ext4 rw' /proc/mounts; do sleep 0.1; done; echo 3 > /proc/sys/vm/drop_caches; \
    e2fsck -fn /dev/vda > /run/fsck 2>&1; echo $?; mount -o remount,rw /";

/// A backup has a network of its own.
const BACKUP: &[&str] = &["--net", "user"];

#[test]
fn debian_survives_a_kill_every_five_seconds() {
    let Some(debian) = debian(APPEND) else { return };
    let _one = one_at_a_time();
    let site = Arc::new(Site::new("5000"));
    let options: Vec<&str> = debian.iter().map(String::as_str).chain(["--net", "user", "--primary"]).collect();
    let mut primary = site.run(&options);
    primary.hear("serving");
    let mut terminal = Terminal::open(&mut site.attach_command());
    let storm = Storm::begin(&site, primary, BACKUP);
    terminal.log_in();
    works(&mut terminal);
    Remembered::ask(&mut terminal).agrees();
    let checked = terminal.shell(CHECK_DISK);
    assert!(checked.ends_with("\n0\n"), "{checked}{}", terminal.shell("cat /run/fsck"));
    let (primary, mut backup, toll) = storm.ends();
    terminal.type_in("dmesg -n 8; poweroff");
    Chance::new().nap(500);
    primary.kill();
    backup.hear("TOOK OVER");
    assert_eq!(backup.code(), Some(0), "{:#?}", backup.said());
    let (code, console) = terminal.close();
    assert_eq!(code, Some(0));
    assert!(console == site.record(), "what somebody outside saw is not the record");
    assert!(console.ends_with(b"reboot: Power down\r\n"));
    eprintln!("Debian in a pair: {toll:.0?}");
    assert!(toll.kills >= 5, "{toll:?}");
}

/// Real programs work, and what they have written is on the disk.
fn works(terminal: &mut Terminal) {
    assert_eq!(terminal.shell("systemctl start multi-user.target; systemctl is-active multi-user.target"), "active\n");
    assert_eq!(terminal.shell(NETWORK), NETWORK_SAYS);
    terminal.shell("echo 4 > /proc/sys/vm/drop_caches"); // The last word of the kernel about that.
    assert_eq!(terminal.shell(WRITE), "");
    assert_eq!(terminal.shell(PYTHON), PYTHON_SAYS);
    assert_eq!(terminal.shell(INSERT), "100\n");
    assert_eq!(terminal.shell(READ), READ_SAYS);
}
