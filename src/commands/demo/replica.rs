//! A replica as a child process, and what it says on stderr.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::host::signals;

/// How often we look whether something has happened.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// A line that a replica said.
pub(super) struct Line {
    /// When it came.
    pub(super) at: Instant,
    /// The line without its prefix.
    pub(super) text: String,
}

/// A child process; it is killed when dropped.
pub(super) struct Replica {
    what: String,
    child: Child,
    lines: Receiver<Line>,
    said: Vec<String>,
}

impl Replica {
    /// Starts `ftemu run` with `arguments` and the shared directory `root`.
    pub(super) fn start(what: &str, root: &Path, arguments: &[&str]) -> Result<Self> {
        let mut command = Command::new(std::env::current_exe().context("this program does not know its own file")?);
        command.arg("run").args(arguments).arg("--shared").arg(root);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().with_context(|| format!("cannot start a {what}"))?;
        let stderr = child.stderr.take().context("a child without stderr")?;
        let (to, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                let text = line.trim_start_matches("ftemu: ").to_owned();
                if to.send(Line { at: Instant::now(), text }).is_err() {
                    return;
                }
            }
        });
        Ok(Self { what: what.to_owned(), child, lines, said: Vec::new() })
    }

    /// Its process id.
    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }

    /// The next line that contains `part`.
    pub(super) fn hear(&mut self, part: &str, patience: Duration) -> Result<Line> {
        let deadline = Instant::now() + patience;
        while Instant::now() < deadline && !signals::stop_asked() {
            match self.lines.recv_timeout(LOOK_EVERY) {
                Ok(line) if line.text.contains(part) => return Ok(line),
                Ok(line) => self.said.push(line.text),
                Err(mpsc::RecvTimeoutError::Timeout) => {}
                Err(mpsc::RecvTimeoutError::Disconnected) => break,
            }
        }
        let last = self.said.iter().rev().take(5).rev().map(String::as_str).collect::<Vec<_>>().join(" | ");
        bail!("waited in vain for the {} to say {part:?}; it said last: {last}", self.what)
    }

    /// SIGKILL, or what the platform has instead.
    pub(super) fn kill(&mut self) -> Result<()> {
        self.child.kill().with_context(|| format!("cannot kill the {}", self.what))?;
        self.child.wait().with_context(|| format!("cannot wait for the {}", self.what))?;
        Ok(())
    }

    /// Its exit code, once it has ended by itself.
    pub(super) fn wait(&mut self, patience: Duration) -> Result<Option<i32>> {
        let deadline = Instant::now() + patience;
        while Instant::now() < deadline && !signals::stop_asked() {
            if let Some(status) = self.child.try_wait().with_context(|| format!("cannot wait for the {}", self.what))? {
                return Ok(status.code());
            }
            std::thread::sleep(LOOK_EVERY);
        }
        bail!("the {} does not end", self.what)
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        let _ = self.child.kill(); // It may have ended.
        let _ = self.child.wait();
    }
}
