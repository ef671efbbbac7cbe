//! A case: bytes and the state before; and its outcome: the state after.

use crate::layout::{CODE, CODE_32, DATA};

/// The flags that instructions of user mode compute: CF, PF, AF, ZF, SF, OF.
pub const STATUS: u64 = 0x8d5;
/// Direction flag.
pub const DF: u64 = 1 << 10;
/// Bits of RFLAGS that are always set where a program can look: bit 1 and IF.
pub const FIXED: u64 = 0x202;

/// The x87 as FXSAVE64 lays it out (SDM Vol. 1, table 10-2).
#[derive(Clone, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct X87 {
    /// Control word.
    pub control: u16,
    /// Status word.
    pub status: u16,
    /// Which of R0-R7 are not empty.
    pub tags: u16,
    /// Opcode of the last exception.
    pub opcode: u16,
    /// Last instruction.
    pub ip: u64,
    /// Operand of the last exception.
    pub dp: u64,
    /// Where MXCSR would be: 0.
    pub mxcsr: u64,
    /// ST(0)-ST(7), 80 bits each.
    pub st: [u128; 8],
}

impl X87 {
    /// The state after FNINIT, with zeros in the registers.
    pub const INITIAL: Self =
        Self { control: 0x37f, status: 0, tags: 0, opcode: 0, ip: 0, dp: 0, mxcsr: 0, st: [0; 8] };
}

/// Places of registers in [`Cpu::gpr`].
pub mod reg {
    #![allow(missing_docs, reason = "their names say it")]
    pub const RAX: usize = 0;
    pub const RCX: usize = 1;
    pub const RDX: usize = 2;
    pub const RBX: usize = 3;
    pub const RSP: usize = 4;
    pub const RBP: usize = 5;
    pub const RSI: usize = 6;
    pub const RDI: usize = 7;
}

/// Registers of user mode.
#[derive(Clone, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Cpu {
    /// RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8-R15: encoding order.
    pub gpr: [u64; 16],
    /// Instruction pointer.
    pub rip: u64,
    /// RFLAGS, with bit 1 and IF set.
    pub rflags: u64,
    /// XMM0-XMM15.
    pub xmm: [u128; 16],
    /// The upper halves of YMM0-YMM15.
    pub ymm_high: [u128; 16],
    /// SSE control and status.
    pub mxcsr: u32,
    /// x87 and MMX.
    pub x87: X87,
}

impl Cpu {
    /// What a register holds when a case does not say: recognisable, different for each.
    #[must_use]
    pub fn background(rip: u64) -> Self {
        Self {
            gpr: std::array::from_fn(|n| 0x0101_0101_0101_0101 * (0xa0 + n as u64)),
            rip,
            rflags: FIXED,
            xmm: std::array::from_fn(|n| 0x0101_0101_0101_0101_0101_0101_0101_0101 * (0x30 + n as u128)),
            ymm_high: std::array::from_fn(|n| 0x0101_0101_0101_0101_0101_0101_0101_0101 * (0x50 + n as u128)),
            mxcsr: 0x1f80,
            x87: X87::INITIAL,
        }
    }
}

/// The state of x87, SSE and AVX as XSAVE64 lays it out in the standard format (SDM Vol. 1, 13.4).
#[derive(Clone, Debug)]
#[repr(C, align(64))]
pub struct XsaveArea {
    /// With MXCSR in its place.
    pub x87: X87,
    /// XMM0-XMM15.
    pub xmm: [u128; 16],
    rest: [u64; 12],
    /// XSTATE_BV: the components that are not in their initial configuration.
    pub in_use: u64,
    header: [u64; 7],
    /// The upper halves of YMM0-YMM15.
    pub ymm_high: [u128; 16],
}

impl XsaveArea {
    /// Nothing in use.
    pub const INITIAL: Self = Self {
        x87: X87 { mxcsr: 0x1f80, ..X87::INITIAL },
        xmm: [0; 16],
        rest: [0; 12],
        in_use: 0,
        header: [0; 7],
        ymm_high: [0; 16],
    };

    /// The area from which XRSTOR64 loads `cpu`.
    #[must_use]
    pub fn of(cpu: &Cpu) -> Self {
        let used = [cpu.x87 != X87::INITIAL, cpu.xmm != [0; 16], cpu.ymm_high != [0; 16]];
        Self {
            x87: X87 { mxcsr: cpu.mxcsr.into(), ..cpu.x87.clone() },
            xmm: cpu.xmm,
            in_use: (0..).zip(used).map(|(n, used)| u64::from(used) << n).sum(),
            ymm_high: cpu.ymm_high,
            ..Self::INITIAL
        }
    }

    /// Gives `cpu` what the area holds; `in_use` says what counts.
    pub fn load(&self, cpu: &mut Cpu) {
        let initial = Self::INITIAL;
        let part = |n: u64| if self.in_use >> n & 1 == 1 { self } else { &initial };
        cpu.x87 = X87 { mxcsr: 0, tags: part(0).x87.tags & 0xff, ..part(0).x87.clone() };
        cpu.xmm = part(1).xmm;
        cpu.ymm_high = part(2).ymm_high;
        cpu.mxcsr = u32::try_from(self.x87.mxcsr & 0xffff_ffff).unwrap_or(0);
    }

    /// Its bytes.
    #[must_use]
    pub fn bytes(&self) -> [u8; size_of::<Self>()] {
        // SAFETY: a struct of integers without padding (its parts are multiples of 64 bytes in order).
        unsafe { std::mem::transmute_copy(self) }
    }

    /// The area at the start of `bytes`, `None` if they are too few.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; size_of::<Self>()] = bytes.first_chunk()?;
        // SAFETY: any bytes are integers.
        Some(unsafe { std::mem::transmute_copy(bytes) })
    }
}

const _: () = assert!(size_of::<XsaveArea>() == 832 && std::mem::offset_of!(XsaveArea, ymm_high) == 576);

/// Bytes at a linear address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Patch {
    /// Linear address of the first byte.
    pub at: u64,
    /// The bytes.
    pub bytes: Vec<u8>,
}

/// One experiment. Code outside `code` is [`crate::layout::FILLER`], data outside `memory` is 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    /// Instruction bytes, at `cpu.rip`.
    pub code: Vec<u8>,
    /// Registers before.
    pub cpu: Cpu,
    /// Data window before; later patches win.
    pub memory: Vec<Patch>,
}

impl Cpu {
    /// Whether it runs in compatibility mode: 32-bit code has a region of its own.
    #[must_use]
    pub fn is_compat(&self) -> bool {
        self.rip >= CODE_32
    }

    /// Start of the code region.
    #[must_use]
    pub fn region(&self) -> u64 {
        if self.is_compat() { CODE_32 } else { CODE }
    }
}

/// The exception that ended a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Vector number: 14 is #PF.
    pub vector: u8,
    /// Error code; 0 where the vector has none.
    pub error: u64,
    /// CR2; 0 unless it is a page fault.
    pub cr2: u64,
}

/// What one subject made of a case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Registers after; RIP is what the exception frame says.
    pub cpu: Cpu,
    /// The exception. A breakpoint (vector 3) is how most cases end.
    pub fault: Fault,
    /// Bytes of the data window that changed.
    pub memory: Vec<Patch>,
}

/// Something that can run a case.
pub trait Subject {
    /// Runs `case` until its first exception.
    fn run(&mut self, case: &Case) -> Outcome;
}

/// Lays `patches` over `image`, a copy of the region that starts at `base`. What falls outside is dropped.
pub fn lay(image: &mut [u8], base: u64, patches: &[Patch]) {
    for patch in patches {
        for (n, &byte) in (0..).zip(&patch.bytes) {
            if let Some(cell) = patch
                .at
                .wrapping_add(n)
                .checked_sub(base)
                .and_then(|n| usize::try_from(n).ok())
                .and_then(|n| image.get_mut(n))
            {
                *cell = byte;
            }
        }
    }
}

/// The data window's content before `case`.
pub fn data_image(case: &Case, image: &mut [u8]) {
    image.fill(0);
    lay(image, DATA, &case.memory);
}

/// The code region's content before `case`.
pub fn code_image(case: &Case, image: &mut [u8]) {
    image.fill(crate::layout::FILLER);
    lay(image, case.cpu.region(), &[Patch { at: case.cpu.rip, bytes: case.code.clone() }]);
}

/// Runs of bytes of the data window that differ between `before` and `after`.
#[must_use]
pub fn changes(before: &[u8], after: &[u8]) -> Vec<Patch> {
    const LINE: usize = 64;
    let mut patches: Vec<Patch> = Vec::new();
    for (line, (old, new)) in before.chunks(LINE).zip(after.chunks(LINE)).enumerate() {
        if old == new {
            continue;
        }
        for (n, (a, b)) in old.iter().zip(new).enumerate() {
            let at = DATA + (line * LINE + n) as u64;
            match patches.last_mut() {
                _ if a == b => {}
                Some(last) if last.at + last.bytes.len() as u64 == at => last.bytes.push(*b),
                _ => patches.push(Patch { at, bytes: vec![*b] }),
            }
        }
    }
    patches
}
