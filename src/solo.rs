//! A machine that has no replica: it runs against the host's clock, entropy, terminal and network, and may be recorded.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use anyhow::Result;
use emu::{ClockMode, ConsolePort, DiskMode, Input, Machine, Output, Position, Power, Stop, Until};
use replay::log::PlainSegment;
use replay::{Live, Recorder};

use crate::exit;
use crate::host::clock::HostClock;
use crate::host::disks::Disk;
use crate::host::entropy::Entropy;
use crate::host::errors::say;
use crate::host::keyboard::Typed;
use crate::host::progress::Progress;
use crate::host::signals;
use crate::host::surroundings::Surroundings;
use crate::host::terminal::SizeWatch;
use crate::outlet::{Batch, LogFile, Outlet};
use crate::snapshot::Plan;

/// Instructions between two looks at the world: about a millisecond.
const SLICE: u64 = 200_000;
/// How often a guest with the derived clock is told the time (ARCHITECTURE.md, "Time").
const CLOCK_INPUT_EVERY_NS: u64 = 10_000_000;
/// How often the log gets a digest of the machine.
const DIGEST_EVERY: Duration = Duration::from_secs(1);
/// How long entries that nothing waits for may stay out of the log.
const LOG_EVERY: Duration = Duration::from_millis(100);
/// How long a halted guest sleeps before we look whether the operator wants an end.
const SLEEP_MAX: Duration = Duration::from_millis(20);
/// Typed bytes wait outside while the guest has so many to read.
const BACKLOG_MAX: usize = 256;

/// The world around the machine.
struct World {
    clock: HostClock,
    entropy: Entropy,
    /// What is to leave.
    batch: Batch,
}

impl Live for World {
    fn clock_ns(&mut self) -> u64 {
        self.clock.now_ns()
    }

    fn random(&mut self) -> u64 {
        self.entropy.next()
    }

    fn output(&mut self, _number: u64, output: Output, _entry: u64) -> ControlFlow<()> {
        match output {
            Output::Console { byte, .. } => self.batch.console.push(byte),
            Output::Disk { .. } | Output::Flush { .. } => self.batch.disks.push(output),
            Output::Frame { bytes } => self.batch.frames.push(bytes),
            Output::Power(_) => {}
        }
        ControlFlow::Continue(())
    }
}

/// Runs a machine live.
pub(crate) struct Solo {
    machine: Machine,
    recorder: Recorder<World>,
    log: Option<LogFile>,
    snapshot: Option<Plan>,
    /// The disks whose images follow what the guest writes, and others.
    disks: Vec<Disk>,
    outside: Surroundings,
    /// Identity of this terminal as a sender of input, and the number of its last one.
    client: u64,
    seq: u64,
    clock_input_ns: u64,
    size: SizeWatch,
    logged: Instant,
    digested: Instant,
    /// Until the guest says something.
    progress: Option<Progress>,
}

impl Solo {
    /// A machine that goes on from where it is, with `next_entry` as the number of the next entry of its log.
    ///
    /// # Errors
    /// If the host has no entropy.
    pub(crate) fn new(machine: Machine, next_entry: u64, log: Option<LogFile>, outside: Surroundings) -> Result<Self> {
        let mut entropy = Entropy::new()?;
        let (client, clock) = (entropy.next(), HostClock::new(machine.clock_ns()));
        let clock_input_ns = clock.now_ns();
        let recorder = Recorder::new(World { clock, entropy, batch: Batch::default() }, &machine, next_entry);
        let (logged, digested) = (Instant::now(), Instant::now());
        Ok(Self {
            machine,
            recorder,
            log,
            snapshot: None,
            disks: Vec::new(),
            outside,
            client,
            seq: 0,
            clock_input_ns,
            size: SizeWatch::default(),
            logged,
            digested,
            progress: None,
        })
    }

    /// Saves the machine on the way.
    pub(crate) fn with_snapshot(self, snapshot: Option<Plan>) -> Self {
        Self { snapshot, ..self }
    }

    /// Writes to `disks` what the guest writes to them, if they have that mode. Writes to others stay in the machine.
    pub(crate) fn with_disks(self, disks: Vec<Disk>) -> Self {
        Self { disks, ..self }
    }

    /// Shows a line until the guest says something.
    pub(crate) fn with_progress(self, progress: Option<Progress>) -> Self {
        Self { progress, ..self }
    }

    /// Runs until the guest is off or the operator stops it; gives the exit code.
    ///
    /// # Errors
    /// If the log or the terminal cannot be written. The log is good up to there.
    pub(crate) fn run(mut self) -> Result<u8> {
        self.outside.listen();
        let mut outlet = Outlet::start(self.log.take(), self.disks.clone(), &self.outside)?;
        let code = self.run_to_end(&mut outlet);
        self.finish(outlet)?;
        code
    }

    fn run_to_end(&mut self, outlet: &mut Outlet) -> Result<u8> {
        // A machine that was saved, or replayed up to here, may wait for an answer that its own time would have brought.
        for (disk, flush) in self.machine.pending_flushes() {
            self.recorder.deliver(&mut self.machine, Input::Flushed { disk, flush });
        }
        loop {
            if signals::stop_asked() {
                return Ok(exit::STOPPED);
            }
            self.take_input();
            self.tell_size();
            self.tell_time();
            let limit = self.limit();
            let stop = self.recorder.run(&mut self.machine, limit);
            if !self.recorder.live.batch.console.is_empty() || !matches!(stop, Stop::Limit | Stop::Halted) {
                self.progress = None;
            } else if let Some(progress) = &mut self.progress {
                progress.booting(self.machine.position().retired);
            }
            self.tell_unimplemented();
            self.bring_out(outlet)?;
            if let Some(plan) = self.snapshot.take_if(|plan| plan.is_due(&self.machine)) {
                self.progress = None;
                outlet.drain()?;
                plan.take(&self.machine)?;
            }
            match stop {
                Stop::Off(power) => {
                    outlet.drain()?;
                    return Ok(self.ended(power));
                }
                Stop::Halted if !self.frame_waits() => self.sleep(),
                Stop::Halted | Stop::Limit | Stop::Door | Stop::Starved => {}
            }
        }
    }

    /// How far to run before the next look at the world.
    fn limit(&self) -> Until {
        let slice = self.machine.position().retired + SLICE;
        match self.snapshot.as_ref().and_then(Plan::stop_at) {
            Some(at) if at <= slice => Until::Exactly(Position::at(at)),
            _ => Until::About(slice),
        }
    }

    fn take_input(&mut self) {
        self.outside.look();
        while let Some((disk, flush)) = self.outside.poll_flushed() {
            self.recorder.deliver(&mut self.machine, Input::Flushed { disk, flush });
        }
        while self.machine.console_backlog() < BACKLOG_MAX
            && let Some(typed) = self.outside.poll_typed()
        {
            self.type_in(typed);
        }
        while self.machine.frame_room()
            && let Some(bytes) = self.outside.poll_frame()
        {
            self.recorder.deliver(&mut self.machine, Input::Frame { bytes });
        }
    }

    /// Whether the next look gives the guest a frame. More arrive at a time than its card holds, and those that are here already
    /// wake nobody.
    fn frame_waits(&self) -> bool {
        self.outside.has_frame() && self.machine.frame_room()
    }

    fn type_in(&mut self, typed: Typed) {
        let input = match typed {
            Typed::Control(control) => Input::Control(control),
            Typed::Bytes(bytes) => {
                self.seq += 1;
                Input::Console { client: self.client, seq: self.seq, bytes }
            }
        };
        self.recorder.deliver(&mut self.machine, input);
    }

    /// Tells a virtio console the size of the terminal.
    fn tell_size(&mut self) {
        if self.machine.config().devices.console == ConsolePort::Virtio
            && let Some((columns, rows)) = self.size.poll()
        {
            self.recorder.deliver(&mut self.machine, Input::ConsoleSize { columns, rows });
        }
    }

    fn tell_time(&mut self) {
        let now = self.recorder.live.clock.now_ns();
        let due = self.machine.next_deadline_ns().is_some_and(|ns| ns <= now);
        let derived = self.machine.config().clock == ClockMode::Derived;
        if due || (derived && now - self.clock_input_ns >= CLOCK_INPUT_EVERY_NS) {
            self.clock_input_ns = now;
            self.recorder.deliver(&mut self.machine, Input::Clock { ns: now });
        }
    }

    /// Waits for a key, a frame or a timer of the halted guest.
    fn sleep(&mut self) {
        let deadline = self.machine.next_deadline_ns().map(|ns| self.recorder.live.clock.until(ns));
        self.outside.wait(deadline.unwrap_or(SLEEP_MAX).min(SLEEP_MAX));
    }

    /// Hands over what is recorded, and what it explains.
    fn bring_out(&mut self, outlet: &mut Outlet) -> Result<()> {
        let mut batch = std::mem::take(&mut self.recorder.live.batch);
        if outlet.records() && self.digested.elapsed() >= DIGEST_EVERY {
            self.digested = Instant::now();
            self.recorder.digest(&mut self.machine);
        }
        if batch.is_seen() || self.logged.elapsed() >= LOG_EVERY {
            self.logged = Instant::now();
            self.recorder.flush();
        }
        batch.segments = self.segments();
        if let Some(plan) = &mut self.snapshot {
            plan.hear(&batch.console);
        }
        outlet.send(batch)
    }

    fn segments(&mut self) -> Vec<PlainSegment> {
        std::iter::from_fn(|| self.recorder.poll_segment()).collect()
    }

    fn tell_unimplemented(&mut self) {
        for name in self.machine.take_unimplemented() {
            self.progress = None;
            let at = self.machine.position();
            say(format_args!("the guest met {name}, which is not implemented: #UD, before instruction {at}"));
        }
    }

    fn ended(&self, power: Power) -> u8 {
        let at = self.machine.position();
        match power {
            Power::Off { .. } => {}
            Power::Reset => say(format_args!("the guest asked for a reset at instruction {at}")),
            Power::TripleFault => say(format_args!("the guest died of a triple fault at instruction {at}")),
            Power::Dead => {
                say(format_args!(
                    "the guest halted, or jumps to itself, with interrupts off at instruction {at}: nothing can wake it"
                ));
            }
        }
        exit::of_power(power)
    }

    /// Makes files durable, and says what is lost.
    fn leave_disks(&self) -> Result<()> {
        for (number, config) in self.machine.config().devices.disks.iter().enumerate() {
            let written = self.machine.disk_written_bytes(number).div_ceil(1024);
            match (config.as_ref().map(|config| config.mode), self.disks.get(number)) {
                (Some(DiskMode::WriteThrough), Some(disk)) => disk.image.sync()?,
                (Some(DiskMode::WriteThrough), None) if written > 0 => {
                    say(format_args!(
                        "what the guest wrote to disk {number} did not go to an image: it went on from a copy"
                    ));
                }
                (Some(DiskMode::Overlay), Some(disk)) if written > 0 && !disk.chosen => {
                    let path = disk.image.path().display();
                    say(format_args!("{written} KiB that the guest wrote to {path} are gone: mode=rw keeps them"));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Ends the log on purpose, and says what is lost.
    fn finish(mut self, outlet: Outlet) -> Result<()> {
        if let Some(plan) = &self.snapshot {
            say(format_args!("{}", plan.missed()));
        }
        if outlet.records() {
            self.recorder.digest(&mut self.machine);
            self.recorder.flush();
        }
        let ended = outlet.end(self.segments(), &self.recorder.totals(&self.machine));
        self.leave_disks()?;
        ended
    }
}
