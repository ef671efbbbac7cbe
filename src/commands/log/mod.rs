//! `ftemu log`: what is in a log, for people and scripts.

mod stat;

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Write};
use std::path::Path;

use anyhow::{Context, Result};
use replay::log::{EntriesSegment, LogItem, LogReader};

use crate::cli::LogCommand;
use crate::host::errors::{output_error, say};
use crate::host::files;

/// Dumps or counts.
pub(crate) fn run(command: &LogCommand) -> Result<u8> {
    match command {
        LogCommand::Dump { log } => dump(log),
        LogCommand::Stat { log } => stat::run(log),
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
