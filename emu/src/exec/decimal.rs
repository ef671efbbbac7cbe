//! What 64-bit mode does not have: AAA AAS AAM AAD DAA DAS, SALC, BOUND. Flags that the SDM leaves undefined are silicon's.

use super::system::{address, operands};
use super::{Bound, push_slow};
use crate::block::Builder;
use crate::cpu::Cpu;
use crate::cpu::fault::{Fault, Trap};
use crate::cpu::flags::{AF, CF, Lazy, szp};
use crate::cpu::regs::RAX;
use crate::decode::{Insn, Operation as O};
use crate::engine::slow_handler;
use crate::mem::Access;
use crate::op::{Handler, Op};

pub(super) fn bind(i: &Insn, b: &mut Builder) -> Bound {
    let f: Handler = match i.operation {
        O::Aaa => slow_handler!(aaa),
        O::Aas => slow_handler!(aas),
        O::Aam => slow_handler!(aam),
        O::Aad => slow_handler!(aad),
        O::Daa => slow_handler!(daa),
        O::Das => slow_handler!(das),
        O::Salc => slow_handler!(salc),
        _ => slow_handler!(bound),
    };
    let op = operands(i, b);
    push_slow(f, op, b)
}

const AL: u8 = 0;

fn ax(cpu: &Cpu) -> u16 {
    cpu.gpr[RAX] as u16
}

/// Sets AX, and the flags: SF, ZF and PF of AL, with `others`.
fn give(cpu: &mut Cpu, value: u16, others: u64) {
    cpu.set_register(AL, 2, value.into());
    let al = value as u8 as i8;
    cpu.flags = Lazy::explicit(szp(al as u64) | others);
}

/// Whether the low digit of AL needs adjusting.
fn adjusts(cpu: &Cpu) -> bool {
    ax(cpu) & 0xf > 9 || cpu.flags.get() & AF != 0
}

fn aaa(cpu: &mut Cpu, _op: &Op) -> Result<(), Trap> {
    let adjust = adjusts(cpu);
    let value = if adjust { ax(cpu).wrapping_add(0x106) } else { ax(cpu) };
    give(cpu, value & 0xff0f, if adjust { AF | CF } else { 0 });
    Ok(())
}

fn aas(cpu: &mut Cpu, _op: &Op) -> Result<(), Trap> {
    let adjust = adjusts(cpu);
    let value = if adjust { ax(cpu).wrapping_sub(0x106) } else { ax(cpu) };
    give(cpu, value & 0xff0f, if adjust { AF | CF } else { 0 });
    Ok(())
}

fn aam(cpu: &mut Cpu, op: &Op) -> Result<(), Trap> {
    let base = op.imm as u8;
    let al = ax(cpu) as u8;
    let (Some(high), Some(low)) = (al.checked_div(base), al.checked_rem(base)) else {
        return Err(Fault::DE.into());
    };
    give(cpu, u16::from(high) << 8 | u16::from(low), 0);
    Ok(())
}

fn aad(cpu: &mut Cpu, op: &Op) -> Result<(), Trap> {
    let [al, ah] = ax(cpu).to_le_bytes();
    let tens = ah.wrapping_mul(op.imm as u8);
    cpu.set_register(AL, 2, al.wrapping_add(tens).into());
    cpu.flags = Lazy::add(al, tens);
    Ok(())
}

/// DAA and DAS: what is added or subtracted, and the flags.
fn decimal(cpu: &Cpu) -> (u8, u64) {
    let (al, flags) = (ax(cpu) as u8, cpu.flags.get());
    let low = if adjusts(cpu) { 6 } else { 0 };
    let high = if al > 0x99 || flags & CF != 0 { 0x60 } else { 0 };
    (low + high, if low != 0 { AF } else { 0 } | if high != 0 { CF } else { 0 })
}

fn daa(cpu: &mut Cpu, _op: &Op) -> Result<(), Trap> {
    let (by, flags) = decimal(cpu);
    let al = (ax(cpu) as u8).wrapping_add(by);
    give(cpu, ax(cpu) & 0xff00 | u16::from(al), flags);
    Ok(())
}

fn das(cpu: &mut Cpu, _op: &Op) -> Result<(), Trap> {
    let (by, flags) = decimal(cpu);
    let before = ax(cpu) as u8;
    let al = before.wrapping_sub(by);
    // A borrow of the low digit counts, too.
    let borrow = if by & 0xf != 0 && before < 6 { CF } else { 0 };
    give(cpu, ax(cpu) & 0xff00 | u16::from(al), flags | borrow);
    Ok(())
}

/// SALC: AL is filled with CF.
fn salc(cpu: &mut Cpu, _op: &Op) -> Result<(), Trap> {
    let value = if cpu.flags.carry() != 0 { 0xff } else { 0 };
    cpu.set_register(AL, 1, value);
    Ok(())
}

/// BOUND (SDM Vol. 2A): signed bounds, both included; the upper one is read if the lower one holds.
fn bound(cpu: &mut Cpu, op: &Op) -> Result<(), Trap> {
    let at = address(cpu, op, 2 * u64::from(op.aux), Access::Read)?;
    let signed = |value: u64| (value << (64 - 8 * u32::from(op.aux))) as i64;
    let index = signed(cpu.register(op.dst, op.aux));
    if index < signed(cpu.load_bytes(at, op.aux)?) {
        return Err(Fault::BR.into());
    }
    let high = cpu.load_bytes(at.wrapping_add(op.aux.into()), op.aux)?;
    if index > signed(high) { Err(Fault::BR.into()) } else { Ok(()) }
}
