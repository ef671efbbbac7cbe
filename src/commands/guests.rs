//! `ftemu guests`: the programs that are built in.

use std::fmt::Write;
use std::fs;

use anyhow::{Context, Result};

use crate::cli::GuestsArgs;
use crate::host::errors;

/// Lists them, or writes their ELF files.
pub(crate) fn run(args: &GuestsArgs) -> Result<u8> {
    let mut text = String::new();
    for guest in testprogs::all() {
        let _ = writeln!(text, "{:<10} {}", guest.name, guest.about);
    }
    if let Some(dir) = &args.extract {
        text.clear();
        fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
        for guest in testprogs::all() {
            let path = dir.join(format!("{}.elf", guest.name));
            fs::write(&path, guest.image).with_context(|| format!("cannot write {}", path.display()))?;
            let _ = writeln!(text, "{}", path.display());
        }
    }
    errors::print(text.as_bytes())?;
    Ok(0)
}
