//! How a guest ends, and what its operator can do about it.

use std::fs;

use emu::{ClockMode, CpuModel, Power, Until};

use crate::harness::{self, OFF, RESET, TRIPLE_FAULT};
use crate::recording::{Boot, Linux, record, replay};

#[test]
fn every_end_has_its_exit_code() {
    // What `--append` replaces: the default is a panic that ends the run.
    let plain = &["--clock", "derived"][..];
    let by = |command_line| [plain, &["--append", command_line]].concat();
    for (options, script, code, text) in [
        (plain.to_vec(), "poweroff -f", OFF, "reboot: Power down"),
        (plain.to_vec(), "echo c > /proc/sysrq-trigger", RESET, "Kernel panic - not syncing: sysrq triggered crash"),
        (plain.to_vec(), "exit 3", RESET, "Kernel panic - not syncing: Attempted to kill init!"),
        (
            [plain, &["--memory", "160M"]].concat(),
            "tail /dev/zero; echo survived; poweroff -f",
            OFF,
            "Out of memory: Killed process",
        ),
        (by("console=ttyS0 reboot=t"), "reboot -f", TRIPLE_FAULT, "reboot: machine restart"),
        (by("console=ttyS0 acpi=off"), "reboot -f", RESET, "reboot: machine restart"),
        (by("console=ttyS0 nolapic noapic acpi=off"), "reboot -f", RESET, "reboot: machine restart"),
    ] {
        let Some(console) = harness::Boot { run: &options, code, ..harness::Boot::new(script) }.go() else { return };
        assert!(console.contains(text), "{text:?} is missing in:\n{console}");
    }
}

#[test]
fn the_operators_buttons() {
    let Some(linux) = harness::linux() else { return };
    let image = fs::read(linux.join("vmlinuz")).unwrap();
    let power = "for e in /dev/input/event*; do (head -c 24 $e > /dev/null; poweroff -f) & done; echo ready; wait";
    let keys = "echo 0 > /proc/sys/kernel/ctrl-alt-del; trap 'reboot -f' INT\n\
        echo ready; while :; do sleep 1; done";
    for (key, script, end) in [("\x01p", power, Power::Off { code: 0 }), ("\x01d", keys, Power::Reset)] {
        let initrd = harness::initrd(&linux, &["drivers/acpi/button", "drivers/input/evdev"], script);
        let boot = Boot {
            name: "linux",
            image: &image,
            cmdline: "console=ttyS0",
            clock: ClockMode::Derived,
            cpu: CpuModel::V3,
            disk: None,
            linux: Some(Linux { initrd: &initrd, ready: "\nready" }),
        };
        let recorded = record(&boot, key);
        assert_eq!(recorded.power, Some(end), "{}", String::from_utf8_lossy(&recorded.console));
        replay(&boot, &recorded, |_| Until::About(u64::MAX));
    }
}
