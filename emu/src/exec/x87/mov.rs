//! Loads, stores, constants, exchanges and conditional moves.

use super::{Bound, Register};
use super::{
    available, is_blocked, load, note_ip, push_op, push_with, register, register_op, report, report_store, store,
    underflow,
};
use crate::block::Builder;
use crate::cpu::Cpu;
use crate::cpu::fault::Trap;
use crate::cpu::flags::{CF, Lazy, PF, ZF};
use crate::cpu::fpu::status::C1;
use crate::decode::{Insn, Operand, X87Move as O};
use crate::engine::{next, run_body, slow_handler};
use crate::exec::push_slow;
use crate::exec::system::{address, operands, unchecked_address};
use crate::fp::x80::{self, Env};
use crate::fp::{F32, F64};
use crate::mem::{Access, tlb_read, tlb_write};
use crate::op::{Handler, Op, access};
use crate::state::X80;

pub(crate) fn bind(op: O, i: &Insn, b: &mut Builder) -> Bound {
    let register = matches!(i.operands[0], Operand::St(_));
    match (op, i.mem_width) {
        (O::Fld, _) if register => register!(i, b, |cpu, op| load_register(cpu, op)),
        (O::Fld, 4) => load!(i, b, u32, |cpu, op, v| push_with(cpu, op, |_, env| x80::load_format::<F32>(v, env))),
        (O::Fld, 8) => load!(i, b, u64, |cpu, op, v| push_with(cpu, op, |_, env| x80::load_format::<F64>(v, env))),
        (O::Fld, _) => push_long(load_80_op, i, b, access::READ),
        (O::Fild, 2) => load!(i, b, u16, |cpu, op, v| push_with(cpu, op, |_, _| x80::from_int((v as i16).into()))),
        (O::Fild, 4) => load!(i, b, u32, |cpu, op, v| push_with(cpu, op, |_, _| x80::from_int((v as i32).into()))),
        (O::Fild, _) => load!(i, b, u64, |cpu, op, v| push_with(cpu, op, |_, _| x80::from_int(v as i64))),
        (O::Fbld, _) => long(slow_handler!(load_bcd), i, b, access::READ),
        (O::Fst, _) if register => register!(i, b, |cpu, op| store_register(cpu, op, false)),
        (O::Fstp, _) if register => register!(i, b, |cpu, op| store_register(cpu, op, true)),
        (O::Fstpnce, _) => register!(i, b, |cpu, op| store_quietly(cpu, op)),
        (O::Fst, 4) => store!(i, b, u32, |cpu, op| store_with(cpu, op, x80::to_format::<F32>, false)),
        (O::Fst, _) => store!(i, b, u64, |cpu, op| store_with(cpu, op, x80::to_format::<F64>, false)),
        (O::Fstp, 4) => store!(i, b, u32, |cpu, op| store_with(cpu, op, x80::to_format::<F32>, true)),
        (O::Fstp, 8) => store!(i, b, u64, |cpu, op| store_with(cpu, op, x80::to_format::<F64>, true)),
        (O::Fstp, _) => push_long(store_80_op, i, b, access::WRITE),
        (O::Fist, 2) => store!(i, b, u16, |cpu, op| store_with(cpu, op, int::<16, false>, false)),
        (O::Fist, _) => store!(i, b, u32, |cpu, op| store_with(cpu, op, int::<32, false>, false)),
        (O::Fistp, 2) => store!(i, b, u16, |cpu, op| store_with(cpu, op, int::<16, false>, true)),
        (O::Fistp, 4) => store!(i, b, u32, |cpu, op| store_with(cpu, op, int::<32, false>, true)),
        (O::Fistp, _) => store!(i, b, u64, |cpu, op| store_with(cpu, op, int::<64, false>, true)),
        (O::Fisttp, 2) => store!(i, b, u16, |cpu, op| store_with(cpu, op, int::<16, true>, true)),
        (O::Fisttp, 4) => store!(i, b, u32, |cpu, op| store_with(cpu, op, int::<32, true>, true)),
        (O::Fisttp, _) => store!(i, b, u64, |cpu, op| store_with(cpu, op, int::<64, true>, true)),
        (O::Fbstp, _) => long(slow_handler!(store_bcd), i, b, access::WRITE),
        (O::Fld1, _) => register!(i, b, |cpu, op| push_with(cpu, op, |_, _| X80::ONE)),
        (O::Fldz, _) => register!(i, b, |cpu, op| push_with(cpu, op, |_, _| X80::ZERO)),
        (O::Fldl2t, _) => register!(i, b, |cpu, op| push_with(cpu, op, |_, env| x80::LOG2_10.rounded(env))),
        (O::Fldl2e, _) => register!(i, b, |cpu, op| push_with(cpu, op, |_, env| x80::LOG2_E.rounded(env))),
        (O::Fldpi, _) => register!(i, b, |cpu, op| push_with(cpu, op, |_, env| x80::PI.rounded(env))),
        (O::Fldlg2, _) => register!(i, b, |cpu, op| push_with(cpu, op, |_, env| x80::LOG10_2.rounded(env))),
        (O::Fldln2, _) => register!(i, b, |cpu, op| push_with(cpu, op, |_, env| x80::LN_2.rounded(env))),
        (O::Fxch, _) => register!(i, b, |cpu, op| exchange(cpu, op)),
        (O::Fcmovb, _) => cmov::<CF, true>(i, b),
        (O::Fcmove, _) => cmov::<ZF, true>(i, b),
        (O::Fcmovbe, _) => cmov::<{ CF | ZF }, true>(i, b),
        (O::Fcmovu, _) => cmov::<PF, true>(i, b),
        (O::Fcmovnb, _) => cmov::<CF, false>(i, b),
        (O::Fcmovne, _) => cmov::<ZF, false>(i, b),
        (O::Fcmovnbe, _) => cmov::<{ CF | ZF }, false>(i, b),
        (O::Fcmovnu, _) => cmov::<PF, false>(i, b),
    }
}

fn int<const BITS: u32, const TRUNCATE: bool>(a: X80, env: &mut Env) -> u64 {
    x80::to_int(a, BITS, TRUNCATE, env)
}

fn load_register(cpu: &mut Cpu, op: &Op) {
    match cpu.fpu.st(op.dst) {
        Some(value) => push_with(cpu, op, |_, _| value),
        // Even if there is no room.
        None => {
            let mut env = cpu.fpu.env();
            let indefinite = underflow(&mut env);
            if report(cpu, op, &env) {
                cpu.fpu.push(indefinite);
            }
        }
    }
}

fn store_register(cpu: &mut Cpu, op: &Op, pop: bool) {
    let mut env = cpu.fpu.env();
    let value = cpu.fpu.st(0).unwrap_or_else(|| underflow(&mut env));
    if report(cpu, op, &env) {
        cpu.fpu.set_st(op.dst, value);
        if pop {
            cpu.fpu.pop();
        }
    }
}

/// FSTPNCE, which the manual does not have: nothing happens to an empty register.
fn store_quietly(cpu: &mut Cpu, op: &Op) {
    if let Some(value) = cpu.fpu.st(0) {
        cpu.fpu.set_st(op.dst, value);
    }
    cpu.fpu.status &= !C1;
    cpu.fpu.pop();
}

/// What goes to memory, ST(0) converted by `f`.
fn store_with(cpu: &mut Cpu, op: &Op, f: fn(X80, &mut Env) -> u64, pop: bool) -> Option<u64> {
    let mut env = cpu.fpu.env();
    let value = match cpu.fpu.st(0) {
        Some(a) => f(a, &mut env),
        None => {
            let indefinite = underflow(&mut env);
            f(indefinite, &mut env)
        }
    };
    let counts = report_store(cpu, op, &env);
    if counts && pop {
        cpu.fpu.pop();
    }
    counts.then_some(value)
}

/// SDM Vol. 2A, FXCH: an empty register takes part as the indefinite NaN.
fn exchange(cpu: &mut Cpu, op: &Op) {
    let mut env = cpu.fpu.env();
    let (a, b) = (cpu.fpu.st(0), cpu.fpu.st(op.src));
    let a = a.unwrap_or_else(|| underflow(&mut env));
    let b = b.unwrap_or_else(|| underflow(&mut env));
    if report(cpu, op, &env) {
        cpu.fpu.set_st(0, b);
        cpu.fpu.set_st(op.src, a);
    }
}

/// Moves if any of the flags is as wanted.
struct Cmov<const FLAGS: u64, const SET: bool>;
impl<const FLAGS: u64, const SET: bool> Register for Cmov<FLAGS, SET> {
    fn run(cpu: &mut Cpu, op: &Op) {
        let flags = cpu.flags.get();
        cpu.flags = Lazy::explicit(flags);
        let c1 = cpu.fpu.status & C1;
        let mut env = cpu.fpu.env();
        let (value, wanted) = match (cpu.fpu.st(0), cpu.fpu.st(op.src)) {
            (Some(_), Some(value)) => (value, (flags & FLAGS != 0) == SET),
            _ => (underflow(&mut env), true),
        };
        if report(cpu, op, &env) && wanted {
            cpu.fpu.set_st(0, value);
        }
        // Silicon leaves C1 alone where the stack is in order.
        cpu.fpu.status |= if env.raised == 0 { c1 } else { 0 };
    }
}

fn cmov<const FLAGS: u64, const SET: bool>(i: &Insn, b: &mut Builder) -> Bound {
    push_op(register_op::<Cmov<FLAGS, SET>>, i, b, 0)
}

/// The op of an operand of ten bytes, whose address is in `Cpu::tmp`.
fn long_op(i: &Insn, b: &mut Builder, how: u8) -> Op {
    let op = operands(i, b);
    Op { imm: i.x87_opcode.into(), access: op.access | how, ..op }
}

/// Binds an operand of ten bytes, which is no access of the fast path.
fn long(f: Handler, i: &Insn, b: &mut Builder, how: u8) -> Bound {
    let op = long_op(i, b, how);
    push_slow(f, op, b)
}

/// Likewise with a handler for the case that both parts of the operand are at hand.
fn push_long(f: Handler, i: &Insn, b: &mut Builder, how: u8) -> Bound {
    let op = long_op(i, b, how);
    b.push(Op { f, ..op });
    Ok(())
}

/// FLD from ten bytes: the slow way, which also leaves the block, unless the TLB knows the place.
unsafe fn load_80_op(cpu: *mut Cpu, op: *const Op, budget: i64) -> i64 {
    // SAFETY: called by the engine; the TLB vouches for both parts.
    unsafe {
        let (low, high) = (tlb_read::<u64>(cpu, (*cpu).tmp), tlb_read::<u16>(cpu, (*cpu).tmp.wrapping_add(8)));
        if low.is_null() || high.is_null() || is_blocked(cpu) {
            return run_body(cpu, op, budget, load_80);
        }
        push_80(cpu, op, low.read_unaligned(), high.read_unaligned());
        next!(cpu, op, budget)
    }
}

#[inline(never)]
unsafe fn push_80(cpu: *mut Cpu, op: *const Op, sig: u64, sign_exp: u16) {
    // SAFETY: called by a handler, which holds no reference.
    unsafe {
        note_ip(cpu, op);
        push_with(&mut *cpu, &*op, |_, _| X80 { sig, sign_exp });
    }
}

/// FSTP to ten bytes, likewise; an empty register goes the slow way, too.
unsafe fn store_80_op(cpu: *mut Cpu, op: *const Op, budget: i64) -> i64 {
    // SAFETY: called by the engine; the TLB vouches for both parts.
    unsafe {
        let (low, high) = (tlb_write::<u64>(cpu, (*cpu).tmp), tlb_write::<u16>(cpu, (*cpu).tmp.wrapping_add(8)));
        if low.is_null() || high.is_null() || is_blocked(cpu) || (*cpu).fpu.used >> (*cpu).fpu.top() & 1 == 0 {
            return run_body(cpu, op, budget, store_80);
        }
        note_ip(cpu, op);
        let value = (*cpu).fpu.regs[usize::from((*cpu).fpu.top())];
        low.write_unaligned(value.sig);
        high.write_unaligned(value.sign_exp);
        (*cpu).fpu.status &= !C1;
        (*cpu).fpu.pop();
        next!(cpu, op, budget)
    }
}

const LONG_BYTES: u64 = 10;

/// Reads the operand, after which nothing can go wrong but the arithmetic.
fn read_long(cpu: &mut Cpu, op: &Op) -> Result<(u64, u16), Trap> {
    available(cpu, true)?;
    let at = address(cpu, op, LONG_BYTES, Access::Read)?;
    cpu.tmp = at; // what FDP shows
    let mut bytes = [0; 16];
    cpu.read_linear(at, &mut bytes[..LONG_BYTES as usize], cpu.user)?;
    cpu.fpu.ip = cpu.rip.wrapping_sub(op.len.into());
    let value = u128::from_le_bytes(bytes);
    Ok((value as u64, (value >> 64) as u16))
}

fn load_80(cpu: &mut Cpu, op: &Op) -> Result<(), Trap> {
    let (sig, sign_exp) = read_long(cpu, op)?;
    push_with(cpu, op, |_, _| X80 { sig, sign_exp });
    Ok(())
}

fn load_bcd(cpu: &mut Cpu, op: &Op) -> Result<(), Trap> {
    let (low, high) = read_long(cpu, op)?;
    push_with(cpu, op, |_, _| x80::from_bcd(low, high));
    Ok(())
}

/// Stores ST(0) as `f` makes it, and pops.
fn store_long(cpu: &mut Cpu, op: &Op, f: fn(X80, &mut Env) -> (u64, u16)) -> Result<(), Trap> {
    available(cpu, true)?;
    let before = cpu.fpu;
    cpu.fpu.ip = cpu.rip.wrapping_sub(op.len.into());
    let mut env = cpu.fpu.env();
    let value = cpu.fpu.st(0).unwrap_or_else(|| underflow(&mut env));
    let (low, high) = f(value, &mut env);
    let offset = cpu.tmp;
    cpu.tmp = unchecked_address(cpu, op); // what FDP shows
    let counts = report(cpu, op, &env);
    cpu.tmp = offset;
    if counts {
        if let Err(trap) = write_long(cpu, op, low, high) {
            cpu.fpu = before;
            return Err(trap);
        }
        cpu.fpu.pop();
    }
    Ok(())
}

/// As silicon does: eight bytes, which stay if the other two fault.
fn write_long(cpu: &mut Cpu, op: &Op, low: u64, high: u16) -> Result<(), Trap> {
    let at = address(cpu, op, LONG_BYTES, Access::Write)?;
    cpu.store(at, low, 8, cpu.user)?;
    cpu.store(at.wrapping_add(8), high.into(), 2, cpu.user)
}

fn store_80(cpu: &mut Cpu, op: &Op) -> Result<(), Trap> {
    store_long(cpu, op, |a, _| (a.sig, a.sign_exp))
}

fn store_bcd(cpu: &mut Cpu, op: &Op) -> Result<(), Trap> {
    store_long(cpu, op, x80::bcd_of)
}
