//! A replica while it serves: the machine runs and is recorded, the protocol decides what leaves.

use std::collections::VecDeque;
use std::time::Duration;

use emu::{Control, Input, Output};

use super::Next;
use super::batch::{self, Batch};
use super::clock::Answers;
use super::engine::{Leader, Pace};
use super::transfer::Transfer;
use crate::event::Event;
use crate::proto::inputs::ClientInput;
use crate::proto::primary::Primary;
use crate::time::Time;

/// Frames that wait for the machine here; more wait outside.
const FRAMES_MAX: usize = 64;

/// The console is a serial line of 115200 baud, ten bits a byte: a guest with a small buffer has time to empty it.
const BYTE_ON_THE_LINE: Duration = Duration::from_nanos(86_806);

/// The primary's half of a [`super::Node`].
pub(crate) struct Serving<L> {
    pub(crate) primary: Primary,
    pub(crate) events: VecDeque<Event>,
    leader: L,
    /// The same that the machine asks.
    answers: Answers,
    transfer: Option<Transfer>,
    power_off: bool,
    /// From the network, for the machine.
    frames: VecDeque<Vec<u8>>,
    /// When the console's line has carried what was typed last.
    line_free: Time,
    /// What was logged and not yet sent.
    batch: Batch,
    /// Where the machine was when the last batch was sent, instructions.
    sent_at: u64,
}

impl<L: Leader> Serving<L> {
    /// `answers` are those that `leader` was made with.
    pub(crate) fn new(primary: Primary, leader: L, answers: Answers) -> Self {
        let (batch, sent_at) = (Batch::new(answers.host.now()), leader.position().retired);
        Self {
            primary,
            events: VecDeque::new(),
            leader,
            answers,
            transfer: None,
            power_off: false,
            frames: VecDeque::new(),
            line_free: Time::ZERO,
            batch,
            sent_at,
        }
    }

    pub(crate) fn run_slice(&mut self, budget: u64) -> Next {
        let now = self.answers.host.now();
        self.primary.set_clock(self.answers.clock.at(now));
        if self.primary.over() {
            return Next::Over;
        }
        let mut pace = Pace::Idle;
        if self.primary.may_run() {
            self.deliver(now);
            pace = self.leader.run(budget);
        }
        let after = self.answers.host.now();
        self.collect(after);
        // A guest that sleeps logs no more for a while, and a state transfer is about entries that have been sent.
        if pace == Pace::Idle || self.transfer.is_some() || self.primary.joining().is_some() {
            self.batch.wanted(after);
        }
        if self.batch.is_due(after) {
            self.send(after);
        }
        let more = self.transfer();
        match pace {
            Pace::Idle if more => Next::Again { rest: Duration::ZERO },
            Pace::Busy => Next::Again { rest: self.primary.throttle().pause_after(after.since(now)) },
            Pace::Idle => Next::Wait,
        }
    }

    /// Everything from outside that is due enters the machine here, between two instructions.
    fn deliver(&mut self, now: Time) {
        if std::mem::take(&mut self.power_off) {
            self.leader.deliver(Input::Control(Control::PowerOff));
        }
        while let Some(control) = self.primary.poll_control() {
            self.leader.deliver(Input::Control(control));
        }
        if let Some((columns, rows)) = self.primary.poll_size().filter(|_| self.leader.has_size()) {
            self.leader.deliver(Input::ConsoleSize { columns, rows });
        }
        let guest_now_ns = self.answers.clock.at(now);
        if self.leader.clock_due_ns().is_some_and(|due_ns| due_ns <= guest_now_ns) {
            self.leader.deliver(Input::Clock { ns: guest_now_ns });
        }
        while now >= self.line_free && self.leader.console_room() {
            let Some(input) = self.primary.poll_input() else {
                break;
            };
            self.type_in(now, input);
        }
        while self.leader.frame_room()
            && let Some(bytes) = self.frames.pop_front()
        {
            self.leader.deliver(Input::Frame { bytes });
        }
    }

    fn type_in(&mut self, now: Time, input: ClientInput) {
        let ClientInput { client, seq, bytes } = input;
        let had = self.leader.console_seq(client);
        if seq == had + 1 {
            let count = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
            self.line_free = now + BYTE_ON_THE_LINE * count;
            self.leader.deliver(Input::Console { client, seq, bytes });
            let entry = self.leader.last_entry();
            self.primary.input_logged(client, seq, Some(entry));
            self.batch.wanted(now);
        } else if seq <= had {
            self.primary.input_logged(client, seq, None);
        } // A gap: the client will send what is missing first.
    }

    /// Hands what the machine did to the protocol.
    fn collect(&mut self, now: Time) {
        let retired = self.leader.position().retired;
        for name in self.leader.take_unimplemented() {
            self.events.push_back(Event::Unimplemented { name, retired });
        }
        while let Some(produced) = self.leader.poll_output() {
            let console = matches!(produced.output, Output::Console { .. });
            self.batch.wanted(if console { now + batch::CONSOLE } else { now });
            self.primary.output(produced.number, produced.entry, produced.output);
        }
    }

    /// Hands what was logged to the protocol; at least where the machine is, if that is elsewhere than before.
    fn send(&mut self, now: Time) {
        let retired = self.leader.position().retired;
        let mut next = self.leader.take_segment();
        if next.is_none() && retired != self.sent_at {
            self.leader.mark();
            next = self.leader.take_segment();
        }
        self.sent_at = retired;
        while let Some(segment) = next {
            next = self.leader.take_segment();
            self.primary.log(now, segment.first, segment.last, segment.bytes, retired);
        }
    }

    /// One step of a state transfer. `true`: the next can be done at once.
    fn transfer(&mut self) -> bool {
        let joining = self.primary.joining();
        if self.transfer.as_ref().map(Transfer::conn) != joining {
            self.transfer = joining.map(|conn| Transfer::begin(conn, &mut self.primary, &mut self.leader));
        }
        let Some(mut transfer) = self.transfer.take() else {
            return false;
        };
        let host = &self.answers.host;
        let began = host.now();
        let step = transfer.step(&mut self.primary, &mut self.leader);
        self.events.extend(step.event);
        if step.cut {
            transfer.cut(&mut self.primary, &mut self.leader, || host.now().since(began));
        } else {
            self.transfer = Some(transfer);
        }
        self.primary.transfer_room() > 0
    }

    pub(crate) fn poll_timeout(&self) -> Option<Time> {
        let clock = self.leader.clock_due_ns().map(|ns| self.answers.clock.when(ns));
        let typed = self.primary.has_input() && self.leader.console_room();
        let typed = if self.primary.has_wish() { Some(Time::ZERO) } else { typed.then_some(self.line_free) };
        // More come at a time than its card holds, and those that are here already wake nobody.
        let frame = (!self.frames.is_empty() && self.leader.frame_room()).then_some(Time::ZERO);
        let machine = [clock, typed, frame].into_iter().flatten().min();
        let machine = machine.filter(|_| self.primary.may_run());
        [self.primary.poll_timeout(), machine].into_iter().flatten().min()
    }

    pub(crate) fn frame_room(&self) -> bool {
        self.frames.len() < FRAMES_MAX
    }

    pub(crate) fn frame(&mut self, bytes: Vec<u8>) {
        self.frames.push_back(bytes);
    }

    pub(crate) fn power_off(&mut self) {
        self.power_off = true;
    }

    pub(crate) fn detach(&mut self, now: Time) {
        self.collect(now);
        self.send(now);
        self.primary.detach(now);
    }

    pub(crate) fn leader(&self) -> &L {
        &self.leader
    }
}
