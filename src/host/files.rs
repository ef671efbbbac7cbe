//! Files and directories of the user.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use ft_net::shared::Shared;

/// The largest program that is worth reading: more does not fit into a machine.
const PROGRAM_BYTES_MAX: u64 = 3 << 30;

/// Reads a program.
///
/// # Errors
/// If it cannot be read, or is not a file of a sensible size.
pub(crate) fn read_program(path: &Path) -> Result<Vec<u8>> {
    let about = || format!("cannot read {}", path.display());
    let metadata = fs::metadata(path).with_context(about)?;
    ensure!(metadata.is_file(), "cannot read {}: not a file", path.display());
    let bytes = metadata.len();
    ensure!(bytes <= PROGRAM_BYTES_MAX, "cannot read {}: a program of {} MiB", path.display(), bytes >> 20);
    fs::read(path).with_context(about)
}

/// Opens an existing file.
///
/// # Errors
/// If it cannot be opened, or is a directory.
pub(crate) fn open(path: &Path) -> Result<File> {
    let file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    if file.metadata().is_ok_and(|metadata| metadata.is_dir()) {
        bail!("cannot read {}: it is a directory", path.display());
    }
    Ok(file)
}

/// Creates a file that must not exist: what was recorded is not lost by a typing mistake.
///
/// # Errors
/// If it exists or cannot be created.
pub(crate) fn create_new(path: &Path) -> Result<File> {
    File::create_new(path).with_context(|| format!("cannot create {}", path.display()))
}

/// Where runs share their files unless told otherwise: a directory of this user.
///
/// # Errors
/// If the environment names none.
fn default_shared_root() -> Result<PathBuf> {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let data = if cfg!(windows) {
        variable("LOCALAPPDATA")
    } else if cfg!(target_os = "macos") {
        variable("HOME").map(|home| home.join("Library/Application Support"))
    } else {
        variable("XDG_DATA_HOME").or_else(|| variable("HOME").map(|home| home.join(".local/share")))
    };
    data.map(|data| data.join("ftemu")).context("no home directory is known: name a shared directory with --shared")
}

/// The shared directory of the run `name` under `root`, by default this user's.
///
/// # Errors
/// If it cannot be used.
pub(crate) fn shared(root: Option<&Path>, name: &str) -> Result<Shared> {
    let root = root.map_or_else(default_shared_root, |root| Ok(root.to_owned()))?;
    Ok(Shared::open(&root, name)?)
}
