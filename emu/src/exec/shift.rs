//! ROL ROR RCL RCR SHL SHR SAR SHLD SHRD.

use super::Bound;
use super::operand::{ea, flags, operands, place};
use crate::alu;
use crate::block::Builder;
use crate::cpu::flags::{CF, Lazy, OF};
use crate::cpu::{Cpu, regs};
use crate::decode::{Insn, Operand};
use crate::engine::next;
use crate::op::{Handler, Op, access};
use crate::width::{Width, by_width};

const CL: u8 = (regs::RCX * 8) as u8;

/// A shift or rotate by a masked count that is not 0. `None`: nothing changes.
pub(crate) trait Shift {
    /// Leaves some flags as they were, or reads CF.
    const READS: bool;
    /// `brief`: a register by an immediate, where silicon leaves OF of a rotate by more than 1 alone.
    fn apply<T: Width>(flags: Lazy, a: T, count: u32, brief: bool) -> Option<(T, Lazy)>;
}

macro_rules! shift {
    ($($(#[$doc:meta])* $name:ident $reads:literal |$flags:ident, $a:ident, $count:ident, $brief:ident| $e:expr;)+) => {
        $($(#[$doc])*
        pub(crate) struct $name;
        impl Shift for $name {
            const READS: bool = $reads;
            #[inline(always)]
            fn apply<T: Width>($flags: Lazy, $a: T, $count: u32, $brief: bool) -> Option<(T, Lazy)> {
                $e
            }
        })+
    };
}

/// Flags of a shift: all six are written.
#[inline(always)]
fn all<T: Width>((r, flags): (T, u64)) -> Option<(T, Lazy)> {
    Some((r, Lazy::explicit(flags)))
}

/// Flags of a rotate: of CF and OF those in `changed`. `old` is explicit (`Shift::READS`).
#[inline(always)]
fn two<T: Width>(old: Lazy, (r, flags): (T, u64), changed: u64) -> Option<(T, Lazy)> {
    Some((r, Lazy::explicit(old.a & !changed | flags & changed)))
}

shift! {
    /// SDM Vol. 2B, SAL/SAR/SHL/SHR.
    Shl false |_f, a, count, _brief| all(alu::shl(a, count));
    /// The same.
    Shr false |_f, a, count, _brief| all(alu::shr(a, count));
    /// The same.
    Sar false |_f, a, count, _brief| all(alu::sar(a, count));
    /// SDM Vol. 2B, RCL/RCR/ROL/ROR.
    Rol true |f, a, count, brief| two(f, alu::rol(a, count), if brief && count != 1 { CF } else { CF | OF });
    /// The same.
    Ror true |f, a, count, brief| two(f, alu::ror(a, count), if brief && count != 1 { CF } else { CF | OF });
    /// The same.
    Rcl true |f, a, count, _brief| alu::rcl(a, count, f.carry()).and_then(|r| two(f, r, CF | OF));
    /// The same.
    Rcr true |f, a, count, _brief| alu::rcr(a, count, f.carry()).and_then(|r| two(f, r, CF | OF));
}

/// Binds a shift of its first operand by 1, an immediate or CL.
pub(crate) fn by<S: Shift>(i: &Insn, b: &mut Builder) -> Bound {
    let memory = i.operands[0] == Operand::Mem;
    let by_cl = !matches!(i.operands[1], Operand::Imm(_));
    let op = operands(i, b, access::READ | access::WRITE);
    let f: Handler = by_width!(i.width, T => match (memory, by_cl, i.flags_live) {
        (false, false, false) => in_register::<S, T, false, false>,
        (false, false, true) => in_register::<S, T, false, true>,
        (false, true, false) => in_register::<S, T, true, false>,
        (false, true, true) => in_register::<S, T, true, true>,
        (true, false, _) => in_memory::<S, T, false>,
        (true, true, _) => in_memory::<S, T, true>,
    });
    b.push(Op { f, ..op });
    Ok(())
}

unsafe fn in_register<S: Shift, T: Width, const BY_CL: bool, const FLAGS: bool>(
    cpu: *mut Cpu,
    op: *const Op,
    budget: i64,
) -> i64 {
    // SAFETY: called by the engine.
    unsafe {
        if S::READS && FLAGS {
            flags!(cpu, op, budget);
        }
        let count = alu::masked::<T>(if BY_CL { u8::get(cpu, CL) } else { (*op).imm as u8 });
        let a = T::get(cpu, (*op).dst);
        // A 32-bit destination is zero-extended even by a count of 0.
        let mut result = a;
        if count != 0
            && let Some((r, flags)) = S::apply((*cpu).flags, a, count, !BY_CL)
        {
            result = r;
            if FLAGS {
                (*cpu).flags = flags;
            }
        }
        T::set(cpu, (*op).dst, result);
        next!(cpu, op, budget)
    }
}

unsafe fn in_memory<S: Shift, T: Width, const BY_CL: bool>(cpu: *mut Cpu, op: *const Op, budget: i64) -> i64 {
    // SAFETY: called by the engine.
    unsafe {
        if S::READS {
            flags!(cpu, op, budget);
        }
        let count = alu::masked::<T>(if BY_CL { u8::get(cpu, CL) } else { (*op).imm as u8 });
        let p = place!(T, cpu, op, budget, ea(cpu, op));
        if count != 0
            && let Some((r, flags)) = S::apply((*cpu).flags, p.read_unaligned(), count, false)
        {
            p.write_unaligned(r);
            (*cpu).flags = flags;
        }
        next!(cpu, op, budget)
    }
}

/// SHLD and SHRD.
pub(crate) fn double<const LEFT: bool>(i: &Insn, b: &mut Builder) -> Bound {
    let memory = i.operands[0] == Operand::Mem;
    let by_cl = !matches!(i.operands[2], Operand::Imm(_));
    let mut op = operands(i, b, access::READ | access::WRITE);
    if let Operand::Imm(count) = i.operands[2] {
        op.imm = count;
    }
    let f: Handler = by_width!(i.width, T => match (memory, by_cl) {
        (false, false) => double_r::<T, LEFT, false>,
        (false, true) => double_r::<T, LEFT, true>,
        (true, false) => double_m::<T, LEFT, false>,
        (true, true) => double_m::<T, LEFT, true>,
    });
    b.push(Op { f, ..op });
    Ok(())
}

#[inline(always)]
fn shift_double<T: Width, const LEFT: bool>(dst: T, src: T, count: u32) -> (T, u64) {
    if LEFT { alu::shld(dst, src, count) } else { alu::shrd(dst, src, count) }
}

unsafe fn double_r<T: Width, const LEFT: bool, const BY_CL: bool>(cpu: *mut Cpu, op: *const Op, budget: i64) -> i64 {
    // SAFETY: called by the engine.
    unsafe {
        let count = alu::masked::<T>(if BY_CL { u8::get(cpu, CL) } else { (*op).imm as u8 });
        let mut result = T::get(cpu, (*op).dst);
        if count != 0 {
            let (r, flags) = shift_double::<T, LEFT>(result, T::get(cpu, (*op).src), count);
            result = r;
            (*cpu).flags = Lazy::explicit(flags);
        }
        T::set(cpu, (*op).dst, result);
        next!(cpu, op, budget)
    }
}

unsafe fn double_m<T: Width, const LEFT: bool, const BY_CL: bool>(cpu: *mut Cpu, op: *const Op, budget: i64) -> i64 {
    // SAFETY: called by the engine.
    unsafe {
        let count = alu::masked::<T>(if BY_CL { u8::get(cpu, CL) } else { (*op).imm as u8 });
        let p = place!(T, cpu, op, budget, ea(cpu, op));
        if count != 0 {
            let (r, flags) = shift_double::<T, LEFT>(p.read_unaligned(), T::get(cpu, (*op).src), count);
            p.write_unaligned(r);
            (*cpu).flags = Lazy::explicit(flags);
        }
        next!(cpu, op, budget)
    }
}
