//! POPCNT LZCNT TZCNT, BMI1, BMI2, ADX, MOVBE, CRC32.

use super::operand::{ea, flags, mem_op, operands, place, read};
use super::{Bound, Unsupported};
use crate::alu_bits as bits;
use crate::block::Builder;
use crate::cpu::flags::{CF, Lazy, OF};
use crate::cpu::{Cpu, offset};
use crate::decode::{Insn, Operand};
use crate::engine::next;
use crate::op::{Handler, Op, access};
use crate::width::{Width, by_width};

/// A function of a register, the register-or-memory operand and an immediate.
pub(crate) trait Combine {
    /// The register-or-memory operand is the second of three, not the last.
    const MIDDLE: bool = false;
    /// Looks at the flags before.
    const READS: bool = false;
    /// Gives flags.
    const WRITES: bool = true;
    fn apply<T: Width>(a: T, b: T, imm: u64, flags: u64) -> (T, u64);
}

macro_rules! combine {
    ($($name:ident $(middle $middle:literal)? $(reads $reads:literal)? $(writes $writes:literal)?
       |$a:pat_param, $b:pat_param, $imm:pat_param, $flags:pat_param| $e:expr;)+) => {
        $(/// SDM Vol. 2, of the same name.
        pub(crate) struct $name;
        impl Combine for $name {
            $(const MIDDLE: bool = $middle;)?
            $(const READS: bool = $reads;)?
            $(const WRITES: bool = $writes;)?
            #[inline(always)]
            fn apply<T: Width>($a: T, $b: T, $imm: u64, $flags: u64) -> (T, u64) { $e }
        })+
    };
}

/// The count of SHLX and its like.
#[inline(always)]
fn count<T: Width>(a: T) -> u64 {
    a.zx() & (u64::from(T::BITS) - 1)
}

combine! {
    Popcnt |_, b, _, _| bits::popcnt(b);
    Lzcnt |_, b, _, _| bits::lzcnt(b);
    Tzcnt |_, b, _, _| bits::tzcnt(b);
    Andn |a, b, _, _| bits::andn(a, b);
    Bextr middle true |a, b, _, _| bits::bextr(b, a);
    Blsi |_, b, _, _| bits::blsi(b);
    Blsmsk |_, b, _, _| bits::blsmsk(b);
    Blsr |_, b, _, _| bits::blsr(b);
    Bzhi middle true |a, b, _, _| bits::bzhi(b, a);
    Pdep writes false |a, b, _, _| (T::low(bits::pdep(a.zx(), b.zx())), 0);
    Pext writes false |a, b, _, _| (T::low(bits::pext(a.zx(), b.zx())), 0);
    Rorx writes false |_, b, imm, _| {
        let n = imm as u32 & (T::BITS - 1);
        (T::low(b.zx() >> n | (b.zx() << (T::BITS - 1 - n)) << 1), 0)
    };
    Sarx middle true writes false |a, b, _, _| (T::low(((b.sx() as i64) >> count(a)) as u64), 0);
    Shlx middle true writes false |a, b, _, _| (T::low(b.zx() << count(a)), 0);
    Shrx middle true writes false |a, b, _, _| (T::low(b.zx() >> count(a)), 0);
    Adcx reads true |a, b, _, flags| bits::add_through::<T, CF>(a, b, flags);
    Adox reads true |a, b, _, flags| bits::add_through::<T, OF>(a, b, flags);
}

/// The destination in `dst`, the register-or-memory operand in `src` or the memory fields, the other register (the
/// destination if there is none) in `aux`.
fn three(i: &Insn, b: &mut Builder, middle: bool) -> Result<(bool, Op), Unsupported> {
    let Operand::Reg(dst) = i.operands[0] else { return Err(Unsupported) };
    let (general, other) = match (i.operands[1], i.operands[2]) {
        (general, Operand::Reg(other)) if middle => (general, other),
        (general, Operand::None | Operand::Imm(_)) => (general, dst),
        (Operand::Reg(other), general) => (general, other),
        _ => return Err(Unsupported),
    };
    let (memory, src) = match general {
        Operand::Reg(src) => (false, src),
        Operand::Mem => (true, offset::ZERO),
        _ => return Err(Unsupported),
    };
    let mut op = if memory { mem_op(i, b, access::READ, i.mem_width) } else { Builder::blank() };
    if let Operand::Imm(value) = i.operands[2] {
        op.imm = value;
    }
    Ok((memory, Op { dst, src, aux: other, ..op }))
}

/// Binds a function of this file's table.
pub(crate) fn combine<C: Combine>(i: &Insn, b: &mut Builder) -> Bound {
    let (memory, op) = three(i, b, C::MIDDLE)?;
    let f: Handler = by_width!(i.width, T => if memory { combine_op::<C, T, true> } else { combine_op::<C, T, false> });
    b.push(Op { f, ..op });
    Ok(())
}

unsafe fn combine_op<C: Combine, T: Width, const MEM: bool>(cpu: *mut Cpu, op: *const Op, budget: i64) -> i64 {
    // SAFETY: called by the engine.
    unsafe {
        let before = if C::READS { flags!(cpu, op, budget) } else { 0 };
        let b = if MEM { read!(T, cpu, op, budget, ea(cpu, op)) } else { T::get(cpu, (*op).src) };
        let (result, flags) = C::apply(T::get(cpu, (*op).aux), b, (*op).imm, before);
        T::set(cpu, (*op).dst, result);
        if C::WRITES {
            (*cpu).flags = Lazy::explicit(flags);
        }
        next!(cpu, op, budget)
    }
}

/// MULX: both halves of RDX times the general operand; the upper one wins if they go to one register.
pub(crate) fn mulx(i: &Insn, b: &mut Builder) -> Bound {
    let (memory, op) = three(i, b, false)?;
    let f: Handler = by_width!(i.width, T => if memory { mulx_op::<T, true> } else { mulx_op::<T, false> });
    b.push(Op { f, ..op });
    Ok(())
}

unsafe fn mulx_op<T: Width, const MEM: bool>(cpu: *mut Cpu, op: *const Op, budget: i64) -> i64 {
    // SAFETY: called by the engine.
    unsafe {
        let b = if MEM { read!(T, cpu, op, budget, ea(cpu, op)) } else { T::get(cpu, (*op).src) };
        let wide = u128::from(T::get(cpu, offset::RDX).zx()) * u128::from(b.zx());
        T::set(cpu, (*op).aux, T::low(wide as u64));
        T::set(cpu, (*op).dst, T::low((wide >> T::BITS) as u64));
        next!(cpu, op, budget)
    }
}

/// MOVBE to a register or to memory.
pub(crate) fn movbe(i: &Insn, b: &mut Builder) -> Bound {
    let to_memory = i.operands[0] == Operand::Mem;
    let op = operands(i, b, if to_memory { access::WRITE } else { access::READ });
    let f: Handler = by_width!(i.width, T => if to_memory { movbe_store::<T> } else { movbe_load::<T> });
    b.push(Op { f, ..op });
    Ok(())
}

#[inline(always)]
fn reversed<T: Width>(value: T) -> T {
    T::low(value.zx().swap_bytes() >> (64 - T::BITS))
}

unsafe fn movbe_load<T: Width>(cpu: *mut Cpu, op: *const Op, budget: i64) -> i64 {
    // SAFETY: called by the engine.
    unsafe {
        let value = read!(T, cpu, op, budget, ea(cpu, op));
        T::set(cpu, (*op).dst, reversed(value));
        next!(cpu, op, budget)
    }
}

unsafe fn movbe_store<T: Width>(cpu: *mut Cpu, op: *const Op, budget: i64) -> i64 {
    // SAFETY: called by the engine.
    unsafe {
        let to = place!(T, cpu, op, budget, ea(cpu, op));
        to.write_unaligned(reversed(T::get(cpu, (*op).src)));
        next!(cpu, op, budget)
    }
}

/// CRC32: a 32-bit result whatever the destination's width.
pub(crate) fn crc32(i: &Insn, b: &mut Builder) -> Bound {
    let memory = i.operands[1] == Operand::Mem;
    let width = if memory { i.mem_width } else { i.source_width };
    let op = operands(i, b, access::READ);
    let f: Handler = by_width!(width, T => if memory { crc32_op::<T, true> } else { crc32_op::<T, false> });
    b.push(Op { f, ..op });
    Ok(())
}

unsafe fn crc32_op<T: Width, const MEM: bool>(cpu: *mut Cpu, op: *const Op, budget: i64) -> i64 {
    // SAFETY: called by the engine.
    unsafe {
        let data = if MEM { read!(T, cpu, op, budget, ea(cpu, op)) } else { T::get(cpu, (*op).src) };
        let crc = bits::crc32(u32::get(cpu, (*op).dst), data);
        u32::set(cpu, (*op).dst, crc);
        next!(cpu, op, budget)
    }
}
