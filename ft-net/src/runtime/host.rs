//! The host of a real replica: its monotonic clock and its entropy.

use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use emu::MachineConfig;

use super::spawn;
use crate::node::Host;
use crate::node::disks::{DiskOpener, HostDisks};
use crate::time::Time;

/// Images that take no longer to look at are waited for.
const GLANCE: Duration = Duration::from_millis(10);

/// The process's own clock and entropy.
pub struct ProcessHost {
    zero: Instant,
    pool: Mutex<Pool>,
    disks: DiskOpener,
    /// Images that are being looked at, by a thread of their own: the digest of a large one takes long.
    opening: Mutex<Option<Opening>>,
}

struct Opening {
    config: MachineConfig,
    paths: Vec<String>,
    done: Receiver<Result<HostDisks, String>>,
}

impl Opening {
    fn start(disks: &DiskOpener, config: &MachineConfig, paths: &[String]) -> Result<Self, String> {
        let (tell, done) = channel();
        let (disks, for_config, at) = (disks.clone(), *config, paths.to_vec());
        // Nobody may want to know any more.
        let work = move || drop(tell.send(disks.open(&for_config, &at)));
        spawn("disks", work).map_err(|error| format!("no thread to look for the images of disks: {error}"))?;
        Ok(Self { config: *config, paths: paths.to_vec(), done })
    }
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
        Self { zero: Instant::now(), pool: Mutex::default(), disks, opening: Mutex::default() }
    }
}

impl Host for ProcessHost {
    fn now(&self) -> Time {
        Time::from_ns(u64::try_from(self.zero.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }

    fn random(&self) -> u64 {
        let mut pool = self.pool.lock().unwrap_or_else(PoisonError::into_inner);
        if pool.left == 0 {
            pool.words = std::array::from_fn(|_| random_id());
            pool.left = pool.words.len();
        }
        pool.left -= 1;
        pool.words[pool.left]
    }

    fn disks(&self, config: &MachineConfig, paths: &[String]) -> Result<Option<HostDisks>, String> {
        let mut opening = self.opening.lock().unwrap_or_else(PoisonError::into_inner);
        opening.take_if(|opening| opening.config != *config || opening.paths != paths);
        let under_way = match &mut *opening {
            Some(under_way) => under_way,
            none => none.insert(Opening::start(&self.disks, config, paths)?),
        };
        let found = match under_way.done.recv_timeout(GLANCE) {
            Err(RecvTimeoutError::Timeout) => return Ok(None),
            Err(RecvTimeoutError::Disconnected) => Err("nobody looks for the images of its disks any more".to_owned()),
            Ok(found) => found.map(Some),
        };
        *opening = None;
        found
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
