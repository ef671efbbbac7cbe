//! The real thing behind [`Leader`] and [`Follower`]: a machine with its recorder, a machine with its replayer.

use std::collections::VecDeque;
use std::ops::ControlFlow;

use emu::{
    ClockMode, ConsolePort, DirtySet, Input, Machine, MachineConfig, MachineState, Output, Position, Stop, Until,
};
use replay::snapshot::{pages_segment, state_segment};
use replay::{Live, Recorder, ReplayStop, Replayer, codec, decode_bare, decode_segment};

use super::Host;
use super::engine::{Answers, EngineError, Follower, Leader, Pace, Produced, Segment};

/// A machine on the derived clock is told the time this often (ARCHITECTURE.md, "Time").
const CLOCK_EVERY_NS: u64 = 10_000_000;

/// A digest goes into the log after so many instructions, for the backup to check itself.
const DIGEST_EVERY: u64 = 1 << 28;

/// More typed bytes than this wait outside the machine.
const BACKLOG_MAX: usize = 128;

/// The world around a live machine of the pair.
#[derive(Debug)]
struct Outside {
    answers: Answers,
    produced: VecDeque<Produced>,
}

impl Outside {
    fn new(answers: Answers) -> Self {
        Self { answers, produced: VecDeque::new() }
    }
}

impl Live for Outside {
    fn clock_ns(&mut self) -> u64 {
        self.answers.clock_ns()
    }

    fn random(&mut self) -> u64 {
        self.answers.random()
    }

    fn output(&mut self, number: u64, output: Output, entry: u64) -> ControlFlow<()> {
        self.produced.push_back(Produced { number, entry, output });
        ControlFlow::Continue(())
    }
}

/// A machine that serves.
pub struct Recorded {
    machine: Machine,
    recorder: Recorder<Outside>,
    /// Where the images of its disks are on this host.
    disks: Vec<String>,
    /// The time that the machine was told last.
    told_ns: u64,
    /// The retired count at which the next digest is due.
    digest_at: u64,
}

impl Recorded {
    /// Serves `machine`, with which a log begins. It may have run before, for others: who hears it now has heard nothing.
    #[must_use]
    pub fn new(mut machine: Machine, answers: Answers) -> Self {
        machine.renumber_outputs();
        let recorder = Recorder::new(Outside::new(answers), &machine, 1);
        Self::with(machine, recorder, Vec::new())
    }

    /// Backups are told that the images of its disks are at `paths`, in the order of the disks.
    #[must_use]
    pub fn with_disks(self, paths: Vec<String>) -> Self {
        Self { disks: paths, ..self }
    }

    fn with(machine: Machine, recorder: Recorder<Outside>, disks: Vec<String>) -> Self {
        let (told_ns, retired) = (machine.clock_ns(), machine.position().retired);
        Self { machine, recorder, disks, told_ns, digest_at: retired + DIGEST_EVERY }
    }

    /// The machine.
    #[must_use]
    pub fn machine(&self) -> &Machine {
        &self.machine
    }

    fn is_off(&self) -> bool {
        self.machine.power().is_some()
    }
}

impl Leader for Recorded {
    type Follower = Replayed;

    fn take_unimplemented(&mut self) -> Vec<String> {
        self.machine.take_unimplemented()
    }

    fn run(&mut self, budget: u64) -> Pace {
        let retired = self.machine.position().retired;
        if retired >= self.digest_at && !self.is_off() {
            self.recorder.digest(&mut self.machine);
            self.digest_at = retired + DIGEST_EVERY;
        }
        match self.recorder.run(&mut self.machine, Until::About(retired.saturating_add(budget))) {
            Stop::Limit | Stop::Door => Pace::Busy,
            Stop::Halted | Stop::Starved | Stop::Off(_) => Pace::Idle,
        }
    }

    fn deliver(&mut self, input: Input) {
        if let Input::Clock { ns } = input {
            self.told_ns = ns;
        }
        if !self.is_off() {
            self.recorder.deliver(&mut self.machine, input);
        }
    }

    fn mark(&mut self) {
        if !self.is_off() {
            self.recorder.watermark(&self.machine);
        }
    }

    fn last_entry(&self) -> u64 {
        self.recorder.next_entry() - 1
    }

    fn take_segment(&mut self) -> Option<Segment> {
        let plain = self.recorder.poll_segment().or_else(|| {
            self.recorder.flush();
            self.recorder.poll_segment()
        })?;
        let encoded = plain.encode_bare();
        Some(Segment { first: encoded.first, last: encoded.last, bytes: encoded.bytes })
    }

    fn poll_output(&mut self) -> Option<Produced> {
        self.recorder.live.produced.pop_front()
    }

    fn position(&self) -> Position {
        self.machine.position()
    }

    fn clock_ns(&self) -> u64 {
        self.machine.clock_ns()
    }

    fn clock_due_ns(&self) -> Option<u64> {
        if self.is_off() {
            return None;
        }
        let deadline = self.machine.next_deadline_ns();
        match self.machine.config().clock {
            ClockMode::Host => deadline,
            ClockMode::Derived => {
                let regular = self.told_ns + CLOCK_EVERY_NS;
                // A machine that runs meets its deadlines by itself.
                Some(deadline.filter(|_| self.machine.is_halted()).map_or(regular, |ns| ns.min(regular)))
            }
        }
    }

    fn console_seq(&self, client: u64) -> u64 {
        self.machine.console_seq(client)
    }

    fn console_room(&self) -> bool {
        !self.is_off() && self.machine.console_backlog() < BACKLOG_MAX
    }

    fn has_size(&self) -> bool {
        self.machine.config().devices.console == ConsolePort::Virtio
    }

    fn mac(&self) -> Option<[u8; 6]> {
        self.machine.config().devices.net
    }

    fn frame_room(&self) -> bool {
        !self.is_off() && self.machine.frame_room()
    }

    fn config(&self) -> Vec<u8> {
        codec::encode(&(self.machine.config(), &self.disks))
    }

    fn all_pages(&mut self) -> Vec<u32> {
        self.machine.take_dirty(DirtySet::Transfer);
        self.machine.used_pages().collect()
    }

    fn dirty_pages(&mut self) -> Vec<u32> {
        self.machine.take_dirty(DirtySet::Transfer)
    }

    fn encode_pages(&self, pages: &[u32]) -> Vec<u8> {
        pages_segment(&self.machine, self.recorder.next_entry(), pages)
    }

    fn state(&mut self) -> Vec<u8> {
        self.digest_at = 0; // The backup checks at once that it has received this very machine.
        state_segment(&self.machine, self.recorder.next_entry())
    }
}

/// A machine that follows.
pub struct Replayed {
    config: MachineConfig,
    disks: Vec<String>,
    machine: Machine,
    replayer: Replayer,
}

impl Replayed {
    /// The machine.
    #[must_use]
    pub fn machine(&self) -> &Machine {
        &self.machine
    }
}

impl Follower for Replayed {
    type Leader = Recorded;

    fn new(config: &[u8], host: &dyn Host) -> Result<Option<Self>, EngineError> {
        let (config, paths): (MachineConfig, Vec<String>) = codec::decode(config).map_err(error)?;
        let Some(disks) = host.disks(&config, &paths).map_err(EngineError)? else {
            return Ok(None);
        };
        let machine = Machine::with_images(config, disks.images).map_err(error)?;
        let replayer = Replayer::new(machine.position(), 1);
        Ok(Some(Self { config, disks: disks.paths, machine, replayer }))
    }

    fn write_pages(&mut self, bytes: &[u8]) -> Result<u64, EngineError> {
        let replay::Segment::Pages(pages) = whole_segment(bytes)? else {
            return Err(EngineError("the primary sent something else in the place of pages".to_owned()));
        };
        for page in &pages {
            if page.pfn >= self.machine.page_count() {
                return Err(EngineError(format!("the primary sent page {} beyond the end of memory", page.pfn)));
            }
            match &page.data {
                Some(data) => self.machine.write_page(page.pfn, data),
                None => self.machine.write_page(page.pfn, &[0; emu::PAGE_BYTES]),
            }
        }
        Ok(pages.len() as u64)
    }

    fn restore(&mut self, state: &[u8], last_entry: u64) -> Result<(), EngineError> {
        let replay::Segment::State(segment) = whole_segment(state)? else {
            return Err(EngineError("the primary sent something else in the place of its state".to_owned()));
        };
        let (config, state): (MachineConfig, MachineState) = codec::decode(&segment.encoded).map_err(error)?;
        if config != self.config || segment.next_entry != last_entry + 1 {
            return Err(EngineError("the primary sent the state of another machine".to_owned()));
        }
        state.check(&config).map_err(error)?;
        self.machine.set_state(&state);
        self.replayer = Replayer::new(self.machine.position(), segment.next_entry);
        Ok(())
    }

    fn feed(&mut self, segment: &Segment) -> Result<(), EngineError> {
        let entries = decode_bare(segment.first, segment.last, &segment.bytes).map_err(error)?;
        self.replayer.push(entries).map_err(error)
    }

    fn run(&mut self, budget: u64) -> Result<Pace, EngineError> {
        let limit = Until::About(self.machine.position().retired.saturating_add(budget));
        match self.replayer.step(&mut self.machine, limit) {
            ReplayStop::Limit => Ok(Pace::Busy),
            ReplayStop::NeedMore | ReplayStop::Off(_) => Ok(Pace::Idle),
            ReplayStop::Diverged(divergence) => Err(error(divergence)),
        }
    }

    fn poll_output(&mut self) -> Option<Produced> {
        let emitted = self.replayer.poll_output()?;
        Some(Produced { number: emitted.number, entry: emitted.entry, output: emitted.output })
    }

    fn replayed(&self) -> u64 {
        self.replayer.replayed()
    }

    fn position(&self) -> Position {
        self.machine.position()
    }

    fn clock_ns(&self) -> u64 {
        self.machine.clock_ns()
    }

    fn go_live(self, answers: Answers) -> Result<Recorded, EngineError> {
        let recorder = self.replayer.go_live(&self.machine, Outside::new(answers)).map_err(error)?;
        Ok(Recorded::with(self.machine, recorder, self.disks))
    }
}

/// The one segment that a message carries.
fn whole_segment(bytes: &[u8]) -> Result<replay::Segment, EngineError> {
    match decode_segment(bytes).map_err(error)? {
        (segment, length) if length == bytes.len() => Ok(segment),
        _ => Err(EngineError("the primary sent bytes after a segment".to_owned())),
    }
}

fn error(what: impl ToString) -> EngineError {
    EngineError(what.to_string())
}
