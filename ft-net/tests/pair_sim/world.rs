//! Replicas, clients, arbiter and sink under virtual time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use emu::Output;
use ft_net::Time;
use ft_net::event::Event;
use ft_net::frame;
use ft_net::message::Message;
use ft_net::node::engine::{Answers, Leader};
use ft_net::node::{Host, Next, Node};
use ft_net::proto::arbitration::{Answer, Ask};
use ft_net::proto::client::Client;
use ft_net::proto::{Config, ConnId, Transmit};

use crate::checkers::{Generations, Record, Violation};
use crate::net::{Arrival, End, Net, Packet};
use crate::rng::{Rng, mix};

pub const TIMEOUT: Duration = Duration::from_millis(100);

/// What happens at some time.
#[derive(Clone, Debug)]
pub enum What {
    Slice(usize),
    Arrive(ConnId, usize),
    Arbitrate(usize, Ask),
    Answered(usize, Ask, Answer),
    Written { replica: usize, generation: u64, number: u64, output: Output },
    ClientTick(usize),
    Spawn,
    Fault,
    Heal,
    PowerOff,
    End,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    Up,
    Paused {
        until: Time,
    },
    /// Ended by itself.
    Exited,
    Crashed,
}

pub struct Replica<L: Leader> {
    pub node: Node<L>,
    pub life: Life,
    pub powered_off: bool,
    /// It crashes after so many more effects.
    pub fuse: Option<u64>,
    /// Instructions per slice.
    pub speed: u64,
    /// The arbiter is out of its reach until then.
    pub arbiter_down: Time,
    conn: Option<ConnId>,
    offset: Duration,
    written: Time,
}

pub struct SimClient {
    pub client: Client,
    conn: Option<ConnId>,
}

/// What a run has seen, to know that a test was not vacuous.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    pub takeovers: u64,
    pub joins: u64,
    pub alone: u64,
    pub halted: u64,
    pub crashes_in_transfer: u64,
    pub powered_off: u64,
    pub reissued: u64,
    pub acknowledged: u64,
}

pub struct World<L: Leader> {
    pub now: Time,
    now_ns: Arc<AtomicU64>,
    pub rng: Rng,
    pub replicas: Vec<Replica<L>>,
    pub clients: Vec<SimClient>,
    pub net: Net,
    pub claims: BTreeMap<u64, usize>,
    pub record: Record,
    pub generations: Generations,
    pub serving: Option<usize>,
    pub tally: Tally,
    pub violation: Option<Violation>,
    pub quiet: bool,
    /// Speeds are multiples of this.
    pub scale: u64,
    /// What each client types at a time.
    pub typed: [&'static str; 2],
    pub trace: bool,
    output_rule: bool,
    agenda: BTreeMap<(Time, u64), What>,
    order: u64,
}

/// A replica's own view of virtual time, and its chance.
struct SimHost {
    now_ns: Arc<AtomicU64>,
    offset: Duration,
    random: AtomicU64,
}

impl Host for SimHost {
    fn now(&self) -> Time {
        Time::from_ns(self.now_ns.load(Relaxed)) + self.offset
    }

    fn random(&self) -> u64 {
        mix(self.random.fetch_add(1, Relaxed))
    }
}

impl<L: Leader> World<L> {
    pub fn new(seed: u64, output_rule: bool, scale: u64, machine: impl FnOnce(Answers) -> L) -> Self {
        let mut world = Self {
            now: Time::from_ns(1),
            now_ns: Arc::new(AtomicU64::new(1)),
            rng: Rng::new(seed),
            replicas: Vec::new(),
            clients: Vec::new(),
            net: Net::default(),
            claims: BTreeMap::from([(1, 0)]),
            record: Record::default(),
            generations: Generations::default(),
            serving: None,
            tally: Tally::default(),
            violation: None,
            quiet: false,
            scale,
            typed: ["x", "x"],
            trace: false,
            output_rule,
            agenda: BTreeMap::new(),
            order: 0,
        };
        world.add_replica(|config, host| {
            let answers = Answers::new(host, 0);
            Node::primary(config, answers.clone(), machine(answers))
        });
        for id in 0..2 {
            let client = Client::new(id + 1, TIMEOUT, world.now);
            world.clients.push(SimClient { client, conn: None });
            world.after(Duration::from_millis(5), What::ClientTick(id as usize));
        }
        world
    }

    pub fn after(&mut self, delay: Duration, what: What) {
        self.at(self.now + delay, what);
    }

    pub fn at(&mut self, at: Time, what: What) {
        self.order += 1;
        self.agenda.insert((at, self.order), what);
    }

    pub fn add_backup(&mut self) {
        self.add_replica(Node::backup);
    }

    fn add_replica(&mut self, node: impl FnOnce(Config, Arc<dyn Host>) -> Node<L>) {
        let id = self.replicas.len();
        let mut rng = self.rng.fork();
        let offset = Duration::from_nanos(rng.range(0..1 << 40));
        let config = Config {
            timeout: TIMEOUT,
            retry: TIMEOUT / 4,
            log_bytes_max: 64 << 10,
            outputs_max: 500,
            chunks_max: 1 + rng.range(0..8),
            lag_max: TIMEOUT / 2,
            output_rule: self.output_rule,
            ..Config::new(77, id as u64)
        };
        let (now_ns, random) = (Arc::clone(&self.now_ns), AtomicU64::new(rng.next()));
        let host = SimHost { now_ns, offset, random };
        let speed = self.scale * rng.range(20..60);
        self.replicas.push(Replica {
            node: node(config, Arc::new(host)),
            life: Life::Up,
            powered_off: false,
            fuse: None,
            speed,
            arbiter_down: Time::ZERO,
            conn: None,
            offset,
            written: Time::ZERO,
        });
        self.after(Duration::from_micros(100), What::Slice(id));
    }

    /// Runs until nothing is left to do, something is violated, or the end. `on` is told what the world does not know.
    pub fn run(&mut self, mut on: impl FnMut(&mut Self, What)) {
        while let Some(((at, _), what)) = self.agenda.pop_first() {
            self.now = at;
            self.now_ns.store(at.ns(), Relaxed);
            if self.violation.is_some() || matches!(what, What::End) {
                return;
            }
            match what {
                What::Slice(r) => self.slice(r),
                What::Arrive(conn, side) => self.arrive(conn, side),
                What::Arbitrate(r, ask) => self.arbitrate(r, ask),
                What::Answered(r, ask, answer) => self.answered(r, ask, answer),
                What::Written { replica, generation, number, output } => {
                    self.written(replica, generation, number, output);
                }
                What::ClientTick(c) => self.client_tick(c),
                other => on(self, other),
            }
        }
    }

    pub fn up(&self, r: usize) -> bool {
        self.replicas[r].life == Life::Up
    }

    pub fn alive(&self) -> Vec<usize> {
        let alive = |r: &usize| matches!(self.replicas[*r].life, Life::Up | Life::Paused { .. });
        (0..self.replicas.len()).filter(alive).collect()
    }

    fn local(&self, r: usize) -> Time {
        self.now + self.replicas[r].offset
    }

    /// Puts `what` off while `r` is paused. `false`: it does not happen now.
    fn awake(&mut self, r: usize, what: What) -> bool {
        match self.replicas[r].life {
            Life::Up => true,
            Life::Paused { until } if self.now >= until => {
                self.replicas[r].life = Life::Up;
                true
            }
            Life::Paused { until } => {
                self.at(until, what);
                false
            }
            Life::Exited | Life::Crashed => false,
        }
    }

    // ---- one replica ----

    fn slice(&mut self, r: usize) {
        if !self.awake(r, What::Slice(r)) {
            return;
        }
        let now = self.local(r);
        self.replicas[r].node.handle_tick(now);
        self.pump(r);
        if !self.up(r) {
            return;
        }
        let replica = &mut self.replicas[r];
        let next = replica.node.run_slice(replica.speed);
        self.pump(r);
        if next == Next::Over && self.up(r) {
            self.replicas[r].life = Life::Exited;
            return;
        }
        self.seek(r);
        let jitter = self.rng.range(1500..2500);
        self.after(Duration::from_micros(jitter), What::Slice(r));
    }

    fn seek(&mut self, r: usize) {
        let Some(to) = self.serving.filter(|&to| to != r) else {
            return;
        };
        if !self.up(r) || !self.replicas[r].node.seeking() || self.rng.chance(80) {
            return;
        }
        let Some(conn) = self.connect(End::Replica(r), to) else {
            return;
        };
        let now = self.local(r);
        self.replicas[r].conn = Some(conn);
        self.replicas[r].node.handle_connect(now, conn);
        self.pump(r);
    }

    /// Carries out everything that replica `r` wants; a fuse may end it between any two steps.
    pub fn pump(&mut self, r: usize) {
        while self.up(r) && self.pump_one(r) {
            if let Some(fuse) = &mut self.replicas[r].fuse {
                *fuse = fuse.saturating_sub(1);
                if *fuse == 0 {
                    self.blow(r);
                }
            }
        }
    }

    /// The fuse of `r` has burnt down. The last copy of the machine is mostly spared: its end would end the run.
    fn blow(&mut self, r: usize) {
        self.replicas[r].fuse = None;
        let backed = self.alive().iter().any(|&other| self.replicas[other].node.protected());
        let only_backup = self.replicas[r].node.seeking() || self.serving.is_some_and(|s| s != r && self.up(s));
        if backed || only_backup || self.rng.chance(3) {
            let loud = self.rng.chance(60);
            self.crash(r, loud);
        }
    }

    fn pump_one(&mut self, r: usize) -> bool {
        let now = self.local(r);
        let node = &mut self.replicas[r].node;
        if let Some(event) = node.poll_event() {
            self.on_event(r, event);
        } else if let Some((number, output)) = node.poll_release() {
            let generation = node.serving().unwrap_or(0);
            let delay = self.rng.range(10..3000);
            let at = self.replicas[r].written.max(self.now + Duration::from_micros(delay));
            self.replicas[r].written = at;
            self.at(at, What::Written { replica: r, generation, number, output });
        } else if let Some(transmit) = node.poll_transmit() {
            let (conn, packet) = match transmit {
                Transmit::Message(conn, message) => (conn, Packet::Frame(frame::encode(&message))),
                Transmit::Close(conn) => (conn, Packet::Closed("closed by the peer")),
            };
            let arrival = self.net.send(self.now, conn, End::Replica(r), packet, &mut self.rng);
            self.expect(arrival);
        } else if let Some(ask) = node.poll_ask(now) {
            let delay = self.rng.range(100..5000);
            self.after(Duration::from_micros(delay), What::Arbitrate(r, ask));
        } else {
            return node.poll_mirror().is_some();
        }
        true
    }

    fn on_event(&mut self, r: usize, event: Event) {
        if self.trace {
            eprintln!("{} replica {r}: {event}", self.now);
        }
        match event {
            Event::Serving { generation } | Event::Alone { generation } => {
                self.tally.alone += 1;
                self.serving = Some(r);
                if let Err(violation) = self.generations.serves(generation, r) {
                    self.violation = Some(violation);
                }
            }
            Event::TookOver { reissued, .. } => {
                self.tally.takeovers += 1;
                self.tally.reissued += reissued;
            }
            Event::Protected { .. } => self.tally.joins += 1,
            Event::Joining { backup } if !self.quiet && self.rng.chance(25) => {
                let victim = if self.rng.chance(50) { r } else { backup as usize };
                self.tally.crashes_in_transfer += 1;
                self.replicas[victim].fuse = Some(self.rng.range(1..80));
            }
            Event::Halted { reason } => {
                self.tally.halted += 1;
                if !reason.contains("is held by") {
                    self.violation = Some(Violation::Stuck { why: reason });
                }
            }
            Event::PoweredOff { .. } => self.replicas[r].powered_off = true,
            Event::BadPeer { reason } => self.violation = Some(Violation::Stuck { why: reason }),
            _ => {}
        }
    }

    pub fn crash(&mut self, r: usize, loud: bool) {
        if self.trace {
            eprintln!("{} replica {r}: crash", self.now);
        }
        self.replicas[r].life = Life::Crashed;
        for arrival in self.net.die(self.now, End::Replica(r), loud, &mut self.rng) {
            self.expect(Some(arrival));
        }
    }

    fn written(&mut self, replica: usize, generation: u64, number: u64, output: Output) {
        if !self.awake(replica, What::Written { replica, generation, number, output: output.clone() })
            && self.replicas[replica].life != Life::Exited
        {
            return;
        }
        if let Err(violation) = self.record.write(generation, output) {
            self.violation = Some(violation);
            return;
        }
        let now = self.local(replica);
        self.replicas[replica].node.handle_released(now, number);
        self.pump(replica);
    }

    // ---- network ----

    fn connect(&mut self, from: End, to: usize) -> Option<ConnId> {
        if !matches!(self.replicas[to].life, Life::Up | Life::Paused { .. }) {
            return None;
        }
        let (conn, arrival) = self.net.connect(self.now, from, End::Replica(to), &mut self.rng);
        self.expect(Some(arrival));
        Some(conn)
    }

    pub fn expect(&mut self, arrival: Option<Arrival>) {
        if let Some(Arrival { at, conn, side }) = arrival {
            self.at(at, What::Arrive(conn, side));
        }
    }

    fn arrive(&mut self, conn: ConnId, side: usize) {
        let Some(end) = self.net.receiver(conn, side) else {
            return;
        };
        if let End::Replica(r) = end
            && !self.awake(r, What::Arrive(conn, side))
        {
            return;
        }
        match self.net.arrive(self.now, conn, side) {
            Err(until) => self.at(until, What::Arrive(conn, side)),
            Ok(None) => {}
            Ok(Some((End::Client(c), packet))) => self.client_packet(c, conn, packet),
            Ok(Some((End::Replica(r), packet))) => {
                let now = self.local(r);
                let node = &mut self.replicas[r].node;
                match packet {
                    Packet::Opened => node.handle_connect(now, conn),
                    Packet::Frame(bytes) => node.handle_message(now, conn, read(&bytes)),
                    Packet::Closed(reason) => node.handle_disconnect(now, conn, reason),
                }
                self.pump(r);
            }
        }
    }

    // ---- arbiter ----

    fn arbitrate(&mut self, r: usize, ask: Ask) {
        let down = self.now < self.replicas[r].arbiter_down;
        if down && self.rng.chance(30) {
            return self.at(self.replicas[r].arbiter_down, What::Arbitrate(r, ask)); // It hangs.
        }
        let mut answer = match ask {
            Ask::Exists(generation) if self.claims.contains_key(&generation) => self.held(generation),
            Ask::Exists(_) => Answer::Free,
            // An unreachable store may have taken the claim all the same.
            Ask::Claim(_) if down && self.rng.chance(70) => Answer::Free,
            Ask::Claim(generation) if *self.claims.entry(generation).or_insert(r) == r => Answer::Won,
            Ask::Claim(generation) => self.held(generation),
        };
        if down {
            answer = Answer::Unreachable { reason: "no route to storage".to_owned() };
        }
        let delay = self.rng.range(100..5000);
        self.after(Duration::from_micros(delay), What::Answered(r, ask, answer));
    }

    fn held(&self, generation: u64) -> Answer {
        Answer::Held { holder: format!("replica {}", self.claims[&generation]) }
    }

    fn answered(&mut self, r: usize, ask: Ask, answer: Answer) {
        if self.awake(r, What::Answered(r, ask, answer.clone())) {
            let now = self.local(r);
            self.replicas[r].node.handle_answer(now, ask, answer);
            self.pump(r);
        }
    }

    // ---- clients ----

    fn client_tick(&mut self, c: usize) {
        let now = self.now;
        self.clients[c].client.handle_tick(now);
        if !self.quiet && self.rng.chance(15) {
            self.clients[c].client.input(self.typed[c].as_bytes());
        }
        if self.clients[c].client.seeking()
            && let Some(to) = self.serving
        {
            self.clients[c].conn = self.connect(End::Client(c), to);
            if self.clients[c].conn.is_some() {
                self.clients[c].client.handle_connect(now);
            }
        }
        self.client_pump(c);
        self.after(Duration::from_millis(10), What::ClientTick(c));
    }

    fn client_packet(&mut self, c: usize, conn: ConnId, packet: Packet) {
        if self.clients[c].conn != Some(conn) {
            return;
        }
        match packet {
            Packet::Opened => {}
            Packet::Frame(bytes) => self.clients[c].client.handle_message(self.now, read(&bytes)),
            Packet::Closed(_) => self.clients[c].client.handle_disconnect(),
        }
        self.client_pump(c);
    }

    fn client_pump(&mut self, c: usize) {
        while let Some(message) = self.clients[c].client.poll_message() {
            if let Some(conn) = self.clients[c].conn {
                let arrival = self.net.send(
                    self.now,
                    conn,
                    End::Client(c),
                    Packet::Frame(frame::encode(&message)),
                    &mut self.rng,
                );
                self.expect(arrival);
            }
        }
    }
}

impl std::ops::Add for Tally {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            takeovers: self.takeovers + other.takeovers,
            joins: self.joins + other.joins,
            alone: self.alone + other.alone,
            halted: self.halted + other.halted,
            crashes_in_transfer: self.crashes_in_transfer + other.crashes_in_transfer,
            powered_off: self.powered_off + other.powered_off,
            reissued: self.reissued + other.reissued,
            acknowledged: self.acknowledged + other.acknowledged,
        }
    }
}

fn read(mut bytes: &[u8]) -> Message {
    frame::read(&mut bytes).expect("what was sent arrives")
}
