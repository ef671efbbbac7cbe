//! Operations that are too long to stand in a handler: called, so that handlers keep nothing on the stack.

use std::hint::cold_path;

use super::fma::{fused, quick_fused};
use super::{Crossing, Float, Masked, Outcome, Plain, X, Y, fetch, fetch_both, low, source, upper, upper_imm, xmm};
use crate::cpu::Cpu;
use crate::cpu::regs::cr4;
use crate::engine::{general_protection, next, simd_exception, undefined};
use crate::exec::operand::{ea, read};
use crate::fp::{Env, Format, Native, is_settled};
use crate::host::vectors;
use crate::lanes::Lane;
use crate::op::Op;
use crate::width::Width;

/// What a handler calls when it has its operand. Returns whether an unmasked exception was met: then MXCSR has its flag and
/// the destination is unchanged (SDM Vol. 1, 11.5.2).
pub(super) trait Step {
    /// Whether there are exceptions at all.
    const RAISES: bool = false;

    /// On XMM registers.
    ///
    /// # Safety
    /// Called by a handler with its arguments.
    unsafe fn one<const VEX: bool>(cpu: *mut Cpu, op: *const Op, b: u128) -> bool;

    /// On YMM registers.
    ///
    /// # Safety
    /// Called by a handler with its arguments.
    unsafe fn both(cpu: *mut Cpu, op: *const Op, low: u128, high: u128) -> bool;
}

/// A step that is often quick.
pub(super) trait Quick: Step {
    /// Does what `one` does, unless that takes more than a handler may do, or would change MXCSR: then it does nothing.
    ///
    /// # Safety
    /// As for `one`.
    unsafe fn one_quick<const VEX: bool>(cpu: *mut Cpu, op: *const Op, b: X) -> Option<()>;

    /// Likewise for `both`.
    ///
    /// # Safety
    /// As for `both`.
    unsafe fn both_quick(cpu: *mut Cpu, op: *const Op, b: Y) -> Option<()>;
}

#[inline(never)]
pub(super) unsafe fn step_op<O: Step, const S: u8, const VEX: bool>(cpu: *mut Cpu, op: *const Op, budget: i64) -> i64 {
    // SAFETY: called by the engine.
    unsafe {
        let b = fetch!(S, cpu, op, budget);
        if O::one::<VEX>(cpu, op, u128::from_le_bytes(b)) && O::RAISES {
            return float_fault(cpu, op, budget);
        }
        next!(cpu, op, budget)
    }
}

#[inline(never)]
pub(super) unsafe fn step_both_op<O: Step, const S: u8, const PART: u8>(
    cpu: *mut Cpu,
    op: *const Op,
    budget: i64,
) -> i64 {
    // SAFETY: called by the engine.
    unsafe {
        let (low, high) = fetch_both!(S, PART, cpu, op, budget);
        if O::both(cpu, op, u128::from_le_bytes(low), u128::from_le_bytes(high)) && O::RAISES {
            return float_fault(cpu, op, budget);
        }
        next!(cpu, op, budget)
    }
}

#[inline(always)]
pub(super) unsafe fn quick_op<O: Quick, const S: u8, const VEX: bool>(
    cpu: *mut Cpu,
    op: *const Op,
    budget: i64,
) -> i64 {
    // SAFETY: called by the engine.
    unsafe {
        let b = fetch!(S, cpu, op, budget);
        if is_settled((*cpu).mxcsr) && O::one_quick::<VEX>(cpu, op, b).is_some() {
            next!(cpu, op, budget)
        }
        cold_path();
        step_op::<O, S, VEX>(cpu, op, budget)
    }
}

#[inline(always)]
pub(super) unsafe fn quick_both_op<O: Quick, const S: u8, const PART: u8>(
    cpu: *mut Cpu,
    op: *const Op,
    budget: i64,
) -> i64 {
    // SAFETY: called by the engine.
    unsafe {
        let b = fetch_both!(S, PART, cpu, op, budget);
        if is_settled((*cpu).mxcsr) && O::both_quick(cpu, op, b.into()).is_some() {
            next!(cpu, op, budget)
        }
        cold_path();
        step_both_op::<O, S, PART>(cpu, op, budget)
    }
}

vectors! {
    /// As `quick_op`, compiled for hosts that have more instructions.
    pub(super) unsafe fn hosted_quick_op<O: Quick, const S: u8, const VEX: bool>(
        cpu: *mut Cpu,
        op: *const Op,
        budget: i64,
    ) -> i64 {
        // SAFETY: called by the engine.
        unsafe { quick_op::<O, S, VEX>(cpu, op, budget) }
    }

    /// As `quick_both_op`, likewise.
    pub(super) unsafe fn hosted_quick_both_op<O: Quick, const S: u8, const PART: u8>(
        cpu: *mut Cpu,
        op: *const Op,
        budget: i64,
    ) -> i64 {
        // SAFETY: called by the engine.
        unsafe { quick_both_op::<O, S, PART>(cpu, op, budget) }
    }
}

#[cold]
#[inline(never)]
pub(crate) unsafe fn float_fault(cpu: *mut Cpu, op: *const Op, budget: i64) -> i64 {
    // SAFETY: a handler's tail.
    unsafe {
        if (*cpu).cr4 & cr4::OSXMMEXCPT != 0 { simd_exception(cpu, op, budget) } else { undefined(cpu, op, budget) }
    }
}

/// Any operation without exceptions.
pub(super) struct Heavy<O>(std::marker::PhantomData<O>);

impl<O: Plain> Step for Heavy<O> {
    #[inline(never)]
    unsafe fn one<const VEX: bool>(cpu: *mut Cpu, op: *const Op, b: u128) -> bool {
        // SAFETY: as the caller promises.
        unsafe {
            let b = b.to_le_bytes().in_one_piece();
            O::apply(*xmm(cpu, (*op).aux), b, (*op).imm as u8).in_one_piece().put::<VEX>(cpu, (*op).dst);
            false
        }
    }

    #[inline(never)]
    unsafe fn both(cpu: *mut Cpu, op: *const Op, low: u128, high: u128) -> bool {
        // SAFETY: as the caller promises.
        unsafe {
            let (a0, a1, imm) = (*xmm(cpu, (*op).aux), *upper(cpu, (*op).aux), (*op).imm as u8);
            let low = O::apply(a0, low.to_le_bytes(), imm);
            let high = O::apply(a1, high.to_le_bytes(), upper_imm(imm, O::STEP));
            O::Out::put_both(low, high, O::STEP, cpu, (*op).dst);
            false
        }
    }
}

/// An operation with a mask, whose register is named by `Op::imm`.
pub(super) struct Select<O>(std::marker::PhantomData<O>);

impl<O: Masked> Step for Select<O> {
    #[inline(never)]
    unsafe fn one<const VEX: bool>(cpu: *mut Cpu, op: *const Op, b: u128) -> bool {
        // SAFETY: as the caller promises.
        unsafe {
            let mask = *xmm(cpu, (*op).imm as u8);
            let b = b.to_le_bytes().in_one_piece();
            O::apply(*xmm(cpu, (*op).aux), b, mask).in_one_piece().put::<VEX>(cpu, (*op).dst);
            false
        }
    }

    #[inline(never)]
    unsafe fn both(cpu: *mut Cpu, op: *const Op, low: u128, high: u128) -> bool {
        // SAFETY: as the caller promises.
        unsafe {
            let mask = (*op).imm as u8;
            let low = O::apply(*xmm(cpu, (*op).aux), low.to_le_bytes(), *xmm(cpu, mask));
            let high = O::apply(*upper(cpu, (*op).aux), high.to_le_bytes(), *upper(cpu, mask));
            X::put_both(low, high, 0, cpu, (*op).dst);
            false
        }
    }
}

/// Runs `f` under MXCSR; what it gives counts unless an unmasked exception was met.
#[inline(always)]
pub(super) unsafe fn under_mxcsr<T>(cpu: *mut Cpu, f: impl FnOnce(&mut Env) -> T, put: impl FnOnce(T)) -> bool {
    // SAFETY: `cpu` is live.
    unsafe {
        let mut env = Env::new((*cpu).mxcsr);
        let out = f(&mut env);
        let (mxcsr, fault) = env.finish();
        (*cpu).mxcsr = mxcsr;
        if !fault {
            put(out);
        }
        fault
    }
}

/// An operation under MXCSR.
pub(super) struct Rounded<O>(std::marker::PhantomData<O>);

impl<O: Float> Step for Rounded<O> {
    const RAISES: bool = true;

    #[inline(never)]
    unsafe fn one<const VEX: bool>(cpu: *mut Cpu, op: *const Op, b: u128) -> bool {
        // SAFETY: as the caller promises.
        unsafe {
            let (a, imm) = (*xmm(cpu, (*op).aux), (*op).imm as u8);
            under_mxcsr(cpu, |env| O::apply(a, b.to_le_bytes(), imm, env), |out| out.put::<VEX>(cpu, (*op).dst))
        }
    }

    #[inline(never)]
    unsafe fn both(cpu: *mut Cpu, op: *const Op, low: u128, high: u128) -> bool {
        // SAFETY: as the caller promises.
        unsafe {
            let a = [*xmm(cpu, (*op).aux), *upper(cpu, (*op).aux)];
            let b = [low.to_le_bytes(), high.to_le_bytes()];
            let run = |env: &mut Env| O::apply_both(a, b, (*op).imm as u8, env);
            under_mxcsr(cpu, run, |(low, high)| O::Out::put_both(low, high, 0, cpu, (*op).dst))
        }
    }
}

impl<O: Float> Quick for Rounded<O> {
    #[inline(always)]
    unsafe fn one_quick<const VEX: bool>(cpu: *mut Cpu, op: *const Op, b: X) -> Option<()> {
        // SAFETY: as the caller promises.
        unsafe { O::quick(*xmm(cpu, (*op).aux), b, (*op).imm as u8).map(|out| out.put::<VEX>(cpu, (*op).dst)) }
    }

    #[inline(always)]
    unsafe fn both_quick(cpu: *mut Cpu, op: *const Op, b: Y) -> Option<()> {
        // SAFETY: as the caller promises.
        unsafe {
            let imm = (*op).imm as u8;
            let low = O::quick(*xmm(cpu, (*op).aux), b[0], imm)?;
            let high = O::quick(*upper(cpu, (*op).aux), b[1], imm)?;
            O::Out::put_both(low, high, 0, cpu, (*op).dst);
            Some(())
        }
    }
}

/// Likewise where a lane of the source gives half a lane: on YMM registers, both lanes give one.
pub(super) struct Narrowed<O>(std::marker::PhantomData<O>);

impl<O: Float<Out = X>> Step for Narrowed<O> {
    const RAISES: bool = true;

    unsafe fn one<const VEX: bool>(cpu: *mut Cpu, op: *const Op, b: u128) -> bool {
        // SAFETY: as the caller promises.
        unsafe { Rounded::<O>::one::<VEX>(cpu, op, b) }
    }

    #[inline(never)]
    unsafe fn both(cpu: *mut Cpu, op: *const Op, low: u128, high: u128) -> bool {
        // SAFETY: as the caller promises.
        unsafe {
            let imm = (*op).imm as u8;
            let half = |b: u128, env: &mut Env| u64::at(&O::apply([0; 16], b.to_le_bytes(), imm, env), 0);
            let run = |env: &mut Env| (half(low, env), half(high, env));
            under_mxcsr(cpu, run, |(low, high)| {
                let both = u128::from(low) | u128::from(high) << 64;
                both.to_le_bytes().put::<true>(cpu, (*op).dst);
            })
        }
    }
}

/// An operation under MXCSR on three sources, of which the first is the destination; `Op::imm` says which.
pub(super) struct Fused<F, const N: usize>(std::marker::PhantomData<F>);

impl<F: Format, const N: usize> Step for Fused<F, N> {
    const RAISES: bool = true;

    #[inline(never)]
    unsafe fn one<const VEX: bool>(cpu: *mut Cpu, op: *const Op, b: u128) -> bool {
        // SAFETY: as the caller promises.
        unsafe {
            let (x, y, how) = (*xmm(cpu, (*op).dst), *xmm(cpu, (*op).aux), (*op).imm as u8);
            let run = |env: &mut Env| fused::<F, N>(x, y, b.to_le_bytes(), how, env);
            under_mxcsr(cpu, run, |out| out.put::<VEX>(cpu, (*op).dst))
        }
    }

    #[inline(never)]
    unsafe fn both(cpu: *mut Cpu, op: *const Op, low: u128, high: u128) -> bool {
        // SAFETY: as the caller promises.
        unsafe {
            let (dst, aux, how) = ((*op).dst, (*op).aux, (*op).imm as u8);
            let (x, y) = ([*xmm(cpu, dst), *upper(cpu, dst)], [*xmm(cpu, aux), *upper(cpu, aux)]);
            let run = |env: &mut Env| {
                let low = fused::<F, N>(x[0], y[0], low.to_le_bytes(), how, env);
                (low, fused::<F, N>(x[1], y[1], high.to_le_bytes(), how, env))
            };
            under_mxcsr(cpu, run, |(low, high)| X::put_both(low, high, 0, cpu, dst))
        }
    }
}

impl<F: Native, const N: usize> Quick for Fused<F, N> {
    #[inline(always)]
    unsafe fn one_quick<const VEX: bool>(cpu: *mut Cpu, op: *const Op, b: X) -> Option<()> {
        // SAFETY: as the caller promises.
        unsafe {
            let (dst, how) = ((*op).dst, (*op).imm as u8);
            quick_fused::<F, N>(*xmm(cpu, dst), *xmm(cpu, (*op).aux), b, how).map(|out| out.put::<VEX>(cpu, dst))
        }
    }

    #[inline(always)]
    unsafe fn both_quick(cpu: *mut Cpu, op: *const Op, b: Y) -> Option<()> {
        // SAFETY: as the caller promises.
        unsafe {
            let (dst, aux, how) = ((*op).dst, (*op).aux, (*op).imm as u8);
            let low = quick_fused::<F, N>(*xmm(cpu, dst), *xmm(cpu, aux), b[0], how)?;
            let high = quick_fused::<F, N>(*upper(cpu, dst), *upper(cpu, aux), b[1], how)?;
            X::put_both(low, high, 0, cpu, dst);
            Some(())
        }
    }
}

/// An operation across lanes.
pub(super) struct Across<O>(std::marker::PhantomData<O>);

impl<O: Crossing> Step for Across<O> {
    unsafe fn one<const VEX: bool>(_: *mut Cpu, _: *const Op, _: u128) -> bool {
        false // There is no such form.
    }

    #[inline(never)]
    unsafe fn both(cpu: *mut Cpu, op: *const Op, low: u128, high: u128) -> bool {
        // SAFETY: as the caller promises.
        unsafe {
            let a: Y = [*xmm(cpu, (*op).aux), *upper(cpu, (*op).aux)];
            let [low, high] = O::apply(a, [low.to_le_bytes(), high.to_le_bytes()], (*op).imm as u8);
            X::put_both(low, high, 0, cpu, (*op).dst);
            false
        }
    }
}
