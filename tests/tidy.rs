//! Tidiness that neither rustfmt nor clippy checks.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test may panic")]

mod sources;

use sources::{files, rust_files};

/// Where our own text is.
const DIRS: [&str; 9] = ["emu", "replay", "ft-net", "src", "testprogs", "tests", "benches", "docs", ".ci"];
/// The longest line of Rust, in characters.
const LINE_MAX: usize = 130;
/// The longest file of Rust, in lines.
const FILE_LINES_MAX: usize = 900;

fn complaints(check: impl Fn(&str, &str) -> bool) -> Vec<String> {
    let mut found = Vec::new();
    for (path, text) in DIRS.into_iter().flat_map(files) {
        if path == "tests/tidy.rs" {
            continue;
        }
        for (number, line) in (1..).zip(text.lines()) {
            if check(&path, line) {
                found.push(format!("{path}:{number}: {line}"));
            }
        }
    }
    found
}

#[test]
fn lines_are_short() {
    let found = complaints(|path, line| {
        let is_table = path == "tests/hwdiff/src/forms.rs";
        path.ends_with(".rs") && line.chars().count() > LINE_MAX && !is_table
    });
    assert_eq!(found, Vec::<String>::new());
}

#[test]
fn files_have_a_bearable_length() {
    let long =
        DIRS[..7].iter().flat_map(|dir| rust_files(dir)).filter(|(_, text)| text.lines().count() > FILE_LINES_MAX);
    assert_eq!(long.map(|(path, _)| path).collect::<Vec<_>>(), Vec::<String>::new());
}

#[test]
fn nothing_is_left_to_be_done() {
    // In two halves, so that this file holds none of them.
    let marks = [("FIX", "ME"), ("XX", "X"), ("todo", "!"), ("unimplemented", "!"), ("dbg", "!"), ("TO", "DO")];
    let marks = marks.map(|(a, b)| format!("{a}{b}"));
    let found = complaints(|path, line| {
        !path.ends_with(".toml") && marks.iter().any(|mark| line.contains(mark.as_str())) && !line.contains("0x")
    });
    assert_eq!(found, Vec::<String>::new());
}

#[test]
fn no_path_of_a_developers_host() {
    let roots = ["home", "Users", "root", "tmp", "work"];
    let paths: Vec<_> = roots.iter().map(|root| format!("/{root}/")).chain(["C:\\Users".into()]).collect();
    let found = complaints(|_, line| paths.iter().any(|path| line.contains(path)));
    assert_eq!(found, Vec::<String>::new());
}

#[test]
fn no_blank_at_the_end_of_a_line() {
    let found = complaints(|path, line| {
        let ours = [".rs", ".md", ".toml", ".c", ".h"].iter().any(|end| path.ends_with(end));
        ours && line.ends_with([' ', '\t', '\r'])
    });
    assert_eq!(found, Vec::<String>::new());
}
