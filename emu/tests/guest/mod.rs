//! A guest of hand-assembled code for the tests of system behaviour.

#![allow(dead_code, clippy::unwrap_used, clippy::cast_possible_truncation, reason = "a test panics when it fails")]

mod closed;

pub(crate) use closed::Closed;
use emu::{ClockMode, CpuModel, CpuState, Machine, MachineConfig, MachineState, Position, Stop, Table, Until};

pub(crate) const CODE: u64 = 0x1_0000;
pub(crate) const HANDLER: u64 = 0x1_1000;
pub(crate) const IDT: u64 = 0x1_2000;
pub(crate) const STACK: u64 = 0x1_8000;
pub(crate) const TSS_BASE: u64 = 0x1_9000;
pub(crate) const RING0: u64 = 0x1_a000;
/// Addresses from here are mapped by the 4 KiB entries at `PAGES`.
pub(crate) const WINDOW: u64 = 0x20_0000;
pub(crate) const PAGES: u64 = 0x1_b000;
pub(crate) const FRAME: u64 = 0x2_0000;

pub(crate) const PF: u64 = 14;
pub(crate) const DF: u64 = 8;

/// A machine with 2 MiB identity-mapped for everyone, a window of small pages, and handlers that halt.
pub(crate) struct Guest {
    pub(crate) machine: Machine,
    pub(crate) state: MachineState,
}

impl Guest {
    pub(crate) fn new(code: &[u8]) -> Self {
        Self::with_model(code, CpuModel::V3)
    }

    pub(crate) fn with_model(code: &[u8], cpu: CpuModel) -> Self {
        let config = MachineConfig {
            memory_bytes: 4 << 20,
            clock: ClockMode::Host,
            epoch_s: 0,
            cpu,
            devices: Default::default(),
        };
        let machine = Machine::new(config).unwrap();
        let mut state = machine.state();
        state.cpu = CpuState::handed_off(CODE);
        state.cpu.gpr[4] = STACK;
        state.cpu.idtr = Table { base: IDT, limit: 0xfff };
        state.cpu.msr.efer |= 1 << 11;
        let mut guest = Self { machine, state };
        guest.write(CODE, code);
        guest.write(HANDLER, &[0xf4]);
        guest.words(0x1000, &[0x2007]);
        guest.words(0x2000, &[0x3007]);
        guest.words(0x3000, &[0x87, PAGES | 7]);
        guest.words(0x7000, &[0, 0x00af_9b00_0000_ffff, 0x00cf_9300_0000_ffff]);
        guest.words(0x7018, &[0x00cf_f300_0000_ffff, 0x00af_fb00_0000_ffff]);
        guest
    }

    pub(crate) fn write(&mut self, at: u64, data: &[u8]) {
        let (pfn, start) = (u32::try_from(at >> 12).unwrap(), (at & 0xfff) as usize);
        let (here, rest) = data.split_at(data.len().min(4096 - start));
        let mut page = *self.machine.page(pfn);
        page[start..start + here.len()].copy_from_slice(here);
        self.machine.write_page(pfn, &page);
        if !rest.is_empty() {
            self.write(at + here.len() as u64, rest);
        }
    }

    pub(crate) fn words(&mut self, at: u64, words: &[u64]) {
        let bytes: Vec<u8> = words.iter().flat_map(|w| w.to_le_bytes()).collect();
        self.write(at, &bytes);
    }

    pub(crate) fn read(&self, at: u64, bytes: usize) -> Vec<u8> {
        self.machine.page(u32::try_from(at >> 12).unwrap())[(at & 0xfff) as usize..][..bytes].to_vec()
    }

    pub(crate) fn word(&self, at: u64) -> u64 {
        u64::from_le_bytes(self.read(at, 8).try_into().unwrap())
    }

    /// An interrupt gate to `HANDLER`.
    pub(crate) fn gate(&mut self, vector: u64, ist: u64) {
        self.any_gate(vector, HANDLER, ist, 0x8e);
    }

    /// An interrupt gate to `handler`, for everyone.
    pub(crate) fn gate_to(&mut self, vector: u64, handler: u64) {
        self.any_gate(vector, handler, 0, 0xee);
    }

    fn any_gate(&mut self, vector: u64, handler: u64, ist: u64, kind: u64) {
        let low = handler & 0xffff | 0x08 << 16 | ist << 32 | kind << 40 | (handler >> 16) << 48;
        self.words(IDT + 16 * vector, &[low, 0]);
    }

    /// The same machine, made anew from what is saved of it.
    pub(crate) fn moved(&self) -> Machine {
        let mut other = Machine::restore(*self.machine.config(), &self.machine.state()).unwrap();
        for pfn in self.machine.used_pages() {
            other.write_page(pfn, self.machine.page(pfn));
        }
        other
    }

    pub(crate) fn enter_ring3(&mut self) {
        let cpu = &mut self.state.cpu;
        cpu.seg[1] = emu::Segment { selector: 0x23, base: 0, limit: u32::MAX, rights: 0xa0fb };
        cpu.seg[2] = emu::Segment { selector: 0x1b, base: 0, limit: u32::MAX, rights: 0xc0f3 };
        cpu.tr = emu::Segment { selector: 0x28, base: TSS_BASE, limit: 103, rights: 0x8b };
        self.words(TSS_BASE + 4, &[RING0]);
    }

    pub(crate) fn start(&mut self) {
        self.machine.set_state(&self.state);
    }

    pub(crate) fn run(&mut self) -> Stop {
        self.start();
        self.machine.run(Until::About(1000), &mut Closed)
    }

    pub(crate) fn to(&mut self, retired: u64, steps: u64) -> CpuState {
        assert_eq!(self.machine.run(Until::Exactly(Position { retired, steps }), &mut Closed), Stop::Limit);
        assert_eq!(self.machine.position(), Position { retired, steps });
        self.machine.state().cpu
    }
}
