//! The live side: the door of a machine that runs for real, which writes down what comes through it.

use std::collections::VecDeque;
use std::ops::ControlFlow;

use emu::{ClockMode, Door, Input, Machine, Output, Position, Query, Stop, Until};

use crate::digest::machine_digest;
use crate::entry::{Entry, Event, clock_step_up};
use crate::log::{PlainSegment, SegmentEncoder, Totals};

/// The world around a live machine.
pub trait Live {
    /// Guest time, nanoseconds since the machine was created. May go backwards: the recorder does not.
    fn clock_ns(&mut self) -> u64;

    /// 64 random bits.
    fn random(&mut self) -> u64;

    /// Output `number` left the machine; `entry` is the number of its entry, for which the Output Rule has it wait
    /// (VM-FT 2.2). `Break` stops the machine after the instruction.
    fn output(&mut self, number: u64, output: Output, entry: u64) -> ControlFlow<()>;
}

/// Runs a machine live and turns what happens into segments.
#[derive(Debug)]
pub struct Recorder<L> {
    /// The world around the machine.
    pub live: L,
    encoder: SegmentEncoder,
    ready: VecDeque<PlainSegment>,
    /// The last clock value given to the machine.
    clock_ns: u64,
    /// Where the last entry is.
    last: Option<Position>,
}

impl<L: Live> Recorder<L> {
    /// A recorder for `machine`, whose first entry has the number `next_entry` (1 at the beginning of a log).
    pub fn new(live: L, machine: &Machine, next_entry: u64) -> Self {
        let (encoder, clock_ns) = (SegmentEncoder::new(next_entry), clock_step_up(machine.clock_ns()));
        Self { live, encoder, ready: VecDeque::new(), clock_ns, last: None }
    }

    /// Runs the machine.
    pub fn run(&mut self, machine: &mut Machine, until: Until) -> Stop {
        machine.run(until, self)
    }

    /// Delivers `input` at the machine's position; returns the number of its entry. A machine with the derived clock that sleeps
    /// is told the time first: what it has slept must not count as time that it ran.
    pub fn deliver(&mut self, machine: &mut Machine, mut input: Input) -> u64 {
        let wakes = machine.is_halted() && machine.config().clock == ClockMode::Derived;
        if wakes && !matches!(input, Input::Clock { .. }) {
            let ns = self.live.clock_ns();
            self.deliver(machine, Input::Clock { ns });
        }
        if let Input::Clock { ns } = &mut input {
            *ns = clock_step_up(*ns);
            self.clock_ns = self.clock_ns.max(*ns);
        }
        machine.deliver(&input);
        self.record(machine.position(), Event::Input(input))
    }

    /// Records the digest of the machine, for replay to check; returns the number of the entry.
    pub fn digest(&mut self, machine: &mut Machine) -> u64 {
        let digest = machine_digest(machine);
        self.record(machine.position(), Event::Digest(digest))
    }

    /// Records that the machine has come this far, unless the last entry says so already.
    pub fn watermark(&mut self, machine: &Machine) {
        let at = machine.position();
        if self.last != Some(at) {
            self.record(at, Event::Watermark);
        }
    }

    /// Number of the next entry.
    #[must_use]
    pub const fn next_entry(&self) -> u64 {
        self.encoder.next_entry()
    }

    /// Makes everything recorded so far ready for [`poll_segment`](Self::poll_segment).
    pub fn flush(&mut self) {
        self.ready.extend(self.encoder.take());
    }

    /// The next segment that is full or flushed. Poll after each run; encode it anywhere.
    pub fn poll_segment(&mut self) -> Option<PlainSegment> {
        self.ready.pop_front()
    }

    /// What a log that ends here says at its end.
    pub fn totals(&self, machine: &Machine) -> Totals {
        Totals {
            at: machine.position(),
            entries: self.next_entry() - 1,
            outputs: machine.outputs(),
            power: machine.power(),
        }
    }

    #[inline]
    fn record(&mut self, at: Position, event: Event) -> u64 {
        self.last = Some(at);
        let number = self.encoder.push(&Entry { at, event });
        if self.encoder.is_full() {
            self.flush();
        }
        number
    }
}

impl<L: Live> Door for Recorder<L> {
    fn query(&mut self, at: Position, query: Query) -> Option<u64> {
        match query {
            Query::Clock => {
                self.clock_ns = self.clock_ns.max(clock_step_up(self.live.clock_ns()));
                self.record(at, Event::Clock(self.clock_ns));
                Some(self.clock_ns)
            }
            Query::Random => {
                let bits = self.live.random();
                self.record(at, Event::Random(bits));
                Some(bits)
            }
        }
    }

    fn output(&mut self, at: Position, number: u64, output: Output) -> ControlFlow<()> {
        let check = (&output).into();
        let entry = self.record(at, Event::Output { number, check });
        self.live.output(number, output, entry)
    }

    fn interrupt(&mut self, at: Position, vector: u8) -> ControlFlow<()> {
        self.record(at, Event::Interrupt { vector });
        ControlFlow::Continue(())
    }
}
