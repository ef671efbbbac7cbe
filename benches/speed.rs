//! `cargo bench`: the compute guests in ftemu beside the same object code run natively, with and without recording.
//!
//! Figures are medians of several runs, interleaved, in one process: compare the ratios, not the MIPS. `cargo bench -- fib`
//! runs one. The native programs are built with the C compiler at hand; without one, that column stays empty.

#![allow(clippy::expect_used, reason = "a bench panics when it fails")]

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use emu::{ClockMode, CpuModel, Door, Input, Machine, MachineConfig, Output, Position, Query, Stop, Until};
use replay::recorder::{Live, Recorder};
use testprogs::Guest;

const ROUNDS: usize = 5;
/// Instructions between looks at the clock, as in `ftemu run`.
const SLICE: u64 = 200_000;
/// Work per kernel: about half a second each in ftemu.
const INTEGER: &[(&str, u64)] =
    &[("mixed", 400), ("sha256", 400), ("sieve", 400), ("fib", 400), ("bytecode", 200), ("copy", 400), ("sort", 200)];
const FLOATING_POINT: &[(&str, u64)] = &[("whetstone", 200), ("linpack", 400), ("x87", 20)];
const PACKED: &[(&str, u64)] = &[("packed", 100), ("aesgcm", 50), ("shani", 50)];

struct World(Instant);

impl World {
    fn now(&self) -> u64 {
        u64::try_from(self.0.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

impl Door for World {
    fn query(&mut self, _at: Position, _query: Query) -> Option<u64> {
        Some(self.now())
    }
    fn output(&mut self, _at: Position, _number: u64, _output: Output) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }
    fn interrupt(&mut self, _at: Position, _vector: u8) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }
}

impl Live for World {
    fn clock_ns(&mut self) -> u64 {
        self.now()
    }
    fn random(&mut self) -> u64 {
        self.now()
    }
    fn output(&mut self, _number: u64, _output: Output, _entry: u64) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }
}

fn boot(guest: &Guest, work: u64) -> Machine {
    let config = MachineConfig {
        memory_bytes: 64 << 20,
        clock: ClockMode::Host,
        epoch_s: 0,
        cpu: CpuModel::V3,
        devices: Default::default(),
    };
    let mut machine = Machine::new(config).expect("memory");
    machine.load_elf(guest.image, &format!("n={work}")).expect("a guest of the tree");
    machine
}

/// Time and retired instructions of a run without a log.
fn plain(guest: &Guest, work: u64) -> (Duration, u64) {
    let mut machine = boot(guest, work);
    let mut world = World(Instant::now());
    loop {
        let stop = machine.run(Until::About(machine.position().retired + SLICE), &mut world);
        if let Some(ns) = machine.next_deadline_ns().filter(|&ns| ns <= world.now()) {
            machine.deliver(&Input::Clock { ns });
        }
        if let Stop::Off(_) = stop {
            return (world.0.elapsed(), machine.position().retired);
        }
    }
}

/// Time and log bytes of a recorded run.
fn recorded(guest: &Guest, work: u64) -> (Duration, usize) {
    let mut machine = boot(guest, work);
    let mut recorder = Recorder::new(World(Instant::now()), &machine, 1);
    let mut bytes = 0;
    loop {
        let limit = Until::About(machine.position().retired + SLICE);
        let stop = recorder.run(&mut machine, limit);
        let now = recorder.live.now();
        if machine.next_deadline_ns().is_some_and(|ns| ns <= now) {
            recorder.deliver(&mut machine, Input::Clock { ns: now });
        }
        let off = matches!(stop, Stop::Off(_));
        if off {
            recorder.flush();
        }
        while let Some(segment) = recorder.poll_segment() {
            bytes += segment.encode().bytes.len();
        }
        if off {
            return (recorder.live.0.elapsed(), bytes);
        }
    }
}

/// Directory of the native programs, if they can be built here.
fn native_programs() -> Option<PathBuf> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("testprogs");
    let made = Command::new("make").arg("-s").arg("-C").arg(&root).arg("native").status();
    let dir = root.join("build/native");
    (cfg!(target_arch = "x86_64") && made.is_ok_and(|status| status.success()) && dir.is_dir()).then_some(dir)
}

fn native(program: &PathBuf, work: u64) -> Option<Duration> {
    let start = Instant::now();
    let output = Command::new(program).arg(work.to_string()).output().ok()?;
    output.status.success().then(|| start.elapsed())
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Measures one kernel, prints its row, returns its slowdown and what recording costs in percent.
fn measure(name: &str, work: u64, dir: Option<&PathBuf>) -> (f64, f64) {
    let guest = testprogs::find(name).expect("a guest of the tree");
    let (mut mips, mut slowdown, mut cost, mut density) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let (time, insns) = plain(guest, work);
        let (recorded, bytes) = recorded(guest, work);
        mips.push(insns as f64 / time.as_secs_f64() / 1e6);
        cost.push((recorded.as_secs_f64() / time.as_secs_f64() - 1.0) * 100.0);
        density.push(bytes as f64 / (insns as f64 / 1e6));
        // The native program is too short to time at the same size: ten times the work, less its start-up.
        if let Some(dir) = dir
            && let (Some(long), Some(none)) = (native(&dir.join(name), work * 10), native(&dir.join(name), 1))
        {
            slowdown.push(time.as_secs_f64() / (long.saturating_sub(none).as_secs_f64() / 10.0));
        }
    }
    let (slow, percent) = (median(slowdown), median(cost));
    println!("{name:<10} {:>8.0} {slow:>10.1} {percent:>12.1} {:>22.1}", median(mips), median(density));
    (slow, percent)
}

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with('-')).collect();
    let dir = native_programs();
    println!("{:<10} {:>8} {:>10} {:>12} {:>22}", "kernel", "MIPS", "x native", "recording %", "log bytes/M insns");
    for (group, work) in [("integer", INTEGER), ("floating point", FLOATING_POINT), ("packed", PACKED)] {
        let chosen = work.iter().filter(|(name, _)| wanted.is_empty() || wanted.iter().any(|w| w == name));
        let (slowdowns, costs): (Vec<f64>, Vec<f64>) =
            chosen.map(|(name, work)| measure(name, *work, dir.as_ref())).unzip();
        if !slowdowns.is_empty() {
            let geomean = (slowdowns.iter().map(|s| s.ln()).sum::<f64>() / slowdowns.len() as f64).exp();
            println!("{group}: geomean {geomean:.1} x native; recording, median of kernels: {:.1} %", median(costs));
        }
    }
}
