//! Guests made of bytes that do to the hardware what no driver would: the bytes say which accesses, which rings, which inputs.
//!
//! Whatever they do, nothing panics, and stops and moves to fresh machines on the way cannot be seen.

use std::ops::ControlFlow;
use std::sync::Arc;

use super::dice::Dice;
use emu::{
    ClockMode, ConsolePort, Control, CpuModel, CpuState, Devices, DiskConfig, DiskMode, Door, Images, Input, Machine,
    MachineConfig, MachineState, Output, Position, Query, Stop, Table, Until,
};

const CODE: u64 = 0x1_0000;
const CODE_BYTES_MAX: usize = 0x3_0000;
const HANDLER: u64 = 0x4_0000;
const IDT: u64 = 0x4_1000;
/// Of each queue: descriptors, available ring, used ring.
const RINGS: u64 = 0x5_0000;
const RING_SIZE: u64 = 8;
const DISK_BYTES: usize = 1 << 16;
/// Slots on the bus with something in them, mostly.
const SLOTS: u8 = 8;

/// Where buffers and rings can be: RAM, its end, code, page tables, rings, devices, nothing.
const PLACES: [u64; 12] = [
    0x8_0000,
    0x8_1000,
    0x8_2ff8,
    0xf_fff0,
    CODE,
    HANDLER,
    0x2000,
    RINGS,
    0xfe01_0000,
    0xfee0_0000,
    0x10_0000,
    u64::MAX - 7,
];
/// Slot and queue: console, entropy, network, disks, none.
const QUEUES: [(u8, u8); 12] =
    [(1, 0), (1, 1), (1, 1), (2, 0), (3, 0), (3, 0), (3, 1), (4, 0), (5, 0), (6, 0), (7, 0), (4, 1)];
const PORTS: [u16; 12] = [0xcf8, 0xcfc, 0xcfe, 0x20, 0x21, 0x43, 0x40, 0x70, 0x71, 0x3f8, 0x60, 0x64];
/// Offsets in the bar of a virtio function: the common configuration, interrupt status, configuration, doorbells.
const REGISTERS: [u64; 16] =
    [0x00, 0x08, 0x0c, 0x10, 0x14, 0x16, 0x18, 0x1a, 0x1c, 0x20, 0x3a, 0x1000, 0x2000, 0x2008, 0x3000, 0x3004];

/// Answers from the position alone; keeps what leaves.
#[derive(Default)]
struct Witness(Vec<(Position, u64, Option<Output>)>);

impl Door for Witness {
    fn query(&mut self, at: Position, query: Query) -> Option<u64> {
        let word = at.retired.wrapping_mul(977) + at.steps;
        Some(if query == Query::Clock { word } else { word.wrapping_mul(0x9e37_79b9_7f4a_7c15) })
    }
    fn output(&mut self, at: Position, number: u64, output: Output) -> ControlFlow<()> {
        self.0.push((at, number, Some(output)));
        ControlFlow::Continue(())
    }
    fn interrupt(&mut self, at: Position, vector: u8) -> ControlFlow<()> {
        self.0.push((at, vector.into(), None));
        ControlFlow::Continue(())
    }
}

/// Takes bytes off the front, zeros when there are none left.
struct Script<'d>(&'d [u8]);

impl Script<'_> {
    fn byte(&mut self) -> u8 {
        let (first, rest) = self.0.split_first().unwrap_or((&0, &[]));
        self.0 = rest;
        *first
    }
    fn word(&mut self) -> u64 {
        let byte = self.byte();
        match byte & 3 {
            0 => u64::from(byte >> 2),
            1 => u64::from(self.byte()) << (byte >> 2 & 31),
            2 => PLACES[usize::from(byte >> 2) % PLACES.len()],
            _ => u64::from_le_bytes(std::array::from_fn(|_| self.byte())),
        }
    }
    fn one_of<T: Copy>(&mut self, of: &[T]) -> T {
        of[usize::from(self.byte()) % of.len()]
    }
}

/// Straight code, and what arrives while it runs.
#[derive(Default)]
struct Guest {
    code: Vec<u8>,
    instructions: u64,
    inputs: Vec<(u64, Input)>,
    /// Buffers made available, of each ring.
    available: [u16; 32],
    console_seq: u64,
}

impl Guest {
    fn emit(&mut self, parts: &[&[u8]]) {
        parts.iter().for_each(|part| self.code.extend_from_slice(part));
        self.instructions += 1;
    }

    fn load(&mut self, value: u64) {
        self.emit(&[&[0x48, 0xb8], &value.to_le_bytes()]);
    }

    /// OUT, of 1, 2 or 4 bytes.
    fn out(&mut self, port: u16, log: u8, value: u32) {
        self.load(value.into());
        self.emit(&[&[0x66, 0xba], &port.to_le_bytes()]);
        self.emit(&[[&[0xee][..], &[0x66, 0xef], &[0xef]][usize::from(log % 3)]]);
    }

    fn input(&mut self, port: u16, log: u8) {
        self.emit(&[&[0x66, 0xba], &port.to_le_bytes()]);
        self.emit(&[[&[0xec][..], &[0x66, 0xed], &[0xed]][usize::from(log % 3)]]);
    }

    /// A store of 1, 2, 4, 8 or 16 bytes, or of several words in turn.
    fn store(&mut self, at: u64, log: u8, value: u64) {
        self.load(value);
        self.emit(&[&[0x48, 0xbf], &at.to_le_bytes()]);
        if log % 6 == 5 {
            self.emit(&[&[0xb9, 3, 0, 0, 0]]);
        }
        let stores = [&[0x88, 7][..], &[0x66, 0x89, 7], &[0x89, 7], &[0x48, 0x89, 7], &[0x0f, 0x11, 7], &[0xf3, 0xab]];
        self.emit(&[stores[usize::from(log % 6)]]);
    }

    fn fetch(&mut self, at: u64, log: u8) {
        self.emit(&[&[0x48, 0xbf], &at.to_le_bytes()]);
        let loads =
            [&[0x8a, 7][..], &[0x66, 0x8b, 7], &[0x8b, 7], &[0x48, 0x8b, 7], &[0x0f, 0x10, 7], &[0xf0, 0xff, 7]];
        self.emit(&[loads[usize::from(log % 6)]]);
    }

    /// Writes a register of configuration space.
    fn configure(&mut self, slot: u8, register: u8, log: u8, value: u32) {
        self.out(0xcf8, 2, 0x8000_0000 | u32::from(slot) << 11 | u32::from(register & !3));
        self.out(0xcfc + u16::from(register & 3), log, value);
    }

    /// Brings a device up as a driver does, with some of its features.
    fn start(&mut self, slot: u8, features: u32) {
        let bar = bar(slot);
        self.configure(slot, 4, 1, 6);
        for (offset, log, value) in [
            (0x14, 0, 0),
            (0x14, 0, 3),
            (8, 2, 0),
            (0xc, 2, features & 0x3000_0005),
            (8, 2, 1),
            (0xc, 2, 1),
            (0x14, 0, 11),
        ] {
            self.store(bar + offset, log, value.into());
        }
        for queue in 0..3 {
            self.store(bar + 0x16, 1, queue);
            self.store(bar + 0x18, 1, RING_SIZE);
            for ring in 0..3 {
                self.store(bar + 0x20 + 8 * ring, 3, rings(slot, queue as u8) + 0x100 * ring);
            }
            self.store(bar + 0x1a, 1, queue);
            self.store(bar + 0x1c, 1, 1);
        }
        self.store(bar + 0x14, 0, 15);
    }

    /// Interrupts by messages: a vector of the table, and all of them on.
    fn messages(&mut self, slot: u8, vector: u8, data: u32) {
        let entry = bar(slot) + 0x4000 + 16 * u64::from(vector);
        self.store(entry, 3, 0xfee0_0000);
        self.store(entry + 8, 3, (data & 0x40ff).into());
        self.configure(slot, 0x42, 1, 0x8000);
    }

    /// Makes a chain of descriptors available and rings the doorbell. Of each: address, size, flags; the next one.
    fn chain(&mut self, (slot, queue): (u8, u8), spans: &[(u64, u64, u64)], odd: u8) {
        let table = rings(slot, queue);
        let index = &mut self.available[usize::from(slot * 4 + queue)];
        let place = u64::from(*index) % RING_SIZE;
        *index = index.wrapping_add(if odd == 0xff { 100 } else { 1 });
        let count = *index;
        for (n, &(address, size, flags)) in (0..).zip(spans) {
            let more = u64::from(n + 1 < spans.len() as u64);
            let next = if odd == n as u8 + 1 { place } else { (place + n + 1) % RING_SIZE };
            let at = table + 16 * ((place + n) % RING_SIZE);
            self.store(at, 3, address);
            self.store(at + 8, 3, size | (flags | more) << 32 | next << 48);
        }
        self.store(table + 0x104 + 2 * place, 1, place);
        self.store(table + 0x102, 1, count.into());
        self.store(bar(slot) + 0x3000 + 4 * u64::from(queue), 1, queue.into());
    }

    /// Any chain for any queue, mostly one that makes sense.
    fn offer(&mut self, script: &mut Script<'_>) {
        let queue = script.one_of(&QUEUES);
        let (length, writable) = (1 + script.byte() % 4, script.byte() % 4);
        let span = |n| {
            let odd = script.byte() & 0x1f;
            let address = if odd == 1 { script.word() } else { script.one_of(&PLACES[..8]) };
            let size = script.word() & if odd == 2 { u64::from(u32::MAX) } else { 0x7ff };
            (address, size, u64::from((n >= writable) ^ (odd == 3)) << 1 | u64::from(odd == 4) << 2)
        };
        let spans: Vec<_> = (0..length).map(span).collect();
        self.chain(queue, &spans, script.byte());
    }

    /// A disk request, mostly one that can be done.
    fn request(&mut self, script: &mut Script<'_>) {
        const HEADER: u64 = 0x9_0000;
        let kind = script.one_of(&[0, 1, 1, 1, 4, 4, 8, 11, 13, 99]);
        let (sector, sectors) = (u64::from(script.byte() & 0x7f), u64::from(script.byte() % 20));
        self.store(HEADER, 3, kind);
        self.store(HEADER + 8, 3, if script.byte() == 0 { u64::MAX } else { sector });
        let direction = if matches!(kind, 0 | 8) { 2 } else { 0 };
        let data = (script.one_of(&PLACES[..5]), if kind == 4 { 0 } else { 512 * sectors }, direction);
        let status = (HEADER + 64, 1, 2);
        let spans = [(HEADER, 16, 0), data, status];
        let spans = if kind == 4 { vec![spans[0], status] } else { spans.to_vec() };
        self.chain((4 + script.byte() % 3, 0), &spans, script.byte());
    }

    fn arrives(&mut self, script: &mut Script<'_>) {
        let input = match script.byte() % 8 {
            0 | 1 => {
                self.console_seq += 1;
                let bytes = vec![script.byte(); script.byte().into()];
                Input::Console { client: 1, seq: self.console_seq, bytes }
            }
            2 => Input::ConsoleSize { columns: script.byte().into(), rows: script.byte().into() },
            3 | 4 => Input::Frame { bytes: vec![script.byte(); usize::from(script.byte()) * 7] },
            5 => Input::Flushed { disk: script.byte() % 4, flush: script.byte().into() },
            6 => Input::Control(script.one_of(&[Control::PowerButton, Control::CtrlAltDel])),
            _ => Input::Clock { ns: script.word() >> 20 },
        };
        self.inputs.push((self.instructions, input));
    }

    fn act(&mut self, script: &mut Script<'_>) {
        match script.byte() % 16 {
            0 => {
                let (port, log) = (script.one_of(&PORTS), script.byte());
                self.out(port, log, script.word() as u32);
            }
            1 => {
                let port = script.one_of(&PORTS);
                self.input(port, script.byte());
            }
            2 | 3 => {
                let at = bar(script.byte() % SLOTS) + script.one_of(&REGISTERS);
                let log = script.byte();
                self.store(at, log, script.word());
            }
            4 => {
                let at = bar(script.byte() % SLOTS) + script.one_of(&REGISTERS);
                self.fetch(at, script.byte());
            }
            5 => {
                let at = script.one_of(&[0xfee0_0000, 0xfec0_0000, bar(1) + 0x4000]) + (script.word() & 0xfff);
                let log = script.byte();
                self.store(at, log, script.word());
            }
            6 => {
                let at = script.word();
                self.fetch(at & 0xffff_ffff, script.byte());
            }
            7 => {
                let (slot, register, log) = (script.byte() % SLOTS, script.byte(), script.byte());
                self.configure(slot, register, log, script.word() as u32);
            }
            8 => self.start(script.byte() % SLOTS, script.word() as u32),
            9 => self.messages(script.byte() % SLOTS, script.byte() % 4, script.word() as u32),
            10 => self.emit(&[&[0xfb]]),
            11 => self.request(script),
            12 => self.arrives(script),
            _ => self.offer(script),
        }
    }
}

fn bar(slot: u8) -> u64 {
    0xfe00_0000 + 0x1_0000 * u64::from(slot)
}

fn rings(slot: u8, queue: u8) -> u64 {
    RINGS + 0x1000 * u64::from(slot * 4 + queue)
}

fn config(choice: u8) -> MachineConfig {
    let disk = |mode| Some(DiskConfig { bytes: DISK_BYTES as u64, mode, digest: 0 });
    let console = if choice & 1 == 0 { ConsolePort::Virtio } else { ConsolePort::Serial };
    let disks = [disk(DiskMode::WriteThrough), disk(DiskMode::Overlay), disk(DiskMode::ReadOnly), None];
    MachineConfig {
        memory_bytes: 1 << 20,
        clock: if choice & 2 == 0 { ClockMode::Derived } else { ClockMode::Host },
        epoch_s: 0,
        cpu: CpuModel::V3,
        devices: Devices { disks, net: Some([2, 0, 0, 0, 0, 1]), console, entropy: true },
    }
}

fn images() -> Images {
    std::array::from_fn(|n| (n < 3).then(|| Arc::new(vec![n as u8 + 1; DISK_BYTES]) as Arc<_>))
}

/// All of 4 GiB identity-mapped; all vectors lead to a handler that acknowledges everywhere.
fn machine(config: MachineConfig, code: &[u8]) -> Machine {
    let mut machine = Machine::with_images(config, images()).unwrap();
    let mut ram = vec![0; 1 << 20];
    let mut put = |at: u64, bytes: &[u8]| ram[at as usize..at as usize + bytes.len()].copy_from_slice(bytes);
    put(0x1000, &0x2007u64.to_le_bytes());
    for n in 0..4 {
        put(0x2000 + 8 * n, &(0x3007 + 0x1000 * n).to_le_bytes());
        (0..512).for_each(|m| put(0x3000 + 0x1000 * n + 8 * m, &(n << 30 | m << 21 | 0x87).to_le_bytes()));
    }
    for (n, descriptor) in [0u64, 0x00af_9b00_0000_ffff, 0x00cf_9300_0000_ffff].into_iter().enumerate() {
        put(0x7000 + 8 * n as u64, &descriptor.to_le_bytes());
    }
    for vector in 0..256 {
        put(IDT + 16 * vector, &(HANDLER & 0xffff | 0x08 << 16 | 0x8e << 40 | (HANDLER >> 16) << 48).to_le_bytes());
    }
    // PUSH RAX; MOV EAX, 0xFEE000B0; MOV DWORD [RAX], 0; MOV AL, 0x20; OUT 0x20, AL; OUT 0xA0, AL; POP RAX; IRETQ
    put(HANDLER, &[0x50, 0xb8, 0xb0, 0x00, 0xe0, 0xfe, 0xc7, 0x00, 0, 0, 0, 0, 0xb0, 0x20, 0xe6, 0x20, 0xe6, 0xa0]);
    put(HANDLER + 18, &[0x58, 0x48, 0xcf]);
    put(CODE, &code[..code.len().min(CODE_BYTES_MAX)]);
    for (pfn, page) in (0..).zip(ram.chunks_exact(4096)).filter(|(_, page)| page.iter().any(|&byte| byte != 0)) {
        machine.write_page(pfn, page.try_into().unwrap());
    }
    let mut state: MachineState = machine.state();
    state.cpu = CpuState::handed_off(CODE);
    state.cpu.idtr = Table { base: IDT, limit: 0xfff };
    machine.set_state(&state);
    machine
}

/// The same machine, made anew from what is saved of it.
fn moved(machine: &Machine) -> Machine {
    let mut other = Machine::restore_with_images(*machine.config(), images(), &machine.state()).unwrap();
    machine.used_pages().for_each(|pfn| other.write_page(pfn, machine.page(pfn)));
    other
}

/// Runs up to `end`; with dice, with stops and moves on the way.
fn run(machine: &mut Machine, end: u64, door: &mut Witness, dice: &mut Option<Dice>) {
    loop {
        let at = machine.position();
        let mut until = Position::at(end);
        if let Some(dice) = dice {
            if dice.below(200) == 0 {
                *machine = moved(machine);
            }
            let steps = if dice.below(2) == 0 { 1 } else { dice.below(100) };
            let retired = if dice.below(2) == 0 { 0 } else { dice.below(30) };
            until = until.min(Position { retired: at.retired + retired, steps: at.steps + steps });
        }
        match machine.run(Until::Exactly(until), door) {
            Stop::Limit if machine.position() < Position::at(end) => {}
            Stop::Limit | Stop::Halted | Stop::Off(_) => return,
            Stop::Starved | Stop::Door => unreachable!("this door answers"),
        }
    }
}

/// What a guest made of `data` has got to, twice: straight, and with stops and moves.
pub(crate) fn survives(data: &[u8]) -> usize {
    let mut script = Script(data);
    let (mut guest, config) = (Guest::default(), config(script.byte()));
    if script.byte() & 3 != 0 {
        let features = script.word() as u32;
        (1..SLOTS).for_each(|slot| guest.start(slot, features));
    }
    if script.byte() & 1 != 0 {
        (1..SLOTS).for_each(|slot| guest.messages(slot, slot & 1, 0x50 + u32::from(slot)));
        guest.emit(&[&[0xfb]]);
    }
    while !script.0.is_empty() && guest.code.len() < CODE_BYTES_MAX / 2 {
        guest.act(&mut script);
    }
    // PAUSE; JMP back: whatever still comes finds it here.
    guest.emit(&[&[0xf3, 0x90, 0xeb, 0xfc]]);
    let end = guest.instructions + 500;
    guest.inputs.push((end, Input::Clock { ns: 1 << 20 }));
    let mut outcomes = [None, Some(Dice(data.len() as u64))].map(|mut dice| {
        let (mut machine, mut door) = (machine(config, &guest.code), Witness::default());
        for (at, input) in &guest.inputs {
            run(&mut machine, *at, &mut door, &mut dice);
            machine.deliver(input);
        }
        run(&mut machine, end + 100, &mut door, &mut dice);
        let copy = moved(&machine);
        assert_eq!(copy.state(), machine.state(), "a state survives its own restoration");
        (machine.state(), machine.ram_digest(), door.0)
    });
    let [straight, stopped] = &mut outcomes;
    assert!(straight.2 == stopped.2, "stops cannot be seen in what leaves");
    assert_eq!(straight.0, stopped.0, "stops on the way cannot be seen");
    assert_eq!(straight.1, stopped.1, "stops on the way cannot be seen in memory");
    straight.2.len()
}
