//! Packed integers of SSSE3 and SSE4; those of SSSE3 on MMX registers, too.

use super::X;
use super::forms::{heavy_row, hosted_row, masked_row, native_row, row};
use crate::block::Builder;
use crate::cpu::flags::{CF, Lazy, ZF};
use crate::decode::{Insn, SseInt4 as O};
use crate::exec::{Bound, mmx};
use crate::lanes::{self, horizontal, select};

pub(crate) fn bind(op: O, i: &Insn, b: &mut Builder) -> Bound {
    // A function of destination and source; of the source alone.
    macro_rules! two {
        ($f:expr) => {
            hosted_row!(i, b, MEM128, X, |x, y, _| $f(x, y))
        };
    }
    // On XMM or MMX registers.
    macro_rules! both {
        ($module:ident::$f:ident $(<$($T:ty),+>)?) => {
            match i.is_mmx() {
                true => mmx::row!(i, b, |x, y, _| $module::$f::<$($($T,)+)? 8>(x, y)),
                false => two!($module::$f::<$($($T,)+)? 16>),
            }
        };
    }
    macro_rules! alone {
        ($module:ident::$f:ident<$T:ty>) => {
            match i.is_mmx() {
                true => mmx::row!(i, b, |_, y, _| $module::$f::<$T, 8>(y)),
                false => one!(MEM128, $module::$f::<$T, 16>),
            }
        };
    }
    macro_rules! one {
        ($MEM:ident, $f:expr) => {
            hosted_row!(i, b, $MEM, X, |_, y, _| $f(y))
        };
    }
    match op {
        O::Pshufb if i.is_mmx() => both!(select::shuffle_bytes),
        O::Pshufb => native_row!(i, b, |x, y, _| select::shuffle_bytes(x, y), shuffle_bytes),
        O::Palignr if i.is_mmx() => mmx::row!(i, b, |x, y, by| select::align_right::<8>(x, y, by)),
        O::Palignr => native_row!(i, b, |x, y, shift| select::align_right(x, y, shift), align_right),
        O::Phaddw => both!(horizontal::add<u16>),
        O::Phaddd => both!(horizontal::add<u32>),
        O::Phaddsw => both!(horizontal::add_saturating),
        O::Phsubw => both!(horizontal::sub<u16>),
        O::Phsubd => both!(horizontal::sub<u32>),
        O::Phsubsw => both!(horizontal::sub_saturating),
        O::Pmaddubsw => both!(horizontal::mul_add_bytes),
        O::Pmulhrsw => both!(select::mul_high_rounded),
        O::Psignb => both!(select::with_sign<u8>),
        O::Psignw => both!(select::with_sign<u16>),
        O::Psignd => both!(select::with_sign<u32>),
        O::Pabsb => alone!(select::absolute<u8>),
        O::Pabsw => alone!(select::absolute<u16>),
        O::Pabsd => alone!(select::absolute<u32>),
        O::Pmuldq => two!(select::mul_even_signed::<16>),
        O::Pmulld => two!(lanes::mul_low::<u32, 16>),
        O::Pcmpeqq => two!(lanes::equal::<u64, 16>),
        O::Pcmpgtq => two!(lanes::greater::<u64, 16>),
        O::Packusdw => two!(lanes::pack_unsigned::<u32, u16, 16>),
        O::Pminsb => two!(lanes::min_signed::<u8, 16>),
        O::Pminsd => two!(lanes::min_signed::<u32, 16>),
        O::Pminuw => two!(lanes::min_unsigned::<u16, 16>),
        O::Pminud => two!(lanes::min_unsigned::<u32, 16>),
        O::Pmaxsb => two!(lanes::max_signed::<u8, 16>),
        O::Pmaxsd => two!(lanes::max_signed::<u32, 16>),
        O::Pmaxuw => two!(lanes::max_unsigned::<u16, 16>),
        O::Pmaxud => two!(lanes::max_unsigned::<u32, 16>),
        O::Pblendw => hosted_row!(i, b, MEM128, X, |x, y, which| select::blend::<u16, 16>(x, y, which)),
        O::Pblendvb => masked_row!(i, b, select::blend_by::<u8, 16>),
        O::Mpsadbw => heavy_row!(i, b, MEM128, X, |x, y, which| horizontal::sums_of_differences(x, y, which), step 3),
        O::Phminposuw => heavy_row!(i, b, MEM128, X, |_, y, _| horizontal::least_word(y)),
        O::Pmovsxbw => one!(WIDEN64, select::sign_extend::<u8, u16, 16>),
        O::Pmovsxbd => one!(WIDEN32, select::sign_extend::<u8, u32, 16>),
        O::Pmovsxbq => one!(WIDEN16, select::sign_extend::<u8, u64, 16>),
        O::Pmovsxwd => one!(WIDEN64, select::sign_extend::<u16, u32, 16>),
        O::Pmovsxwq => one!(WIDEN32, select::sign_extend::<u16, u64, 16>),
        O::Pmovsxdq => one!(WIDEN64, select::sign_extend::<u32, u64, 16>),
        O::Pmovzxbw => one!(WIDEN64, select::zero_extend::<u8, u16, 16>),
        O::Pmovzxbd => one!(WIDEN32, select::zero_extend::<u8, u32, 16>),
        O::Pmovzxbq => one!(WIDEN16, select::zero_extend::<u8, u64, 16>),
        O::Pmovzxwd => one!(WIDEN64, select::zero_extend::<u16, u32, 16>),
        O::Pmovzxwq => one!(WIDEN32, select::zero_extend::<u16, u64, 16>),
        O::Pmovzxdq => one!(WIDEN64, select::zero_extend::<u32, u64, 16>),
        O::Ptest => row!(i, b, MEM128, Lazy, |x, y, _| Lazy::explicit(test(x, y))),
    }
}

/// SDM Vol. 2B, PTEST: ZF, no common bit; CF, none of `y` outside `x`.
#[inline(always)]
fn test(x: X, y: X) -> u64 {
    let nothing = |v: X| u64::from(u128::from_le_bytes(v) == 0);
    nothing(lanes::and(x, y)) * ZF | nothing(lanes::and_not(x, y)) * CF
}
