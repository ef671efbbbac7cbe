//! The fuzz targets (tests/fuzz) without a fuzzer: their seeds, every file of their corpus, and random changes of both.
//! cargo-fuzz goes deeper (CONTRIBUTING.md, "Fuzzed"); what it finds becomes a file of the corpus, and so a test.
//!
//! `FUZZ_RUNS=n` runs more changes, `FUZZ_SEED=n` others.

#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

#[path = "fuzz/targets.rs"]
mod targets;

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};

use emu::{ClockMode, Control, CpuModel, Input, Machine, MachineConfig, Output, Position, Power};
use ft_net::message::{Ack, Bye, ClientStatus, Hello, Message, Role, StateEnd};
use replay::codec;
use targets::{TARGETS, Target};

/// Changes of the corpus that are run for each target.
const RUNS: u64 = 1500;

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

/// Inputs to start from, by name: made here, so that they follow the formats; and the files of the corpus.
fn seeds(target: &str) -> Vec<(String, Vec<u8>)> {
    let mut seeds = match target {
        "kernel" => vec![("multiboot".to_owned(), testprogs::MULTIBOOT.to_vec())],
        "log" => logs(),
        "message" => messages(),
        "state" => states(),
        "hardware" => scripts(),
        _ => Vec::new(),
    };
    let directory = directory().join("corpus").join(target);
    let files = fs::read_dir(directory).into_iter().flatten().map(|entry| entry.unwrap().path());
    seeds.extend(files.map(|path| (path.file_name().unwrap().display().to_string(), fs::read(path).unwrap())));
    seeds.sort();
    seeds
}

fn directory() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz")
}

/// SplitMix64.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.roll() % (n as u64).max(1)).unwrap()
    }

    fn byte(&mut self) -> u8 {
        match self.below(3) {
            0 => [0, 1, 0x7f, 0x80, 0xfe, 0xff, 0xfa, 0xfb][self.below(8)],
            _ => self.roll().to_le_bytes()[0],
        }
    }

    /// A few bytes other, more, fewer, moved, or the rest of something else.
    fn change(&mut self, data: &mut Vec<u8>, other: &[u8]) {
        for _ in 0..=self.below(6) {
            let at = self.below(data.len());
            match self.below(6) {
                0 if !data.is_empty() => drop(data.remove(at)),
                1 => {
                    let fresh: Vec<u8> = (0..=self.below(9)).map(|_| self.byte()).collect();
                    data.splice(at..at, fresh);
                }
                2 => data.truncate(data.len() - self.below(data.len()) / 4),
                3 if self.below(4) == 0 => {
                    data.truncate(at);
                    data.extend(&other[self.below(other.len())..]);
                }
                _ if !data.is_empty() => {
                    data[at] = if self.below(2) == 0 { self.byte() } else { data[at] ^ 1 << self.below(8) }
                }
                _ => {}
            }
        }
    }
}

/// Runs one input, true if it was taken; a panic says how to have it again.
fn run(target: Target, data: &[u8], what: &str) -> bool {
    catch_unwind(AssertUnwindSafe(|| target(data))).unwrap_or_else(|panic| {
        let path = std::env::temp_dir().join(format!("{what}.fuzz"));
        let kept = fs::write(&path, data).is_ok();
        eprintln!("{what}: kept as {} ({kept})", path.display());
        resume_unwind(panic)
    })
}

fn survives(name: &str) {
    let (_, target) = TARGETS.into_iter().find(|(target, _)| *target == name).unwrap();
    let seeds = seeds(name);
    for (seed, data) in &seeds {
        let taken = run(target, data, seed);
        assert!(taken || seed.starts_with("crash"), "{name}/{seed} is refused: nothing behind that is tested");
    }
    let (runs, seed) = (number("FUZZ_RUNS", RUNS), number("FUZZ_SEED", 1));
    for number in 0..runs {
        let mut dice = Dice(Dice(seed).roll() ^ Dice(number).roll());
        let mut data = seeds[dice.below(seeds.len())].1.clone();
        let other = seeds[dice.below(seeds.len())].1.clone();
        dice.change(&mut data, &other);
        run(target, &data, &format!("{name}-{seed}-{number}"));
    }
}

#[test]
fn any_code_in_any_state_runs() {
    survives("code");
}

#[test]
fn any_image_is_loaded_or_refused() {
    survives("elf");
}

#[test]
fn any_kernel_is_loaded_or_refused() {
    survives("kernel");
}

#[test]
fn any_abuse_of_the_hardware_is_survived() {
    survives("hardware");
}

#[test]
fn any_log_is_read_or_refused() {
    survives("log");
}

#[test]
fn any_message_is_taken_or_refused() {
    survives("message");
}

#[test]
fn any_state_is_restored_or_refused() {
    survives("state");
}

/// Writes the seeds where cargo-fuzz can have them.
#[test]
fn seeds_for_the_fuzzer() {
    for (name, _) in TARGETS {
        let to = Path::new(env!("CARGO_TARGET_TMPDIR")).join("fuzz-seeds").join(name);
        fs::create_dir_all(&to).unwrap();
        for (seed, data) in seeds(name) {
            fs::write(to.join(seed), data).unwrap();
        }
    }
}

fn config() -> MachineConfig {
    MachineConfig {
        memory_bytes: 1 << 20,
        clock: ClockMode::Derived,
        epoch_s: 0,
        cpu: CpuModel::V3,
        devices: Default::default(),
    }
}

/// A machine that is about to run the smallest of programs.
fn machine() -> Machine {
    let mut machine = Machine::new(config()).unwrap();
    machine.load_elf(&fs::read(directory().join("corpus/elf/nothing")).unwrap(), "").unwrap();
    machine
}

fn states() -> Vec<(String, Vec<u8>)> {
    let power_on = Machine::new(config()).unwrap().state();
    let state = |name: &str, state| (name.to_owned(), codec::encode(&(config(), state)));
    vec![state("power-on", power_on), state("handed-off", machine().state())]
}

/// Bytes of any kind; most of what they say is said to some device.
fn scripts() -> Vec<(String, Vec<u8>)> {
    let script = |seed| {
        let mut dice = Dice(seed);
        (format!("script-{seed}"), (0..400).map(|_| dice.roll().to_le_bytes()[0]).collect())
    };
    (0..8).map(script).collect()
}

fn logs() -> Vec<(String, Vec<u8>)> {
    let machine = machine();
    let snapshot = replay::snapshot::save(Vec::new(), "nothing", vec![], &machine).unwrap();
    vec![("snapshot".into(), snapshot), ("entries".into(), log_with_entries(&machine))]
}

fn log_with_entries(machine: &Machine) -> Vec<u8> {
    use replay::log::{LogHeader, LogWriter, Totals};
    use replay::{CLOCK_STEP_NS, Entry, Event, SegmentEncoder};
    let header = LogHeader::new("nothing", vec![], codec::encode(machine.config()));
    let mut writer = LogWriter::create(Vec::new(), &header).unwrap();
    for segment in replay::snapshot::segments(machine, 1) {
        writer.write_segment(&segment).unwrap();
    }
    let at = |retired| Position { retired, steps: 0 };
    let mut encoder = SegmentEncoder::new(1);
    for (retired, event) in [
        (3, Event::Input(Input::Clock { ns: 16 * CLOCK_STEP_NS })),
        (4, Event::Clock(20 * CLOCK_STEP_NS)),
        (5, Event::Input(Input::Console { client: 1, seq: 1, bytes: b"hello".to_vec() })),
        (9, Event::Input(Input::Control(Control::PowerOff))),
    ] {
        encoder.push(&Entry { at: at(retired), event });
    }
    writer.write_segment(&encoder.take().unwrap().encode().bytes).unwrap();
    writer.finish(&Totals { entries: 4, outputs: 0, at: at(9), power: None }).unwrap()
}

/// Each message in the script of the target: a connection is made, and it comes.
fn messages() -> Vec<(String, Vec<u8>)> {
    let script = |(number, message): (usize, Message)| {
        let body = codec::encode(&message);
        let length = u16::try_from(body.len()).unwrap().to_le_bytes();
        (format!("{number:02}-{}", message.kind()), [&[0, 1, 3, 1], &length[..], &body[..]].concat())
    };
    all_messages().into_iter().enumerate().map(script).collect()
}

fn all_messages() -> Vec<Message> {
    let hello = |role, generation| Message::Hello(Hello { instance: 1, replica: 9, generation, role });
    vec![
        hello(Role::Backup, 0),
        hello(Role::Primary, 1),
        Message::Refuse { reason: "no".into() },
        Message::StateBegin { config: codec::encode(&config()) },
        Message::Pages { chunk: 1, bytes: vec![0; 20] },
        Message::PagesAck { chunk: 1 },
        Message::StateEnd(Box::new(StateEnd {
            generation: 1,
            state: vec![1, 2, 3],
            last_entry: 0,
            released: 0,
            unreleased: vec![Output::Console { offset: 0, byte: 1 }, Output::Power(Power::Dead)],
            clock_ns: 5,
        })),
        Message::Log { first: 1, last: 2, released: 0, clock_ns: 9, bytes: vec![1; 30] },
        Message::Ack(Ack { received: 1, replayed: 1, retired: 100 }),
        Message::Heartbeat { generation: 1, last_entry: 2, released: 1, clock_ns: 10 },
        Message::Bye(Bye::PowerOff { outputs: 2 }),
        Message::Bye(Bye::Detach),
        Message::ClientHello { client: 7 },
        Message::ClientInput { seq: 1, bytes: b"x".to_vec() },
        Message::ClientAck { seq: 1 },
        Message::ClientStatus(ClientStatus { generation: 1, replica: 2, protected: false, released: 0 }),
    ]
}
