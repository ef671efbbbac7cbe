//! Arithmetic and comparison.

use std::cmp::Ordering;

use super::{Bound, Integer, Unsupported};
use super::{Load, Register, Source, load_op, push_op, register, register_op, report, underflow};
use crate::block::Builder;
use crate::cpu::Cpu;
use crate::cpu::flags::{CF, Lazy, PF, ZF};
use crate::cpu::fpu::status::{C0, C1, C2, C3};
use crate::decode::{Insn, Operand, X87Arith as O};
use crate::fp::x80::{self, Env, Quotient};
use crate::fp::{F32, F64};
use crate::op::{Op, access};
use crate::state::X80;

/// A function of two numbers.
trait Binary {
    fn apply(a: X80, b: X80, env: &mut Env) -> X80;
}

macro_rules! binary {
    ($($name:ident $f:path;)+) => {
        $(struct $name;
        impl Binary for $name {
            fn apply(a: X80, b: X80, env: &mut Env) -> X80 {
                $f(a, b, env)
            }
        })+
    };
}

binary! {
    Add x80::add;
    Sub x80::sub;
    Subr x80::subr;
    Mul x80::mul;
    Div x80::div;
    Divr x80::divr;
    Scale x80::scale;
}

pub(crate) fn bind(op: O, i: &Insn, b: &mut Builder) -> Bound {
    match op {
        O::Fadd | O::Fiadd => arith::<Add>(i, b),
        O::Fsub | O::Fisub => arith::<Sub>(i, b),
        O::Fsubr | O::Fisubr => arith::<Subr>(i, b),
        O::Fmul | O::Fimul => arith::<Mul>(i, b),
        O::Fdiv | O::Fidiv => arith::<Div>(i, b),
        O::Fdivr | O::Fidivr => arith::<Divr>(i, b),
        O::Faddp => push_op(register_op::<OnRegisters<Add, true>>, i, b, 0),
        O::Fsubp => push_op(register_op::<OnRegisters<Sub, true>>, i, b, 0),
        O::Fsubrp => push_op(register_op::<OnRegisters<Subr, true>>, i, b, 0),
        O::Fmulp => push_op(register_op::<OnRegisters<Mul, true>>, i, b, 0),
        O::Fdivp => push_op(register_op::<OnRegisters<Div, true>>, i, b, 0),
        O::Fdivrp => push_op(register_op::<OnRegisters<Divr, true>>, i, b, 0),
        O::Fcom | O::Ficom => ordered::<0>(i, b),
        O::Fcomp | O::Ficomp => ordered::<1>(i, b),
        O::Fcompp => register!(i, b, |cpu, op| compare(cpu, op, |fpu, _| fpu.st(1), true, 2)),
        O::Fucom => register!(i, b, |cpu, op| compare(cpu, op, |fpu, op| fpu.st(op.src), false, 0)),
        O::Fucomp => register!(i, b, |cpu, op| compare(cpu, op, |fpu, op| fpu.st(op.src), false, 1)),
        O::Fucompp => register!(i, b, |cpu, op| compare(cpu, op, |fpu, _| fpu.st(1), false, 2)),
        O::Fcomi => register!(i, b, |cpu, op| compare_to_flags(cpu, op, true, false)),
        O::Fcomip => register!(i, b, |cpu, op| compare_to_flags(cpu, op, true, true)),
        O::Fucomi => register!(i, b, |cpu, op| compare_to_flags(cpu, op, false, false)),
        O::Fucomip => register!(i, b, |cpu, op| compare_to_flags(cpu, op, false, true)),
        O::Ftst => register!(i, b, |cpu, op| compare(cpu, op, |_, _| Some(X80::ZERO), true, 0)),
        O::Fxam => register!(i, b, |cpu, _| examine(cpu)),
        O::Fsqrt => register!(i, b, |cpu, op| unary(cpu, op, x80::sqrt)),
        O::Fabs => register!(i, b, |cpu, op| unary(cpu, op, |a, _| a.magnitude())),
        O::Fchs => register!(i, b, |cpu, op| unary(cpu, op, |a, _| a.negated())),
        O::Frndint => register!(i, b, |cpu, op| unary(cpu, op, x80::round_to_integer)),
        O::Fscale => register!(i, b, |cpu, op| binary::<Scale>(cpu, &Op { dst: 0, src: 1, ..*op }, false)),
        O::Fprem => register!(i, b, |cpu, op| remainder(cpu, op, false)),
        O::Fprem1 => register!(i, b, |cpu, op| remainder(cpu, op, true)),
        O::Fxtract => register!(i, b, |cpu, op| extract(cpu, op)),
    }
}

struct OnRegisters<B, const POP: bool>(std::marker::PhantomData<B>);
impl<B: Binary, const POP: bool> Register for OnRegisters<B, POP> {
    fn run(cpu: &mut Cpu, op: &Op) {
        binary::<B>(cpu, op, POP);
    }
}

/// `dst = dst op src`.
fn binary<B: Binary>(cpu: &mut Cpu, op: &Op, pop: bool) {
    let mut env = cpu.fpu.env();
    let result = match (cpu.fpu.st(op.dst), cpu.fpu.st(op.src)) {
        (Some(a), Some(b)) => B::apply(a, b, &mut env),
        _ => underflow(&mut env),
    };
    if report(cpu, op, &env) {
        cpu.fpu.set_st(op.dst, result);
        if pop {
            cpu.fpu.pop();
        }
    }
}

/// `ST(0) = ST(0) op memory`.
struct OnMemory<B, S>(std::marker::PhantomData<(B, S)>);
impl<B: Binary, S: Source> Load for OnMemory<B, S> {
    type T = S::T;
    fn run(cpu: &mut Cpu, op: &Op, value: u64) {
        let mut env = cpu.fpu.env();
        let result = match cpu.fpu.st(0) {
            Some(a) => {
                let b = S::value(value, &mut env);
                B::apply(a, b, &mut env)
            }
            None => underflow(&mut env),
        };
        if report(cpu, op, &env) {
            cpu.fpu.set_st(0, result);
        }
    }
}

/// Operand forms: two registers, single or double precision, 16-bit or 32-bit integers.
fn arith<B: Binary>(i: &Insn, b: &mut Builder) -> Bound {
    let f = match (i.operands[0], i.mem_width, i.is_x87_integer()) {
        (Operand::St(_), ..) => return push_op(register_op::<OnRegisters<B, false>>, i, b, 0),
        (Operand::Mem, 4, false) => load_op::<OnMemory<B, F32>>,
        (Operand::Mem, 8, false) => load_op::<OnMemory<B, F64>>,
        (Operand::Mem, 2, true) => load_op::<OnMemory<B, Integer<u16>>>,
        (Operand::Mem, 4, true) => load_op::<OnMemory<B, Integer<u32>>>,
        _ => return Err(Unsupported),
    };
    push_op(f, i, b, access::READ)
}

fn unary(cpu: &mut Cpu, op: &Op, f: impl Fn(X80, &mut Env) -> X80) {
    let mut env = cpu.fpu.env();
    let result = match cpu.fpu.st(0) {
        Some(a) => f(a, &mut env),
        None => underflow(&mut env),
    };
    if report(cpu, op, &env) {
        cpu.fpu.set_st(0, result);
    }
}

/// The order of ST(0) and another number, after its exceptions; `None`: not even that counts.
fn order(cpu: &mut Cpu, op: &Op, other: Option<X80>, signals: bool, mut env: Env) -> (Option<Ordering>, bool) {
    let order = match (cpu.fpu.st(0), other) {
        (Some(a), Some(b)) => x80::compare(a, b, signals, &mut env),
        _ => {
            underflow(&mut env);
            None
        }
    };
    (order, report(cpu, op, &env))
}

fn compare(cpu: &mut Cpu, op: &Op, other: impl Fn(&crate::state::Fpu, &Op) -> Option<X80>, signals: bool, pops: u8) {
    let (other, env) = (other(&cpu.fpu, op), cpu.fpu.env());
    compare_with(cpu, op, other, signals, pops, env);
}

fn compare_with(cpu: &mut Cpu, op: &Op, other: Option<X80>, signals: bool, pops: u8, env: Env) {
    let (order, counts) = order(cpu, op, other, signals, env);
    let codes = match order {
        None => C3 | C2 | C0,
        Some(Ordering::Less) => C0,
        Some(Ordering::Equal) => C3,
        Some(Ordering::Greater) => 0,
    };
    cpu.fpu.status = cpu.fpu.status & !(C3 | C2 | C0) | codes;
    if counts {
        (0..pops).for_each(|_| cpu.fpu.pop());
    }
}

/// FCOM and FICOM with what `S` reads.
struct OrderWith<S, const POPS: u8>(std::marker::PhantomData<S>);
impl<S: Source, const POPS: u8> Load for OrderWith<S, POPS> {
    type T = S::T;
    fn run(cpu: &mut Cpu, op: &Op, value: u64) {
        let mut env = cpu.fpu.env();
        let other = S::value(value, &mut env);
        compare_with(cpu, op, Some(other), true, POPS, env);
    }
}

struct OrderWithRegister<const POPS: u8>;
impl<const POPS: u8> Register for OrderWithRegister<POPS> {
    fn run(cpu: &mut Cpu, op: &Op) {
        compare(cpu, op, |fpu, op| fpu.st(op.src), true, POPS);
    }
}

fn ordered<const POPS: u8>(i: &Insn, b: &mut Builder) -> Bound {
    let f = match (i.operands[0], i.mem_width, i.is_x87_integer()) {
        (Operand::St(_), ..) => return push_op(register_op::<OrderWithRegister<POPS>>, i, b, 0),
        (Operand::Mem, 4, false) => load_op::<OrderWith<F32, POPS>>,
        (Operand::Mem, 8, false) => load_op::<OrderWith<F64, POPS>>,
        (Operand::Mem, 2, true) => load_op::<OrderWith<Integer<u16>, POPS>>,
        (Operand::Mem, 4, true) => load_op::<OrderWith<Integer<u32>, POPS>>,
        _ => return Err(Unsupported),
    };
    push_op(f, i, b, access::READ)
}

/// SDM Vol. 2A, FCOMI.
fn compare_to_flags(cpu: &mut Cpu, op: &Op, signals: bool, pop: bool) {
    let (other, env) = (cpu.fpu.st(op.src), cpu.fpu.env());
    let c1 = cpu.fpu.status & C1;
    let (order, counts) = order(cpu, op, other, signals, env);
    // Silicon leaves C1 alone where the stack is in order.
    if other.is_some() && cpu.fpu.st(0).is_some() {
        cpu.fpu.status |= c1;
    }
    cpu.flags = Lazy::explicit(match order {
        None => ZF | PF | CF,
        Some(Ordering::Less) => CF,
        Some(Ordering::Equal) => ZF,
        Some(Ordering::Greater) => 0,
    });
    if counts && pop {
        cpu.fpu.pop();
    }
}

/// SDM Vol. 2A, FXAM.
fn examine(cpu: &mut Cpu) {
    let fpu = &mut cpu.fpu;
    let codes = match fpu.st(0) {
        None => C3 | C0,
        Some(a) if a.is_unsupported() => 0,
        Some(a) if a.is_nan() => C0,
        Some(a) if a.is_infinite() => C2 | C0,
        Some(a) if a.is_zero() => C3,
        Some(a) if a.is_denormal() => C3 | C2,
        Some(_) => C2,
    };
    // The sign, of an empty register, too.
    let negative = fpu.regs[usize::from(fpu.top())].is_negative();
    fpu.status = fpu.status & !(C3 | C2 | C1 | C0) | codes | if negative { C1 } else { 0 };
}

fn remainder(cpu: &mut Cpu, op: &Op, nearest: bool) {
    let mut env = cpu.fpu.env();
    let (result, quotient) = match (cpu.fpu.st(0), cpu.fpu.st(1)) {
        (Some(a), Some(b)) => x80::remainder(a, b, nearest, &mut env),
        _ => (underflow(&mut env), Quotient::None),
    };
    let counts = report(cpu, op, &env);
    let fpu = &mut cpu.fpu;
    fpu.status &= !C2;
    if !counts {
        return;
    }
    fpu.set_st(0, result);
    let bit = |low: u64, at: u32, code: u16| if low >> at & 1 != 0 { code } else { 0 };
    match quotient {
        Quotient::Low(low) => {
            fpu.status = fpu.status & !(C3 | C1 | C0) | bit(low, 0, C1) | bit(low, 1, C3) | bit(low, 2, C0);
        }
        Quotient::Partial => fpu.status = fpu.status & !(C3 | C1 | C0) | C2,
        Quotient::None => {}
    }
}

/// SDM Vol. 2A, FXTRACT: the exponent stays, the significand is pushed.
fn extract(cpu: &mut Cpu, op: &Op) {
    let mut env = cpu.fpu.env();
    let (exponent, significand) = match (cpu.fpu.st(0), cpu.fpu.st(7)) {
        (Some(a), None) => x80::extract(a, &mut env),
        (a, _) => {
            env.c1 = a.is_some();
            (underflow(&mut env), X80::INDEFINITE)
        }
    };
    if report(cpu, op, &env) {
        cpu.fpu.set_st(0, exponent);
        cpu.fpu.push(significand);
    }
}
