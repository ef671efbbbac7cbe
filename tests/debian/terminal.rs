//! Somebody at the terminal of a guest.

use std::io::{Read, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// A guest that has been silent about what we wait for for so long will not say it.
const PATIENCE: Duration = Duration::from_secs(600);

/// Makes a shell quiet.
pub const QUIET: &str = "stty -echo; PS1= PS2=; echo rea''dy";

/// A terminal and all that it has shown.
pub struct Terminal {
    process: Child,
    keys: ChildStdin,
    said: Receiver<Vec<u8>>,
    /// All of the console.
    console: Vec<u8>,
    /// How much of it has been waited for.
    seen: usize,
    /// How many bytes were typed.
    typed: usize,
}

impl Terminal {
    /// Sits down before `ftemu run` or `ftemu attach`.
    pub fn open(command: &mut Command) -> Self {
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (keys, mut screen) = (process.stdin.take().unwrap(), process.stdout.take().unwrap());
        let (tell, said) = channel();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(n @ 1..) = screen.read(&mut buffer) {
                let _ = tell.send(buffer[..n].to_vec());
            }
        });
        Self { process, keys, said, console: Vec::new(), seen: 0, typed: 0 }
    }

    /// Waits until the console has said `text`; returns what came before it.
    pub fn wait_for(&mut self, text: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let new = &self.console[self.seen..];
            if let Some(at) = new.windows(text.len()).position(|window| window == text.as_bytes()) {
                let before = String::from_utf8_lossy(&new[..at]).replace("\r\n", "\n");
                self.seen += at + text.len();
                return before;
            }
            match self.said.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(bytes) => self.console.extend(bytes),
                Err(RecvTimeoutError::Timeout) => panic!("no {text:?} after:\n{}", self.text()),
                Err(RecvTimeoutError::Disconnected) => panic!("ended without {text:?}:\n{}", self.text()),
            }
        }
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.console).into_owned()
    }

    pub fn type_in(&mut self, line: &str) {
        self.keys.write_all(format!("{line}\n").as_bytes()).unwrap();
        self.typed += line.len() + 1;
    }

    /// Logs in, as somebody whose shell echoes nothing and wraps no lines: what it prints is what the commands print.
    pub fn log_in(&mut self) {
        self.wait_for("ftemu login: ");
        self.type_in("root");
        self.wait_for("root@ftemu:~# ");
        self.type_in("exec sh");
        self.wait_for("# ");
        self.type_in(QUIET);
        self.wait_for("ready\r\n");
    }

    /// The console so far, as far as it has been waited for, and how many bytes were typed.
    pub fn so_far(&self) -> (&[u8], usize) {
        (&self.console[..self.seen], self.typed)
    }

    /// Runs a command in the guest's shell, which must succeed; returns what it printed.
    pub fn shell(&mut self, command: &str) -> String {
        self.type_in(&format!("{command}; echo \"[=$?=]\""));
        let printed = self.wait_for("=]\r\n");
        let (printed, code) = printed.rsplit_once("[=").unwrap();
        assert_eq!(code, "0", "{command:?}:\n{printed}");
        printed.to_owned()
    }

    /// Waits for the end; the exit code and the console.
    pub fn close(mut self) -> (Option<i32>, Vec<u8>) {
        while let Ok(bytes) = self.said.recv_timeout(PATIENCE) {
            self.console.extend(bytes);
        }
        (self.process.wait().unwrap().code(), std::mem::take(&mut self.console))
    }
}

/// A guest that fails a test must not outlive it.
impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.process.kill();
    }
}
