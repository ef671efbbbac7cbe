//! Somebody outside, who reads the console of record as it grows and remembers what was there.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use ft_net::runtime::ConsoleReader;
use ft_net::shared::Shared;

use crate::host::signals;

const LOOK_EVERY: Duration = Duration::from_millis(1);

/// A thread that reads; it ends when this is dropped.
pub(super) struct Watcher {
    state: Arc<Mutex<Seen>>,
    over: Arc<AtomicBool>,
}

#[derive(Default)]
struct Seen {
    bytes: Vec<u8>,
    /// When there were so many bytes.
    times: Vec<(usize, Instant)>,
}

impl Watcher {
    /// Watches the run in `shared`, which may not have begun.
    pub(super) fn start(shared: &Shared) -> Self {
        let (state, over) = (Arc::new(Mutex::new(Seen::default())), Arc::new(AtomicBool::new(false)));
        let watcher = Self { state: Arc::clone(&state), over: Arc::clone(&over) };
        let mut reader = ConsoleReader::new(shared, 0);
        std::thread::spawn(move || {
            let mut fresh = Vec::new();
            while !over.load(Ordering::Relaxed) {
                if let Ok(1..) = reader.read_new(&mut fresh) {
                    let mut seen = lock(&state);
                    seen.bytes.append(&mut fresh);
                    let count = seen.bytes.len();
                    seen.times.push((count, Instant::now()));
                }
                std::thread::sleep(LOOK_EVERY);
            }
        });
        watcher
    }

    /// How many bytes have been seen.
    pub(super) fn count(&self) -> usize {
        lock(&self.state).bytes.len()
    }

    /// What has been seen.
    pub(super) fn seen(&self) -> Vec<u8> {
        lock(&self.state).bytes.clone()
    }

    /// Waits until `count` bytes have been seen; tells when that was.
    pub(super) fn wait_for(&self, count: usize, patience: Duration) -> Result<Instant> {
        let deadline = Instant::now() + patience;
        while Instant::now() < deadline && !signals::stop_asked() {
            if let Some(&(_, at)) = lock(&self.state).times.iter().find(|(bytes, _)| *bytes >= count) {
                return Ok(at);
            }
            std::thread::sleep(LOOK_EVERY);
        }
        bail!("waited in vain for byte {count} of the console; there are {}", self.count())
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
    }
}

fn lock(state: &Mutex<Seen>) -> MutexGuard<'_, Seen> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}
