//! `--snapshot`: the machine of a run that goes on, saved at a chosen moment, for `ftemu run --from`.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{Context, Result, ensure};
use emu::Machine;

use crate::host::errors::say;
use crate::host::files;

/// When a snapshot is taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum When {
    /// Before the instruction with this number (the first has number 0).
    Retired(u64),
    /// As soon as this text stands on the console.
    Console(String),
}

impl FromStr for When {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(said) = text.strip_prefix("console:") {
            return if said.is_empty() { Err("console: what?".to_owned()) } else { Ok(Self::Console(said.to_owned())) };
        }
        let (digits, unit) = match text.as_bytes().last() {
            Some(b'k' | b'K') => (&text[..text.len() - 1], 1_000),
            Some(b'm' | b'M') => (&text[..text.len() - 1], 1_000_000),
            Some(b'g' | b'G') => (&text[..text.len() - 1], 1_000_000_000),
            _ => (text, 1),
        };
        let count = digits.parse::<u64>().ok().and_then(|count| count.checked_mul(unit));
        count.map(Self::Retired).ok_or_else(|| "a number of instructions such as 1500M, or console:TEXT".to_owned())
    }
}

/// A snapshot that is to be taken once.
#[derive(Debug)]
pub(crate) struct Plan {
    path: PathBuf,
    program: String,
    /// Where the images of the machine's disks are.
    disks: Vec<String>,
    when: When,
    /// The end of what has been said so far: too short to hold all of the text.
    said: Vec<u8>,
    due: bool,
}

impl Plan {
    /// A snapshot of a machine that runs `program`, with the images of its disks at `disks`.
    ///
    /// # Errors
    /// If the file exists already.
    pub(crate) fn new(path: &Path, program: &str, disks: Vec<String>, when: When) -> Result<Self> {
        ensure!(!path.exists(), "cannot create {}: it exists", path.display());
        let (path, program) = (path.to_owned(), program.to_owned());
        Ok(Self { path, program, disks, when, said: Vec::new(), due: false })
    }

    /// The instruction before which the machine must stop.
    pub(crate) fn stop_at(&self) -> Option<u64> {
        if let When::Retired(at) = self.when { Some(at) } else { None }
    }

    /// The console has said this.
    pub(crate) fn hear(&mut self, bytes: &[u8]) {
        let When::Console(text) = &self.when else { return };
        self.said.extend(bytes);
        self.due |= self.said.windows(text.len()).any(|window| window == text.as_bytes());
        let old = self.said.len().saturating_sub(text.len() - 1);
        self.said.drain(..old);
    }

    /// Whether its moment has come.
    pub(crate) fn is_due(&self, machine: &Machine) -> bool {
        self.due || self.stop_at().is_some_and(|at| machine.position().retired >= at)
    }

    /// Takes it.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub(crate) fn take(self, machine: &Machine) -> Result<()> {
        let about = || format!("cannot write {}", self.path.display());
        let file = files::create_new(&self.path)?;
        let file = replay::snapshot::save(file, &self.program, self.disks, machine).with_context(about)?;
        file.sync_all().with_context(about)?;
        say(format_args!("snapshot at instruction {} in {}", machine.position(), self.path.display()));
        Ok(())
    }

    /// What to say when the run has ended before.
    pub(crate) fn missed(&self) -> String {
        format!("the run ended before the moment of the snapshot: there is no {}", self.path.display())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments() {
        assert_eq!("1500M".parse(), Ok(When::Retired(1_500_000_000)));
        assert_eq!("7".parse(), Ok(When::Retired(7)));
        assert_eq!("console:login: ".parse(), Ok(When::Console("login: ".to_owned())));
        for bad in ["", "M", "-1", "console:", "soon", "99999999999G"] {
            assert!(bad.parse::<When>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_text_is_heard_across_pieces() {
        let when = When::Console("login:".to_owned());
        let mut plan = Plan::new(Path::new("no/such/file"), "x", vec![], when).unwrap();
        for piece in ["lo", "log", "in", ":"] {
            assert!(!plan.due, "before {piece}");
            plan.hear(piece.as_bytes());
        }
        assert!(plan.due);
    }
}
