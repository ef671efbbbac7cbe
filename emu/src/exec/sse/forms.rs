//! Binding: a row of a table, written once, becomes the handlers of all of its forms.

use super::step::{
    Across, Heavy, Narrowed, Quick, Rounded, Select, Step, hosted_quick_both_op, hosted_quick_op, quick_both_op,
    quick_op, step_both_op, step_op,
};
use super::{Crossing, Float, Masked, Plain, X, guard, hosted_both_op, hosted_op, plain_both_op, plain_op, source};
use crate::block::Builder;
use crate::decode::{Insn, Operand};
use crate::exec::operand::mem_op;
use crate::exec::{Bound, Unsupported};
use crate::host::has_vectors;
use crate::op::{Handler, Op, access};

/// A handler for a register and one for a memory operand, and the bytes of that.
struct Pair {
    register: Handler,
    memory: Handler,
    bytes: u8,
}

/// The handlers of a row.
struct Forms {
    sse: Pair,
    vex: Pair,
    both: Pair,
}

impl Forms {
    /// Adds the form that `i` is. MMX registers are no operands here, so that those forms are refused.
    fn bind(&self, i: &Insn, b: &mut Builder) -> Bound {
        let pair = match (i.vex, i.uses_ymm()) {
            (false, _) => &self.sse,
            (true, false) => &self.vex,
            (true, true) => &self.both,
        };
        let operands = Operands::of(i);
        match (operands.dst, operands.second) {
            (Operand::Xmm(_) | Operand::Ymm(_) | Operand::Reg(_), Operand::Xmm(_) | Operand::Ymm(_)) => {
                push(pair.register, i, b, access::READ, 0)
            }
            (Operand::Xmm(_) | Operand::Ymm(_) | Operand::Reg(_), Operand::Mem) => {
                push(pair.memory, i, b, access::READ, pair.bytes)
            }
            _ => Err(Unsupported),
        }
    }
}

/// The operands of an instruction: SSE's destination is its first source.
pub(super) struct Operands {
    pub(super) dst: Operand,
    first: Operand,
    pub(super) second: Operand,
}

impl Operands {
    pub(super) fn of(i: &Insn) -> Self {
        let [dst, one, two, _] = i.operands;
        let three = i.vex && !matches!(two, Operand::None | Operand::Imm(_));
        // A shift by an immediate has one source, which VEX names apart.
        let shift = i.vex && matches!((one, two), (Operand::Xmm(_) | Operand::Ymm(_), Operand::Imm(_)));
        match (three, shift) {
            (true, _) => Self { dst, first: one, second: two },
            (_, true) => Self { dst, first: one, second: one },
            _ => Self { dst, first: dst, second: one },
        }
    }
}

/// Adds `f` with the operands of `i`: the memory operand if there is one (`how` it is accessed, and its size), the
/// registers as `Op::dst`, `Op::aux` (the first source) and `Op::src`, and the immediate, or the number of a fourth register.
pub(super) fn push(f: Handler, i: &Insn, b: &mut Builder, how: u8, bytes: u8) -> Bound {
    guard(i, b);
    let memory = i.operands.contains(&Operand::Mem);
    let mut op = if memory { mem_op(i, b, how, bytes) } else { Builder::blank() };
    for operand in &i.operands {
        if let Operand::Imm(value) = *operand {
            op.imm = value;
        }
    }
    if let Operand::Xmm(n) | Operand::Ymm(n) = i.operands[3] {
        op.imm = n.into();
    }
    let vector = |o: Operand| if let Operand::Xmm(at) | Operand::Ymm(at) = o { at } else { 0 };
    let register = |o: Operand| if let Operand::Reg(r) = o { r } else { vector(o) };
    let Operands { dst, first, second } = Operands::of(i);
    // Read as a vector, used or not.
    op.aux = vector(first);
    (op.dst, op.src) = (register(dst), register(second));
    b.push(Op { f, ..op });
    Ok(())
}

/// `plain_op` and its like for all forms: the memory operands of SSE and VEX.128, register and memory of VEX.256, and the
/// bytes of the latter that belong to a lane, if it is not all of them (`fetch_both`).
macro_rules! forms {
    ($one:ident, $both:ident, $O:ty) => {{
        let pair = |register: Handler, memory: Handler, kind: u8| Pair { register, memory, bytes: source::bytes(kind) };
        Forms {
            sse: pair($one::<$O, { source::XMM }, false>, $one::<$O, SSE, false>, SSE),
            vex: pair($one::<$O, { source::XMM }, true>, $one::<$O, VEX, true>, VEX),
            both: pair($both::<$O, REG, PART>, $both::<$O, MEM, PART>, MEM),
        }
    }};
}

pub(super) fn plain<O: Plain, const SSE: u8, const VEX: u8, const REG: u8, const MEM: u8, const PART: u8>(
    i: &Insn,
    b: &mut Builder,
) -> Bound {
    forms!(plain_op, plain_both_op, O).bind(i, b)
}

pub(super) fn step<O: Step, const SSE: u8, const VEX: u8, const REG: u8, const MEM: u8, const PART: u8>(
    i: &Insn,
    b: &mut Builder,
) -> Bound {
    forms!(step_op, step_both_op, O).bind(i, b)
}

pub(super) fn heavy<O: Plain, const SSE: u8, const VEX: u8, const REG: u8, const MEM: u8, const PART: u8>(
    i: &Insn,
    b: &mut Builder,
) -> Bound {
    step::<Heavy<O>, SSE, VEX, REG, MEM, PART>(i, b)
}

/// Defines binders that take other handlers where the host has more instructions.
macro_rules! hosted {
    ($($(#[$doc:meta])+ $name:ident<$Kind:ident> $one:ident, $both:ident, else $other:ident;)+) => {$(
        $(#[$doc])+
        pub(super) fn $name<O: $Kind, const SSE: u8, const VEX: u8, const REG: u8, const MEM: u8, const PART: u8>(
            i: &Insn,
            b: &mut Builder,
        ) -> Bound {
            match has_vectors() {
                true => forms!($one, $both, O).bind(i, b),
                false => $other::<O, SSE, VEX, REG, MEM, PART>(i, b),
            }
        }
    )+};
}

hosted! {
    /// `plain`, compiled for such hosts.
    hosted<Plain> hosted_op, hosted_both_op, else plain;
    /// What is heavy elsewhere.
    hosted_heavy<Plain> hosted_op, hosted_both_op, else heavy;
    /// A step that is quick on such hosts.
    hosted_quick<Quick> hosted_quick_op, hosted_quick_both_op, else step;
}

pub(super) fn float<O: Float, const SSE: u8, const VEX: u8, const REG: u8, const MEM: u8, const PART: u8>(
    i: &Insn,
    b: &mut Builder,
) -> Bound {
    step::<Rounded<O>, SSE, VEX, REG, MEM, PART>(i, b)
}

/// `float` for an operation that has a quick outcome.
pub(super) fn quick<O: Float, const SSE: u8, const VEX: u8, const REG: u8, const MEM: u8, const PART: u8>(
    i: &Insn,
    b: &mut Builder,
) -> Bound {
    forms!(quick_op, quick_both_op, Rounded<O>).bind(i, b)
}

pub(super) fn narrow<O: Float<Out = X>, const SSE: u8, const VEX: u8, const REG: u8, const MEM: u8, const PART: u8>(
    i: &Insn,
    b: &mut Builder,
) -> Bound {
    step::<Narrowed<O>, SSE, VEX, REG, MEM, PART>(i, b)
}

pub(super) fn masked<O: Masked, const SSE: u8, const VEX: u8, const REG: u8, const MEM: u8, const PART: u8>(
    i: &Insn,
    b: &mut Builder,
) -> Bound {
    step::<Select<O>, SSE, VEX, REG, MEM, PART>(i, b)
}

pub(super) fn crossing<O: Crossing, const SSE: u8, const VEX: u8, const REG: u8, const MEM: u8, const PART: u8>(
    i: &Insn,
    b: &mut Builder,
) -> Bound {
    step::<Across<O>, SSE, VEX, REG, MEM, PART>(i, b)
}

/// A shift: the count is an immediate or the low half of the source, for both lanes the same.
pub(super) fn shift<O: Plain>(i: &Insn, b: &mut Builder) -> Bound {
    use source::{IMM, MEM128, MEM128_UNALIGNED, XMM};
    let f: Handler = match (i.operands.iter().any(|o| matches!(o, Operand::Imm(_))), i.vex, i.uses_ymm()) {
        (false, ..) => return plain::<O, MEM128, MEM128_UNALIGNED, XMM, MEM128_UNALIGNED, 0>(i, b),
        (_, false, _) => plain_op::<O, IMM, false>,
        (_, true, false) => plain_op::<O, IMM, true>,
        (_, true, true) => plain_both_op::<O, IMM, 0>,
    };
    push(f, i, b, access::READ, 0)
}

/// A binder of the above for a row and what `forms!` needs.
macro_rules! bound {
    ($bind:ident $Row:ty, $i:ident, $b:ident, $SSE:ident, $VEX:ident, $REG:ident, $MEM:ident, $part:literal) => {{
        use crate::exec::sse::source as s;
        crate::exec::sse::forms::$bind::<$Row, { s::$SSE }, { s::$VEX }, { s::$REG }, { s::$MEM }, $part>($i, $b)
    }};
}
pub(super) use bound;

/// Calls a binder of the above with what the kind of the second operand says about the forms.
macro_rules! shape {
    ($bind:ident::<$Row:ty>($i:ident, $b:ident), MEM128) => {
        crate::exec::sse::forms::bound!($bind $Row, $i, $b, MEM128, MEM128_UNALIGNED, YMM, MEM256, 0)
    };
    // Aligned in all forms, in none.
    ($bind:ident::<$Row:ty>($i:ident, $b:ident), ALIGNED) => {
        crate::exec::sse::forms::bound!($bind $Row, $i, $b, MEM128, MEM128, YMM, MEM256_ALIGNED, 0)
    };
    ($bind:ident::<$Row:ty>($i:ident, $b:ident), MEM128_UNALIGNED) => {
        crate::exec::sse::forms::bound!($bind $Row, $i, $b, MEM128_UNALIGNED, MEM128_UNALIGNED, YMM, MEM256, 0)
    };
    // Half of a lane, or less, gives a lane.
    ($bind:ident::<$Row:ty>($i:ident, $b:ident), WIDEN64) => {
        crate::exec::sse::forms::bound!($bind $Row, $i, $b, MEM64, MEM64, XMM, MEM128_UNALIGNED, 8)
    };
    ($bind:ident::<$Row:ty>($i:ident, $b:ident), WIDEN32) => {
        crate::exec::sse::forms::bound!($bind $Row, $i, $b, MEM32, MEM32, XMM, MEM64, 4)
    };
    ($bind:ident::<$Row:ty>($i:ident, $b:ident), WIDEN16) => {
        crate::exec::sse::forms::bound!($bind $Row, $i, $b, MEM16, MEM16, XMM, MEM32, 2)
    };
    // The low half of each lane.
    ($bind:ident::<$Row:ty>($i:ident, $b:ident), HALVES) => {
        crate::exec::sse::forms::bound!($bind $Row, $i, $b, MEM64, MEM64, YMM, MEM256, 0)
    };
    // The same for both lanes.
    ($bind:ident::<$Row:ty>($i:ident, $b:ident), SAME8) => {
        crate::exec::sse::forms::bound!($bind $Row, $i, $b, MEM8, MEM8, XMM, MEM8, 0)
    };
    ($bind:ident::<$Row:ty>($i:ident, $b:ident), SAME16) => {
        crate::exec::sse::forms::bound!($bind $Row, $i, $b, MEM16, MEM16, XMM, MEM16, 0)
    };
    ($bind:ident::<$Row:ty>($i:ident, $b:ident), SAME32) => {
        crate::exec::sse::forms::bound!($bind $Row, $i, $b, MEM32, MEM32, XMM, MEM32, 0)
    };
    ($bind:ident::<$Row:ty>($i:ident, $b:ident), SAME64) => {
        crate::exec::sse::forms::bound!($bind $Row, $i, $b, MEM64, MEM64, XMM, MEM64, 0)
    };
    ($bind:ident::<$Row:ty>($i:ident, $b:ident), SAME128) => {
        crate::exec::sse::forms::bound!($bind $Row, $i, $b, NONE, NONE, XMM, MEM128_UNALIGNED, 0)
    };
    // Scalars have no VEX.256 form.
    ($bind:ident::<$Row:ty>($i:ident, $b:ident), $MEM:ident) => {
        crate::exec::sse::forms::bound!($bind $Row, $i, $b, $MEM, $MEM, NONE, NONE, 0)
    };
}
pub(super) use shape;

/// Binds a row of a table: an operation of two sources and the immediate, and the kind of its second source; the
/// immediate's bits of the lower lane, where each lane has its own.
macro_rules! row {
    ($i:ident, $b:ident, $MEM:ident, $out:ty, |$x:pat_param, $y:pat_param, $imm:pat_param| $e:expr $(, step $step:literal)?) => {
        crate::exec::sse::forms::plain_row!(plain, $i, $b, $MEM, $out, |$x, $y, $imm| $e $(, step $step)?)
    };
}
pub(super) use row;

/// Likewise for an operation too long to stand in a handler.
macro_rules! heavy_row {
    ($i:ident, $b:ident, $MEM:ident, $out:ty, |$x:pat_param, $y:pat_param, $imm:pat_param| $e:expr $(, step $step:literal)?) => {
        crate::exec::sse::forms::plain_row!(heavy, $i, $b, $MEM, $out, |$x, $y, $imm| $e $(, step $step)?)
    };
}
pub(super) use heavy_row;

/// Likewise for an operation whose portable code a host with more instructions runs faster.
macro_rules! hosted_row {
    ($i:ident, $b:ident, $MEM:ident, $out:ty, |$x:pat_param, $y:pat_param, $imm:pat_param| $e:expr $(, step $step:literal)?) => {
        crate::exec::sse::forms::plain_row!(hosted, $i, $b, $MEM, $out, |$x, $y, $imm| $e $(, step $step)?)
    };
}
pub(super) use hosted_row;

/// Likewise for one too long to stand in a handler, unless it is the function `$host` of `crate::host`.
macro_rules! native_row {
    ($i:ident, $b:ident, |$x:pat_param, $y:pat_param, $imm:pat_param| $e:expr, $host:ident) => {
        crate::exec::sse::forms::plain_row!(hosted_heavy, $i, $b, MEM128, X, |$x, $y, $imm| $e, native $host)
    };
}
pub(super) use native_row;

/// What the rows above have in common.
macro_rules! plain_row {
    ($bind:ident, $i:ident, $b:ident, $MEM:ident, $out:ty,
     |$x:pat_param, $y:pat_param, $imm:pat_param| $e:expr $(, step $step:literal)? $(, native $host:ident)?) => {{
        struct Row;
        impl crate::exec::sse::Plain for Row {
            type Out = $out;
            const STEP: u32 = 0 $(+ $step)?;
            #[inline(always)]
            fn apply($x: crate::exec::sse::X, $y: crate::exec::sse::X, $imm: u8) -> $out {
                $e
            }
            $(#[cfg(target_arch = "x86_64")]
            #[inline(always)]
            unsafe fn hosted(a: crate::exec::sse::X, b: crate::exec::sse::X, imm: u8) -> $out {
                // SAFETY: as the caller promises.
                unsafe { crate::host::$host(a, b, imm) }
            })?
        }
        crate::exec::sse::forms::shape!($bind::<Row>($i, $b), $MEM)
    }};
}
pub(super) use plain_row;

/// Likewise for an operation that also looks at a mask.
macro_rules! masked_row {
    ($i:ident, $b:ident, $f:expr) => {{
        struct Row;
        impl crate::exec::sse::Masked for Row {
            #[inline(always)]
            fn apply(a: crate::exec::sse::X, b: crate::exec::sse::X, mask: crate::exec::sse::X) -> crate::exec::sse::X {
                $f(a, b, mask)
            }
        }
        crate::exec::sse::forms::shape!(masked::<Row>($i, $b), MEM128)
    }};
}
pub(super) use masked_row;

/// Likewise for an operation under MXCSR.
macro_rules! float_row {
    ($i:ident, $b:ident, $MEM:ident, $out:ty, |$x:pat_param, $y:pat_param, $imm:pat_param, $env:ident| $e:expr) => {
        crate::exec::sse::forms::env_row!(float, $i, $b, $MEM, $out, |$x, $y, $imm, $env| $e)
    };
}
pub(super) use float_row;

/// Likewise with what is to be tried first (`Float::quick`).
macro_rules! quick_row {
    ($i:ident, $b:ident, $MEM:ident, $out:ty, |$x:pat_param, $y:pat_param, $imm:pat_param, $env:ident| $e:expr,
     quick |$a:pat_param, $z:pat_param, $how:pat_param| $quick:expr) => {
        crate::exec::sse::forms::env_row!(
            quick,
            $i,
            $b,
            $MEM,
            $out,
            |$x, $y, $imm, $env| $e,
            quick | $a,
            $z,
            $how | $quick
        )
    };
}
pub(super) use quick_row;

/// Likewise where a lane gives half a lane.
macro_rules! narrow_row {
    ($i:ident, $b:ident, |$x:pat_param, $y:pat_param, $imm:pat_param, $env:ident| $e:expr) => {
        crate::exec::sse::forms::env_row!(narrow, $i, $b, MEM128, X, |$x, $y, $imm, $env| $e)
    };
}
pub(super) use narrow_row;

/// What the rows above have in common.
macro_rules! env_row {
    ($bind:ident, $i:ident, $b:ident, $MEM:ident, $out:ty, |$x:pat_param, $y:pat_param, $imm:pat_param, $env:ident| $e:expr
     $(, quick |$a:pat_param, $z:pat_param, $how:pat_param| $quick:expr)?) => {{
        struct Row;
        impl crate::exec::sse::Float for Row {
            type Out = $out;
            #[inline(always)]
            fn apply($x: crate::exec::sse::X, $y: crate::exec::sse::X, $imm: u8, $env: &mut crate::fp::Env) -> $out {
                $e
            }
            $(#[inline(always)]
            fn quick($a: crate::exec::sse::X, $z: crate::exec::sse::X, $how: u8) -> Option<$out> {
                $quick
            })?
        }
        crate::exec::sse::forms::shape!($bind::<Row>($i, $b), $MEM)
    }};
}
pub(super) use env_row;

/// Likewise for an operation across the lanes of YMM registers.
macro_rules! crossing_row {
    ($i:ident, $b:ident, $MEM:ident, $f:expr) => {{
        struct Row;
        impl crate::exec::sse::Crossing for Row {
            #[inline(always)]
            fn apply(a: crate::exec::sse::Y, b: crate::exec::sse::Y, imm: u8) -> crate::exec::sse::Y {
                $f(a, b, imm)
            }
        }
        crate::exec::sse::forms::shape!(crossing::<Row>($i, $b), $MEM)
    }};
}
pub(super) use crossing_row;
