//! Conversions between number formats.

use super::float::{lanes_of, number};
use super::forms::{Operands, float_row, narrow_row, push};
use super::step::{Rounded, step_op};
use super::{X, source};
use crate::block::Builder;
use crate::decode::{Insn, Operand, SseConvert as O};
use crate::exec::{Bound, Unsupported};
use crate::fp::{self, Env, F32, F64, Format};
use crate::lanes::Lane;
use crate::op::{Handler, access};

pub(crate) fn bind(op: O, i: &Insn, b: &mut Builder) -> Bound {
    macro_rules! to_gpr {
        ($F:ident, $MEM:ident, $truncate:expr) => {
            match i.width {
                8 => float_row!(i, b, $MEM, u64, |_, y, _, env| fp::to_int::<$F>(
                    number::<$F>(&y, 0),
                    64,
                    $truncate,
                    env
                )),
                _ => float_row!(i, b, $MEM, u64, |_, y, _, env| fp::to_int::<$F>(
                    number::<$F>(&y, 0),
                    32,
                    $truncate,
                    env
                )),
            }
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
        O::Cvtss2si => to_gpr!(F32, MEM32, false),
        O::Cvtsd2si => to_gpr!(F64, MEM64, false),
        O::Cvttss2si => to_gpr!(F32, MEM32, true),
        O::Cvttsd2si => to_gpr!(F64, MEM64, true),
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
        O::Cvtss2sd => float_row!(i, b, MEM32, X, |x, y, _, env| {
            lanes_of::<F64, 1>(x, |_| fp::convert::<F32, F64>(number::<F32>(&y, 0), env))
        }),
        O::Cvtsd2ss => float_row!(i, b, MEM64, X, |x, y, _, env| {
            lanes_of::<F32, 1>(x, |_| fp::convert::<F64, F32>(number::<F64>(&y, 0), env))
        }),
    }
}

/// An integer of type `T` in the lowest lane, to `F`.
struct FromInt<T, F>(std::marker::PhantomData<(T, F)>);
impl<T: Lane, F: Format> super::Float for FromInt<T, F> {
    type Out = X;
    #[inline(always)]
    fn apply(a: X, b: X, _: u8, env: &mut Env) -> X {
        lanes_of::<F, 1>(a, |_| fp::from_int::<F>(T::at(&b, 0).sx(), env))
    }
}

/// SDM Vol. 2A, CVTSI2SD: from a general register or memory.
fn from_gpr<F: Format>(i: &Insn, b: &mut Builder) -> Bound {
    macro_rules! handler {
        ($T:ident, $S:ident) => {
            match i.vex {
                false => step_op::<Rounded<FromInt<$T, F>>, { source::$S }, false> as Handler,
                true => step_op::<Rounded<FromInt<$T, F>>, { source::$S }, true>,
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
