//! XSAVE and its like: the x87, SSE and AVX state as one area in memory; XGETBV and XSETBV (SDM Vol. 1, chapter 13).
//!
//! A component is in use (XINUSE) when its registers differ from their initial values: a function of the state alone.

use super::system::{address, operands, privileged};
use super::{Bound, push_slow};
use crate::block::Builder;
use crate::boot::hand_off::MXCSR as MXCSR_INITIAL;
use crate::cpu::Cpu;
use crate::cpu::fault::{Fault, Trap};
use crate::cpu::regs::{RAX, RCX, RDX, cr0, cr4, xcr0};
use crate::decode::{Insn, Operation as O};
use crate::engine::slow_handler;
use crate::exec::control::{FX_MXCSR, FX_WIDE, FX_XMM, MXCSR_KNOWN};
use crate::mem::Access;
use crate::op::{Handler, Op};
use crate::state::Fpu;

use xcr0::{AVX, SSE, X87};

/// Offsets in the area (SDM Vol. 1, 13.4): the header after the area of FXSAVE, then AVX state, in either format.
const HEADER: u64 = 512;
const YMM: u64 = 576;
/// Bytes of the head of the x87's part, before MXCSR.
const X87_HEAD: usize = 24;
/// Bytes of the half of all 16 registers.
const REGISTERS: usize = 256;
/// Bit 63 of XCOMP_BV: the area is in compacted format.
const COMPACTED: u64 = 1 << 63;

/// Binds what `control.rs` leaves of these.
pub(super) fn bind(i: &Insn, b: &mut Builder) -> Bound {
    let f: Handler = match i.operation {
        O::Xgetbv => slow_handler!(xgetbv),
        O::Xsetbv => slow_handler!(xsetbv),
        O::Xsave => slow_handler!(xsave),
        O::Xsaveopt => slow_handler!(xsaveopt),
        O::Xsavec => slow_handler!(xsavec),
        O::Xsaves => slow_handler!(xsaves),
        O::Xrstor => slow_handler!(xrstor),
        _ => slow_handler!(xrstors),
    };
    let op = operands(i, b);
    let op = if i.is_fx64() { Op { aux: FX_WIDE, ..op } } else { op };
    push_slow(f, op, b)
}

/// EDX:EAX.
fn pair(cpu: &Cpu) -> u64 {
    cpu.gpr[RAX] & u64::from(u32::MAX) | cpu.gpr[RDX] << 32
}

fn enabled(cpu: &Cpu) -> Result<(), Trap> {
    if cpu.cr4 & cr4::OSXSAVE == 0 { Err(Fault::UD.into()) } else { Ok(()) }
}

impl Cpu {
    /// The components of XCR0 that are not in their initial configuration (SDM Vol. 1, 13.6).
    fn in_use(&self) -> u64 {
        let bit = |used: bool, bit: u64| if used { bit } else { 0 };
        let used = |half: usize| self.ymm.iter().any(|register| register[half] != [0; 2]);
        bit(self.fpu != Fpu::default(), X87) | bit(used(0), SSE) | bit(used(1), AVX)
    }

    /// Likewise, where MXCSR counts as part of the SSE state.
    fn in_use_with_mxcsr(&self) -> u64 {
        self.in_use() | if self.mxcsr == MXCSR_INITIAL { 0 } else { SSE }
    }

    /// Bytes of the area for the components of XCR0 (CPUID.0DH: EBX).
    pub(crate) fn xsave_bytes(&self) -> u32 {
        YMM as u32 + if self.xcr0 & AVX != 0 { REGISTERS as u32 } else { 0 }
    }
}

fn xgetbv(cpu: &mut Cpu, _op: &Op) -> Result<(), Trap> {
    enabled(cpu)?;
    let value = match cpu.gpr[RCX] as u32 {
        0 => cpu.xcr0,
        1 => cpu.xcr0 & cpu.in_use_with_mxcsr(),
        _ => return Err(Fault::GP0.into()),
    };
    (cpu.gpr[RAX], cpu.gpr[RDX]) = (value & u64::from(u32::MAX), value >> 32);
    Ok(())
}

/// SDM Vol. 2D, XSETBV: x87 always, AVX only with SSE.
fn xsetbv(cpu: &mut Cpu, _op: &Op) -> Result<(), Trap> {
    enabled(cpu)?;
    privileged(cpu)?;
    let value = pair(cpu);
    let sound = value & X87 != 0 && value & (SSE | AVX) != AVX && value & !xcr0::KNOWN == 0;
    if cpu.gpr[RCX] as u32 != 0 || !sound {
        return Err(Fault::GP0.into());
    }
    cpu.xcr0 = value;
    Ok(())
}

/// The address of the area, and the components that XCR0 and EDX:EAX ask for (RFBM).
fn area(cpu: &Cpu, op: &Op, kind: Access) -> Result<(u64, u64), Trap> {
    enabled(cpu)?;
    if cpu.cr0 & cr0::TS != 0 {
        return Err(Fault::NM.into());
    }
    let at = address(cpu, op, YMM, kind)?;
    if at % 64 == 0 { Ok((at, cpu.xcr0 & pair(cpu))) } else { Err(Fault::GP0.into()) }
}

/// Checks that all that an area for `wanted` may hold can be written; `legacy`: what lies before the header, too.
fn probe(cpu: &mut Cpu, at: u64, wanted: u64, legacy: bool) -> Result<(), Trap> {
    let start = if legacy { 0 } else { HEADER };
    let end = YMM + if wanted & AVX != 0 { REGISTERS as u64 } else { 0 };
    cpu.probe_write(at + start, end - start, cpu.user)
}

/// How many registers there are: half of them outside 64-bit mode.
fn count(cpu: &Cpu) -> usize {
    if cpu.is_long() { 16 } else { 8 }
}

fn registers(cpu: &Cpu, half: usize) -> Vec<u8> {
    cpu.ymm[..count(cpu)].iter().flat_map(|register| register[half]).flat_map(u64::to_le_bytes).collect()
}

fn set_registers(cpu: &mut Cpu, half: usize, image: &[u8; REGISTERS]) {
    let count = count(cpu);
    for (register, bytes) in cpu.ymm[..count].iter_mut().zip(image.chunks_exact(16)) {
        register[half] = [word(bytes, 0), word(bytes, 8)];
    }
}

fn word(bytes: &[u8], at: usize) -> u64 {
    bytes[at..].iter().take(8).rev().fold(0, |word, &b| word << 8 | u64::from(b))
}

/// Pieces of an area, by offset.
#[derive(Default)]
struct Pieces(Vec<(u64, Vec<u8>)>);

impl Pieces {
    fn add(&mut self, at: u64, bytes: &[u8]) {
        self.0.push((at, bytes.to_vec()));
    }

    /// The components of `mask`; MXCSR apart.
    fn components(&mut self, cpu: &Cpu, op: &Op, mask: u64) {
        if mask & X87 != 0 {
            let image = cpu.fpu.fx_image(op.aux == FX_WIDE);
            self.add(0, &image[..X87_HEAD]);
            self.add(FX_MXCSR + 8, &image[FX_MXCSR as usize + 8..]);
        }
        if mask & SSE != 0 {
            self.add(FX_XMM, &registers(cpu, 0));
        }
        if mask & AVX != 0 {
            self.add(YMM, &registers(cpu, 1));
        }
    }

    fn mxcsr(&mut self, cpu: &Cpu) {
        self.add(FX_MXCSR, &(u64::from(cpu.mxcsr) | MXCSR_KNOWN << 32).to_le_bytes());
    }

    fn write(self, cpu: &mut Cpu, area: u64) -> Result<(), Trap> {
        self.0.iter().try_for_each(|(at, bytes)| cpu.write_linear(area + at, bytes, cpu.user))
    }
}

/// XSAVE and XSAVEOPT: standard format; `OPTIMISED` leaves out what is in its initial configuration.
fn save<const OPTIMISED: bool>(cpu: &mut Cpu, op: &Op) -> Result<(), Trap> {
    let (at, wanted) = area(cpu, op, Access::Write)?;
    probe(cpu, at, wanted, wanted != 0)?;
    let in_use = wanted & cpu.in_use();
    let old = cpu.load::<8>(at + HEADER, cpu.user)?;
    let mut pieces = Pieces::default();
    pieces.components(cpu, op, if OPTIMISED { in_use } else { wanted });
    if wanted & (SSE | AVX) != 0 {
        pieces.mxcsr(cpu);
    }
    pieces.add(HEADER, &(old & !wanted | in_use).to_le_bytes());
    pieces.write(cpu, at)
}

fn xsave(cpu: &mut Cpu, op: &Op) -> Result<(), Trap> {
    save::<false>(cpu, op)
}

fn xsaveopt(cpu: &mut Cpu, op: &Op) -> Result<(), Trap> {
    save::<true>(cpu, op)
}

/// SDM Vol. 2D, XSAVEC: MXCSR belongs to the SSE state.
fn xsavec(cpu: &mut Cpu, op: &Op) -> Result<(), Trap> {
    let (at, wanted) = area(cpu, op, Access::Write)?;
    probe(cpu, at, wanted, wanted & (X87 | SSE) != 0)?;
    let in_use = wanted & cpu.in_use_with_mxcsr();
    let mut pieces = Pieces::default();
    pieces.components(cpu, op, in_use);
    if in_use & SSE != 0 {
        pieces.mxcsr(cpu);
    }
    pieces.add(HEADER, &(u128::from(in_use) | u128::from(wanted | COMPACTED) << 64).to_le_bytes());
    pieces.write(cpu, at)
}

/// There are no supervisor state components (IA32_XSS is 0).
fn xsaves(cpu: &mut Cpu, op: &Op) -> Result<(), Trap> {
    enabled(cpu)?;
    privileged(cpu)?;
    xsavec(cpu, op)
}

/// The header of an area (SDM Vol. 1, 13.4.2).
struct Header {
    state: u64,
    layout: u64,
    /// Bytes that must be zero are not.
    strange: bool,
}

impl Header {
    fn read(cpu: &mut Cpu, at: u64) -> Result<Self, Trap> {
        let mut bytes = [0; 64];
        cpu.read_linear(at + HEADER, &mut bytes, cpu.user)?;
        let (state, layout) = (word(&bytes, 0), word(&bytes, 8));
        // In the standard format software may use the bytes from 24 on.
        let zeros = if layout & COMPACTED != 0 { &bytes[16..] } else { &bytes[8..24] };
        let header = Self { state, layout, strange: zeros.iter().any(|byte| *byte != 0) };
        let too_much = header.is_compacted() && header.room() & !cpu.xcr0 != 0;
        if too_much { Err(Fault::GP0.into()) } else { Ok(header) }
    }

    fn is_compacted(&self) -> bool {
        self.layout & COMPACTED != 0
    }

    /// The components that the area has room for.
    fn room(&self) -> u64 {
        if self.is_compacted() { self.layout & !COMPACTED } else { xcr0::KNOWN }
    }

    /// What silicon looks at only when it has read the rest of the area.
    fn check(&self, cpu: &Cpu) -> Result<(), Trap> {
        let unknown = self.state & !(self.room() & cpu.xcr0) != 0;
        if self.strange || unknown { Err(Fault::GP0.into()) } else { Ok(()) }
    }
}

/// SDM Vol. 2D, XRSTOR: all is read before anything is changed.
fn xrstor(cpu: &mut Cpu, op: &Op) -> Result<(), Trap> {
    let (at, wanted) = area(cpu, op, Access::Read)?;
    let header = Header::read(cpu, at)?;
    let present = wanted & header.state;
    // MXCSR belongs to the SSE state, in the standard format to that of AVX, too.
    let with_mxcsr = if header.is_compacted() { SSE } else { SSE | AVX };
    let (mut legacy, mut halves) = ([0; FX_XMM as usize], [[0; REGISTERS]; 2]);
    let room = wanted & header.room();
    if room & (X87 | with_mxcsr) != 0 {
        cpu.read_linear(at, &mut legacy, cpu.user)?;
    }
    for (half, (bit, offset)) in [(SSE, FX_XMM), (AVX, YMM)].into_iter().enumerate() {
        if room & bit != 0 {
            cpu.read_linear(at + offset, &mut halves[half], cpu.user)?;
        }
        if present & bit == 0 {
            halves[half] = [0; REGISTERS];
        }
    }
    header.check(cpu)?;
    let mxcsr = match wanted & with_mxcsr {
        0 => cpu.mxcsr,
        _ if header.is_compacted() && present & SSE == 0 => MXCSR_INITIAL,
        _ => word(&legacy, FX_MXCSR as usize) as u32,
    };
    if u64::from(mxcsr) & !MXCSR_KNOWN != 0 {
        return Err(Fault::GP0.into());
    }
    cpu.mxcsr = mxcsr;
    if wanted & X87 != 0 {
        let from_image = |at: u64| word(&legacy, at as usize);
        let wide = op.aux == FX_WIDE;
        cpu.fpu = if present & X87 != 0 { Fpu::from_fx(from_image, wide) } else { Fpu::default() };
    }
    for (half, bit) in [SSE, AVX].into_iter().enumerate() {
        if wanted & bit != 0 {
            set_registers(cpu, half, &halves[half]);
        }
    }
    Ok(())
}

/// SDM Vol. 2D, XRSTORS: takes the compacted format only.
fn xrstors(cpu: &mut Cpu, op: &Op) -> Result<(), Trap> {
    enabled(cpu)?;
    privileged(cpu)?;
    let (at, _) = area(cpu, op, Access::Read)?;
    if !Header::read(cpu, at)?.is_compacted() {
        return Err(Fault::GP0.into());
    }
    xrstor(cpu, op)
}
