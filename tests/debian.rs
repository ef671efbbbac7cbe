//! A whole distribution: Debian boots with its own kernel and initial RAM disk from a virtio disk, to systemd's multi-user target
//! and a login; real programs give the right answers; and all of it replays.
//!
//! `.ci/debian` makes the disk; where that is not possible, this is skipped.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod prepared;

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// A guest that has been silent about what we wait for for so long will not say it.
const PATIENCE: Duration = Duration::from_secs(600);

/// Where `root.img`, `vmlinuz` and `initrd.img` are, if they are to be had.
fn debian() -> Option<PathBuf> {
    prepared::by("debian", &[]).map(PathBuf::from)
}

/// Somebody at the terminal of a guest.
struct Terminal {
    process: Child,
    keys: ChildStdin,
    said: Receiver<Vec<u8>>,
    /// All of the console.
    console: Vec<u8>,
    /// How much of it has been waited for.
    seen: usize,
}

impl Terminal {
    fn open(room: &TempDir, arguments: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ftemu"));
        command.args(arguments).current_dir(room.path()).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.spawn().unwrap();
        let (keys, mut screen) = (process.stdin.take().unwrap(), process.stdout.take().unwrap());
        let (tell, said) = channel();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(n @ 1..) = screen.read(&mut buffer) {
                let _ = tell.send(buffer[..n].to_vec());
            }
        });
        Self { process, keys, said, console: Vec::new(), seen: 0 }
    }

    /// Waits until the console has said `text`; returns what came before it.
    fn wait_for(&mut self, text: &str) -> String {
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

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.console).into_owned()
    }

    fn type_in(&mut self, line: &str) {
        self.keys.write_all(format!("{line}\n").as_bytes()).unwrap();
    }

    /// Runs a command in the guest's shell, which must succeed; returns what it printed.
    fn shell(&mut self, command: &str) -> String {
        self.type_in(&format!("{command}; echo \"[$?]\""));
        let printed = self.wait_for("]\r\n") + "]";
        let (printed, code) = printed.rsplit_once('[').unwrap();
        assert_eq!(code, "0]", "{command:?}:\n{printed}");
        printed.to_owned()
    }

    /// Waits for the end; the exit code and the console.
    fn close(mut self) -> (Option<i32>, Vec<u8>) {
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

const HELLO: &str = r#"printf '#include <stdio.h>
int main(void) { double x = 2; for (int i = 0; i < 5; i++) x = x / 2 + 1 / x; printf("hello %%.15f\\n", x); }
' > hello.c && gcc -O2 -o hello hello.c && ./hello"#;
const PYTHON: &str = "python3 -c 'import hashlib, math; \
    print(hashlib.sha256(str(2**4423-1).encode()).hexdigest(), math.sin(1e22), sum(range(10**6)))'";
const SQLITE: &str = "sqlite3 db 'create table t(n integer); \
    with recursive c(n) as (select 1 union all select n+1 from c where n<5000) insert into t select n from c; \
    create index i on t(n); select count(*), sum(n*n) from t;' 'pragma integrity_check;'";
const OPENSSL: &str = "openssl speed -seconds 1 -bytes 1024 -evp aes-128-gcm 2>&1 | tail -1; seq 100000 > n; \
    openssl enc -aes-256-ctr -pbkdf2 -pass pass:x -in n -out e && \
    openssl enc -d -aes-256-ctr -pbkdf2 -pass pass:x -in e | sha256sum";
const REDIS: &str = "for i in 1 2 3; do redis-cli --raw incr visits; done; \
    redis-benchmark -n 2000 -q -t set,get > b; tr '\\r' '\\n' < b | grep -c 'requests per second'";

#[test]
fn debian_boots_works_and_replays() {
    let Some(debian) = debian() else { return };
    let room = tempfile::tempdir().unwrap();
    let path = |name: &str| debian.join(name).to_str().unwrap().to_owned();
    let (kernel, initrd, disk) = (path("vmlinuz"), path("initrd.img"), path("root.img"));
    let append = "console=ttyS0 root=/dev/vda rw panic=-1";
    let options = ["--memory", "1G", "--clock", "derived", "--append", append, "--record", "log"];
    let files = ["run", &kernel, "--initrd", &initrd, "--disk", &disk];
    let began = Instant::now();
    let mut terminal = Terminal::open(&room, &[&files[..], &options].concat());
    works(&mut terminal);
    terminal.type_in("poweroff");
    let (code, console) = terminal.close();
    assert_eq!(code, Some(0), "{}", String::from_utf8_lossy(&console));
    let recorded = began.elapsed();
    replays(&room, &console, recorded);
}

/// Logs in, and has real programs do real work.
fn works(terminal: &mut Terminal) {
    terminal.wait_for("ftemu login: ");
    terminal.type_in("root");
    terminal.wait_for("root@ftemu:~# ");
    // A shell that echoes nothing and wraps no lines: what it prints is what the commands print.
    terminal.type_in("exec sh");
    terminal.type_in("stty -echo; PS1= PS2=; echo rea''dy");
    terminal.wait_for("ready\r\n");
    assert_eq!(terminal.shell("systemctl start multi-user.target; systemctl is-active multi-user.target"), "active\n");
    let python = terminal.shell(PYTHON);
    let digest = "5c6c10ad2e971f207b1a7b31e1bfc3b1f608fb99f01f8f3d7bcda27474174bd9";
    assert_eq!(python, format!("{digest} -0.8522008497671888 499999500000\n"));
    assert_eq!(terminal.shell(HELLO), "hello 1.414213562373095\n");
    assert_eq!(terminal.shell(SQLITE), "5000|41679167500\nok\n");
    let openssl = terminal.shell(OPENSSL);
    let (speed, digest) = openssl.trim_end().split_once('\n').unwrap();
    assert!(speed.to_lowercase().starts_with("aes-128-gcm") && speed.ends_with('k'), "{openssl}");
    assert_eq!(digest, "b2bc7d3f8b652d2ec96865b68ad8f80e22cca174abe1aed7889e242a747d590f  -");
    assert_eq!(terminal.shell(REDIS), "1\n2\n3\n2\n");
    assert_eq!(terminal.shell("curl -s http://localhost/ | grep -c 'Welcome to nginx'"), "2\n");
}

/// The log replays to the same bytes, and is no larger than it may be.
fn replays(room: &TempDir, console: &[u8], recorded: Duration) {
    let began = Instant::now();
    let replayed = ftemu(room.path(), &["replay", "log"]);
    assert_eq!(replayed.status.code(), Some(0), "{}", String::from_utf8_lossy(&replayed.stderr));
    assert!(replayed.stdout == console, "the console differs in the replay");
    eprintln!("Debian: recorded in {recorded:.0?}, replayed in {:.0?}", began.elapsed());
    let stat = String::from_utf8(ftemu(room.path(), &["log", "stat", "log"]).stdout).unwrap();
    let bytes = stat.lines().find_map(|line| line.strip_prefix("bytes per million instructions: ")).unwrap();
    assert!(bytes.parse::<f64>().unwrap() < 500.0, "{stat}");
}

fn ftemu(directory: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ftemu"));
    command.args(arguments).current_dir(directory).stdin(Stdio::null()).output().unwrap()
}
