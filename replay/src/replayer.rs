//! The replaying side: a machine that is driven by a log and checked against it. A backup, `ftemu replay` and a debugger
//! are the same thing here; they differ in where entries come from and where outputs go.
//!
//! **A replica never runs past the log** (ARCHITECTURE.md). It runs up to the last entry held, and if that is a
//! consequence (an answer, an output, an interrupt) through the one instruction or event that brings it about; no
//! further, because the next entry may be an input right there.

use std::collections::VecDeque;
use std::fmt;
use std::ops::ControlFlow;

use emu::{Door, Machine, Output, Position, Power, Query, Stop, Until};

use crate::digest::machine_digest;
use crate::diverge::{Divergence, Happened};
use crate::entry::{Entry, Event, OutputCheck};
use crate::log::EntriesSegment;
use crate::recorder::{Live, Recorder};

/// Why [`Replayer::step`] returned.
#[derive(Debug)]
pub enum ReplayStop {
    /// All entries held are used up, as far as they can be. Push more, or go live.
    NeedMore,
    /// The limit is reached.
    Limit,
    /// The machine is off, and so is the log's.
    Off(Power),
    /// The machine did not do what the log says. It must not go on.
    Diverged(Box<Divergence>),
}

/// An output of the replayed machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Emitted {
    /// Number of the output.
    pub number: u64,
    /// The output.
    pub output: Output,
    /// Number of its entry.
    pub entry: u64,
}

/// Entries that do not continue those held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GapError {
    /// Number of the entry that was due.
    pub due: u64,
    /// Number of the entry that came.
    pub came: u64,
}

impl fmt::Display for GapError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.due == self.came {
            true => write!(f, "entry {} lies before the entry that it follows", self.came),
            false => write!(f, "entry {} came when entry {} was due", self.came, self.due),
        }
    }
}

impl std::error::Error for GapError {}

/// A replayed machine cannot go live while so many entries are still to be replayed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unfinished(pub usize);

impl fmt::Display for Unfinished {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} entries are still to be replayed", self.0)
    }
}

impl std::error::Error for Unfinished {}

/// Entries on their way into a machine.
#[derive(Debug)]
pub struct Replayer {
    held: VecDeque<Entry>,
    /// Number of the first entry held, or of the next to come.
    next: u64,
    /// Numbers of the held entries that happen between instructions: where the machine must stop.
    stops: VecDeque<u64>,
    /// Whether an entry came that says that the machine stops for good. Those after it need no stop.
    off: bool,
    /// Position of the last entry that came.
    last: Position,
    /// Outputs that nobody has taken yet.
    emitted: VecDeque<Emitted>,
    /// What the machine did that the log does not say.
    happened: Option<Happened>,
}

impl Replayer {
    /// A replayer for a machine at `at`, whose log goes on with the entry of number `next_entry`.
    #[must_use]
    pub fn new(at: Position, next_entry: u64) -> Self {
        Self {
            held: VecDeque::new(),
            next: next_entry,
            stops: VecDeque::new(),
            off: false,
            last: at,
            emitted: VecDeque::new(),
            happened: None,
        }
    }

    /// Takes the entries that follow those before. The last has an exact position, as in every segment: the machine runs up to
    /// there.
    ///
    /// # Errors
    /// If they do not; nothing is taken then.
    pub fn push(&mut self, segment: EntriesSegment) -> Result<(), GapError> {
        let due = self.next + self.held.len() as u64;
        let in_order = segment.entries.first().is_none_or(|entry| entry.at >= self.last)
            && segment.entries.is_sorted_by_key(|entry| entry.at);
        if segment.first != due || !in_order {
            return Err(GapError { due, came: segment.first });
        }
        for (number, entry) in (due..).zip(segment.entries) {
            self.last = entry.at;
            if entry.event.is_between_instructions() && !self.off {
                self.stops.push_back(number);
            }
            self.off |= matches!(entry.event, Event::Output { check: OutputCheck::Power(_), .. });
            self.held.push_back(entry);
        }
        Ok(())
    }

    /// Number of the last entry replayed; 0 if none.
    #[must_use]
    pub const fn replayed(&self) -> u64 {
        self.next - 1
    }

    /// How many entries are held and not yet replayed.
    #[must_use]
    pub fn held(&self) -> usize {
        self.held.len()
    }

    /// The next output of the replayed machine. A backup keeps or drops it; `ftemu replay` shows it.
    pub fn poll_output(&mut self) -> Option<Emitted> {
        self.emitted.pop_front()
    }

    /// Runs `machine` along the entries held, not beyond `limit`. Inputs at the limit are delivered, the instruction there
    /// has not begun.
    pub fn step(&mut self, machine: &mut Machine, limit: Until) -> ReplayStop {
        loop {
            if let Err(divergence) = self.act_between_instructions(machine) {
                return ReplayStop::Diverged(divergence);
            }
            if let Some(power) = machine.power() {
                return match self.held.is_empty() {
                    true => ReplayStop::Off(power),
                    false => self.diverged(machine, Happened::Off(power)),
                };
            }
            let at = machine.position();
            let Some(target) = self.target().filter(|&target| at < target) else {
                return ReplayStop::NeedMore;
            };
            let until = match limit {
                Until::Exactly(limit) if limit <= at => return ReplayStop::Limit,
                Until::About(limit) if limit <= at.retired => return ReplayStop::Limit,
                Until::Exactly(limit) if limit < target => Until::Exactly(limit),
                Until::About(limit) if limit < target.retired => Until::About(limit),
                _ => Until::Exactly(target),
            };
            let stop = machine.run(until, self);
            if let Some(happened) = self.happened.take() {
                return self.diverged(machine, happened);
            }
            match stop {
                Stop::Limit if until != Until::Exactly(target) => return ReplayStop::Limit,
                Stop::Halted if machine.position() < target => {
                    return self.diverged(machine, Happened::Halted);
                }
                Stop::Starved => return ReplayStop::NeedMore,
                Stop::Limit | Stop::Halted | Stop::Door | Stop::Off(_) => {}
            }
        }
    }

    /// Where the machine must stop next.
    fn stop(&self) -> Option<Position> {
        let ahead = usize::try_from(self.stops.front()? - self.next).ok()?;
        self.held.get(ahead).map(|entry| entry.at)
    }

    /// How far the machine may run; `None`: nowhere.
    fn target(&self) -> Option<Position> {
        let last = self.held.back()?.at;
        // Whatever happens next at the last entry, be it an instruction, one iteration of a REP or an interrupt, leads here
        // or beyond.
        let after = Position { retired: last.retired, steps: last.steps.saturating_add(1) };
        Some(self.stop().unwrap_or(after))
    }

    /// Consumes the entries at the machine's position that come before the instruction there.
    fn act_between_instructions(&mut self, machine: &mut Machine) -> Result<(), Box<Divergence>> {
        let at = machine.position();
        while let Some(event) = self.due(at).filter(|event| event.is_between_instructions()) {
            match event {
                Event::Input(input) => machine.deliver(input),
                &Event::Digest(digest) => {
                    let own = machine_digest(machine);
                    if own != digest {
                        return Err(self.divergence(machine, Happened::Digest(own)));
                    }
                }
                _ => {}
            }
            let number = self.consume();
            self.stops.pop_front_if(|&mut stop| stop == number);
        }
        let first = self.held.front().is_some_and(|entry| entry.event.is_placed() && entry.at < at);
        let any = self.held.back().is_some_and(|last| last.at < at) || self.stop().is_some_and(|stop| stop <= at);
        match first || any {
            true => Err(self.divergence(machine, Happened::Passed)),
            false => Ok(()),
        }
    }

    /// Takes the first entry held; returns its number.
    #[inline]
    fn consume(&mut self) -> u64 {
        self.held.pop_front();
        self.next += 1;
        self.next - 1
    }

    /// The first entry held, if it is at `at`, or may be.
    #[inline]
    fn due(&self, at: Position) -> Option<&Event> {
        let here = |entry: &&Entry| entry.at == at || entry.at < at && !entry.event.is_placed();
        self.held.front().filter(here).map(|entry| &entry.event)
    }

    fn diverged(&self, machine: &Machine, happened: Happened) -> ReplayStop {
        ReplayStop::Diverged(self.divergence(machine, happened))
    }

    fn divergence(&self, machine: &Machine, happened: Happened) -> Box<Divergence> {
        Box::new(Divergence::new(machine, self.next, self.held.front().cloned(), happened))
    }

    /// Hands the machine over to the live world, all entries being replayed; their numbers go on.
    ///
    /// # Errors
    /// If there are entries that [`step`](Self::step) has not yet replayed.
    ///
    /// # Panics
    /// If there are outputs that nobody has taken from [`poll_output`](Self::poll_output).
    pub fn go_live<L: Live>(self, machine: &Machine, live: L) -> Result<Recorder<L>, Unfinished> {
        assert!(self.emitted.is_empty(), "going live with outputs not taken");
        match self.held.len() {
            0 => Ok(Recorder::new(live, machine, self.next)),
            held => Err(Unfinished(held)),
        }
    }
}

impl Door for Replayer {
    fn query(&mut self, at: Position, query: Query) -> Option<u64> {
        let answer = match (query, self.due(at)) {
            (Query::Clock, Some(&Event::Clock(ns))) => ns,
            (Query::Random, Some(&Event::Random(bits))) => bits,
            _ => {
                // With entries in hand, this query should have been among them.
                self.happened = (!self.held.is_empty()).then_some(Happened::Query(query));
                return None;
            }
        };
        self.consume();
        Some(answer)
    }

    fn output(&mut self, at: Position, number: u64, output: Output) -> ControlFlow<()> {
        let (own_number, own_check) = (number, OutputCheck::from(&output));
        match self.due(at) {
            Some(&Event::Output { number, check }) if (number, check) == (own_number, own_check) => {}
            _ => {
                self.happened = Some(Happened::Output { number, check: own_check });
                return ControlFlow::Break(());
            }
        }
        let entry = self.consume();
        self.emitted.push_back(Emitted { number, output, entry });
        ControlFlow::Continue(())
    }

    fn interrupt(&mut self, at: Position, vector: u8) -> ControlFlow<()> {
        let own = vector;
        match self.due(at) {
            Some(&Event::Interrupt { vector }) if vector == own => {
                self.consume();
                ControlFlow::Continue(())
            }
            _ => {
                self.happened = Some(Happened::Interrupt { vector });
                ControlFlow::Break(())
            }
        }
    }
}
