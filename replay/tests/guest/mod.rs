//! Guests small enough to be written as machine code, and a world for them whose clock and dice come from a seed.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its part")]
#![allow(clippy::cast_possible_truncation, reason = "small numbers")]

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use emu::{ClockMode, CpuModel, Door, Input, Machine, MachineConfig, Output, Position, Power, Query, Stop, Until};
use replay::log::EntriesSegment;
use replay::{Entry, Live, Recorder, Segment, decode_segment};

pub const CODE_AT: u64 = 0x10_0000;
pub const CONSOLE: u16 = 0x3f8;
pub const CONSOLE_STATUS: u16 = 0x3fd;
pub const EXIT: u16 = 0x500;

/// Machine code under construction.
#[derive(Default)]
pub struct Code(pub Vec<u8>);

impl Code {
    pub fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.extend(bytes);
        self
    }

    /// `mov edx, port`
    pub fn port(&mut self, port: u16) -> &mut Self {
        self.bytes(&[0xba]).bytes(&u32::from(port).to_le_bytes())
    }

    /// `mov al, value; out dx, al` after `mov edx, port`
    pub fn out(&mut self, port: u16, value: u8) -> &mut Self {
        self.port(port).bytes(&[0xb0, value, 0xee])
    }

    /// Sends AL, made printable.
    pub fn print_al(&mut self) -> &mut Self {
        self.bytes(&[0x24, 0x3f, 0x04, 0x20]).port(CONSOLE).bytes(&[0xee])
    }

    /// A static ELF64 with this code at [`CODE_AT`], entered at its first byte.
    pub fn elf(&self) -> Vec<u8> {
        let mut elf = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
        elf.extend([2, 0, 62, 0, 1, 0, 0, 0]); // ET_EXEC, x86-64, version 1
        elf.extend(CODE_AT.to_le_bytes()); // entry
        elf.extend(64_u64.to_le_bytes()); // program headers
        elf.extend([0; 12]); // no sections, no flags
        elf.extend([64, 0, 56, 0, 1, 0, 64, 0, 0, 0, 0, 0]); // sizes and counts
        elf.extend([1, 0, 0, 0, 7, 0, 0, 0]); // PT_LOAD, RWX
        let len = self.0.len() as u64;
        for field in [0x1000, CODE_AT, CODE_AT, len, len, 0x1000] {
            elf.extend(field.to_le_bytes());
        }
        elf.resize(0x1000, 0);
        elf.extend(&self.0);
        elf
    }
}

/// Reads the clock, rolls dice, echoes what is typed and prints, `rounds` times; then switches off with exit code 7.
pub fn talker(rounds: u32) -> Vec<u8> {
    let mut code = Code::default();
    code.bytes(&[0xb9]).bytes(&rounds.to_le_bytes()); // mov ecx, rounds
    let again = code.0.len();
    code.bytes(&[0x0f, 0x31]).print_al(); // rdtsc
    code.bytes(&[0x0f, 0xc7, 0xf0]).print_al(); // rdrand eax
    code.port(CONSOLE_STATUS).bytes(&[0xec, 0xa8, 1, 0x74, 7]); // in al, dx; test al, 1; jz +7
    code.port(CONSOLE).bytes(&[0xec, 0xee]); // in al, dx; out dx, al
    code.bytes(&[0xff, 0xc9, 0x75]); // dec ecx; jnz again
    let back = again as i64 - (code.0.len() as i64 + 1);
    code.bytes(&[back as i8 as u8]);
    code.out(EXIT, 7).bytes(&[0xf4, 0xeb, 0xfd]); // hlt; jmp to it
    code.elf()
}

/// Takes timer interrupts, each of which reads the clock and prints: `rounds` of them asleep, or as many as come while it
/// counts `rounds` down. Then switches off with exit code 3.
pub fn ticker(rounds: u32, asleep: bool) -> Vec<u8> {
    const TABLE_AT: usize = 0x1000;
    const HANDLER_AT: usize = 0x200;
    const TIMER_VECTOR: u8 = 0x20;
    let mut code = Code::default();
    let register = (CODE_AT as usize + TABLE_AT) as u32;
    code.bytes(&[0x0f, 0x01, 0x1c, 0x25]).bytes(&register.to_le_bytes()); // lidt [register]
    for (port, value) in [(0x20, 0x11), (0x21, TIMER_VECTOR), (0x21, 4), (0x21, 1), (0x21, 0xfe)] {
        code.out(port, value); // 8259: edge, cascaded, vectors, 8086 mode, all but IRQ 0 masked
    }
    for (port, value) in [(0x43, 0x34), (0x40, 119), (0x40, 0)] {
        code.out(port, value); // 8254: channel 0, rate generator, about 100 us
    }
    code.bytes(&[0xb9]).bytes(&rounds.to_le_bytes()); // mov ecx, rounds
    match asleep {
        true => code.bytes(&[0xfb, 0xf4, 0xff, 0xc9, 0x75, 0xfa]), // sti; hlt; dec ecx; jnz sti
        false => code.bytes(&[0xfb, 0xff, 0xc9, 0x75, 0xfc]),      // sti; dec ecx; jnz dec
    };
    code.bytes(&[0xfa]).out(EXIT, 3); // cli
    assert!(code.0.len() <= HANDLER_AT);
    code.0.resize(HANDLER_AT, 0x90);
    code.bytes(&[0x0f, 0x31]).print_al().out(0x20, 0x20).bytes(&[0x48, 0xcf]); // rdtsc; EOI; iretq
    code.0.resize(TABLE_AT, 0);
    let table = CODE_AT + TABLE_AT as u64 + 16;
    code.bytes(&[0xff, 0x0f]).bytes(&table.to_le_bytes());
    code.0.resize(TABLE_AT + 16 + 16 * usize::from(TIMER_VECTOR), 0);
    let handler = (CODE_AT as usize + HANDLER_AT).to_le_bytes();
    code.bytes(&handler[..2]).bytes(&[8, 0, 0, 0x8e]).bytes(&handler[2..8]).bytes(&[0; 4]);
    code.0.resize(TABLE_AT + 0x2000, 0);
    code.elf()
}

/// A machine that is about to run `elf`, its clock as in the paper.
pub fn machine(elf: &[u8]) -> Machine {
    machine_with(ClockMode::Host, elf)
}

pub fn machine_with(clock: ClockMode, elf: &[u8]) -> Machine {
    let config = MachineConfig {
        memory_bytes: 2 << 20,
        clock,
        epoch_s: 1_000_000_000,
        cpu: CpuModel::V3,
        devices: Default::default(),
    };
    let mut machine = Machine::new(config).unwrap();
    machine.load_elf(elf, "").unwrap();
    machine
}

pub fn next_random(seed: &mut u64) -> u64 {
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    *seed
}

/// A world from a seed, which keeps what leaves the machine.
#[derive(Debug)]
pub struct World {
    pub seed: u64,
    pub ns: u64,
    /// The clock goes on by less than this at each look.
    pub step_ns: u64,
    /// Number, output, number of the entry.
    pub outputs: Vec<(u64, Output, u64)>,
}

impl World {
    pub fn new(seed: u64) -> Self {
        Self { seed, ns: 0, step_ns: 200, outputs: Vec::new() }
    }
}

impl Live for World {
    fn clock_ns(&mut self) -> u64 {
        self.ns += next_random(&mut self.seed) % self.step_ns;
        self.ns
    }

    fn random(&mut self) -> u64 {
        next_random(&mut self.seed)
    }

    fn output(&mut self, number: u64, output: Output, entry: u64) -> ControlFlow<()> {
        self.outputs.push((number, output, entry));
        ControlFlow::Continue(())
    }
}

/// A run that was recorded.
pub struct Recorded {
    pub segments: Vec<EntriesSegment>,
    pub outputs: Vec<(u64, Output, u64)>,
    pub digest: u128,
    pub at: Position,
    pub power: Power,
}

impl Recorded {
    pub fn entries(&self) -> Vec<Entry> {
        self.segments.iter().flat_map(|segment| segment.entries.clone()).collect()
    }
}

/// Segments through their bytes and back.
pub fn drain<L: Live>(recorder: &mut Recorder<L>) -> Vec<EntriesSegment> {
    recorder.flush();
    std::iter::from_fn(|| recorder.poll_segment())
        .map(|plain| {
            let encoded = plain.encode();
            match decode_segment(&encoded.bytes).unwrap().0 {
                Segment::Entries(segment) => {
                    assert_eq!((segment.first, segment.last()), (encoded.first, encoded.last));
                    segment
                }
                other => panic!("{other:?}"),
            }
        })
        .collect()
}

/// Runs `machine` to its end in slices of random length, with typing, clock inputs, digests, watermarks and flushes in between.
pub fn record(machine: &mut Machine, seed: u64) -> Recorded {
    record_in(machine, World::new(seed))
}

/// The same in a given world.
pub fn record_in(machine: &mut Machine, world: World) -> Recorded {
    let seed = world.seed;
    let mut recorder = Recorder::new(world, machine, 1);
    let (mut dice, mut segments, mut typed, mut answers) = (seed ^ 0x5555, Vec::new(), 0, BTreeMap::new());
    let power = loop {
        let slice = 1 + next_random(&mut dice) % 60;
        let limit = machine.position().retired + slice;
        let until = match next_random(&mut dice) % 2 {
            0 => Until::Exactly(Position::at(limit)),
            _ => Until::About(limit),
        };
        match machine.run(until, &mut Placing { recorder: &mut recorder, answers: &mut answers }) {
            Stop::Off(power) => break power,
            Stop::Halted => sleep(machine, &mut recorder),
            Stop::Limit | Stop::Door => {}
            Stop::Starved => panic!("a live machine starved"),
        }
        match next_random(&mut dice) % 8 {
            0 => {
                typed += 1;
                let bytes = vec![b'a' + (typed % 26) as u8; 1 + typed as usize % 3];
                recorder.deliver(machine, Input::Console { client: 9, seq: typed, bytes });
            }
            1 | 2 => {
                let ns = recorder.live.clock_ns();
                recorder.deliver(machine, Input::Clock { ns });
            }
            3 => drop(recorder.digest(machine)),
            4 => recorder.watermark(machine),
            5 => segments.extend(drain(&mut recorder)),
            _ => {}
        }
    };
    recorder.digest(machine);
    segments.extend(drain(&mut recorder));
    let totals = recorder.totals(machine);
    assert_eq!(totals.entries, segments.last().unwrap().last());
    place(&mut segments, &answers);
    let outputs = recorder.live.outputs;
    assert_eq!(totals.outputs, outputs.len() as u64);
    Recorded { segments, outputs, digest: replay::machine_digest(machine), at: machine.position(), power }
}

/// A recorder that tells where clocks were asked for, which its log does not hold.
struct Placing<'a> {
    recorder: &'a mut Recorder<World>,
    /// Where, by the number of the entry.
    answers: &'a mut BTreeMap<u64, Position>,
}

impl Door for Placing<'_> {
    fn query(&mut self, at: Position, query: Query) -> Option<u64> {
        self.answers.insert(self.recorder.next_entry(), at);
        self.recorder.query(at, query)
    }

    fn output(&mut self, at: Position, number: u64, output: Output) -> ControlFlow<()> {
        self.recorder.output(at, number, output)
    }

    fn interrupt(&mut self, at: Position, vector: u8) -> ControlFlow<()> {
        self.recorder.interrupt(at, vector)
    }
}

/// Gives every answer its place, so that a test can cut the log anywhere.
fn place(segments: &mut [EntriesSegment], answers: &BTreeMap<u64, Position>) {
    for segment in segments {
        let (first, last) = (segment.first, segment.last());
        for (&number, &at) in answers.range(first..=last) {
            let known = &mut segment.entries[usize::try_from(number - first).unwrap()].at;
            let exact = number == last;
            assert!(if exact { *known == at } else { *known <= at }, "answer {number} at {at}, in the log at {known}");
            *known = at;
        }
    }
}

/// A halted machine wakes at its next deadline.
pub fn sleep(machine: &mut Machine, recorder: &mut Recorder<World>) {
    if let Some(ns) = machine.next_deadline_ns() {
        recorder.live.ns = recorder.live.ns.max(ns);
        recorder.deliver(machine, Input::Clock { ns: recorder.live.ns });
    }
}
