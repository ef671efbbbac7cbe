//! A pair of real processes for tests: start, hear, kill, stop, attach.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Nothing that works takes longer, even on a loaded host.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A shared directory and a name in it.
pub struct Site {
    dir: tempfile::TempDir,
    name: &'static str,
    timeout_ms: &'static str,
}

impl Site {
    /// An empty one. Kills show by closed connections at once; only tests of silence need a short timeout.
    pub fn new(timeout_ms: &'static str) -> Self {
        Self { dir: tempfile::tempdir().unwrap(), name: "default", timeout_ms }
    }

    /// Another name in the same directory.
    pub fn beside(self, name: &'static str) -> (Self, Self) {
        let dir = tempfile::tempdir_in(self.dir.path()).unwrap();
        let other = Self { dir, name, timeout_ms: self.timeout_ms };
        (self, other)
    }

    /// Starts a replica.
    pub fn run(&self, arguments: &[&str]) -> Replica {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ftemu"));
        command.arg("run").args(arguments).args(["--name", self.name, "--timeout-ms", self.timeout_ms]);
        Replica::start(command.arg("--shared").arg(self.dir.path()))
    }

    /// Starts a run of a built-in guest.
    pub fn primary(&self, guest: &str, append: &str) -> Replica {
        self.primary_with(guest, append, &[])
    }

    /// The same with more options.
    pub fn primary_with(&self, guest: &str, append: &str, options: &[&str]) -> Replica {
        let guest = format!("guest:{guest}");
        let mut primary = self.run(&[&[&guest, "--append", append, "--primary"], options].concat());
        primary.hear("serving");
        primary
    }

    /// Starts a backup that may have to wait.
    pub fn waiting_backup(&self) -> Replica {
        self.waiting_backup_with(&[])
    }

    /// The same with more options.
    pub fn waiting_backup_with(&self, options: &[&str]) -> Replica {
        self.run(&[&["--backup"], options].concat())
    }

    /// Starts a backup, and waits until it could take over.
    pub fn backup(&self) -> Replica {
        self.backup_with(&[])
    }

    /// The same with more options.
    pub fn backup_with(&self, options: &[&str]) -> Replica {
        let mut backup = self.waiting_backup_with(options);
        backup.hear("following from");
        backup
    }

    /// Attaches a client.
    pub fn attach(&self) -> Client {
        Client::start(&mut self.attach_command())
    }

    /// The command that attaches one.
    pub fn attach_command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ftemu"));
        command.args(["attach", "--name", self.name, "--shared"]).arg(self.dir.path());
        command
    }

    /// What `ftemu status` prints.
    pub fn status(&self) -> String {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ftemu"));
        let output = command.args(["status", "--name", self.name, "--shared"]).arg(self.dir.path()).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    }

    /// The run's own directory.
    pub fn dir(&self) -> PathBuf {
        self.dir.path().join(self.name)
    }

    /// The console of record.
    pub fn record(&self) -> Vec<u8> {
        std::fs::read(self.dir().join("console")).unwrap_or_default()
    }

    /// Waits until the record has `count` bytes.
    pub fn wait_for_record(&self, count: usize) {
        until("more console", || self.record().len() >= count);
    }
}

/// Waits until `done`.
pub fn until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// A replica process; killed when dropped.
pub struct Replica {
    child: Child,
    lines: Receiver<String>,
    said: Vec<String>,
}

impl Replica {
    fn start(command: &mut Command) -> Self {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let stderr = child.stderr.take().unwrap();
        let (to, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                let _ = to.send(line);
            }
        });
        Self { child, lines, said: Vec::new() }
    }

    /// Waits for a line that contains `part`.
    pub fn hear(&mut self, part: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) => {
                    self.said.push(line.clone());
                    if line.contains(part) {
                        return line;
                    }
                }
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    panic!("waited in vain for {part:?}; said: {:#?}", self.said)
                }
            }
        }
    }

    /// All that it has said so far.
    pub fn said(&mut self) -> &[String] {
        self.said.extend(self.lines.try_iter());
        &self.said
    }

    /// kill -9
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Sends a signal.
    pub fn signal(&self, signal: libc::c_int) {
        let pid = libc::pid_t::try_from(self.child.id()).unwrap();
        // SAFETY: kill(2) on our own child, which has not been waited for.
        assert_eq!(unsafe { libc::kill(pid, signal) }, 0);
    }

    /// Its exit code, once it ends by itself.
    pub fn code(&mut self) -> Option<i32> {
        let mut code = None;
        until("the end of a replica", || {
            code = self.child.try_wait().unwrap();
            code.is_some()
        });
        code.unwrap().code()
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `ftemu attach` with a keyboard and a screen.
pub struct Client {
    child: Child,
    keyboard: ChildStdin,
    screen: Arc<Mutex<Vec<u8>>>,
}

impl Client {
    fn start(command: &mut Command) -> Self {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let (keyboard, mut stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let screen = Arc::new(Mutex::new(Vec::new()));
        let shown = Arc::clone(&screen);
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = stdout.read(&mut buffer) {
                shown.lock().unwrap().extend(&buffer[..count]);
            }
        });
        Self { child, keyboard, screen }
    }

    /// Types something.
    pub fn type_in(&mut self, text: &str) {
        self.keyboard.write_all(text.as_bytes()).unwrap();
    }

    /// What it has shown.
    pub fn screen(&self) -> String {
        String::from_utf8_lossy(&self.screen.lock().unwrap()).replace('\r', "")
    }

    /// Waits until the guest is off; gives the exit code and all that was shown.
    pub fn end(mut self) -> (Option<i32>, Vec<u8>) {
        let mut status = None;
        until("the end of a client", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        std::thread::sleep(Duration::from_millis(50)); // Its last words are in the pipe.
        let screen = self.screen.lock().unwrap().clone();
        (status.unwrap().code(), screen)
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A sequence of pseudo-random numbers; the test names its seed when it fails.
pub struct Chance(u64);

impl Chance {
    /// From `FTEMU_SEED`, or else the clock.
    pub fn new() -> Self {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().subsec_nanos();
        let seed = std::env::var("FTEMU_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(u64::from(now));
        eprintln!("FTEMU_SEED={seed}");
        Self(seed)
    }

    /// The next number below `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }

    /// Sleeps up to `ms` milliseconds.
    pub fn nap(&mut self, ms: u64) {
        std::thread::sleep(Duration::from_micros(self.below(ms * 1000)));
    }
}
