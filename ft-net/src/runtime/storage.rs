//! The thread that may hang with the shared storage, so that nobody else does.

use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::Duration;

use super::observer::Tell;
use super::{StartError, spawn};
use crate::arbiter::{Arbiter, FileArbiter};
use crate::event::Event;
use crate::proto::arbitration::{Answer, Ask};
use crate::shared::{Alive, ServingAt, Shared, SharedError};

/// What failed is tried again this often.
const RETRY_EVERY: Duration = Duration::from_millis(250);

/// What can be asked of the storage.
pub(super) enum Job {
    /// A question to the arbiter of a run.
    Ask { instance: u64, ask: Ask },
    /// Tell everybody who serves.
    Publish(ServingAt),
    /// This backup has the machine.
    Announce,
}

/// The way to the storage thread.
pub(super) struct Storage {
    to: Sender<Job>,
}

impl Storage {
    /// Starts the thread; `alive` is kept until it ends. `answer` takes the arbiter's answers until it returns `false`.
    pub(super) fn start(
        shared: Shared,
        replica: u64,
        about: String,
        alive: Option<Alive>,
        tell: Tell,
        answer: impl FnMut(Ask, Answer) -> bool + Send + 'static,
    ) -> Result<Self, StartError> {
        let (to, from) = mpsc::channel();
        let mut worker = Worker {
            shared,
            replica,
            about,
            alive,
            tell,
            answer,
            arbiter: None,
            publish: None,
            announce: false,
            complained: false,
        };
        spawn("storage", move || worker.run(&from)).map_err(StartError::Thread)?;
        Ok(Self { to })
    }

    pub(super) fn job(&self, job: Job) {
        let _ = self.to.send(job); // The thread ends only when this replica does.
    }
}

struct Worker<F> {
    shared: Shared,
    replica: u64,
    about: String,
    alive: Option<Alive>,
    tell: Tell,
    answer: F,
    arbiter: Option<(u64, FileArbiter)>,
    /// Still to be done.
    publish: Option<ServingAt>,
    announce: bool,
    complained: bool,
}

impl<F: FnMut(Ask, Answer) -> bool> Worker<F> {
    fn run(&mut self, from: &Receiver<Job>) {
        loop {
            match from.recv_timeout(RETRY_EVERY) {
                Ok(Job::Ask { instance, ask }) => {
                    let answer = self.arbiter(instance).answer(ask);
                    if !(self.answer)(ask, answer) {
                        return;
                    }
                }
                Ok(Job::Publish(at)) => self.publish = Some(at),
                Ok(Job::Announce) => self.announce = true,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            match self.catch_up() {
                Ok(()) => self.complained = false,
                Err(error) if !std::mem::replace(&mut self.complained, true) => {
                    self.tell.event(Event::Storage { reason: error.to_string() });
                }
                Err(_) => {}
            }
        }
    }

    fn catch_up(&mut self) -> Result<(), SharedError> {
        if self.announce && self.alive.is_none() {
            self.alive = Some(self.shared.announce(self.replica)?);
        }
        self.announce = false;
        if let Some(at) = &self.publish {
            self.shared.publish(at)?;
            self.publish = None;
        }
        Ok(())
    }

    fn arbiter(&mut self, instance: u64) -> &mut FileArbiter {
        let (shared, replica, about) = (&self.shared, self.replica, &self.about);
        let make = || (instance, FileArbiter::new(shared.clone(), instance, replica, about.clone()));
        self.arbiter.take_if(|(of, _)| *of != instance);
        &mut self.arbiter.get_or_insert_with(make).1
    }
}
