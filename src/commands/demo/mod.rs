//! `ftemu demo`: the main job in one command. Real processes, real kills, and somebody outside who checks.
//!
//! | file | is |
//! |---|---|
//! | `stage` | one run: shared directory, replicas, kills, and what they lead to |
//! | `replica` | a child process and what it says |
//! | `relay` | a network between the replicas that takes its time |
//! | `watcher` | somebody outside, who reads the console of record as it grows |
//! | `verdict` | what must be true of what the watcher has seen |

mod relay;
mod replica;
mod stage;
mod verdict;
mod watcher;

use std::process::{Command, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};

use crate::cli::DemoArgs;
use crate::exit;
use crate::host::entropy::Entropy;
use crate::host::errors::print;
use crate::host::signals;
use stage::{Play, Stage};

/// What the network between the replicas adds, one way.
const NETWORK_DELAY: Duration = Duration::from_millis(20);
/// A slower one, so that without the Output Rule much can be said that the backup does not know.
const SLOW_NETWORK_DELAY: Duration = Duration::from_millis(150);
/// How often a contradiction is provoked before we give up.
const ATTEMPTS: usize = 5;

/// Plays the demonstration.
pub(crate) fn run(args: &DemoArgs) -> Result<u8> {
    signals::install();
    let seed = args.seed.map_or_else(|| Ok(Entropy::new()?.next()), anyhow::Ok)?;
    let mut narrator = Narrator { start: Instant::now(), seed };
    narrator.tell(&format!("ftemu demo, seed {seed}"))?;
    match args.unsafe_no_output_rule {
        false => with_output_rule(&mut narrator),
        true => without_output_rule(&mut narrator),
    }
}

fn with_output_rule(narrator: &mut Narrator) -> Result<u8> {
    narrator.tell("\nFirst, a guest that counts: what it says is known beforehand, so every byte can be checked.")?;
    let counter = Play { guest: "counter", append: "count=600 hz=100", kills: 2, ..Play::new(NETWORK_DELAY) };
    let undisturbed = undisturbed(&counter);
    let ended = Stage::set(&counter)?.play(narrator)?;
    verdict::same_as_undisturbed(&ended, &undisturbed.join().map_err(|_| anyhow!("a thread died"))??)?;
    narrator
        .tell(&format!("VERIFIED: {} bytes, the same as of an undisturbed run, byte for byte.", ended.record.len()))?;

    narrator
        .tell("\nNow a guest that reads clocks: what it says is different each time, and known to nobody before.")?;
    let clock = Play { guest: "clock", append: "ticks=1500 hz=500", kills: 2, ..Play::new(NETWORK_DELAY) };
    let ended = Stage::set(&clock)?.play(narrator)?;
    let lines = verdict::clock_is_consistent(&ended)?;
    narrator.tell(&format!(
        "VERIFIED: nothing that was ever seen was taken back; {lines} lines follow each other; time never ran backwards."
    ))?;
    narrator.tell("\nFour primaries were killed with SIGKILL. Nobody outside could tell.")?;
    Ok(0)
}

fn without_output_rule(narrator: &mut Narrator) -> Result<u8> {
    narrator
        .tell("\nOutputs leave at once now: they do not wait until the backup holds the log that leads to them.")?;
    let clock = Play {
        guest: "clock",
        append: "ticks=1500 hz=500",
        kills: 1,
        output_rule: false,
        ..Play::new(SLOW_NETWORK_DELAY)
    };
    for _ in 0..ATTEMPTS {
        let ended = Stage::set(&clock)?.play(narrator)?;
        if let Some(contradiction) = verdict::contradiction(&ended) {
            narrator.tell(&format!("\nCONTRADICTED. Somebody outside has read:  {}", contradiction.seen))?;
            narrator.tell(&format!("     and now the record says instead:   {}", contradiction.record))?;
            narrator.tell(
                "The old primary said it and died. The backup had not got the log that far, went on from an earlier\n\
                 point, read the clock again and said the same line with another content: the \"11 twice\" of the lectures.\n\
                 The Output Rule (VM-FT 2.2) is what prevents this: run ftemu demo without --unsafe-no-output-rule.",
            )?;
            return Ok(exit::CONTRADICTED);
        }
        narrator.tell("The backup happened to know all that had been said. Once more.")?;
    }
    bail!("no contradiction in {ATTEMPTS} kills without the Output Rule")
}

/// The same guest, alone, in a process of its own.
fn undisturbed(play: &Play) -> JoinHandle<Result<Vec<u8>>> {
    let arguments = ["run", &play.program(), "--append", play.append].map(str::to_owned);
    std::thread::spawn(move || {
        let mut command = Command::new(std::env::current_exe().context("this program does not know its own file")?);
        let output =
            command.args(arguments).stdin(Stdio::null()).output().context("cannot start an undisturbed run")?;
        if !output.status.success() {
            bail!("the undisturbed run failed: {}", output.status);
        }
        Ok(output.stdout)
    })
}

/// Says what happens and when, and draws the moments of the kills.
struct Narrator {
    start: Instant,
    seed: u64,
}

impl Narrator {
    /// A line of the story.
    fn tell(&self, text: &str) -> Result<()> {
        print(format!("{text}\n").as_bytes())
    }

    /// A line of the story that has a moment.
    fn note(&self, text: &str) -> Result<()> {
        self.tell(&format!("{:8.3} s  {text}", self.start.elapsed().as_secs_f64()))
    }

    /// The next of a sequence of numbers that the seed determines, below `bound` (SplitMix64).
    fn draw(&mut self, bound: u64) -> u64 {
        self.seed = self.seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.seed;
        bits = (bits ^ bits >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ bits >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (bits ^ bits >> 31) % bound
    }
}
