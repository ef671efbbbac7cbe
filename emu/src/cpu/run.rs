//! Running the CPU: one chain of blocks, one instruction, one event; and its state as plain data.

use std::io;

use super::fault::{Fault, Trap, vector};
use super::flags::{self, Lazy};
use super::mode::Mode;
use super::model::FeatureSet;
use super::regs::{CS, cr0, cr4, dr6, efer};
use super::segments::rights;
use super::{Cpu, Exit, RETURNS, Return};
use crate::block::Cache;
use crate::boot::hand_off;
use crate::bus::Bus;
use crate::disk::Disks;
use crate::engine::run_chain;
use crate::event::Power;
use crate::mem::{Half, Mem, PAGE_MASK, Parts, Spaces, Tlb};
use crate::state::{CpuState, Fpu, Msrs, Pmu, Segment, Shadow, Table};

impl Cpu {
    /// A CPU with `memory_bytes` of RAM, in 64-bit mode with everything else zero.
    pub(crate) fn new(memory_bytes: u64, features: FeatureSet, bus: Bus, disks: Disks) -> io::Result<Box<Self>> {
        let mut cpu = Box::new(Self {
            gpr: [0; 16],
            zero: 0,
            tmp: 0,
            rip: 0,
            value: 0,
            flags: Lazy::explicit(0),
            tlb: std::ptr::null_mut(),
            code_key: 1,
            return_top: 0,
            returns: [Return { rip: 0, key: 0, links: std::ptr::null() }; RETURNS],
            ymm: [[[0; 2]; 2]; 16],
            mxcsr: hand_off::MXCSR,
            fpu: Fpu::default(),
            user: false,
            spaces: Spaces::new(),
            rflags: 0,
            seg: [Segment::default(); 6],
            ldtr: Segment::default(),
            tr: Segment::default(),
            gdtr: Table::default(),
            idtr: Table::default(),
            cr0: 0,
            cr2: 0,
            cr3: 0,
            cr4: 0,
            xcr0: 0,
            pdpte: [0; 4],
            dr: [0; 8],
            msr: Msrs::default(),
            pmu: Pmu::default(),
            counted: 0,
            counted_ring0: true,
            halted: false,
            shadow: Shadow::None,
            shadow_at: 0,
            nmi_blocked: false,
            debug_pending: 0,
            stepping: false,
            exit: Exit::None,
            limit: 0,
            retired: 0,
            steps: 0,
            steps_limit: 0,
            mmio_ns: 0,
            refetch: false,
            door_break: false,
            single: false,
            mode: Mode::Long,
            ip_mask: u64::MAX,
            switch_off: false,
            clients: std::collections::BTreeMap::new(),
            told: std::collections::BTreeSet::new(),
            #[cfg(not(threaded))]
            trampoline_budget: 0,
            scratch: [const { std::mem::MaybeUninit::uninit() }; 3],
            bounce: [0; 8],
            parts: Parts::default(),
            features,
            mem: Mem::new(memory_bytes)?,
            disks,
            cache: Cache::new(),
            bus,
            door: None,
        });
        cpu.set_state(&CpuState::handed_off(0));
        Ok(cpu)
    }

    /// Runs block chains for at most `budget` instructions; says why they were left, traps delivered.
    pub(crate) fn run_blocks(&mut self, budget: u64) -> Exit {
        let header = loop {
            match self.find_block(self.rip) {
                Ok(Some(header)) => break header,
                Ok(None) => self.flush_code(),
                Err(trap) => return self.handle(Exit::Trap(trap)),
            }
        };
        // SAFETY: a live header.
        if budget < unsafe { u64::from((*header).n.unsigned_abs()) } {
            // Looking for it may have set accessed bits: at least its first instruction must run.
            return Exit::Single;
        }
        self.limit = self.retired + budget;
        self.exit = Exit::None;
        let pending = self.debug_pending;
        self.begin_counting();
        let cpu: *mut Self = self;
        // SAFETY: the block is live and fits the budget; handlers reach the CPU through this pointer only.
        let left = unsafe { run_chain(cpu, header, budget as i64) };
        self.retired = self.limit.wrapping_sub(left as u64);
        self.rip &= self.ip_mask;
        self.count_retired();
        if self.retired != self.shadow_at || self.exit == Exit::Trap(Trap::Rep) {
            self.shadow = Shadow::None;
        }
        if matches!(self.exit, Exit::Trap(Trap::Fault(_) | Trap::Starved)) {
            // An instruction that is not done has hit no data breakpoint.
            self.debug_pending = pending;
        }
        self.handle(self.exit)
    }

    /// Whether the run loop has something to do before the next instruction, after one that leaves all else as it was.
    pub(crate) fn must_look_around(&self) -> bool {
        self.single || self.refetch || self.shadow != Shadow::None && self.bus.interrupt_pending()
    }

    /// The next instruction is in the shadow of the one in progress.
    pub(crate) fn cast_shadow(&mut self, shadow: Shadow) {
        self.shadow = shadow;
        self.shadow_at = self.retired + 1;
    }

    /// Runs the next instruction alone, all its flags live.
    pub(crate) fn run_single(&mut self) -> Exit {
        if let Some(fault) = self.code_breakpoint(self.shadow) {
            self.fault(fault);
            self.steps += 1;
            return Exit::None;
        }
        let (before, shadow) = (self.retired, std::mem::take(&mut self.shadow));
        let resume = self.rflags & flags::RF;
        self.rflags &= !flags::RF;
        self.stepping = self.rflags & flags::TF != 0;
        self.single = true;
        let exit = self.run_blocks(1);
        self.single = false;
        if exit == Exit::Trap(Trap::Starved) {
            // It has not begun.
            self.shadow = shadow;
            self.rflags |= resume;
        }
        if self.stepping && (self.retired > before || exit == Exit::Rep) {
            self.debug_pending |= dr6::BS;
        }
        if self.retired > before {
            self.steps = 0;
        }
        exit
    }

    /// Delivers what a trap asks for.
    fn handle(&mut self, exit: Exit) -> Exit {
        match exit {
            Exit::Trap(Trap::Fault(fault)) => {
                self.fault(fault);
                self.steps += 1;
            }
            // The instruction stays where it is.
            Exit::Trap(Trap::Rep) => {
                // Breakpoints on it have had their turn, and an interrupt comes in the middle of it.
                self.rflags |= flags::RF;
                return Exit::Rep;
            }
            _ => {}
        }
        exit
    }

    pub(super) fn fault(&mut self, fault: Fault) {
        if self.deliver_fault(fault).is_err() {
            self.power(Power::TripleFault);
        }
    }

    /// The interrupt that is to be taken now, acknowledged.
    pub(crate) fn due_interrupt(&mut self) -> Option<u8> {
        if self.shadow != Shadow::None {
            return None;
        }
        if self.bus.lapic.nmi() && !self.nmi_blocked {
            self.bus.lapic.acknowledge_nmi();
            self.nmi_blocked = true;
            return Some(vector::NMI);
        }
        let due = self.rflags & flags::IF != 0 && self.bus.interrupt_pending();
        due.then(|| self.bus.acknowledge())
    }

    /// Takes an interrupt.
    pub(crate) fn take_interrupt(&mut self, vector: u8) {
        let at = self.position();
        if let Some(mut door) = self.door {
            // SAFETY: set by `Machine::run` for as long as it runs.
            if unsafe { door.as_mut() }.interrupt(at, vector).is_break() {
                self.door_break = true;
                return;
            }
        }
        self.halted = false;
        if self.deliver_interrupt(vector).is_err() {
            self.power(Power::TripleFault);
        }
        self.steps += 1;
    }

    /// To be called after every change of a segment, CPL, CR0, CR3, CR4, EFER, RFLAGS.AC or RFLAGS.VM.
    pub(crate) fn mode_changed(&mut self) {
        self.user = self.cpl() == 3;
        self.mode = self.find_mode();
        self.ip_mask = if self.is_long() { u64::MAX } else { u32::MAX.into() };
        let half = match () {
            () if self.checked() => Half::Checked,
            () if self.user => Half::User,
            () if self.cr4 & cr4::SMAP != 0 && self.rflags & flags::AC != 0 => Half::Open,
            () => Half::Supervisor,
        };
        let replaced = self.spaces.select([
            self.cr0 & (cr0::PE | cr0::PG | cr0::WP) | self.rflags & flags::VM,
            // Where the tables are. Below that, in IA-32e mode, stand caching and the PCID: a transparent TLB has no need
            // of them.
            self.cr3 & if self.is_ia32e() { !PAGE_MASK } else { !0x1f },
            self.cr4 & (cr4::PSE | cr4::PAE | cr4::SMEP | cr4::SMAP),
            self.msr.efer & (efer::LMA | efer::NXE) | (self.mode as u64) << 62,
            self.code_context(),
        ]);
        if let Some(number) = replaced {
            self.mem.tables.leave(number);
        }
        self.tlb = &raw mut *self.spaces.tlb(half);
        self.code_key = self.spaces.code_key(self.user);
    }

    /// Forgets every translation: of data, and of code by linear address. Needed only for new page-directory pointers, and for
    /// a new state.
    pub(crate) fn flush_tlb(&mut self) {
        self.spaces.forget_all();
        self.mem.tables.forget();
        self.mode_changed();
    }

    /// Takes write permission to the page of `phys` out of the TLBs.
    pub(crate) fn protect(&mut self, phys: u64) {
        let writers = self.mem.take_writers(phys);
        self.spaces.tlbs().for_each(|tlb| tlb.protect(phys & !PAGE_MASK, writers));
    }

    /// Makes the TLB report writes again (`Mem::take_dirty`).
    pub(crate) fn watch_writes(&mut self) {
        self.spaces.tlbs().for_each(Tlb::flush_writes);
    }

    /// Memory at a linear address, without side effects.
    pub(crate) fn peek(&self, addr: u64, length: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        while bytes.len() < length {
            let at = addr.wrapping_add(bytes.len() as u64);
            let room = (0x1000 - (at & PAGE_MASK)) as usize;
            let Some(phys) = self.translate_quietly(at) else { break };
            let Some(part) = self.mem.slice(phys, room.min(length - bytes.len())) else { break };
            bytes.extend_from_slice(part);
        }
        bytes
    }

    /// Its registers as plain data.
    pub(crate) fn state(&self) -> CpuState {
        CpuState {
            gpr: self.gpr,
            rip: self.rip,
            rflags: self.rflags_all(),
            seg: self.seg,
            ldtr: self.ldtr,
            tr: self.tr,
            gdtr: self.gdtr,
            idtr: self.idtr,
            cr0: self.cr0,
            cr2: self.cr2,
            cr3: self.cr3,
            cr4: self.cr4,
            xcr0: self.xcr0,
            pdpte: self.pdpte,
            dr: self.dr,
            msr: self.msr,
            xmm: self.ymm.map(|[low, _]| low),
            ymm_high: self.ymm.map(|[_, high]| high),
            mxcsr: self.mxcsr,
            fpu: self.fpu,
            pmu: self.pmu,
            halted: self.halted,
            shadow: self.shadow,
            nmi_blocked: self.nmi_blocked,
            debug_pending: self.debug_pending,
        }
    }

    /// Takes over registers.
    pub(crate) fn set_state(&mut self, state: &CpuState) {
        self.gpr = state.gpr;
        self.rip = state.rip;
        self.seg = state.seg;
        (self.ldtr, self.tr) = (state.ldtr, state.tr);
        (self.gdtr, self.idtr) = (state.gdtr, state.idtr);
        (self.cr0, self.cr2, self.cr3, self.cr4) = (state.cr0, state.cr2, state.cr3, state.cr4);
        self.xcr0 = state.xcr0;
        self.pdpte = state.pdpte;
        self.dr = state.dr;
        self.msr = state.msr;
        self.ymm = std::array::from_fn(|n| [state.xmm[n], state.ymm_high[n]]);
        self.mxcsr = state.mxcsr;
        self.fpu = state.fpu;
        self.pmu = state.pmu;
        (self.halted, self.shadow, self.debug_pending) = (state.halted, state.shadow, state.debug_pending);
        self.nmi_blocked = state.nmi_blocked;
        // IA-32e mode has no virtual-8086 mode, and real mode is not one.
        let v86 = self.cr0 & cr0::PE != 0 && !self.is_ia32e();
        self.set_rflags_all(if v86 { state.rflags } else { state.rflags & !flags::VM });
        self.flush_tlb();
        self.forget_returns();
    }
}

impl CpuState {
    /// Size of the code it runs: 16, 32 or 64 bits.
    #[must_use]
    pub fn code_bits(&self) -> u32 {
        let code = self.seg[CS].rights;
        match self.msr.efer & efer::LMA != 0 && code & rights::L != 0 {
            true => 64,
            false if code & rights::D != 0 => 32,
            false => 16,
        }
    }

    /// Linear address of the next instruction.
    #[must_use]
    pub fn code_address(&self) -> u64 {
        match self.code_bits() {
            64 => self.rip,
            _ => self.seg[CS].base.wrapping_add(self.rip) & u64::from(u32::MAX),
        }
    }

    /// The CPU as a bare ELF finds it (ARCHITECTURE.md, "Bare ELF hand-off").
    #[must_use]
    pub fn handed_off(entry: u64) -> Self {
        let segment = |selector: u16, descriptor: u64| Segment {
            selector,
            base: 0,
            limit: u32::MAX,
            rights: (descriptor >> 40) as u16 & 0xf0ff,
        };
        let data = segment(hand_off::DATA, hand_off::DATA_DESCRIPTOR);
        let mut gpr = [0; 16];
        gpr[super::regs::RSP] = hand_off::RSP;
        gpr[super::regs::RDI] = hand_off::RDI;
        Self {
            gpr,
            rip: entry,
            rflags: hand_off::RFLAGS,
            seg: [data, segment(hand_off::CODE, hand_off::CODE_DESCRIPTOR), data, data, data, data],
            gdtr: Table { base: hand_off::GDT, limit: hand_off::GDT_LIMIT },
            // A busy 64-bit TSS of no size: the state after power-on (SDM Vol. 3A, table 9-1), as long mode sees it.
            tr: Segment { rights: 0x8b, ..Segment::default() },
            ldtr: Segment { rights: 0x82, ..Segment::default() },
            cr0: hand_off::CR0,
            cr3: hand_off::CR3,
            cr4: hand_off::CR4,
            xcr0: hand_off::XCR0,
            dr: [0, 0, 0, 0, 0, 0, 0xffff_0ff0, 0x400],
            msr: Msrs { efer: hand_off::EFER, pat: 0x0007_0406_0007_0406, ..Msrs::default() },
            mxcsr: hand_off::MXCSR,
            ..Self::default()
        }
    }
}
