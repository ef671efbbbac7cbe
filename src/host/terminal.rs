//! The terminal: raw while a guest has it, restored on every way out.

use std::io::{self, IsTerminal};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crossterm::terminal::{disable_raw_mode, enable_raw_mode};

static RAW: AtomicBool = AtomicBool::new(false);

/// Gives the keyboard to the guest, if it is one. `true` if the terminal is raw now.
pub(crate) fn enter_raw() -> bool {
    if io::stdin().is_terminal() && enable_raw_mode().is_ok() {
        RAW.store(true, Ordering::Relaxed);
    }
    RAW.load(Ordering::Relaxed)
}

/// Makes the terminal what it was. Harmless if it is.
pub(crate) fn restore() {
    if RAW.swap(false, Ordering::Relaxed) {
        let _ = disable_raw_mode(); // Nobody could be told.
    }
}

/// Columns and rows of the terminal that shows the output, if one does.
fn size() -> Option<(u16, u16)> {
    // Without a terminal, crossterm would look for one elsewhere.
    if io::stdout().is_terminal() { crossterm::terminal::size().ok() } else { None }
}

/// Looks for another size of the terminal now and then.
#[derive(Debug, Default)]
pub(crate) struct SizeWatch {
    known: Option<(u16, u16)>,
    looked: Option<Instant>,
}

impl SizeWatch {
    /// How often it looks, at most.
    pub(crate) const EVERY: Duration = Duration::from_millis(200);

    /// Columns and rows, if they are others than at the last call.
    pub(crate) fn poll(&mut self) -> Option<(u16, u16)> {
        if self.looked.is_some_and(|at| at.elapsed() < Self::EVERY) {
            return None;
        }
        self.looked = Some(Instant::now());
        let new = size().filter(|&size| self.known != Some(size))?;
        self.known = Some(new);
        Some(new)
    }
}

/// A panic is a bug of ours; the user's terminal must survive it all the same.
pub(crate) fn restore_on_panic() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        restore();
        report(info);
    }));
}

/// What ends a line: a raw terminal does not return the carriage by itself.
pub(crate) fn newline() -> &'static str {
    if RAW.load(Ordering::Relaxed) { "\r\n" } else { "\n" }
}
