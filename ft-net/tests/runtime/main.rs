//! Replicas as threads and sockets in one process, with the simulator's machine and checkers.

#![allow(unreachable_pub, dead_code, reason = "a test has no outside; modules are shared with the simulator")]
#![allow(clippy::cast_possible_truncation, clippy::expect_used, clippy::unwrap_used, reason = "a test may panic")]

#[path = "../pair_sim/checkers.rs"]
mod checkers;
#[path = "../pair_sim/rng.rs"]
mod rng;
#[path = "../pair_sim/toy.rs"]
mod toy;

use std::collections::BTreeMap;
use std::io::Write;
use std::net::TcpStream;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use emu::{ClockMode, CpuModel, Machine, MachineConfig, Power};
use ft_net::event::Event;
use ft_net::node::disks::{DiskOpener, HostDisks};
use ft_net::node::engine::{Answers, EngineError, Leader};
use ft_net::node::machine::Recorded;
use ft_net::runtime::{
    Attach, ConsoleReader, Exit, Observer, Operator, Options, StartError, run_backup, run_primary, status,
};
use ft_net::shared::Shared;

use checkers::check_lines;
use toy::Toy;

#[derive(Clone, Default)]
struct Seen {
    events: Arc<Mutex<Vec<Event>>>,
    console: Arc<Mutex<Vec<u8>>>,
}

impl Observer for Seen {
    fn event(&mut self, event: &Event) {
        self.events.lock().unwrap().push(event.clone());
    }

    fn console(&mut self, bytes: &[u8]) {
        self.console.lock().unwrap().extend(bytes);
    }
}

/// Silence after which a replica is suspected.
const TIMEOUT: Duration = Duration::from_millis(500);

/// Images that take longer to look at than a replica may be silent.
fn slow_disks() -> DiskOpener {
    DiskOpener::new(|_, _| {
        std::thread::sleep(TIMEOUT * 2);
        Ok(HostDisks::default())
    })
}

struct Replica {
    operator: Operator,
    seen: Seen,
    thread: JoinHandle<Result<Exit, StartError>>,
}

impl Replica {
    fn start(shared: &Shared, primary: bool) -> Self {
        Self::start_with(shared, primary, |answers| Ok(Toy::new(answers)))
    }

    /// The key-value store on the real machine.
    fn start_kv(shared: &Shared, primary: bool) -> Self {
        Self::start_with(shared, primary, |answers| {
            let (memory_bytes, clock) = (32 << 20, ClockMode::Host);
            let mut machine = Machine::new(MachineConfig {
                memory_bytes,
                clock,
                epoch_s: 0,
                cpu: CpuModel::V3,
                devices: Default::default(),
            })
            .unwrap();
            machine.load_elf(testprogs::find("kv").unwrap().image, "").unwrap();
            Ok(Recorded::new(machine, answers))
        })
    }

    fn start_with<L: Leader>(
        shared: &Shared,
        primary: bool,
        make: impl FnOnce(Answers) -> Result<L, EngineError> + Send + 'static,
    ) -> Self {
        let (operator, seen) = (Operator::default(), Seen::default());
        let options = Options { timeout: TIMEOUT, disks: slow_disks(), ..Options::new(shared.clone()) };
        let (hand, observer) = (operator.clone(), Box::new(seen.clone()));
        let thread = std::thread::spawn(move || {
            if primary {
                run_primary(&options, &hand, observer, 0, make)
            } else {
                run_backup::<L>(&options, &hand, observer)
            }
        });
        Self { operator, seen, thread }
    }

    fn wait_for(&self, what: &str, is: impl Fn(&Event) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while !self.seen.events.lock().unwrap().iter().any(&is) {
            let seen = self.seen.events.lock().unwrap();
            assert!(Instant::now() < deadline, "waited in vain for {what}: {seen:#?}");
            drop(seen);
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn end(self) -> Exit {
        self.thread.join().unwrap().unwrap()
    }
}

fn until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !done() {
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_machine_is_handed_from_replica_to_replica_until_it_is_switched_off() {
    let root = tempfile::tempdir().unwrap();
    let shared = Shared::open(root.path(), "t").unwrap();
    let early = Replica::start(&shared, false);
    early.wait_for("a backup that waits", |event| matches!(event, Event::Waiting { .. }));
    let mut serving = Replica::start(&shared, true);
    let mut backup = early;
    let attach = Attach::start(shared.clone(), Duration::from_millis(500)).unwrap();
    let mut typed = 0;
    for round in 0..5 {
        serving.wait_for("protection", |event| matches!(event, Event::Protected { .. }));
        for _ in 0..20 {
            attach.input(b"x");
            typed += 1;
        }
        if round % 2 == 0 {
            until("safe inputs", || attach.all_safe());
        }
        serving.operator.detach();
        assert_eq!(serving.end(), Exit::Detached);
        backup.wait_for("takeover", |event| matches!(event, Event::TookOver { .. }));
        serving = backup;
        backup = Replica::start(&shared, false);
    }
    until("safe inputs", || attach.all_safe());
    serving.wait_for("protection", |event| matches!(event, Event::Protected { .. }));
    let now = status(&shared, Duration::from_secs(1)).unwrap();
    assert_eq!(now.generations.len(), 6);
    until("two living replicas", || shared.living().unwrap().len() == 2);
    assert!(now.answer.unwrap().protected);
    std::thread::sleep(Duration::from_millis(200)); // The toy echoes.
    serving.operator.power_off();
    let off = Exit::PoweredOff(Some(Power::Off { code: 0 }));
    let mirror = backup.seen.console.clone();
    assert_eq!(serving.end(), off);
    assert_eq!(backup.end(), off);
    let mut console = Vec::new();
    ConsoleReader::new(&shared, 0).read_new(&mut console).unwrap();
    check_lines(&console, &BTreeMap::new()).unwrap();
    let heard = String::from_utf8_lossy(&console).lines().filter(|line| line.starts_with('k')).count();
    assert_eq!(heard, typed);
    assert!(console.ends_with(&mirror.lock().unwrap()), "the backup's terminal shows the same");
    assert!(!mirror.lock().unwrap().is_empty());
}

#[test]
fn a_real_guest_answers_every_command_once_across_handovers() {
    let root = tempfile::tempdir().unwrap();
    let shared = Shared::open(root.path(), "t").unwrap();
    let mut serving = Replica::start_kv(&shared, true);
    let attach = Attach::start(shared.clone(), Duration::from_millis(500)).unwrap();
    let mut typed = 0;
    for _ in 0..4 {
        let backup = Replica::start_kv(&shared, false);
        serving.wait_for("protection", |event| matches!(event, Event::Protected { .. }));
        for _ in 0..50 {
            attach.input(b"INCR n\n");
            typed += 1;
        }
        serving.operator.detach();
        assert_eq!(serving.end(), Exit::Detached);
        backup.wait_for("takeover", |event| matches!(event, Event::TookOver { .. }));
        serving = backup;
    }
    let lost = |event: &Event| matches!(event, Event::BackupLost { .. });
    assert!(
        !serving.seen.events.lock().unwrap().iter().any(lost),
        "a backup looked at its disks, and was taken for dead"
    );
    attach.input(b"QUIT\n");
    let off = Exit::PoweredOff(Some(Power::Off { code: 0 }));
    assert_eq!(serving.end(), off);
    let mut console = Vec::new();
    ConsoleReader::new(&shared, 0).read_new(&mut console).unwrap();
    let text = String::from_utf8(console).unwrap();
    let replies: Vec<&str> = text.lines().filter(|line| line.starts_with(|c: char| c.is_ascii_digit())).collect();
    let mut due: Vec<String> = (1..=typed).map(|n| format!("{n} {n}")).collect();
    due.push(format!("{} BYE", typed + 1));
    assert_eq!(replies, due);
}

#[test]
fn a_lone_primary_serves_and_a_second_one_is_refused() {
    let root = tempfile::tempdir().unwrap();
    let shared = Shared::open(root.path(), "t").unwrap();
    let serving = Replica::start(&shared, true);
    serving.wait_for("serving", |event| matches!(event, Event::Serving { .. }));
    let second = Replica::start(&shared, true).thread.join().unwrap();
    assert!(matches!(second, Err(StartError::Shared(_))), "{second:?}");
    serving.operator.power_off();
    assert!(matches!(serving.end(), Exit::PoweredOff(_)));
    let again = Replica::start(&shared, true);
    again.wait_for("serving", |event| matches!(event, Event::Serving { generation: 1 }));
    again.operator.detach();
    assert_eq!(again.end(), Exit::Detached);
}

#[test]
fn garbage_and_strangers_do_not_disturb() {
    let root = tempfile::tempdir().unwrap();
    let shared = Shared::open(root.path(), "t").unwrap();
    let serving = Replica::start(&shared, true);
    until("an address", || shared.serving().unwrap().is_some());
    let address = shared.serving().unwrap().unwrap().address;
    for bytes in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0xff; 4096], b"FTPR", b""] {
        TcpStream::connect(&address).unwrap().write_all(bytes).unwrap();
    }
    serving.wait_for("a complaint", |event| matches!(event, Event::BadPeer { .. }));
    let backup = Replica::start(&shared, false);
    serving.wait_for("protection", |event| matches!(event, Event::Protected { .. }));
    let third = Replica::start(&shared, false);
    third.wait_for(
        "a refusal",
        |event| matches!(event, Event::Waiting { reason } if reason.contains("has a backup already")),
    );
    backup.operator.detach();
    serving.wait_for("alone", |event| matches!(event, Event::Alone { generation: 2 }));
    third.wait_for("joining", |event| matches!(event, Event::Following { generation: 2, .. }));
    serving.operator.power_off();
    for replica in [serving, third] {
        assert!(matches!(replica.end(), Exit::PoweredOff(_)));
    }
}

#[test]
fn a_port_in_use_is_an_error() {
    let root = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut options = Options::new(Shared::open(root.path(), "t").unwrap());
    options.listen = taken.local_addr().unwrap().to_string();
    let result = run_backup::<Toy>(&options, &Operator::default(), Box::new(Seen::default()));
    assert!(matches!(result, Err(StartError::Listen { .. })));
}
