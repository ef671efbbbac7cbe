//! `ftemu run --primary` and `ftemu run --backup`: a replica of a guest that survives the other one.

use std::collections::BTreeSet;
use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;

use anyhow::{Result, bail};
use emu::DiskMode;
use ft_net::event::Event;
use ft_net::node::machine::Recorded;
use ft_net::runtime::{Attach, Exit, Observer, Operator, Options, run_backup, run_primary};
use ft_net::shared::Shared;

use super::program::{self, Booted};
use crate::cli::RunArgs;
use crate::exit;
use crate::host::errors::{print, say};
use crate::host::recorded_disks::Search;
use crate::host::terminal::SizeWatch;
use crate::host::{files, keyboard, signals};

/// How often we look whether the operator wants an end.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Starts a run and serves it.
pub(crate) fn primary(args: &RunArgs) -> Result<u8> {
    let Booted { machine, paths, .. } = program::boot(args)?;
    let mut disks = machine.config().devices.disks.iter().flatten().zip(&paths);
    if let Some((_, path)) = disks.find(|(disk, _)| disk.mode == DiskMode::WriteThrough) {
        bail!(
            "{path} with mode=rw does not go with --primary: an image must stay as it is while a backup replays from it"
        );
    }
    let options = options(args)?;
    let operator = hand(&options, args.pair.timeout_ms);
    let exit = run_primary(&options, &operator, Teller::new("primary"), machine.clock_ns(), |answers| {
        Ok(Recorded::new(machine, answers).with_disks(paths))
    })?;
    Ok(code(&exit, &options.shared))
}

/// Joins a run, follows it, and takes over.
pub(crate) fn backup(args: &RunArgs) -> Result<u8> {
    let search = Search::new(&args.disks, None)?;
    search.check()?;
    let options = Options { disks: search.into_opener(), ..options(args)? };
    let operator = hand(&options, args.pair.timeout_ms);
    let exit = run_backup::<Recorded>(&options, &operator, Teller::new("backup"))?;
    Ok(code(&exit, &options.shared))
}

fn options(args: &RunArgs) -> Result<Options> {
    let net = args.net.clone().unwrap_or_default();
    let args = &args.pair;
    let shared = files::shared(args.shared.as_deref(), &args.name)?;
    Ok(Options {
        listen: args.listen.clone(),
        connect: args.connect.clone(),
        timeout: args.timeout_ms,
        net,
        output_rule: !args.unsafe_no_output_rule,
        ..Options::new(shared)
    })
}

/// Connects this process's keyboard and signals. What is typed goes the way of every client, to whoever serves.
fn hand(options: &Options, timeout: Duration) -> Operator {
    signals::install();
    let (operator, shared) = (Operator::default(), options.shared.clone());
    let wishes = operator.clone();
    std::thread::spawn(move || {
        while !signals::stop_asked() {
            std::thread::sleep(LOOK_EVERY);
        }
        wishes.detach();
    });
    std::thread::spawn(move || type_in(&shared, timeout));
    operator
}

/// A replica without a terminal, into which nothing is typed, is no client.
fn type_in(shared: &Shared, timeout: Duration) -> ! {
    let (keys, mut size, mut client) = (keyboard::start(), SizeWatch::default(), None);
    loop {
        let typed = keys.recv_timeout(SizeWatch::EVERY);
        let resized = size.poll();
        if client.is_none() && (typed.is_ok() || resized.is_some()) {
            client = Attach::start(shared.clone(), timeout).ok();
        }
        if let (Some(client), Some((columns, rows))) = (&client, resized) {
            client.resize(columns, rows);
        }
        match (&client, typed) {
            (Some(client), Ok(typed)) => typed.send(client),
            (_, Err(RecvTimeoutError::Disconnected)) => std::thread::sleep(SizeWatch::EVERY),
            _ => {}
        }
    }
}

fn code(exit: &Exit, shared: &Shared) -> u8 {
    match exit {
        Exit::PoweredOff(power) => power.or_else(|| shared.power().ok().flatten()).map_or(0, exit::of_power),
        Exit::Halted(_) => exit::HALTED,
        Exit::Unable(_) => exit::ERROR,
        Exit::Detached => exit::STOPPED,
    }
}

/// Tells the operator what happens: roles to stderr, the console to stdout.
struct Teller {
    role: &'static str,
    mirror: bool,
    /// What was told and comes again and again, because a peer tries again and again: it would fill the terminal.
    told: BTreeSet<String>,
}

impl Teller {
    fn new(role: &'static str) -> Box<Self> {
        Box::new(Self { role, mirror: true, told: BTreeSet::new() })
    }
}

impl Observer for Teller {
    fn event(&mut self, event: &Event) {
        match event {
            Event::Transfer { .. } => return,
            Event::Waiting { .. } | Event::Refused { .. } => {
                if !self.told.insert(event.to_string()) {
                    return;
                }
            }
            Event::TookOver { .. } => self.role = "primary",
            _ => self.told.clear(),
        }
        say(format_args!("{}: {event}", self.role));
    }

    fn console(&mut self, bytes: &[u8]) {
        // A terminal that goes away must not take the guest with it.
        if self.mirror && print(bytes).is_err() {
            self.mirror = false;
            say(format_args!("{}: nobody reads the console here any more; the guest goes on", self.role));
        }
    }
}
