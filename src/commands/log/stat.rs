//! `ftemu log stat`: what the entries of a log cost, by kind: in the file, and on the logging channel of a pair.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use emu::{Input, MachineConfig, Position};
use ft_net::Time;
use ft_net::message::Message;
use ft_net::node::batch::{self, Batch};
use replay::log::{EntriesSegment, LogHeader, LogItem, SegmentEncoder, Totals};
use replay::{Entry, Event, OutputCheck, codec};

use super::{open, tell_broken_off};
use crate::host::errors::print;

/// Counts.
pub(super) fn run(path: &Path) -> Result<u8> {
    let mut reader = open(path)?;
    let mut counts = Counts::default();
    let mut before = reader.offset();
    while let Some(item) = reader.next().with_context(|| path.display().to_string())? {
        match item {
            LogItem::Pages(pages) => counts.pages += pages.len(),
            LogItem::State(state) => (counts.start, counts.last) = (state.at, state.at),
            LogItem::Entries(segment) => counts.add(&segment, reader.offset() - before),
            LogItem::End(totals) => counts.totals = Some(totals),
            LogItem::BrokenOff { offset } => tell_broken_off(path, offset),
        }
        before = reader.offset();
    }
    counts.end();
    let header = reader.header();
    let config = codec::decode(&header.config).with_context(|| path.display().to_string())?;
    print(counts.text(header, &config, before).as_bytes())?;
    Ok(0)
}

/// What the entries of a kind cost, bytes.
#[derive(Default)]
struct Cost {
    entries: u64,
    /// Packed, before compression.
    packed: usize,
    /// Their share of the frames in the file.
    file: f64,
    /// Their share of the messages to a backup.
    channel: f64,
}

/// Bytes of entries that are compressed and framed together, by kind.
#[derive(Default)]
struct Packed(BTreeMap<&'static str, usize>);

impl Packed {
    /// Adds `entry` to `encoder`, and its bytes here.
    fn push(&mut self, encoder: &mut SegmentEncoder, entry: &Entry) {
        let before = encoder.held_bytes();
        encoder.push(entry);
        *self.0.entry(kind(&entry.event)).or_default() += encoder.held_bytes() - before;
    }

    /// Empties this; returns what each kind has of `bytes`.
    fn share(&mut self, bytes: u64) -> impl Iterator<Item = (&'static str, f64)> + use<> {
        let kinds = std::mem::take(&mut self.0);
        let whole: usize = kinds.values().sum();
        kinds.into_iter().map(move |(kind, part)| (kind, bytes as f64 * part as f64 / whole.max(1) as f64))
    }
}

/// What is counted.
#[derive(Default)]
struct Counts {
    kinds: BTreeMap<&'static str, Cost>,
    channel: Option<Channel>,
    /// Bytes of the file that hold entries, compressed and framed.
    entry_bytes: u64,
    pages: usize,
    start: Position,
    last: Position,
    /// Guest time from the first to the last entry that tells it.
    first_ns: Option<u64>,
    last_ns: u64,
    totals: Option<Totals>,
}

impl Counts {
    fn add(&mut self, segment: &EntriesSegment, file_bytes: u64) {
        self.entry_bytes += file_bytes;
        let (mut encoder, mut packed) = (SegmentEncoder::new(segment.first), Packed::default());
        let mut channel = self.channel.take().unwrap_or_else(|| Channel::new(segment.first));
        for entry in &segment.entries {
            packed.push(&mut encoder, entry);
            self.kinds.entry(kind(&entry.event)).or_default().entries += 1;
            self.last = entry.at;
            if let Some(ns) = time(&entry.event) {
                self.first_ns.get_or_insert(ns);
                self.last_ns = ns;
            }
            self.sent(channel.push(entry));
        }
        self.channel = Some(channel);
        for (kind, &bytes) in &packed.0 {
            self.kinds.entry(kind).or_default().packed += bytes;
        }
        for (kind, bytes) in packed.share(file_bytes) {
            self.kinds.entry(kind).or_default().file += bytes;
        }
    }

    fn end(&mut self) {
        let rest = self.channel.take().map(|mut channel| channel.send());
        self.sent(rest);
    }

    fn sent(&mut self, message: Option<(Packed, u64)>) {
        if let Some((mut packed, bytes)) = message {
            for (kind, bytes) in packed.share(bytes) {
                self.kinds.entry(kind).or_default().channel += bytes;
            }
        }
    }

    fn text(&self, header: &LogHeader, config: &MachineConfig, bytes: u64) -> String {
        let instructions = self.last.retired - self.start.retired;
        let seconds = self.first_ns.map_or(0.0, |first| (self.last_ns - first) as f64 / 1e9);
        let (mib, cpu) = (config.memory_bytes >> 20, config.cpu);
        let mut lines = vec![
            format!("program       {}", header.program),
            format!("clock         {:?}, {mib} MiB of memory, CPU {cpu}, written by {}", config.clock, header.creator),
            format!(
                "file          {bytes} bytes, {} of them entries, {} pages at the start",
                self.entry_bytes, self.pages
            ),
            format!("instructions  {instructions}, from {} to {}", self.start, self.last),
            format!("guest time    {seconds:.3} s"),
            match self.totals {
                Some(totals) => format!("end           {} outputs, power {:?}", totals.outputs, totals.power),
                None => "end           none: the log breaks off".to_owned(),
            },
            String::new(),
            "bytes an entry            packed   in the file   on a channel".to_owned(),
        ];
        let mut all = Cost::default();
        for (name, cost) in &self.kinds {
            lines.push(cost.row(name));
            all.entries += cost.entries;
            all.packed += cost.packed;
            all.file += cost.file;
            all.channel += cost.channel;
        }
        lines.push(all.row("all"));
        let millions = instructions.max(1) as f64 / 1e6;
        lines.push(format!("bytes per million instructions: {:.1}", self.entry_bytes as f64 / millions));
        lines.join("\n") + "\n"
    }
}

impl Cost {
    fn row(&self, name: &str) -> String {
        let entries = self.entries.max(1) as f64;
        let [packed, file, channel] = [self.packed as f64, self.file, self.channel].map(|bytes| bytes / entries);
        format!("{name:<13} {:>10} {packed:>7.2} {file:>13.2} {channel:>14.2}", self.entries)
    }
}

/// The entries once more, cut into the messages that a primary would send: by the same rules, with the guest's time for that of
/// the host, and slices of execution that are as long as they should be.
struct Channel {
    encoder: SegmentEncoder,
    packed: Packed,
    batch: Batch,
    now: Time,
    slice_ends: Time,
}

/// How long a slice of execution takes.
const SLICE: Duration = Duration::from_millis(1);

impl Channel {
    fn new(first: u64) -> Self {
        let (encoder, packed, batch) = (SegmentEncoder::new(first), Packed::default(), Batch::new(Time::ZERO));
        Self { encoder, packed, batch, now: Time::ZERO, slice_ends: Time::ZERO }
    }

    /// Takes the next entry; returns what is sent before it.
    fn push(&mut self, entry: &Entry) -> Option<(Packed, u64)> {
        let before = self.now;
        self.now = time(&entry.event).map_or(before, Time::from_ns);
        // Before a wait for longer than a slice the guest slept, or else the end of a slice came in between.
        if matches!(entry.event, Event::Input(_)) && self.now.since(before) >= SLICE {
            self.batch.wanted(before);
        }
        let mut sent = None;
        if self.now >= self.slice_ends {
            sent = self.batch.is_due(self.now).then(|| self.send()).filter(|&(_, bytes)| bytes > 0);
            self.slice_ends = self.now + SLICE;
        }
        match entry.event {
            Event::Output { check: OutputCheck::Console(_), .. } => self.batch.wanted(self.now + batch::CONSOLE),
            Event::Output { .. } | Event::Input(Input::Console { .. }) => self.batch.wanted(self.now),
            _ => {}
        }
        self.packed.push(&mut self.encoder, entry);
        sent
    }

    /// The entries held, and the bytes of the message that holds them.
    fn send(&mut self) -> (Packed, u64) {
        let message = self.encoder.take().map(|plain| {
            let segment = plain.encode_bare();
            let (first, last, bytes) = (segment.first, segment.last, segment.bytes);
            let message = Message::Log { first, last, released: last, clock_ns: self.now.ns(), bytes };
            ft_net::frame::encode(&message).len() as u64
        });
        (std::mem::take(&mut self.packed), message.unwrap_or(0))
    }
}

/// Guest time, if `event` tells it, ns.
const fn time(event: &Event) -> Option<u64> {
    match event {
        Event::Clock(ns) | Event::Input(Input::Clock { ns }) => Some(*ns),
        _ => None,
    }
}

const fn kind(event: &Event) -> &'static str {
    match event {
        Event::Clock(_) => "clock answer",
        Event::Random(_) => "random answer",
        Event::Input(Input::Clock { .. }) => "clock input",
        Event::Input(Input::Console { .. }) => "console input",
        Event::Input(Input::Control(_)) => "control input",
        Event::Input(Input::Frame { .. }) => "frame input",
        Event::Input(Input::ConsoleSize { .. }) => "console size",
        Event::Input(Input::Flushed { .. }) => "flush done",
        Event::Interrupt { .. } => "interrupt",
        Event::Output { .. } => "output",
        Event::Digest(_) => "digest",
        Event::Watermark => "watermark",
    }
}
