//! ARCHITECTURE.md, enforced: who may name whom, and what never enters the deterministic machine.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test may panic")]

mod sources;

use std::fs;

use sources::{code, root, rust_files};

/// The rooms, lowest first, and the names by which code and manifests know them.
const ROOMS: [(&str, &str); 4] = [("emu", "emu"), ("replay", "replay"), ("ft-net", "ft_net"), ("src", "ftemu")];

/// Every use of `word` in the code of `dir`, except in `allowed`.
fn uses(dir: &str, word: &str, allowed: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    for (path, text) in rust_files(dir) {
        if allowed.iter().any(|allowed| path.ends_with(allowed)) {
            continue;
        }
        for (number, line) in (1..).zip(text.lines()) {
            if names(&code(line), word) {
                found.push(format!("{path}:{number}: {}", line.trim()));
            }
        }
    }
    found
}

/// Whether `line` contains `word` as a whole word.
fn names(line: &str, word: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(at, _)| {
        let (before, after) = (&line[..at], &line[at + word.len()..]);
        !before.ends_with(is_part) && !after.starts_with(is_part)
    })
}

#[test]
fn a_lower_room_never_names_a_higher_one() {
    for (level, (dir, _)) in ROOMS[..3].iter().enumerate() {
        let manifest = fs::read_to_string(root().join(dir).join("Cargo.toml")).unwrap();
        let dependencies = manifest.split_once("\n[dependencies]").unwrap().1.split("\n[").next().unwrap();
        for (higher, name) in &ROOMS[level + 1..] {
            let named: Vec<_> = uses(&format!("{dir}/src"), name, &[])
                .into_iter()
                .filter(|line| line.contains(&format!("{name}::")))
                .collect();
            assert_eq!(named, Vec::<String>::new(), "{dir} names {name}");
            assert!(!dependencies.lines().any(|line| line.starts_with(higher)), "{dir} depends on {higher}");
        }
        assert!(!dependencies.lines().any(|line| line.starts_with("testprogs")), "{dir} depends on its guests");
    }
}

#[test]
fn what_is_named_in_one_file_is_named_in_one_file() {
    for dir in ["emu/src", "replay/src", "ft-net/src", "src"] {
        assert_eq!(uses(dir, "iced_x86", &["emu/src/decode.rs", "emu/src/decode/features.rs"]), Vec::<String>::new());
        assert_eq!(uses(dir, "bincode", &["replay/src/codec.rs"]), Vec::<String>::new());
        assert_eq!(uses(dir, "imago", &["src/host/image.rs"]), Vec::<String>::new());
    }
}

#[test]
fn nothing_of_the_host_enters_the_machine() {
    for word in [
        "std::time",
        "Instant",
        "SystemTime",
        "std::net",
        "std::fs",
        "std::env",
        "std::thread",
        "thread",
        "HashMap",
        "HashSet",
        "RandomState",
        "getrandom",
        "available_parallelism",
    ] {
        assert_eq!(uses("emu/src", word, &[]), Vec::<String>::new(), "{word}");
    }
}

#[test]
fn logs_know_no_sockets_clocks_or_threads() {
    for word in ["std::time", "Instant", "SystemTime", "std::net", "std::fs", "std::thread", "HashMap", "HashSet"] {
        assert_eq!(uses("replay/src", word, &[]), Vec::<String>::new(), "{word}");
    }
}

#[test]
fn the_protocol_is_told_the_time_and_does_no_io() {
    for word in ["Instant", "SystemTime", "std::net", "std::fs", "std::thread", "HashMap", "HashSet"] {
        assert_eq!(uses("ft-net/src/proto", word, &[]), Vec::<String>::new(), "{word}");
        assert_eq!(uses("ft-net/src/node", word, &[]), Vec::<String>::new(), "{word}");
    }
}

#[test]
fn unsafe_lives_in_the_machine() {
    for dir in ["replay/src", "ft-net/src", "src", "testprogs/src"] {
        for word in ["unsafe {", "unsafe fn", "unsafe impl"] {
            // A mapped file is memory that others may change.
            assert_eq!(uses(dir, word, &["src/host/image.rs"]), Vec::<String>::new());
        }
    }
}
