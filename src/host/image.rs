//! Files that are images of disks: raw ones, which may follow what the guest writes, and qcow2.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use emu::{DiskMode, Image, SECTOR_BYTES, image_digest};
use imago::qcow2::Qcow2;
use imago::{DenyImplicitOpenGate, FormatAccess, FormatDriverBuilder};

use super::errors;

/// A file that is an image.
pub(crate) struct FileImage {
    path: PathBuf,
    file: File,
    content: Content,
}

enum Content {
    /// So many bytes.
    Raw(u64),
    Qcow2(Box<FormatAccess<imago::file::File>>),
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
        let content = match format(&mut file).with_context(about)? {
            Format::Other(other) => bail!("{}: it is {other}", about()),
            Format::Qcow2 if follows => bail!("{} with mode=rw: it is qcow2, and only a raw image can follow", about()),
            Format::Qcow2 => Content::Qcow2(Box::new(qcow2(&file).with_context(about)?)),
            // Others who write to the file despite its lock change what the guest sees; blocks that follow the guest's writes
            // are not read again. It is not mapped: what was read of it would count as our memory.
            Format::Raw => Content::Raw(bytes),
        };
        let image = Self { path: path.to_owned(), file, content };
        let bytes = image.bytes();
        ensure!(bytes.is_multiple_of(SECTOR_BYTES), "{}: its {bytes} bytes are no multiple of 512", about());
        Ok(image)
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The digest that names it.
    pub(crate) fn digest(&self) -> u128 {
        image_digest(self)
    }

    /// Writes what the guest has written.
    ///
    /// # Errors
    /// What the host says.
    pub(crate) fn write(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        place::write_all(&self.file, bytes, offset)
            .with_context(|| format!("cannot write {} at offset {offset}", self.path.display()))
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
        match &self.content {
            Content::Raw(bytes) => *bytes,
            Content::Qcow2(access) => access.size(),
        }
    }

    fn read(&self, offset: u64, out: &mut [u8]) {
        let path = self.path.display();
        match &self.content {
            Content::Raw(_) => match place::read_exact(&self.file, out, offset) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => {
                    errors::fatal(format_args!("{path} was cut while a guest has it as its disk"));
                }
                Err(error) => errors::fatal(format_args!("cannot read {path} at offset {offset}: {error}")),
            },
            Content::Qcow2(access) => {
                if let Err(error) = access.read(out, offset) {
                    errors::fatal(format_args!("cannot read {path}, which a guest has as its disk: {error}"));
                }
            }
        }
    }

    fn is_hole(&self, offset: u64, length: u64) -> bool {
        let raw = matches!(self.content, Content::Raw(_));
        raw && next_data(&self.file, offset).is_some_and(|data| data >= offset + length)
    }
}

/// Reading and writing at a place of a file, wherever its position is.
mod place {
    use std::fs::File;
    use std::io;
    #[cfg(unix)]
    use std::os::unix::fs::FileExt;
    #[cfg(windows)]
    use std::os::windows::fs::FileExt;

    #[cfg(unix)]
    pub(super) fn read_exact(file: &File, out: &mut [u8], offset: u64) -> io::Result<()> {
        file.read_exact_at(out, offset)
    }

    #[cfg(unix)]
    pub(super) fn write_all(file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
        file.write_all_at(bytes, offset)
    }

    #[cfg(windows)]
    pub(super) fn read_exact(file: &File, mut out: &mut [u8], mut offset: u64) -> io::Result<()> {
        while !out.is_empty() {
            match file.seek_read(out, offset)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                n => (out, offset) = (&mut out[n..], offset + n as u64),
            }
        }
        Ok(())
    }

    #[cfg(windows)]
    pub(super) fn write_all(file: &File, mut bytes: &[u8], mut offset: u64) -> io::Result<()> {
        while !bytes.is_empty() {
            match file.seek_write(bytes, offset)? {
                0 => return Err(io::ErrorKind::WriteZero.into()),
                n => (bytes, offset) = (&bytes[n..], offset + n as u64),
            }
        }
        Ok(())
    }
}

/// Where the file has data at `offset` or behind it, as far as the host tells; moves the file's position.
#[cfg(any(target_os = "linux", target_os = "android", target_os = "freebsd", target_vendor = "apple"))]
fn next_data(file: &File, offset: u64) -> Option<u64> {
    match rustix::fs::seek(file, rustix::fs::SeekFrom::Data(offset)) {
        Ok(data) => Some(data),
        // None up to the end.
        Err(rustix::io::Errno::NXIO) => Some(u64::MAX),
        Err(_) => None,
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android", target_os = "freebsd", target_vendor = "apple")))]
fn next_data(_file: &File, _offset: u64) -> Option<u64> {
    None
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

enum Format {
    Raw,
    Qcow2,
    /// What it is, and what to do about it.
    Other(&'static str),
}

fn format(file: &mut File) -> io::Result<Format> {
    let mut head = Vec::new();
    file.take(16).read_to_end(&mut head)?;
    let others: [(&[u8], &str); 5] = [
        (b"KDMV", "a VMDK image (qemu-img convert -O raw makes a raw one of it)"),
        (b"vhdxfile", "a VHDX image (qemu-img convert -O raw makes a raw one of it)"),
        (b"\x1f\x8b\x08", "compressed (gunzip unpacks it)"),
        (b"\xfd7zXZ\0", "compressed (unxz unpacks it)"),
        (b"\x28\xb5\x2f\xfd", "compressed (unzstd unpacks it)"),
    ];
    if head.starts_with(b"QFI\xfb") {
        // Where the name of the image behind it is.
        let backed = head.iter().skip(8).any(|&byte| byte != 0);
        return Ok(match backed {
            true => Format::Other("qcow2 that needs another image (qemu-img convert makes one that does not)"),
            false => Format::Qcow2,
        });
    }
    let other = others.into_iter().find(|(magic, _)| head.starts_with(magic));
    Ok(other.map_or(Format::Raw, |(_, name)| Format::Other(name)))
}

/// Opens a qcow2 image that needs no other file: names of files in an image that came from elsewhere are not to be trusted.
fn qcow2(file: &File) -> Result<FormatAccess<imago::file::File>> {
    let storage = imago::file::File::try_from(file.try_clone()?)?;
    let image = Qcow2::<imago::file::File>::builder(storage).open(DenyImplicitOpenGate::default());
    Ok(FormatAccess::new(image.context("qcow2")?))
}

#[cfg(test)]
mod tests {
    use std::io::{Seek, SeekFrom, Write};

    use super::*;

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

    #[test]
    fn holes_do_not_change_the_digest() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sparse.img");
        // A hole, data inside a piece, a hole, data at the start of a piece, a hole, and less than a piece.
        let mut content = vec![0; (8 << 20) + 512];
        content[(2 << 20) + 70_000..][..3].copy_from_slice(b"abc");
        content[5 << 20] = 1;
        let mut file = File::create(&path).unwrap();
        file.set_len(content.len() as u64).unwrap();
        for (at, data) in [((2 << 20) + 70_000, &b"abc"[..]), (5 << 20, &[1])] {
            file.seek(SeekFrom::Start(at)).unwrap();
            file.write_all(data).unwrap();
        }
        let image = FileImage::open(&path, DiskMode::ReadOnly).unwrap();
        assert_eq!(image.digest(), image_digest(&content));
        // Written by the guest where a hole was.
        drop(image);
        let image = FileImage::open(&path, DiskMode::WriteThrough).unwrap();
        image.write(7 << 20, &[9; 512]).unwrap();
        content[7 << 20..][..512].fill(9);
        assert_eq!(image.digest(), image_digest(&content));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_digest_of_holes_reads_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sparse.img");
        File::create(&path).unwrap().set_len(1 << 40).unwrap();
        let image = FileImage::open(&path, DiskMode::ReadOnly).unwrap();
        assert!(image.is_hole(0, 1 << 20) && image.is_hole((1 << 40) - (1 << 20), 1 << 20));
        std::fs::write(&path, [1; 512]).unwrap();
        assert!(!image.is_hole(0, 512));
    }
}
