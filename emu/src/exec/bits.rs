//! BT BTS BTR BTC BSF BSR.

use super::Bound;
use super::operand::{ea, flags, operands, place, push_offset, push_segment, read};
use crate::alu;
use crate::block::Builder;
use crate::cpu::flags::{CF, Lazy};
use crate::cpu::mode::truncated;
use crate::cpu::{Cpu, offset, regs};
use crate::decode::{Insn, Operand};
use crate::engine::next;
use crate::op::{Handler, Op, access};
use crate::width::{Width, by_width};

/// What happens to the tested bit.
pub(crate) trait Bit {
    const STORES: bool = true;
    fn apply(value: u64, bit: u64) -> u64;
}

macro_rules! bit {
    ($($name:ident |$v:ident, $b:ident| $e:expr;)+) => {
        $(/// SDM Vol. 2A, of the same name.
        pub(crate) struct $name;
        impl Bit for $name {
            #[inline(always)]
            fn apply($v: u64, $b: u64) -> u64 { $e }
        })+
    };
}
bit! {
    Bts |v, b| v | b;
    Btr |v, b| v & !b;
    Btc |v, b| v ^ b;
}

/// SDM Vol. 2A, BT.
pub(crate) struct Bt;
impl Bit for Bt {
    const STORES: bool = false;
    #[inline(always)]
    fn apply(value: u64, _bit: u64) -> u64 {
        value
    }
}

/// Binds a bit test. In memory a register offset reaches beyond the operand: the address is adjusted first.
pub(crate) fn test<B: Bit>(i: &Insn, b: &mut Builder) -> Bound {
    let memory = i.operands[0] == Operand::Mem;
    let immediate = matches!(i.operands[1], Operand::Imm(_));
    let how = if B::STORES { access::READ | access::WRITE } else { access::READ };
    if memory && !immediate {
        let Operand::Reg(src) = i.operands[1] else { return Err(super::Unsupported) };
        push_offset(&i.mem, b);
        let adjust: Handler = by_width!(i.width, T => bit_offset::<T>);
        b.push(Op { f: adjust, src, aux: i.mem.bytes, ..Builder::blank() });
        let stack = if usize::from(i.mem.seg) == regs::SS { access::STACK } else { 0 };
        let access = how | i.width.trailing_zeros() as u8 | stack;
        push_segment(i.mem.seg, b, access);
        let f: Handler = by_width!(i.width, T => test_m::<B, T, false>);
        b.push(Op { f, base: offset::TMP, src, access, ..Builder::blank() });
        return Ok(());
    }
    let op = operands(i, b, how);
    let f: Handler = by_width!(i.width, T => match (memory, immediate) {
        (false, false) => test_r::<B, T, false>,
        (false, true) => test_r::<B, T, true>,
        _ => test_m::<B, T, true>,
    });
    b.push(Op { f, ..op });
    Ok(())
}

unsafe fn bit_offset<T: Width>(cpu: *mut Cpu, op: *const Op, budget: i64) -> i64 {
    // SAFETY: called by the engine.
    unsafe {
        let bit = T::get(cpu, (*op).src).sx() as i64;
        let bytes = (bit >> T::BITS.trailing_zeros()) * T::SIZE as i64;
        (*cpu).tmp = truncated((*cpu).tmp.wrapping_add(bytes as u64), (*op).aux);
        next!(cpu, op, budget)
    }
}

#[inline(always)]
unsafe fn bit_number<T: Width, const IMM: bool>(cpu: *const Cpu, op: *const Op) -> u32 {
    // SAFETY: as the handlers promise.
    let n = unsafe { if IMM { (*op).imm } else { T::get(cpu, (*op).src).zx() } };
    n as u32 & (T::BITS - 1)
}

unsafe fn test_r<B: Bit, T: Width, const IMM: bool>(cpu: *mut Cpu, op: *const Op, budget: i64) -> i64 {
    // SAFETY: called by the engine.
    unsafe {
        let others = flags!(cpu, op, budget) & !CF;
        let n = bit_number::<T, IMM>(cpu, op);
        let a = T::get(cpu, (*op).dst).zx();
        if B::STORES {
            T::set(cpu, (*op).dst, T::low(B::apply(a, 1 << n)));
        }
        (*cpu).flags = Lazy::explicit(others | a >> n & 1);
        next!(cpu, op, budget)
    }
}

unsafe fn test_m<B: Bit, T: Width, const IMM: bool>(cpu: *mut Cpu, op: *const Op, budget: i64) -> i64 {
    // SAFETY: called by the engine.
    unsafe {
        let others = flags!(cpu, op, budget) & !CF;
        let n = bit_number::<T, IMM>(cpu, op);
        let a;
        if B::STORES {
            let p = place!(T, cpu, op, budget, ea(cpu, op));
            a = p.read_unaligned().zx();
            p.write_unaligned(T::low(B::apply(a, 1 << n)));
        } else {
            a = read!(T, cpu, op, budget, ea(cpu, op)).zx();
        }
        (*cpu).flags = Lazy::explicit(others | a >> n & 1);
        next!(cpu, op, budget)
    }
}

/// BSF and BSR: a zero source leaves the destination and sets ZF.
pub(crate) fn scan<const REVERSE: bool>(i: &Insn, b: &mut Builder) -> Bound {
    let memory = i.operands[1] == Operand::Mem;
    let op = operands(i, b, access::READ);
    let f: Handler =
        by_width!(i.width, T => if memory { scan_to::<T, REVERSE, true> } else { scan_to::<T, REVERSE, false> });
    b.push(Op { f, ..op });
    Ok(())
}

unsafe fn scan_to<T: Width, const REVERSE: bool, const MEM: bool>(cpu: *mut Cpu, op: *const Op, budget: i64) -> i64 {
    // SAFETY: called by the engine.
    unsafe {
        let s = if MEM { read!(T, cpu, op, budget, ea(cpu, op)) } else { T::get(cpu, (*op).src) }.zx();
        let bit = if REVERSE { s.checked_ilog2() } else { (s != 0).then(|| s.trailing_zeros()) };
        if let Some(bit) = bit {
            T::set(cpu, (*op).dst, T::low(u64::from(bit)));
        }
        (*cpu).flags = Lazy::explicit(alu::scan_flags(bit));
        next!(cpu, op, budget)
    }
}
