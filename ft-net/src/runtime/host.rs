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

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use emu::{ClockMode, CpuModel, Devices};

    use super::*;

    /// What the host says in the end.
    fn wait_for(host: &ProcessHost, config: &MachineConfig, paths: &[String]) -> Result<HostDisks, String> {
        loop {
            if let Some(disks) = host.disks(config, paths).transpose() {
                return disks;
            }
        }
    }

    #[test]
    fn images_may_be_looked_at_again_and_others_meanwhile() {
        let looks = Arc::new(AtomicU32::new(0));
        let config = MachineConfig {
            memory_bytes: 1 << 20,
            clock: ClockMode::Derived,
            epoch_s: 0,
            cpu: CpuModel::V3,
            devices: Devices::default(),
        };
        let count = Arc::clone(&looks);
        let host = ProcessHost::new(DiskOpener::new(move |_, paths| {
            count.fetch_add(1, Ordering::Relaxed);
            std::thread::sleep(GLANCE * 3);
            match paths {
                [path] if path == "none" => Err("there is none".to_owned()),
                paths => Ok(HostDisks { paths: paths.to_vec(), ..HostDisks::default() }),
            }
        }));
        let (one, other, none) = (["one".to_owned()], ["other".to_owned()], ["none".to_owned()]);
        assert!(host.disks(&config, &one).is_ok_and(|disks| disks.is_none()), "still looking");
        assert_eq!(wait_for(&host, &config, &one).unwrap().paths, one);
        assert_eq!(wait_for(&host, &config, &one).unwrap().paths, one, "a transfer that begins anew");
        assert!(host.disks(&config, &one).is_ok_and(|disks| disks.is_none()));
        assert_eq!(wait_for(&host, &config, &other).unwrap().paths, other, "another machine in its place");
        assert_eq!(wait_for(&host, &config, &none).err().unwrap(), "there is none");
        assert_eq!(looks.load(Ordering::Relaxed), 5);
    }
}
