//! Ctrl-C, SIGTERM and SIGHUP: the first asks for an orderly end, the third does not wait for it.

use std::sync::atomic::{AtomicU32, Ordering};

use super::terminal;
use crate::exit;

static ASKED: AtomicU32 = AtomicU32::new(0);

/// Takes over the signals. Without a handler they end the process at once, which is no harm either.
pub(crate) fn install() {
    let handler = || {
        if ASKED.fetch_add(1, Ordering::Relaxed) >= 2 {
            terminal::restore();
            std::process::exit(exit::STOPPED.into());
        }
    };
    let _ = ctrlc::set_handler(handler);
}

/// Whether the operator wants an end.
pub(crate) fn stop_asked() -> bool {
    ASKED.load(Ordering::Relaxed) > 0
}

/// Asks for an end, as Ctrl-C does.
pub(crate) fn ask_stop() {
    ASKED.fetch_add(1, Ordering::Relaxed);
}
