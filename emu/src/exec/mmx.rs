//! MMX: vectors of eight bytes in the significands of the x87's registers. The packed integer operations are rows of the
//! table in `sse::int`, over `crate::lanes`.

use super::operand::{ea, mem_op, place, read};
use super::sse::{self, X};
use super::{Bound, Unsupported};
use crate::block::Builder;
use crate::cpu::fpu::status;
use crate::cpu::mode::Mode;
use crate::cpu::regs::cr0;
use crate::cpu::{Cpu, offset};
use crate::decode::{Insn, MemRef, Mmx as O, Operand, SseMove};
use crate::engine::{general_protection, next, not_available, undefined, x87_exception};
use crate::fp::{self, Env, F32, F64};
use crate::lanes::{self, Lane};
use crate::op::{Handler, Op, access};
use crate::state::X80;
use crate::width::Width;

/// The value of an MMX register, in memory order.
pub(crate) type V = [u8; 8];

/// Where an operation's second operand comes from.
mod source {
    pub(super) const MM: u8 = 0;
    pub(super) const GPR32: u8 = 1;
    pub(super) const GPR64: u8 = 2;
    pub(super) const IMM: u8 = 3;
    pub(super) const MEM16: u8 = 4;
    pub(super) const MEM32: u8 = 5;
    pub(super) const MEM64: u8 = 6;
}

/// What an operation gives: its type says where it goes.
pub(crate) trait Outcome {
    /// Writes register `dst`.
    fn put(self, cpu: &mut Cpu, dst: u8);
}

impl Outcome for V {
    #[inline(always)]
    fn put(self, cpu: &mut Cpu, dst: u8) {
        cpu.fpu.regs[usize::from(dst & 7)] = X80 { sig: u64::from_le_bytes(self), sign_exp: 0xffff };
    }
}

/// Zero-extended into a general register.
impl Outcome for u64 {
    #[inline(always)]
    fn put(self, cpu: &mut Cpu, dst: u8) {
        // SAFETY: `dst` is the offset of a general register.
        unsafe { u64::set(cpu, dst, self) }
    }
}

/// An operation on destination, source and immediate.
pub(crate) trait Plain {
    type Out: Outcome;
    fn apply(a: V, b: V, imm: u8) -> Self::Out;
}

#[inline(always)]
fn mm(cpu: &Cpu, n: u8) -> V {
    cpu.fpu.regs[usize::from(n & 7)].sig.to_le_bytes()
}

#[inline(always)]
unsafe fn is_blocked(cpu: *const Cpu) -> bool {
    // SAFETY: called by a handler.
    unsafe { (*cpu).cr0 & (cr0::EM | cr0::TS) != 0 || (*cpu).fpu.status & status::ES != 0 }
}

/// SDM Vol. 3A, table 12-1, and 12.5.
#[cold]
#[inline(never)]
unsafe fn blocked(cpu: *mut Cpu, op: *const Op, budget: i64) -> i64 {
    // SAFETY: a handler's tail.
    unsafe {
        match (*cpu).cr0 {
            bits if bits & cr0::EM != 0 => undefined(cpu, op, budget),
            bits if bits & cr0::TS != 0 => not_available(cpu, op, budget),
            _ => x87_exception(cpu, op, budget),
        }
    }
}

unsafe fn plain_op<O: Plain, const S: u8>(cpu: *mut Cpu, op: *const Op, budget: i64) -> i64 {
    // SAFETY: called by the engine.
    unsafe {
        if is_blocked(cpu) {
            return blocked(cpu, op, budget);
        }
        let b = match S {
            source::MM => mm(&*cpu, (*op).src),
            source::GPR32 => u64::from(u32::get(cpu, (*op).src)).to_le_bytes(),
            source::GPR64 => u64::get(cpu, (*op).src).to_le_bytes(),
            source::IMM => ((*op).imm & 0xff).to_le_bytes(),
            source::MEM16 => u64::from(read!(u16, cpu, op, budget, ea(cpu, op))).to_le_bytes(),
            source::MEM32 => u64::from(read!(u32, cpu, op, budget, ea(cpu, op))).to_le_bytes(),
            _ => read!(u64, cpu, op, budget, ea(cpu, op)).to_le_bytes(),
        };
        (*cpu).fpu.enter_mmx();
        let a = mm(&*cpu, (*op).dst);
        O::apply(a, b, (*op).imm as u8).put(&mut *cpu, (*op).dst);
        next!(cpu, op, budget)
    }
}

fn push(f: Handler, i: &Insn, b: &mut Builder, how: u8) -> Bound {
    let memory = i.operands.contains(&Operand::Mem);
    let mut op = if memory { mem_op(i, b, how, i.mem_width) } else { Builder::blank() };
    for operand in &i.operands {
        if let Operand::Imm(value) = *operand {
            op.imm = value;
        }
    }
    let register = |o: Operand| match o {
        Operand::Mm(r) | Operand::Xmm(r) | Operand::Reg(r) => r,
        _ => offset::ZERO,
    };
    (op.dst, op.src) = (register(i.operands[0]), register(i.operands[1]));
    b.push(Op { f, ..op });
    Ok(())
}

/// Binds a row of a table for whatever second operand it has.
pub(crate) fn plain<O: Plain>(i: &Insn, b: &mut Builder) -> Bound {
    let f: Handler = match (i.operands[1], i.mem_width, i.source_width) {
        (Operand::Mm(_), ..) => plain_op::<O, { source::MM }>,
        (Operand::Imm(_), ..) => plain_op::<O, { source::IMM }>,
        (Operand::Reg(_), _, 8) => plain_op::<O, { source::GPR64 }>,
        (Operand::Reg(_), ..) => plain_op::<O, { source::GPR32 }>,
        (Operand::Mem, 2, _) => plain_op::<O, { source::MEM16 }>,
        (Operand::Mem, 4, _) => plain_op::<O, { source::MEM32 }>,
        (Operand::Mem, 8, _) => plain_op::<O, { source::MEM64 }>,
        _ => return Err(Unsupported),
    };
    push(f, i, b, access::READ)
}

/// An operation of destination, source and immediate; `-> $out` if it does not go to an MMX register.
macro_rules! row {
    ($i:ident, $b:ident, |$x:pat_param, $y:pat_param, $imm:pat_param| $e:expr) => {
        crate::exec::mmx::row!($i, $b, crate::exec::mmx::V, |$x, $y, $imm| $e)
    };
    ($i:ident, $b:ident, $out:ty, |$x:pat_param, $y:pat_param, $imm:pat_param| $e:expr) => {{
        struct Row;
        impl crate::exec::mmx::Plain for Row {
            type Out = $out;
            #[inline(always)]
            fn apply($x: crate::exec::mmx::V, $y: crate::exec::mmx::V, $imm: u8) -> $out {
                $e
            }
        }
        crate::exec::mmx::plain::<Row>($i, $b)
    }};
}
pub(crate) use row;

/// Moves that share their mnemonic with those of XMM registers.
pub(crate) fn mov(op: SseMove, i: &Insn, b: &mut Builder) -> Bound {
    let to_gpr = matches!(i.operands[0], Operand::Reg(_));
    match (op, i.operands[0]) {
        (SseMove::Movd, Operand::Mem) => store(store_op::<u32>, i, b),
        (SseMove::Movq, Operand::Mem) => store(store_op::<u64>, i, b),
        (SseMove::Movd, _) if to_gpr => row!(i, b, u64, |_, y, _| u64::from(u32::at(&y, 0))),
        (SseMove::Movq, _) if to_gpr => row!(i, b, u64, |_, y, _| u64::at(&y, 0)),
        (SseMove::Movd | SseMove::Movq, _) => row!(i, b, |_, y, _| y),
        (SseMove::Pmovmskb, _) => row!(i, b, u64, |_, y, _| lanes::signs::<u8, 8>(y)),
        (SseMove::Pextrw, _) => row!(i, b, u64, |_, y, n| u64::from(u16::at(&y, usize::from(n & 3)))),
        (SseMove::Pinsrw, _) => row!(i, b, |x, y, n| {
            let mut x = x;
            u16::at(&y, 0).put(&mut x, usize::from(n & 3));
            x
        }),
        _ => Err(Unsupported),
    }
}

/// What there is on MMX registers alone.
pub(crate) fn bind(op: O, i: &Insn, b: &mut Builder) -> Bound {
    match op {
        O::Emms => push(emms_op, i, b, 0),
        O::Pshufw => row!(i, b, |_, y, order| lanes::shuffle_low::<8>(y, order)),
        O::Movntq => store(store_op::<u64>, i, b),
        O::Maskmovq => maskmovq(i, b),
        O::Movq2dq => with_xmm(movq2dq_op, i, b),
        O::Movdq2q => with_xmm(movdq2q_op, i, b),
        O::Cvtpi2ps => from_integers::<Cvtpi2ps>(i, b),
        O::Cvtpi2pd => from_integers::<Cvtpi2pd>(i, b),
        O::Cvtps2pi => to_integers::<ToIntegers<F32, false>, u64>(i, b),
        O::Cvttps2pi => to_integers::<ToIntegers<F32, true>, u64>(i, b),
        O::Cvtpd2pi => to_integers::<ToIntegers<F64, false>, X>(i, b),
        O::Cvttpd2pi => to_integers::<ToIntegers<F64, true>, X>(i, b),
    }
}

unsafe fn emms_op(cpu: *mut Cpu, op: *const Op, budget: i64) -> i64 {
    // SAFETY: called by the engine.
    unsafe {
        if is_blocked(cpu) {
            return blocked(cpu, op, budget);
        }
        (*cpu).fpu.enter_mmx();
        (*cpu).fpu.used = 0;
        next!(cpu, op, budget)
    }
}

/// Binds a store. Silicon has begun with it when it finds that the segment does not allow it.
fn store(f: Handler, i: &Insn, b: &mut Builder) -> Bound {
    if b.mode() != Mode::Long && i.mem.direct(b.mode()).is_none() {
        b.push(Op { f: begin_store_op, ..Builder::blank() });
    }
    push(f, i, b, access::WRITE)
}

unsafe fn begin_store_op(cpu: *mut Cpu, op: *const Op, budget: i64) -> i64 {
    // SAFETY: called by the engine.
    unsafe {
        if is_blocked(cpu) {
            return blocked(cpu, op, budget);
        }
        (*cpu).fpu.set_top(0);
        next!(cpu, op, budget)
    }
}

unsafe fn store_op<T: Width>(cpu: *mut Cpu, op: *const Op, budget: i64) -> i64 {
    // SAFETY: called by the engine.
    unsafe {
        if is_blocked(cpu) {
            return blocked(cpu, op, budget);
        }
        // Silicon has done this much when a store faults.
        (*cpu).fpu.set_top(0);
        let to = place!(T, cpu, op, budget, ea(cpu, op));
        (*cpu).fpu.enter_mmx();
        to.write_unaligned(T::low(u64::from_le_bytes(mm(&*cpu, (*op).src))));
        next!(cpu, op, budget)
    }
}

/// SDM Vol. 2A, MASKMOVQ: to DS:RDI, which is not named by an operand.
fn maskmovq(i: &Insn, b: &mut Builder) -> Bound {
    let (Operand::Mm(data), Operand::Mm(mask)) = (i.operands[1], i.operands[2]) else { return Err(Unsupported) };
    let mut named = i.clone();
    named.mem = MemRef { base: offset::RDI, index: offset::ZERO, scale: 0, disp: 0, bytes: i.address_width, ..i.mem };
    let op = mem_op(&named, b, access::READ | access::WRITE, 8);
    b.push(Op { f: maskmovq_op, dst: data, src: mask, ..op });
    Ok(())
}

unsafe fn maskmovq_op(cpu: *mut Cpu, op: *const Op, budget: i64) -> i64 {
    // SAFETY: called by the engine.
    unsafe {
        if is_blocked(cpu) {
            return blocked(cpu, op, budget);
        }
        (*cpu).fpu.enter_mmx();
        let to = place!(u64, cpu, op, budget, ea(cpu, op));
        let (data, mask) = (mm(&*cpu, (*op).dst), mm(&*cpu, (*op).src));
        to.write_unaligned(u64::from_le_bytes(lanes::blend_bytes(to.read_unaligned().to_le_bytes(), data, mask)));
        next!(cpu, op, budget)
    }
}

/// Binds an instruction that also names an XMM register.
fn with_xmm(f: Handler, i: &Insn, b: &mut Builder) -> Bound {
    sse::guard(i, b);
    push(f, i, b, access::READ)
}

unsafe fn movq2dq_op(cpu: *mut Cpu, op: *const Op, budget: i64) -> i64 {
    // SAFETY: called by the engine.
    unsafe {
        if is_blocked(cpu) {
            return blocked(cpu, op, budget);
        }
        (*cpu).fpu.enter_mmx();
        *sse::xmm(cpu, (*op).dst) = sse::low(u64::from_le_bytes(mm(&*cpu, (*op).src)));
        next!(cpu, op, budget)
    }
}

unsafe fn movdq2q_op(cpu: *mut Cpu, op: *const Op, budget: i64) -> i64 {
    // SAFETY: called by the engine.
    unsafe {
        if is_blocked(cpu) {
            return blocked(cpu, op, budget);
        }
        (*cpu).fpu.enter_mmx();
        u64::at(&*sse::xmm(cpu, (*op).src), 0).to_le_bytes().put(&mut *cpu, (*op).dst);
        next!(cpu, op, budget)
    }
}

/// From two 32-bit integers to the lowest lanes of a vector.
trait FromIntegers {
    fn apply(a: X, b: V, env: &mut Env) -> X;
}

struct Cvtpi2ps;
impl FromIntegers for Cvtpi2ps {
    fn apply(a: X, b: V, env: &mut Env) -> X {
        sse::float::lanes_of::<F32, 2>(a, |n| fp::from_int::<F32>(Lane::sx(u32::at(&b, n)), env))
    }
}

struct Cvtpi2pd;
impl FromIntegers for Cvtpi2pd {
    fn apply(a: X, b: V, env: &mut Env) -> X {
        sse::float::lanes_of::<F64, 2>(a, |n| fp::from_int::<F64>(Lane::sx(u32::at(&b, n)), env))
    }
}

fn from_integers<C: FromIntegers>(i: &Insn, b: &mut Builder) -> Bound {
    let memory = i.operands[1] == Operand::Mem;
    with_xmm(if memory { from_integers_op::<C, true> } else { from_integers_op::<C, false> }, i, b)
}

unsafe fn from_integers_op<C: FromIntegers, const MEMORY: bool>(cpu: *mut Cpu, op: *const Op, budget: i64) -> i64 {
    // SAFETY: called by the engine.
    unsafe {
        // An operand from memory leaves the x87 alone (SDM Vol. 2A, CVTPI2PD; silicon does the same for CVTPI2PS).
        if !MEMORY && is_blocked(cpu) {
            return blocked(cpu, op, budget);
        }
        let b =
            if MEMORY { read!(u64, cpu, op, budget, ea(cpu, op)) } else { u64::from_le_bytes(mm(&*cpu, (*op).src)) };
        if !MEMORY {
            (*cpu).fpu.enter_mmx();
        }
        if run_from_integers::<C>(cpu, op, b) {
            return sse::float_fault(cpu, op, budget);
        }
        next!(cpu, op, budget)
    }
}

#[inline(never)]
unsafe fn run_from_integers<C: FromIntegers>(cpu: *mut Cpu, op: *const Op, b: u64) -> bool {
    // SAFETY: called by a handler.
    unsafe {
        let mut env = Env::new((*cpu).mxcsr);
        let to = sse::xmm(cpu, (*op).dst);
        let out = C::apply(*to, b.to_le_bytes(), &mut env);
        let (mxcsr, fault) = env.finish();
        (*cpu).mxcsr = mxcsr;
        if !fault {
            *to = out;
        }
        fault
    }
}

/// The lower two numbers of a vector to 32-bit integers.
struct ToIntegers<F, const TRUNCATE: bool>(std::marker::PhantomData<F>);

trait Convert {
    fn apply(b: X, env: &mut Env) -> V;
}

impl<F: fp::Format, const TRUNCATE: bool> Convert for ToIntegers<F, TRUNCATE> {
    fn apply(b: X, env: &mut Env) -> V {
        lanes::from_fn(|n| fp::to_int::<F>(sse::float::number::<F>(&b, n), 32, TRUNCATE, env) as u32)
    }
}

fn to_integers<C: Convert, T: crate::mem::Cell>(i: &Insn, b: &mut Builder) -> Bound {
    let memory = i.operands[1] == Operand::Mem;
    with_xmm(if memory { to_integers_op::<C, T, true> } else { to_integers_op::<C, T, false> }, i, b)
}

unsafe fn to_integers_op<C: Convert, T: crate::mem::Cell, const MEMORY: bool>(
    cpu: *mut Cpu,
    op: *const Op,
    budget: i64,
) -> i64 {
    // SAFETY: called by the engine.
    unsafe {
        if is_blocked(cpu) {
            return blocked(cpu, op, budget);
        }
        let b = match (MEMORY, T::BYTES) {
            (false, _) => u128::from_le_bytes(*sse::xmm(cpu, (*op).src)),
            (true, 8) => u128::from(read!(u64, cpu, op, budget, ea(cpu, op))),
            (true, _) => {
                let addr = ea(cpu, op);
                if addr & 15 != 0 {
                    return general_protection(cpu, op, budget);
                }
                u128::from_le_bytes(read!(X, cpu, op, budget, addr))
            }
        };
        (*cpu).fpu.enter_mmx();
        if run_to_integers::<C>(cpu, op, b) {
            return sse::float_fault(cpu, op, budget);
        }
        next!(cpu, op, budget)
    }
}

#[inline(never)]
unsafe fn run_to_integers<C: Convert>(cpu: *mut Cpu, op: *const Op, b: u128) -> bool {
    // SAFETY: called by a handler.
    unsafe {
        let mut env = Env::new((*cpu).mxcsr);
        let out = C::apply(b.to_le_bytes(), &mut env);
        let (mxcsr, fault) = env.finish();
        (*cpu).mxcsr = mxcsr;
        if !fault {
            out.put(&mut *cpu, (*op).dst);
        }
        fault
    }
}
