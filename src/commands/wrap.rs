//! `ftemu wrap`: a guest out of a static Linux program.

use std::fs;

use anyhow::{Context, Result};

use crate::cli::WrapArgs;
use crate::host::files;

/// Writes the guest: the kernel `testprogs/userland` and the program.
pub(crate) fn run(args: &WrapArgs) -> Result<u8> {
    let name = args.program.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
    let program = files::read_program(&args.program)?;
    let guest = testprogs::userland::wrap(&name, &program)
        .with_context(|| format!("cannot wrap {}", args.program.display()))?;
    fs::write(&args.output, guest).with_context(|| format!("cannot write {}", args.output.display()))?;
    Ok(0)
}
