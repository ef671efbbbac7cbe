//! Packed integers of SSSE3 and SSE4.

use super::{X, heavy_row, masked_row, row};
use crate::block::Builder;
use crate::cpu::flags::{CF, Lazy, ZF};
use crate::decode::{Insn, SseInt4 as O};
use crate::exec::Bound;
use crate::lanes::{self, horizontal, select};

pub(crate) fn bind(op: O, i: &Insn, b: &mut Builder) -> Bound {
    // A function of destination and source; of the source alone; of both and the immediate.
    macro_rules! two {
        ($f:expr) => {
            row!(i, b, MEM128, X, |x, y, _| $f(x, y))
        };
    }
    macro_rules! one {
        ($MEM:ident, $f:expr) => {
            row!(i, b, $MEM, X, |_, y, _| $f(y))
        };
    }
    macro_rules! three {
        ($f:expr) => {
            heavy_row!(i, b, MEM128, X, |x, y, imm| $f(x, y, imm))
        };
    }
    match op {
        O::Pshufb => two!(select::shuffle_bytes::<16>),
        O::Palignr => three!(select::align_right::<16>),
        O::Phaddw => two!(horizontal::add::<u16, 16>),
        O::Phaddd => two!(horizontal::add::<u32, 16>),
        O::Phaddsw => two!(horizontal::add_saturating::<16>),
        O::Phsubw => two!(horizontal::sub::<u16, 16>),
        O::Phsubd => two!(horizontal::sub::<u32, 16>),
        O::Phsubsw => two!(horizontal::sub_saturating::<16>),
        O::Pmaddubsw => two!(horizontal::mul_add_bytes::<16>),
        O::Pmulhrsw => two!(select::mul_high_rounded::<16>),
        O::Psignb => two!(select::with_sign::<u8, 16>),
        O::Psignw => two!(select::with_sign::<u16, 16>),
        O::Psignd => two!(select::with_sign::<u32, 16>),
        O::Pabsb => one!(MEM128, select::absolute::<u8, 16>),
        O::Pabsw => one!(MEM128, select::absolute::<u16, 16>),
        O::Pabsd => one!(MEM128, select::absolute::<u32, 16>),
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
        O::Pblendw => three!(select::blend::<u16, 16>),
        O::Pblendvb => masked_row!(i, b, select::blend_by::<u8, 16>),
        O::Mpsadbw => three!(horizontal::sums_of_differences),
        O::Phminposuw => heavy_row!(i, b, MEM128, X, |_, y, _| horizontal::least_word(y)),
        O::Pmovsxbw => one!(MEM64, select::sign_extend::<u8, u16, 16>),
        O::Pmovsxbd => one!(MEM32, select::sign_extend::<u8, u32, 16>),
        O::Pmovsxbq => one!(MEM16, select::sign_extend::<u8, u64, 16>),
        O::Pmovsxwd => one!(MEM64, select::sign_extend::<u16, u32, 16>),
        O::Pmovsxwq => one!(MEM32, select::sign_extend::<u16, u64, 16>),
        O::Pmovsxdq => one!(MEM64, select::sign_extend::<u32, u64, 16>),
        O::Pmovzxbw => one!(MEM64, select::zero_extend::<u8, u16, 16>),
        O::Pmovzxbd => one!(MEM32, select::zero_extend::<u8, u32, 16>),
        O::Pmovzxbq => one!(MEM16, select::zero_extend::<u8, u64, 16>),
        O::Pmovzxwd => one!(MEM64, select::zero_extend::<u16, u32, 16>),
        O::Pmovzxwq => one!(MEM32, select::zero_extend::<u16, u64, 16>),
        O::Pmovzxdq => one!(MEM64, select::zero_extend::<u32, u64, 16>),
        O::Ptest => row!(i, b, MEM128, Lazy, |x, y, _| Lazy::explicit(test(x, y))),
    }
}

/// SDM Vol. 2B, PTEST: ZF, no common bit; CF, none of `y` outside `x`.
#[inline(always)]
fn test(x: X, y: X) -> u64 {
    let nothing = |v: X| u64::from(u128::from_le_bytes(v) == 0);
    nothing(lanes::and(x, y)) * ZF | nothing(lanes::and_not(x, y)) * CF
}
