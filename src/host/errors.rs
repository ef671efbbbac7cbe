//! What goes to stderr: one clear line each.

use std::fmt;
use std::io::{self, ErrorKind, Write};

use super::terminal;
use crate::exit;

/// Says one line on stderr. If nobody can hear it, so be it.
pub(crate) fn say(what: fmt::Arguments<'_>) {
    let line = what.to_string().replace(['\n', '\r'], "; ");
    let _ = write!(io::stderr().lock(), "ftemu: {line}{}", terminal::newline());
}

/// Says why this process cannot go on, and ends it. For where no error can be handed up.
pub(crate) fn fatal(what: fmt::Arguments<'_>) -> ! {
    terminal::restore();
    say(what);
    std::process::exit(i32::from(exit::ERROR))
}

/// Says a text of several lines on stderr, such as a report of a divergence.
pub(crate) fn say_report(text: &str) {
    let text = text.replace('\n', terminal::newline());
    let _ = write!(io::stderr().lock(), "ftemu: {text}{}", terminal::newline());
}

/// Whoever read stdout has gone away.
#[derive(Debug)]
pub(crate) struct ClosedOutput;

impl fmt::Display for ClosedOutput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("nobody reads the output any more")
    }
}

impl std::error::Error for ClosedOutput {}

/// The error for a failed write to stdout.
pub(crate) fn output_error(error: io::Error) -> anyhow::Error {
    match error.kind() {
        ErrorKind::BrokenPipe => ClosedOutput.into(),
        _ => anyhow::Error::new(error).context("cannot write to stdout"),
    }
}

/// Writes console bytes to stdout at once.
///
/// # Errors
/// [`ClosedOutput`], or what the host says.
pub(crate) fn print(bytes: &[u8]) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(bytes).and_then(|()| out.flush()).map_err(output_error)
}
