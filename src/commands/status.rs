//! `ftemu status`: what is known about a run.

use std::fmt::Write;
use std::time::Duration;

use anyhow::Result;
use ft_net::runtime;

use crate::cli::RunName;
use crate::exit;
use crate::host::errors::print;
use crate::host::files;

/// How long whoever serves may take to answer.
const TIMEOUT: Duration = Duration::from_millis(1000);

/// Prints it. Exit code 0 if somebody serves.
pub(crate) fn run(args: &RunName) -> Result<u8> {
    let shared = files::shared(args.shared.as_deref(), &args.name)?;
    let status = runtime::status(&shared, TIMEOUT)?;
    let mut text = format!("run         {} in {}\n", args.name, shared.dir().display());
    match status.instance {
        Some(instance) => drop(writeln!(text, "instance    {instance:016x}")),
        None => text.push_str("instance    none: nobody has started one here\n"),
    }
    match (&status.serving, status.answer) {
        (Some(at), Some(answer)) => {
            let protected = if answer.protected { "protected by a backup" } else { "NOT PROTECTED: no backup" };
            let (replica, generation, released) = (answer.replica, answer.generation, answer.released);
            let _ = writeln!(text, "serving     replica {replica:016x}, generation {generation}, at {}", at.address);
            let _ = writeln!(text, "            {protected}; {released} outputs are out");
        }
        (Some(at), None) => {
            let _ = writeln!(text, "serving     nobody: replica {:016x} at {} does not answer", at.replica, at.address);
        }
        (None, _) => text.push_str("serving     nobody\n"),
    }
    for replica in &status.living {
        let _ = writeln!(text, "alive       replica {replica:016x}");
    }
    for (generation, who) in &status.generations {
        let _ = writeln!(text, "generation  {generation}: {who}");
    }
    if let Some(power) = shared.power()? {
        let _ = writeln!(text, "guest       ended: {power:?}");
    }
    print(text.as_bytes())?;
    Ok(if status.answer.is_some() { 0 } else { exit::ERROR })
}
