//! Booting, and what a kernel finds.

use crate::harness::{Boot, OFF, said};

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
