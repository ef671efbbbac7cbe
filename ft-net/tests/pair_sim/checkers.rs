//! What must never happen, seen from outside. Each checker knows nothing of the protocol.

use std::collections::BTreeMap;

use emu::Output;

/// A broken promise. The first one ends the run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Violation {
    /// The console of record was given two different bytes for one place: the "11 twice" of the lectures.
    Contradiction { offset: u64, was: u8, now: u8, generation: u64 },
    /// A byte was written beyond the end of what had been said.
    Gap { offset: u64, end: u64, generation: u64 },
    /// Two replicas served the same generation, or an old one came back.
    TwoServed { generation: u64, first: usize, second: usize },
    /// An input was processed twice, out of order, or not at all though it was acknowledged.
    Input { client: u64, due: u64, found: u64 },
    /// A line told an earlier time than one before it.
    TimeRanBack { from_ns: u64, to_ns: u64 },
    /// The record is not what the surviving machine has said.
    Incomplete { record: u64, machine: u64 },
    /// A replica whose right to speak was never in doubt stopped, or the pair did not come to rest.
    Stuck { why: String },
}

/// The console of record, and whether the guest was switched off.
#[derive(Clone, Debug, Default)]
pub struct Record {
    pub console: Vec<u8>,
    pub off: bool,
}

impl Record {
    pub fn write(&mut self, generation: u64, output: Output) -> Result<(), Violation> {
        let Output::Console { offset, byte } = output else {
            self.off = true;
            return Ok(());
        };
        let end = self.console.len() as u64;
        match self.console.get(offset as usize) {
            Some(&was) if was != byte => Err(Violation::Contradiction { offset, was, now: byte, generation }),
            Some(_) => Ok(()),
            None if offset == end && !self.off => {
                self.console.push(byte);
                Ok(())
            }
            None => Err(Violation::Gap { offset, end, generation }),
        }
    }
}

/// At most one replica serves a generation.
#[derive(Clone, Debug, Default)]
pub struct Generations(BTreeMap<u64, usize>);

impl Generations {
    pub fn serves(&mut self, generation: u64, replica: usize) -> Result<(), Violation> {
        let first = *self.0.entry(generation).or_insert(replica);
        let newest = self.0.last_key_value().map_or(0, |(&newest, _)| newest);
        if first == replica && newest == generation {
            return Ok(());
        }
        Err(Violation::TwoServed { generation, first, second: replica })
    }

    pub fn newest(&self) -> u64 {
        self.0.last_key_value().map_or(0, |(&generation, _)| generation)
    }
}

/// What the toy said: inputs of each client once and in order, none lost that was acknowledged; time never back.
pub fn check_lines(console: &[u8], acknowledged: &BTreeMap<u64, u64>) -> Result<(), Violation> {
    let mut heard: BTreeMap<u64, u64> = BTreeMap::new();
    let mut clock_ns = 0;
    let whole_lines = console.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
    for line in String::from_utf8_lossy(&console[..whole_lines]).lines() {
        let mut words = line.split(' ');
        let kind = words.next();
        let numbers: Vec<u64> = words.map_while(|word| word.parse().ok()).collect();
        match (kind, numbers.as_slice()) {
            (Some("k"), &[client, seq]) => {
                let last = heard.entry(client).or_insert(0);
                if seq != *last + 1 {
                    return Err(Violation::Input { client, due: *last + 1, found: seq });
                }
                *last = seq;
            }
            (Some("t"), &[ns, ..]) => {
                if ns < clock_ns {
                    return Err(Violation::TimeRanBack { from_ns: clock_ns, to_ns: ns });
                }
                clock_ns = ns;
            }
            _ => {}
        }
    }
    for (&client, &seq) in acknowledged {
        let found = heard.get(&client).copied().unwrap_or(0);
        if found < seq {
            return Err(Violation::Input { client, due: seq, found });
        }
    }
    Ok(())
}
