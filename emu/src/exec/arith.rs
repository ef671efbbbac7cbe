//! ADD OR ADC SBB AND SUB XOR CMP TEST, INC DEC NEG NOT, XADD CMPXCHG.

use super::operand::{Form, ea, form, operands, place, read};
use super::{Bound, Unsupported};
use crate::alu;
use crate::block::Builder;
use crate::cpu::flags::{CF, Lazy, kind};
use crate::cpu::{Cpu, regs};
use crate::decode::{Insn, Operand};
use crate::engine::next;
use crate::op::{Handler, Op, access};
use crate::width::{Width, by_width};

/// A two-operand operation: result and flags.
pub(crate) trait Binary {
    /// The first operand receives the result.
    const STORES: bool = true;
    fn apply<T: Width>(flags: Lazy, a: T, b: T) -> (T, Lazy);
}

macro_rules! binary {
    ($($(#[$doc:meta])* $name:ident |$flags:ident, $a:ident, $b:ident| $e:expr;)+) => {
        $($(#[$doc])*
        pub(crate) struct $name;
        impl Binary for $name {
            #[inline(always)]
            fn apply<T: Width>($flags: Lazy, $a: T, $b: T) -> (T, Lazy) {
                $e
            }
        })+
    };
}

binary! {
    /// SDM Vol. 2A, ADD.
    Add |_f, a, b| (T::low(a.zx().wrapping_add(b.zx())), Lazy::add(a, b));
    /// SDM Vol. 2B, SUB.
    Sub |_f, a, b| (T::low(a.zx().wrapping_sub(b.zx())), Lazy::sub(a, b));
    /// SDM Vol. 2A, AND.
    And |_f, a, b| { let r = T::low(a.zx() & b.zx()); (r, Lazy::logic(r)) };
    /// SDM Vol. 2B, OR.
    Or |_f, a, b| { let r = T::low(a.zx() | b.zx()); (r, Lazy::logic(r)) };
    /// SDM Vol. 2D, XOR.
    Xor |_f, a, b| { let r = T::low(a.zx() ^ b.zx()); (r, Lazy::logic(r)) };
    /// SDM Vol. 2A, ADC.
    Adc |f, a, b| { let (r, flags) = alu::adc(a, b, f.carry()); (r, Lazy::explicit(flags)) };
    /// SDM Vol. 2B, SBB.
    Sbb |f, a, b| { let (r, flags) = alu::sbb(a, b, f.carry()); (r, Lazy::explicit(flags)) };
}

/// SDM Vol. 2A, CMP.
pub(crate) struct Cmp;
impl Binary for Cmp {
    const STORES: bool = false;
    #[inline(always)]
    fn apply<T: Width>(flags: Lazy, a: T, b: T) -> (T, Lazy) {
        Sub::apply(flags, a, b)
    }
}

/// SDM Vol. 2B, TEST.
pub(crate) struct Test;
impl Binary for Test {
    const STORES: bool = false;
    #[inline(always)]
    fn apply<T: Width>(flags: Lazy, a: T, b: T) -> (T, Lazy) {
        And::apply(flags, a, b)
    }
}

/// Binds a two-operand operation in all its forms.
pub(crate) fn binary<B: Binary>(i: &Insn, b: &mut Builder) -> Bound {
    let form = form(i)?;
    let how =
        if B::STORES && matches!(form, Form::MR | Form::MI) { access::READ | access::WRITE } else { access::READ };
    let op = operands(i, b, how);
    let f =
        by_width!(i.width, T => if i.flags_live { select::<B, T, true>(form) } else { select::<B, T, false>(form) });
    b.push(Op { f, ..op });
    Ok(())
}

fn select<B: Binary, T: Width, const FLAGS: bool>(form: Form) -> Handler {
    match form {
        Form::RR => rr::<B, T, FLAGS>,
        Form::RI => ri::<B, T, FLAGS>,
        Form::RM => rm::<B, T, FLAGS>,
        Form::MR => mr::<B, T, FLAGS>,
        Form::MI => mi::<B, T, FLAGS>,
    }
}

macro_rules! register_form {
    ($name:ident, |$T:ident, $cpu:ident, $op:ident, $budget:ident| $b:expr) => {
        unsafe fn $name<B: Binary, $T: Width, const FLAGS: bool>($cpu: *mut Cpu, $op: *const Op, $budget: i64) -> i64 {
            // SAFETY: called by the engine; register fields are offsets into `Cpu`.
            unsafe {
                let b = $b;
                let a = $T::get($cpu, (*$op).dst);
                let (r, flags) = B::apply((*$cpu).flags, a, b);
                if B::STORES {
                    $T::set($cpu, (*$op).dst, r);
                }
                if FLAGS {
                    (*$cpu).flags = flags;
                }
                next!($cpu, $op, $budget)
            }
        }
    };
}

register_form!(rr, |T, cpu, op, budget| T::get(cpu, (*op).src));
register_form!(ri, |T, cpu, op, budget| T::low((*op).imm));
register_form!(rm, |T, cpu, op, budget| read!(T, cpu, op, budget, ea(cpu, op)));

macro_rules! memory_form {
    ($name:ident, |$T:ident, $cpu:ident, $op:ident| $b:expr) => {
        unsafe fn $name<B: Binary, $T: Width, const FLAGS: bool>($cpu: *mut Cpu, $op: *const Op, budget: i64) -> i64 {
            // SAFETY: called by the engine; the TLB vouches for the place.
            unsafe {
                let b = $b;
                let flags = if B::STORES {
                    let p = place!($T, $cpu, $op, budget, ea($cpu, $op));
                    let (r, flags) = B::apply((*$cpu).flags, p.read_unaligned(), b);
                    p.write_unaligned(r);
                    flags
                } else {
                    let a = read!($T, $cpu, $op, budget, ea($cpu, $op));
                    B::apply((*$cpu).flags, a, b).1
                };
                if FLAGS {
                    (*$cpu).flags = flags;
                }
                next!($cpu, $op, budget)
            }
        }
    };
}

memory_form!(mr, |T, cpu, op| T::get(cpu, (*op).src));
memory_form!(mi, |T, cpu, op| T::low((*op).imm));

/// A one-operand operation: result, and flags if it has any.
pub(crate) trait Unary {
    const FLAGS: bool = true;
    fn apply<T: Width>(flags: Lazy, a: T) -> (T, Lazy);
}

macro_rules! unary {
    ($($(#[$doc:meta])* $name:ident |$flags:ident, $a:ident| $e:expr;)+) => {
        $($(#[$doc])*
        pub(crate) struct $name;
        impl Unary for $name {
            #[inline(always)]
            fn apply<T: Width>($flags: Lazy, $a: T) -> (T, Lazy) {
                $e
            }
        })+
    };
}

unary! {
    /// SDM Vol. 2A, INC: CF stays.
    Inc |f, a| { let r = T::low(a.zx().wrapping_add(1)); (r, Lazy { a: r.sx(), b: f.carry() * CF, kind: kind::INC | T::LOG }) };
    /// SDM Vol. 2A, DEC: CF stays.
    Dec |f, a| { let r = T::low(a.zx().wrapping_sub(1)); (r, Lazy { a: r.sx(), b: f.carry() * CF, kind: kind::DEC | T::LOG }) };
    /// SDM Vol. 2B, NEG: 0 - a.
    Neg |_f, a| (T::low(a.zx().wrapping_neg()), Lazy::sub(T::low(0), a));
}

/// SDM Vol. 2B, NOT.
pub(crate) struct Not;
impl Unary for Not {
    const FLAGS: bool = false;
    #[inline(always)]
    fn apply<T: Width>(flags: Lazy, a: T) -> (T, Lazy) {
        (T::low(!a.zx()), flags)
    }
}

/// Binds a one-operand operation.
pub(crate) fn unary<U: Unary>(i: &Insn, b: &mut Builder) -> Bound {
    let memory = i.operands[0] == Operand::Mem;
    let op = operands(i, b, access::READ | access::WRITE);
    let live = U::FLAGS && i.flags_live;
    let f: Handler = by_width!(i.width, T => match (memory, live) {
        (false, false) => unary_r::<U, T, false>,
        (false, true) => unary_r::<U, T, true>,
        (true, false) => unary_m::<U, T, false>,
        (true, true) => unary_m::<U, T, true>,
    });
    b.push(Op { f, ..op });
    Ok(())
}

unsafe fn unary_r<U: Unary, T: Width, const FLAGS: bool>(cpu: *mut Cpu, op: *const Op, budget: i64) -> i64 {
    // SAFETY: called by the engine.
    unsafe {
        let (r, flags) = U::apply((*cpu).flags, T::get(cpu, (*op).dst));
        T::set(cpu, (*op).dst, r);
        if FLAGS {
            (*cpu).flags = flags;
        }
        next!(cpu, op, budget)
    }
}

unsafe fn unary_m<U: Unary, T: Width, const FLAGS: bool>(cpu: *mut Cpu, op: *const Op, budget: i64) -> i64 {
    // SAFETY: called by the engine.
    unsafe {
        let p = place!(T, cpu, op, budget, ea(cpu, op));
        let (r, flags) = U::apply((*cpu).flags, p.read_unaligned());
        p.write_unaligned(r);
        if FLAGS {
            (*cpu).flags = flags;
        }
        next!(cpu, op, budget)
    }
}

/// XADD (SDM Vol. 2D).
pub(crate) fn xadd(i: &Insn, b: &mut Builder) -> Bound {
    let memory = i.operands[0] == Operand::Mem;
    let op = operands(i, b, access::READ | access::WRITE);
    let f: Handler = by_width!(i.width, T => if memory { xadd_m::<T> } else { xadd_r::<T> });
    b.push(Op { f, ..op });
    Ok(())
}

unsafe fn xadd_r<T: Width>(cpu: *mut Cpu, op: *const Op, budget: i64) -> i64 {
    // SAFETY: called by the engine.
    unsafe {
        let (a, s) = (T::get(cpu, (*op).dst), T::get(cpu, (*op).src));
        let (r, flags) = Add::apply((*cpu).flags, a, s);
        T::set(cpu, (*op).src, a);
        T::set(cpu, (*op).dst, r);
        (*cpu).flags = flags;
        next!(cpu, op, budget)
    }
}

unsafe fn xadd_m<T: Width>(cpu: *mut Cpu, op: *const Op, budget: i64) -> i64 {
    // SAFETY: called by the engine.
    unsafe {
        let p = place!(T, cpu, op, budget, ea(cpu, op));
        let (a, s) = (p.read_unaligned(), T::get(cpu, (*op).src));
        let (r, flags) = Add::apply((*cpu).flags, a, s);
        p.write_unaligned(r);
        T::set(cpu, (*op).src, a);
        (*cpu).flags = flags;
        next!(cpu, op, budget)
    }
}

/// CMPXCHG (SDM Vol. 2A): memory is written back even when unequal.
pub(crate) fn cmpxchg(i: &Insn, b: &mut Builder) -> Bound {
    if !matches!(i.operands[1], Operand::Reg(_)) {
        return Err(Unsupported);
    }
    let memory = i.operands[0] == Operand::Mem;
    let op = operands(i, b, access::READ | access::WRITE);
    let f: Handler = by_width!(i.width, T => if memory { cmpxchg_m::<T> } else { cmpxchg_r::<T> });
    b.push(Op { f, ..op });
    Ok(())
}

unsafe fn cmpxchg_r<T: Width>(cpu: *mut Cpu, op: *const Op, budget: i64) -> i64 {
    // SAFETY: called by the engine.
    unsafe {
        let rax = (regs::RAX * 8) as u8;
        let (a, d, s) = (T::get(cpu, rax), T::get(cpu, (*op).dst), T::get(cpu, (*op).src));
        if a == d {
            T::set(cpu, (*op).dst, s);
        } else {
            // The destination stays as it is, upper half included.
            T::set(cpu, rax, d);
        }
        (*cpu).flags = Lazy::sub(a, d);
        next!(cpu, op, budget)
    }
}

unsafe fn cmpxchg_m<T: Width>(cpu: *mut Cpu, op: *const Op, budget: i64) -> i64 {
    // SAFETY: called by the engine.
    unsafe {
        let rax = (regs::RAX * 8) as u8;
        let p = place!(T, cpu, op, budget, ea(cpu, op));
        let (a, d, s) = (T::get(cpu, rax), p.read_unaligned(), T::get(cpu, (*op).src));
        if a == d {
            p.write_unaligned(s);
        } else {
            T::set(cpu, rax, d);
        }
        (*cpu).flags = Lazy::sub(a, d);
        next!(cpu, op, budget)
    }
}
