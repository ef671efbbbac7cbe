//! A guest recorded and replayed in this process, in a world that is the same every time.

#![allow(dead_code, unreachable_pub, reason = "each test uses a part; a test has no outside")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test panics when it fails")]

use std::ops::ControlFlow;

use std::sync::Arc;

use emu::boot::{self, ImageKind, Module};
use emu::{
    ClockMode, Control, CpuModel, Devices, DiskConfig, DiskMode, Images, Input, Machine, MachineConfig, Output,
    Position, Power, Stop, Until, image_digest,
};
use replay::recorder::{Live, Recorder};
use replay::replayer::{ReplayStop, Replayer};
use replay::{Segment, decode_segment, machine_digest};

const CLIENT: u64 = 7;

/// A world whose time passes with the number of questions asked, so that a test is the same every time.
struct World {
    now_ns: u64,
    bits: u64,
    console: Vec<u8>,
    /// A file that follows what is written to the disk, and the flushes that are to be answered.
    file: Vec<u8>,
    flushes: Vec<(u8, u64)>,
}

/// The next of a sequence of pseudo-random words.
pub fn next_bits(bits: &mut u64) -> u64 {
    *bits = bits.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    *bits ^ *bits >> 29
}

impl Live for World {
    fn clock_ns(&mut self) -> u64 {
        self.now_ns += 700;
        self.now_ns
    }

    fn random(&mut self) -> u64 {
        next_bits(&mut self.bits)
    }

    fn output(&mut self, _number: u64, output: Output, _entry: u64) -> ControlFlow<()> {
        match output {
            Output::Console { byte, .. } => self.console.push(byte),
            Output::Disk { offset, bytes, .. } => {
                let start = usize::try_from(offset).unwrap();
                self.file[start..start + bytes.len()].copy_from_slice(&bytes);
            }
            Output::Flush { disk, flush } => self.flushes.push((disk, flush)),
            Output::Power(_) | Output::Frame { .. } => {}
        }
        ControlFlow::Continue(())
    }
}

/// What a run left behind.
pub struct Recorded {
    pub segments: Vec<Vec<u8>>,
    pub console: Vec<u8>,
    pub at: Position,
    pub digest: u128,
    pub power: Option<Power>,
    /// The file that has followed the disk.
    pub file: Vec<u8>,
}

/// What a kernel finds in memory.
pub const MODULE: Module<'static> = Module { bytes: b"what a module is made of", command_line: "a module" };

/// A machine and its program.
#[derive(Clone, Copy)]
pub struct Boot<'a> {
    pub name: &'a str,
    pub image: &'a [u8],
    pub cmdline: &'a str,
    pub clock: ClockMode,
    pub cpu: CpuModel,
    /// It has a disk.
    pub disk: Option<DiskMode>,
    /// The image is a kernel.
    pub linux: Option<Linux<'a>>,
}

/// What a kernel has besides.
#[derive(Clone, Copy)]
pub struct Linux<'a> {
    pub initrd: &'a [u8],
    /// What the console must have shown before anything is typed.
    pub ready: &'a str,
}

/// What is on a disk at first: a part of a block at its end.
pub fn image() -> Vec<u8> {
    let mut bits = 5;
    std::iter::repeat_with(|| next_bits(&mut bits).to_le_bytes()).flatten().take((1 << 20) + 512).collect()
}

impl Boot<'_> {
    fn machine(&self) -> Machine {
        let (clock, cpu) = (self.clock, self.cpu);
        let mut devices = Devices::default();
        devices.disks[0] = self.disk.map(|mode| {
            let image = image();
            DiskConfig { bytes: image.len() as u64, mode, digest: image_digest(&image) }
        });
        let memory_bytes = if self.linux.is_some() { 256 << 20 } else { 32 << 20 };
        let config = MachineConfig { memory_bytes, clock, epoch_s: 1_700_000_000, cpu, devices };
        let mut machine = Machine::with_images(config, images(&config)).unwrap();
        let (image, command_line) = (self.image, self.cmdline);
        let modules = [self.linux.map_or(MODULE, |linux| Module { bytes: linux.initrd, command_line: "" })];
        match ImageKind::of(image).protocol() {
            None => machine.load_elf(image, command_line).unwrap(),
            protocol => machine.load_kernel(&boot::Boot { image, modules: &modules, command_line, protocol }).unwrap(),
        }
        machine
    }

    fn is_ready(&self, console: &[u8]) -> bool {
        self.linux.is_none_or(|linux| String::from_utf8_lossy(console).contains(linux.ready))
    }
}

/// What a line of input does: the lines of an operator's keys "Ctrl-A p" and "Ctrl-A d" press buttons.
fn typed(line: &str, seq: &mut u64) -> Input {
    match line {
        "\x01p" => Input::Control(Control::PowerButton),
        "\x01d" => Input::Control(Control::CtrlAltDel),
        line => {
            *seq += 1;
            Input::Console { client: CLIENT, seq: *seq, bytes: line.into() }
        }
    }
}

fn images(config: &MachineConfig) -> Images {
    let mut images = Images::default();
    images[0] = config.devices.disks[0].map(|_| Arc::new(image()) as _);
    images
}

/// Runs the guest to its end, typing `input` line by line whenever it waits.
pub fn record(boot: &Boot, input: &str) -> Recorded {
    let mut machine = boot.machine();
    let world = World { now_ns: 0, bits: 1, console: Vec::new(), file: image(), flushes: Vec::new() };
    let mut recorder = Recorder::new(world, &machine, 1);
    let (mut lines, mut seq, mut slices) = (input.split_inclusive('\n'), 0, 0u64);
    loop {
        slices += 1;
        assert!(slices < 4_000_000, "{}: never ends, at {}", boot.name, machine.position());
        recorder.live.now_ns += 100_000;
        let now = recorder.live.now_ns;
        let due = machine.next_deadline_ns().is_some_and(|ns| ns <= now);
        if due || (boot.clock == ClockMode::Derived && slices.is_multiple_of(100)) {
            recorder.deliver(&mut machine, Input::Clock { ns: now });
        }
        if slices.is_multiple_of(1000) {
            recorder.digest(&mut machine);
        }
        let limit = Until::About(machine.position().retired + 20_000);
        let stop = recorder.run(&mut machine, limit);
        for (disk, flush) in std::mem::take(&mut recorder.live.flushes) {
            recorder.deliver(&mut machine, Input::Flushed { disk, flush });
        }
        match stop {
            Stop::Halted if machine.console_backlog() == 0 && boot.is_ready(&recorder.live.console) => {
                if let Some(line) = lines.next() {
                    recorder.deliver(&mut machine, typed(line, &mut seq));
                }
            }
            Stop::Off(_) => break,
            _ => {}
        }
    }
    assert_eq!(machine.take_unimplemented(), Vec::<String>::new(), "{}", boot.name);
    recorder.digest(&mut machine);
    recorder.flush();
    Recorded {
        segments: std::iter::from_fn(|| recorder.poll_segment()).map(|s| s.encode().bytes).collect(),
        console: recorder.live.console,
        file: recorder.live.file,
        at: machine.position(),
        digest: machine_digest(&mut machine),
        power: machine.power(),
    }
}

/// The same machine, made anew from what is saved of it.
fn moved(machine: &Machine) -> Machine {
    let images = images(machine.config());
    let mut other = Machine::restore_with_images(*machine.config(), images, &machine.state()).unwrap();
    for pfn in machine.used_pages() {
        other.write_page(pfn, machine.page(pfn));
    }
    other
}

/// Replays to the end, stopping on the way wherever `stops` says, going on in a fresh machine now and then; checks
/// everything.
pub fn replay(boot: &Boot, recorded: &Recorded, mut stops: impl FnMut(Position) -> Until) {
    let mut machine = boot.machine();
    let mut replayer = Replayer::new(machine.position(), 1);
    for bytes in &recorded.segments {
        match decode_segment(bytes).unwrap().0 {
            Segment::Entries(entries) => replayer.push(entries).unwrap(),
            other => panic!("{other:?}"),
        }
    }
    let (mut console, mut limits) = (Vec::new(), 0);
    loop {
        let limit = stops(machine.position());
        let stop = replayer.step(&mut machine, limit);
        while let Some(emitted) = replayer.poll_output() {
            if let Output::Console { byte, .. } = emitted.output {
                console.push(byte);
            }
        }
        match stop {
            ReplayStop::Limit => {
                limits += 1;
                if limits % 16 == 0 {
                    machine = moved(&machine);
                }
            }
            ReplayStop::Off(power) => {
                assert_eq!(Some(power), recorded.power);
                break;
            }
            ReplayStop::NeedMore => panic!("{}: stuck at {}", boot.name, machine.position()),
            ReplayStop::Diverged(divergence) => panic!("{}: {divergence}", boot.name),
        }
    }
    assert_eq!(String::from_utf8_lossy(&console), String::from_utf8_lossy(&recorded.console), "{}", boot.name);
    assert_eq!(machine.position(), recorded.at, "{}", boot.name);
    assert_eq!(machine_digest(&mut machine), recorded.digest, "{}", boot.name);
}
