//! The disks of a replica: each one has the same images, in files of its own.

use std::fmt;
use std::sync::Arc;

use emu::{Images, MachineConfig};

/// The images of a machine's disks as one host has them.
#[derive(Clone, Default)]
pub struct HostDisks {
    /// The images, in the places of the configuration's disks.
    pub images: Images,
    /// Where they are, in the order of the disks: a hint for the next backup.
    pub paths: Vec<String>,
}

type Open = dyn Fn(&MachineConfig, &[String]) -> Result<HostDisks, String> + Send + Sync;

/// How a backup comes by the images of the machine that it is to receive: given the configuration and where the primary has
/// its own, it opens those that are here and checks their digests, or says in a line what is wrong.
#[derive(Clone)]
pub struct DiskOpener(Arc<Open>);

impl DiskOpener {
    /// Opens images by `open`.
    pub fn new(open: impl Fn(&MachineConfig, &[String]) -> Result<HostDisks, String> + Send + Sync + 'static) -> Self {
        Self(Arc::new(open))
    }

    /// The images for a machine of `config`; the primary's are at `paths`.
    ///
    /// # Errors
    /// In one line, what is missing or not the same.
    pub fn open(&self, config: &MachineConfig, paths: &[String]) -> Result<HostDisks, String> {
        (self.0)(config, paths)
    }
}

/// Has no disks.
impl Default for DiskOpener {
    fn default() -> Self {
        Self::new(|_, _| Ok(HostDisks::default()))
    }
}

impl fmt::Debug for DiskOpener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DiskOpener")
    }
}
