//! What a machine is made of; fixed at creation, part of every log.

use serde::{Deserialize, Serialize};

pub use crate::cpu::model::CpuModel;

/// Where guest time comes from between clock inputs (ARCHITECTURE.md, "Time").
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ClockMode {
    /// Every read of time is a query.
    Host,
    /// Interpolated from the retired instruction count between clock inputs.
    Derived,
}

/// Configuration of a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MachineConfig {
    /// RAM from physical address 0, in bytes: a multiple of 4096, 1 MiB to 3 GiB.
    pub memory_bytes: u64,
    /// Where guest time comes from.
    pub clock: ClockMode,
    /// What the real-time clock shows at guest time 0: seconds since 1970-01-01 UTC.
    pub epoch_s: u64,
    /// Which CPU the guest sees.
    pub cpu: CpuModel,
    /// What is plugged in.
    pub devices: Devices,
}

/// The devices that not every machine has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Devices {
    /// Virtio disks; their numbers are those of the places here.
    pub disks: [Option<DiskConfig>; DISKS_MAX],
    /// Hardware address of the virtio network device, if there is one.
    pub net: Option<[u8; 6]>,
    /// Where the console is.
    pub console: ConsolePort,
    /// A virtio source of entropy.
    pub entropy: bool,
}

/// Disks that a machine can have.
pub const DISKS_MAX: usize = 4;

/// A disk: an image that never changes, and what the guest has written over it, which is part of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskConfig {
    /// Size of the image: a multiple of 512.
    pub bytes: u64,
    /// What becomes of writes.
    pub mode: DiskMode,
    /// Digest of the image as it was when the machine was created ([`image_digest`](crate::image_digest)); 0 in a machine of
    /// which nothing is saved or sent.
    pub digest: u128,
}

/// What becomes of writes to a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DiskMode {
    /// There are none: the guest sees a read-only disk.
    ReadOnly,
    /// They stay in the machine.
    Overlay,
    /// They stay in the machine, and are outputs as well, for the image to follow (`Output::Disk`).
    WriteThrough,
}

/// Which device the console is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ConsolePort {
    /// The 16550 UART.
    #[default]
    Serial,
    /// A virtio console. What is written to the UART goes nowhere.
    Virtio,
}

impl MachineConfig {
    /// The smallest RAM: the hand-off area and room for a program.
    pub const MEMORY_BYTES_MIN: u64 = 1 << 20;
    /// The largest RAM: device memory begins above it.
    pub const MEMORY_BYTES_MAX: u64 = 3 << 30;
}

/// Why a machine cannot be made.
#[derive(Debug)]
pub enum MachineError {
    /// The memory size is not a multiple of 4096 between the bounds.
    MemorySize(u64),
    /// A disk that cannot be, by its number.
    Disk(usize, DiskError),
    /// The host does not give that much memory.
    HostMemory(u64, std::io::Error),
    /// A saved state of another version.
    StateVersion(u32),
    /// A saved state that no machine can be in, and what is wrong with it.
    State(&'static str),
}

/// Why a machine cannot have a disk.
#[derive(Debug)]
pub enum DiskError {
    /// An image for a disk that the configuration does not have.
    NoSuchDisk,
    /// A disk without its image.
    NoImage,
    /// A size that no disk can have.
    Size(u64),
    /// An image that is not of the size that the configuration says.
    OtherSize {
        /// Bytes of the image.
        image: u64,
        /// Bytes of the disk.
        config: u64,
    },
}

impl std::fmt::Display for DiskError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NoSuchDisk => f.write_str("the machine has no such disk"),
            Self::NoImage => f.write_str("its image is missing"),
            Self::Size(bytes) => write!(f, "{bytes} bytes: must be a multiple of 512 from 512 bytes to 8 TiB"),
            Self::OtherSize { image, config } => write!(f, "an image of {image} bytes for a disk of {config} bytes"),
        }
    }
}

impl std::error::Error for DiskError {}

impl std::fmt::Display for MachineError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::MemorySize(bytes) => write!(
                f,
                "guest memory of {bytes} bytes: must be a multiple of 4096 from {} MiB to {} MiB",
                MachineConfig::MEMORY_BYTES_MIN >> 20,
                MachineConfig::MEMORY_BYTES_MAX >> 20
            ),
            Self::Disk(number, error) => write!(f, "disk {number}: {error}"),
            Self::HostMemory(bytes, e) => write!(f, "this host does not give {} MiB of guest memory: {e}", bytes >> 20),
            Self::State(what) => write!(f, "saved machine state that cannot be: {what}"),
            Self::StateVersion(v) => {
                write!(
                    f,
                    "saved machine state of version {v}; this ftemu reads version {}",
                    crate::MachineState::VERSION
                )
            }
        }
    }
}

impl std::error::Error for MachineError {}
