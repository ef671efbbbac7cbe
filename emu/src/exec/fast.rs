//! Fast system calls: SYSCALL, SYSRET, SYSENTER, SYSEXIT (SDM Vol. 2B). Flat segments, whatever the tables say.

use super::system::privileged;
use crate::cpu::Cpu;
use crate::cpu::fault::{Fault, Trap};
use crate::cpu::flags;
use crate::cpu::regs::{CS, R11, RCX, RDX, RSP, SS, cr0, efer};
use crate::cpu::segments::rights;
use crate::mem::is_canonical;
use crate::op::Op;
use crate::state::Segment;

/// #UD outside 64-bit mode.
pub(super) fn long(cpu: &Cpu) -> Result<(), Trap> {
    if cpu.is_long() { Ok(()) } else { Err(Fault::UD.into()) }
}

/// Exists in 64-bit mode only, and there if EFER.SCE says so.
fn enabled(cpu: &Cpu) -> Result<(), Trap> {
    long(cpu)?;
    if cpu.msr.efer & efer::SCE == 0 { Err(Fault::UD.into()) } else { Ok(()) }
}

pub(super) fn syscall(cpu: &mut Cpu, _op: &Op) -> Result<(), Trap> {
    enabled(cpu)?;
    let image = cpu.rflags_all() & !flags::RF;
    (cpu.gpr[RCX], cpu.gpr[R11]) = (cpu.rip, image);
    cpu.rip = cpu.msr.lstar;
    enter_flat(cpu, (cpu.msr.star >> 32) as u16, 8, 0, rights::FLAT_CODE);
    cpu.set_rflags_all(image & !cpu.msr.fmask);
    // Single-stepping goes on in the handler only if the mask lets it.
    cpu.stepping &= cpu.rflags & flags::TF != 0;
    Ok(())
}

/// To 64-bit code, or without REX.W to compatibility mode.
pub(super) fn sysret(cpu: &mut Cpu, op: &Op) -> Result<(), Trap> {
    enabled(cpu)?;
    privileged(cpu)?;
    let selector = (cpu.msr.star >> 48) as u16;
    let rip = cpu.gpr[RCX];
    if op.aux == 8 {
        if !is_canonical(rip) {
            return Err(Fault::GP0.into());
        }
        cpu.rip = rip;
        enter_flat(cpu, selector.wrapping_add(16), 0u16.wrapping_sub(8), 3, rights::FLAT_CODE);
    } else {
        cpu.rip = rip & u64::from(u32::MAX);
        enter_flat(cpu, selector, 8, 3, rights::FLAT_CODE_32);
    }
    cpu.set_rflags_all(cpu.gpr[R11] & 0x003c_7fd7);
    Ok(())
}

/// The selector of the code segment that SYSENTER loads; the others follow it.
fn sysenter_selector(cpu: &Cpu) -> Result<u16, Trap> {
    let selector = cpu.msr.sysenter_cs as u16;
    if cpu.cr0 & cr0::PE == 0 || selector & !3 == 0 { Err(Fault::GP0.into()) } else { Ok(selector) }
}

pub(super) fn sysenter(cpu: &mut Cpu, _op: &Op) -> Result<(), Trap> {
    let selector = sysenter_selector(cpu)?;
    let (mask, code) = match cpu.is_ia32e() {
        true => (u64::MAX, rights::FLAT_CODE),
        false => (u32::MAX.into(), rights::FLAT_CODE_32),
    };
    cpu.gpr[RSP] = cpu.msr.sysenter_esp & mask;
    cpu.rip = cpu.msr.sysenter_eip & mask;
    cpu.rflags &= !(flags::VM | flags::IF | flags::RF);
    enter_flat(cpu, selector, 8, 0, code);
    cpu.mode_changed();
    Ok(())
}

pub(super) fn sysexit(cpu: &mut Cpu, op: &Op) -> Result<(), Trap> {
    let selector = sysenter_selector(cpu)?;
    privileged(cpu)?;
    if op.aux == 8 {
        if !is_canonical(cpu.gpr[RDX]) || !is_canonical(cpu.gpr[RCX]) {
            return Err(Fault::GP0.into());
        }
        (cpu.rip, cpu.gpr[RSP]) = (cpu.gpr[RDX], cpu.gpr[RCX]);
        enter_flat(cpu, selector.wrapping_add(32), 8, 3, rights::FLAT_CODE);
    } else {
        let low = |value: u64| value & u64::from(u32::MAX);
        (cpu.rip, cpu.gpr[RSP]) = (low(cpu.gpr[RDX]), low(cpu.gpr[RCX]));
        enter_flat(cpu, selector.wrapping_add(16), 8, 3, rights::FLAT_CODE_32);
    }
    cpu.mode_changed();
    Ok(())
}

/// Flat CS and SS at `cpl`: SS is `to_stack` from CS.
fn enter_flat(cpu: &mut Cpu, code: u16, to_stack: u16, cpl: u16, code_rights: u16) {
    let segment = |selector: u16, rights: u16| Segment {
        selector: selector & !3 | cpl,
        base: 0,
        limit: u32::MAX,
        rights: rights | cpl << 5,
    };
    let code = code & !3;
    cpu.seg[CS] = segment(code, code_rights);
    cpu.seg[SS] = segment(code.wrapping_add(to_stack), rights::FLAT_DATA);
}
