//! One file per command. Each gives the exit code of the process.

mod attach;
mod demo;
mod guests;
mod log;
mod pair;
mod program;
mod replay;
mod run;
mod status;
mod wrap;

use anyhow::Result;

use crate::cli::{Cli, Command};

/// Does what the command line says.
pub(crate) fn run(cli: Cli) -> Result<u8> {
    match cli.command {
        Command::Run(args) if args.primary => pair::primary(&args),
        Command::Run(args) if args.backup => pair::backup(&args),
        Command::Run(args) => run::run(&args),
        Command::Replay(args) => replay::run(&args),
        Command::Log(command) => log::run(&command),
        Command::Attach(args) => attach::run(&args),
        Command::Status(args) => status::run(&args),
        Command::Demo(args) => demo::run(&args),
        Command::Guests(args) => guests::run(&args),
        Command::Wrap(args) => wrap::run(&args),
    }
}
