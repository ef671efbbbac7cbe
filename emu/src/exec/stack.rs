//! PUSH POP PUSHF POPF ENTER LEAVE.

use super::mov::{mov_mr, mov_rm};
use super::operand::{mem_op, place, read};
use super::{Bound, push_slow, system};
use crate::block::Builder;
use crate::cpu::fault::{Fault, Trap};
use crate::cpu::flags::{self, Lazy};
use crate::cpu::{Cpu, offset, regs};
use crate::decode::{Insn, Operand, Operation};
use crate::engine::{next, slow_handler};
use crate::op::{Handler, Op, access};
use crate::width::Width;

/// Operand size of stack instructions in 64-bit mode: 64 bits, or 16.
macro_rules! by_stack_width {
    ($i:expr, $T:ident => $e:expr) => {
        if $i.width == 2 {
            type $T = u16;
            $e
        } else {
            type $T = u64;
            $e
        }
    };
}

/// PUSH.
pub(crate) fn push(i: &Insn, b: &mut Builder) -> Bound {
    let (src, imm) = match i.operands[0] {
        Operand::Reg(src) => (src, None),
        Operand::Imm(value) => (offset::ZERO, Some(value)),
        Operand::Mem => {
            let op = mem_op(i, b, access::READ, i.width);
            let f: Handler = by_stack_width!(i, T => mov_rm::<T>);
            b.push(Op { f, dst: offset::VALUE, ..op });
            (offset::VALUE, None)
        }
        _ => return system::bind(i, b),
    };
    let access = access::WRITE | access::STACK | i.width.trailing_zeros() as u8;
    let f: Handler = match imm {
        Some(_) => by_stack_width!(i, T => push_value::<T, true>),
        None => by_stack_width!(i, T => push_value::<T, false>),
    };
    b.push(Op { f, src, imm: imm.unwrap_or(0), access, ..Builder::blank() });
    Ok(())
}

unsafe fn push_value<T: Width, const IMM: bool>(cpu: *mut Cpu, op: *const Op, budget: i64) -> i64 {
    // SAFETY: called by the engine.
    unsafe {
        let value = if IMM { T::low((*op).imm) } else { T::get(cpu, (*op).src) };
        let sp = (*cpu).gpr[regs::RSP].wrapping_sub(T::SIZE);
        let p = place!(T, cpu, op, budget, sp);
        p.write_unaligned(value);
        (*cpu).gpr[regs::RSP] = sp;
        next!(cpu, op, budget)
    }
}

/// POP. An address with RSP as base is computed after the increment (SDM Vol. 2B, POP).
pub(crate) fn pop(i: &Insn, b: &mut Builder) -> Bound {
    let access = access::READ | access::STACK | i.width.trailing_zeros() as u8;
    match i.operands[0] {
        Operand::Reg(dst) => {
            let f: Handler = by_stack_width!(i, T => pop_register::<T>);
            b.push(Op { f, dst, access, ..Builder::blank() });
        }
        Operand::Mem => {
            let f: Handler = by_stack_width!(i, T => mov_rm::<T>);
            b.push(Op { f, dst: offset::VALUE, base: offset::RSP, access, ..Builder::blank() });
            let mut after = i.clone();
            if after.mem.base == offset::RSP {
                after.mem.disp += i64::from(i.width);
            }
            let op = mem_op(&after, b, access::WRITE, i.width);
            let f: Handler = by_stack_width!(i, T => mov_mr::<T>);
            b.push(Op { f, src: offset::VALUE, ..op });
            b.push(Op { f: drop_bytes, imm: u64::from(i.width), ..Builder::blank() });
        }
        _ => return system::bind(i, b),
    }
    Ok(())
}

unsafe fn pop_register<T: Width>(cpu: *mut Cpu, op: *const Op, budget: i64) -> i64 {
    // SAFETY: called by the engine.
    unsafe {
        let sp = (*cpu).gpr[regs::RSP];
        let value = read!(T, cpu, op, budget, sp);
        (*cpu).gpr[regs::RSP] = sp.wrapping_add(T::SIZE);
        T::set(cpu, (*op).dst, value);
        next!(cpu, op, budget)
    }
}

unsafe fn drop_bytes(cpu: *mut Cpu, op: *const Op, budget: i64) -> i64 {
    // SAFETY: called by the engine.
    unsafe {
        (*cpu).gpr[regs::RSP] = (*cpu).gpr[regs::RSP].wrapping_add((*op).imm);
        next!(cpu, op, budget)
    }
}

/// LEAVE: RSP = RBP, POP RBP.
pub(crate) fn leave(i: &Insn, b: &mut Builder) -> Bound {
    let access = access::READ | access::STACK | i.width.trailing_zeros() as u8;
    let f: Handler = by_stack_width!(i, T => leave_frame::<T>);
    b.push(Op { f, access, ..Builder::blank() });
    Ok(())
}

unsafe fn leave_frame<T: Width>(cpu: *mut Cpu, op: *const Op, budget: i64) -> i64 {
    // SAFETY: called by the engine.
    unsafe {
        const RBP: u8 = (regs::RBP * 8) as u8;
        let sp = (*cpu).gpr[regs::RBP];
        let value = read!(T, cpu, op, budget, sp);
        (*cpu).gpr[regs::RSP] = sp.wrapping_add(T::SIZE);
        T::set(cpu, RBP, value);
        next!(cpu, op, budget)
    }
}

/// PUSHF, POPF, ENTER.
pub(crate) fn slow(i: &Insn, b: &mut Builder) -> Bound {
    let f = match i.operation {
        Operation::Pushf => slow_handler!(pushf),
        Operation::Popf => slow_handler!(popf),
        _ => slow_handler!(enter_frame),
    };
    let imm = |at: usize| match i.operands[at] {
        Operand::Imm(value) => value,
        _ => 0,
    };
    push_slow(f, Op { imm: imm(0) | imm(1) << 16, aux: i.width, ..Builder::blank() }, b)
}

/// A non-canonical address in the stack segment is #SS, not #GP.
fn on_stack(trap: Trap) -> Trap {
    if trap == Trap::Fault(Fault::GP0) { Fault::SS0.into() } else { trap }
}

fn pushf(cpu: &mut Cpu, op: &Op) -> Result<(), Trap> {
    let value = cpu.rflags_all() & !(flags::VM | flags::RF);
    let sp = cpu.gpr[regs::RSP].wrapping_sub(u64::from(op.aux));
    cpu.store(sp, value, usize::from(op.aux), cpu.user).map_err(on_stack)?;
    cpu.gpr[regs::RSP] = sp;
    Ok(())
}

/// What POPF may change depends on CPL and IOPL (SDM Vol. 2B, POPF).
fn popf(cpu: &mut Cpu, op: &Op) -> Result<(), Trap> {
    let sp = cpu.gpr[regs::RSP];
    let value =
        if op.aux == 2 { cpu.load::<2>(sp, cpu.user) } else { cpu.load::<8>(sp, cpu.user) }.map_err(on_stack)?;
    let old = cpu.rflags_all();
    let mut may = flags::ARITH | flags::TF | flags::DF | flags::NT | flags::AC | flags::ID;
    if cpu.cpl() == 0 {
        may |= flags::IOPL;
    }
    if u64::from(cpu.cpl()) <= (old & flags::IOPL) >> 12 {
        may |= flags::IF;
    }
    if op.aux == 2 {
        may &= 0xffff;
    }
    cpu.gpr[regs::RSP] = sp.wrapping_add(u64::from(op.aux));
    cpu.set_rflags_all((old & !may | value & may) & !flags::RF);
    Ok(())
}

/// ENTER (SDM Vol. 2A): `imm` is size | level << 16.
fn enter_frame(cpu: &mut Cpu, op: &Op) -> Result<(), Trap> {
    enter_on_stack(cpu, op).map_err(on_stack)
}

fn enter_on_stack(cpu: &mut Cpu, op: &Op) -> Result<(), Trap> {
    let (bytes, level) = (u64::from(op.aux), (op.imm >> 16) & 31);
    let user = cpu.user;
    let mut sp = cpu.gpr[regs::RSP].wrapping_sub(bytes);
    let mut bp = cpu.gpr[regs::RBP];
    cpu.store(sp, bp, op.aux.into(), user)?;
    let frame = sp;
    for _ in 1..level {
        bp = bp.wrapping_sub(bytes);
        let outer = if bytes == 2 { cpu.load::<2>(bp, user)? } else { cpu.load::<8>(bp, user)? };
        sp = sp.wrapping_sub(bytes);
        cpu.store(sp, outer, op.aux.into(), user)?;
    }
    if level > 0 {
        sp = sp.wrapping_sub(bytes);
        cpu.store(sp, frame, op.aux.into(), user)?;
    }
    sp = sp.wrapping_sub(op.imm & 0xffff);
    // The new stack top must be writable, or the instruction faults as a whole.
    cpu.probe_write(sp, bytes, user)?;
    cpu.gpr[regs::RSP] = sp;
    cpu.gpr[regs::RBP] = if bytes == 2 { cpu.gpr[regs::RBP] & !0xffff | frame & 0xffff } else { frame };
    Ok(())
}

impl Cpu {
    /// RFLAGS as the guest sees it.
    pub(crate) fn rflags_all(&self) -> u64 {
        self.rflags | self.flags.get() | flags::FIXED
    }

    /// Sets all of RFLAGS. Block chains must be left afterwards: IF and AC change what the run loop does.
    pub(crate) fn set_rflags_all(&mut self, value: u64) {
        self.flags = Lazy::explicit(value & flags::ARITH);
        self.rflags = value & flags::KNOWN & !(flags::ARITH | flags::FIXED);
        self.mode_changed();
    }
}
