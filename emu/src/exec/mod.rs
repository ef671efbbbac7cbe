//! Instruction families: each turns a decoded instruction into ops (`bind`) and holds the handlers.
//!
//! Three layers: pure arithmetic (`crate::alu`), operand access (`operand.rs`), and the binding in each family's `bind`.

mod arith;
mod bits;
mod bmi;
mod branch;
mod control;
mod decimal;
mod fast;
mod mmx;
mod mov;
mod muldiv;
mod near;
mod operand;
mod shift;
mod sse;
mod stack;
mod string;
mod system;
mod x87;
mod xsave;

use crate::block::Builder;
use crate::cpu::fault::vector;
use crate::decode::{Insn, Operation as O, SseFloat, SseMove};
use crate::op::{Handler, Op};

/// The operand form is not one that the family implements.
#[derive(Debug)]
pub(crate) struct Unsupported;

/// Result of a binding.
pub(crate) type Bound = Result<(), Unsupported>;

/// Adds the ops of `insn` to the block. An instruction without an implementation becomes #UD and is noted by name.
pub(crate) fn bind(insn: &Insn, b: &mut Builder, unimplemented: &mut Vec<String>) {
    if bind_known(insn, b).is_ok() {
        return;
    }
    let undecodable = insn.is_undecodable();
    if !undecodable {
        let name = format!("{:?}", insn.name).to_uppercase();
        if !unimplemented.contains(&name) {
            unimplemented.push(name);
        }
    }
    let vector = if undecodable { insn.cc } else { vector::UD };
    b.push(Op { f: crate::engine::raise, aux: vector, ..Builder::blank() });
    b.end();
}

pub(crate) use branch::fused as fuse;

fn bind_known(i: &Insn, b: &mut Builder) -> Bound {
    match i.operation {
        O::Add => arith::binary::<arith::Add>(i, b),
        O::Or => arith::binary::<arith::Or>(i, b),
        O::Adc => arith::binary::<arith::Adc>(i, b),
        O::Sbb => arith::binary::<arith::Sbb>(i, b),
        O::And => arith::binary::<arith::And>(i, b),
        O::Sub => arith::binary::<arith::Sub>(i, b),
        O::Xor => arith::binary::<arith::Xor>(i, b),
        O::Cmp => arith::binary::<arith::Cmp>(i, b),
        O::Test => arith::binary::<arith::Test>(i, b),
        O::Inc => arith::unary::<arith::Inc>(i, b),
        O::Dec => arith::unary::<arith::Dec>(i, b),
        O::Neg => arith::unary::<arith::Neg>(i, b),
        O::Not => arith::unary::<arith::Not>(i, b),
        O::Xadd => arith::xadd(i, b),
        O::Cmpxchg => arith::cmpxchg(i, b),
        O::Cmpxchg8b => system::cmpxchg8b(i, b),
        O::Mov | O::Movdiri => mov::mov(i, b),
        O::Movzx => mov::extend::<false>(i, b),
        O::Movsx => mov::extend::<true>(i, b),
        O::Lea => mov::lea(i, b),
        O::Xchg => mov::xchg(i, b),
        O::Bswap => mov::bswap(i, b),
        O::Xlat => mov::xlat(i, b),
        O::Cmovcc => mov::cmov(i, b),
        O::Setcc => mov::setcc(i, b),
        O::Widen => mov::widen(i, b),
        O::WidenPair => mov::widen_pair(i, b),
        O::Lahf | O::Sahf | O::Clc | O::Stc | O::Cmc | O::Cld | O::Std => mov::flag_moves(i, b),
        O::Mul => muldiv::mul(i, b),
        O::Imul => muldiv::imul(i, b),
        O::Div => muldiv::div::<false>(i, b),
        O::Idiv => muldiv::div::<true>(i, b),
        O::Rol => shift::by::<shift::Rol>(i, b),
        O::Ror => shift::by::<shift::Ror>(i, b),
        O::Rcl => shift::by::<shift::Rcl>(i, b),
        O::Rcr => shift::by::<shift::Rcr>(i, b),
        O::Shl => shift::by::<shift::Shl>(i, b),
        O::Shr => shift::by::<shift::Shr>(i, b),
        O::Sar => shift::by::<shift::Sar>(i, b),
        O::Shld => shift::double::<true>(i, b),
        O::Shrd => shift::double::<false>(i, b),
        O::Bt => bits::test::<bits::Bt>(i, b),
        O::Bts => bits::test::<bits::Bts>(i, b),
        O::Btr => bits::test::<bits::Btr>(i, b),
        O::Btc => bits::test::<bits::Btc>(i, b),
        O::Bsf => bits::scan::<false>(i, b),
        O::Bsr => bits::scan::<true>(i, b),
        O::Popcnt => bmi::combine::<bmi::Popcnt>(i, b),
        O::Lzcnt => bmi::combine::<bmi::Lzcnt>(i, b),
        O::Tzcnt => bmi::combine::<bmi::Tzcnt>(i, b),
        O::Andn => bmi::combine::<bmi::Andn>(i, b),
        O::Bextr => bmi::combine::<bmi::Bextr>(i, b),
        O::Blsi => bmi::combine::<bmi::Blsi>(i, b),
        O::Blsmsk => bmi::combine::<bmi::Blsmsk>(i, b),
        O::Blsr => bmi::combine::<bmi::Blsr>(i, b),
        O::Bzhi => bmi::combine::<bmi::Bzhi>(i, b),
        O::Pdep => bmi::combine::<bmi::Pdep>(i, b),
        O::Pext => bmi::combine::<bmi::Pext>(i, b),
        O::Rorx => bmi::combine::<bmi::Rorx>(i, b),
        O::Sarx => bmi::combine::<bmi::Sarx>(i, b),
        O::Shlx => bmi::combine::<bmi::Shlx>(i, b),
        O::Shrx => bmi::combine::<bmi::Shrx>(i, b),
        O::Adcx => bmi::combine::<bmi::Adcx>(i, b),
        O::Adox => bmi::combine::<bmi::Adox>(i, b),
        O::Mulx => bmi::mulx(i, b),
        O::Movbe => bmi::movbe(i, b),
        O::Crc32 => bmi::crc32(i, b),
        O::Jmp => branch::jmp(i, b),
        O::Call => branch::call(i, b),
        O::Ret => branch::ret(i, b),
        O::Jcc => branch::jcc(i, b),
        O::Loop | O::Loope | O::Loopne | O::Jrcxz => branch::count(i, b),
        O::Push => stack::push(i, b),
        O::Pop => stack::pop(i, b),
        O::Pushf | O::Popf | O::Pusha | O::Popa | O::Enter => stack::slow(i, b),
        O::Aaa | O::Aas | O::Aam | O::Aad | O::Daa | O::Das | O::Salc | O::Bound => decimal::bind(i, b),
        O::Leave => stack::leave(i, b),
        O::Movs | O::Cmps | O::Stos | O::Lods | O::Scas | O::Ins | O::Outs => string::bind(i, b),
        O::MovsdOrSse | O::CmpsdOrSse if i.is_string() => string::bind(i, b),
        O::MovsdOrSse => sse::mov::bind(SseMove::Movsd, i, b),
        O::CmpsdOrSse => sse::float::bind(SseFloat::Cmpsd, i, b),
        O::SseMove(op) if i.is_mmx() => mmx::mov(op, i, b),
        O::Mmx(op) => mmx::bind(op, i, b),
        O::SseMove(op) => sse::mov::bind(op, i, b),
        O::SseInt(op) => sse::int::bind(op, i, b),
        O::SseFloat(op) => sse::float::bind(op, i, b),
        O::SseConvert(op) => sse::convert::bind(op, i, b),
        O::SseInt4(op) => sse::int4::bind(op, i, b),
        O::SseFloat4(op) => sse::float4::bind(op, i, b),
        O::SseText(op) => sse::text::bind(op, i, b),
        O::SseCrypto(op) => sse::crypto::bind(op, i, b),
        O::Avx(op) => sse::avx::bind(op, i, b),
        O::Fma(op) => sse::fma::bind(op, i, b),
        O::X87Arith(op) => x87::arith::bind(op, i, b),
        O::X87Move(op) => x87::mov::bind(op, i, b),
        O::X87Function(op) => x87::function::bind(op, i, b),
        O::X87Control(op) => x87::control::bind(op, i, b),
        O::Xgetbv | O::Xsetbv | O::Xsave | O::Xsaveopt | O::Xsavec | O::Xsaves | O::Xrstor | O::Xrstors => {
            xsave::bind(i, b)
        }
        O::Nop => {
            b.push(Op { f: mov::nop, ..Builder::blank() });
            Ok(())
        }
        O::Ud => {
            b.push(Op { f: crate::engine::raise, aux: vector::UD, ..Builder::blank() });
            b.end();
            Ok(())
        }
        O::Invalid => Err(Unsupported),
        _ => system::bind(i, b),
    }
}

/// Adds an op that leaves the fast path: operands resolved by `operand::slow`, block ended.
pub(crate) fn push_slow(f: Handler, op: Op, b: &mut Builder) -> Bound {
    b.push(Op { f, ..op });
    b.end();
    Ok(())
}
