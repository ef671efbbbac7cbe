//! The guest of `emulated.rs`: its memory map, its tables and its code.

use iced_x86::code_asm::registers::{cr::cr2, gpr8::al, gpr16::dx, gpr32::eax, gpr32::edx, gpr64::*};
use iced_x86::code_asm::{CodeAssembler, qword_ptr};
use iced_x86::{BlockEncoderOptions, IcedError};

use crate::case::{Cpu, Fault, XsaveArea};
use crate::layout::{CODE, CODE_32, CODE_LEN, DATA, DATA_LEN, PAGE};

const VECTORS: u64 = 32;

/// RAM of the guest.
pub(crate) const MEMORY_BYTES: u64 = 1 << 20;
// Physical addresses.
pub(crate) const PML4_AT: u64 = 0x1000;
const PDPT_HIGH_AT: u64 = 0x2000;
const PD_HIGH_AT: u64 = 0x3000;
const PDPT_LOW_AT: u64 = 0x4000;
const PD_LOW_AT: u64 = 0x5000;
const PT_DATA_AT: u64 = 0x6000;
const PT_CODE_AT: u64 = 0x7000;
pub(crate) const GDT_AT: u64 = 0x8000;
pub(crate) const IDT_AT: u64 = 0x9000;
pub(crate) const TSS_AT: u64 = 0xa000;
pub(crate) const TEXT_AT: u64 = 0xb000;
pub(crate) const CONTEXT_AT: u64 = 0xc000;
pub(crate) const DATA_AT: u64 = 0x10000;
pub(crate) const CODE_AT: u64 = 0x14000;

/// Linear address of physical address 0.
const HIGH: u64 = 0xffff_ffff_8000_0000;
pub(crate) const TSS_SELECTOR: u16 = 0x40;
/// Selectors of user mode: those of Linux.
const USER_CODE: u64 = 0x33;
const USER_CODE_32: u64 = 0x23;
const USER_DATA: u64 = 0x2b;

// The context page: CR2, the pushed registers and the exception frame, the area of XSAVE.
const CR2: usize = 0x108;
const AREA: usize = 0x800;
/// The state components in it: x87, SSE, AVX.
const COMPONENTS: u32 = 7;
const STACK_TOP: usize = 0x400;
const RIP: usize = STACK_TOP - 40;
const CS: usize = STACK_TOP - 32;
const RFLAGS: usize = STACK_TOP - 24;
const RSP: usize = STACK_TOP - 16;
const SS: usize = STACK_TOP - 8;
const ERROR: usize = STACK_TOP - 48;
const VECTOR: usize = STACK_TOP - 56;
/// RAX is pushed first, R15 last; RSP has no place among them.
const FRAME: usize = VECTOR - 15 * 8;

/// The pushed registers in encoding order, RSP apart: where each lies.
fn slot(n: usize) -> usize {
    match n {
        4 => RSP,
        n if n < 4 => VECTOR - 8 * (n + 1),
        n => VECTOR - 8 * n,
    }
}

/// Linear address of `physical` in the kernel's half.
pub(crate) fn high(physical: u64) -> u64 {
    HIGH + physical
}

/// Page number of a physical address.
pub(crate) fn pfn(physical: u64) -> u32 {
    u32::try_from(physical / PAGE).unwrap_or(u32::MAX)
}

/// The kernel's stack pointer between two cases.
pub(crate) fn frame() -> u64 {
    high(CONTEXT_AT) + FRAME as u64
}

/// The assembled kernel.
pub(crate) struct Kernel {
    text: Vec<u8>,
    /// Where the text enters user mode (offset).
    pub(crate) resume: u64,
    /// Where the exception entries are (offsets).
    entries: Vec<u64>,
    /// Instructions that the kernel itself retires between two stops.
    pub(crate) overhead: u64,
    /// How many of these lead into user mode.
    pub(crate) enter: u64,
}

impl Kernel {
    /// All pages of the guest but its context, data and code.
    pub(crate) fn pages(&self) -> Vec<(u32, [u8; 4096])> {
        const PRESENT: u64 = 1;
        const WRITE: u64 = 2;
        const USER: u64 = 4;
        const LARGE: u64 = 0x80;
        const NX: u64 = 1 << 63;
        let all = PRESENT | WRITE | USER;
        let mut pages = Vec::new();
        let mut page = |at: u64, entries: &[(u64, u64)]| {
            let mut bytes = [0; 4096];
            for &(index, value) in entries {
                put(&mut bytes, usize::try_from(index).unwrap_or(0) * 8, value);
            }
            pages.push((pfn(at), bytes));
        };
        let table = |at: u64, pages: u64, bits: u64| -> Vec<_> {
            (0..pages).map(|n| (n, (at + n * PAGE) | all | bits)).collect()
        };
        page(PML4_AT, &[(0, PDPT_LOW_AT | all), (511, PDPT_HIGH_AT | PRESENT | WRITE)]);
        page(PDPT_HIGH_AT, &[(510, PD_HIGH_AT | PRESENT | WRITE)]);
        page(PD_HIGH_AT, &[(0, PRESENT | WRITE | LARGE)]);
        page(PDPT_LOW_AT, &[(0, PD_LOW_AT | all)]);
        // Both regions of code are the same memory.
        let code = [CODE, CODE_32].map(|at| (at >> 21, PT_CODE_AT | all));
        page(PD_LOW_AT, &[(DATA >> 21, PT_DATA_AT | all), code[0], code[1]]);
        page(PT_DATA_AT, &table(DATA_AT, DATA_LEN / PAGE, NX));
        page(PT_CODE_AT, &table(CODE_AT, CODE_LEN / PAGE, 0));
        page(GDT_AT, &gdt());
        page(IDT_AT, &self.idt());
        pages.push((pfn(TSS_AT), tss()));
        let mut text = [0; 4096];
        text[..self.text.len()].copy_from_slice(&self.text);
        pages.push((pfn(TEXT_AT), text));
        pages
    }

    /// Interrupt gates (SDM Vol. 3A, 6.14.1). User mode may call 3 and 4, as on Linux.
    fn idt(&self) -> Vec<(u64, u64)> {
        let mut gates = Vec::new();
        for (vector, entry) in (0..).zip(&self.entries) {
            let target = high(TEXT_AT) + entry;
            let level = if vector == 3 || vector == 4 { 3 } else { 0 };
            let low = target & 0xffff | 0x10 << 16 | (0x8e | level << 5) << 40 | (target >> 16 & 0xffff) << 48;
            gates.extend([(vector * 2, low), (vector * 2 + 1, target >> 32)]);
        }
        gates
    }
}

/// Vectors that push an error code (SDM Vol. 3A, table 6-1).
const WITH_ERROR_CODE: [u64; 8] = [8, 10, 11, 12, 13, 14, 17, 21];

impl Kernel {
    /// # Panics
    /// If iced cannot assemble this text: a bug of this file.
    #[expect(clippy::expect_used, reason = "documented")]
    pub(crate) fn assemble(vectors: bool) -> Self {
        Self::try_assemble(vectors).expect("a constant program")
    }

    /// The way out of user mode, a stop, the way in again; then the exception entries.
    fn try_assemble(vectors: bool) -> Result<Self, IcedError> {
        let pushed = [rax, rcx, rdx, rbx, rbp, rsi, rdi, r8, r9, r10, r11, r12, r13, r14, r15];
        let mut a = CodeAssembler::new(64)?;
        let (mut leave, mut resume) = (a.create_label(), a.create_label());
        let below = |offset: usize| rsp + (offset as i64 - FRAME as i64);

        a.set_label(&mut leave)?;
        for register in pushed {
            a.push(register)?;
        }
        if vectors {
            a.mov(eax, COMPONENTS)?;
            a.xor(edx, edx)?;
            a.xsave64(qword_ptr(below(AREA)))?;
        }
        a.mov(rax, cr2)?;
        a.mov(qword_ptr(below(CR2)), rax)?;
        a.mov(dx, 0x3f8)?;
        a.out(dx, al)?;

        let left = a.instructions().len();
        a.set_label(&mut resume)?;
        if vectors {
            a.mov(eax, COMPONENTS)?;
            a.xor(edx, edx)?;
            a.xrstor64(qword_ptr(below(AREA)))?;
        }
        for register in pushed.into_iter().rev() {
            a.pop(register)?;
        }
        a.add(rsp, 16)?;
        a.iretq()?;

        let mut entries = Vec::new();
        let common = a.instructions().len() as u64;
        let enter = common - left as u64;
        for vector in 0..VECTORS {
            let mut entry = a.create_label();
            a.set_label(&mut entry)?;
            if WITH_ERROR_CODE.contains(&vector) {
                a.nop()?;
            } else {
                a.push(0)?;
            }
            a.push(i32::try_from(vector).unwrap_or(0))?;
            a.jmp(leave)?;
            entries.push(entry);
        }
        let done = a.assemble_options(high(TEXT_AT), BlockEncoderOptions::RETURN_NEW_INSTRUCTION_OFFSETS)?;
        let offset = |label| Ok(done.label_ip(label)? - high(TEXT_AT));
        let entries = entries.iter().map(offset).collect::<Result<_, IcedError>>()?;
        // Three instructions of an entry, everything from `leave` to IRETQ.
        Ok(Self { resume: offset(&resume)?, entries, overhead: common + 3, enter, text: done.inner.code_buffer })
    }
}

/// Null, then at their Linux places: kernel code and data, user data and code, TSS (16 bytes).
fn gdt() -> [(u64, u64); 7] {
    let tss = high(TSS_AT);
    let low = 0x67 | (tss & 0xff_ffff) << 16 | 0x8b << 40 | (tss >> 24 & 0xff) << 56;
    [
        (2, 0x00af_9b00_0000_ffff),
        (3, 0x00cf_9300_0000_ffff),
        (USER_CODE_32 >> 3, 0x00cf_fb00_0000_ffff),
        (USER_DATA >> 3, 0x00cf_f300_0000_ffff),
        (USER_CODE >> 3, 0x00af_fb00_0000_ffff),
        (8, low),
        (9, tss >> 32),
    ]
}

/// A 64-bit TSS whose RSP0 puts exception frames into the context page; no I/O permission map.
fn tss() -> [u8; 4096] {
    let mut bytes = [0; 4096];
    put(&mut bytes, 4, high(CONTEXT_AT) + STACK_TOP as u64);
    bytes[0x66] = 0x68;
    bytes
}

fn put(page: &mut [u8; 4096], at: usize, value: u64) {
    page[at..at + 8].copy_from_slice(&value.to_le_bytes());
}

fn get(page: &[u8; 4096], at: usize) -> u64 {
    page[at..at + 8].iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte))
}

/// The context page from which the kernel enters user mode with the registers `cpu`.
pub(crate) fn context(cpu: &Cpu) -> [u8; 4096] {
    let mut page = [0; 4096];
    let area = XsaveArea::of(cpu).bytes();
    page[AREA..AREA + area.len()].copy_from_slice(&area);
    for (n, &value) in cpu.gpr.iter().enumerate() {
        put(&mut page, slot(n), value);
    }
    put(&mut page, RIP, cpu.rip);
    put(&mut page, CS, if cpu.is_compat() { USER_CODE_32 } else { USER_CODE });
    put(&mut page, RFLAGS, cpu.rflags);
    put(&mut page, SS, USER_DATA);
    page
}

/// Registers and exception as the kernel has left them in the context page.
pub(crate) fn outcome(page: &[u8; 4096]) -> (Cpu, Fault) {
    let mut cpu = Cpu {
        gpr: std::array::from_fn(|n| get(page, slot(n))),
        rip: get(page, RIP),
        rflags: get(page, RFLAGS),
        ..Cpu::background(0)
    };
    if let Some(area) = XsaveArea::from_bytes(&page[AREA..]) {
        area.load(&mut cpu);
    }
    let vector = page[VECTOR];
    let address = if vector == 14 { get(page, CR2) } else { 0 };
    (cpu, Fault { vector, error: get(page, ERROR), cr2: address })
}
