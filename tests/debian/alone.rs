//! A recorded run of the whole distribution: real programs give the right answers, and all of it replays.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::terminal::Terminal;
use crate::{NETWORK, NETWORK_SAYS, PYTHON, PYTHON_SAYS, debian, one_at_a_time};

const HELLO: &str = r#"printf '#include <stdio.h>
int main(void) { double x = 2; for (int i = 0; i < 5; i++) x = x / 2 + 1 / x; printf("hello %%.15f\\n", x); }
' > hello.c && gcc -O2 -o hello hello.c && ./hello"#;
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
    let Some(debian) = debian("") else { return };
    let _one = one_at_a_time();
    let room = tempfile::tempdir().unwrap();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let net = format!("user,hostfwd=tcp:{port}-:80");
    let options = ["--clock", "derived", "--record", "log", "--net", &net];
    let began = Instant::now();
    let mut command = Command::new(env!("CARGO_BIN_EXE_ftemu"));
    let mut terminal = Terminal::open(command.arg("run").args(debian).args(options).current_dir(room.path()));
    works(&mut terminal);
    assert_eq!(terminal.shell(NETWORK), NETWORK_SAYS);
    assert!(page(port).contains("Welcome to nginx"), "what nginx says");
    terminal.type_in("poweroff");
    let (code, console) = terminal.close();
    assert_eq!(code, Some(0), "{}", String::from_utf8_lossy(&console));
    let recorded = began.elapsed();
    replays(&room, &console, recorded);
}

/// Logs in, and has real programs do real work.
fn works(terminal: &mut Terminal) {
    terminal.log_in();
    assert_eq!(terminal.shell("systemctl start multi-user.target; systemctl is-active multi-user.target"), "active\n");
    assert_eq!(terminal.shell(PYTHON), PYTHON_SAYS);
    assert_eq!(terminal.shell(HELLO), "hello 1.414213562373095\n");
    assert_eq!(terminal.shell(SQLITE), "5000|41679167500\nok\n");
    let openssl = terminal.shell(OPENSSL);
    let (speed, digest) = openssl.trim_end().split_once('\n').unwrap();
    assert!(speed.to_lowercase().starts_with("aes-128-gcm") && speed.ends_with('k'), "{openssl}");
    assert_eq!(digest, "b2bc7d3f8b652d2ec96865b68ad8f80e22cca174abe1aed7889e242a747d590f  -");
    assert_eq!(terminal.shell(REDIS), "1\n2\n3\n2\n");
    assert_eq!(terminal.shell("curl -s http://localhost/ | grep -c 'Welcome to nginx'"), "2\n");
}

/// What the guest's web server answers somebody outside.
fn page(port: u16) -> String {
    let mut server = TcpStream::connect(("127.0.0.1", port)).unwrap();
    server.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
    let mut answer = String::new();
    server.read_to_string(&mut answer).unwrap();
    answer
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
