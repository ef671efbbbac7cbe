//! Every guest in the tree, recorded and replayed: the same digests, the same outputs, wherever one stops on the way.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test panics when it fails")]

mod recording;

use emu::{ClockMode, CpuModel, DiskMode, Position, Power, Until};
use recording::{Boot, MODULE, image, next_bits, record, replay};
use testprogs::Guest;

fn input_of(guest: &str) -> &'static str {
    match guest {
        "kv" => "SET a 1\nSET b 2\nINCR a\nGET a\nSUM\nLIST\nDEL b\nCOUNT\nQUIT\n",
        "calc" => "1+2*3\n(4+5)*6\n7/0\nquit\n",
        "lock" => "ACQUIRE l 1\nACQUIRE l 2\nRELEASE l 1\nACQUIRE l 2\nRENEW l 2\nQUIT\n",
        _ => "",
    }
}

fn boot<'a>(guest: &Guest, cmdline: &'a str, clock: ClockMode) -> Boot<'a> {
    let disk = (guest.name == "disk").then_some(DiskMode::Overlay);
    Boot { name: guest.name, image: guest.image, cmdline, clock, cpu: CpuModel::V3, disk, linux: None }
}

fn every_guest(clock: ClockMode) {
    for guest in testprogs::all() {
        let boot = boot(guest, guest.default_cmdline, clock);
        let recorded = record(&boot, input_of(guest.name));
        let text = String::from_utf8_lossy(&recorded.console).into_owned();
        assert_eq!(recorded.power, Some(Power::Off { code: 0 }), "{}: {text}", guest.name);
        replay(&boot, &recorded, |_| Until::About(u64::MAX));
        let mut bits = 1;
        replay(&boot, &recorded, |at| {
            let bits = next_bits(&mut bits);
            Until::Exactly(Position { retired: at.retired + (bits >> 44), steps: bits >> 33 & 1 })
        });
    }
}

#[test]
fn every_guest_replays_with_the_host_clock() {
    every_guest(ClockMode::Host);
}

#[test]
fn every_guest_replays_with_the_derived_clock() {
    every_guest(ClockMode::Derived);
}

#[test]
fn kernels_compute_what_the_host_computes() {
    for (name, checksum) in testprogs::KERNELS {
        let guest = testprogs::find(name).unwrap();
        let recorded = record(&boot(guest, guest.default_cmdline, ClockMode::Host), "");
        let text = String::from_utf8_lossy(&recorded.console).into_owned();
        assert!(text.contains(&format!("checksum={checksum:016x}")), "{text}");
    }
}

#[test]
fn guests_stop_for_good_in_every_way() {
    let faults = testprogs::find("faults").unwrap();
    for (cmdline, power) in [("triple", Power::TripleFault), ("dead", Power::Dead)] {
        let boot = boot(faults, cmdline, ClockMode::Host);
        let recorded = record(&boot, "");
        assert_eq!(recorded.power, Some(power));
        replay(&boot, &recorded, |_| Until::About(u64::MAX));
    }
}

/// The checksum that the guest `disk` prints.
fn checksum(disk: &[u8]) -> String {
    let words = disk.chunks_exact(8).map(|word| u64::from_le_bytes(word.try_into().unwrap()));
    let hash = words.fold(0xcbf2_9ce4_8422_2325_u64, |hash, word| {
        let bytes = word.to_le_bytes().into_iter();
        bytes.fold(hash, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
    });
    format!("{hash:016x}")
}

/// The guest compares with a copy in its memory; the file that follows is compared here.
#[test]
fn disks_hold_what_was_written_in_every_mode() {
    let guest = testprogs::find("disk").unwrap();
    let cases: u64 = std::env::var("FTEMU_CASES").map_or(2, |cases| cases.parse().unwrap());
    for (mode, seed) in [DiskMode::ReadOnly, DiskMode::Overlay, DiskMode::WriteThrough]
        .into_iter()
        .flat_map(|mode| (1..=cases).map(move |seed| (mode, seed)))
    {
        let cmdline = format!("ops=150 seed={seed} every=10");
        let boot = Boot { disk: Some(mode), ..boot(guest, &cmdline, ClockMode::Host) };
        let recorded = record(&boot, "");
        let text = String::from_utf8_lossy(&recorded.console).into_owned();
        assert_eq!(recorded.power, Some(Power::Off { code: 0 }), "{mode:?}: {text}");
        assert!(text.contains(&format!("found {}", checksum(&image()))), "{mode:?}: {text}");
        let left = text.contains(&format!("left {}", checksum(&recorded.file)));
        assert_eq!(left, mode != DiskMode::Overlay, "{mode:?}: the file is what the guest has left, or never changed");
        let mut bits = seed;
        replay(&boot, &recorded, |at| {
            let bits = next_bits(&mut bits);
            Until::Exactly(Position { retired: at.retired + (bits >> 46), steps: bits >> 33 & 3 })
        });
    }
}

#[test]
fn a_multiboot_kernel_finds_what_it_is_told_and_replays() {
    for clock in [ClockMode::Host, ClockMode::Derived] {
        let (name, image, cpu) = ("multiboot", testprogs::MULTIBOOT, CpuModel::V3);
        let boot = Boot { name, image, cmdline: "quiet", clock, cpu, disk: None, linux: None };
        let recorded = record(&boot, "");
        let text = String::from_utf8_lossy(&recorded.console).into_owned();
        assert_eq!(recorded.power, Some(Power::Off { code: testprogs::MULTIBOOT_EXIT_CODE }), "{text}");
        let sum = MODULE.bytes.iter().fold(0u32, |sum, byte| sum.wrapping_mul(31).wrapping_add(u32::from(*byte)));
        for line in [
            "command line quiet".to_owned(),
            "memory 0 + 9fc00 type 1".to_owned(),
            "memory e0000 + 20000 type 2".to_owned(),
            "memory 100000 + 1f00000 type 1".to_owned(),
            format!("module a module: {:x} bytes, checksum {sum:x}", MODULE.bytes.len()),
        ] {
            assert!(text.lines().any(|said| said == line), "{line:?} is missing in:\n{text}");
        }
        let mut bits = 1;
        replay(&boot, &recorded, |at| Until::Exactly(Position::at(at.retired + (next_bits(&mut bits) >> 56))));
    }
}
