//! The command line `ftemu`: one file per command, and what it takes of the host.
//!
//! | module | is |
//! |---|---|
//! | `cli` | the grammar of the command line |
//! | `commands` | one file per command |
//! | `solo` | runs a machine that has no replica |
//! | `exit` | exit codes |
//! | `host` | terminal, progress, signals, clock, entropy, files |

mod cli;
mod commands;
mod exit;
mod host;
mod outlet;
mod snapshot;
mod solo;

use std::process::ExitCode;

use host::errors::{self, ClosedOutput};
use host::terminal;

fn main() -> ExitCode {
    terminal::restore_on_panic();
    let code = match cli::parse() {
        Ok(cli) => commands::run(cli).unwrap_or_else(|error| report(&error)),
        Err(code) => code,
    };
    terminal::restore();
    ExitCode::from(code)
}

/// One line for an error; none for a reader that has gone away, which is no error of ours.
fn report(error: &anyhow::Error) -> u8 {
    if error.is::<ClosedOutput>() {
        return exit::CLOSED_OUTPUT;
    }
    errors::say(format_args!("{error:#}"));
    exit::ERROR
}
