//! Guests of every mode, and what came of them.

pub(crate) use crate::closed::Closed;
use emu::{ClockMode, CpuModel, CpuState, Machine, MachineConfig, Position, Power, Segment, Stop, Table, Until};

pub(crate) const TSS: u64 = 0x5000;
pub(crate) const IDT: u64 = 0x6000;
pub(crate) const GDT: u64 = 0x7000;
pub(crate) const CODE: u64 = 0x1_0000;
/// Handler of vector `n` is a HLT at `HANDLERS + 16 * n`.
pub(crate) const HANDLERS: u64 = 0x1_1000;
pub(crate) const STACK: u64 = 0x1_8000;
/// Stack of ring 0, when the guest runs in ring 3.
pub(crate) const RING0: u64 = 0x1_a000;
pub(crate) const DATA: u64 = 0x2_0000;
pub(crate) const RAM: u64 = 8 << 20;

// Descriptors that all guests of protected mode have, by selector.
pub(crate) const CODE_32: u16 = 0x08;
pub(crate) const DATA_32: u16 = 0x10;
pub(crate) const CODE_64: u16 = 0x18;
pub(crate) const CODE_16: u16 = 0x20;
pub(crate) const DATA_16: u16 = 0x28;
pub(crate) const USER_CODE: u16 = 0x33;
pub(crate) const USER_DATA: u16 = 0x3b;
/// Base `DATA`, limit 0xfff.
pub(crate) const SMALL: u16 = 0x40;
/// The same, growing down from 4 GiB.
pub(crate) const DOWN: u16 = 0x48;
/// The same, growing down from 64 KiB.
pub(crate) const DOWN_16: u16 = 0x50;
pub(crate) const READ_ONLY: u16 = 0x58;
pub(crate) const EXECUTE_ONLY: u16 = 0x60;
pub(crate) const CONFORMING: u16 = 0x68;
pub(crate) const NOT_PRESENT: u16 = 0x70;
pub(crate) const LDT: u16 = 0x78;
pub(crate) const GATE: u16 = 0x80;
pub(crate) const TSS_FREE: u16 = 0x90;
pub(crate) const TABLE_LIMIT: u16 = 0x9f;

pub(crate) const DESCRIPTORS: [u64; 20] = [
    0,
    0x00cf_9b00_0000_ffff,
    0x00cf_9300_0000_ffff,
    0x00af_9b00_0000_ffff,
    0x0000_9b01_0000_ffff,
    0x0000_9301_0000_ffff,
    0x00cf_fb00_0000_ffff,
    0x00cf_f300_0000_ffff,
    0x0040_9302_0000_0fff,
    0x0040_9702_0000_0fff,
    0x0000_9702_0000_0fff,
    0x0040_9102_0000_0fff,
    0x0040_9902_0000_0fff,
    0x00cf_9f00_0000_ffff,
    0x0040_1302_0000_0fff,
    0x0000_8202_1000_0017,
    0,
    0,
    0x0000_8900_5000_0067,
    0,
];

pub(crate) const PE: u64 = 1;
pub(crate) const PG: u64 = 1 << 31;
pub(crate) const VM: u64 = 1 << 17;
pub(crate) const IF: u64 = 1 << 9;

pub(crate) struct Guest {
    pub(crate) machine: Machine,
    pub(crate) cpu: CpuState,
}

pub(crate) fn segment(selector: u16, base: u64, limit: u32, rights: u16) -> Segment {
    Segment { selector, base, limit, rights }
}

/// The registers' low halves.
pub(crate) fn low(value: u64) -> u32 {
    value as u32
}

impl Guest {
    /// 32-bit protected mode, flat, paging off, as PVH enters a kernel; all vectors lead to HLT.
    pub(crate) fn protected(code: &[u8]) -> Self {
        let config = MachineConfig {
            memory_bytes: RAM,
            clock: ClockMode::Host,
            epoch_s: 0,
            cpu: CpuModel::V3,
            devices: Default::default(),
        };
        let mut guest = Self { machine: Machine::new(config).unwrap(), cpu: CpuState::handed_off(CODE) };
        guest.write(CODE, code);
        guest.words(GDT, &DESCRIPTORS);
        for vector in 0..64 {
            guest.write(HANDLERS + 16 * vector, &[0xf4]);
            guest.gate(vector, 0x8e, CODE_32, HANDLERS + 16 * vector);
        }
        let cpu = &mut guest.cpu;
        (cpu.cr0, cpu.cr4, cpu.msr.efer) = (PE | 0x30, 0x600, 0);
        cpu.gpr[4] = STACK;
        cpu.seg = [segment(DATA_32, 0, u32::MAX, 0xc093); 6];
        cpu.seg[1] = segment(CODE_32, 0, u32::MAX, 0xc09b);
        cpu.gdtr = Table { base: GDT, limit: TABLE_LIMIT };
        cpu.idtr = Table { base: IDT, limit: 64 * 8 - 1 };
        cpu.tr = segment(0, TSS, 0x67, 0x8b);
        guest.write(TSS + 4, &(RING0 as u32).to_le_bytes());
        guest.write(TSS + 8, &DATA_32.to_le_bytes());
        guest.write(TSS + 102, &0x68u16.to_le_bytes()); // no ports
        guest
    }

    /// The same in ring 3.
    pub(crate) fn user(code: &[u8]) -> Self {
        let mut guest = Self::protected(code);
        guest.cpu.seg = [segment(USER_DATA, 0, u32::MAX, 0xc0f3); 6];
        guest.cpu.seg[1] = segment(USER_CODE, 0, u32::MAX, 0xc0fb);
        guest
    }

    /// Real mode: code at 1000:0000, data at 2000:0000, stack at 1800:0100, vectors at 0 to HLTs at 1100:16n.
    pub(crate) fn real(code: &[u8]) -> Self {
        let mut guest = Self::protected(code);
        let cpu = &mut guest.cpu;
        let real = |selector: u16| segment(selector, u64::from(selector) << 4, 0xffff, 0x93);
        cpu.cr0 = 0x30;
        cpu.rip = 0;
        cpu.gpr[4] = 0x100;
        cpu.seg = [real(0x2000); 6];
        (cpu.seg[1], cpu.seg[2]) = (real(0x1000), real(0x1800));
        cpu.idtr = Table { base: 0, limit: 0x3ff };
        for vector in 0..64u32 {
            guest.write(u64::from(vector) * 4, &(0x1100_0000 | vector * 16).to_le_bytes());
        }
        guest
    }

    /// Compatibility mode in ring 3 under a 64-bit kernel.
    pub(crate) fn compat(code: &[u8]) -> Self {
        let mut guest = Self::user(code);
        guest.cpu.cr0 |= PG;
        guest.cpu.cr4 |= 0x20;
        guest.cpu.msr.efer = 0xd01;
        guest.cpu.cr3 = 0x1000;
        guest.words(0x1000, &[0x2007]);
        guest.words(0x2000, &[0x3007]);
        guest.words(0x3000, &[0x87, 0x20_0087, 0x40_0087]);
        for vector in 0..64 {
            let to = HANDLERS + 16 * vector;
            let gate = to & 0xffff | u64::from(CODE_64) << 16 | 0xee << 40 | (to >> 16) << 48;
            guest.words(IDT + 16 * vector, &[gate, 0]);
        }
        guest.cpu.idtr.limit = 64 * 16 - 1;
        guest.words(TSS + 4, &[RING0]);
        guest
    }

    pub(crate) fn write(&mut self, at: u64, data: &[u8]) {
        for (at, byte) in (at..).zip(data) {
            let pfn = u32::try_from(at >> 12).unwrap();
            let mut page = *self.machine.page(pfn);
            page[(at & 0xfff) as usize] = *byte;
            self.machine.write_page(pfn, &page);
        }
    }

    pub(crate) fn words(&mut self, at: u64, words: &[u64]) {
        let bytes: Vec<u8> = words.iter().flat_map(|w| w.to_le_bytes()).collect();
        self.write(at, &bytes);
    }

    pub(crate) fn gate(&mut self, vector: u64, kind: u64, selector: u16, to: u64) {
        self.words(IDT + 8 * vector, &[to & 0xffff | u64::from(selector) << 16 | kind << 40 | (to >> 16) << 48]);
    }

    pub(crate) fn descriptor(&mut self, selector: u16, words: &[u64]) {
        self.words(GDT + u64::from(selector & !7), words);
    }

    pub(crate) fn read<const N: usize>(&self, at: u64) -> [u8; N] {
        self.machine.page(u32::try_from(at >> 12).unwrap())[(at & 0xfff) as usize..][..N].try_into().unwrap()
    }

    pub(crate) fn word16(&self, at: u64) -> u16 {
        u16::from_le_bytes(self.read(at))
    }

    pub(crate) fn word32(&self, at: u64) -> u32 {
        u32::from_le_bytes(self.read(at))
    }

    /// `N` doublewords from `at`.
    pub(crate) fn stack<const N: usize>(&self, at: u64) -> [u32; N] {
        std::array::from_fn(|i| self.word32(at + 4 * i as u64))
    }

    pub(crate) fn start(&mut self) {
        let mut state = self.machine.state();
        state.cpu = self.cpu.clone();
        self.machine.set_state(&state);
    }

    /// Runs to a HLT: straight, and again with a stop and a move after each step, which must not be seen.
    pub(crate) fn run(&mut self) -> CpuState {
        let config = *self.machine.config();
        self.start();
        let mut moved = Machine::restore(config, &self.machine.state()).unwrap();
        copy_ram(&self.machine, &mut moved);
        let stop = self.machine.run(Until::About(1000), &mut Closed);
        assert!(matches!(stop, Stop::Off(_)), "{stop:?} at {:x?}", self.machine.state().cpu);
        while moved.position() < self.machine.position() {
            let at = moved.position();
            moved.run(Until::Exactly(Position { steps: at.steps + 1, ..at }), &mut Closed);
            let mut fresh = Machine::restore(config, &moved.state()).unwrap();
            copy_ram(&moved, &mut fresh);
            moved = fresh;
        }
        moved.run(Until::About(1000), &mut Closed);
        assert_eq!(moved.state(), self.machine.state());
        assert_eq!(moved.ram_digest(), self.machine.ram_digest());
        self.machine.state().cpu
    }

    /// Runs to a HLT; the vector whose handler it is.
    pub(crate) fn vector(&mut self) -> Option<u64> {
        let cpu = self.run();
        assert_eq!(self.machine.power(), Some(Power::Dead), "{:x?}", self.machine.state().cpu);
        cpu.code_address().checked_sub(HANDLERS + 1).filter(|at| at % 16 == 0 && *at < 64 * 16).map(|at| at / 16)
    }

    /// Runs to a fault with an error code in 32-bit code of ring 0: vector, error code, EIP.
    pub(crate) fn fault(&mut self) -> (u64, u32, u32) {
        let vector = self.vector().unwrap();
        let [error, eip] = self.stack(self.machine.state().cpu.gpr[4]);
        (vector, error, eip)
    }
}

pub(crate) fn copy_ram(from: &Machine, to: &mut Machine) {
    for pfn in from.used_pages() {
        to.write_page(pfn, from.page(pfn));
    }
}

pub(crate) const UD: u64 = 6;
pub(crate) const TS: u64 = 10;
pub(crate) const NP: u64 = 11;
pub(crate) const SS: u64 = 12;
pub(crate) const GP: u64 = 13;
pub(crate) const PF: u64 = 14;
