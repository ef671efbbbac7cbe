//! Packed integers: arithmetic, comparison, shifts, packing and shuffling.

use super::{Plain, X, plain_op, push, row, source};
use crate::block::Builder;
use crate::decode::{Insn, Operand, SseInt as O};
use crate::exec::{Bound, Unsupported};
use crate::lanes::{self, Lane};
use crate::op::access;

pub(crate) fn bind(op: O, i: &Insn, b: &mut Builder) -> Bound {
    // A function of destination and source; of a vector and a count; of the source and an order.
    macro_rules! two {
        ($f:expr) => {
            row!(i, b, MEM128, X, |x, y, _| $f(x, y))
        };
    }
    macro_rules! shift {
        ($f:expr) => {{
            struct Row;
            impl Plain for Row {
                type Out = X;
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
            row!(i, b, MEM128, X, |_, y, order| $f(y, order))
        };
    }
    match op {
        O::Paddb => two!(lanes::add::<u8, 16>),
        O::Paddw => two!(lanes::add::<u16, 16>),
        O::Paddd => two!(lanes::add::<u32, 16>),
        O::Paddq => two!(lanes::add::<u64, 16>),
        O::Psubb => two!(lanes::sub::<u8, 16>),
        O::Psubw => two!(lanes::sub::<u16, 16>),
        O::Psubd => two!(lanes::sub::<u32, 16>),
        O::Psubq => two!(lanes::sub::<u64, 16>),
        O::Paddsb => two!(lanes::add_signed_saturating::<u8, 16>),
        O::Paddsw => two!(lanes::add_signed_saturating::<u16, 16>),
        O::Paddusb => two!(lanes::add_unsigned_saturating::<u8, 16>),
        O::Paddusw => two!(lanes::add_unsigned_saturating::<u16, 16>),
        O::Psubsb => two!(lanes::sub_signed_saturating::<u8, 16>),
        O::Psubsw => two!(lanes::sub_signed_saturating::<u16, 16>),
        O::Psubusb => two!(lanes::sub_unsigned_saturating::<u8, 16>),
        O::Psubusw => two!(lanes::sub_unsigned_saturating::<u16, 16>),
        O::Pmullw => two!(lanes::mul_low::<u16, 16>),
        O::Pmulhw => two!(lanes::mul_high_signed::<u16, 16>),
        O::Pmulhuw => two!(lanes::mul_high_unsigned::<u16, 16>),
        O::Pmuludq => two!(lanes::mul_even),
        O::Pmaddwd => two!(lanes::mul_add_pairs),
        O::Psadbw => two!(lanes::sum_of_differences),
        O::Pavgb => two!(lanes::average::<u8, 16>),
        O::Pavgw => two!(lanes::average::<u16, 16>),
        O::Pminub => two!(lanes::min_unsigned::<u8, 16>),
        O::Pmaxub => two!(lanes::max_unsigned::<u8, 16>),
        O::Pminsw => two!(lanes::min_signed::<u16, 16>),
        O::Pmaxsw => two!(lanes::max_signed::<u16, 16>),
        O::Pcmpeqb => two!(lanes::equal::<u8, 16>),
        O::Pcmpeqw => two!(lanes::equal::<u16, 16>),
        O::Pcmpeqd => two!(lanes::equal::<u32, 16>),
        O::Pcmpgtb => two!(lanes::greater::<u8, 16>),
        O::Pcmpgtw => two!(lanes::greater::<u16, 16>),
        O::Pcmpgtd => two!(lanes::greater::<u32, 16>),
        O::Pand => two!(lanes::and),
        O::Pandn => two!(lanes::and_not),
        O::Por => two!(lanes::or),
        O::Pxor => two!(lanes::xor),
        O::Psllw => shift!(lanes::shift_left::<u16, 16>),
        O::Pslld => shift!(lanes::shift_left::<u32, 16>),
        O::Psllq => shift!(lanes::shift_left::<u64, 16>),
        O::Psrlw => shift!(lanes::shift_right::<u16, 16>),
        O::Psrld => shift!(lanes::shift_right::<u32, 16>),
        O::Psrlq => shift!(lanes::shift_right::<u64, 16>),
        O::Psraw => shift!(lanes::shift_right_signed::<u16, 16>),
        O::Psrad => shift!(lanes::shift_right_signed::<u32, 16>),
        O::Pslldq => shift!(lanes::bytes_left),
        O::Psrldq => shift!(lanes::bytes_right),
        O::Punpcklbw => two!(lanes::interleave_low::<u8, 16>),
        O::Punpcklwd => two!(lanes::interleave_low::<u16, 16>),
        O::Punpckldq => two!(lanes::interleave_low::<u32, 16>),
        O::Punpcklqdq => two!(lanes::interleave_low::<u64, 16>),
        O::Punpckhbw => two!(lanes::interleave_high::<u8, 16>),
        O::Punpckhwd => two!(lanes::interleave_high::<u16, 16>),
        O::Punpckhdq => two!(lanes::interleave_high::<u32, 16>),
        O::Punpckhqdq => two!(lanes::interleave_high::<u64, 16>),
        O::Packsswb => two!(lanes::pack_signed::<u16, u8, 16>),
        O::Packssdw => two!(lanes::pack_signed::<u32, u16, 16>),
        O::Packuswb => two!(lanes::pack_unsigned::<u16, u8, 16>),
        O::Pshufd => order!(lanes::shuffle),
        O::Pshuflw => order!(lanes::shuffle_low::<16>),
        O::Pshufhw => order!(lanes::shuffle_high),
    }
}

/// A shift's count is an immediate or the low half of the source.
fn shift<O: Plain>(i: &Insn, b: &mut Builder) -> Bound {
    match (i.operands[0], i.operands[1]) {
        (Operand::Xmm(_), Operand::Imm(_)) => push(plain_op::<O, { source::IMM }>, i, b, access::READ, 0),
        (Operand::Xmm(_), _) => super::plain::<O, { source::MEM128 }>(i, b),
        _ => Err(Unsupported),
    }
}
