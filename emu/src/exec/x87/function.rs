//! Transcendental functions.

use super::{Bound, register, report, underflow};
use crate::block::Builder;
use crate::cpu::Cpu;
use crate::cpu::fpu::status::{C1, C2};
use crate::decode::{Insn, X87Function as O};
use crate::fp::x80::{self, Env, Wanted};
use crate::op::Op;
use crate::state::X80;

pub(crate) fn bind(op: O, i: &Insn, b: &mut Builder) -> Bound {
    match op {
        O::F2xm1 => register!(i, b, |cpu, op| power(cpu, op)),
        O::Fyl2x => register!(i, b, |cpu, op| two(cpu, op, x80::y_log)),
        O::Fyl2xp1 => register!(i, b, |cpu, op| two(cpu, op, x80::y_log_plus_one)),
        O::Fpatan => register!(i, b, |cpu, op| two(cpu, op, |x, y, env| x80::arc(y, x, env))),
        O::Fsin => register!(i, b, |cpu, op| angle(cpu, op, Wanted::Sin)),
        O::Fcos => register!(i, b, |cpu, op| angle(cpu, op, Wanted::Cos)),
        O::Fsincos => register!(i, b, |cpu, op| angle(cpu, op, Wanted::Both)),
        O::Fptan => register!(i, b, |cpu, op| angle(cpu, op, Wanted::Tan)),
    }
}

fn power(cpu: &mut Cpu, op: &Op) {
    let mut env = cpu.fpu.env();
    let result = match cpu.fpu.st(0) {
        Some(a) => x80::power_less_one(a, &mut env),
        None => underflow(&mut env),
    };
    if report(cpu, op, &env) {
        cpu.fpu.set_st(0, result);
    }
}

/// A function of ST(0) and ST(1), which takes their places.
fn two(cpu: &mut Cpu, op: &Op, f: impl Fn(X80, X80, &mut Env) -> X80) {
    let mut env = cpu.fpu.env();
    let result = match (cpu.fpu.st(0), cpu.fpu.st(1)) {
        (Some(x), Some(y)) => f(x, y, &mut env),
        _ => underflow(&mut env),
    };
    if report(cpu, op, &env) {
        cpu.fpu.set_st(1, result);
        cpu.fpu.pop();
    }
}

/// Results for ST(0) and, where there are two, for a register pushed onto it: the cosine, or 1 with the tangent.
fn angle(cpu: &mut Cpu, op: &Op, wanted: Wanted) {
    let mut env = cpu.fpu.env();
    let pushes = matches!(wanted, Wanted::Both | Wanted::Tan);
    cpu.fpu.status &= !C2;
    let (result, pushed) = match (cpu.fpu.st(0), cpu.fpu.st(7)) {
        (Some(_), Some(_)) if pushes => {
            env.c1 = true;
            (underflow(&mut env), X80::INDEFINITE)
        }
        (Some(a), _) => {
            let Some(values) = x80::angle(a, wanted, &mut env) else {
                cpu.fpu.status = cpu.fpu.status & !C1 | C2;
                return;
            };
            match wanted {
                Wanted::Sin => (values.sin, X80::ZERO),
                Wanted::Cos => (values.cos, X80::ZERO),
                Wanted::Both => (values.sin, values.cos),
                // A NaN is pushed as itself.
                Wanted::Tan => (values.tan, if values.tan.is_nan() { values.tan } else { X80::ONE }),
            }
        }
        (None, _) => (underflow(&mut env), X80::INDEFINITE),
    };
    if report(cpu, op, &env) {
        cpu.fpu.set_st(0, result);
        if pushes {
            cpu.fpu.push(pushed);
        }
    }
}
