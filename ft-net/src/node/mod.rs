//! A replica: a machine, its log and the protocol in one object. The same object runs in the simulator and in a process.
//!
//! The caller hands in what happens (`handle_*`), lets the machine run (`run_slice`), and carries out what comes out
//! (`poll_*`, until empty, after each of these calls).

pub mod batch;
mod clock;
pub mod disks;
pub mod engine;
mod following;
pub mod machine;
mod serving;
mod transfer;

use std::sync::Arc;
use std::time::Duration;

use emu::{MachineConfig, Output};

use crate::event::Event;
use crate::message::Message;
use crate::proto::arbitration::{Answer, Ask};
use crate::proto::backup::Backup;
use crate::proto::output::Outputs;
use crate::proto::primary::Primary;
use crate::proto::{Config, ConnId, Transmit};
use crate::time::Time;
use disks::HostDisks;
use engine::{Answers, Follower, Leader};
use following::Following;
use serving::Serving;

/// Where a replica runs.
pub trait Host: Send + Sync {
    /// Monotonic time.
    fn now(&self) -> Time;

    /// 64 random bits for the guest.
    fn random(&self) -> u64;

    /// The images of the disks of a machine of `config`, which the primary has at `paths`. `None`: they are being looked at,
    /// ask again.
    ///
    /// # Errors
    /// In one line, what is missing or not the same.
    fn disks(&self, _config: &MachineConfig, _paths: &[String]) -> Result<Option<HostDisks>, String> {
        Ok(Some(HostDisks::default()))
    }
}

/// When to call [`Node::run_slice`] again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// At once, or after `rest` if the backup lags behind.
    Again {
        /// How long to leave the guest standing.
        rest: Duration,
    },
    /// After the next `handle_*` call; [`Node::poll_timeout`] tells when `handle_tick` is due.
    Wait,
    /// Never: it has spoken its last word. What is left to poll must still be carried out.
    Over,
}

/// One replica of the machine `L`.
pub struct Node<L: Leader> {
    role: Half<L>,
    host: Arc<dyn Host>,
}

enum Half<L: Leader> {
    Serving(Box<Serving<L>>),
    Following(Box<Following<L>>),
}

/// Calls the same method of the half that this replica is now.
macro_rules! either {
    ($node:expr, |$serving:ident| $a:expr, |$following:ident| $b:expr) => {
        match $node {
            Half::Serving($serving) => $a,
            Half::Following($following) => $b,
        }
    };
}

impl<L: Leader> Node<L> {
    /// A new machine's first primary, which has claimed generation 1. `leader` was made with `answers`.
    #[must_use]
    pub fn primary(config: Config, answers: Answers, leader: L) -> Self {
        let host = Arc::clone(&answers.host);
        let outputs = Outputs::new(0);
        let primary = Primary::new(config, host.now(), 1, leader.last_entry(), outputs);
        let role = Half::Serving(Box::new(Serving::new(primary, leader, answers)));
        Self { role, host }
    }

    /// A backup that has nothing yet.
    #[must_use]
    pub fn backup(config: Config, host: Arc<dyn Host>) -> Self {
        let backup = Backup::new(config, host.now());
        let role = Half::Following(Box::new(Following::new(backup)));
        Self { role, host }
    }

    /// Somebody connected to this primary, or this backup connected to somebody.
    pub fn handle_connect(&mut self, now: Time, conn: ConnId) {
        either!(&mut self.role, |s| s.primary.handle_connect(now, conn), |f| f.backup.handle_connect(now, conn));
    }

    /// A connection ended, for `reason`.
    pub fn handle_disconnect(&mut self, now: Time, conn: ConnId, reason: &str) {
        either!(&mut self.role, |s| s.primary.handle_disconnect(now, conn, reason), |f| f
            .backup
            .handle_disconnect(now, conn, reason));
    }

    /// A message arrived.
    pub fn handle_message(&mut self, now: Time, conn: ConnId, message: Message) {
        either!(&mut self.role, |s| s.primary.handle_message(now, conn, message), |f| f
            .backup
            .handle_message(now, conn, message));
    }

    /// Time passes.
    pub fn handle_tick(&mut self, now: Time) {
        either!(&mut self.role, |s| s.primary.handle_tick(now), |f| f.backup.handle_tick(now));
    }

    /// The arbiter answered.
    pub fn handle_answer(&mut self, now: Time, ask: Ask, answer: Answer) {
        either!(&mut self.role, |s| s.primary.handle_answer(now, ask, answer), |f| f
            .backup
            .handle_answer(now, ask, answer));
    }

    /// The sink has written every output up to `number`.
    pub fn handle_released(&mut self, now: Time, number: u64) {
        if let Half::Serving(serving) = &mut self.role {
            serving.primary.handle_released(now, number);
        }
    }

    /// The network card of the machine that this replica serves: its hardware address.
    #[must_use]
    pub fn mac(&self) -> Option<[u8; 6]> {
        either!(&self.role, |s| s.leader().mac(), |_f| None)
    }

    /// May a frame be handed in?
    #[must_use]
    pub fn frame_room(&self) -> bool {
        either!(&self.role, |s| s.frame_room(), |_f| false)
    }

    /// A frame came for the machine.
    pub fn handle_frame(&mut self, bytes: Vec<u8>) {
        if let Half::Serving(serving) = &mut self.role {
            serving.frame(bytes);
        }
    }

    /// The operator switches the machine off, by an entry in the log like any other. `false` from a backup.
    pub fn power_off(&mut self) -> bool {
        either!(
            &mut self.role,
            |s| {
                s.power_off();
                true
            },
            |_f| false
        )
    }

    /// The operator stops this replica: the other one goes on.
    pub fn detach(&mut self, now: Time) {
        either!(&mut self.role, |s| s.detach(now), |f| f.backup.detach(now));
    }

    /// Lets the machine run for at most about `budget` instructions, and a backup that may become the primary.
    pub fn run_slice(&mut self, budget: u64) -> Next {
        let next = either!(&mut self.role, |s| s.run_slice(budget), |f| f.run_slice(&*self.host, budget));
        if let Half::Following(following) = &mut self.role
            && following.backup.won()
            && let Some(serving) = following.take_over(&self.host)
        {
            self.role = Half::Serving(Box::new(serving));
            return Next::Again { rest: Duration::ZERO };
        }
        next
    }

    /// When `handle_tick` is due, and then `run_slice`.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Time> {
        either!(&self.role, |s| s.poll_timeout(), |f| f.backup.poll_timeout())
    }

    /// The next thing to do on a connection.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        either!(&mut self.role, |s| s.primary.poll_transmit(), |f| f.backup.poll_transmit())
    }

    /// The next output for the outside: (number, output). Then [`Self::handle_released`].
    pub fn poll_release(&mut self) -> Option<(u64, Output)> {
        either!(&mut self.role, |s| s.primary.poll_release(), |_f| None)
    }

    /// The next output of a backup that its primary has released, for the backup's own terminal.
    pub fn poll_mirror(&mut self) -> Option<Output> {
        either!(&mut self.role, |_s| None, |f| f.backup.poll_mirror())
    }

    /// The next question to the arbiter.
    pub fn poll_ask(&mut self, now: Time) -> Option<Ask> {
        either!(&mut self.role, |s| s.primary.poll_ask(now), |f| f.backup.poll_ask(now))
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        either!(&mut self.role, |s| s.events.pop_front().or_else(|| s.primary.poll_event()), |f| f
            .events
            .pop_front()
            .or_else(|| f.backup.poll_event()))
    }

    /// The run whose machine this backup looks for.
    pub fn set_instance(&mut self, instance: u64) {
        if let Half::Following(following) = &mut self.role {
            following.backup.set_instance(instance);
        }
    }

    /// The run that this replica belongs to.
    #[must_use]
    pub fn instance(&self) -> u64 {
        either!(&self.role, |s| s.primary.instance(), |f| f.backup.instance())
    }

    /// Does this backup look for a primary?
    #[must_use]
    pub fn seeking(&self) -> bool {
        either!(&self.role, |_s| false, |f| f.backup.seeking())
    }

    /// The generation that this replica serves; `None` from a backup.
    #[must_use]
    pub fn serving(&self) -> Option<u64> {
        either!(&self.role, |s| (!s.primary.over()).then(|| s.primary.generation()), |_f| None)
    }

    /// Is there a backup that could take over from this primary?
    #[must_use]
    pub fn protected(&self) -> bool {
        either!(&self.role, |s| s.primary.protected(), |_f| false)
    }

    /// Instructions that the machine has retired; 0 while there is none.
    #[must_use]
    pub fn retired(&self) -> u64 {
        either!(&self.role, |s| s.leader().position().retired, |f| f
            .follower()
            .map_or(0, |follower| follower.position().retired))
    }

    /// The live machine.
    #[must_use]
    pub fn leader(&self) -> Option<&L> {
        either!(&self.role, |s| Some(s.leader()), |_f| None)
    }

    /// The replaying machine.
    #[must_use]
    pub fn follower(&self) -> Option<&L::Follower> {
        either!(&self.role, |_s| None, |f| f.follower())
    }
}
