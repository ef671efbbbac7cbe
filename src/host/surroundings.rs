//! What happens around a machine, and where it waits until the machine takes it: typed bytes, frames, flushes that are done.

use std::collections::VecDeque;
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use emu::MachineConfig;
use ft_net::user_net::{NetOptions, Ports, Uplink, UserNet};

use super::errors::say;
use super::keyboard::{self, Typed};

/// Something has happened.
enum Happened {
    Typed(Typed),
    Frame(Vec<u8>),
    Flushed(u8, u64),
}

/// Says that flush `1` of disk `0` is done, from any thread.
pub(crate) type TellFlushed = Box<dyn Fn(u8, u64) + Send>;

/// The surroundings of a machine without a replica. Everything comes by one channel, so that a halted guest can wait for
/// all of it at once.
pub(crate) struct Surroundings {
    /// Kept, so that the channel never ends.
    tell: Sender<Happened>,
    happened: Receiver<Happened>,
    typed: VecDeque<Typed>,
    frames: VecDeque<Vec<u8>>,
    flushed: VecDeque<(u8, u64)>,
    net: Option<UserNet>,
}

impl Surroundings {
    /// A world where nothing happens; with the network that a machine of `config` has.
    ///
    /// # Errors
    /// If the network cannot be had.
    pub(crate) fn new(config: &MachineConfig, net: Option<&NetOptions>) -> Result<Self> {
        let (tell, happened) = mpsc::channel();
        let mut new = Self {
            tell,
            happened,
            typed: VecDeque::new(),
            frames: VecDeque::new(),
            flushed: VecDeque::new(),
            net: None,
        };
        if let Some(options) = network(config, net)? {
            let to = new.tell.clone();
            let deliver = move |frame| drop(to.send(Happened::Frame(frame))); // To nobody at the very end.
            let net = UserNet::start(&options, Ports::Now, deliver).context("--net")?;
            for (asked, got) in options.forwards.iter().zip(net.forwards()).filter(|(asked, _)| asked.host.port() == 0)
            {
                say(format_args!("--net: hostfwd {asked} is {got}"));
            }
            new.net = Some(net);
        }
        Ok(new)
    }

    /// Listens to the keyboard.
    pub(crate) fn listen(&self) {
        let to = self.tell.clone();
        keyboard::start_into(move |typed| to.send(Happened::Typed(typed)).is_ok());
    }

    /// Looks what has happened, for the polls that follow.
    pub(crate) fn look(&mut self) {
        while let Ok(what) = self.happened.try_recv() {
            self.keep(what);
        }
    }

    /// What was typed next.
    pub(crate) fn poll_typed(&mut self) -> Option<Typed> {
        self.typed.pop_front()
    }

    /// The next frame for the guest.
    pub(crate) fn poll_frame(&mut self) -> Option<Vec<u8>> {
        let frame = self.frames.pop_front()?;
        self.net.iter().for_each(UserNet::taken);
        Some(frame)
    }

    /// Whether a frame for the guest waits here.
    pub(crate) fn has_frame(&self) -> bool {
        !self.frames.is_empty()
    }

    /// The next flush that is done: disk and number.
    pub(crate) fn poll_flushed(&mut self) -> Option<(u8, u64)> {
        self.flushed.pop_front()
    }

    /// Where frames of the guest go.
    pub(crate) fn uplink(&self) -> Option<Uplink> {
        self.net.as_ref().map(UserNet::uplink)
    }

    /// For whoever makes disks durable.
    pub(crate) fn tell_flushed(&self) -> TellFlushed {
        let to = self.tell.clone();
        Box::new(move |disk, flush| drop(to.send(Happened::Flushed(disk, flush)))) // To nobody at the very end.
    }

    /// Waits until something new happens, but not longer than `span`.
    pub(crate) fn wait(&mut self, span: Duration) {
        if let Ok(what) = self.happened.recv_timeout(span) {
            self.keep(what);
        }
    }

    fn keep(&mut self, what: Happened) {
        match what {
            Happened::Typed(typed) => self.typed.push_back(typed),
            Happened::Frame(frame) => self.frames.push_back(frame),
            Happened::Flushed(disk, flush) => self.flushed.push_back((disk, flush)),
        }
    }
}

/// The network of a machine of `config`: as `options` say, or an ordinary one.
///
/// # Errors
/// If the machine has no network device.
pub(crate) fn network(config: &MachineConfig, options: Option<&NetOptions>) -> Result<Option<NetOptions>> {
    let Some(mac) = config.devices.net else {
        ensure!(options.is_none(), "--net: this machine has no network device");
        return Ok(None);
    };
    Ok(Some(NetOptions { mac, ..options.cloned().unwrap_or_default() }))
}
