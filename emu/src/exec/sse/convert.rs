//! Conversions between number formats.

use super::float::{lanes_of, number, quick_lanes_of};
use super::forms::{Operands, float_row, narrow_row, push, quick_row};
use super::step::{Rounded, quick_op};
use super::{X, source};
use crate::block::Builder;
use crate::decode::{Insn, Operand, SseConvert as O};
use crate::exec::{Bound, Unsupported};
use crate::fp::{self, Env, F32, F64, Native};
use crate::lanes::Lane;
use crate::op::{Handler, access};

pub(crate) fn bind(op: O, i: &Insn, b: &mut Builder) -> Bound {
    macro_rules! to_gpr {
        ($F:ident, $MEM:ident) => {
            match i.width {
                8 => float_row!(i, b, $MEM, u64, |_, y, _, env| fp::to_int::<$F>(number::<$F>(&y, 0), 64, false, env)),
                _ => float_row!(i, b, $MEM, u64, |_, y, _, env| fp::to_int::<$F>(number::<$F>(&y, 0), 32, false, env)),
            }
        };
    }
    macro_rules! truncated {
        ($F:ident, $MEM:ident) => {
            match i.width {
                8 => truncated!($F, $MEM, 64),
                _ => truncated!($F, $MEM, 32),
            }
        };
        ($F:ident, $MEM:ident, $bits:literal) => {
            quick_row!(
                i,
                b,
                $MEM,
                u64,
                |_, y, _, env| fp::to_int::<$F>(number::<$F>(&y, 0), $bits, true, env),
                quick | _,
                y,
                _ | fp::ordinary_truncated::<$F>(number::<$F>(&y, 0), $bits)
            )
        };
    }
    macro_rules! scalar {
        ($From:ident, $MEM:ident, $To:ident) => {
            quick_row!(
                i,
                b,
                $MEM,
                X,
                |x, y, _, env| lanes_of::<$To, 1>(x, |_| fp::convert::<$From, $To>(number::<$From>(&y, 0), env)),
                quick | x,
                y,
                _ | { quick_lanes_of::<$To, 1>(x, |_| fp::ordinary_conversion::<$From, $To>(number::<$From>(&y, 0))) }
            )
        };
    }
    // Four lanes to four; two to the lower two.
    macro_rules! to_four {
        ($truncate:expr) => {
            float_row!(i, b, MEM128, X, |_, y, _, env| {
                lanes_of::<F32, 4>([0; 16], |i| fp::to_int::<F32>(number::<F32>(&y, i), 32, $truncate, env))
            })
        };
    }
    macro_rules! to_two {
        ($truncate:expr) => {
            narrow_row!(i, b, |_, y, _, env| {
                lanes_of::<F32, 2>([0; 16], |i| fp::to_int::<F64>(number::<F64>(&y, i), 32, $truncate, env))
            })
        };
    }
    match op {
        O::Cvtsi2ss => from_gpr::<F32>(i, b),
        O::Cvtsi2sd => from_gpr::<F64>(i, b),
        O::Cvtss2si => to_gpr!(F32, MEM32),
        O::Cvtsd2si => to_gpr!(F64, MEM64),
        O::Cvttss2si => truncated!(F32, MEM32),
        O::Cvttsd2si => truncated!(F64, MEM64),
        O::Cvtps2dq => to_four!(false),
        O::Cvttps2dq => to_four!(true),
        O::Cvtpd2dq => to_two!(false),
        O::Cvttpd2dq => to_two!(true),
        O::Cvtdq2ps => float_row!(i, b, MEM128, X, |_, y, _, env| {
            lanes_of::<F32, 4>([0; 16], |i| fp::from_int::<F32>(u32::at(&y, i).sx(), env))
        }),
        O::Cvtdq2pd => float_row!(i, b, WIDEN64, X, |_, y, _, env| {
            lanes_of::<F64, 2>([0; 16], |i| fp::from_int::<F64>(u32::at(&y, i).sx(), env))
        }),
        O::Cvtps2pd => float_row!(i, b, WIDEN64, X, |_, y, _, env| {
            lanes_of::<F64, 2>([0; 16], |i| fp::convert::<F32, F64>(number::<F32>(&y, i), env))
        }),
        O::Cvtpd2ps => narrow_row!(i, b, |_, y, _, env| {
            lanes_of::<F32, 2>([0; 16], |i| fp::convert::<F64, F32>(number::<F64>(&y, i), env))
        }),
        O::Cvtss2sd => scalar!(F32, MEM32, F64),
        O::Cvtsd2ss => scalar!(F64, MEM64, F32),
    }
}

/// An integer of type `T` in the lowest lane, to `F`.
struct FromInt<T, F>(std::marker::PhantomData<(T, F)>);
impl<T: Lane, F: Native> super::Float for FromInt<T, F> {
    type Out = X;
    #[inline(always)]
    fn apply(a: X, b: X, _: u8, env: &mut Env) -> X {
        lanes_of::<F, 1>(a, |_| fp::from_int::<F>(T::at(&b, 0).sx(), env))
    }
    #[inline(always)]
    fn quick(a: X, b: X, _: u8) -> Option<X> {
        Some(lanes_of::<F, 1>(a, |_| F::host_of_int(T::at(&b, 0).sx())))
    }
}

/// SDM Vol. 2A, CVTSI2SD: from a general register or memory.
fn from_gpr<F: Native>(i: &Insn, b: &mut Builder) -> Bound {
    macro_rules! handler {
        ($T:ident, $S:ident) => {
            match i.vex {
                false => quick_op::<Rounded<FromInt<$T, F>>, { source::$S }, false> as Handler,
                true => quick_op::<Rounded<FromInt<$T, F>>, { source::$S }, true>,
            }
        };
    }
    let f = match (Operands::of(i).second, i.source_width, i.mem_width) {
        (Operand::Reg(_), 8, _) => handler!(u64, GPR64),
        (Operand::Reg(_), ..) => handler!(u32, GPR32),
        (Operand::Mem, _, 8) => handler!(u64, MEM64),
        (Operand::Mem, ..) => handler!(u32, MEM32),
        _ => return Err(Unsupported),
    };
    push(f, i, b, access::READ, i.mem_width)
}
