//! Control and environment: plain functions on the CPU that leave the fast path, but for what programs do all the time.

use super::{Bound, available, blocked, is_blocked, push_op, register};
use crate::block::Builder;
use crate::cpu::Cpu;
use crate::cpu::fault::{Fault, Trap};
use crate::cpu::fpu::status::{B, C1, ES};
use crate::cpu::regs::{RAX, cr0};
use crate::decode::{Insn, Operand, X87Control as O};
use crate::engine::{next, not_available, slow_handler};
use crate::exec::operand::{ea, place, read};
use crate::exec::push_slow;
use crate::exec::system::{address, operands};
use crate::fp::x80::flag;
use crate::mem::Access;
use crate::op::{Handler, Op, access};
use crate::state::{Fpu, X80};

pub(crate) fn bind(op: O, i: &Insn, b: &mut Builder) -> Bound {
    let f: Handler = match op {
        O::Fnstcw => return push_op(store_word::<false>, i, b, access::WRITE),
        O::Fnstsw if i.operands[0] == Operand::Mem => return push_op(store_word::<true>, i, b, access::WRITE),
        O::Fnstsw => return push_op(status_to_ax, i, b, 0),
        O::Fldcw => return push_op(load_control, i, b, access::READ),
        O::Fincstp => return register!(i, b, |cpu, _| turn(&mut cpu.fpu, 1)),
        O::Fdecstp => return register!(i, b, |cpu, _| turn(&mut cpu.fpu, 7)),
        O::Ffree => {
            return register!(i, b, |cpu, op| {
                cpu.fpu.free(op.dst);
                cpu.fpu.status &= !C1;
            });
        }
        O::Ffreep => {
            return register!(i, b, |cpu, op| {
                cpu.fpu.free(op.dst);
                cpu.fpu.status &= !C1;
                cpu.fpu.pop();
            });
        }
        O::Fnop => return register!(i, b, |_, _| ()),
        O::Fneni | O::Fndisi | O::Fnsetpm => slow_handler!(nothing),
        O::Wait => slow_handler!(wait),
        O::Fninit => slow_handler!(initialise),
        O::Fnclex => slow_handler!(clear_exceptions),
        O::Fnstenv => slow_handler!(store_environment),
        O::Fldenv => slow_handler!(load_environment),
        O::Fnsave => slow_handler!(save),
        O::Frstor => slow_handler!(restore),
    };
    let op = operands(i, b);
    push_slow(f, Op { aux: i.mem_width, ..op }, b)
}

/// FINCSTP, FDECSTP: nothing becomes empty.
fn turn(fpu: &mut Fpu, by: u8) {
    fpu.set_top(fpu.top() + by);
    fpu.status &= !C1;
}

/// FNSTCW, or FNSTSW: neither waits.
unsafe fn store_word<const STATUS: bool>(cpu: *mut Cpu, op: *const Op, budget: i64) -> i64 {
    // SAFETY: called by the engine.
    unsafe {
        if (*cpu).cr0 & (cr0::EM | cr0::TS) != 0 {
            return not_available(cpu, op, budget);
        }
        let to = place!(u16, cpu, op, budget, ea(cpu, op));
        to.write_unaligned(if STATUS { (*cpu).fpu.status } else { (*cpu).fpu.control });
        next!(cpu, op, budget)
    }
}

unsafe fn load_control(cpu: *mut Cpu, op: *const Op, budget: i64) -> i64 {
    // SAFETY: called by the engine.
    unsafe {
        if is_blocked(cpu) {
            return blocked(cpu, op, budget);
        }
        let value = read!(u16, cpu, op, budget, ea(cpu, op));
        (*cpu).fpu.set_control(value);
        next!(cpu, op, budget)
    }
}

unsafe fn status_to_ax(cpu: *mut Cpu, op: *const Op, budget: i64) -> i64 {
    // SAFETY: called by the engine.
    unsafe {
        if (*cpu).cr0 & (cr0::EM | cr0::TS) != 0 {
            return not_available(cpu, op, budget);
        }
        (*cpu).gpr[RAX] = (*cpu).gpr[RAX] & !0xffff | u64::from((*cpu).fpu.status);
        next!(cpu, op, budget)
    }
}

fn nothing(cpu: &mut Cpu, _op: &Op) -> Result<(), Trap> {
    available(cpu, false)
}

/// WAIT looks at CR0.MP where the others look at EM (SDM Vol. 3A, table 9-3).
fn wait(cpu: &mut Cpu, _op: &Op) -> Result<(), Trap> {
    if cpu.cr0 & (cr0::MP | cr0::TS) == cr0::MP | cr0::TS {
        return Err(Fault::NM.into());
    }
    if cpu.fpu.status & ES != 0 { Err(Fault::MF.into()) } else { Ok(()) }
}

fn initialise(cpu: &mut Cpu, _op: &Op) -> Result<(), Trap> {
    available(cpu, false)?;
    cpu.fpu = Fpu { regs: cpu.fpu.regs, ..Fpu::default() };
    Ok(())
}

fn clear_exceptions(cpu: &mut Cpu, _op: &Op) -> Result<(), Trap> {
    available(cpu, false)?;
    cpu.fpu.status &= !(flag::ALL | flag::SF | ES | B);
    Ok(())
}

/// Bytes of the environment with 32-bit and 16-bit operand size, and of the registers behind it.
const WIDE_BYTES: usize = 28;
const NARROW_BYTES: usize = 14;
const REGISTERS_BYTES: usize = 80;

/// The environment as protected mode and as real mode lay it out (SDM Vol. 1, figures 8-9 to 8-12). Code and data selectors
/// are gone (CPUID.7.0:EBX[13]).
fn environment(cpu: &Cpu, wide: bool) -> Vec<u8> {
    let fpu = &cpu.fpu;
    let (ip, dp, opcode) = (fpu.ip as u32, fpu.dp as u32, u32::from(fpu.opcode));
    let pointers = match (cpu.is_protected(), wide) {
        (true, true) => [ip, opcode << 16, dp, 0xffff_0000],
        (true, false) => [ip, 0, dp, 0],
        (false, true) => [ip & 0xffff, ip >> 16 << 12 | opcode, dp & 0xffff, dp >> 16 << 12],
        (false, false) => [ip, ip >> 16 << 12 | opcode, dp, dp >> 16 << 12],
    };
    let words = [fpu.control, fpu.status, fpu.tag_word()];
    if !wide {
        let all = words.into_iter().chain(pointers.map(|pointer| pointer as u16));
        return all.flat_map(u16::to_le_bytes).collect();
    }
    let all = words.map(|word| u32::from(word) | 0xffff_0000).into_iter().chain(pointers);
    all.flat_map(u32::to_le_bytes).collect()
}

fn set_environment(cpu: &mut Cpu, image: &[u8], wide: bool) {
    let step = if wide { 4 } else { 2 };
    let field = |n: usize| image[n * step..][..step].iter().rev().fold(0u64, |sum, b| sum << 8 | u64::from(*b));
    let protected = cpu.is_protected();
    let fpu = &mut cpu.fpu;
    fpu.status = field(1) as u16;
    fpu.set_tag_word(field(2) as u16);
    if protected {
        (fpu.ip, fpu.dp) = (field(3), field(5));
        fpu.opcode = if wide { (field(4) >> 16) as u16 & 0x7ff } else { 0 };
    } else {
        let pointer = |low: u64, high: u64| low & 0xffff | (high & 0x0fff_f000) << 4;
        (fpu.ip, fpu.dp) = (pointer(field(3), field(4)), pointer(field(5), field(6)));
        fpu.opcode = field(4) as u16 & 0x7ff;
    }
    fpu.set_control(field(0) as u16);
}

/// Whether the environment of the operand is that of 32-bit operand size, and how long it is.
fn layout(wide: bool) -> usize {
    if wide { WIDE_BYTES } else { NARROW_BYTES }
}

fn store_environment(cpu: &mut Cpu, op: &Op) -> Result<(), Trap> {
    available(cpu, false)?;
    let wide = usize::from(op.aux) == WIDE_BYTES;
    let at = address(cpu, op, layout(wide) as u64, Access::Write)?;
    let image = environment(cpu, wide);
    cpu.write_linear(at, &image, cpu.user)?;
    cpu.fpu.set_control(cpu.fpu.control | flag::ALL);
    Ok(())
}

fn load_environment(cpu: &mut Cpu, op: &Op) -> Result<(), Trap> {
    available(cpu, true)?;
    let wide = usize::from(op.aux) == WIDE_BYTES;
    let at = address(cpu, op, layout(wide) as u64, Access::Read)?;
    let mut image = [0; WIDE_BYTES];
    let image = &mut image[..layout(wide)];
    cpu.read_linear(at, image, cpu.user)?;
    set_environment(cpu, image, wide);
    Ok(())
}

fn save(cpu: &mut Cpu, op: &Op) -> Result<(), Trap> {
    available(cpu, false)?;
    let wide = usize::from(op.aux) == WIDE_BYTES + REGISTERS_BYTES;
    let mut image = environment(cpu, wide);
    for i in 0..8 {
        let value = cpu.fpu.regs[usize::from((cpu.fpu.top() + i) & 7)];
        image.extend(value.sig.to_le_bytes());
        image.extend(value.sign_exp.to_le_bytes());
    }
    let at = address(cpu, op, image.len() as u64, Access::Write)?;
    cpu.write_linear(at, &image, cpu.user)?;
    initialise(cpu, op)
}

fn restore(cpu: &mut Cpu, op: &Op) -> Result<(), Trap> {
    available(cpu, true)?;
    let wide = usize::from(op.aux) == WIDE_BYTES + REGISTERS_BYTES;
    let mut image = [0; WIDE_BYTES + REGISTERS_BYTES];
    let image = &mut image[..layout(wide) + REGISTERS_BYTES];
    let at = address(cpu, op, image.len() as u64, Access::Read)?;
    cpu.read_linear(at, image, cpu.user)?;
    let (head, registers) = image.split_at(layout(wide));
    set_environment(cpu, head, wide);
    for (i, bytes) in (0..8).zip(registers.chunks_exact(10)) {
        let sum = bytes.iter().rev().fold(0u128, |sum, b| sum << 8 | u128::from(*b));
        let place = usize::from((cpu.fpu.top() + i) & 7);
        cpu.fpu.regs[place] = X80 { sig: sum as u64, sign_exp: (sum >> 64) as u16 };
    }
    Ok(())
}
