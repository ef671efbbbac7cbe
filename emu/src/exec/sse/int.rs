//! Packed integers: arithmetic, comparison, shifts, packing and shuffling, on MMX registers, too.

use super::forms::{hosted_row, native_row, row, shift};
use super::{Plain, X};
use crate::block::Builder;
use crate::decode::{Insn, SseInt as O};
use crate::exec::{Bound, mmx};
use crate::lanes::{self, Lane};

pub(crate) fn bind(op: O, i: &Insn, b: &mut Builder) -> Bound {
    // A function of destination and source, on XMM or MMX registers; of a vector and a count; of the source and an order.
    macro_rules! two {
        ($f:ident $(<$($T:ty),+>)?) => {
            match i.is_mmx() {
                true => mmx::row!(i, b, |x, y, _| lanes::$f::<$($($T,)+)? 8>(x, y)),
                false => row!(i, b, MEM128, X, |x, y, _| lanes::$f::<$($($T,)+)? 16>(x, y)),
            }
        };
    }
    macro_rules! shift {
        ($f:ident<$T:ty>) => {
            match i.is_mmx() {
                true => mmx::row!(i, b, |x, count, _| lanes::$f::<$T, 8>(x, u64::at(&count, 0))),
                false => bytes!(lanes::$f::<$T, 16>),
            }
        };
    }
    macro_rules! bytes {
        ($f:expr) => {{
            struct Row;
            impl Plain for Row {
                type Out = X;
                const STEP: u32 = 0;
                #[inline(always)]
                fn apply(a: X, count: X, _: u8) -> X {
                    $f(a, u64::at(&count, 0))
                }
            }
            shift::<Row>(i, b)
        }};
    }
    macro_rules! order {
        ($f:expr) => {
            hosted_row!(i, b, MEM128, X, |_, y, order| $f(y, order))
        };
    }
    match op {
        O::Paddb => two!(add<u8>),
        O::Paddw => two!(add<u16>),
        O::Paddd => two!(add<u32>),
        O::Paddq => two!(add<u64>),
        O::Psubb => two!(sub<u8>),
        O::Psubw => two!(sub<u16>),
        O::Psubd => two!(sub<u32>),
        O::Psubq => two!(sub<u64>),
        O::Paddsb => two!(add_signed_saturating<u8>),
        O::Paddsw => two!(add_signed_saturating<u16>),
        O::Paddusb => two!(add_unsigned_saturating<u8>),
        O::Paddusw => two!(add_unsigned_saturating<u16>),
        O::Psubsb => two!(sub_signed_saturating<u8>),
        O::Psubsw => two!(sub_signed_saturating<u16>),
        O::Psubusb => two!(sub_unsigned_saturating<u8>),
        O::Psubusw => two!(sub_unsigned_saturating<u16>),
        O::Pmullw => two!(mul_low<u16>),
        O::Pmulhw => two!(mul_high_signed<u16>),
        O::Pmulhuw => two!(mul_high_unsigned<u16>),
        O::Pmuludq => two!(mul_even),
        O::Pmaddwd => two!(mul_add_pairs),
        O::Psadbw if i.is_mmx() => two!(sum_of_differences),
        O::Psadbw => native_row!(i, b, |x, y, _| lanes::sum_of_differences(x, y), sum_of_differences),
        O::Pavgb => two!(average<u8>),
        O::Pavgw => two!(average<u16>),
        O::Pminub => two!(min_unsigned<u8>),
        O::Pmaxub => two!(max_unsigned<u8>),
        O::Pminsw => two!(min_signed<u16>),
        O::Pmaxsw => two!(max_signed<u16>),
        O::Pcmpeqb => two!(equal<u8>),
        O::Pcmpeqw => two!(equal<u16>),
        O::Pcmpeqd => two!(equal<u32>),
        O::Pcmpgtb => two!(greater<u8>),
        O::Pcmpgtw => two!(greater<u16>),
        O::Pcmpgtd => two!(greater<u32>),
        O::Pand => two!(and),
        O::Pandn => two!(and_not),
        O::Por => two!(or),
        O::Pxor => two!(xor),
        O::Psllw => shift!(shift_left<u16>),
        O::Pslld => shift!(shift_left<u32>),
        O::Psllq => shift!(shift_left<u64>),
        O::Psrlw => shift!(shift_right<u16>),
        O::Psrld => shift!(shift_right<u32>),
        O::Psrlq => shift!(shift_right<u64>),
        O::Psraw => shift!(shift_right_signed<u16>),
        O::Psrad => shift!(shift_right_signed<u32>),
        O::Pslldq => bytes!(lanes::bytes_left),
        O::Psrldq => bytes!(lanes::bytes_right),
        O::Punpcklbw => two!(interleave_low<u8>),
        O::Punpcklwd => two!(interleave_low<u16>),
        O::Punpckldq => two!(interleave_low<u32>),
        O::Punpcklqdq => two!(interleave_low<u64>),
        O::Punpckhbw => two!(interleave_high<u8>),
        O::Punpckhwd => two!(interleave_high<u16>),
        O::Punpckhdq => two!(interleave_high<u32>),
        O::Punpckhqdq => two!(interleave_high<u64>),
        O::Packsswb => two!(pack_signed<u16, u8>),
        O::Packssdw => two!(pack_signed<u32, u16>),
        O::Packuswb => two!(pack_unsigned<u16, u8>),
        O::Pshufd => native_row!(i, b, |_, y, order| lanes::shuffle(y, order), shuffle),
        O::Pshuflw => order!(lanes::shuffle_low::<16>),
        O::Pshufhw => order!(lanes::shuffle_high),
    }
}
