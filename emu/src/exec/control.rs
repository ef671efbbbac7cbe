//! Control and debug registers (SDM Vol. 2B, MOV), CLTS, LMSW, SMSW, INVLPG, INVPCID, CLAC, STAC, and the SSE state:
//! FXSAVE, FXRSTOR, LDMXCSR, STMXCSR; RDPID and RDFSBASE with its like.

use super::sse::avx_is_on;
use super::system::{address, may_look, operands, privileged, read, write_word};
use super::{Bound, Unsupported, push_slow};
use crate::block::Builder;
use crate::cpu::Cpu;
use crate::cpu::fault::{Fault, Trap};
use crate::cpu::flags;
use crate::cpu::regs::{CS, FS, GS, cr0, cr4, dr6, dr7, efer};
use crate::cpu::segments::rights;
use crate::decode::{Insn, Operand, Operation as O};
use crate::engine::{passing_handler, slow_handler};
use crate::mem::{Access, PHYS_BITS, is_canonical};
use crate::op::{Handler, Op};
use crate::state::Fpu;

/// Binds what `system.rs` leaves.
pub(super) fn bind(i: &Insn, b: &mut Builder) -> Bound {
    let f: Handler = match (i.operation, i.operands[0], i.operands[1]) {
        (O::Mov, Operand::Control(_), _) => slow_handler!(mov_to_control),
        (O::Mov, _, Operand::Control(_)) => slow_handler!(mov_from_control),
        (O::Mov, Operand::Debug(_), _) => slow_handler!(mov_to_debug),
        (O::Mov, _, Operand::Debug(_)) => slow_handler!(mov_from_debug),
        (O::Clts, ..) => slow_handler!(clts),
        (O::Lmsw, ..) => slow_handler!(lmsw),
        (O::Smsw, ..) => slow_handler!(smsw),
        (O::Invlpg, ..) => slow_handler!(invlpg),
        (O::Invpcid, ..) => slow_handler!(invpcid),
        (O::Clac, ..) => passing_handler!(access_control::<false>),
        (O::Stac, ..) => passing_handler!(access_control::<true>),
        (O::Fxsave, ..) => slow_handler!(fxsave),
        (O::Fxrstor, ..) => slow_handler!(fxrstor),
        (O::Ldmxcsr, ..) => slow_handler!(ldmxcsr),
        (O::Stmxcsr, ..) => slow_handler!(stmxcsr),
        (O::Rdpid, ..) => slow_handler!(rdpid),
        (O::Rdfsbase, ..) => slow_handler!(read_base::<FS>),
        (O::Rdgsbase, ..) => slow_handler!(read_base::<GS>),
        (O::Wrfsbase, ..) => slow_handler!(write_base::<FS>),
        (O::Wrgsbase, ..) => slow_handler!(write_base::<GS>),
        _ => return Err(Unsupported),
    };
    let op = operands(i, b);
    let op = match i.operation {
        O::Ldmxcsr | O::Stmxcsr => Op { scale: i.vex.into(), ..op },
        _ if i.is_fx64() => Op { aux: FX_WIDE, ..op },
        _ => op,
    };
    push_slow(f, op, b)
}

/// The process-context identifier in CR3.
const PCID: u64 = 0xfff;

const GP: Result<(), Trap> = Err(Trap::Fault(Fault::GP0));

fn mov_from_control(cpu: &mut Cpu, op: &Op) -> Result<(), Trap> {
    privileged(cpu)?;
    let value = match op.src {
        0 => cpu.cr0,
        2 => cpu.cr2,
        3 => cpu.cr3,
        4 => cpu.cr4,
        8 => u64::from(cpu.bus.lapic.tpr() >> 4),
        _ => return Err(Fault::UD.into()),
    };
    cpu.set_register(op.dst, cpu.word_bytes(), value);
    Ok(())
}

fn mov_to_control(cpu: &mut Cpu, op: &Op) -> Result<(), Trap> {
    privileged(cpu)?;
    let value = cpu.register(op.src, cpu.word_bytes());
    match op.dst {
        0 => write_cr0(cpu, value),
        2 => {
            cpu.cr2 = value;
            Ok(())
        }
        3 => write_cr3(cpu, value),
        4 => write_cr4(cpu, value),
        8 if value > 15 => GP,
        8 => {
            cpu.bus.lapic.set_tpr((value as u8) << 4);
            Ok(())
        }
        _ => Err(Fault::UD.into()),
    }
}

/// CR0 (SDM Vol. 3A, 2.5; 9.8.5): ET is fixed, the unknown low bits are ignored. PG with EFER.LME leads to IA-32e mode.
fn write_cr0(cpu: &mut Cpu, value: u64) -> Result<(), Trap> {
    let has = |bit: u64| value & bit != 0;
    if value >> 32 != 0 || has(cr0::PG) && !has(cr0::PE) || has(cr0::NW) && !has(cr0::CD) {
        return GP;
    }
    let turns_on = has(cr0::PG) && cpu.cr0 & cr0::PG == 0;
    let turns_off = !has(cr0::PG) && cpu.cr0 & cr0::PG != 0;
    let lme = cpu.msr.efer & efer::LME != 0;
    if turns_off && cpu.is_long() || !has(cr0::PG) && cpu.cr4 & cr4::PCIDE != 0 {
        return GP;
    }
    if turns_on && lme {
        let tss_16 = cpu.tr.rights & rights::TYPE & 8 == 0;
        if cpu.cr4 & cr4::PAE == 0 || cpu.seg[CS].rights & rights::L != 0 || tss_16 {
            return GP;
        }
        cpu.msr.efer |= efer::LMA;
    } else if turns_off {
        cpu.msr.efer &= !efer::LMA;
    }
    let pae = has(cr0::PG) && cpu.cr4 & cr4::PAE != 0 && !cpu.is_ia32e();
    if pae && (turns_on || (value ^ cpu.cr0) & (cr0::CD | cr0::NW) != 0) {
        cpu.load_pdptes(cpu.cr3)?;
    }
    cpu.cr0 = value & cr0::KNOWN | cr0::ET;
    cpu.mode_changed();
    Ok(())
}

/// Whether PAE paging is in use, which has the first level of its tables in the CPU.
fn is_pae(cpu: &Cpu) -> bool {
    cpu.cr0 & cr0::PG != 0 && cpu.cr4 & cr4::PAE != 0 && !cpu.is_ia32e()
}

/// CR3: with PCIDs, bit 63 asks to keep translations and is not stored. Nothing need be forgotten: the TLB is transparent.
fn write_cr3(cpu: &mut Cpu, value: u64) -> Result<(), Trap> {
    let value = if cpu.cr4 & cr4::PCIDE != 0 { value & !(1 << 63) } else { value };
    if value >> PHYS_BITS != 0 {
        return GP;
    }
    if is_pae(cpu) {
        cpu.load_pdptes(value)?;
    }
    cpu.cr3 = value;
    cpu.mode_changed();
    Ok(())
}

/// Bits of CR4 whose change loads the page-directory pointers anew (SDM Vol. 3A, 4.4.1).
const CR4_PAGING: u64 = cr4::PAE | cr4::PSE | cr4::PGE;

fn write_cr4(cpu: &mut Cpu, value: u64) -> Result<(), Trap> {
    let long = cpu.is_ia32e();
    let begins_pcid = value & !cpu.cr4 & cr4::PCIDE != 0;
    if value & !cpu.features.cr4() != 0
        || long && value & cr4::PAE == 0
        || begins_pcid && (!long || cpu.cr3 & PCID != 0)
    {
        return GP;
    }
    let paging = cpu.cr0 & cr0::PG != 0 && !cpu.is_ia32e();
    if paging && value & cr4::PAE != 0 && (value ^ cpu.cr4) & CR4_PAGING != 0 {
        cpu.load_pdptes(cpu.cr3)?;
    }
    cpu.cr4 = value;
    cpu.mode_changed();
    Ok(())
}

/// The debug register that `number` names: DR4 and DR5 are DR6 and DR7 unless CR4.DE is set.
fn debug_register(cpu: &mut Cpu, number: u8) -> Result<usize, Trap> {
    if matches!(number, 4 | 5) && cpu.cr4 & cr4::DE != 0 || number > 7 {
        return Err(Fault::UD.into());
    }
    privileged(cpu)?;
    if cpu.dr[7] & dr7::GD != 0 {
        cpu.dr[6] |= dr6::BD;
        cpu.rflags |= flags::RF; // a fault that is meant to be resumed behind
        return Err(Fault::DB.into());
    }
    Ok(if matches!(number, 4 | 5) { number + 2 } else { number }.into())
}

fn mov_from_debug(cpu: &mut Cpu, op: &Op) -> Result<(), Trap> {
    let n = debug_register(cpu, op.src)?;
    cpu.set_register(op.dst, cpu.word_bytes(), cpu.dr[n]);
    Ok(())
}

fn mov_to_debug(cpu: &mut Cpu, op: &Op) -> Result<(), Trap> {
    let n = debug_register(cpu, op.dst)?;
    let value = cpu.register(op.src, cpu.word_bytes());
    if n >= 6 && value >> 32 != 0 {
        return GP;
    }
    cpu.dr[n] = match n {
        6 => value & dr6::KNOWN | dr6::ONES,
        7 => value & dr7::KNOWN | dr7::ONES,
        _ => value,
    };
    cpu.mode_changed();
    Ok(())
}

fn clts(cpu: &mut Cpu, _op: &Op) -> Result<(), Trap> {
    privileged(cpu)?;
    cpu.cr0 &= !cr0::TS;
    cpu.mode_changed();
    Ok(())
}

/// LMSW: the low four bits of CR0; PE cannot be cleared.
fn lmsw(cpu: &mut Cpu, op: &Op) -> Result<(), Trap> {
    privileged(cpu)?;
    let value = read(cpu, op, op.dst, 2)?;
    cpu.cr0 = cpu.cr0 & !0xe | value & 0xf;
    cpu.mode_changed();
    Ok(())
}

fn smsw(cpu: &mut Cpu, op: &Op) -> Result<(), Trap> {
    may_look(cpu)?;
    write_word(cpu, op, cpu.cr0)
}

/// INVLPG: nothing to forget, as the TLB is transparent.
fn invlpg(cpu: &mut Cpu, _op: &Op) -> Result<(), Trap> {
    privileged(cpu)
}

/// INVPCID (SDM Vol. 2A): as INVLPG; the register is the type.
fn invpcid(cpu: &mut Cpu, op: &Op) -> Result<(), Trap> {
    privileged(cpu)?;
    let at = address(cpu, op, 16, Access::Read)?;
    let pcid = cpu.load::<8>(at, false)?;
    let linear = cpu.load::<8>(at.wrapping_add(8), false)?;
    let kind = cpu.register(op.dst, cpu.word_bytes());
    let bad = match kind {
        0 => pcid != 0 && cpu.cr4 & cr4::PCIDE == 0 || !is_canonical(linear),
        1 => pcid != 0 && cpu.cr4 & cr4::PCIDE == 0,
        2 | 3 => false,
        _ => true,
    };
    if bad || pcid & !PCID != 0 { GP } else { Ok(()) }
}

/// CLAC and STAC (SDM Vol. 2A and 2B).
fn access_control<const OPEN: bool>(cpu: &mut Cpu, _op: &Op) -> Result<(), Trap> {
    if cpu.cpl() != 0 {
        return Err(Fault::UD.into());
    }
    cpu.rflags = cpu.rflags & !flags::AC | if OPEN { flags::AC } else { 0 };
    cpu.mode_changed();
    Ok(())
}

/// Bits of MXCSR that can be set (MXCSR_MASK).
pub(super) const MXCSR_KNOWN: u64 = 0xffff;
/// Offsets in the FXSAVE area (SDM Vol. 1, 10.5.1).
pub(super) const FX_MXCSR: u64 = 24;
pub(super) const FX_XMM: u64 = 160;
const FX_BYTES: u64 = 512;
/// `Op::aux` of FXSAVE64 and its like, whose addresses have 64 bits.
pub(super) const FX_WIDE: u8 = 64;

fn fx_address(cpu: &Cpu, op: &Op, access: Access) -> Result<u64, Trap> {
    if cpu.cr0 & (cr0::EM | cr0::TS) != 0 {
        return Err(Fault::NM.into());
    }
    let at = address(cpu, op, FX_BYTES, access)?;
    if at % 16 == 0 { Ok(at) } else { Err(Fault::GP0.into()) }
}

/// XMM registers in the area: half of them outside 64-bit mode.
fn fx_registers(cpu: &Cpu) -> usize {
    match cpu.cr4 & cr4::OSFXSR != 0 {
        true if cpu.is_long() => 16,
        true => 8,
        false => 0,
    }
}

/// SDM Vol. 2A, FXSAVE.
fn fxsave(cpu: &mut Cpu, op: &Op) -> Result<(), Trap> {
    let at = fx_address(cpu, op, Access::Write)?;
    let user = cpu.user;
    cpu.probe_write(at, FX_BYTES, user)?;
    let mut image = [0; FX_XMM as usize + 256];
    image[..FX_XMM as usize].copy_from_slice(&cpu.fpu.fx_image(op.aux == FX_WIDE));
    image[24..32].copy_from_slice(&(u64::from(cpu.mxcsr) | MXCSR_KNOWN << 32).to_le_bytes());
    let words = cpu.ymm.iter().flat_map(|[low, _]| low);
    for (to, word) in image[FX_XMM as usize..].chunks_exact_mut(8).zip(words) {
        to.copy_from_slice(&word.to_le_bytes());
    }
    let bytes = FX_XMM as usize + 16 * fx_registers(cpu);
    cpu.write_linear(at, &image[..bytes], user)
}

/// SDM Vol. 2A, FXRSTOR.
fn fxrstor(cpu: &mut Cpu, op: &Op) -> Result<(), Trap> {
    let at = fx_address(cpu, op, Access::Read)?;
    let mut image = [0; FX_BYTES as usize];
    cpu.read_linear(at, &mut image, cpu.user)?;
    let word = |at: u64| image[at as usize..].iter().take(8).rev().fold(0, |word, &b| word << 8 | u64::from(b));
    let mxcsr = word(FX_MXCSR) & u64::from(u32::MAX);
    if mxcsr & !MXCSR_KNOWN != 0 {
        return GP;
    }
    cpu.mxcsr = mxcsr as u32;
    cpu.fpu = Fpu::from_fx(word, op.aux == FX_WIDE);
    let registers = fx_registers(cpu);
    for (register, at) in cpu.ymm.iter_mut().take(registers).zip((FX_XMM..).step_by(16)) {
        register[0] = [word(at), word(at + 8)];
    }
    Ok(())
}

/// SSE's instruction, or AVX's with `Op::scale`.
fn sse_usable(cpu: &Cpu, op: &Op) -> Result<(), Trap> {
    let off = if op.scale != 0 { !avx_is_on(cpu) } else { cpu.cr0 & cr0::EM != 0 || cpu.cr4 & cr4::OSFXSR == 0 };
    if off {
        return Err(Fault::UD.into());
    }
    if cpu.cr0 & cr0::TS != 0 { Err(Fault::NM.into()) } else { Ok(()) }
}

fn ldmxcsr(cpu: &mut Cpu, op: &Op) -> Result<(), Trap> {
    sse_usable(cpu, op)?;
    let value = read(cpu, op, op.dst, 4)?;
    if value & !MXCSR_KNOWN != 0 {
        return GP;
    }
    cpu.mxcsr = value as u32;
    Ok(())
}

fn stmxcsr(cpu: &mut Cpu, op: &Op) -> Result<(), Trap> {
    sse_usable(cpu, op)?;
    let at = address(cpu, op, 4, Access::Write)?;
    cpu.store(at, cpu.mxcsr.into(), 4, cpu.user)
}

/// SDM Vol. 2B, RDPID.
fn rdpid(cpu: &mut Cpu, op: &Op) -> Result<(), Trap> {
    cpu.set_register(op.dst, cpu.word_bytes(), cpu.msr.tsc_aux.into());
    Ok(())
}

/// SDM Vol. 2B, RDFSBASE and RDGSBASE; the width is in `Op::aux`.
fn read_base<const SEGMENT: usize>(cpu: &mut Cpu, op: &Op) -> Result<(), Trap> {
    if cpu.cr4 & cr4::FSGSBASE == 0 {
        return Err(Fault::UD.into());
    }
    cpu.set_register(op.dst, op.aux, cpu.seg[SEGMENT].base);
    Ok(())
}

/// SDM Vol. 2D, WRFSBASE and WRGSBASE.
fn write_base<const SEGMENT: usize>(cpu: &mut Cpu, op: &Op) -> Result<(), Trap> {
    if cpu.cr4 & cr4::FSGSBASE == 0 {
        return Err(Fault::UD.into());
    }
    let base = cpu.register(op.dst, op.aux);
    if !is_canonical(base) {
        return GP;
    }
    cpu.seg[SEGMENT].base = base;
    Ok(())
}
