//! What is fuzzed: functions that take any bytes and must come back. `fuzz_targets/` gives them to cargo-fuzz, `tests/fuzz.rs`
//! runs them on the corpus and on mutations of it.

#![allow(clippy::expect_used, reason = "what fails here is what is looked for")]
#![allow(clippy::unwrap_used, clippy::cast_possible_truncation, reason = "likewise")]
#![allow(dead_code, unreachable_pub, reason = "each fuzz target uses one; a test has no outside")]

#[path = "../../emu/tests/guest/hardware.rs"]
mod abuse;
#[path = "../../emu/tests/guest/dice.rs"]
mod dice;

use std::ops::ControlFlow;
use std::time::Duration;

use emu::boot::{Boot, Module, Protocol};
use emu::{
    ClockMode, CpuModel, CpuState, Door, Input, Machine, MachineConfig, MachineState, Output, Position, Query, Segment,
    Stop, Until,
};
use ft_net::Time;
use ft_net::frame;
use ft_net::message::Message;
use ft_net::proto::arbitration::Answer;
use ft_net::proto::backup::Backup;
use ft_net::proto::output::Outputs;
use ft_net::proto::primary::Primary;
use ft_net::proto::{Config, ConnId};
use replay::log::{FRAME_HEADER_BYTES, LogItem, LogReader};
use replay::{ReplayStop, Replayer, Snapshot, codec};

/// Takes any bytes; says whether they were what it is for.
pub type Target = fn(&[u8]) -> bool;

/// All targets by name.
pub const TARGETS: [(&str, Target); 7] = [
    ("code", code),
    ("elf", elf),
    ("hardware", hardware),
    ("kernel", kernel),
    ("log", log),
    ("message", message),
    ("state", state),
];

const MEMORY_BYTES: u64 = 1 << 20;
/// Instructions that a fuzzed guest gets.
const RETIRED_MAX: u64 = 300;
/// Stops before it gives up on a guest that retires nothing.
const STOPS_MAX: u64 = 4;

/// Answers everything from the position alone.
struct Answers;

impl Door for Answers {
    fn query(&mut self, at: Position, _: Query) -> Option<u64> {
        Some((at.retired ^ at.steps << 32).wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    fn output(&mut self, _: Position, _: u64, _: Output) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }

    fn interrupt(&mut self, _: Position, _: u8) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }
}

fn config() -> MachineConfig {
    MachineConfig {
        memory_bytes: MEMORY_BYTES,
        clock: ClockMode::Derived,
        epoch_s: 0,
        cpu: CpuModel::V3,
        devices: Default::default(),
    }
}

fn run(machine: &mut Machine) {
    let end = machine.position().retired.saturating_add(RETIRED_MAX);
    for _ in 0..STOPS_MAX {
        if machine.run(Until::About(end), &mut Answers) != Stop::Limit || machine.position().retired >= end {
            break;
        }
    }
}

fn write_pages(from: &Machine, to: &mut Machine) {
    for pfn in (0..from.page_count()).filter(|&pfn| from.page(pfn) != &[0; 4096]) {
        to.write_page(pfn, from.page(pfn));
    }
}

/// Runs a machine in one go and, copied, step by step to the same place: they must be the same.
fn runs_the_same(mut straight: Machine) {
    let copy = |machine: &Machine| {
        let state = machine.state();
        let mut copy = Machine::restore(*machine.config(), &state).expect("its own state");
        write_pages(machine, &mut copy);
        assert_eq!(copy.state(), state, "a state survives its own restoration");
        copy
    };
    let mut stepped = copy(&straight);
    run(&mut straight);
    for _ in 0..2 * RETIRED_MAX {
        let at = stepped.position();
        if at >= straight.position() || stepped.power().is_some() {
            break;
        }
        let next = Position { retired: at.retired + at.retired % 3, steps: at.steps + 1 };
        stepped.run(Until::Exactly(next.min(straight.position())), &mut Answers);
        if next.retired % 64 == 7 {
            stepped = copy(&stepped);
        }
    }
    if stepped.position() == straight.position() && straight.power().is_none() {
        assert_eq!(straight.state(), stepped.state(), "stops on the way cannot be seen");
        assert_eq!(straight.ram_digest(), stepped.ram_digest(), "stops on the way cannot be seen");
    }
}

/// Takes bytes off the front, zeros when there are none left.
struct Script<'d>(&'d [u8]);

impl Script<'_> {
    fn byte(&mut self) -> u8 {
        self.take(1).first().copied().unwrap_or(0)
    }

    fn take(&mut self, len: usize) -> &[u8] {
        let (head, rest) = self.0.split_at(len.min(self.0.len()));
        self.0 = rest;
        head
    }

    fn word(&mut self) -> u64 {
        self.take(8).iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte))
    }
}

/// Addresses where something is to be had: code, tables, stack, ends of RAM and of the canonical range.
const PLACES: [u64; 16] = [
    0x1_0000,
    0x1_0ff8,
    0x1_1000,
    0x1000,
    0x2000,
    0x3000,
    0x7000,
    0x9_e000,
    0x9_effc,
    0xf_fffc,
    0x10_0000,
    0x7fff_ffff_fffc,
    0xffff_8000_0000_0000,
    u64::MAX - 3,
    0,
    0xffff_fffc,
];

/// Arbitrary bytes as code, in an arbitrary state of a machine as it is handed to a bare program.
pub fn code(data: &[u8]) -> bool {
    let Ok(mut machine) = Machine::new(config()) else { return false };
    let mut script = Script(data);
    let mut cpu = CpuState::handed_off(0x1_0000);
    let choice = script.byte();
    for register in &mut cpu.gpr {
        let byte = script.byte();
        *register = match byte >> 6 {
            0 => byte.into(),
            1 => script.word(),
            _ => PLACES[usize::from(byte & 15)].wrapping_add(u64::from(byte >> 4 & 3)),
        };
    }
    // A REP that runs for long teaches nothing.
    cpu.gpr[1] &= 0x3ff;
    cpu.rflags = 2 | script.word() & 0x0025_7fd5;
    if choice & 1 != 0 {
        cpu.seg[1] = Segment { selector: 0x23, base: 0, limit: u32::MAX, rights: 0xa0fb };
        cpu.seg[2] = Segment { selector: 0x1b, base: 0, limit: u32::MAX, rights: 0xc0f3 };
    }
    cpu.cr0 ^= u64::from(choice & 0x0e) | u64::from(choice >> 4 & 5) << 16;
    cpu.rip += u64::from(choice & 0x80) << 5;
    hand_off(&mut machine);
    if choice & 1 != 0 {
        user_may_all(&mut machine);
    }
    for (number, bytes) in script.0.chunks(4096).take(4).enumerate() {
        let mut page = [0; 4096];
        page[..bytes.len()].copy_from_slice(bytes);
        machine.write_page(0x10 + u32::try_from(number).unwrap_or(0), &page);
    }
    let state = MachineState { cpu, ..machine.state() };
    let Ok(mut fresh) = Machine::restore(config(), &state) else { return false };
    write_pages(&machine, &mut fresh);
    runs_the_same(fresh);
    true
}

/// Page tables and descriptors as a bare program finds them.
fn hand_off(machine: &mut Machine) {
    const NOTHING: &[u8] = include_bytes!("corpus/elf/nothing");
    machine.load_elf(NOTHING, "").expect("an image of this tree");
}

/// Sets the user bit in all entries of the tables.
fn user_may_all(machine: &mut Machine) {
    for pfn in 1..7 {
        let mut page = *machine.page(pfn);
        for entry in page.chunks_exact_mut(8).filter(|entry| entry[0] & 1 != 0) {
            entry[0] |= 4;
        }
        machine.write_page(pfn, &page);
    }
}

/// Arbitrary bytes as an image.
pub fn elf(data: &[u8]) -> bool {
    let Ok(mut machine) = Machine::new(config()) else { return false };
    let loaded = machine.load_elf(data, "console=1").is_ok();
    if loaded {
        run(&mut machine);
    }
    loaded
}

/// Arbitrary bytes as a kernel, booted in every way.
pub fn kernel(data: &[u8]) -> bool {
    let modules = [Module { bytes: b"module", command_line: "name" }];
    let ways = [None, Some(Protocol::Multiboot), Some(Protocol::Pvh), Some(Protocol::Linux)];
    let mut loaded = false;
    for protocol in ways {
        let Ok(mut machine) = Machine::new(MachineConfig { memory_bytes: 4 << 20, ..config() }) else { return false };
        if machine.load_kernel(&Boot { image: data, modules: &modules, command_line: "x=1", protocol }).is_ok() {
            run(&mut machine);
            loaded = true;
        }
    }
    loaded
}

/// Arbitrary bytes as what a guest does to its devices.
pub fn hardware(data: &[u8]) -> bool {
    abuse::survives(data);
    true
}

/// Arbitrary bytes as a machine's configuration and state.
pub fn state(data: &[u8]) -> bool {
    let Ok((config, state)) = codec::decode::<(MachineConfig, MachineState)>(data) else { return false };
    if config.memory_bytes > 64 << 20 {
        return false;
    }
    let Ok(mut machine) = Machine::restore(config, &state) else { return false };
    machine.deliver(&Input::Clock { ns: state.clock.base_ns.wrapping_add(1_000_000) });
    machine.deliver(&Input::Console { client: 1, seq: 1, bytes: vec![0x41; 3] });
    let _ = (machine.next_deadline_ns(), machine.clock_ns());
    runs_the_same(machine);
    true
}

/// Arbitrary bytes as a log, after its checksums have been made right; what can be replayed is.
pub fn log(data: &[u8]) -> bool {
    let data = with_log_checksums(data);
    let _ = replay::log::check(&data[..]);
    let Ok(mut reader) = LogReader::open(&data[..]) else { return false };
    let Ok(snapshot) = Snapshot::read(&mut reader) else { return false };
    if snapshot.config.memory_bytes > 64 << 20 {
        return false;
    }
    let Ok(mut machine) = snapshot.restore() else { return false };
    let mut replayer = Replayer::new(machine.position(), snapshot.next_entry);
    while let Ok(Some(item)) = reader.next() {
        if let LogItem::Entries(segment) = item
            && replayer.push(segment).is_err()
        {
            break;
        }
    }
    let end = Until::About(machine.position().retired.saturating_add(RETIRED_MAX));
    for _ in 0..STOPS_MAX {
        while replayer.poll_output().is_some() {}
        if !matches!(replayer.step(&mut machine, end), ReplayStop::Limit) {
            break;
        }
    }
    true
}

/// The bytes of a log with the checksums of its header and frames computed anew (docs/log-format.md): what is behind them
/// would never be reached else.
fn with_log_checksums(data: &[u8]) -> Vec<u8> {
    const FIXED: usize = 16;
    let mut bytes = data.to_vec();
    let length = |bytes: &[u8], at: usize| {
        let field = bytes.get(at..at + 4).and_then(|field| field.try_into().ok());
        field.map_or(usize::MAX, |field| u32::from_le_bytes(field) as usize)
    };
    let seal = |bytes: &mut [u8], from: usize, to: usize, at: usize| -> bool {
        let Some(crc) = bytes.get(from..to).map(crc32fast::hash) else { return false };
        let Some(field) = at.checked_add(4).and_then(|end| bytes.get_mut(at..end)) else { return false };
        field.copy_from_slice(&crc.to_le_bytes());
        true
    };
    let end = length(&bytes, 12).saturating_add(FIXED);
    let mut whole = seal(&mut bytes, 0, end, end);
    let mut start = end.saturating_add(4);
    while whole {
        let payload = start + FRAME_HEADER_BYTES;
        let end = length(&bytes, start + 4).saturating_add(payload);
        whole = seal(&mut bytes, payload, end, payload - 8) && seal(&mut bytes, start, payload - 4, payload - 4);
        start = end;
    }
    bytes
}

/// Arbitrary bytes as what a peer sends to a primary and to a backup, in any order with time and arbiter.
pub fn message(data: &[u8]) -> bool {
    let config = Config { log_bytes_max: 4096, chunks_max: 4, ..Config::new(1, 2) };
    let mut peers = Peers {
        primary: Primary::new(config.clone(), Time::ZERO, 1, 0, Outputs::new(0)),
        backup: Backup::new(config, Time::ZERO),
        now: Time::ZERO,
        last: 0,
    };
    let mut script = Script(data);
    let mut taken = 0;
    while !script.0.is_empty() {
        let (what, conn) = (script.byte(), ConnId(u64::from(script.byte() % 3)));
        match what % 8 {
            0 => peers.connect(conn),
            1 => peers.disconnect(conn),
            2 => peers.now = peers.now + Duration::from_millis(u64::from(script.byte()) * 10),
            _ => {
                let len = usize::from(script.byte()) | usize::from(script.byte()) << 8;
                taken += u32::from(peers.receive(conn, script.take(len)));
            }
        }
        peers.poll();
    }
    taken > 0
}

struct Peers {
    primary: Primary,
    backup: Backup,
    now: Time,
    /// Number of the last entry and output of the primary.
    last: u64,
}

impl Peers {
    fn connect(&mut self, conn: ConnId) {
        self.primary.handle_connect(self.now, conn);
        self.backup.handle_connect(self.now, conn);
    }

    fn disconnect(&mut self, conn: ConnId) {
        self.primary.handle_disconnect(self.now, conn, "fuzzed");
        self.backup.handle_disconnect(self.now, conn, "fuzzed");
    }

    /// A body, put into a frame with the right checksum.
    fn receive(&mut self, conn: ConnId, body: &[u8]) -> bool {
        let Ok(message) = codec::decode::<Message>(body) else { return false };
        let framed = frame::encode(&message);
        let again = frame::read(&mut &framed[..]).expect("what was encoded can be decoded");
        assert_eq!(again, message);
        self.primary.handle_message(self.now, conn, message.clone());
        self.backup.handle_message(self.now, conn, message);
        true
    }

    /// The primary's machine has written something.
    fn log(&mut self) {
        self.last += 1;
        self.primary.log(self.now, self.last, self.last, vec![0; 9], self.last);
        self.primary.output(self.last, self.last, Output::Console { offset: self.last, byte: 7 });
    }

    /// Everything that a replica would do now.
    fn poll(&mut self) {
        let now = self.now;
        self.primary.handle_tick(now);
        self.backup.handle_tick(now);
        if let Some(ask) = self.primary.poll_ask(now) {
            self.primary.handle_answer(now, ask, Answer::Free);
        }
        if let Some(ask) = self.backup.poll_ask(now) {
            self.backup.handle_answer(now, ask, Answer::Unreachable { reason: "fuzzed".into() });
        }
        self.primary.begin_state(vec![1]);
        if self.primary.transfer_room() > 0 {
            self.primary.send_pages(vec![2; 8]);
        } else if self.last % 4 == 3 {
            self.primary.end_state(vec![3], Duration::ZERO);
        }
        self.backup.handle_taken(now);
        self.log();
        while self.primary.poll_transmit().is_some() || self.backup.poll_transmit().is_some() {}
        while self.backup.poll_feed().is_some() || self.backup.poll_mirror().is_some() {}
        while self.primary.poll_input().is_some() {}
        while self.primary.poll_release().is_some() {}
        while self.primary.poll_event().is_some() || self.backup.poll_event().is_some() {}
        let _ = (self.primary.poll_timeout(), self.backup.poll_timeout(), self.primary.lag(now));
    }
}
