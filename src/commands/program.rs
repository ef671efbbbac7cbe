//! From a program and options to a machine that is ready to run.

use std::borrow::Cow;
use std::path::Path;

use anyhow::{Context, Result, bail};
use emu::{Machine, MachineConfig};

use crate::cli::RunArgs;
use crate::host::{clock, files, memory};

/// A program as the user named it.
struct Program {
    image: Cow<'static, [u8]>,
    cmdline: String,
}

/// The machine that `args` describe, with its program loaded, and the program's name.
///
/// # Errors
/// What is wrong with the program or the machine, in one line that names it.
pub(crate) fn boot(args: &RunArgs) -> Result<(Machine, String)> {
    memory::check(args.memory)?;
    let path = args.program.as_deref().context("a program is missing")?;
    let program = read(path, args.append.as_deref())?;
    let config = MachineConfig {
        memory_bytes: args.memory,
        clock: args.clock.into(),
        epoch_s: clock::epoch_s(),
        cpu: args.cpu.into(),
    };
    let mut machine = Machine::new(config)?;
    let name = path.display().to_string();
    machine.load_elf(&program.image, &program.cmdline).with_context(|| format!("cannot run {name}"))?;
    Ok((machine, name))
}

fn read(path: &Path, append: Option<&str>) -> Result<Program> {
    let (image, default): (Cow<'static, [u8]>, _) = match path.to_str().and_then(|text| text.strip_prefix("guest:")) {
        Some(name) => match testprogs::find(name) {
            Some(guest) => (guest.image.into(), guest.default_cmdline),
            None => bail!("there is no built-in guest {name:?}: `ftemu guests` lists them"),
        },
        None => (files::read_program(path)?.into(), ""),
    };
    Ok(Program { image, cmdline: append.unwrap_or(default).to_owned() })
}
