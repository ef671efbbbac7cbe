//! A machine that has no replica: it runs against the host's clock, entropy, terminal and network, and may be recorded.
//!
//! Console bytes are shown, frames sent and images of disks written only after the log with their entries is in the
//! operating system's hands, so that a kill at any moment leaves a log that explains everything that was seen or written.
//! Only a crash of the host itself may cost the end of a log: it is made durable (fsync) when the run ends.

use std::fs::File;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use emu::{ClockMode, ConsolePort, DiskMode, Input, Machine, Output, Position, Power, Stop, Until};
use replay::log::LogWriter;
use replay::snapshot::begin_log;
use replay::{Live, Recorder};

use crate::exit;
use crate::host::clock::HostClock;
use crate::host::disks::Disk;
use crate::host::entropy::Entropy;
use crate::host::errors::{print, say};
use crate::host::keyboard::Typed;
use crate::host::progress::Progress;
use crate::host::surroundings::Surroundings;
use crate::host::{signals, terminal};
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
/// How often we look whether the terminal has another size.
const SIZE_EVERY: Duration = Duration::from_millis(200);
/// Typed bytes wait outside while the guest has so many to read.
const BACKLOG_MAX: usize = 256;

/// A log file that is being written.
pub(crate) struct LogFile {
    path: PathBuf,
    writer: LogWriter<File>,
}

impl LogFile {
    /// Begins a log with `machine` as it is, the images of its disks being at `disks`; its first entry will have the number
    /// `next_entry`.
    ///
    /// # Errors
    /// If the file exists or cannot be written.
    pub(crate) fn create(
        path: &Path,
        program: &str,
        disks: Vec<String>,
        machine: &Machine,
        next_entry: u64,
    ) -> Result<Self> {
        let file = crate::host::files::create_new(path)?;
        let writer = begin_log(file, program, disks, machine, next_entry)
            .with_context(|| format!("cannot write {}", path.display()))?;
        Ok(Self { path: path.to_owned(), writer })
    }

    fn write(&mut self, segment: &[u8]) -> Result<()> {
        let offset = self.writer.offset();
        let about = || format!("cannot write {} at offset {offset}", self.path.display());
        self.writer.write_segment(segment).with_context(about)
    }
}

/// The world around the machine.
struct World {
    clock: HostClock,
    entropy: Entropy,
    /// Console bytes not yet shown.
    console: Vec<u8>,
    /// What is to be written to disks or made durable there.
    disks: Vec<Output>,
    /// Frames not yet sent.
    frames: Vec<Vec<u8>>,
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
            Output::Console { byte, .. } => self.console.push(byte),
            Output::Disk { .. } | Output::Flush { .. } => self.disks.push(output),
            Output::Frame { bytes } => self.frames.push(bytes),
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
    /// Size of the terminal as the guest knows it, and when we looked.
    size: Option<(u16, u16)>,
    sized: Option<Instant>,
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
        let recorder = Recorder::new(
            World { clock, entropy, console: Vec::new(), disks: Vec::new(), frames: Vec::new() },
            &machine,
            next_entry,
        );
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
            size: None,
            sized: None,
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
        let code = self.run_to_end();
        self.finish()?;
        code
    }

    fn run_to_end(&mut self) -> Result<u8> {
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
            if !self.recorder.live.console.is_empty() || !matches!(stop, Stop::Limit | Stop::Halted) {
                self.progress = None;
            } else if let Some(progress) = &mut self.progress {
                progress.booting(self.machine.position().retired);
            }
            self.tell_unimplemented();
            self.bring_out()?;
            if let Some(plan) = self.snapshot.take_if(|plan| plan.is_due(&self.machine)) {
                self.progress = None;
                plan.take(&self.machine)?;
            }
            let flushed = self.write_disks()?;
            match stop {
                Stop::Off(power) => return Ok(self.ended(power)),
                Stop::Halted if !flushed && !self.frame_waits() => self.sleep(),
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
        let knows = self.machine.config().devices.console == ConsolePort::Virtio;
        if !knows || self.sized.is_some_and(|at| at.elapsed() < SIZE_EVERY) {
            return;
        }
        self.sized = Some(Instant::now());
        let size = terminal::size();
        if size != self.size
            && let Some((columns, rows)) = size
        {
            self.size = size;
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

    /// Writes what is recorded, and then shows and sends what it explains.
    fn bring_out(&mut self) -> Result<()> {
        let console = std::mem::take(&mut self.recorder.live.console);
        let frames = std::mem::take(&mut self.recorder.live.frames);
        if self.log.is_some() && self.digested.elapsed() >= DIGEST_EVERY {
            self.digested = Instant::now();
            self.recorder.digest(&mut self.machine);
        }
        let waits = !console.is_empty() || !frames.is_empty() || !self.recorder.live.disks.is_empty();
        if waits || self.logged.elapsed() >= LOG_EVERY {
            self.logged = Instant::now();
            self.recorder.flush();
        }
        while let Some(segment) = self.recorder.poll_segment() {
            if let Some(log) = &mut self.log {
                log.write(&segment.encode().bytes)?;
            }
        }
        if let Some(plan) = &mut self.snapshot {
            plan.hear(&console);
        }
        frames.into_iter().for_each(|frame| self.outside.send_frame(frame));
        if console.is_empty() { Ok(()) } else { print(&console) }
    }

    /// Writes to the files what the guest has written to its disks, after the log that explains it, and tells it what has become
    /// durable. `true`: it has been told something.
    fn write_disks(&mut self) -> Result<bool> {
        let mut flushed = false;
        for output in std::mem::take(&mut self.recorder.live.disks) {
            match output {
                Output::Disk { disk, offset, bytes } => {
                    self.disks.get(usize::from(disk)).map_or(Ok(()), |disk| disk.image.write(offset, &bytes))?;
                }
                Output::Flush { disk, flush } => {
                    self.disks.get(usize::from(disk)).map_or(Ok(()), |disk| disk.image.sync())?;
                    self.recorder.deliver(&mut self.machine, Input::Flushed { disk, flush });
                    flushed = true;
                }
                _ => {}
            }
        }
        Ok(flushed)
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

    /// Ends the log on purpose.
    fn finish(mut self) -> Result<()> {
        if let Some(plan) = &self.snapshot {
            say(format_args!("{}", plan.missed()));
        }
        self.leave_disks()?;
        if self.log.is_none() {
            return Ok(());
        }
        self.recorder.digest(&mut self.machine);
        self.recorder.flush();
        let mut segments = Vec::new();
        while let Some(segment) = self.recorder.poll_segment() {
            segments.extend(segment.encode().bytes);
        }
        let totals = self.recorder.totals(&self.machine);
        let Some(mut log) = self.log else { return Ok(()) };
        log.write(&segments)?;
        let about = || format!("cannot write {}", log.path.display());
        let file = log.writer.finish(&totals).with_context(about)?;
        file.sync_all().with_context(about)
    }
}
