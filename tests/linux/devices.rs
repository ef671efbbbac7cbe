//! What is on the PCI bus, as Linux sees it.

use std::fs;
use std::io::{Read, Write};
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::harness::{Boot, RESET, VIRTIO, ftemu, initrd, linux};

#[test]
fn the_bus_is_listed_and_entropy_comes_by_messages() {
    let Some(linux) = linux() else { return };
    let room = tempfile::tempdir().unwrap();
    fs::write(room.path().join("disk.img"), [0; 512]).unwrap();
    let script = r#"
for d in /sys/bus/pci/devices/*; do
driver=$(readlink $d/driver)
echo "${d##*/} $(cat $d/vendor) $(cat $d/device) $(cat $d/class) ${driver##*/}"
done
cat /sys/class/misc/hw_random/rng_available
dd if=/dev/hwrng of=/random bs=1000 count=8 iflag=fullblock; wc -c < /random
[ $(gzip < /random | wc -c) -gt 8000 ] && echo incompressible
awk '/virtio.-input/ { if ($2 > 100) print "messages" }' /proc/interrupts
reboot -f"#;
    let modules = [&VIRTIO[..], &["drivers/block/virtio_blk", "drivers/char/hw_random/virtio-rng"]].concat();
    let boot = Boot { modules: &modules, run: &["--disk", "disk.img"], ..Boot::new(script) };
    let console = boot.go_in(&room, &linux);
    for line in [
        "0000:00:00.0 0x8086 0x0d57 0x060000",
        "0000:00:02.0 0x1af4 0x1044 0xff0000 virtio-pci",
        "0000:00:04.0 0x1af4 0x1042 0x010000 virtio-pci",
        "virtio_rng.0",
        "8000",
        "incompressible",
        "messages",
    ] {
        assert!(console.contains(&format!("\n{line}")), "{line:?} is missing in:\n{console}");
    }
}

/// Runs ftemu and types `answer` once it has said `prompt`; the console.
fn converse(room: &TempDir, arguments: &[&str], prompt: &str, answer: &str) -> Vec<u8> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ftemu"));
    command.args(arguments).current_dir(room.path()).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let (mut to, mut from) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let (mut console, mut answered, mut buffer) = (Vec::new(), false, [0; 4096]);
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        console.extend_from_slice(&buffer[..count]);
        if !answered && console.windows(prompt.len()).any(|window| window == prompt.as_bytes()) {
            to.write_all(answer.as_bytes()).unwrap();
            answered = true;
        }
    }
    assert_eq!(child.wait().unwrap().code(), Some(RESET), "{}", String::from_utf8_lossy(&console));
    console
}

/// The console is a virtio device, interrupts come as `line` says.
fn the_console_is_virtio(append: &str, line: &str) {
    let Some(linux) = linux() else { return };
    let room = tempfile::tempdir().unwrap();
    let script = r#"
exec < /dev/hvc0 > /dev/hvc0 2>&1
awk '/virtio0/ { print $3, $4, $5 }' /proc/interrupts
stty -echo; echo "who is there?"; read name; echo "hello $name"
seq 1 20000 | md5sum; seq 1 2000
reboot -f"#;
    let modules = [&VIRTIO[..], &["drivers/char/virtio_console"]].concat();
    fs::write(room.path().join("initrd"), initrd(&linux, &modules, script)).unwrap();
    let kernel = linux.join("vmlinuz");
    let append = format!("console=hvc0 panic=-1 {append}");
    let options = ["--console", "virtio", "--append", &append, "--clock", "derived", "--record", "log"];
    let arguments = [&["run", kernel.to_str().unwrap(), "--initrd", "initrd"], &options[..]].concat();
    let lived = converse(&room, &arguments, "who is there?\r\n", "a driver\n");
    let replayed = ftemu(&room, &["replay", "log"]);
    assert!(replayed.stdout == lived, "the console differs in the replay");
    assert_eq!(replayed.status.code(), Some(0), "{}", String::from_utf8_lossy(&replayed.stderr));
    let console = String::from_utf8_lossy(&lived).replace("\r\n", "\n");
    let numbers: String = (1..=2000).map(|n| format!("{n}\n")).collect();
    let end = "hello a driver\ne071f707df7bbeee2a6a1eb48011ddd0  -\n";
    for part in [line, &format!("{end}{numbers}")] {
        assert!(console.contains(part), "{part:?} is missing in:\n{console}");
    }
}

#[test]
fn the_console_can_be_virtio() {
    the_console_is_virtio("", "-edge virtio0-output");
}

#[test]
fn interrupts_can_be_lines_of_the_pic() {
    the_console_is_virtio("pci=nomsi acpi=off noapic nolapic", "XT-PIC virtio0");
}

#[test]
fn interrupts_can_be_lines_of_the_io_apic() {
    the_console_is_virtio("pci=nomsi", "11-fasteoi virtio0");
}
