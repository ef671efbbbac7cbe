//! The images of a machine that was recorded, or runs elsewhere: found, and known by their digests.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Result, bail, ensure};
use emu::{DiskConfig, DiskMode, Image, Images, MachineConfig};
use ft_net::node::disks::{DiskOpener, HostDisks};

use super::disks::{DiskArg, digest, path_text};
use super::image::FileImage;

/// Where to look for images.
pub(crate) struct Search {
    /// Files that the user has named: nothing else counts then.
    named: Vec<PathBuf>,
    /// Where a file may also be that is not where it was.
    beside: Option<PathBuf>,
    /// What has been opened and digested.
    known: Mutex<Vec<(Arc<FileImage>, u128)>>,
}

impl Search {
    /// Looks among the files of `--disk`, or else where the images were, or under the same names in the directory `beside`.
    ///
    /// # Errors
    /// If the user chooses modes: they are those of the machine.
    pub(crate) fn new(args: &[DiskArg], beside: Option<&Path>) -> Result<Self> {
        for arg in args {
            ensure!(arg.mode.is_none(), "--disk {}: the mode is that of the machine's own run", arg.path.display());
        }
        let named = args.iter().map(|arg| arg.path.clone()).collect();
        Ok(Self { named, beside: beside.map(Path::to_owned), known: Mutex::default() })
    }

    /// Looks at the files that the user has named, long before they are needed.
    ///
    /// # Errors
    /// If one of them is no image.
    pub(crate) fn check(&self) -> Result<()> {
        self.named.iter().try_for_each(|path| FileImage::open(path, DiskMode::ReadOnly).map(drop))
    }

    /// The images for a machine of `config`, which were at `paths`.
    ///
    /// # Errors
    /// Which disk has none, why, and what to do.
    pub(crate) fn find(&self, config: &MachineConfig, paths: &[String]) -> Result<HostDisks> {
        let mut found = HostDisks { images: Images::default(), paths: Vec::new() };
        let mut recorded = paths.iter();
        for (number, disk) in config.devices.disks.iter().enumerate() {
            let Some(disk) = disk else { continue };
            let was = recorded.next().map(PathBuf::from);
            let image = match self.named.is_empty() {
                true => self.recorded(number, disk, was)?,
                false => self.named(number, disk)?,
            };
            found.paths.push(path_text(image.path()));
            found.images[number] = Some(image);
        }
        Ok(found)
    }

    /// The one of the named files that is the image of `disk`.
    fn named(&self, number: usize, disk: &DiskConfig) -> Result<Arc<FileImage>> {
        let mut others = Vec::new();
        for path in &self.named {
            let (image, digest) = self.open(path)?;
            if (image.bytes(), digest) == (disk.bytes, disk.digest) {
                return Ok(image);
            }
            others.push(format!("{} has {}", path.display(), what(image.bytes(), digest)));
        }
        let others = others.join(", ");
        bail!("no file of --disk is the image of disk {number}, which has {}: {others}", what(disk.bytes, disk.digest))
    }

    /// The image of `disk`, which was at `was`.
    fn recorded(&self, number: usize, disk: &DiskConfig, was: Option<PathBuf>) -> Result<Arc<FileImage>> {
        let Some(was) = was else {
            bail!("nothing says where the image of disk {number} is: name it with --disk");
        };
        let moved = self.beside.as_ref().and_then(|beside| Some(beside.join(was.file_name()?)));
        let path = match moved {
            Some(moved) if !was.exists() && moved.exists() => moved,
            _ => was,
        };
        let (image, digest) = match self.open(&path) {
            Ok(opened) => opened,
            Err(error) => return Err(error.context(format!("disk {number} (name a copy of its image with --disk)"))),
        };
        if (image.bytes(), digest) == (disk.bytes, disk.digest) {
            return Ok(image);
        }
        let hint = match disk.mode {
            DiskMode::WriteThrough => "a run with mode=rw changes its image: name a copy from before with --disk",
            _ => "name a copy of the original with --disk",
        };
        let (now, then) = (what(image.bytes(), digest), what(disk.bytes, disk.digest));
        bail!("{} is not what disk {number} was: it has {now}, not {then}; {hint}", path.display())
    }

    /// Opens an image and digests it, once.
    fn open(&self, path: &Path) -> Result<(Arc<FileImage>, u128)> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((image, digest)) = known.iter().find(|(image, _)| image.path() == path) {
            return Ok((Arc::clone(image), *digest));
        }
        let image = Arc::new(FileImage::open(path, DiskMode::ReadOnly)?);
        let digest = digest(&image);
        known.push((Arc::clone(&image), digest));
        Ok((image, digest))
    }

    /// The same for a backup, which hears of its machine later.
    pub(crate) fn into_opener(self) -> DiskOpener {
        DiskOpener::new(move |config, paths| self.find(config, paths).map_err(|error| format!("{error:#}")))
    }
}

fn what(bytes: u64, digest: u128) -> String {
    format!("{bytes} bytes, digest {digest:032x}")
}
