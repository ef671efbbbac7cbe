//! The way out of a machine that has no replica: the log, and then what it explains.
//!
//! Console bytes are shown, frames sent and images of disks written only after the log with their entries is in the
//! operating system's hands, so that a kill at any moment leaves a log that explains everything that was seen or written.
//! Only a crash of the host itself may cost the end of a log: it is made durable (fsync) when the run ends.
//!
//! To compress a log takes as long as to receive what is in it, so a run with a log has a thread for all of that.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::thread::JoinHandle;

use anyhow::{Context, Result, anyhow};
use emu::{Machine, Output};
use ft_net::user_net::Uplink;

use replay::log::{LogWriter, PlainSegment, Totals};
use replay::snapshot::begin_log;

use crate::host::disks::Disk;
use crate::host::errors::print;
use crate::host::surroundings::{Surroundings, TellFlushed};

/// Batches that may wait for the thread; then the machine waits. What a kill takes of them nobody has seen.
const BATCHES_MAX: usize = 16;

/// A log file that is being written.
pub(crate) struct LogFile {
    path: PathBuf,
    writer: LogWriter<File>,
}

impl LogFile {
    /// Begins a log with `machine` as it is, the images of its disks being at `disks`; its first entry will have the number
    /// `next_entry`.
    ///
    /// # Errors
    /// If the file exists or cannot be written.
    pub(crate) fn create(
        path: &Path,
        program: &str,
        disks: Vec<String>,
        machine: &Machine,
        next_entry: u64,
    ) -> Result<Self> {
        let file = crate::host::files::create_new(path)?;
        let writer = begin_log(file, program, disks, machine, next_entry)
            .with_context(|| format!("cannot write {}", path.display()))?;
        Ok(Self { path: path.to_owned(), writer })
    }

    fn write(&mut self, segment: &[u8]) -> Result<()> {
        let offset = self.writer.offset();
        let about = || format!("cannot write {} at offset {offset}", self.path.display());
        self.writer.write_segment(segment).with_context(about)
    }

    fn finish(self, totals: &Totals) -> Result<()> {
        let about = || format!("cannot write {}", self.path.display());
        let file = self.writer.finish(totals).with_context(about)?;
        file.sync_all().with_context(about)
    }
}

/// What leaves at a time. The entries of all of it are in `segments`, or in those of an earlier batch.
#[derive(Default)]
pub(crate) struct Batch {
    pub(crate) segments: Vec<PlainSegment>,
    /// Console bytes to be shown.
    pub(crate) console: Vec<u8>,
    /// Frames to be sent.
    pub(crate) frames: Vec<Vec<u8>>,
    /// What is to be written to disks or made durable there.
    pub(crate) disks: Vec<Output>,
    /// Dropped when the batch is done.
    done: Option<SyncSender<()>>,
}

impl Batch {
    /// Whether the outside will see any of it.
    pub(crate) fn is_seen(&self) -> bool {
        !self.console.is_empty() || !self.frames.is_empty() || !self.disks.is_empty()
    }
}

/// Carries batches out.
struct Carrier {
    log: Option<LogFile>,
    uplink: Option<Uplink>,
    disks: Vec<Disk>,
    tell_flushed: TellFlushed,
}

impl Carrier {
    fn carry_out(&mut self, batch: Batch) -> Result<()> {
        self.write_log(batch.segments)?;
        if let Some(uplink) = &self.uplink {
            batch.frames.into_iter().for_each(|frame| uplink.send(frame));
        }
        if !batch.console.is_empty() {
            print(&batch.console)?;
        }
        batch.disks.into_iter().try_for_each(|output| self.write_disk(output))
    }

    fn write_log(&mut self, segments: Vec<PlainSegment>) -> Result<()> {
        let Some(mut log) = self.log.take() else { return Ok(()) };
        for segment in segments {
            log.write(&segment.encode().bytes)?; // The log ends here.
        }
        self.log = Some(log);
        Ok(())
    }

    /// Disks whose images do not follow what the guest writes have nothing to be written.
    fn write_disk(&self, output: Output) -> Result<()> {
        let image = |disk: u8| self.disks.get(usize::from(disk)).map(|disk| &disk.image);
        match output {
            Output::Disk { disk, offset, bytes } => image(disk).map_or(Ok(()), |image| image.write(offset, &bytes)),
            Output::Flush { disk, flush } => {
                image(disk).map_or(Ok(()), |image| image.sync())?;
                (self.tell_flushed)(disk, flush);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// The thread: takes batches until there are no more. After an error only the log goes on, so that it has an end.
    fn run(mut self, batches: &Receiver<Batch>, failed: &mpsc::Sender<anyhow::Error>) -> Self {
        let mut well = true;
        for batch in batches {
            let result = if well { self.carry_out(batch) } else { self.write_log(batch.segments) };
            if let Err(error) = result {
                well = false;
                let _ = failed.send(error); // To nobody: the run has ended.
            }
        }
        self
    }
}

/// The way out.
pub(crate) struct Outlet(Way);

enum Way {
    Here(Carrier),
    Thread { to: SyncSender<Batch>, failed: Receiver<anyhow::Error>, thread: JoinHandle<Carrier> },
}

impl Outlet {
    /// Into `log` if there is one, to `outside` and to `disks`.
    ///
    /// # Errors
    /// If the host has no thread for it.
    pub(crate) fn start(log: Option<LogFile>, disks: Vec<Disk>, outside: &Surroundings) -> Result<Self> {
        let records = log.is_some();
        let carrier = Carrier { log, uplink: outside.uplink(), disks, tell_flushed: outside.tell_flushed() };
        if !records {
            return Ok(Self(Way::Here(carrier)));
        }
        let (to, batches) = mpsc::sync_channel(BATCHES_MAX);
        let (fail, failed) = mpsc::channel();
        let thread = std::thread::Builder::new().name("log".to_owned());
        let thread = thread.spawn(move || carrier.run(&batches, &fail)).context("cannot start a thread")?;
        Ok(Self(Way::Thread { to, failed, thread }))
    }

    /// Whether there is a log.
    pub(crate) fn records(&self) -> bool {
        matches!(self.0, Way::Thread { .. })
    }

    /// Carries `batch` out after those before it; with a log, sooner or later.
    ///
    /// # Errors
    /// If this, or an earlier batch, could not be carried out.
    pub(crate) fn send(&mut self, batch: Batch) -> Result<()> {
        match &mut self.0 {
            Way::Here(carrier) => carrier.carry_out(batch),
            Way::Thread { to, failed, .. } => {
                if (batch.is_seen() || !batch.segments.is_empty() || batch.done.is_some()) && to.send(batch).is_err() {
                    return Err(anyhow!("the log's thread has panicked"));
                }
                failed.try_recv().map_or(Ok(()), Err)
            }
        }
    }

    /// Waits until everything is out.
    ///
    /// # Errors
    /// As [`Self::send`].
    pub(crate) fn drain(&mut self) -> Result<()> {
        let (done, wait) = mpsc::sync_channel(0);
        self.send(Batch { done: Some(done), ..Batch::default() })?;
        let _ = wait.recv(); // It ends: nobody sends.
        self.send(Batch::default())
    }

    /// Ends the log on purpose, with these as its last words.
    ///
    /// # Errors
    /// As [`Self::send`].
    pub(crate) fn end(mut self, segments: Vec<PlainSegment>, totals: &Totals) -> Result<()> {
        let sent = self.send(Batch { segments, ..Batch::default() });
        let Way::Thread { to, failed, thread } = self.0 else { return sent };
        drop(to);
        let carrier = thread.join().map_err(|_| anyhow!("the log's thread has panicked"))?;
        sent.and_then(|()| failed.try_recv().map_or(Ok(()), Err))?;
        carrier.log.map_or(Ok(()), |log| log.finish(totals))
    }
}
