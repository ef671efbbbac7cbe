//! Multiplication and addition with one rounding (SDM Vol. 1, 14.5).

use super::arith::{sum, zero_of_cancellation};
use super::parts::Parts;
use super::{Env, Format, mxcsr};

/// `a * b + c`, where the first NaN of `a`, `b`, `c` is propagated. On silicon, of operands 1, 2, 3 these are:
///
/// | form | a | b | c |
/// |---|---|---|---|
/// | 132 | 1 | 3 | 2 |
/// | 213 | 2 | 1 | 3 |
/// | 231 | 2 | 3 | 1 |
pub(crate) fn fma<F: Format>(a: u64, b: u64, c: u64, env: &mut Env) -> u64 {
    let (a, b, c) = (env.operand::<F>(a), env.operand::<F>(b), env.operand::<F>(c));
    if let Some(nan) = [a, b, c].into_iter().find(|&x| F::is_nan(x)) {
        if F::is_signaling(a) || F::is_signaling(b) || F::is_signaling(c) {
            env.raise(mxcsr::IE);
        }
        return nan | F::QUIET;
    }
    let infinite = F::is_infinite(a) || F::is_infinite(b);
    let zero = F::is_zero(a) || F::is_zero(b);
    let sign = (a ^ b) & F::SIGN;
    let opposite = c & F::SIGN != sign;
    if infinite && (zero || F::is_infinite(c) && opposite) {
        return env.invalid::<F>();
    }
    env.note_denormal::<F>(a);
    env.note_denormal::<F>(b);
    env.note_denormal::<F>(c);
    if infinite {
        return sign | F::INF;
    }
    if F::is_infinite(c) {
        return c;
    }
    let product = || Parts::of::<F>(a).times(Parts::of::<F>(b));
    match (zero, F::is_zero(c)) {
        (true, true) if opposite => zero_of_cancellation::<F>(env),
        (true, true) => c,
        (true, false) => Parts::of::<F>(c).round::<F>(env),
        (false, true) => product().round::<F>(env),
        (false, false) => sum::<F>(product(), Parts::of::<F>(c).into(), env),
    }
}
