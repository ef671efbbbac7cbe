//! Literal cases of the rules; `exec::sse::tests` compares all operations with the real CPU.

use super::mxcsr::{DAZ, DE, FTZ, IE, OE, PE, UE, ZE};
use super::*;

mod host;

const MASKED: u32 = mxcsr::FLAGS << mxcsr::MASK_SHIFT;
const ONE: u64 = 0x3ff0_0000_0000_0000;
const MIN: u64 = 0x0010_0000_0000_0000;
const MAX: u64 = F64::INF - 1;
const SIGNALING: u64 = F64::INF | 1;

fn rounding(mode: Rounding) -> u32 {
    MASKED | (mode as u32) << mxcsr::RC_SHIFT
}

/// Result and raised flags of an operation under `mxcsr`.
fn run(mxcsr: u32, operation: impl Fn(&mut Env) -> u64) -> (u64, u32) {
    let mut env = Env::new(mxcsr);
    let result = operation(&mut env);
    (result, env.raised)
}

#[test]
fn a_sum_knows_whether_it_is_exact() {
    assert_eq!(run(MASKED, |e| add::<F64>(ONE, ONE, e)), (0x4000_0000_0000_0000, 0));
    assert_eq!(run(MASKED, |e| add::<F64>(ONE, 0x3c00_0000_0000_0000, e)), (ONE, PE));
    assert_eq!(run(rounding(Rounding::Up), |e| add::<F64>(ONE, 1, e)), (ONE + 1, PE | DE));
    assert_eq!(run(MASKED, |e| sub::<F64>(ONE, ONE, e)), (0, 0));
    assert_eq!(run(rounding(Rounding::Down), |e| sub::<F64>(ONE, ONE, e)), (F64::SIGN, 0));
}

#[test]
fn the_ends_of_the_range() {
    assert_eq!(run(MASKED, |e| add::<F64>(MAX, MAX, e)), (F64::INF, OE | PE));
    assert_eq!(run(rounding(Rounding::TowardZero), |e| add::<F64>(MAX, MAX, e)), (MAX, OE | PE));
    assert_eq!(run(MASKED, |e| div::<F64>(MIN | 1, 0x4000_0000_0000_0000, e)), (MIN >> 1, UE | PE));
    assert_eq!(run(MASKED | FTZ, |e| div::<F64>(MIN | 1, 0x4000_0000_0000_0000, e)), (0, UE | PE));
    assert_eq!(run(MASKED | DAZ, |e| add::<F64>(1, 1, e)), (0, 0));
    // Exact, hence underflow only to those who unmask it.
    assert_eq!(run(MASKED, |e| div::<F64>(MIN, 0x4000_0000_0000_0000, e)), (MIN >> 1, 0));
    assert_eq!(run(0, |e| div::<F64>(MIN, 0x4000_0000_0000_0000, e)).1, UE);
}

#[test]
fn nans_keep_their_payload_and_the_first_wins() {
    let quiet = F64::NAN | 0x55;
    assert_eq!(run(MASKED, |e| add::<F64>(quiet, SIGNALING, e)), (quiet, IE));
    assert_eq!(run(MASKED, |e| mul::<F64>(SIGNALING, quiet, e)), (SIGNALING | F64::QUIET, IE));
    assert_eq!(run(MASKED, |e| sub::<F64>(F64::INF, F64::INF, e)), (F64::NAN, IE));
    assert_eq!(run(MASKED, |e| min::<F64>(quiet, ONE, e)), (ONE, IE));
    assert_eq!(run(MASKED, |e| convert::<F64, F32>(quiet, e)), (F32::NAN, 0));
}

#[test]
fn flags_of_operands_hide_flags_of_results() {
    // Unmasked ZE with an inexact other lane: only ZE is reported.
    let mut env = Env::new(MASKED & !(ZE << mxcsr::MASK_SHIFT));
    div::<F64>(ONE, 0, &mut env);
    div::<F64>(ONE, 0x4008_0000_0000_0000, &mut env);
    assert_eq!(env.raised, ZE | PE);
    assert_eq!(env.finish(), (env.mxcsr | ZE, true));
}

#[test]
fn integers_round_and_overflow_to_the_indefinite() {
    let half = 0x3fe0_0000_0000_0000;
    assert_eq!(run(MASKED, |e| to_int::<F64>(half, 32, false, e)), (0, PE));
    assert_eq!(run(rounding(Rounding::Up), |e| to_int::<F64>(half, 32, false, e)), (1, PE));
    assert_eq!(run(MASKED, |e| to_int::<F64>(0xc1e0_0000_0000_0000, 32, true, e)), (0x8000_0000, 0));
    assert_eq!(run(MASKED, |e| to_int::<F64>(0x41e0_0000_0000_0000, 32, true, e)), (0x8000_0000, IE));
    assert_eq!(run(MASKED, |e| from_int::<F32>(i64::MAX, e)), (0x5f00_0000, PE));
}

#[test]
fn approximations_stay_within_their_bound() {
    for a in (0x0080_0000u32..0x7e80_0000).step_by(9973) {
        let x = f64::from(f32::from_bits(a));
        let bound = 1.5 / 4096.0;
        assert!((f64::from(f32::from_bits(reciprocal(a))) * x - 1.0).abs() < bound, "{a:x}");
        assert!((f64::from(f32::from_bits(reciprocal_sqrt(a))) * x.sqrt() - 1.0).abs() < bound, "{a:x}");
    }
}
