//! The thread that owns the node. It lets the machine run, hands in what the other threads report and carries out what
//! the node wants; it waits for nothing but its own queue.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use emu::Output;

use super::connection::{Acceptor, Connection, Heard};
use super::console::Console;
use super::host::{ProcessHost, random_id};
use super::network::Network;
use super::observer::{Observer, Tell};
use super::seek::{Found, Seeker};
use super::storage::{Job, Storage};
use super::{Exit, Operator, Options, StartError};
use crate::arbiter::{Arbiter, FileArbiter};
use crate::event::Event;
use crate::node::engine::{Answers, EngineError, Leader};
use crate::node::{Host, Next, Node};
use crate::proto::arbitration::{Answer, Ask};
use crate::proto::{Config, ConnId, Transmit};
use crate::shared::{Alive, ServingAt};
use crate::time::Time;
use crate::user_net::Ports;

/// Reports that may wait; more make the reporting threads wait.
const REPORTS_MAX: usize = 512;

/// How long a slice of execution should take, in microseconds. It bounds how late a message is seen.
const SLICE_US: u64 = 1000;

/// The longest wait: the operator's wishes are looked at this often.
const WAIT_MAX: Duration = Duration::from_millis(20);

/// How often a backup looks for a primary.
const SEEK_EVERY: Duration = Duration::from_millis(100);

/// How long the end waits for peers and storage to take the last words.
const FAREWELL: Duration = Duration::from_secs(2);

/// What other threads report.
enum Report {
    Heard(Heard),
    Found(Found),
    Answer(Ask, Answer),
    Written(u64),
    /// The network has something for the guest.
    Frames,
}

/// Starts a run: claims generation 1 and serves it with the machine that `make` gives, until the guest is off, the right
/// to speak is lost or the operator stops it. Guest time goes on from `guest_ns`, where that machine is.
///
/// # Errors
/// If it cannot start: the shared directory, the address, the machine.
pub fn run_primary<L: Leader>(
    options: &Options,
    operator: &Operator,
    observer: Box<dyn Observer>,
    guest_ns: u64,
    make: impl FnOnce(Answers) -> Result<L, EngineError>,
) -> Result<Exit, StartError> {
    let mut here = Here::new(options)?;
    let answers = Answers::new(Arc::clone(&here.host), guest_ns);
    let machine = make(answers.clone()).map_err(StartError::Machine)?;
    if let Some(mac) = machine.mac() {
        here.network.begin(mac, Ports::Now, poke(&here.report)).map_err(StartError::Network)?;
    }
    let instance = random_id();
    let alive = options.shared.begin_run(instance, options.replica)?;
    let mut arbiter = FileArbiter::new(options.shared.clone(), instance, options.replica, about());
    match arbiter.claim(1) {
        Answer::Won => {}
        Answer::Held { holder: reason } | Answer::Unreachable { reason } => {
            return Err(StartError::Arbiter { reason });
        }
        Answer::Free => {
            return Err(StartError::Arbiter { reason: "no answer".to_owned() });
        }
    }
    let node = Node::primary(config(options, instance), answers, machine);
    Core::start(options, operator, observer, here, Some(alive), node)
}

/// Finds a primary, follows it and takes over from it, until the guest is off, the right to speak is lost or the operator
/// stops it.
///
/// # Errors
/// If it cannot start: the address.
pub fn run_backup<L: Leader>(
    options: &Options,
    operator: &Operator,
    observer: Box<dyn Observer>,
) -> Result<Exit, StartError> {
    let here = Here::new(options)?;
    let node = Node::<L>::backup(config(options, 0), Arc::clone(&here.host));
    Core::start(options, operator, observer, here, None, node)
}

/// What a replica has of its process before it has a role.
struct Here {
    listener: TcpListener,
    host: Arc<dyn Host>,
    network: Network,
    report: SyncSender<Report>,
    reports: Receiver<Report>,
}

impl Here {
    fn new(options: &Options) -> Result<Self, StartError> {
        let listener = listen(options)?;
        let (report, reports) = mpsc::sync_channel(REPORTS_MAX);
        let network = Network::new(options.net.clone());
        Ok(Self { listener, host: Arc::new(ProcessHost::new(options.disks.clone())), network, report, reports })
    }
}

/// Makes the core look for frames. If its queue is full it does not sleep, and looks anyway.
fn poke(report: &SyncSender<Report>) -> impl Fn() + Send + 'static {
    let report = report.clone();
    move || drop(report.try_send(Report::Frames))
}

fn config(options: &Options, instance: u64) -> Config {
    Config {
        timeout: options.timeout,
        retry: options.timeout / 4,
        output_rule: options.output_rule,
        ..Config::new(instance, options.replica)
    }
}

fn listen(options: &Options) -> Result<TcpListener, StartError> {
    let address = options.listen.clone();
    TcpListener::bind(&address).map_err(|error| StartError::Listen { address, error })
}

fn about() -> String {
    format!("process {}", std::process::id())
}

struct Core<L: Leader> {
    options: Options,
    operator: Operator,
    host: Arc<dyn Host>,
    node: Node<L>,
    reports: Receiver<Report>,
    report: SyncSender<Report>,
    connections: BTreeMap<ConnId, Connection>,
    /// Writers of closed connections, which may still be sending.
    closing: Vec<JoinHandle<()>>,
    listener: Option<TcpListener>,
    address: String,
    acceptor: Option<Acceptor>,
    seeker: Seeker,
    seeking: bool,
    seek_at: Time,
    waiting: Option<String>,
    storage: Storage,
    console: Console,
    network: Network,
    tell: Tell,
    /// Instructions of the next slice.
    budget: u64,
    exit: Option<Exit>,
}

impl<L: Leader> Core<L> {
    fn start(
        options: &Options,
        operator: &Operator,
        observer: Box<dyn Observer>,
        here: Here,
        alive: Option<Alive>,
        node: Node<L>,
    ) -> Result<Exit, StartError> {
        let Here { listener, host, network, report, reports } = here;
        let local =
            listener.local_addr().map_err(|error| StartError::Listen { address: options.listen.clone(), error })?;
        let (tell, observer) = Tell::start(observer)?;
        let to = report.clone();
        let storage = Storage::start(
            options.shared.clone(),
            options.replica,
            about(),
            alive,
            tell.clone(),
            move |ask, answer| to.send(Report::Answer(ask, answer)).is_ok(),
        )?;
        let to = report.clone();
        let confirm = move |number| to.send(Report::Written(number)).is_ok();
        let (console, writer) = Console::start(options.shared.console_path(), tell.clone(), confirm)?;
        let (heard, found) = (report.clone(), report.clone());
        let seeker = Seeker::start(
            options.shared.clone(),
            options.connect.clone(),
            options.timeout,
            move |what| heard.send(Report::Heard(what)).is_ok(),
            move |what| found.send(Report::Found(what)).is_ok(),
        )?;
        let core = Self {
            options: options.clone(),
            operator: operator.clone(),
            host,
            node,
            reports,
            report,
            connections: BTreeMap::new(),
            closing: Vec::new(),
            listener: Some(listener),
            address: options.advertise.clone().unwrap_or_else(|| local.to_string()),
            acceptor: None,
            seeker,
            seeking: false,
            seek_at: Time::ZERO,
            waiting: None,
            storage,
            console,
            network,
            tell,
            budget: 100_000,
            exit: None,
        };
        let exit = core.run(writer);
        let _ = observer.join(); // It panicked if at all in the operator's code.
        Ok(exit)
    }

    fn run(mut self, writer: JoinHandle<()>) -> Exit {
        let mut next = Next::Again { rest: Duration::ZERO };
        loop {
            self.wait(next);
            let (detach, power_off) = self.operator.take();
            if power_off {
                self.node.power_off();
            }
            if detach {
                self.node.detach(self.host.now());
            }
            self.node.handle_tick(self.host.now());
            self.carry_out();
            self.seek();
            self.hand_in_frames();
            next = self.slice();
            self.carry_out();
            if next == Next::Over {
                return self.farewell(writer);
            }
        }
    }

    /// Takes in reports: those that are there, or the first to come while there is nothing else to do.
    fn wait(&mut self, next: Next) {
        let span = match next {
            Next::Again { rest } => rest.min(WAIT_MAX),
            Next::Wait | Next::Over => {
                let due = self.node.poll_timeout().map(|at| at.since(self.host.now()));
                due.unwrap_or(WAIT_MAX).min(WAIT_MAX)
            }
        };
        if !span.is_zero() {
            match self.reports.recv_timeout(span) {
                Ok(report) => self.take_in(report),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {}
            }
        }
        for _ in 0..REPORTS_MAX {
            let Ok(report) = self.reports.try_recv() else {
                break;
            };
            self.take_in(report);
        }
    }

    fn take_in(&mut self, report: Report) {
        let now = self.host.now();
        match report {
            Report::Heard(Heard::Opened(connection)) => self.opened(now, connection),
            Report::Heard(Heard::Message(conn, message)) => self.node.handle_message(now, conn, message),
            Report::Heard(Heard::Closed { conn, reason, bad }) => {
                if bad {
                    self.tell.event(Event::BadPeer { reason: reason.clone() });
                }
                self.close(conn);
                self.node.handle_disconnect(now, conn, &reason);
            }
            Report::Found(Found::Connection { instance, connection }) => {
                self.seeking = false;
                self.node.set_instance(instance);
                self.opened(now, connection);
            }
            Report::Found(Found::Nobody(reason)) => {
                self.seeking = false;
                self.say_waiting(reason);
            }
            Report::Answer(ask, answer) => self.node.handle_answer(now, ask, answer),
            Report::Written(number) => self.node.handle_released(now, number),
            Report::Frames => {} // The next round takes them.
        }
        self.carry_out();
    }

    fn opened(&mut self, now: Time, connection: Connection) {
        let conn = connection.id;
        self.connections.insert(conn, connection);
        self.node.handle_connect(now, conn);
    }

    fn close(&mut self, conn: ConnId) {
        if let Some(connection) = self.connections.remove(&conn) {
            self.closing.retain(|writer| !writer.is_finished());
            self.closing.push(connection.close());
        }
    }

    fn seek(&mut self) {
        let now = self.host.now();
        if self.node.seeking() && !self.seeking && now >= self.seek_at {
            self.seeking = true;
            self.seek_at = now + SEEK_EVERY;
            self.seeker.seek();
        }
    }

    fn say_waiting(&mut self, reason: String) {
        if self.waiting.as_ref() != Some(&reason) {
            self.waiting = Some(reason.clone());
            self.tell.event(Event::Waiting { reason });
        }
    }

    /// Hands the machine's network card what has come. A replica that has taken over makes itself a network first.
    fn hand_in_frames(&mut self) {
        if let Some(mac) = self.node.mac()
            && !self.network.begun()
            && let Err(error) = self.network.begin(mac, Ports::WhenFree, poke(&self.report))
        {
            self.tell.event(Event::NoNetwork { reason: error.to_string() });
        }
        while self.node.frame_room()
            && let Some(frame) = self.network.poll()
        {
            self.node.handle_frame(frame);
        }
    }

    /// Lets the machine run, for about [`SLICE_US`] at the speed it had last.
    fn slice(&mut self) -> Next {
        let (began, from) = (Instant::now(), self.node.retired());
        let next = self.node.run_slice(self.budget);
        let ran = self.node.retired().saturating_sub(from);
        let took_us = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX).max(1);
        if ran >= self.budget / 2 {
            let fitting = ran.saturating_mul(SLICE_US) / took_us;
            self.budget = fitting.clamp(self.budget / 2, self.budget * 2).clamp(1000, 1 << 24);
        }
        next
    }

    /// Does what the node wants, until it wants nothing.
    fn carry_out(&mut self) {
        let now = self.host.now();
        while let Some(event) = self.node.poll_event() {
            self.on_event(event);
        }
        while let Some(transmit) = self.node.poll_transmit() {
            match transmit {
                Transmit::Message(conn, message) => {
                    if let Some(connection) = self.connections.get_mut(&conn) {
                        connection.send(message);
                    }
                }
                Transmit::Close(conn) => self.close(conn),
            }
        }
        while let Some((number, output)) = self.node.poll_release() {
            if let Output::Frame { bytes } = &output {
                self.network.send(bytes.clone());
            }
            self.console.release(number, output);
        }
        while let Some(ask) = self.node.poll_ask(now) {
            self.storage.job(Job::Ask { instance: self.node.instance(), ask });
        }
        let mut mirror = Vec::new();
        while let Some(output) = self.node.poll_mirror() {
            if let Output::Console { byte, .. } = output {
                mirror.push(byte);
            }
        }
        if !mirror.is_empty() {
            self.tell.console(mirror);
        }
    }

    fn on_event(&mut self, event: Event) {
        match &event {
            Event::Serving { generation } | Event::Alone { generation } => self.serve(*generation),
            Event::Following { .. } => self.storage.job(Job::Announce),
            Event::PoweredOff { power } => self.exit = Some(Exit::PoweredOff(*power)),
            Event::Halted { reason } => self.exit = Some(Exit::Halted(reason.clone())),
            Event::Unable { reason } => self.exit = Some(Exit::Unable(reason.clone())),
            Event::Detached => self.exit = Some(Exit::Detached),
            Event::Waiting { reason } => return self.say_waiting(reason.clone()),
            _ => {}
        }
        self.tell.event(event);
    }

    /// Lets others find this replica, which serves `generation`.
    fn serve(&mut self, generation: u64) {
        if let Some(listener) = self.listener.take() {
            let to = self.report.clone();
            let heard = move |what| to.send(Report::Heard(what)).is_ok();
            match Acceptor::start(listener, self.options.timeout, heard) {
                Ok(acceptor) => self.acceptor = Some(acceptor),
                Err(error) => self.tell.event(Event::Storage { reason: format!("cannot listen: {error}") }),
            }
        }
        let (instance, replica, address) = (self.node.instance(), self.options.replica, self.address.clone());
        self.storage.job(Job::Publish(ServingAt { instance, replica, generation, address }));
    }

    /// The last words go out, then everything ends.
    fn farewell(mut self, writer: JoinHandle<()>) -> Exit {
        let deadline = Instant::now() + FAREWELL;
        self.acceptor = None;
        for conn in self.connections.keys().copied().collect::<Vec<_>>() {
            self.close(conn);
        }
        drop(self.console); // Its thread writes what was released and ends.
        let mut left: Vec<JoinHandle<()>> = self.closing;
        left.push(writer);
        while left.iter().any(|thread| !thread.is_finished()) && Instant::now() < deadline {
            let _ = self.reports.recv_timeout(Duration::from_millis(5)); // Nobody may be stuck reporting.
        }
        let exit = self.exit.unwrap_or(Exit::Detached);
        if matches!(exit, Exit::PoweredOff(_) | Exit::Detached) {
            self.options.shared.retract(self.options.replica);
        }
        exit
    }
}
