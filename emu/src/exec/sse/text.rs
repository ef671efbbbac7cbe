//! PCMPESTRI PCMPESTRM PCMPISTRI PCMPISTRM.

use super::forms::push;
use super::{Outcome, X, source, xmm};
use crate::block::Builder;
use crate::cpu::Cpu;
use crate::cpu::flags::Lazy;
use crate::cpu::regs::{RAX, RCX, RDX};
use crate::decode::{Insn, Operand, SseText as O};
use crate::engine::next;
use crate::exec::operand::{ea, read};
use crate::exec::{Bound, Unsupported};
use crate::lanes::text::{self, Control};
use crate::op::{Handler, Op, access};

/// Where the lengths come from.
mod length {
    pub(super) const IMPLICIT: u8 = 0;
    /// EAX and EDX.
    pub(super) const LOW: u8 = 1;
    /// RAX and RDX.
    pub(super) const WHOLE: u8 = 2;
}

pub(crate) fn bind(op: O, i: &Insn, b: &mut Builder) -> Bound {
    macro_rules! handlers {
        ($LENGTH:ident, $INDEX:literal) => {
            match i.vex {
                false => handlers!($LENGTH, $INDEX, false),
                true => handlers!($LENGTH, $INDEX, true),
            }
        };
        ($LENGTH:ident, $INDEX:literal, $VEX:literal) => {
            [text_op::<{ length::$LENGTH }, $INDEX, $VEX, false>, text_op::<{ length::$LENGTH }, $INDEX, $VEX, true>]
        };
    }
    let [register, memory]: [Handler; 2] = match op {
        O::Pcmpistri => handlers!(IMPLICIT, true),
        O::Pcmpistrm => handlers!(IMPLICIT, false),
        O::Pcmpestri => handlers!(LOW, true),
        O::Pcmpestrm => handlers!(LOW, false),
        O::Pcmpestri64 => handlers!(WHOLE, true),
        O::Pcmpestrm64 => handlers!(WHOLE, false),
    };
    match (i.operands[0], i.operands[1]) {
        (Operand::Xmm(_), Operand::Xmm(_)) => push(register, i, b, access::READ, 0),
        (Operand::Xmm(_), Operand::Mem) => push(memory, i, b, access::READ, source::bytes(source::MEM128_UNALIGNED)),
        _ => Err(Unsupported),
    }
}

unsafe fn text_op<const LENGTH: u8, const INDEX: bool, const VEX: bool, const MEM: bool>(
    cpu: *mut Cpu,
    op: *const Op,
    budget: i64,
) -> i64 {
    // SAFETY: called by the engine.
    unsafe {
        let b = if MEM { read!(X, cpu, op, budget, ea(cpu, op)) } else { *xmm(cpu, (*op).src) };
        compare::<LENGTH, INDEX, VEX>(cpu, op, u128::from_le_bytes(b));
        next!(cpu, op, budget)
    }
}

/// Out of line, so that the handler keeps nothing on the stack.
#[inline(never)]
unsafe fn compare<const LENGTH: u8, const INDEX: bool, const VEX: bool>(cpu: *mut Cpu, op: *const Op, b: u128) {
    // SAFETY: called by a handler.
    unsafe {
        let (a, b) = (*xmm(cpu, (*op).dst), b.to_le_bytes());
        let control = Control((*op).imm as u8);
        let explicit = |register: usize| {
            let value = (*cpu).gpr[register];
            control.explicit_length(if LENGTH == length::LOW { i64::from(value as i32) } else { value as i64 })
        };
        let (a_len, b_len) = match LENGTH {
            length::IMPLICIT => (control.implicit_length(&a), control.implicit_length(&b)),
            _ => (explicit(RAX), explicit(RDX)),
        };
        let found = text::compare(&a, a_len, &b, b_len, control);
        (*cpu).flags = Lazy::explicit(found.flags);
        if INDEX {
            (*cpu).gpr[RCX] = found.index().into();
        } else {
            found.mask().put::<VEX>(cpu, 0);
        }
    }
}
