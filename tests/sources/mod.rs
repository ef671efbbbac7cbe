//! The Rust files of the workspace as text, for tests that read code.

#![allow(dead_code, unreachable_pub, reason = "each test uses a part; a test has no outside")]

use std::fs;
use std::path::{Path, PathBuf};

/// The root of the workspace.
pub fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Every Rust file below `dir`: its path from the root with forward slashes, and its text.
pub fn rust_files(dir: &str) -> Vec<(String, String)> {
    files(dir).into_iter().filter(|(path, _)| path.ends_with(".rs")).collect()
}

/// Every text file below `dir`. Build directories and what is not text are left out.
pub fn files(dir: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    collect(&root().join(dir), &mut found);
    assert!(!found.is_empty(), "nothing in {dir}");
    found
}

fn collect(dir: &Path, found: &mut Vec<(String, String)>) {
    let mut paths: Vec<PathBuf> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    for path in paths {
        let name = path.file_name().unwrap().to_string_lossy();
        if path.is_dir() {
            if name != "target" && name != "build" && name != ".git" {
                collect(&path, found);
            }
        } else if let Ok(text) = fs::read_to_string(&path) {
            let path = path.strip_prefix(root()).unwrap().to_string_lossy().replace('\\', "/");
            found.push((path, text));
        }
    }
}

/// A line without its comment and without what stands in string literals that begin and end on it.
pub fn code(line: &str) -> String {
    let mut code = String::new();
    let (mut inside, mut escaped) = (false, false);
    for c in line.chars() {
        match c {
            _ if std::mem::take(&mut escaped) => {}
            '\\' if inside => escaped = true,
            '"' => inside = !inside,
            _ if inside => {}
            _ if code.ends_with('/') && c == '/' => return code,
            _ => code.push(c),
        }
    }
    code
}
