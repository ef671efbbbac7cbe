//! Telling the operator, from a thread of its own: a terminal may block, a replica must not.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Sender};
use std::thread::JoinHandle;

use super::{StartError, spawn};
use crate::event::Event;

/// Who wants to know what a replica does.
pub trait Observer: Send {
    /// Something happened.
    fn event(&mut self, event: &Event);

    /// Console bytes that are out, each once in the life of this process, without gaps. If this is too slow by
    /// megabytes some are left out; the console of record has them all.
    fn console(&mut self, bytes: &[u8]);
}

/// Console bytes that may wait for the observer.
const WAITING_BYTES_MAX: usize = 4 << 20;

enum Item {
    Event(Event),
    Console(Vec<u8>),
}

/// The way to the observer.
#[derive(Clone)]
pub(super) struct Tell {
    to: Sender<Item>,
    waiting: Arc<AtomicUsize>,
}

impl Tell {
    /// Starts the thread of `observer`; it ends when the last [`Tell`] is dropped.
    pub(super) fn start(mut observer: Box<dyn Observer>) -> Result<(Self, JoinHandle<()>), StartError> {
        let (to, from) = mpsc::channel();
        let waiting = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&waiting);
        let work = move || {
            for item in from {
                match item {
                    Item::Event(event) => observer.event(&event),
                    Item::Console(bytes) => {
                        observer.console(&bytes);
                        counter.fetch_sub(bytes.len(), Ordering::Relaxed);
                    }
                }
            }
        };
        let thread = spawn("observer", work).map_err(StartError::Thread)?;
        Ok((Self { to, waiting }, thread))
    }

    pub(super) fn event(&self, event: Event) {
        let _ = self.to.send(Item::Event(event)); // Fails only if the observer panicked.
    }

    pub(super) fn console(&self, bytes: Vec<u8>) {
        if self.waiting.fetch_add(bytes.len(), Ordering::Relaxed) > WAITING_BYTES_MAX {
            self.waiting.fetch_sub(bytes.len(), Ordering::Relaxed);
        } else {
            let _ = self.to.send(Item::Console(bytes)); // As above.
        }
    }
}
