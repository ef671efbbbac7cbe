//! Real file systems on virtio disks.

use std::fs;
use std::process::{Command, Output};

use tempfile::TempDir;

use crate::harness::{Boot, VIRTIO, linux};

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
    let Some(linux) = linux() else { return };
    let room = tempfile::tempdir().unwrap();
    fs::create_dir(room.path().join("root")).unwrap();
    fs::write(room.path().join("root/greeting"), "hello from the image\n").unwrap();
    let Some(made) = e2fs(&room, &["mke2fs", "-q", "-F", "-t", "ext4", "-d", "root", "disk.img", "32M"]) else {
        return;
    };
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    fs::copy(room.path().join("disk.img"), room.path().join("original.img")).unwrap();
    let script = r"
mount -t ext4 /dev/vda /mnt && cat /mnt/greeting
seq 1 20000 > /mnt/numbers; mkdir /mnt/many
for i in 1 2 3 4 5; do cp /mnt/numbers /mnt/many/$i; done; rm /mnt/many/3
sync; mount -o remount,ro /mnt && echo fixed
umount /mnt; mount -t ext4 -o ro /dev/vda /mnt
md5sum /mnt/many/5
umount /mnt; reboot -f";
    let modules = [&VIRTIO[..], &["drivers/block/virtio_blk"]].concat();
    let run = ["--clock", "derived", "--disk", "disk.img,mode=rw"];
    let boot = Boot { modules: &modules, run: &run, replay: &["--disk", "original.img"], ..Boot::new(script) };
    let console = boot.go_in(&room, &linux);
    for line in ["hello from the image", "fixed", "e071f707df7bbeee2a6a1eb48011ddd0  /mnt/many/5"] {
        assert!(console.contains(&format!("{line}\n")), "{line:?} is missing in:\n{console}");
    }
    let Some(checked) = e2fs(&room, &["e2fsck", "-f", "-n", "disk.img"]) else { return };
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stdout));
    let Some(read) = e2fs(&room, &["debugfs", "-R", "cat /many/4", "disk.img"]) else { return };
    let numbers: String = (1..=20_000).map(|n| format!("{n}\n")).collect();
    assert!(read.stdout == numbers.as_bytes(), "what the guest wrote is in the file");
}
