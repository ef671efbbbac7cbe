//! Images of disks: files that are mapped, and followed by what the guest writes if it says so.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use emu::{DISKS_MAX, DiskConfig, DiskMode, Image, SECTOR_BYTES, image_digest};
use memmap2::Mmap;

use super::errors;

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

/// A file that is an image.
pub(crate) struct FileImage {
    path: PathBuf,
    file: File,
    map: Mmap,
}

impl FileImage {
    /// Opens an image, for writing if it is to follow the guest. It is locked: nobody else may write to it at the same time.
    ///
    /// # Errors
    /// If it is no image, or cannot be had.
    pub(crate) fn open(path: &Path, mode: DiskMode) -> Result<Self> {
        let about = || format!("cannot use {} as a disk", path.display());
        let follows = mode == DiskMode::WriteThrough;
        let metadata = std::fs::metadata(path).with_context(about)?;
        ensure!(metadata.is_file(), "{}: it is not a file", about());
        ensure!(!follows || !metadata.permissions().readonly(), "{} with mode=rw: the file is read-only", about());
        let mut file = OpenOptions::new().read(true).write(follows).open(path).with_context(about)?;
        lock(&file, follows).with_context(about)?;
        let bytes = file.metadata().with_context(about)?.len();
        ensure!(bytes > 0, "{}: the file is empty", about());
        if let Some(other) = other_format(&mut file).with_context(about)? {
            bail!("{}: it is {other}, not a raw image", about());
        }
        let odd = "its size of";
        ensure!(bytes.is_multiple_of(SECTOR_BYTES), "{}: {odd} {bytes} bytes is no multiple of 512", about());
        // SAFETY: the map is only read. Others who write to the file despite its lock change what the guest sees, and
        // blocks that follow the guest's writes are not read again; `read` looks whether the file has been cut.
        let map = unsafe { Mmap::map(&file) }.with_context(about)?;
        Ok(Self { path: path.to_owned(), file, map })
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Writes what the guest has written.
    ///
    /// # Errors
    /// What the host says.
    pub(crate) fn write(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        let mut file = &self.file;
        let written = file.seek(SeekFrom::Start(offset)).and_then(|_| file.write_all(bytes));
        written.with_context(|| format!("cannot write {} at offset {offset}", self.path.display()))
    }

    /// Makes durable what was written.
    ///
    /// # Errors
    /// What the host says.
    pub(crate) fn sync(&self) -> Result<()> {
        self.file.sync_data().with_context(|| format!("cannot write {}", self.path.display()))
    }
}

impl Image for FileImage {
    fn bytes(&self) -> u64 {
        self.map.len() as u64
    }

    fn read(&self, offset: u64, out: &mut [u8]) {
        // Behind the end of a file that was cut the map gives a signal that kills without a word.
        let whole = self.file.metadata().is_ok_and(|metadata| metadata.len() >= self.bytes());
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        match self.map.get(start..start.saturating_add(out.len())) {
            Some(bytes) if whole => out.copy_from_slice(bytes),
            _ => errors::fatal(format_args!("{} was cut while a guest has it as its disk", self.path.display())),
        }
    }
}

/// Locks an image: for one writer or for many readers.
fn lock(file: &File, follows: bool) -> Result<()> {
    match if follows { file.try_lock() } else { file.try_lock_shared() } {
        Ok(()) => Ok(()),
        Err(TryLockError::WouldBlock) if follows => bail!("another run has it"),
        Err(TryLockError::WouldBlock) => bail!("another run writes to it (mode=rw)"),
        // Not every file system has locks.
        Err(TryLockError::Error(error)) if error.kind() == ErrorKind::Unsupported => Ok(()),
        Err(TryLockError::Error(error)) => Err(error.into()),
    }
}

/// What the file is, if that is another kind of image.
fn other_format(file: &mut File) -> io::Result<Option<String>> {
    let mut head = Vec::new();
    file.take(8).read_to_end(&mut head)?;
    let formats: [(&[u8], &str); 6] = [
        (b"QFI\xfb", "a qcow2 image (qemu-img convert -O raw makes a raw one of it)"),
        (b"KDMV", "a VMDK image (qemu-img convert -O raw makes a raw one of it)"),
        (b"vhdxfile", "a VHDX image (qemu-img convert -O raw makes a raw one of it)"),
        (b"\x1f\x8b\x08", "compressed (gunzip unpacks it)"),
        (b"\xfd7zXZ\0", "compressed (unxz unpacks it)"),
        (b"\x28\xb5\x2f\xfd", "compressed (unzstd unpacks it)"),
    ];
    let found = formats.into_iter().find(|(magic, _)| head.starts_with(magic));
    Ok(found.map(|(_, name)| name.to_owned()))
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
        let digest = if named { image_digest(&*image) } else { 0 };
        let config = DiskConfig { bytes: image.bytes(), mode: mode(arg), digest };
        Ok(Disk { image, config, chosen: arg.mode.is_some() })
    };
    args.iter().map(open).collect()
}

fn is_same(a: &Path, b: &Path) -> bool {
    matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b)
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

    #[test]
    fn an_image_that_follows_has_one_user() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.img");
        std::fs::write(&path, [7; 1024]).unwrap();
        let one = FileImage::open(&path, DiskMode::Overlay).unwrap();
        let two = FileImage::open(&path, DiskMode::ReadOnly).unwrap();
        assert!(FileImage::open(&path, DiskMode::WriteThrough).is_err(), "two runs read it");
        drop((one, two));
        let writer = FileImage::open(&path, DiskMode::WriteThrough).unwrap();
        for mode in [DiskMode::ReadOnly, DiskMode::Overlay, DiskMode::WriteThrough] {
            assert!(FileImage::open(&path, mode).is_err(), "{mode:?}");
        }
        writer.write(512, &[1; 512]).unwrap();
        writer.sync().unwrap();
        drop(writer);
        assert_eq!(std::fs::read(&path).unwrap(), [[7; 512], [1; 512]].concat());
    }
}
