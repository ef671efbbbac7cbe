//! The x87: operand access and the kinds of handler. What an instruction does is a body, out of line so that handlers keep
//! nothing on the stack; arithmetic is in `crate::fp::x80`, the register stack in `crate::cpu`.

pub(crate) mod arith;
pub(crate) mod control;
pub(crate) mod function;
pub(crate) mod mov;

use super::operand::{ea, mem_op, place, read};
use super::{Bound, Unsupported};
use crate::block::Builder;
use crate::cpu::Cpu;
use crate::cpu::fault::{Fault, Trap};
use crate::cpu::fpu::status;
use crate::cpu::regs::cr0;
use crate::decode::{Insn, Operand};
use crate::engine::{next, not_available, x87_exception};
use crate::fp::x80::{self, Env, flag};
use crate::fp::{F32, F64};
use crate::op::{Handler, Op, access};
use crate::state::{Fpu, X80};
use crate::width::Width;

/// An instruction on registers.
trait Register {
    fn run(cpu: &mut Cpu, op: &Op);
}

/// An instruction with an operand from memory.
trait Load {
    type T: Width;
    fn run(cpu: &mut Cpu, op: &Op, value: u64);
}

/// An instruction with a result for memory, if it gives one.
trait Store {
    type T: Width;
    fn run(cpu: &mut Cpu, op: &Op) -> Option<u64>;
}

/// How a value in memory is read.
trait Source {
    type T: Width;
    fn value(raw: u64, env: &mut Env) -> X80;
}

impl Source for F32 {
    type T = u32;
    fn value(raw: u64, env: &mut Env) -> X80 {
        x80::from_format::<Self>(raw, env)
    }
}

impl Source for F64 {
    type T = u64;
    fn value(raw: u64, env: &mut Env) -> X80 {
        x80::from_format::<Self>(raw, env)
    }
}

/// A signed integer of the width of `T`.
struct Integer<T>(std::marker::PhantomData<T>);

impl<T: Width> Source for Integer<T> {
    type T = T;
    fn value(raw: u64, _: &mut Env) -> X80 {
        x80::from_int(T::low(raw).sx() as i64)
    }
}

/// Whether a waiting instruction cannot begin.
#[inline(always)]
unsafe fn is_blocked(cpu: *const Cpu) -> bool {
    // SAFETY: called by a handler.
    unsafe { (*cpu).cr0 & (cr0::EM | cr0::TS) != 0 || (*cpu).fpu.status & status::ES != 0 }
}

/// SDM Vol. 3A, 2.5 (EM, TS); Vol. 1, 8.7: a pending exception comes with the next waiting instruction.
#[cold]
#[inline(never)]
unsafe fn blocked(cpu: *mut Cpu, op: *const Op, budget: i64) -> i64 {
    // SAFETY: a handler's tail.
    unsafe {
        if (*cpu).cr0 & (cr0::EM | cr0::TS) != 0 {
            not_available(cpu, op, budget)
        } else {
            x87_exception(cpu, op, budget)
        }
    }
}

/// The same for instructions outside the fast path.
fn available(cpu: &Cpu, waits: bool) -> Result<(), Trap> {
    if cpu.cr0 & (cr0::EM | cr0::TS) != 0 {
        return Err(Fault::NM.into());
    }
    if waits && cpu.fpu.status & status::ES != 0 { Err(Fault::MF.into()) } else { Ok(()) }
}

unsafe fn register_op<B: Register>(cpu: *mut Cpu, op: *const Op, budget: i64) -> i64 {
    // SAFETY: called by the engine.
    unsafe {
        if is_blocked(cpu) {
            return blocked(cpu, op, budget);
        }
        run_register::<B>(cpu, op);
        next!(cpu, op, budget)
    }
}

#[inline(never)]
unsafe fn run_register<B: Register>(cpu: *mut Cpu, op: *const Op) {
    // SAFETY: called by a handler, which holds no reference.
    unsafe {
        note_ip(cpu, op);
        B::run(&mut *cpu, &*op);
    }
}

unsafe fn load_op<B: Load>(cpu: *mut Cpu, op: *const Op, budget: i64) -> i64 {
    // SAFETY: called by the engine.
    unsafe {
        if is_blocked(cpu) {
            return blocked(cpu, op, budget);
        }
        let value = read!(B::T, cpu, op, budget, ea(cpu, op));
        run_load::<B>(cpu, op, value.zx());
        next!(cpu, op, budget)
    }
}

#[inline(never)]
unsafe fn run_load<B: Load>(cpu: *mut Cpu, op: *const Op, value: u64) {
    // SAFETY: called by a handler, which holds no reference.
    unsafe {
        note_ip(cpu, op);
        B::run(&mut *cpu, &*op, value);
    }
}

unsafe fn store_op<B: Store>(cpu: *mut Cpu, op: *const Op, budget: i64) -> i64 {
    // SAFETY: called by the engine.
    unsafe {
        if is_blocked(cpu) {
            return blocked(cpu, op, budget);
        }
        if (*cpu).fpu.control & flag::ALL != flag::ALL && !gives::<B>(cpu, op) {
            next!(cpu, op, budget)
        }
        let to = place!(B::T, cpu, op, budget, ea(cpu, op));
        run_store::<B>(cpu, op, to);
        next!(cpu, op, budget)
    }
}

/// Whether there is a result; if there is none, memory must not be touched, and this was the instruction.
#[cold]
#[inline(never)]
unsafe fn gives<B: Store>(cpu: *mut Cpu, op: *const Op) -> bool {
    // SAFETY: called by a handler, which holds no reference.
    unsafe {
        let before = (*cpu).fpu;
        note_ip(cpu, op);
        let gives = B::run(&mut *cpu, &*op).is_some();
        if gives {
            (*cpu).fpu = before;
        }
        gives
    }
}

#[inline(never)]
unsafe fn run_store<B: Store>(cpu: *mut Cpu, op: *const Op, to: *mut B::T) {
    // SAFETY: called by a handler, which holds no reference; `to` is writable guest memory.
    unsafe {
        note_ip(cpu, op);
        if let Some(value) = B::run(&mut *cpu, &*op) {
            to.write_unaligned(B::T::low(value));
        }
    }
}

#[inline(always)]
unsafe fn note_ip(cpu: *mut Cpu, op: *const Op) {
    // SAFETY: called by a handler.
    unsafe { (*cpu).fpu.ip = (*cpu).rip.wrapping_add((*op).off.into()) }
}

/// Takes over the exceptions of an instruction; returns whether its result counts. Opcode and operand address are kept
/// for unmasked exceptions only (CPUID.7.0:EBX.FDP_EXCPTN_ONLY).
fn report(cpu: &mut Cpu, op: &Op, env: &Env) -> bool {
    let counts = cpu.fpu.report(env);
    if cpu.fpu.status & status::ES != 0 {
        cpu.fpu.opcode = op.imm as u16;
        if op.access & (access::READ | access::WRITE) != 0 {
            // SAFETY: both are live.
            cpu.fpu.dp = unsafe { ea(cpu, op) };
        }
    }
    counts
}

/// Likewise for a result that goes to memory: unmasked overflow and underflow keep it back, too.
fn report_store(cpu: &mut Cpu, op: &Op, env: &Env) -> bool {
    let kept_back = env.raised & (flag::OE | flag::UE) & !cpu.fpu.control != 0;
    report(cpu, op, env) && !kept_back
}

/// #IS for an empty register, with its masked response.
fn underflow(env: &mut Env) -> X80 {
    env.raise(flag::IE | flag::SF);
    X80::INDEFINITE
}

/// Pushes what `value` gives, unless the stack is full: #IS with C1 set.
fn push_with(cpu: &mut Cpu, op: &Op, value: impl FnOnce(&Fpu, &mut Env) -> X80) {
    let mut env = cpu.fpu.env();
    let result = if cpu.fpu.st(7).is_some() {
        env.c1 = true;
        underflow(&mut env)
    } else {
        value(&cpu.fpu, &mut env)
    };
    // A denormal is loaded even if its exception is not masked.
    if report(cpu, op, &env) || env.raised & flag::IE == 0 {
        cpu.fpu.push(result);
    }
}

/// The op of `i`: registers of the stack in `dst` and `src`, the opcode in `imm`.
fn op_of(i: &Insn, b: &mut Builder, how: u8) -> Op {
    let memory = i.operands.contains(&Operand::Mem);
    let op = if memory { mem_op(i, b, how, i.mem_width) } else { Builder::blank() };
    let register = |o: Operand| if let Operand::St(r) = o { r } else { 0 };
    Op { imm: i.x87_opcode.into(), dst: register(i.operands[0]), src: register(i.operands[1]), ..op }
}

fn push_op(f: Handler, i: &Insn, b: &mut Builder, how: u8) -> Bound {
    let op = op_of(i, b, how);
    b.push(Op { f, ..op });
    Ok(())
}

/// Binds a body on registers: `|cpu, op| ...`.
macro_rules! register {
    ($i:ident, $b:ident, |$cpu:pat_param, $op:pat_param| $e:expr) => {{
        struct Row;
        impl crate::exec::x87::Register for Row {
            fn run($cpu: &mut crate::cpu::Cpu, $op: &crate::op::Op) {
                $e
            }
        }
        crate::exec::x87::push_op(crate::exec::x87::register_op::<Row>, $i, $b, 0)
    }};
}
use register;

/// Binds a body with an operand from memory of type `$T`: `|cpu, op, value| ...`.
macro_rules! load {
    ($i:ident, $b:ident, $T:ty, |$cpu:pat_param, $op:pat_param, $value:pat_param| $e:expr) => {{
        struct Row;
        impl crate::exec::x87::Load for Row {
            type T = $T;
            fn run($cpu: &mut crate::cpu::Cpu, $op: &crate::op::Op, $value: u64) {
                $e
            }
        }
        crate::exec::x87::push_op(crate::exec::x87::load_op::<Row>, $i, $b, crate::op::access::READ)
    }};
}
use load;

/// Binds a body with a result for memory of type `$T`: `|cpu, op| ...` gives it as an `Option`.
macro_rules! store {
    ($i:ident, $b:ident, $T:ty, |$cpu:pat_param, $op:pat_param| $e:expr) => {{
        struct Row;
        impl crate::exec::x87::Store for Row {
            type T = $T;
            fn run($cpu: &mut crate::cpu::Cpu, $op: &crate::op::Op) -> Option<u64> {
                $e
            }
        }
        crate::exec::x87::push_op(crate::exec::x87::store_op::<Row>, $i, $b, crate::op::access::WRITE)
    }};
}
use store;
