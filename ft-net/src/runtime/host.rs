//! The host of a real replica: its monotonic clock and its entropy.

use std::sync::Mutex;
use std::time::Instant;

use emu::MachineConfig;

use crate::node::Host;
use crate::node::disks::{DiskOpener, HostDisks};
use crate::time::Time;

/// The process's own clock and entropy.
#[derive(Debug)]
pub struct ProcessHost {
    zero: Instant,
    pool: Mutex<Pool>,
    disks: DiskOpener,
}

/// Entropy fetched in one go.
#[derive(Debug, Default)]
struct Pool {
    words: [u64; 32],
    left: usize,
}

impl ProcessHost {
    /// Time begins now; images of disks are opened by `disks`.
    #[must_use]
    pub fn new(disks: DiskOpener) -> Self {
        Self { zero: Instant::now(), pool: Mutex::default(), disks }
    }
}

impl Host for ProcessHost {
    fn now(&self) -> Time {
        Time::from_ns(u64::try_from(self.zero.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }

    fn random(&self) -> u64 {
        let mut pool = self.pool.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if pool.left == 0 {
            pool.words = std::array::from_fn(|_| random_id());
            pool.left = pool.words.len();
        }
        pool.left -= 1;
        pool.words[pool.left]
    }

    fn disks(&self, config: &MachineConfig, paths: &[String]) -> Result<HostDisks, String> {
        self.disks.open(config, paths)
    }
}

/// 64 random bits of the host.
///
/// # Panics
/// If the host has no entropy: nothing safe can be done then.
#[must_use]
pub fn random_id() -> u64 {
    match getrandom::u64() {
        Ok(bits) => bits,
        Err(error) => panic!("the host has no entropy: {error}"),
    }
}
