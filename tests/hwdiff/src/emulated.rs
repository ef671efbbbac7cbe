//! emu as a subject: a guest of one page of kernel, which enters the case with IRETQ and gets it back as an exception.
//!
//! The kernel lives in the upper half, so that user mode sees what it sees on a host: the two regions and nothing else.
//! Between two cases the machine stands just after an OUT to the console, which is how the kernel says "done".

use std::ops::ControlFlow;

use emu::{
    ClockMode, CpuModel, CpuState, Door, Machine, MachineConfig, Output, Position, Query, Segment, Stop, Table, Until,
};

use crate::case::{Case, Cpu, Outcome, Subject, X87, changes, code_image, data_image};
use crate::kernel::{self, Kernel};
use crate::layout::{CODE_LEN, DATA_LEN};

/// More instructions than any case needs; one that runs on is a bug of the emulator.
const RETIRED_MAX: u64 = 1_000_000;
const PAGE_BYTES: usize = 4096;

/// An emulated machine that runs cases.
pub struct Emulated {
    machine: Machine,
    kernel: Kernel,
    before: Box<[u8]>,
    code: Box<[u8]>,
    after: Box<[u8]>,
    start: u64,
    retired: u64,
}

/// Stops the machine at every output.
struct Done;

impl Door for Done {
    fn query(&mut self, _: Position, _: Query) -> Option<u64> {
        Some(0)
    }

    fn output(&mut self, _: Position, _: u64, _: Output) -> ControlFlow<()> {
        ControlFlow::Break(())
    }

    fn interrupt(&mut self, _: Position, _: u8) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }
}

impl Emulated {
    /// A machine that waits for its first case. `vectors`: the kernel also loads and stores the vector registers.
    ///
    /// # Panics
    /// If emu refuses a machine of 1 MiB: it cannot be tested then.
    #[must_use]
    #[expect(clippy::expect_used, reason = "documented")]
    pub fn new(vectors: bool) -> Self {
        let kernel = Kernel::assemble(vectors);
        let config = MachineConfig {
            memory_bytes: kernel::MEMORY_BYTES,
            clock: ClockMode::Host,
            epoch_s: 0,
            cpu: CpuModel::V3,
            devices: Default::default(),
        };
        let mut state = Machine::new(config).expect("a machine of 1 MiB").state();
        state.cpu = in_kernel(state.cpu, &kernel);
        let mut machine = Machine::restore(config, &state).expect("a machine of 1 MiB");
        for (pfn, page) in kernel.pages() {
            machine.write_page(pfn, &page);
        }
        let region = |len: u64| vec![0; usize::try_from(len).unwrap_or(0)].into_boxed_slice();
        let (before, after, code) = (region(DATA_LEN), region(DATA_LEN), region(CODE_LEN));
        Self { machine, kernel, before, code, after, start: 0, retired: 0 }
    }

    /// Runs `case` and returns how many instructions it retired, a breakpoint at its end included.
    pub fn retired_by(&mut self, case: &Case) -> u64 {
        self.run(case);
        self.retired
    }

    /// What the emulator does not implement and was asked for since the last call.
    pub fn take_unimplemented(&mut self) -> Vec<String> {
        self.machine.take_unimplemented()
    }

    /// Runs `case` one instruction at a time: the registers after each, the breakpoint at its end not included.
    ///
    /// # Panics
    /// If the case never comes back as an exception.
    pub fn trace(&mut self, case: &Case) -> (Vec<Cpu>, Outcome) {
        self.load(case);
        let first = self.machine.position().retired + self.kernel.enter;
        let mut states = Vec::new();
        loop {
            let next = Position::at(first + states.len() as u64);
            let stop = self.machine.run(Until::Exactly(next), &mut Done);
            let cpu = self.machine.state().cpu;
            if stop != Stop::Limit || cpu.rip >> 63 == 1 {
                break;
            }
            states.push(seen(&cpu));
        }
        (states, self.finish(case))
    }

    /// The registers after `count` instructions of `case`, run without a stop on the way.
    ///
    /// # Panics
    /// If the case never comes back as an exception.
    pub fn after(&mut self, case: &Case, count: u64) -> Cpu {
        self.load(case);
        let end = Position::at(self.start + self.kernel.enter + count);
        self.machine.run(Until::Exactly(end), &mut Done);
        let cpu = self.machine.state().cpu;
        self.finish(case);
        seen(&cpu)
    }

    /// Writes the case into the guest's memory.
    fn load(&mut self, case: &Case) {
        data_image(case, &mut self.before);
        code_image(case, &mut self.code);
        let (before, code) = (std::mem::take(&mut self.before), std::mem::take(&mut self.code));
        self.write(kernel::DATA_AT, &before);
        self.write(kernel::CODE_AT, &code);
        (self.before, self.code) = (before, code);
        self.machine.write_page(kernel::pfn(kernel::CONTEXT_AT), &kernel::context(&case.cpu));
        self.start = self.machine.position().retired;
    }

    /// Runs until the kernel says "done".
    fn finish(&mut self, case: &Case) -> Outcome {
        let limit = Position::at(self.start + RETIRED_MAX);
        let stop = self.machine.run(Until::Exactly(limit), &mut Done);
        assert!(stop == Stop::Door, "{:x?} did not come back: {stop:?} at {:x?}", case.code, self.machine.state().cpu);
        let (cpu, fault) = kernel::outcome(self.machine.page(kernel::pfn(kernel::CONTEXT_AT)));
        self.retired = self.machine.position().retired - self.start - self.kernel.overhead;
        let pages = (kernel::DATA_AT >> 12..).zip(self.after.chunks_exact_mut(PAGE_BYTES));
        for (pfn, page) in pages {
            page.copy_from_slice(self.machine.page(u32::try_from(pfn).unwrap_or(u32::MAX)));
        }
        Outcome { cpu, fault, memory: changes(&self.before, &self.after) }
    }

    fn write(&mut self, first: u64, image: &[u8]) {
        for (pfn, bytes) in (first >> 12..).zip(image.chunks_exact(PAGE_BYTES)) {
            let pfn = u32::try_from(pfn).unwrap_or(u32::MAX);
            if let Ok(page) = <&[u8; PAGE_BYTES]>::try_from(bytes)
                && self.machine.page(pfn) != page
            {
                self.machine.write_page(pfn, page);
            }
        }
    }
}

impl Subject for Emulated {
    /// # Panics
    /// If the case never comes back as an exception.
    fn run(&mut self, case: &Case) -> Outcome {
        self.load(case);
        self.finish(case)
    }
}

/// The registers of user mode, as FXSAVE orders those of the x87.
fn seen(cpu: &CpuState) -> Cpu {
    let wide = |half: &[u64; 2]| u128::from(half[0]) | u128::from(half[1]) << 64;
    let (fpu, top) = (&cpu.fpu, usize::from(cpu.fpu.status >> 11 & 7));
    let x87 = X87 {
        control: fpu.control,
        status: fpu.status,
        tags: fpu.used.into(),
        opcode: fpu.opcode,
        ip: fpu.ip,
        dp: fpu.dp,
        mxcsr: 0,
        st: std::array::from_fn(|n| {
            let register = fpu.regs[(top + n) % 8];
            u128::from(register.sig) | u128::from(register.sign_exp) << 64
        }),
    };
    Cpu {
        gpr: cpu.gpr,
        rip: cpu.rip,
        rflags: cpu.rflags,
        xmm: std::array::from_fn(|n| wide(&cpu.xmm[n])),
        ymm_high: std::array::from_fn(|n| wide(&cpu.ymm_high[n])),
        mxcsr: cpu.mxcsr,
        x87,
    }
}

/// The CPU in long mode and ring 0, about to enter the first case.
fn in_kernel(power_on: CpuState, kernel: &Kernel) -> CpuState {
    let flat = |selector, rights| Segment { selector, base: 0, limit: u32::MAX, rights };
    let null = Segment::default();
    // Compatibility mode has them.
    let data = flat(0x2b, 0xc0f3);
    let tss = Segment { selector: kernel::TSS_SELECTOR, base: kernel::high(kernel::TSS_AT), limit: 0x67, rights: 0x8b };
    let mut cpu = power_on;
    cpu.rip = kernel::high(kernel::TEXT_AT) + kernel.resume;
    cpu.gpr = [0; 16];
    cpu.gpr[4] = kernel::frame();
    cpu.rflags = 2;
    cpu.seg = [data, flat(0x10, 0xa09b), flat(0x18, 0xc093), data, null, null];
    cpu.tr = tss;
    cpu.gdtr = Table { base: kernel::high(kernel::GDT_AT), limit: 0x4f };
    cpu.idtr = Table { base: kernel::high(kernel::IDT_AT), limit: 0x1ff };
    // PG, AM, WP, NE, ET, MP, PE; PAE, OSFXSR, OSXMMEXCPT, OSXSAVE; LMA, LME, NXE, SCE: as Linux runs user mode.
    cpu.cr0 = 0x8005_0033;
    cpu.cr3 = kernel::PML4_AT;
    cpu.cr4 = 0x4_0620;
    // x87, SSE, AVX.
    cpu.xcr0 = 7;
    cpu.msr.efer = 0xd01;
    cpu
}
