//! What AVX and AVX2 have and SSE has not: broadcasts, permutations, insertion and extraction of lanes, shifts of each
//! element by its own count, VTESTPS, VZEROUPPER.

use super::forms::{crossing_row, hosted_row, native_row, push, row};
use super::{X, Y, gather, guard, upper, xmm};
use crate::block::Builder;
use crate::cpu::Cpu;
use crate::cpu::flags::{CF, Lazy, ZF};
use crate::cpu::mode::Mode;
use crate::decode::{Avx as O, Insn, Operand};
use crate::engine::next;
use crate::exec::Bound;
use crate::exec::operand::{ea, place};
use crate::lanes::{self, Lane, from_fn, select};
use crate::mem::Cell;
use crate::op::{Handler, Op, access};

pub(crate) fn bind(op: O, i: &Insn, b: &mut Builder) -> Bound {
    let by_imm = i.operands.iter().any(|o| matches!(o, Operand::Imm(_)));
    macro_rules! splat {
        ($T:ty, $SAME:ident) => {
            row!(i, b, $SAME, X, |_, y, _| from_fn(|_| <$T>::at(&y, 0)))
        };
    }
    macro_rules! two {
        ($f:ident<$T:ty>) => {
            hosted_row!(i, b, MEM128, X, |x, y, _| select::$f::<$T, 16>(x, y))
        };
    }
    match op {
        O::Vpbroadcastb => splat!(u8, SAME8),
        O::Vpbroadcastw => splat!(u16, SAME16),
        O::Vpbroadcastd | O::Vbroadcastss => splat!(u32, SAME32),
        O::Vpbroadcastq | O::Vbroadcastsd => splat!(u64, SAME64),
        O::Vbroadcastf128 | O::Vbroadcasti128 => row!(i, b, SAME128, X, |_, y, _| y),
        O::Vinsertf128 | O::Vinserti128 => crossing_row!(i, b, SAME128, insert_lane),
        O::Vextractf128 | O::Vextracti128 if i.operands[0] == Operand::Mem => {
            push(extract_op, i, b, access::WRITE, <X as Cell>::BYTES as u8)
        }
        O::Vextractf128 | O::Vextracti128 => crossing_row!(i, b, MEM128, extract_lane),
        O::Vperm2f128 | O::Vperm2i128 => crossing_row!(i, b, MEM128, permute_lanes),
        O::Vpermq | O::Vpermpd => crossing_row!(i, b, MEM128, permute_quads),
        O::Vpermd | O::Vpermps => crossing_row!(i, b, MEM128, permute_doubles),
        O::Vpermilps if by_imm => native_row!(i, b, |_, y, order| lanes::shuffle(y, order), shuffle),
        O::Vpermilps => row!(i, b, MEM128, X, |x, y, _| from_fn(|n| u32::at(&x, u32::at(&y, n) as usize & 3))),
        O::Vpermilpd if by_imm => row!(i, b, MEM128, X, |_, y, order| lanes::shuffle_halves(y, y, order), step 2),
        O::Vpermilpd => row!(i, b, MEM128, X, |x, y, _| from_fn(|n| u64::at(&x, u64::at(&y, n) as usize >> 1 & 1))),
        O::Vpblendd => hosted_row!(i, b, MEM128, X, |x, y, which| select::blend::<u32, 16>(x, y, which), step 4),
        O::Vpsllvd => two!(shift_left_each<u32>),
        O::Vpsllvq => two!(shift_left_each<u64>),
        O::Vpsrlvd => two!(shift_right_each<u32>),
        O::Vpsrlvq => two!(shift_right_each<u64>),
        O::Vpsravd => two!(shift_right_signed_each<u32>),
        O::Vtestps => row!(i, b, MEM128, Lazy, |x, y, _| test::<u32>(x, y)),
        O::Vtestpd => row!(i, b, MEM128, Lazy, |x, y, _| test::<u64>(x, y)),
        O::Vzeroall if b.mode() == Mode::Long => zero(zero_op::<true, 16>, i, b),
        O::Vzeroall => zero(zero_op::<true, 8>, i, b),
        O::Vzeroupper if b.mode() == Mode::Long => zero(zero_op::<false, 16>, i, b),
        O::Vzeroupper => zero(zero_op::<false, 8>, i, b),
        O::Vmaskmovps | O::Vpmaskmovd => gather::masked_move(4, i, b),
        O::Vmaskmovpd | O::Vpmaskmovq => gather::masked_move(8, i, b),
        O::Vgatherdps | O::Vpgatherdd => gather::gather(4, 4, i, b),
        O::Vgatherdpd | O::Vpgatherdq => gather::gather(4, 8, i, b),
        O::Vgatherqps | O::Vpgatherqd => gather::gather(8, 4, i, b),
        O::Vgatherqpd | O::Vpgatherqq => gather::gather(8, 8, i, b),
    }
}

/// Both lanes, from the values of their elements.
fn both<T: Lane>(f: impl Fn(usize) -> T) -> Y {
    let half = 16 / T::BYTES;
    [from_fn(&f), from_fn(|n| f(n + half))]
}

/// Element `n` of both lanes.
fn element<T: Lane>(v: &Y, n: u8) -> T {
    let (n, half) = (usize::from(n) % (32 / T::BYTES), 16 / T::BYTES);
    T::at(&v[n / half], n % half)
}

/// SDM Vol. 2C, VINSERTF128.
fn insert_lane(x: Y, y: Y, n: u8) -> Y {
    if n & 1 == 0 { [y[0], x[1]] } else { [x[0], y[1]] }
}

/// SDM Vol. 2C, VEXTRACTF128.
fn extract_lane(_: Y, y: Y, n: u8) -> Y {
    [y[usize::from(n & 1)], [0; 16]]
}

/// SDM Vol. 2C, VPERMQ: two bits for each element.
fn permute_quads(_: Y, y: Y, order: u8) -> Y {
    both(|n| element::<u64>(&y, order >> (2 * n) & 3))
}

/// SDM Vol. 2C, VPERMD: the order is a vector.
fn permute_doubles(order: Y, y: Y, _: u8) -> Y {
    both(|n| element::<u32>(&y, element::<u32>(&order, n as u8) as u8))
}

/// SDM Vol. 2C, VPERM2F128: four bits for each lane; the topmost clears it.
fn permute_lanes(x: Y, y: Y, order: u8) -> Y {
    [order, order >> 4].map(|n| match n & 11 {
        0 => x[0],
        1 => x[1],
        2 => y[0],
        3 => y[1],
        _ => [0; 16],
    })
}

/// SDM Vol. 2C, VTESTPS: as PTEST, of signs.
#[inline(always)]
fn test<T: Lane>(x: X, y: X) -> Lazy {
    let nothing = |v: X| u64::from(lanes::signs::<T, 16>(v) == 0);
    Lazy::explicit(nothing(lanes::and(x, y)) * ZF | nothing(lanes::and_not(x, y)) * CF)
}

/// VEXTRACTF128 to memory.
unsafe fn extract_op(cpu: *mut Cpu, op: *const Op, budget: i64) -> i64 {
    // SAFETY: called by the engine.
    unsafe {
        let to = place!(X, cpu, op, budget, ea(cpu, op));
        to.write_unaligned(*xmm(cpu, (*op).src).add((*op).imm as usize & 1));
        next!(cpu, op, budget)
    }
}

fn zero(f: Handler, i: &Insn, b: &mut Builder) -> Bound {
    guard(i, b);
    b.push(Op { f, ..Builder::blank() });
    Ok(())
}

/// Outside 64-bit mode there are 8 registers.
unsafe fn zero_op<const ALL: bool, const COUNT: u8>(cpu: *mut Cpu, op: *const Op, budget: i64) -> i64 {
    // SAFETY: called by the engine.
    unsafe {
        for n in 0..COUNT {
            *upper(cpu, 4 * n) = [0; 16];
            if ALL {
                *xmm(cpu, 4 * n) = [0; 16];
            }
        }
        next!(cpu, op, budget)
    }
}
