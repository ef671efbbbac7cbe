//! `--disk`: the disks of a new machine.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Result, ensure};
use emu::{DISKS_MAX, DiskConfig, DiskMode, Image};

use super::image::FileImage;
use super::progress::Progress;

/// `--disk FILE[,mode=MODE]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DiskArg {
    /// The image.
    pub(crate) path: PathBuf,
    /// What becomes of writes, if the user says so.
    pub(crate) mode: Option<DiskMode>,
}

/// What becomes of writes unless the user says so: the image stays as it is, for the next run, for replay and for backups.
pub(crate) const DEFAULT_MODE: DiskMode = DiskMode::Overlay;

/// Parses `FILE[,mode=ro|cow|rw]`; a comma in the name of the file is written twice.
pub(crate) fn parse(text: &str) -> Result<DiskArg, String> {
    let mut parts = vec![String::new()];
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            ',' if chars.next_if_eq(&',').is_none() => parts.push(String::new()),
            _ => parts.last_mut().into_iter().for_each(|part| part.push(c)),
        }
    }
    let mut parts = parts.into_iter();
    let path = parts.next().filter(|path| !path.is_empty()).ok_or("the name of a file is missing")?;
    let mut mode = None;
    for option in parts {
        mode = Some(match option.as_str() {
            "mode=ro" => DiskMode::ReadOnly,
            "mode=cow" => DiskMode::Overlay,
            "mode=rw" => DiskMode::WriteThrough,
            _ => {
                return Err(format!(
                    "there is no option {option:?}, only mode=ro, mode=cow and mode=rw (a comma in a name is written twice)"
                ));
            }
        });
    }
    Ok(DiskArg { path: path.into(), mode })
}

/// A disk of a machine that this run makes.
#[derive(Clone)]
pub(crate) struct Disk {
    /// Its image.
    pub(crate) image: Arc<FileImage>,
    /// As the machine has it.
    pub(crate) config: DiskConfig,
    /// Whether the user has chosen the mode.
    pub(crate) chosen: bool,
}

impl Disk {
    /// Where the image is, from wherever one looks.
    pub(crate) fn path(&self) -> String {
        path_text(self.image.path())
    }
}

/// An absolute path as text, for logs and backups.
pub(crate) fn path_text(path: &Path) -> String {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned()).to_string_lossy().into_owned()
}

/// Opens the images of a new machine's disks. `named`: somebody else will need to know them by their digests, which takes
/// a second for some gigabytes.
///
/// # Errors
/// What is wrong with one of them, in a line that names it.
pub(crate) fn open_all(args: &[DiskArg], named: bool) -> Result<Vec<Disk>> {
    ensure!(args.len() <= DISKS_MAX, "a machine has at most {DISKS_MAX} disks");
    let mode = |arg: &DiskArg| arg.mode.unwrap_or(DEFAULT_MODE);
    for (i, arg) in args.iter().enumerate() {
        for before in &args[..i] {
            let follows = [arg, before].into_iter().any(|arg| mode(arg) == DiskMode::WriteThrough);
            let path = arg.path.display();
            ensure!(!follows || !is_same(&arg.path, &before.path), "{path} is two disks, and one of them has mode=rw");
        }
    }
    let open = |arg: &DiskArg| {
        let image = Arc::new(FileImage::open(&arg.path, mode(arg))?);
        let digest = if named { digest(&image) } else { 0 };
        let config = DiskConfig { bytes: image.bytes(), mode: mode(arg), digest };
        Ok(Disk { image, config, chosen: arg.mode.is_some() })
    };
    args.iter().map(open).collect()
}

fn is_same(a: &Path, b: &Path) -> bool {
    matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b)
}

/// The digest of `image`, and a line on the terminal meanwhile: all of it is read.
pub(crate) fn digest(image: &FileImage) -> u128 {
    let mebibytes = image.bytes() >> 20;
    let _line = Progress::start(format_args!("reading {}, {mebibytes} MiB", image.path().display()));
    image.digest()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_is_a_file_and_options() {
        let arg = |path: &str, mode| Ok(DiskArg { path: path.into(), mode });
        assert_eq!(parse("a.img"), arg("a.img", None));
        assert_eq!(parse("a.img,mode=ro"), arg("a.img", Some(DiskMode::ReadOnly)));
        assert_eq!(parse("a,,b.img,mode=cow"), arg("a,b.img", Some(DiskMode::Overlay)));
        assert_eq!(parse("a,,,mode=rw"), arg("a,", Some(DiskMode::WriteThrough)));
        for bad in ["", ",mode=ro", "a,", "a,mode", "a,mode=rx", "a,readonly", "a,mode=ro,x=1"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
