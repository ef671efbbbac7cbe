//! The console of record: byte k of the guest's console at offset k of a file, so that writing one again changes nothing.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use emu::Output;

use super::observer::Tell;
use super::{StartError, spawn};
use crate::event::Event;
use crate::shared::power_text;

/// What is written is made durable this often. Only then is it confirmed: a host that dies may lose what it has not.
const SYNC_EVERY: Duration = Duration::from_millis(20);

/// A failed write is tried again this often.
const RETRY_EVERY: Duration = Duration::from_millis(250);

/// The way to the console of record.
pub(super) struct Console {
    to: Sender<(u64, Output)>,
}

impl Console {
    /// Starts the thread. `confirm(n)`: outputs up to `n` are out; it returns `false` to end the thread.
    pub(super) fn start(
        path: PathBuf,
        tell: Tell,
        confirm: impl FnMut(u64) -> bool + Send + 'static,
    ) -> Result<(Self, JoinHandle<()>), StartError> {
        let (to, from) = mpsc::channel();
        let writer = Writer { path, file: None, tell, confirm, complained: false, dirty: false };
        let thread = spawn("console", move || writer.run(&from)).map_err(StartError::Thread)?;
        Ok((Self { to }, thread))
    }

    /// Output `number` may leave, after those before.
    pub(super) fn release(&self, number: u64, output: Output) {
        let _ = self.to.send((number, output)); // The thread ends only when this replica does.
    }
}

struct Writer<F> {
    path: PathBuf,
    file: Option<File>,
    tell: Tell,
    confirm: F,
    complained: bool,
    /// Something was written that is not durable yet.
    dirty: bool,
}

impl<F: FnMut(u64) -> bool> Writer<F> {
    fn run(mut self, from: &Receiver<(u64, Output)>) {
        let mut synced = Instant::now();
        let mut written = None;
        loop {
            let wait = if written.is_some() { SYNC_EVERY } else { Duration::from_secs(3600) };
            match from.recv_timeout(wait) {
                Ok(first) => written = Some(self.batch(first, from)),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            if written.is_some() && synced.elapsed() >= SYNC_EVERY {
                self.sync();
                synced = Instant::now();
                if !written.take().is_none_or(&mut self.confirm) {
                    return;
                }
            }
        }
        if let Some(number) = written {
            self.sync();
            (self.confirm)(number);
        }
    }

    fn sync(&mut self) {
        if std::mem::take(&mut self.dirty) {
            self.stubbornly(|file| file.sync_data());
        }
    }

    /// Writes `first` and what else is there. Returns the last number.
    fn batch(&mut self, first: (u64, Output), from: &Receiver<(u64, Output)>) -> u64 {
        let (mut place, mut bytes, mut last, mut ended) = (None, Vec::new(), first.0, None);
        let mut next = Some(first);
        while let Some((number, output)) = next {
            last = number;
            match output {
                Output::Console { offset, byte } => {
                    place.get_or_insert(offset);
                    bytes.push(byte);
                }
                Output::Power(power) => ended = Some(power),
                // A frame that is lost is one that was lost. Disks that follow are refused in a pair (`src/commands/pair.rs`).
                Output::Frame { .. } | Output::Disk { .. } | Output::Flush { .. } => {}
            }
            next = if bytes.len() < 1 << 16 { from.try_recv().ok() } else { None };
        }
        if let Some(offset) = place {
            self.dirty = true;
            self.stubbornly(|file| {
                file.seek(SeekFrom::Start(offset))?;
                file.write_all(&bytes)
            });
            self.tell.console(bytes);
        }
        if let Some(power) = ended {
            // After the last byte of the console: who reads this knows that there are no more.
            let path = self.path.with_file_name("power");
            self.stubbornly(|_| fs::write(&path, power_text(power)));
        }
        last
    }

    /// Does it until it works: nothing may leave after an output that did not.
    fn stubbornly(&mut self, mut work: impl FnMut(&mut File) -> io::Result<()>) {
        loop {
            match self.open().and_then(&mut work) {
                Ok(()) => {
                    self.complained = false;
                    return;
                }
                Err(error) => {
                    self.file = None;
                    if !std::mem::replace(&mut self.complained, true) {
                        let reason = format!("{}: {error}", self.path.display());
                        self.tell.event(Event::Storage { reason });
                    }
                    std::thread::sleep(RETRY_EVERY);
                }
            }
        }
    }

    fn open(&mut self) -> io::Result<&mut File> {
        match &mut self.file {
            Some(file) => Ok(file),
            none => Ok(none.insert(existing(&self.path)?)),
        }
    }
}

/// The record exists since the run began. One that is missing is storage that is missing: never make another.
fn existing(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).open(path)
}
