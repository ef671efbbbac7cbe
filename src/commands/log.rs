//! `ftemu log`: what is in a log, for people and scripts.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Write};
use std::path::Path;

use anyhow::{Context, Result};
use emu::{Input, Position};
use replay::log::{EntriesSegment, LogItem, LogReader, SegmentEncoder, Totals};
use replay::{Event, codec};

use crate::cli::LogCommand;
use crate::host::errors::{output_error, print, say};
use crate::host::files;

/// Dumps or counts.
pub(crate) fn run(command: &LogCommand) -> Result<u8> {
    match command {
        LogCommand::Dump { log } => dump(log),
        LogCommand::Stat { log } => stat(log),
    }
}

fn open(path: &Path) -> Result<LogReader<BufReader<File>>> {
    LogReader::open(BufReader::new(files::open(path)?)).with_context(|| path.display().to_string())
}

fn dump(path: &Path) -> Result<u8> {
    let mut reader = open(path)?;
    let mut out = BufWriter::new(io::stdout().lock());
    while let Some(item) = reader.next().with_context(|| path.display().to_string())? {
        match item {
            LogItem::Entries(segment) => dump_entries(&mut out, &segment).map_err(output_error)?,
            LogItem::BrokenOff { offset } => tell_broken_off(path, offset),
            LogItem::Pages(_) | LogItem::State(_) | LogItem::End(_) => {}
        }
    }
    out.flush().map_err(output_error)?;
    Ok(0)
}

fn dump_entries(out: &mut impl Write, segment: &EntriesSegment) -> io::Result<()> {
    for (number, entry) in (segment.first..).zip(&segment.entries) {
        writeln!(out, "{number} {entry}")?;
    }
    Ok(())
}

fn tell_broken_off(path: &Path, offset: u64) {
    say(format_args!(
        "{}: the log breaks off at offset {offset}: its recorder was killed, or it was cut",
        path.display()
    ));
}

/// How many entries of a kind, and how many bytes they take before a segment is compressed.
#[derive(Default)]
struct Kind {
    entries: u64,
    bytes: usize,
}

/// What is counted.
#[derive(Default)]
struct Counts {
    kinds: BTreeMap<&'static str, Kind>,
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
    fn add(&mut self, segment: EntriesSegment) {
        let mut encoder = SegmentEncoder::new(segment.first);
        for entry in segment.entries {
            let before = encoder.held_bytes();
            encoder.push(&entry);
            let kind = self.kinds.entry(kind(&entry.event)).or_default();
            kind.entries += 1;
            kind.bytes += encoder.held_bytes() - before;
            self.last = entry.at;
            if let Event::Clock(ns) | Event::Input(Input::Clock { ns }) = entry.event {
                self.first_ns.get_or_insert(ns);
                self.last_ns = ns;
            }
        }
    }

    fn text(&self, program: &str, clock: &str, bytes: u64) -> String {
        let instructions = self.last.retired - self.start.retired;
        let entries: u64 = self.kinds.values().map(|kind| kind.entries).sum();
        let packed: usize = self.kinds.values().map(|kind| kind.bytes).sum();
        let seconds = self.first_ns.map_or(0.0, |first| (self.last_ns - first) as f64 / 1e9);
        let mut lines = vec![
            format!("program       {program}"),
            format!("clock         {clock}"),
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
            "kind              entries       bytes  bytes/entry".to_owned(),
        ];
        let row = |name: &str, entries: u64, bytes: usize| {
            format!("{name:<13} {entries:>11} {bytes:>11} {:>12.2}", bytes as f64 / entries.max(1) as f64)
        };
        lines.extend(self.kinds.iter().map(|(name, kind)| row(name, kind.entries, kind.bytes)));
        lines.push(row("all, packed", entries, packed));
        lines.push(row("all, in file", entries, usize::try_from(self.entry_bytes).unwrap_or(usize::MAX)));
        let millions = instructions.max(1) as f64 / 1e6;
        lines.push(format!("bytes per million instructions: {:.1}", self.entry_bytes as f64 / millions));
        lines.join("\n") + "\n"
    }
}

fn kind(event: &Event) -> &'static str {
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

fn stat(path: &Path) -> Result<u8> {
    let mut reader = open(path)?;
    let mut counts = Counts::default();
    let mut before = reader.offset();
    while let Some(item) = reader.next().with_context(|| path.display().to_string())? {
        match item {
            LogItem::Pages(pages) => counts.pages += pages.len(),
            LogItem::State(state) => (counts.start, counts.last) = (state.at, state.at),
            LogItem::Entries(segment) => {
                counts.entry_bytes += reader.offset() - before;
                counts.add(segment);
            }
            LogItem::End(totals) => counts.totals = Some(totals),
            LogItem::BrokenOff { offset } => tell_broken_off(path, offset),
        }
        before = reader.offset();
    }
    let header = reader.header();
    let config: emu::MachineConfig = codec::decode(&header.config).with_context(|| path.display().to_string())?;
    let (mib, cpu) = (config.memory_bytes >> 20, config.cpu);
    let clock = format!("{:?}, {mib} MiB of memory, CPU {cpu}, written by {}", config.clock, header.creator);
    print(counts.text(&header.program, &clock, before).as_bytes())?;
    Ok(0)
}
