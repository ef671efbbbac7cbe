//! `ftemu replay`: a recorded machine runs again, checked against its log.

use std::fs::File;
use std::io::BufReader;

use anyhow::{Context, Result, bail};
use emu::{Machine, Output, Position, Power, Until};
use replay::log::{self, LogItem, LogReader, LogSummary};
use replay::{Divergence, ReplayStop, Replayer, Snapshot, machine_digest};

use crate::cli::ReplayArgs;
use crate::exit;
use crate::host::errors::{print, say, say_report};
use crate::host::recorded_disks::Search;
use crate::host::surroundings::Surroundings;
use crate::host::{files, memory, signals};
use crate::outlet::LogFile;
use crate::solo::Solo;

/// Instructions between two looks at the operator, and between two writes to the console.
const SLICE: u64 = 2_000_000;

/// Replays `args.log`, and perhaps carries on.
pub(crate) fn run(args: &ReplayArgs) -> Result<u8> {
    let about = || args.log.display().to_string();
    // All of it is checked before anything runs, so that a damaged log is refused as a whole.
    let summary = log::check(BufReader::new(files::open(&args.log)?)).with_context(about)?;
    let mut reader = LogReader::open(BufReader::new(files::open(&args.log)?)).with_context(about)?;
    let snapshot = Snapshot::read(&mut reader).with_context(about)?;
    memory::check(snapshot.config.memory_bytes).with_context(about)?;
    let search = Search::new(&args.disks, args.log.parent())?;
    let disks = search.find(&snapshot.config, &summary.header.disks).with_context(about)?;
    let machine = snapshot.restore_with_images(disks.images).with_context(about)?;
    if args.until.is_some_and(|until| until < machine.position().retired) {
        bail!("{}: the log begins at instruction {}, after --until", about(), machine.position());
    }
    signals::install();
    let replayer = Replayer::new(machine.position(), snapshot.next_entry);
    let mut session = Session { reader, machine, replayer, disks: disks.paths, quiet: args.quiet };
    match session.run(args.until).with_context(about)? {
        Reached::Diverged(divergence) => {
            say_report(&divergence.to_string());
            Ok(exit::DIVERGED)
        }
        Reached::Stopped => Ok(exit::STOPPED),
        Reached::End(end) => session.end(args, &summary, &end),
    }
}

/// Why a replay ended.
enum Reached {
    /// For this reason.
    End(String),
    Diverged(Box<Divergence>),
    Stopped,
}

struct Session {
    reader: LogReader<BufReader<File>>,
    machine: Machine,
    replayer: Replayer,
    /// Where the images of its disks are.
    disks: Vec<String>,
    quiet: bool,
}

impl Session {
    fn run(&mut self, until: Option<u64>) -> Result<Reached> {
        let end = until.map_or(Position { retired: u64::MAX, steps: 0 }, Position::at);
        loop {
            if signals::stop_asked() {
                return Ok(Reached::Stopped);
            }
            let slice = Position::at(self.machine.position().retired.saturating_add(SLICE));
            let stop = self.replayer.step(&mut self.machine, Until::Exactly(slice.min(end)));
            self.show()?;
            match stop {
                ReplayStop::Limit if self.machine.position() >= end => {
                    return Ok(Reached::End("replayed up to --until".to_owned()));
                }
                ReplayStop::Limit => {}
                ReplayStop::Diverged(divergence) => return Ok(Reached::Diverged(divergence)),
                ReplayStop::NeedMore | ReplayStop::Off(_) => {
                    if let Some(reached) = self.read_more()? {
                        return Ok(Reached::End(reached));
                    }
                }
            }
        }
    }

    /// Takes in what comes next in the log; gives the reason if nothing does.
    fn read_more(&mut self) -> Result<Option<String>> {
        match self.reader.next()? {
            Some(LogItem::Entries(segment)) => self.replayer.push(segment)?,
            Some(LogItem::Pages(_) | LogItem::State(_)) => {}
            Some(LogItem::End(totals)) => {
                let (at, outputs, power) = (self.machine.position(), self.machine.outputs(), self.machine.power());
                if (at, outputs, power) != (totals.at, totals.outputs, totals.power) {
                    bail!("the log ends at instruction {}, the machine at {at}", totals.at);
                }
                return Ok(Some("replayed to the end".to_owned()));
            }
            Some(LogItem::BrokenOff { offset }) => {
                return Ok(Some(format!("replayed up to where the log breaks off (offset {offset})")));
            }
            None => return Ok(Some("replayed to the end".to_owned())),
        }
        Ok(None)
    }

    /// Prints what the machine has said.
    fn show(&mut self) -> Result<()> {
        let mut bytes = Vec::new();
        while let Some(emitted) = self.replayer.poll_output() {
            if let Output::Console { byte, .. } = emitted.output {
                bytes.push(byte);
            }
        }
        if self.quiet || bytes.is_empty() { Ok(()) } else { print(&bytes) }
    }

    fn end(mut self, args: &ReplayArgs, summary: &LogSummary, end: &str) -> Result<u8> {
        let (at, entry, digest) =
            (self.machine.position(), self.replayer.replayed(), machine_digest(&mut self.machine));
        let power = self.machine.power();
        let state = power.map_or(String::new(), |power| format!(", {}", how(power)));
        say(format_args!("{end}: instruction {at}, entry {entry} of {}, digest {digest:032x}{state}", summary.entries));
        match power {
            Some(power) if args.live => Ok(exit::of_power(power)),
            None if args.live => self.go_live(args, &summary.header.program),
            _ => Ok(0),
        }
    }

    /// From here on the world answers, but what the guest writes to its disks stays in the machine. Entries of the log that
    /// come later are left out: this is another history.
    fn go_live(self, args: &ReplayArgs, program: &str) -> Result<u8> {
        let next_entry = self.replayer.replayed() + 1;
        let outside = Surroundings::new(self.machine.config(), args.net.as_ref())?;
        let create =
            |path: &std::path::PathBuf| LogFile::create(path, program, self.disks.clone(), &self.machine, next_entry);
        let log = args.record.as_ref().map(create).transpose()?;
        say(format_args!("live from instruction {}", self.machine.position()));
        Solo::new(self.machine, next_entry, log, outside)?.run()
    }
}

fn how(power: Power) -> String {
    match power {
        Power::Off { code } => format!("the guest switched itself off, exit code {code}"),
        Power::Reset => "the guest asked for a reset".to_owned(),
        Power::TripleFault => "the guest died of a triple fault".to_owned(),
        Power::Dead => "the guest halted with interrupts off".to_owned(),
    }
}
