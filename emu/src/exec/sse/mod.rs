//! SSE and AVX: operand access and the kinds of handler. What an instruction does is a row of a table in one of the
//! families, over `crate::lanes` and `crate::fp`: a function of 128-bit lanes. `forms` makes of it the SSE instruction,
//! the VEX.128 instruction and, where there is one, the VEX.256 instruction.

pub(crate) mod avx;
pub(crate) mod convert;
pub(crate) mod crypto;
pub(crate) mod float;
pub(crate) mod float4;
pub(crate) mod fma;
mod forms;
pub(crate) mod gather;
pub(crate) mod int;
pub(crate) mod int4;
pub(crate) mod mov;
mod step;
#[cfg(test)]
mod tests;
pub(crate) mod text;

use super::operand::{ea, read};
use crate::block::{Builder, Use};
use crate::cpu::Cpu;
use crate::cpu::flags::{CF, Lazy, ZF};
use crate::cpu::regs::{cr0, cr4, xcr0};
use crate::decode::Insn;
use crate::engine::{general_protection, next, not_available, undefined};
use crate::fp::Env;
use crate::host::vectors;
use crate::lanes::Lane;
use crate::op::Op;
use crate::width::Width;

pub(super) use step::float_fault;

/// The value of an XMM register, or of one lane of a YMM register, in memory order.
pub(crate) type X = [u8; 16];

/// The value of a YMM register: the lower lane, which is the XMM register, and the upper one.
pub(crate) type Y = [X; 2];

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
    /// A YMM register.
    pub(super) const YMM: u8 = 10;
    pub(super) const MEM256: u8 = 11;
    /// Must be aligned.
    pub(super) const MEM256_ALIGNED: u8 = 12;
    /// There is no such form.
    pub(super) const NONE: u8 = 13;

    /// Bytes of a memory operand.
    pub(super) const fn bytes(source: u8) -> u8 {
        match source {
            MEM8 => 1,
            MEM16 => 2,
            MEM32 => 4,
            MEM64 => 8,
            MEM256 | MEM256_ALIGNED => 32,
            _ => 16,
        }
    }
}

/// What an operation gives for a lane: its type says where it goes.
trait Outcome: Copy {
    /// Writes the destination register `dst`: `VEX` clears what is above the lane.
    ///
    /// # Safety
    /// `cpu` is live, `dst` a register of the right kind.
    unsafe fn put<const VEX: bool>(self, cpu: *mut Cpu, dst: u8);

    /// Writes the outcomes of both lanes; `step` is that of the operation.
    ///
    /// # Safety
    /// As for `put`.
    unsafe fn put_both(low: Self, high: Self, step: u32, cpu: *mut Cpu, dst: u8);

    /// The same value, so computed that it is written by one store: a host waits long if it reads as a whole what was
    /// written in pieces just before.
    #[inline(always)]
    fn in_one_piece(self) -> Self {
        self
    }
}

impl Outcome for X {
    #[inline(always)]
    unsafe fn put<const VEX: bool>(self, cpu: *mut Cpu, dst: u8) {
        // SAFETY: as the caller promises.
        unsafe {
            *xmm(cpu, dst) = self;
            if VEX {
                *upper(cpu, dst) = [0; 16];
            }
        }
    }

    #[inline(always)]
    unsafe fn put_both(low: Self, high: Self, _: u32, cpu: *mut Cpu, dst: u8) {
        // SAFETY: as the caller promises.
        unsafe { (*xmm(cpu, dst), *upper(cpu, dst)) = (low, high) }
    }

    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    fn in_one_piece(self) -> Self {
        use std::arch::x86_64::{__m128i, _mm_set_epi64x};
        let bits = u128::from_le_bytes(self);
        // SAFETY: both are 16 bytes without padding.
        unsafe { std::mem::transmute::<__m128i, X>(_mm_set_epi64x((bits >> 64) as i64, bits as i64)) }
    }
}

/// Zero-extended into a general register; bits of the upper lane stand above those of the lower one.
impl Outcome for u64 {
    #[inline(always)]
    unsafe fn put<const VEX: bool>(self, cpu: *mut Cpu, dst: u8) {
        // SAFETY: as the caller promises.
        unsafe { u64::set(cpu, dst, self) }
    }

    #[inline(always)]
    unsafe fn put_both(low: Self, high: Self, step: u32, cpu: *mut Cpu, dst: u8) {
        // SAFETY: as the caller promises.
        unsafe { u64::set(cpu, dst, low | high << step) }
    }
}

/// Flags; of both lanes, ZF and CF where both have them.
impl Outcome for Lazy {
    #[inline(always)]
    unsafe fn put<const VEX: bool>(self, cpu: *mut Cpu, _dst: u8) {
        // SAFETY: as the caller promises.
        unsafe { (*cpu).flags = self }
    }

    #[inline(always)]
    unsafe fn put_both(low: Self, high: Self, _: u32, cpu: *mut Cpu, _dst: u8) {
        // SAFETY: as the caller promises.
        unsafe { (*cpu).flags = Lazy::explicit(low.a & high.a & (ZF | CF)) }
    }
}

/// An operation without floating-point exceptions on the lanes of two sources and the immediate.
trait Plain {
    type Out: Outcome;
    /// Bits of the immediate, or of a mask in a general register, that belong to the lower lane alone.
    const STEP: u32;
    fn apply(a: X, b: X, imm: u8) -> Self::Out;

    /// The same where the host has what `vectors!` names.
    ///
    /// # Safety
    /// The host has it.
    #[inline(always)]
    unsafe fn hosted(a: X, b: X, imm: u8) -> Self::Out {
        Self::apply(a, b, imm)
    }
}

/// An operation under MXCSR.
trait Float {
    type Out: Outcome;
    fn apply(a: X, b: X, imm: u8, env: &mut Env) -> Self::Out;

    /// On both lanes.
    #[inline(always)]
    fn apply_both(a: Y, b: Y, imm: u8, env: &mut Env) -> (Self::Out, Self::Out) {
        (Self::apply(a[0], b[0], imm, env), Self::apply(a[1], b[1], imm, env))
    }

    /// The outcome where it is simple and MXCSR stays as it is, being settled (`fp::is_settled`).
    #[inline(always)]
    fn quick(_a: X, _b: X, _imm: u8) -> Option<Self::Out> {
        None
    }
}

/// An operation of two sources and a mask: XMM0, or the fourth operand.
trait Masked {
    fn apply(a: X, b: X, mask: X) -> X;
}

/// An operation across the lanes of YMM registers.
trait Crossing {
    fn apply(a: Y, b: Y, imm: u8) -> Y;
}

/// The immediate as the upper lane sees it.
#[inline(always)]
fn upper_imm(imm: u8, step: u32) -> u8 {
    (u32::from(imm) >> step) as u8
}

/// The XMM register whose first word in `Cpu::ymm` is number `at`.
///
/// # Safety
/// `cpu` is live, `at` a register's (`Operand::Xmm`).
#[inline(always)]
pub(super) unsafe fn xmm(cpu: *mut Cpu, at: u8) -> *mut X {
    // SAFETY: there are 16 registers of four words, the lower lane first.
    unsafe { (&raw mut (*cpu).ymm).cast::<u64>().add(usize::from(at)).cast() }
}

/// The upper lane of the YMM register whose first word is number `at`.
///
/// # Safety
/// As for `xmm`.
#[inline(always)]
unsafe fn upper(cpu: *mut Cpu, at: u8) -> *mut X {
    // SAFETY: as for `xmm`.
    unsafe { xmm(cpu, at).add(1) }
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
pub(super) use fetch;

/// Likewise for both lanes. A source of 128 bits or less gives both lanes the same, or with `$PART` each its own part of so
/// many bytes.
macro_rules! fetch_both {
    ($S:expr, $PART:expr, $cpu:expr, $op:expr, $budget:expr) => {
        match $S {
            source::NONE => return undefined($cpu, $op, $budget),
            source::YMM => (*xmm($cpu, (*$op).src), *upper($cpu, (*$op).src)),
            source::MEM256 | source::MEM256_ALIGNED => {
                let addr = ea($cpu, $op);
                if $S == source::MEM256_ALIGNED && addr & 31 != 0 {
                    return general_protection($cpu, $op, $budget);
                }
                let both = read!(Y, $cpu, $op, $budget, addr);
                (both[0], both[1])
            }
            _ => {
                let one = fetch!($S, $cpu, $op, $budget);
                (one, (u128::from_le_bytes(one) >> (8 * $PART)).to_le_bytes())
            }
        }
    };
}
pub(super) use fetch_both;

#[inline(always)]
unsafe fn plain_op<O: Plain, const S: u8, const VEX: bool>(cpu: *mut Cpu, op: *const Op, budget: i64) -> i64 {
    // SAFETY: called by the engine.
    unsafe {
        let b = fetch!(S, cpu, op, budget);
        let a = *xmm(cpu, (*op).aux);
        O::apply(a, b, (*op).imm as u8).put::<VEX>(cpu, (*op).dst);
        next!(cpu, op, budget)
    }
}

/// As `plain_op`, for both lanes.
#[inline(always)]
unsafe fn plain_both_op<O: Plain, const S: u8, const PART: u8>(cpu: *mut Cpu, op: *const Op, budget: i64) -> i64 {
    // SAFETY: called by the engine.
    unsafe {
        let (b0, b1) = fetch_both!(S, PART, cpu, op, budget);
        let (a0, a1) = (*xmm(cpu, (*op).aux), *upper(cpu, (*op).aux));
        let imm = (*op).imm as u8;
        let (low, high) = (O::apply(a0, b0, imm), O::apply(a1, b1, upper_imm(imm, O::STEP)));
        O::Out::put_both(low, high, O::STEP, cpu, (*op).dst);
        next!(cpu, op, budget)
    }
}

/// An operation as hosts compute it that have what `vectors!` names.
struct Hosted<O>(std::marker::PhantomData<O>);

impl<O: Plain> Plain for Hosted<O> {
    type Out = O::Out;
    const STEP: u32 = O::STEP;
    #[inline(always)]
    fn apply(a: X, b: X, imm: u8) -> O::Out {
        // SAFETY: stands in handlers that are bound on such hosts only.
        unsafe { O::hosted(a, b, imm) }
    }
}

vectors! {
    /// As `plain_op`, compiled for hosts that have more instructions.
    unsafe fn hosted_op<O: Plain, const S: u8, const VEX: bool>(cpu: *mut Cpu, op: *const Op, budget: i64) -> i64 {
        // SAFETY: called by the engine.
        unsafe { plain_op::<Hosted<O>, S, VEX>(cpu, op, budget) }
    }

    /// As `plain_both_op`, likewise.
    unsafe fn hosted_both_op<O: Plain, const S: u8, const PART: u8>(cpu: *mut Cpu, op: *const Op, budget: i64) -> i64 {
        // SAFETY: called by the engine.
        unsafe { plain_both_op::<Hosted<O>, S, PART>(cpu, op, budget) }
    }
}

/// Stands before the first SSE instruction of a block: nothing inside a block can change what it looks at.
unsafe fn guard_op(cpu: *mut Cpu, op: *const Op, budget: i64) -> i64 {
    // SAFETY: called by the engine.
    unsafe {
        if (*cpu).cr0 & (cr0::EM | cr0::TS) != 0 || (*cpu).cr4 & cr4::OSFXSR == 0 {
            let off = (*cpu).cr0 & cr0::EM != 0 || (*cpu).cr4 & cr4::OSFXSR == 0;
            return if off { undefined(cpu, op, budget) } else { not_available(cpu, op, budget) };
        }
        next!(cpu, op, budget)
    }
}

/// Likewise before the first VEX-encoded one.
unsafe fn guard_vex_op(cpu: *mut Cpu, op: *const Op, budget: i64) -> i64 {
    // SAFETY: called by the engine.
    unsafe {
        if !avx_is_on(&*cpu) {
            return undefined(cpu, op, budget);
        }
        if (*cpu).cr0 & cr0::TS != 0 {
            return not_available(cpu, op, budget);
        }
        next!(cpu, op, budget)
    }
}

/// SDM Vol. 1, 14.3.
pub(super) fn avx_is_on(cpu: &Cpu) -> bool {
    const STATE: u64 = xcr0::SSE | xcr0::AVX;
    cpu.cr4 & cr4::OSXSAVE != 0 && cpu.xcr0 & STATE == STATE
}

/// Adds what looks whether the instruction is available (SDM Vol. 3A, table 2-2 and 14.1; Vol. 2A, 2.7).
pub(super) fn guard(i: &Insn, b: &mut Builder) {
    let (kind, f): (Use, crate::op::Handler) = if i.vex { (Use::Avx, guard_vex_op) } else { (Use::Sse, guard_op) };
    if b.first(kind) {
        b.push(Op { f, ..Builder::blank() });
    }
}
