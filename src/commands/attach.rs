//! `ftemu attach`: the console of a pair from outside, across takeovers.

use std::fs;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use ft_net::message::Bye;
use ft_net::runtime::{Attach, AttachEvent, ConsoleReader};
use ft_net::shared::Shared;

use crate::cli::AttachArgs;
use crate::exit;
use crate::host::errors::{print, say};
use crate::host::keyboard::Typed;
use crate::host::terminal::SizeWatch;
use crate::host::{files, keyboard, signals};

/// Silence after which a connection is given up.
const TIMEOUT: Duration = Duration::from_millis(1000);
/// How often the console of record is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Shows the console and types into it until the guest is off.
pub(crate) fn run(args: &AttachArgs) -> Result<u8> {
    let shared = files::shared(args.run.shared.as_deref(), &args.run.name)?;
    signals::install();
    let typed = keyboard::start();
    let Some(instance) = wait_for_run(&shared)? else { return Ok(exit::STOPPED) };
    let offset = match args.tail {
        true => fs::metadata(shared.console_path()).map_or(0, |metadata| metadata.len()),
        false => 0,
    };
    let client = Attach::start(shared.clone(), TIMEOUT)?;
    let console = ConsoleReader::new(&shared, offset);
    let patience = Some(Instant::now() + TIMEOUT);
    let size = SizeWatch::default();
    Session { console, shared, instance, client, size, served: true, patience }.run(&typed)
}

/// The id of the run, once there is one; `None` if the operator does not want to wait.
fn wait_for_run(shared: &Shared) -> Result<Option<u64>> {
    let mut told = false;
    while !signals::stop_asked() {
        if let Some(instance) = shared.instance()? {
            return Ok(Some(instance));
        }
        if !std::mem::replace(&mut told, true) {
            say(format_args!("attach: waiting for a run in {}", shared.dir().display()));
        }
        std::thread::sleep(LOOK_EVERY);
    }
    Ok(None)
}

struct Session {
    shared: Shared,
    instance: u64,
    client: Attach,
    console: ConsoleReader,
    size: SizeWatch,
    /// Whether the last we heard was that somebody serves.
    served: bool,
    /// When to say that nobody serves from the first.
    patience: Option<Instant>,
}

impl Session {
    fn run(&mut self, typed: &Receiver<Typed>) -> Result<u8> {
        loop {
            if signals::stop_asked() {
                return Ok(exit::STOPPED);
            }
            for typed in typed.try_iter() {
                typed.send(&self.client);
            }
            if let Some((columns, rows)) = self.size.poll() {
                self.client.resize(columns, rows);
            }
            let ended = self.ended()?;
            self.show()?; // What was written before the end was told is all there is.
            if let Some(code) = ended {
                return Ok(code);
            }
            if let Some(event) = self.client.event(LOOK_EVERY) {
                self.patience = None;
                self.tell(&event);
            }
            if self.patience.take_if(|until| Instant::now() >= *until).is_some() {
                self.served = false;
                say(format_args!("attach: nobody serves this run; waiting"));
            }
        }
    }

    /// The exit code, if the guest is off. A directory that cannot be read now may come back.
    fn ended(&self) -> Result<Option<u8>> {
        match self.shared.instance() {
            Ok(Some(instance)) if instance != self.instance => {
                bail!("attach: this run is over, and another has begun under its name")
            }
            Ok(Some(_)) => Ok(self.shared.power().ok().flatten().map(exit::of_power)),
            Ok(None) | Err(_) => Ok(None),
        }
    }

    fn show(&mut self) -> Result<()> {
        let mut bytes = Vec::new();
        match self.console.read_new(&mut bytes) {
            Ok(1..) => print(&bytes),
            Ok(_) | Err(_) => Ok(()), // Storage that is away may come back.
        }
    }

    fn tell(&mut self, event: &AttachEvent) {
        match event {
            AttachEvent::Connected(at) => {
                self.served = true;
                let (replica, generation, address) = (at.replica, at.generation, &at.address);
                say(format_args!("attach: replica {replica:016x} serves, generation {generation}, at {address}"));
            }
            AttachEvent::Lost | AttachEvent::Bye(Bye::Detach) if std::mem::take(&mut self.served) => {
                say(format_args!("attach: whoever served is gone; waiting for the next"));
            }
            AttachEvent::Lost | AttachEvent::Bye(_) => {}
        }
    }
}
