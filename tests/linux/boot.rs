//! Booting, and what a kernel finds.

use crate::harness::{Boot, OFF, ftemu, linux, recorded_and_replayed, said};

#[test]
fn boots_to_a_shell_that_works() {
    let script = r#"
echo "kernel $(uname -sm)"
seq 1 20000 | sha256sum
seq 1 20000 | gzip | gunzip | md5sum
i=0; while [ $i -lt 30 ]; do (exit 7) || i=$((i+1)); done; echo "forked $i"
awk 'BEGIN { printf "%.15f %.6e\n", 1 / 3, 1e20 / 7 }'
reboot -f"#;
    let Some(console) = Boot::new(script).go() else { return };
    said(&console, "kernel Linux x86_64");
    // As `seq 1 20000 | sha256sum` says everywhere.
    said(&console, "f6351f5ead9a700e34275480b3856ea738122a7c57bdeb744a631251c069587a  -");
    said(&console, "e071f707df7bbeee2a6a1eb48011ddd0  -");
    said(&console, "forked 30");
    said(&console, "0.333333333333333 1.428571e+19");
    assert!(!console.contains("WARNING:") && !console.contains("BUG:"), "{console}");
}

#[test]
fn uses_the_apics_and_calibrates_nothing() {
    let script = r#"
awk '/ttyS0|acpi|i8042/ { print $3, $NF }' /proc/interrupts
awk '/LOC:/ { print ($2 > 10 ? "local timer ticks" : "no ticks") }' /proc/interrupts
cat /sys/devices/system/clocksource/clocksource0/current_clocksource
poweroff -f"#;
    let Some(console) = Boot { run: &["--clock", "host"], code: OFF, ..Boot::new(script) }.go() else { return };
    for line in ["IO-APIC ttyS0", "IO-APIC acpi", "IO-APIC i8042", "local timer ticks", "tsc"] {
        said(&console, line);
    }
    for text in ["TSC deadline timer available", "Calibrating delay loop (skipped)", "ACPI: PM: (supports S0 S5)"] {
        assert!(console.contains(text), "{text:?} is missing in:\n{console}");
    }
    for text in ["ACPI Error", "ACPI BIOS", "WARNING:", "Fast TSC calibration", "refined TSC"] {
        assert!(!console.contains(text), "{text:?} in:\n{console}");
    }
}

/// The clock of the host is the clock of a kernel that reads it thousands of times a second, and each read is an entry.
#[test]
fn an_rdtsc_costs_less_than_two_bytes() {
    let Some(linux) = linux() else { return };
    let room = tempfile::tempdir().unwrap();
    let script = "seq 1 20000 | sort -n | sha256sum; reboot -f";
    Boot { run: &["--clock", "host"], ..Boot::new(script) }.go_in(&room, &linux);
    let stat = String::from_utf8(ftemu(&room, &["log", "stat", "log"]).stdout).unwrap();
    let row = stat.lines().find_map(|line| line.strip_prefix("clock answer ")).unwrap();
    let [entries, packed, file, _channel] =
        row.split_whitespace().map(|number| number.parse::<f64>().unwrap()).collect::<Vec<_>>()[..]
    else {
        panic!("{row:?}")
    };
    assert!(entries > 10_000.0 && packed <= 2.0 && file <= 2.0, "{stat}");
}

/// Where the kernel runs. By PVH, where it was linked; by its own protocol, where its decompressor has put it at random.
const WHERE: &str = "grep ' _text$' /proc/kallsyms; reboot -f";

#[test]
fn by_pvh_a_kernel_runs_where_it_was_linked() {
    let Some(console) = Boot { run: &["--clock", "host", "--boot", "pvh"], ..Boot::new(WHERE) }.go() else { return };
    said(&console, "ffffffff81000000 T _text");
}

#[test]
fn by_its_own_protocol_a_kernel_unpacks_itself_and_chooses_its_address() {
    let run = ["--clock", "derived", "--boot", "linux"];
    let Some(console) = Boot { run: &run, ..Boot::new(WHERE) }.go() else { return };
    assert!(console.contains("00000 T _text\n"), "{console}");
}

/// Compressed by XZ.
#[test]
fn the_generic_kernel_is_unpacked_and_boots() {
    let Some(console) = Boot { kernel: "vmlinuz-generic", ..Boot::new("echo up; reboot -f") }.go() else { return };
    said(&console, "up");
}

#[test]
fn a_static_program_runs_on_a_kernel_and_its_exit_code_is_ours() {
    let Some(linux) = linux() else { return };
    let room = tempfile::tempdir().unwrap();
    let (kernel, busybox) = (linux.join("vmlinuz"), linux.join("busybox"));
    let run = ["run", "--clock", "derived", "--kernel", kernel.to_str().unwrap(), busybox.to_str().unwrap()];
    for (script, code, said) in [
        ("tty; echo \"$0 $1\"; readlink /proc/self/exe; exit 7", 7, "/dev/ttyS0\na b --c\n/program\n"),
        ("kill -9 $$", 128 + 9, ""),
    ] {
        let arguments = [&run[..], &["sh", "-c", script, "a b", "--c"]].concat();
        assert_eq!(recorded_and_replayed(&room, &arguments, &[], code), said);
    }
}
