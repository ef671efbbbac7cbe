//! SSE on XMM registers: operand access and the three kinds of handler. What an instruction does is a row of a
//! table in one of the families, over `crate::lanes` and `crate::fp`.

pub(crate) mod convert;
pub(crate) mod crypto;
pub(crate) mod float;
pub(crate) mod float4;
pub(crate) mod int;
pub(crate) mod int4;
pub(crate) mod mov;
#[cfg(test)]
mod tests;
pub(crate) mod text;

use super::operand::{ea, mem_op, read};
use super::{Bound, Unsupported};
use crate::block::Builder;
use crate::cpu::flags::Lazy;
use crate::cpu::regs::{cr0, cr4};
use crate::cpu::{Cpu, offset};
use crate::decode::{Insn, Operand};
use crate::engine::{general_protection, next, not_available, simd_exception, undefined};
use crate::fp::Env;
use crate::lanes::Lane;
use crate::op::{Handler, Op, access};
use crate::width::Width;

/// The value of an XMM register, in memory order.
pub(crate) type X = [u8; 16];

/// Where an operation's second operand comes from.
mod source {
    pub(super) const XMM: u8 = 0;
    /// General registers.
    pub(super) const GPR32: u8 = 1;
    pub(super) const GPR64: u8 = 2;
    pub(super) const IMM: u8 = 3;
    /// Memory of 8 to 128 bits.
    pub(super) const MEM16: u8 = 4;
    pub(super) const MEM32: u8 = 5;
    pub(super) const MEM64: u8 = 6;
    /// Must be aligned, as all 16-byte operands but those of MOVUPS and its like.
    pub(super) const MEM128: u8 = 7;
    pub(super) const MEM128_UNALIGNED: u8 = 8;
    pub(super) const MEM8: u8 = 9;

    /// Bytes of a memory operand.
    pub(super) const fn bytes(source: u8) -> u8 {
        match source {
            MEM8 => 1,
            MEM16 => 2,
            MEM32 => 4,
            MEM64 => 8,
            _ => 16,
        }
    }
}

/// What an operation gives: its type says where it goes.
trait Outcome {
    /// Writes the destination register `dst`.
    ///
    /// # Safety
    /// `cpu` is live, `dst` a register of the right kind.
    unsafe fn put(self, cpu: *mut Cpu, dst: u8);
}

impl Outcome for X {
    #[inline(always)]
    unsafe fn put(self, cpu: *mut Cpu, dst: u8) {
        // SAFETY: as the caller promises.
        unsafe { *xmm(cpu, dst) = self }
    }
}

/// Zero-extended into a general register.
impl Outcome for u64 {
    #[inline(always)]
    unsafe fn put(self, cpu: *mut Cpu, dst: u8) {
        // SAFETY: as the caller promises.
        unsafe { u64::set(cpu, dst, self) }
    }
}

impl Outcome for Lazy {
    #[inline(always)]
    unsafe fn put(self, cpu: *mut Cpu, _dst: u8) {
        // SAFETY: as the caller promises.
        unsafe { (*cpu).flags = self }
    }
}

/// An operation without floating-point exceptions on destination, source and immediate.
trait Plain {
    type Out: Outcome;
    fn apply(a: X, b: X, imm: u8) -> Self::Out;
}

/// An operation under MXCSR.
trait Float {
    type Out: Outcome;
    fn apply(a: X, b: X, imm: u8, env: &mut Env) -> Self::Out;
}

/// The register `n`.
///
/// # Safety
/// `cpu` is live.
#[inline(always)]
pub(super) unsafe fn xmm(cpu: *mut Cpu, n: u8) -> *mut X {
    // SAFETY: there are 16 registers of 32 bytes, the lower half first.
    unsafe { (&raw mut (*cpu).ymm).cast::<[X; 2]>().add(usize::from(n & 15)).cast() }
}

/// A value in the lowest lane, zeros above.
#[inline(always)]
pub(super) fn low<T: Lane>(value: T) -> X {
    let mut out = [0; 16];
    value.put(&mut out, 0);
    out
}

/// The second operand of `$op` from source `$S`, or leaves with a fault or through `mem_miss`.
macro_rules! fetch {
    ($S:expr, $cpu:expr, $op:expr, $budget:expr) => {
        match $S {
            source::XMM => *xmm($cpu, (*$op).src),
            source::GPR32 => low(u32::get($cpu, (*$op).src)),
            source::GPR64 => low(u64::get($cpu, (*$op).src)),
            source::IMM => low((*$op).imm & 0xff),
            source::MEM8 => low(read!(u8, $cpu, $op, $budget, ea($cpu, $op))),
            source::MEM16 => low(read!(u16, $cpu, $op, $budget, ea($cpu, $op))),
            source::MEM32 => low(read!(u32, $cpu, $op, $budget, ea($cpu, $op))),
            source::MEM64 => low(read!(u64, $cpu, $op, $budget, ea($cpu, $op))),
            source::MEM128 => {
                let addr = ea($cpu, $op);
                if addr & 15 != 0 {
                    return general_protection($cpu, $op, $budget);
                }
                read!(X, $cpu, $op, $budget, addr)
            }
            _ => read!(X, $cpu, $op, $budget, ea($cpu, $op)),
        }
    };
}

unsafe fn plain_op<O: Plain, const S: u8>(cpu: *mut Cpu, op: *const Op, budget: i64) -> i64 {
    // SAFETY: called by the engine.
    unsafe {
        let b = fetch!(S, cpu, op, budget);
        let a = *xmm(cpu, (*op).dst);
        O::apply(a, b, (*op).imm as u8).put(cpu, (*op).dst);
        next!(cpu, op, budget)
    }
}

/// As `plain_op`, for operations too long to stand in a handler.
unsafe fn heavy_op<O: Plain, const S: u8>(cpu: *mut Cpu, op: *const Op, budget: i64) -> i64 {
    // SAFETY: called by the engine.
    unsafe {
        let b = fetch!(S, cpu, op, budget);
        compute::<O>(cpu, op, u128::from_le_bytes(b));
        next!(cpu, op, budget)
    }
}

/// Out of line, so that handlers keep nothing on the stack.
#[inline(never)]
unsafe fn compute<O: Plain>(cpu: *mut Cpu, op: *const Op, b: u128) {
    // SAFETY: called by a handler.
    unsafe {
        let a = *xmm(cpu, (*op).dst);
        O::apply(a, b.to_le_bytes(), (*op).imm as u8).put(cpu, (*op).dst);
    }
}

/// An operation of destination, source and XMM0.
trait Masked {
    fn apply(a: X, b: X, mask: X) -> X;
}

unsafe fn masked_op<O: Masked, const S: u8>(cpu: *mut Cpu, op: *const Op, budget: i64) -> i64 {
    // SAFETY: called by the engine.
    unsafe {
        let b = fetch!(S, cpu, op, budget);
        compute_masked::<O>(cpu, op, u128::from_le_bytes(b));
        next!(cpu, op, budget)
    }
}

/// As `compute`.
#[inline(never)]
unsafe fn compute_masked<O: Masked>(cpu: *mut Cpu, op: *const Op, b: u128) {
    // SAFETY: called by a handler.
    unsafe {
        let to = xmm(cpu, (*op).dst);
        *to = O::apply(*to, b.to_le_bytes(), *xmm(cpu, 0));
    }
}

unsafe fn float_op<O: Float, const S: u8>(cpu: *mut Cpu, op: *const Op, budget: i64) -> i64 {
    // SAFETY: called by the engine.
    unsafe {
        let b = fetch!(S, cpu, op, budget);
        if run::<O>(cpu, op, u128::from_le_bytes(b)) {
            return float_fault(cpu, op, budget);
        }
        next!(cpu, op, budget)
    }
}

/// Out of line, so that handlers keep nothing on the stack. Returns whether an unmasked exception was met: then MXCSR has
/// its flag and the destination is unchanged (SDM Vol. 1, 11.5.2).
#[inline(never)]
unsafe fn run<O: Float>(cpu: *mut Cpu, op: *const Op, b: u128) -> bool {
    // SAFETY: called by a handler.
    unsafe {
        let mut env = Env::new((*cpu).mxcsr);
        let out = O::apply(*xmm(cpu, (*op).dst), b.to_le_bytes(), (*op).imm as u8, &mut env);
        let (mxcsr, fault) = env.finish();
        (*cpu).mxcsr = mxcsr;
        if !fault {
            out.put(cpu, (*op).dst);
        }
        fault
    }
}

#[cold]
#[inline(never)]
pub(super) unsafe fn float_fault(cpu: *mut Cpu, op: *const Op, budget: i64) -> i64 {
    // SAFETY: a handler's tail.
    unsafe {
        if (*cpu).cr4 & cr4::OSXMMEXCPT != 0 { simd_exception(cpu, op, budget) } else { undefined(cpu, op, budget) }
    }
}

/// Stands before the first SSE instruction of a block: nothing inside a block can change what it looks at.
unsafe fn guard_op(cpu: *mut Cpu, op: *const Op, budget: i64) -> i64 {
    // SAFETY: called by the engine.
    unsafe {
        if (*cpu).cr0 & (cr0::EM | cr0::TS) != 0 || (*cpu).cr4 & cr4::OSFXSR == 0 {
            return unavailable(cpu, op, budget);
        }
        next!(cpu, op, budget)
    }
}

/// SDM Vol. 3A, table 2-2 and 14.1.
#[cold]
#[inline(never)]
unsafe fn unavailable(cpu: *mut Cpu, op: *const Op, budget: i64) -> i64 {
    // SAFETY: a handler's tail.
    unsafe {
        let off = (*cpu).cr0 & cr0::EM != 0 || (*cpu).cr4 & cr4::OSFXSR == 0;
        if off { undefined(cpu, op, budget) } else { not_available(cpu, op, budget) }
    }
}

pub(super) fn guard(b: &mut Builder) {
    if b.first_sse() {
        b.push(Op { f: guard_op, ..Builder::blank() });
    }
}

/// Adds `f` with the operands of `i`: the memory operand if there is one (`how` it is accessed, and its size), the
/// registers in `dst` and `src`, the immediate.
fn push(f: Handler, i: &Insn, b: &mut Builder, how: u8, bytes: u8) -> Bound {
    guard(b);
    let memory = i.operands.contains(&Operand::Mem);
    let mut op = if memory { mem_op(i, b, how, bytes) } else { Builder::blank() };
    for operand in &i.operands {
        if let Operand::Imm(value) = *operand {
            op.imm = value;
        }
    }
    let register = |o: Operand| match o {
        Operand::Xmm(r) | Operand::Reg(r) => r,
        _ => offset::ZERO,
    };
    (op.dst, op.src) = (register(i.operands[0]), register(i.operands[1]));
    b.push(Op { f, ..op });
    Ok(())
}

/// Binds `register, XMM` and `register, memory`. MMX registers are no operands here, so that those forms are refused.
fn register_form(i: &Insn, xmm: Handler, memory: Handler, kind: u8, b: &mut Builder) -> Bound {
    match (i.operands[0], i.operands[1]) {
        (Operand::Xmm(_) | Operand::Reg(_), Operand::Xmm(_)) => push(xmm, i, b, access::READ, 0),
        (Operand::Xmm(_) | Operand::Reg(_), Operand::Mem) => push(memory, i, b, access::READ, source::bytes(kind)),
        _ => Err(Unsupported),
    }
}

fn plain<O: Plain, const MEM: u8>(i: &Insn, b: &mut Builder) -> Bound {
    register_form(i, plain_op::<O, { source::XMM }>, plain_op::<O, MEM>, MEM, b)
}

fn heavy<O: Plain, const MEM: u8>(i: &Insn, b: &mut Builder) -> Bound {
    register_form(i, heavy_op::<O, { source::XMM }>, heavy_op::<O, MEM>, MEM, b)
}

fn masked<O: Masked>(i: &Insn, b: &mut Builder) -> Bound {
    const MEM: u8 = source::MEM128;
    register_form(i, masked_op::<O, { source::XMM }>, masked_op::<O, MEM>, MEM, b)
}

fn float<O: Float, const MEM: u8>(i: &Insn, b: &mut Builder) -> Bound {
    register_form(i, float_op::<O, { source::XMM }>, float_op::<O, MEM>, MEM, b)
}

/// Binds a row of a table: an operation of destination, source and immediate, and the kind of its memory operand.
macro_rules! row {
    ($i:ident, $b:ident, $MEM:ident, $out:ty, |$x:pat_param, $y:pat_param, $imm:pat_param| $e:expr) => {{
        struct Row;
        impl crate::exec::sse::Plain for Row {
            type Out = $out;
            #[inline(always)]
            fn apply($x: X, $y: X, $imm: u8) -> $out {
                $e
            }
        }
        crate::exec::sse::plain::<Row, { crate::exec::sse::source::$MEM }>($i, $b)
    }};
}
use row;

/// Likewise for an operation too long to stand in a handler.
macro_rules! heavy_row {
    ($i:ident, $b:ident, $MEM:ident, $out:ty, |$x:pat_param, $y:pat_param, $imm:pat_param| $e:expr) => {{
        struct Row;
        impl crate::exec::sse::Plain for Row {
            type Out = $out;
            #[inline(always)]
            fn apply($x: X, $y: X, $imm: u8) -> $out {
                $e
            }
        }
        crate::exec::sse::heavy::<Row, { crate::exec::sse::source::$MEM }>($i, $b)
    }};
}
use heavy_row;

/// Likewise for an operation that also looks at XMM0.
macro_rules! masked_row {
    ($i:ident, $b:ident, $f:expr) => {{
        struct Row;
        impl crate::exec::sse::Masked for Row {
            #[inline(always)]
            fn apply(a: X, b: X, mask: X) -> X {
                $f(a, b, mask)
            }
        }
        crate::exec::sse::masked::<Row>($i, $b)
    }};
}
use masked_row;

/// Likewise for an operation under MXCSR.
macro_rules! float_row {
    ($i:ident, $b:ident, $MEM:ident, $out:ty, |$x:pat_param, $y:pat_param, $imm:pat_param, $env:ident| $e:expr) => {{
        struct Row;
        impl crate::exec::sse::Float for Row {
            type Out = $out;
            #[inline(always)]
            fn apply($x: X, $y: X, $imm: u8, $env: &mut crate::fp::Env) -> $out {
                $e
            }
        }
        crate::exec::sse::float::<Row, { crate::exec::sse::source::$MEM }>($i, $b)
    }};
}
use float_row;
