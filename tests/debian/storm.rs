//! Kills of primaries, one at random within each few seconds, while somebody uses the guest.

use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::pair::{Chance, Replica, Site};

/// One kill falls into each span of this length. With the clock of the host, guest time is real time.
const EVERY_MS: u64 = 5000;

/// What the kills have come to.
#[derive(Debug, Default)]
pub struct Toll {
    pub kills: u32,
    /// From a kill until the backup served, at most.
    pub takeover: Duration,
    /// From the start of a backup until it could take over, at most.
    pub join: Duration,
    /// How long the guest stood still for a joining backup, at most; ms.
    pub pause_ms: f64,
}

/// A storm that rages in a thread of its own, until [`Storm::ends`] or this is dropped.
pub struct Storm {
    calm: Option<Sender<()>>,
    thread: Option<JoinHandle<(Replica, Replica, Toll)>>,
}

impl Storm {
    /// Begins, with the pair's first primary; backups are started with `options`.
    pub fn begin(site: &Arc<Site>, primary: Replica, options: &'static [&'static str]) -> Self {
        let (calm, sky) = channel::<()>();
        let site = Arc::clone(site);
        let rage = move || {
            let (mut chance, mut toll, began) = (Chance::new(), Toll::default(), Instant::now());
            let mut primary = primary;
            let mut backup = join(&site, &mut primary, options, &mut toll);
            for span in 0.. {
                let at = began + Duration::from_millis(span * EVERY_MS + chance.below(EVERY_MS));
                let calm = sky.recv_timeout(at.saturating_duration_since(Instant::now()));
                if calm != Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
                    break;
                }
                let killed = Instant::now();
                primary.kill();
                backup.hear("TOOK OVER");
                toll.takeover = toll.takeover.max(killed.elapsed());
                toll.kills += 1;
                primary = backup;
                backup = join(&site, &mut primary, options, &mut toll);
            }
            (primary, backup, toll)
        };
        Self { calm: Some(calm), thread: Some(std::thread::spawn(rage)) }
    }

    /// Ends it; the pair that has survived it.
    pub fn ends(mut self) -> (Replica, Replica, Toll) {
        drop(self.calm.take());
        self.thread.take().unwrap().join().unwrap()
    }
}

/// A storm without a test must not go on.
impl Drop for Storm {
    fn drop(&mut self) {
        drop(self.calm.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A new backup, once it could take over.
fn join(site: &Site, primary: &mut Replica, options: &[&str], toll: &mut Toll) -> Replica {
    let began = Instant::now();
    let backup = site.backup_with(options);
    toll.join = toll.join.max(began.elapsed());
    let line = primary.hear("protected by");
    let pause = line.rsplit_once("paused ").and_then(|(_, rest)| rest.split_once(" ms")).unwrap().0;
    toll.pause_ms = toll.pause_ms.max(pause.parse().unwrap());
    backup
}
