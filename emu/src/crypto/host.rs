//! The host's own AES and carry-less products, where it has them: functions of integers, the same everywhere, only faster
//! than tables. `None`: this host has no such instruction.

use super::X;

/// Defines `$name(a, b)` as one instruction of x86-64 hosts that have `$feature`.
macro_rules! instructions {
    ($($name:ident $feature:tt |$a:ident, $b:ident| $e:expr;)+) => {$(
        #[cfg(target_arch = "x86_64")]
        #[inline(always)]
        pub(super) fn $name(a: X, b: X) -> Option<X> {
            use std::arch::x86_64::*;
            #[target_feature(enable = $feature)]
            fn run($a: __m128i, $b: __m128i) -> __m128i {
                $e
            }
            if !std::is_x86_feature_detected!($feature) {
                return None;
            }
            // SAFETY: vectors are plain bytes; the CPU has the instruction.
            unsafe {
                let (a, b) = (std::mem::transmute::<X, __m128i>(a), std::mem::transmute::<X, __m128i>(b));
                Some(std::mem::transmute::<__m128i, X>(run(a, b)))
            }
        }
        #[cfg(not(target_arch = "x86_64"))]
        #[inline(always)]
        pub(super) fn $name(_: X, _: X) -> Option<X> {
            None
        }
    )+};
}

instructions! {
    encrypt "aes" |state, key| _mm_aesenc_si128(state, key);
    encrypt_last "aes" |state, key| _mm_aesenclast_si128(state, key);
    decrypt "aes" |state, key| _mm_aesdec_si128(state, key);
    decrypt_last "aes" |state, key| _mm_aesdeclast_si128(state, key);
    carryless_low "pclmulqdq" |a, b| _mm_clmulepi64_si128(a, b, 0);
}
