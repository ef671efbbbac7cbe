//! The same faults for real guests on the real machine.

use std::collections::BTreeMap;

use emu::{ClockMode, CpuModel, Machine, MachineConfig};
use ft_net::node::engine::Answers;
use ft_net::node::machine::Recorded;
use rayon::prelude::*;

use crate::checkers::Violation;
use crate::world::{Tally, World};
use crate::{Judge, Said, run_world};

/// Instructions per slice are tens of this.
const SCALE: u64 = 500;

impl Said for Recorded {
    fn said(&self) -> u64 {
        self.machine().console_bytes()
    }
}

struct Case {
    guest: &'static str,
    command_line: &'static str,
    typed: [&'static str; 2],
    judge: Judge,
}

const CASES: [Case; 5] = [
    Case { guest: "counter", command_line: "count=100000 hz=200", typed: ["x", "y"], judge: lines_count_up },
    Case { guest: "clock", command_line: "ticks=100000 hz=100", typed: ["x", "y"], judge: anything },
    Case { guest: "dice", command_line: "throws=100000", typed: ["x", "y"], judge: anything },
    Case { guest: "kv", command_line: "", typed: ["INCR a\n", "INCR b\n"], judge: replies_are_numbered },
    Case { guest: "lock", command_line: "", typed: ["ACQUIRE l 1\n", "ACQUIRE l 2\n"], judge: replies_are_numbered },
];

fn boot(case: &Case, clock: ClockMode, answers: Answers) -> Recorded {
    let config = MachineConfig {
        memory_bytes: 4 << 20,
        clock,
        epoch_s: 1_700_000_000,
        cpu: CpuModel::V3,
        devices: Default::default(),
    };
    let mut machine = Machine::new(config).unwrap();
    let guest = testprogs::find(case.guest).unwrap();
    machine.load_elf(guest.image, case.command_line).unwrap();
    Recorded::new(machine, answers)
}

fn run(case: &Case, seed: u64, output_rule: bool, trace: bool) -> Result<Tally, Violation> {
    let clock = if seed.is_multiple_of(2) { ClockMode::Host } else { ClockMode::Derived };
    let mut world = World::new(seed, output_rule, SCALE, |answers| boot(case, clock, answers));
    world.typed = case.typed;
    run_world(world, trace, case.judge)
}

/// No judgement beyond what the record itself shows: one history, complete.
fn anything(_: &[u8], _: &BTreeMap<u64, u64>) -> Result<(), Violation> {
    Ok(())
}

/// The first number of each line that has one.
fn numbers(console: &[u8]) -> Vec<u64> {
    let whole_lines = console.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
    let text = String::from_utf8_lossy(&console[..whole_lines]);
    text.lines().filter_map(|line| line.split_whitespace().next()?.parse().ok()).collect()
}

/// 10 is followed by 11, and 11 comes once.
fn lines_count_up(console: &[u8], _: &BTreeMap<u64, u64>) -> Result<(), Violation> {
    for (due, found) in (1..).zip(numbers(console)) {
        if due != found {
            return Err(Violation::Input { client: 0, due, found });
        }
    }
    Ok(())
}

/// Every input has one reply; replies are numbered from 1 by the guest.
fn replies_are_numbered(console: &[u8], acknowledged: &BTreeMap<u64, u64>) -> Result<(), Violation> {
    lines_count_up(console, acknowledged)?;
    let (typed, found) = (acknowledged.values().sum::<u64>(), numbers(console).len() as u64);
    if acknowledged.is_empty() || typed == found {
        return Ok(());
    }
    Err(Violation::Input { client: 0, due: typed, found })
}

#[test]
fn real_guests_keep_a_single_history() {
    let only = std::env::var("FTEMU_GUEST_SEED").ok().and_then(|seed| seed.parse::<u64>().ok());
    let runs = std::env::var("FTEMU_GUEST_SEEDS").ok().and_then(|n| n.parse().ok()).unwrap_or(60);
    let seeds = only.map_or(0..runs, |seed| seed..seed + 1);
    let results: Vec<_> = seeds
        .into_par_iter()
        .map(|seed| {
            let case = &CASES[(seed / 2 % CASES.len() as u64) as usize];
            (seed, case.guest, run(case, seed, true, only.is_some()))
        })
        .collect();
    let mut total = Tally::default();
    let mut failed = 0;
    for (seed, guest, result) in results {
        match result {
            Ok(tally) => total = total + tally,
            Err(violation) => {
                failed += 1;
                println!("FTEMU_GUEST_SEED={seed} ({guest}): {violation:?}");
            }
        }
    }
    println!("{total:?}");
    assert_eq!(failed, 0);
    assert!(only.is_some() || total.takeovers > runs && total.acknowledged > runs, "vacuous: {total:?}");
}

#[test]
fn without_the_output_rule_a_real_guest_contradicts_itself() {
    let dice = &CASES[2];
    let found = (0..40).into_par_iter().any(|seed| {
        matches!(run(dice, seed, false, false), Err(Violation::Contradiction { .. } | Violation::Gap { .. }))
    });
    assert!(found, "the checkers are blind");
}
