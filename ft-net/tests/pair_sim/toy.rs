//! A deterministic machine small enough for millions of runs. It walks through its memory, asks the time and for random
//! bits now and then, and says on its console what it heard, what time it is and a hash of its whole past, so that two
//! histories that differ anywhere soon differ in what they say.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use emu::{Control, Input, Output, Position, Power};
use ft_net::node::Host;
use ft_net::node::engine::{Answers, EngineError, Follower, Leader, Pace, Produced, Segment};

use crate::rng::mix;

const WORDS: u32 = 2400;

/// Entries in a segment.
const SEGMENT: usize = 1000;

#[derive(Clone, Debug, PartialEq, Eq)]
enum Event {
    Clock(u64),
    Random(u64),
    Input(Input),
    Output(u64),
    Mark,
}

type Entry = (u64, Event);

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct State {
    steps: u64,
    hash: u64,
    clock_ns: u64,
    outputs: u64,
    console: u64,
    heard: BTreeMap<u64, u64>,
    saying: VecDeque<u8>,
    off: Option<bool>,
    ram: Vec<u64>,
}

/// Who stands behind the toy's doors.
trait Doors {
    fn clock(&mut self, at: u64) -> u64;
    fn random(&mut self, at: u64) -> u64;
    fn output(&mut self, at: u64, number: u64, output: Output);
}

impl State {
    fn new() -> Self {
        Self { hash: 1, ram: vec![0; WORDS as usize], ..Self::default() }
    }

    fn runs(&self) -> bool {
        self.off.is_none()
    }

    fn deliver(&mut self, input: &Input) {
        match input {
            Input::Clock { ns } => self.clock_ns = self.clock_ns.max(*ns),
            Input::Console { client, seq, .. } => {
                let heard = self.heard.entry(*client).or_insert(0);
                if *seq == *heard + 1 {
                    *heard = *seq;
                    self.saying.extend(format!("k {client} {seq}\n").bytes());
                    self.hash = mix(self.hash ^ client ^ seq.rotate_left(32));
                }
            }
            Input::Control(Control::PowerOff) => self.off = Some(false),
            other => unreachable!("a toy has no device for {other:?}"),
        }
    }

    /// One instruction. Returns the word of RAM that it wrote.
    fn step(&mut self, doors: &mut dyn Doors) -> u32 {
        let at = self.steps;
        let place = (self.hash % u64::from(WORDS)) as usize;
        self.hash = mix(self.hash ^ self.ram[place]);
        self.ram[place] = self.hash;
        match self.hash % 97 {
            0..4 => {
                self.clock_ns = self.clock_ns.max(doors.clock(at));
                self.hash ^= self.clock_ns;
            }
            4..6 => self.hash ^= doors.random(at),
            6 if self.saying.is_empty() => {
                self.saying.extend(format!("t {} {:x}\n", self.clock_ns, self.hash).bytes());
            }
            _ => {}
        }
        if let Some(byte) = self.saying.pop_front() {
            self.say(doors, Output::Console { offset: self.console, byte });
            self.console += 1;
        }
        self.steps += 1;
        place as u32
    }

    fn switch_off(&mut self, doors: &mut dyn Doors) {
        self.off = Some(true);
        self.say(doors, Output::Power(Power::Off { code: 0 }));
        self.steps += 1;
    }

    fn say(&mut self, doors: &mut dyn Doors, output: Output) {
        self.outputs += 1;
        doors.output(self.steps, self.outputs, output);
    }

    /// Runs one instruction, also the last one.
    fn go(&mut self, doors: &mut dyn Doors) -> Option<u32> {
        if self.off == Some(false) {
            self.switch_off(doors);
            return None;
        }
        Some(self.step(doors))
    }
}

pub struct Toy {
    state: State,
    entries: Vec<Entry>,
    last_entry: u64,
    produced: VecDeque<Produced>,
    dirty: BTreeSet<u32>,
    answers: Answers,
}

struct Recorder<'a> {
    answers: &'a Answers,
    entries: &'a mut Vec<Entry>,
    last_entry: &'a mut u64,
    produced: &'a mut VecDeque<Produced>,
}

impl Recorder<'_> {
    fn record(&mut self, at: u64, event: Event) {
        *self.last_entry += 1;
        self.entries.push((at, event));
    }
}

impl Doors for Recorder<'_> {
    fn clock(&mut self, at: u64) -> u64 {
        let ns = self.answers.clock_ns();
        self.record(at, Event::Clock(ns));
        ns
    }

    fn random(&mut self, at: u64) -> u64 {
        let bits = self.answers.random();
        self.record(at, Event::Random(bits));
        bits
    }

    fn output(&mut self, at: u64, number: u64, output: Output) {
        self.record(at, Event::Output(number));
        self.produced.push_back(Produced { number, entry: *self.last_entry, output });
    }
}

impl Toy {
    pub fn new(answers: Answers) -> Self {
        Self::from(State::new(), 0, answers)
    }

    fn from(state: State, last_entry: u64, answers: Answers) -> Self {
        Self { state, entries: Vec::new(), last_entry, produced: VecDeque::new(), dirty: BTreeSet::new(), answers }
    }

    pub fn console(&self) -> u64 {
        self.state.console
    }

    fn record(&mut self, event: Event) {
        self.last_entry += 1;
        self.entries.push((self.state.steps, event));
    }
}

impl Leader for Toy {
    type Follower = ToyFollower;

    fn run(&mut self, budget: u64) -> Pace {
        for _ in 0..budget {
            if self.state.off == Some(true) {
                return Pace::Idle;
            }
            let mut doors = Recorder {
                answers: &self.answers,
                entries: &mut self.entries,
                last_entry: &mut self.last_entry,
                produced: &mut self.produced,
            };
            self.dirty.extend(self.state.go(&mut doors));
        }
        Pace::Busy
    }

    fn deliver(&mut self, input: Input) {
        if self.state.runs() {
            self.state.deliver(&input);
        }
        self.record(Event::Input(input));
    }

    fn mark(&mut self) {
        self.record(Event::Mark);
    }

    fn last_entry(&self) -> u64 {
        self.last_entry
    }

    fn take_segment(&mut self) -> Option<Segment> {
        let first = self.last_entry + 1 - self.entries.len() as u64;
        // Never inside an instruction: the toy's replayer has no answer to half of one.
        let at = self.entries.get(SEGMENT).map(|(at, _)| *at);
        let count = at.map_or(self.entries.len(), |at| self.entries.partition_point(|entry| entry.0 <= at));
        let entries: Vec<Entry> = self.entries.drain(..count).collect();
        let last = first + entries.len() as u64 - 1;
        (!entries.is_empty()).then(|| Segment { first, last, bytes: encode(&entries) })
    }

    fn poll_output(&mut self) -> Option<Produced> {
        self.produced.pop_front()
    }

    fn position(&self) -> Position {
        Position::at(self.state.steps)
    }

    fn clock_ns(&self) -> u64 {
        self.state.clock_ns
    }

    fn clock_due_ns(&self) -> Option<u64> {
        self.state.runs().then_some(self.state.clock_ns + 10_000_000)
    }

    fn console_seq(&self, client: u64) -> u64 {
        self.state.heard.get(&client).copied().unwrap_or(0)
    }

    fn console_room(&self) -> bool {
        self.state.runs() && self.state.saying.len() < 200
    }

    fn config(&self) -> Vec<u8> {
        vec![7]
    }

    fn all_pages(&mut self) -> Vec<u32> {
        self.dirty.clear();
        (0..WORDS).filter(|&word| self.state.ram[word as usize] != 0).collect()
    }

    fn dirty_pages(&mut self) -> Vec<u32> {
        std::mem::take(&mut self.dirty).into_iter().collect()
    }

    fn encode_pages(&self, pages: &[u32]) -> Vec<u8> {
        let words = pages.iter().flat_map(|&page| [u64::from(page), self.state.ram[page as usize]]);
        words.flat_map(u64::to_le_bytes).collect()
    }

    fn state(&mut self) -> Vec<u8> {
        assert!(self.entries.is_empty() && self.produced.is_empty(), "the cut is between entries");
        let s = &self.state;
        let off = s.off.map_or(0, |done| 1 + u64::from(done));
        let mut words = vec![s.steps, s.hash, s.clock_ns, s.outputs, s.console, off, s.heard.len() as u64];
        words.extend(s.heard.iter().flat_map(|(&client, &seq)| [client, seq]));
        let mut bytes: Vec<u8> = words.into_iter().flat_map(u64::to_le_bytes).collect();
        bytes.extend(&s.saying);
        bytes
    }
}

pub struct ToyFollower {
    state: State,
    log: VecDeque<Entry>,
    replayed: u64,
    produced: VecDeque<Produced>,
}

/// The log behind the doors of a replaying toy.
struct Replayer<'a> {
    log: &'a mut VecDeque<Entry>,
    replayed: &'a mut u64,
    produced: &'a mut VecDeque<Produced>,
    wrong: Option<String>,
}

impl Replayer<'_> {
    fn next(&mut self, at: u64) -> Event {
        *self.replayed += 1;
        match self.log.pop_front() {
            Some((entry_at, event)) if entry_at == at => event,
            other => {
                self.wrong = Some(format!("step {at} wants an entry, the log has {other:?}"));
                Event::Mark
            }
        }
    }

    fn expect<T>(&mut self, at: u64, pick: impl FnOnce(&Event) -> Option<T>, otherwise: T) -> T {
        let event = self.next(at);
        pick(&event).unwrap_or_else(|| {
            self.wrong.get_or_insert(format!("step {at} finds {event:?}"));
            otherwise
        })
    }
}

impl Doors for Replayer<'_> {
    fn clock(&mut self, at: u64) -> u64 {
        self.expect(
            at,
            |event| {
                if let Event::Clock(ns) = event { Some(*ns) } else { None }
            },
            0,
        )
    }

    fn random(&mut self, at: u64) -> u64 {
        self.expect(
            at,
            |event| {
                if let Event::Random(bits) = event { Some(*bits) } else { None }
            },
            0,
        )
    }

    fn output(&mut self, at: u64, number: u64, output: Output) {
        self.expect(at, |event| (*event == Event::Output(number)).then_some(()), ());
        self.produced.push_back(Produced { number, entry: 0, output });
    }
}

impl Follower for ToyFollower {
    type Leader = Toy;

    fn new(config: &[u8], _: &dyn Host) -> Result<Option<Self>, EngineError> {
        assert_eq!(config, [7]);
        Ok(Some(Self { state: State::new(), log: VecDeque::new(), replayed: 0, produced: VecDeque::new() }))
    }

    fn write_pages(&mut self, bytes: &[u8]) -> Result<u64, EngineError> {
        let words: Vec<u64> = words(bytes);
        for pair in words.chunks_exact(2) {
            self.state.ram[pair[0] as usize] = pair[1];
        }
        Ok(words.len() as u64 / 2)
    }

    fn restore(&mut self, state: &[u8], last_entry: u64) -> Result<(), EngineError> {
        let head = words(&state[..56]);
        let s = &mut self.state;
        [s.steps, s.hash, s.clock_ns, s.outputs, s.console] = [head[0], head[1], head[2], head[3], head[4]];
        s.off = [None, Some(false), Some(true)][head[5] as usize];
        let (heard, saying) = state[56..].split_at(16 * head[6] as usize);
        s.heard = words(heard).chunks_exact(2).map(|pair| (pair[0], pair[1])).collect();
        s.saying = saying.iter().copied().collect();
        self.replayed = last_entry;
        Ok(())
    }

    fn feed(&mut self, segment: &Segment) -> Result<(), EngineError> {
        self.log.extend(decode(&segment.bytes));
        Ok(())
    }

    fn run(&mut self, budget: u64) -> Result<Pace, EngineError> {
        for _ in 0..budget {
            while let Some((_, event)) = self
                .log
                .pop_front_if(|(at, event)| *at == self.state.steps && matches!(event, Event::Input(_) | Event::Mark))
            {
                self.replayed += 1;
                match event {
                    Event::Input(input) if self.state.runs() => self.state.deliver(&input),
                    _ => {}
                }
            }
            if self.log.is_empty() {
                return Ok(Pace::Idle);
            }
            let (log, replayed, produced) = (&mut self.log, &mut self.replayed, &mut self.produced);
            let mut doors = Replayer { log, replayed, produced, wrong: None };
            self.state.go(&mut doors);
            if let Some(wrong) = doors.wrong {
                return Err(EngineError(wrong));
            }
        }
        Ok(Pace::Busy)
    }

    fn poll_output(&mut self) -> Option<Produced> {
        self.produced.pop_front()
    }

    fn replayed(&self) -> u64 {
        self.replayed
    }

    fn position(&self) -> Position {
        Position::at(self.state.steps)
    }

    fn clock_ns(&self) -> u64 {
        self.state.clock_ns
    }

    fn go_live(self, answers: Answers) -> Result<Toy, EngineError> {
        assert!(self.log.is_empty() && self.produced.is_empty());
        Ok(Toy::from(self.state, self.replayed, answers))
    }
}

fn words(bytes: &[u8]) -> Vec<u64> {
    bytes.chunks_exact(8).map(|word| u64::from_le_bytes(word.try_into().unwrap())).collect()
}

fn encode(entries: &[Entry]) -> Vec<u8> {
    let words = entries.iter().flat_map(|(at, event)| {
        let (tag, a, b) = match event {
            Event::Clock(ns) => (0, *ns, 0),
            Event::Random(bits) => (1, *bits, 0),
            Event::Output(number) => (2, *number, 0),
            Event::Mark => (3, 0, 0),
            Event::Input(Input::Clock { ns }) => (4, *ns, 0),
            Event::Input(Input::Console { client, seq, .. }) => (5, *client, *seq),
            Event::Input(Input::Control(Control::PowerOff)) => (6, 0, 0),
            Event::Input(other) => unreachable!("nobody sends {other:?}"),
        };
        [*at, tag, a, b]
    });
    words.flat_map(u64::to_le_bytes).collect()
}

fn decode(bytes: &[u8]) -> Vec<Entry> {
    let entry = |word: &[u64]| {
        let (at, a, b) = (word[0], word[2], word[3]);
        let event = match word[1] {
            0 => Event::Clock(a),
            1 => Event::Random(a),
            2 => Event::Output(a),
            3 => Event::Mark,
            4 => Event::Input(Input::Clock { ns: a }),
            5 => Event::Input(Input::Console { client: a, seq: b, bytes: Vec::new() }),
            _ => Event::Input(Input::Control(Control::PowerOff)),
        };
        (at, event)
    };
    words(bytes).chunks_exact(4).map(entry).collect()
}
