//! What scripts of `.ci` make for tests: kernels, a Debian, ftemu for another architecture.

#![allow(clippy::unwrap_used, unreachable_pub, reason = "a test may panic, and has no outside")]

use std::process::{Command, Output};

/// What `.ci/NAME ARGUMENTS` prints; `None`, said aloud, if what it makes is not to be had here.
pub fn by(name: &str, arguments: &[&str]) -> Option<String> {
    let script = format!("{}/.ci/{name}", env!("CARGO_MANIFEST_DIR"));
    match Command::new(&script).args(arguments).output() {
        Err(error) => eprintln!("SKIPPED: {script}: {error}"),
        Ok(Output { status, stdout, stderr }) => match status.code() {
            Some(0) => return Some(String::from_utf8(stdout).unwrap().trim().to_owned()),
            Some(77) => eprintln!("{}", String::from_utf8_lossy(&stderr).trim()),
            _ => panic!("{script}: {}", String::from_utf8_lossy(&stderr)),
        },
    }
    None
}
