//! The pair under virtual time: seeded faults at every step of the protocol, checkers that see only the outside.
//!
//! `FTEMU_SEEDS=N` chooses how many seeds, `FTEMU_SEED=S` runs one with a trace of what its replicas say.

#![allow(unreachable_pub, reason = "a test has no outside")]
#![allow(clippy::cast_possible_truncation, clippy::expect_used, clippy::unwrap_used, reason = "a test may panic")]

mod checkers;
mod guests;
mod net;
mod rng;
mod toy;
mod world;

use std::collections::BTreeMap;
use std::time::Duration;

use ft_net::node::engine::Leader;
use rayon::prelude::*;

use checkers::{Violation, check_lines};
use net::End;
use toy::Toy;
use world::{Life, Tally, What, World};

const FAULTS_MS: u64 = 3000;
const REST_MS: u64 = 2500;

/// What a machine says about itself, to be compared with what the outside has seen.
pub trait Said {
    /// Console bytes said so far.
    fn said(&self) -> u64;
}

impl Said for Toy {
    fn said(&self) -> u64 {
        self.console()
    }
}

/// Judges the console of record, given the last acknowledged input of each client; empty if the machine was lost.
type Judge = fn(&[u8], &BTreeMap<u64, u64>) -> Result<(), Violation>;

fn run(seed: u64, output_rule: bool, trace: bool) -> Result<Tally, Violation> {
    run_world(World::new(seed, output_rule, 1, Toy::new), trace, check_lines)
}

/// One run: faults, then rest, then power-off, then what must hold.
fn run_world<L: Leader + Said>(mut world: World<L>, trace: bool, judge: Judge) -> Result<Tally, Violation> {
    world.trace = trace;
    world.after(Duration::from_millis(1), What::Spawn);
    world.after(Duration::from_millis(20), What::Fault);
    world.after(Duration::from_millis(FAULTS_MS), What::Heal);
    world.after(Duration::from_millis(FAULTS_MS + REST_MS), What::PowerOff);
    world.after(Duration::from_millis(FAULTS_MS + 2 * REST_MS), What::End);
    world.run(|world, what| match what {
        What::Spawn => spawn(world),
        What::Fault => fault(world),
        What::Heal => heal(world),
        What::PowerOff => power_off(world),
        _ => {}
    });
    if let Some(violation) = world.violation.take() {
        return Err(violation);
    }
    verdict(&mut world, judge)?;
    Ok(world.tally)
}

/// Operators start a new backup wherever fewer than two replicas are left.
fn spawn<L: Leader>(world: &mut World<L>) {
    if world.alive().len() < 2 {
        world.add_backup();
    }
    let ms = if world.quiet { 50 } else { world.rng.range(10..200) };
    world.after(Duration::from_millis(ms), What::Spawn);
}

fn fault<L: Leader>(world: &mut World<L>) {
    if world.quiet {
        return;
    }
    let alive = world.alive();
    let span = Duration::from_millis(world.rng.range(10..350));
    let until = world.now + span;
    let Some(victim) = world.rng.pick(&alive) else {
        return;
    };
    let backed = alive.iter().any(|&r| world.replicas[r].node.protected());
    match world.rng.range(0..10) {
        0..3 if backed || world.rng.chance(2) => world.replicas[victim].fuse = Some(world.rng.range(1..60)),
        3 | 4 if world.up(victim) => world.replicas[victim].life = Life::Paused { until },
        5 | 6 => {
            let other = world.rng.pick(&alive).unwrap_or(victim);
            world.net.block(End::Replica(victim), End::Replica(other), until);
        }
        7 => {
            let other = world.rng.pick(&alive).unwrap_or(victim);
            let conns = world.net.between(End::Replica(victim), End::Replica(other));
            if let Some(&conn) = conns.last() {
                for arrival in world.net.cut(world.now, conn, &mut world.rng) {
                    world.expect(Some(arrival));
                }
            }
        }
        8 => world.replicas[victim].arbiter_down = until,
        9 => world.replicas[victim].speed = world.scale * world.rng.range(5..60),
        _ => {}
    }
    let ms = world.rng.range(5..150);
    world.after(Duration::from_millis(ms), What::Fault);
}

fn heal<L: Leader>(world: &mut World<L>) {
    world.quiet = true;
    world.net.heal();
    for replica in &mut world.replicas {
        replica.fuse = None;
        replica.arbiter_down = world.now;
        replica.speed = 50 * world.scale;
    }
}

fn power_off<L: Leader>(world: &mut World<L>) {
    let serving = world.alive().into_iter().find(|&r| world.replicas[r].node.serving().is_some());
    if let Some(r) = serving {
        if !world.replicas[r].node.protected() {
            let why = "no backup joined in peace".to_owned();
            world.violation = Some(Violation::Stuck { why });
        }
        if let Some(client) = world.clients.iter().find(|client| !client.client.all_safe()) {
            let why = format!("a client waits after input {}", client.client.safe());
            world.violation = Some(Violation::Stuck { why });
        }
        world.replicas[r].node.power_off();
    }
}

/// After peace and a power-off: whoever holds the newest generation has ended cleanly, or it has crashed.
fn verdict<L: Leader + Said>(world: &mut World<L>, judge: Judge) -> Result<(), Violation> {
    let holder = world.claims.last_key_value().map_or(0, |(_, &holder)| holder);
    let replica = &world.replicas[holder];
    let mut acknowledged = BTreeMap::new();
    if replica.life != Life::Crashed {
        if !replica.powered_off || !world.record.off {
            let why = format!("replica {holder} holds the newest generation but has not ended: {:?}", replica.life);
            return Err(Violation::Stuck { why });
        }
        let (record, machine) = (world.record.console.len() as u64, replica.node.leader().map_or(0, Said::said));
        if record != machine {
            return Err(Violation::Incomplete { record, machine });
        }
        acknowledged = (1..).zip(&world.clients).map(|(id, client)| (id, client.client.safe())).collect();
        world.tally.powered_off += 1;
        world.tally.acknowledged += acknowledged.values().sum::<u64>();
        if world.generations.newest() != *world.claims.last_key_value().map_or(&0, |(generation, _)| generation) {
            return Err(Violation::Stuck { why: "the newest generation was never served".to_owned() });
        }
    }
    judge(&world.record.console, &acknowledged)
}

fn seeds() -> u64 {
    std::env::var("FTEMU_SEEDS").ok().and_then(|n| n.parse().ok()).unwrap_or(1000)
}

#[test]
fn no_fault_breaks_the_single_history() {
    if let Some(seed) = std::env::var("FTEMU_SEED").ok().and_then(|seed| seed.parse().ok()) {
        println!("seed {seed}: {:?}", run(seed, true, true));
        return;
    }
    let runs: Vec<(u64, Result<Tally, Violation>)> =
        (0..seeds()).into_par_iter().map(|seed| (seed, run(seed, true, false))).collect();
    let mut total = Tally::default();
    let mut failed = Vec::new();
    for (seed, result) in runs {
        match result {
            Ok(tally) => total = total + tally,
            Err(violation) => failed.push((seed, violation)),
        }
    }
    println!("{total:?}");
    for (seed, violation) in failed.iter().take(20) {
        println!("FTEMU_SEED={seed}: {violation:?}");
    }
    assert!(failed.is_empty(), "{} of {} seeds failed", failed.len(), seeds());
    let n = seeds();
    assert!(total.takeovers > n && total.joins > 2 * n && total.halted > n / 10, "vacuous: {total:?}");
    assert!(total.powered_off > n / 2 && total.acknowledged > 20 * n, "vacuous: {total:?}");
}

#[test]
fn without_the_output_rule_eleven_is_said_twice() {
    let contradictions = (0..seeds().min(200))
        .into_par_iter()
        .filter(|&seed| matches!(run(seed, false, false), Err(Violation::Contradiction { .. } | Violation::Gap { .. })))
        .count();
    println!("{contradictions} contradictions");
    assert!(contradictions > 0, "the checkers are blind");
}

#[test]
fn a_seed_reproduces() {
    for seed in 0..5 {
        assert_eq!(format!("{:?}", run(seed, true, false)), format!("{:?}", run(seed, true, false)));
    }
}
