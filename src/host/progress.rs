//! A line on a terminal while a kernel loads and boots, which goes away when the guest speaks.

use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

/// How often the line changes.
const EVERY: Duration = Duration::from_millis(200);

/// The line, for as long as this lives; nothing if stderr is no terminal.
#[derive(Debug)]
pub(crate) struct Progress {
    start: Instant,
    shown: Option<Instant>,
    /// Characters on the line.
    width: usize,
}

impl Progress {
    /// A line that says `what`.
    pub(crate) fn start(what: fmt::Arguments<'_>) -> Option<Self> {
        if !io::stderr().is_terminal() {
            return None;
        }
        let mut this = Self { start: Instant::now(), shown: None, width: 0 };
        this.say(&what.to_string());
        Some(this)
    }

    /// Now the guest runs, and has come to instruction `retired`.
    pub(crate) fn booting(&mut self, retired: u64) {
        if self.shown.is_none_or(|shown| shown.elapsed() >= EVERY) {
            self.shown = Some(Instant::now());
            let seconds = self.start.elapsed().as_secs_f32();
            self.say(&format!("booting: {} million instructions, {seconds:.1} s", retired / 1_000_000));
        }
    }

    fn say(&mut self, what: &str) {
        let line = format!("ftemu: {what}");
        self.write(&line);
        self.width = line.chars().count();
    }

    fn write(&self, line: &str) {
        let mut stderr = io::stderr().lock();
        let _ = write!(stderr, "\r{line:width$}", width = self.width).and_then(|()| stderr.flush());
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.write("");
        self.width = 0;
        self.write("");
    }
}
