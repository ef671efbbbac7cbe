//! What the host's own vector instructions do for the guest's: functions of integers, the same everywhere, only faster than
//! tables and loops, which remain where a host lacks them. `lanes` and `crypto` say what each of them computes.
//!
//! Handlers of such an operation exist twice, the second time compiled for `vectors!` (`exec::sse::hosted_op`), and the
//! binder takes those if `has_vectors`.

/// Compiles a function for the instructions that `has_vectors` looks for.
macro_rules! vectors {
    ($($item:item)+) => {
        $(#[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma,aes,pclmulqdq"))]
        $item)+
    };
}
pub(crate) use vectors;

/// Whether this host has the instructions that `vectors!` names.
#[inline]
pub(crate) fn has_vectors() -> bool {
    #[cfg(target_arch = "x86_64")]
    return std::is_x86_feature_detected!("avx2")
        && std::is_x86_feature_detected!("fma")
        && std::is_x86_feature_detected!("aes")
        && std::is_x86_feature_detected!("pclmulqdq");
    #[cfg(not(target_arch = "x86_64"))]
    return false;
}

#[cfg(target_arch = "x86_64")]
pub(crate) use x86_64::*;

#[cfg(target_arch = "x86_64")]
mod x86_64 {
    use std::arch::x86_64::*;
    use std::mem::transmute;

    /// The value of an XMM register, in memory order.
    type X = [u8; 16];

    /// Defines functions of two sources and the immediate. Calling one is `unsafe`: the host must have what `vectors!` names.
    macro_rules! define {
        ($($(#[$doc:meta])+ $name:ident |$a:pat_param, $b:pat_param, $imm:pat_param| $e:expr;)+) => {$(
            $(#[$doc])+
            #[inline]
            #[target_feature(enable = "avx2,fma,aes,pclmulqdq")]
            pub(crate) fn $name(a: X, b: X, $imm: u8) -> X {
                // SAFETY: vectors are plain bytes.
                let ($a, $b) = unsafe { (transmute::<X, __m128i>(a), transmute::<X, __m128i>(b)) };
                // SAFETY: likewise.
                unsafe { transmute::<__m128i, X>($e) }
            }
        )+};
    }

    define! {
        /// `aes::encrypt`.
        encrypt |state, key, _| _mm_aesenc_si128(state, key);
        /// `aes::encrypt_last`.
        encrypt_last |state, key, _| _mm_aesenclast_si128(state, key);
        /// `aes::decrypt`.
        decrypt |state, key, _| _mm_aesdec_si128(state, key);
        /// `aes::decrypt_last`.
        decrypt_last |state, key, _| _mm_aesdeclast_si128(state, key);
        /// `aes::inverse_mix` of the second source.
        inverse_mix |_, key, _| _mm_aesimc_si128(key);
        /// `galois::carryless`.
        carryless |a, b, which| _mm_clmulepi64_si128(half(a, which), half(b, which >> 4), 0);
        /// `select::shuffle_bytes`.
        shuffle_bytes |a, order, _| _mm_shuffle_epi8(a, order);
        /// `lanes::shuffle` of the second source.
        shuffle |_, b, order| picked(b, order);
        /// `lanes::shuffle_two`.
        shuffle_two |a, b, order| _mm_blend_epi32(picked(a, order), picked(b, order), 0b1100);
        /// `lanes::sum_of_differences`.
        sum_of_differences |a, b, _| _mm_sad_epu8(a, b);
        /// `select::align_right`.
        align_right |high, low, shift| {
            let place = _mm_setr_epi8(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
            let place = _mm_add_epi8(place, _mm_set1_epi8(shift.min(32) as i8));
            // Places outside a source get the top bit, which gives zeros.
            let outside = _mm_set1_epi8(0x70);
            let of_low = _mm_adds_epu8(place, outside);
            let of_high = _mm_adds_epu8(_mm_sub_epi8(place, _mm_set1_epi8(16)), outside);
            _mm_or_si128(_mm_shuffle_epi8(low, of_low), _mm_shuffle_epi8(high, of_high))
        };
    }

    /// The half of `v` that bit 0 of `which` names, below.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn half(v: __m128i, which: u8) -> __m128i {
        let which = _mm_set1_epi64x(i64::from(which) << 1);
        _mm_castpd_si128(_mm_permutevar_pd(_mm_castsi128_pd(v), which))
    }

    /// Lane `i` of four from the lane that bits `2i` and `2i + 1` of `order` name.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn picked(v: __m128i, order: u8) -> __m128i {
        let order = _mm_srlv_epi32(_mm_set1_epi32(order.into()), _mm_setr_epi32(0, 2, 4, 6));
        _mm_castps_si128(_mm_permutevar_ps(_mm_castsi128_ps(v), order))
    }
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use crate::crypto::{aes, galois};
    use crate::lanes::{self, select};

    type X = [u8; 16];

    /// The host's instructions and the portable code, on numbers that touch every entry of the tables.
    #[test]
    fn hosts_compute_what_portable_code_does() {
        if !super::has_vectors() {
            return;
        }
        macro_rules! rows {
            ($($name:ident |$a:pat_param, $b:pat_param, $imm:pat_param| $own:expr;)+) => {
                [$((stringify!($name), super::$name as unsafe fn(X, X, u8) -> X, (|$a, $b, $imm| $own) as fn(X, X, u8) -> X)),+]
            };
        }
        let rows = rows! {
            encrypt |a, b, _| aes::encrypt(a, b);
            encrypt_last |a, b, _| aes::encrypt_last(a, b);
            decrypt |a, b, _| aes::decrypt(a, b);
            decrypt_last |a, b, _| aes::decrypt_last(a, b);
            inverse_mix |_, b, _| aes::inverse_mix(b);
            carryless |a, b, imm| galois::carryless(a, b, imm);
            shuffle_bytes |a, b, _| select::shuffle_bytes(a, b);
            shuffle |_, b, imm| lanes::shuffle(b, imm);
            shuffle_two |a, b, imm| lanes::shuffle_two(a, b, imm);
            sum_of_differences |a, b, _| lanes::sum_of_differences(a, b);
            align_right |a, b, imm| select::align_right(a, b, imm);
        };
        let mut x = 0x0123_4567_89ab_cdef_0f1e_2d3c_4b5a_6978u128;
        for imm in (0..40_000u32).map(|n| n as u8) {
            x = x.wrapping_mul(0x2360_ed05_1fc6_5da4_4385_df64_9fcc_f645).wrapping_add(0x5851_f42d_4c95_7f2d);
            let (a, b) = (x.to_le_bytes(), x.rotate_left(61).wrapping_mul(x | 1).to_le_bytes());
            for (name, host, own) in rows {
                // SAFETY: the host has the instructions.
                let host = unsafe { host(a, b, imm) };
                assert_eq!(host, own(a, b, imm), "{name} {a:x?} {b:x?} {imm}");
            }
        }
    }
}
