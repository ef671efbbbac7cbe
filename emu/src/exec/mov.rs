//! MOV MOVDIRI MOVZX MOVSX LEA XCHG BSWAP XLAT CMOVcc SETcc, widening, and the flag instructions.

use super::operand::{Form, ea, flags, form, operands, place, push_offset, read, test};
use super::{Bound, Unsupported, system};
use crate::block::Builder;
use crate::cpu::flags::{AF, ARITH, CF, DF, Lazy, PF, SF, ZF};
use crate::cpu::mode::truncated;
use crate::cpu::{Cpu, offset, regs};
use crate::decode::{Insn, Operand, Operation};
use crate::engine::next;
use crate::op::{Handler, Op, access};
use crate::width::{Width, by_width};

/// No effect.
pub(crate) unsafe fn nop(cpu: *mut Cpu, op: *const Op, budget: i64) -> i64 {
    // SAFETY: called by the engine.
    unsafe { next!(cpu, op, budget) }
}

/// MOV between general registers, memory and immediates; the others are system instructions. MOVDIRI (SDM Vol. 2B) is the
/// store of a register: there is no cache that it could leave out.
pub(crate) fn mov(i: &Insn, b: &mut Builder) -> Bound {
    let Ok(form) = form(i) else { return system::bind(i, b) };
    let how = if matches!(form, Form::MR | Form::MI) { access::WRITE } else { access::READ };
    let op = operands(i, b, how);
    let f: Handler = by_width!(i.width, T => match form {
        Form::RR => mov_rr::<T>,
        Form::RI => mov_ri::<T>,
        Form::RM => mov_rm::<T>,
        Form::MR => mov_mr::<T>,
        Form::MI => mov_mi::<T>,
    });
    b.push(Op { f, ..op });
    Ok(())
}

pub(super) unsafe fn mov_rr<T: Width>(cpu: *mut Cpu, op: *const Op, budget: i64) -> i64 {
    // SAFETY: called by the engine.
    unsafe {
        T::set(cpu, (*op).dst, T::get(cpu, (*op).src));
        next!(cpu, op, budget)
    }
}

unsafe fn mov_ri<T: Width>(cpu: *mut Cpu, op: *const Op, budget: i64) -> i64 {
    // SAFETY: called by the engine.
    unsafe {
        T::set(cpu, (*op).dst, T::low((*op).imm));
        next!(cpu, op, budget)
    }
}

pub(super) unsafe fn mov_rm<T: Width>(cpu: *mut Cpu, op: *const Op, budget: i64) -> i64 {
    // SAFETY: called by the engine.
    unsafe {
        let value = read!(T, cpu, op, budget, ea(cpu, op));
        T::set(cpu, (*op).dst, value);
        next!(cpu, op, budget)
    }
}

pub(super) unsafe fn mov_mr<T: Width>(cpu: *mut Cpu, op: *const Op, budget: i64) -> i64 {
    // SAFETY: called by the engine.
    unsafe {
        let p = place!(T, cpu, op, budget, ea(cpu, op));
        p.write_unaligned(T::get(cpu, (*op).src));
        next!(cpu, op, budget)
    }
}

unsafe fn mov_mi<T: Width>(cpu: *mut Cpu, op: *const Op, budget: i64) -> i64 {
    // SAFETY: called by the engine.
    unsafe {
        let p = place!(T, cpu, op, budget, ea(cpu, op));
        p.write_unaligned(T::low((*op).imm));
        next!(cpu, op, budget)
    }
}

/// MOVZX, MOVSX, MOVSXD.
pub(crate) fn extend<const SIGNED: bool>(i: &Insn, b: &mut Builder) -> Bound {
    let memory = i.operands[1] == Operand::Mem;
    let from = if memory { i.mem_width } else { i.source_width };
    let op = operands(i, b, access::READ);
    let f: Handler = by_width!(i.width, T => match (from, memory) {
        (1, false) => extend_r::<T, u8, SIGNED>,
        (2, false) => extend_r::<T, u16, SIGNED>,
        (_, false) => extend_r::<T, u32, SIGNED>,
        (1, true) => extend_m::<T, u8, SIGNED>,
        (2, true) => extend_m::<T, u16, SIGNED>,
        (_, true) => extend_m::<T, u32, SIGNED>,
    });
    b.push(Op { f, ..op });
    Ok(())
}

#[inline(always)]
fn extended<S: Width, const SIGNED: bool>(value: S) -> u64 {
    if SIGNED { value.sx() } else { value.zx() }
}

unsafe fn extend_r<T: Width, S: Width, const SIGNED: bool>(cpu: *mut Cpu, op: *const Op, budget: i64) -> i64 {
    // SAFETY: called by the engine.
    unsafe {
        let value = extended::<S, SIGNED>(S::get(cpu, (*op).src));
        T::set(cpu, (*op).dst, T::low(value));
        next!(cpu, op, budget)
    }
}

unsafe fn extend_m<T: Width, S: Width, const SIGNED: bool>(cpu: *mut Cpu, op: *const Op, budget: i64) -> i64 {
    // SAFETY: called by the engine.
    unsafe {
        let value = extended::<S, SIGNED>(read!(S, cpu, op, budget, ea(cpu, op)));
        T::set(cpu, (*op).dst, T::low(value));
        next!(cpu, op, budget)
    }
}

/// LEA: the address without segment base and without access.
pub(crate) fn lea(i: &Insn, b: &mut Builder) -> Bound {
    let Operand::Reg(dst) = i.operands[0] else { return Err(Unsupported) };
    let mem = &i.mem;
    // The destination truncates as the address size would, but for an address narrower than it.
    if let (Ok(disp), true) = (i32::try_from(mem.disp), mem.bytes >= i.width) {
        let op = Op { disp, base: mem.base, index: mem.index, scale: mem.scale, dst, ..Builder::blank() };
        let f: Handler = by_width!(i.width, T => lea_r::<T>);
        b.push(Op { f, ..op });
    } else {
        push_offset(mem, b);
        let f: Handler = by_width!(i.width, T => mov_rr::<T>);
        b.push(Op { f, dst, src: offset::TMP, ..Builder::blank() });
    }
    Ok(())
}

unsafe fn lea_r<T: Width>(cpu: *mut Cpu, op: *const Op, budget: i64) -> i64 {
    // SAFETY: called by the engine.
    unsafe {
        T::set(cpu, (*op).dst, T::low(ea(cpu, op)));
        next!(cpu, op, budget)
    }
}

/// XCHG (SDM Vol. 2D).
pub(crate) fn xchg(i: &Insn, b: &mut Builder) -> Bound {
    let memory = i.operands.contains(&Operand::Mem);
    let mut op = operands(i, b, access::READ | access::WRITE);
    if memory && i.operands[0] != Operand::Mem {
        op.src = op.dst;
    }
    let f: Handler = by_width!(i.width, T => if memory { xchg_m::<T> } else { xchg_r::<T> });
    b.push(Op { f, ..op });
    Ok(())
}

unsafe fn xchg_r<T: Width>(cpu: *mut Cpu, op: *const Op, budget: i64) -> i64 {
    // SAFETY: called by the engine.
    unsafe {
        let (a, s) = (T::get(cpu, (*op).dst), T::get(cpu, (*op).src));
        T::set(cpu, (*op).dst, s);
        T::set(cpu, (*op).src, a);
        next!(cpu, op, budget)
    }
}

unsafe fn xchg_m<T: Width>(cpu: *mut Cpu, op: *const Op, budget: i64) -> i64 {
    // SAFETY: called by the engine.
    unsafe {
        let p = place!(T, cpu, op, budget, ea(cpu, op));
        let value = p.read_unaligned();
        p.write_unaligned(T::get(cpu, (*op).src));
        T::set(cpu, (*op).src, value);
        next!(cpu, op, budget)
    }
}

/// BSWAP; of a 16-bit register it gives 0, as silicon does.
pub(crate) fn bswap(i: &Insn, b: &mut Builder) -> Bound {
    let op = operands(i, b, 0);
    let f: Handler = match i.width {
        2 => bswap16,
        4 => bswap32,
        _ => bswap64,
    };
    b.push(Op { f, ..op });
    Ok(())
}

macro_rules! bswap {
    ($name:ident, $T:ty, |$v:ident| $e:expr) => {
        unsafe fn $name(cpu: *mut Cpu, op: *const Op, budget: i64) -> i64 {
            // SAFETY: called by the engine.
            unsafe {
                let $v = <$T>::get(cpu, (*op).dst);
                <$T>::set(cpu, (*op).dst, $e);
                next!(cpu, op, budget)
            }
        }
    };
}
bswap!(bswap16, u16, |_v| 0);
bswap!(bswap32, u32, |v| v.swap_bytes());
bswap!(bswap64, u64, |v| v.swap_bytes());

/// XLAT: AL = [RBX + AL].
pub(crate) fn xlat(i: &Insn, b: &mut Builder) -> Bound {
    b.push(Op { f: xlat_address, aux: i.mem.bytes, ..Builder::blank() });
    let mut at_tmp = i.clone();
    (at_tmp.mem.base, at_tmp.mem.index, at_tmp.mem.disp) = (offset::TMP, offset::ZERO, 0);
    let op = super::operand::mem_op(&at_tmp, b, access::READ, 1);
    b.push(Op { f: mov_rm::<u8>, dst: 0, ..op });
    Ok(())
}

unsafe fn xlat_address(cpu: *mut Cpu, op: *const Op, budget: i64) -> i64 {
    // SAFETY: called by the engine.
    unsafe {
        let sum = (*cpu).gpr[regs::RBX].wrapping_add((*cpu).gpr[regs::RAX] & 0xff);
        (*cpu).tmp = truncated(sum, (*op).aux);
        next!(cpu, op, budget)
    }
}

/// Expands to a handler for the condition code in `$cc`.
macro_rules! by_condition {
    ($cc:expr, $C:ident => $e:expr) => {
        by_condition!(@ $cc, $C, $e, 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14)
    };
    (@ $cc:expr, $C:ident, $e:expr, $($n:literal)+) => {
        match $cc {
            $($n => { const $C: u8 = $n; $e })+
            _ => { const $C: u8 = 15; $e }
        }
    };
}
pub(crate) use by_condition;

/// CMOVcc: the source is read (and may fault) whatever the condition; a 32-bit destination is zero-extended even if false.
pub(crate) fn cmov(i: &Insn, b: &mut Builder) -> Bound {
    let memory = i.operands[1] == Operand::Mem;
    let op = operands(i, b, access::READ);
    let f: Handler =
        by_condition!(i.cc, C => by_width!(i.width, T => if memory { cmov_m::<T, C> } else { cmov_r::<T, C> }));
    b.push(Op { f, ..op });
    Ok(())
}

unsafe fn cmov_r<T: Width, const CC: u8>(cpu: *mut Cpu, op: *const Op, budget: i64) -> i64 {
    // SAFETY: called by the engine.
    unsafe {
        let from = if test!(CC, cpu, op, budget) { (*op).src } else { (*op).dst };
        T::set(cpu, (*op).dst, T::get(cpu, from));
        next!(cpu, op, budget)
    }
}

unsafe fn cmov_m<T: Width, const CC: u8>(cpu: *mut Cpu, op: *const Op, budget: i64) -> i64 {
    // SAFETY: called by the engine.
    unsafe {
        let value = read!(T, cpu, op, budget, ea(cpu, op));
        let value = if test!(CC, cpu, op, budget) { value } else { T::get(cpu, (*op).dst) };
        T::set(cpu, (*op).dst, value);
        next!(cpu, op, budget)
    }
}

/// SETcc.
pub(crate) fn setcc(i: &Insn, b: &mut Builder) -> Bound {
    let memory = i.operands[0] == Operand::Mem;
    let op = operands(i, b, access::WRITE);
    let f: Handler = by_condition!(i.cc, C => if memory { set_m::<C> } else { set_r::<C> });
    b.push(Op { f, ..op });
    Ok(())
}

unsafe fn set_r<const CC: u8>(cpu: *mut Cpu, op: *const Op, budget: i64) -> i64 {
    // SAFETY: called by the engine.
    unsafe {
        u8::set(cpu, (*op).dst, u8::from(test!(CC, cpu, op, budget)));
        next!(cpu, op, budget)
    }
}

unsafe fn set_m<const CC: u8>(cpu: *mut Cpu, op: *const Op, budget: i64) -> i64 {
    // SAFETY: called by the engine.
    unsafe {
        let value = u8::from(test!(CC, cpu, op, budget));
        let p = place!(u8, cpu, op, budget, ea(cpu, op));
        p.write(value);
        next!(cpu, op, budget)
    }
}

/// CBW, CWDE, CDQE: the lower half of RAX, sign-extended into the operand size.
pub(crate) fn widen(i: &Insn, b: &mut Builder) -> Bound {
    let f: Handler = match i.width {
        2 => extend_r::<u16, u8, true>,
        4 => extend_r::<u32, u16, true>,
        _ => extend_r::<u64, u32, true>,
    };
    b.push(Op { f, dst: 0, src: 0, ..Builder::blank() });
    Ok(())
}

/// CWD, CDQ, CQO: RDX filled with the sign of RAX.
pub(crate) fn widen_pair(i: &Insn, b: &mut Builder) -> Bound {
    let f: Handler = by_width!(i.width, T => sign_fill::<T>);
    b.push(Op { f, dst: (regs::RDX * 8) as u8, src: 0, ..Builder::blank() });
    Ok(())
}

unsafe fn sign_fill<T: Width>(cpu: *mut Cpu, op: *const Op, budget: i64) -> i64 {
    // SAFETY: called by the engine.
    unsafe {
        let sign = (T::get(cpu, (*op).src).sx() as i64) >> 63;
        T::set(cpu, (*op).dst, T::low(sign as u64));
        next!(cpu, op, budget)
    }
}

/// LAHF SAHF CLC STC CMC CLD STD.
pub(crate) fn flag_moves(i: &Insn, b: &mut Builder) -> Bound {
    let f: Handler = match i.operation {
        Operation::Lahf => lahf,
        Operation::Sahf => sahf,
        Operation::Clc => carry::<0>,
        Operation::Stc => carry::<1>,
        Operation::Cmc => carry::<2>,
        Operation::Cld => direction::<false>,
        _ => direction::<true>,
    };
    b.push(Op { f, ..Builder::blank() });
    Ok(())
}

unsafe fn lahf(cpu: *mut Cpu, op: *const Op, budget: i64) -> i64 {
    // SAFETY: called by the engine.
    unsafe {
        let flags = flags!(cpu, op, budget) & (SF | ZF | AF | PF | CF) | 2;
        u8::set(cpu, 1, flags as u8);
        next!(cpu, op, budget)
    }
}

unsafe fn sahf(cpu: *mut Cpu, op: *const Op, budget: i64) -> i64 {
    // SAFETY: called by the engine.
    unsafe {
        const LOW: u64 = SF | ZF | AF | PF | CF;
        let flags = flags!(cpu, op, budget) & !LOW | u64::from(u8::get(cpu, 1)) & LOW;
        (*cpu).flags = Lazy::explicit(flags);
        next!(cpu, op, budget)
    }
}

unsafe fn carry<const HOW: u8>(cpu: *mut Cpu, op: *const Op, budget: i64) -> i64 {
    // SAFETY: called by the engine.
    unsafe {
        let flags = flags!(cpu, op, budget);
        let flags = match HOW {
            0 => flags & !CF,
            1 => flags | CF,
            _ => flags ^ CF,
        };
        (*cpu).flags = Lazy::explicit(flags & ARITH);
        next!(cpu, op, budget)
    }
}

unsafe fn direction<const DOWN: bool>(cpu: *mut Cpu, op: *const Op, budget: i64) -> i64 {
    // SAFETY: called by the engine.
    unsafe {
        (*cpu).rflags = (*cpu).rflags & !DF | if DOWN { DF } else { 0 };
        next!(cpu, op, budget)
    }
}
