//! Near branches outside the fast path: of segmented code, whose targets have a limit, and with 16-bit operands.

use super::mov::by_condition;
use super::operand::{flags, test};
use super::{Bound, push_slow, system};
use crate::block::Builder;
use crate::cpu::Cpu;
use crate::cpu::fault::{Fault, Trap};
use crate::cpu::flags::ZF;
use crate::cpu::mode::truncated;
use crate::cpu::regs;
use crate::decode::{Insn, Operand, Operation};
use crate::engine::{general_protection, jump, slow_handler};
use crate::mem::is_canonical;
use crate::op::{Handler, Op};
use crate::width::{Width, by_width};

/// The ops' target in `imm`, from the block's first byte, where the instruction ends in `disp`.
fn op(i: &Insn, target: i64) -> Op {
    Op { imm: target as u64, disp: i.end_off() as i32, aux: i.width, ..Builder::blank() }
}

/// Goes to the op's target, or leaves with #GP(0): what stands last is done before the former.
macro_rules! branch {
    ($cpu:expr, $op:expr, $budget:expr $(, $commit:expr)?) => {{
        let target = truncated((*$cpu).rip.wrapping_add((*$op).imm), (*$op).aux);
        if target > u64::from((*$cpu).seg[regs::CS].limit) {
            return general_protection($cpu, $op, $budget);
        }
        $($commit;)?
        jump!($cpu, target, $budget)
    }};
}

/// Goes on behind the instruction.
macro_rules! pass {
    ($cpu:expr, $op:expr, $budget:expr) => {{
        let rip = (*$cpu).rip.wrapping_add((*$op).disp as u64) & (*$cpu).ip_mask;
        jump!($cpu, rip, $budget)
    }};
}

/// Jcc.
pub(super) fn jcc(i: &Insn, b: &mut Builder, target: i64) -> Bound {
    let f: Handler = by_condition!(i.cc, C => jump_if::<C>);
    b.push(Op { f, ..op(i, target) });
    b.end();
    Ok(())
}

unsafe fn jump_if<const CC: u8>(cpu: *mut Cpu, op: *const Op, budget: i64) -> i64 {
    // SAFETY: called by the engine.
    unsafe {
        if test!(CC, cpu, op, budget) {
            branch!(cpu, op, budget)
        }
        pass!(cpu, op, budget)
    }
}

/// LOOP, LOOPE, LOOPNE and JCXZ.
pub(super) fn count(i: &Insn, b: &mut Builder, target: i64) -> Bound {
    let f: Handler = by_width!(i.address_width, T => match i.operation {
        Operation::Loop => loop_while::<T, 0>,
        Operation::Loope => loop_while::<T, 1>,
        Operation::Loopne => loop_while::<T, 2>,
        _ => loop_while::<T, 3>,
    });
    b.push(Op { f, ..op(i, target) });
    b.end();
    Ok(())
}

/// `HOW`: 0 LOOP, 1 LOOPE, 2 LOOPNE, 3 JCXZ.
unsafe fn loop_while<T: Width, const HOW: u8>(cpu: *mut Cpu, op: *const Op, budget: i64) -> i64 {
    // SAFETY: called by the engine.
    unsafe {
        const RCX: u8 = (regs::RCX * 8) as u8;
        let count = T::get(cpu, RCX).zx();
        if HOW == 3 {
            if count == 0 {
                branch!(cpu, op, budget)
            }
            pass!(cpu, op, budget)
        }
        let zero = HOW != 0 && flags!(cpu, op, budget) & ZF != 0;
        let left = T::low(count.wrapping_sub(1));
        if left.zx() != 0 && (HOW == 0 || zero == (HOW == 1)) {
            branch!(cpu, op, budget, T::set(cpu, RCX, left))
        }
        T::set(cpu, RCX, left);
        pass!(cpu, op, budget)
    }
}

/// The op of JMP or CALL: what a relative one adds to the next instruction's address in `imm`.
fn transfer(f: Handler, i: &Insn, b: &mut Builder) -> Bound {
    let op = match i.operands[0] {
        Operand::Branch(target) => {
            let imm = target.wrapping_sub(i.end_off()) as u64;
            Op { imm, aux: i.width, scale: system::IMMEDIATE, ..Builder::blank() }
        }
        _ => system::operands(i, b),
    };
    push_slow(f, op, b)
}

fn target(cpu: &mut Cpu, op: &Op) -> Result<u64, Trap> {
    let to = match op.scale {
        system::IMMEDIATE => truncated(cpu.rip.wrapping_add(op.imm), op.aux),
        _ => system::read(cpu, op, op.dst, op.aux)?,
    };
    cpu.check_target(to)?;
    Ok(to)
}

/// JMP.
pub(super) fn jmp(i: &Insn, b: &mut Builder) -> Bound {
    transfer(slow_handler!(jmp_body), i, b)
}

fn jmp_body(cpu: &mut Cpu, op: &Op) -> Result<(), Trap> {
    cpu.rip = target(cpu, op)?;
    Ok(())
}

/// CALL.
pub(super) fn call(i: &Insn, b: &mut Builder) -> Bound {
    transfer(slow_handler!(call_body), i, b)
}

fn call_body(cpu: &mut Cpu, op: &Op) -> Result<(), Trap> {
    let to = target(cpu, op)?;
    cpu.push(cpu.rip, op.aux)?;
    cpu.rip = to;
    Ok(())
}

/// RET.
pub(super) fn ret(i: &Insn, b: &mut Builder, pop: u64) -> Bound {
    push_slow(slow_handler!(ret_body), Op { imm: pop, aux: i.width, ..Builder::blank() }, b)
}

fn ret_body(cpu: &mut Cpu, op: &Op) -> Result<(), Trap> {
    let to = cpu.stack_word(0, op.aux)?;
    cpu.check_target(to)?;
    if !is_canonical(to) {
        return Err(Fault::GP0.into());
    }
    cpu.gpr[regs::RSP] = cpu.stack_moved(u64::from(op.aux) + op.imm);
    cpu.rip = to;
    Ok(())
}
