//! PUSH POP PUSHA POPA PUSHF POPF ENTER LEAVE.

use super::mov::{mov_mr, mov_rm};
use super::operand::{mem_op, place, read};
use super::{Bound, push_slow, system};
use crate::block::Builder;
use crate::cpu::fault::Trap;
use crate::cpu::flags::{self, Lazy};
use crate::cpu::mode::{Mode, truncated};
use crate::cpu::{Cpu, offset, regs};
use crate::decode::{Insn, Operand, Operation};
use crate::engine::{next, passing_handler, slow_handler};
use crate::mem::Access;
use crate::op::{Handler, Op, access};
use crate::width::{Width, by_width};

/// How the stack pointer moves.
pub(crate) trait Pointer {
    /// `sp` plus `by`.
    fn moved(sp: u64, by: u64) -> u64;
}

/// 64 bits.
pub(crate) struct Wide;
impl Pointer for Wide {
    #[inline(always)]
    fn moved(sp: u64, by: u64) -> u64 {
        sp.wrapping_add(by)
    }
}

/// 32 bits, flat.
pub(crate) struct Narrow;
impl Pointer for Narrow {
    #[inline(always)]
    fn moved(sp: u64, by: u64) -> u64 {
        u64::from((sp as u32).wrapping_add(by as u32))
    }
}

/// Operand size of stack instructions, which is that of the mode or 16 bits, and the pointer. Segmented code has handlers of
/// its own.
macro_rules! by_stack_width {
    ($width:expr, $b:expr, $T:ident, $P:ident => $e:expr) => {
        match ($b.mode(), $width) {
            (Mode::Long, 2) => {
                type $T = u16;
                type $P = Wide;
                $e
            }
            (Mode::Long, _) => {
                type $T = u64;
                type $P = Wide;
                $e
            }
            (_, 2) => {
                type $T = u16;
                type $P = Narrow;
                $e
            }
            _ => {
                type $T = u32;
                type $P = Narrow;
                $e
            }
        }
    };
}
pub(super) use by_stack_width;

/// PUSH.
pub(crate) fn push(i: &Insn, b: &mut Builder) -> Bound {
    if matches!(i.operands[0], Operand::Seg(_)) {
        return system::bind(i, b);
    }
    if b.mode().is_segmented() {
        let op = system::operands(i, b);
        return push_slow(slow_handler!(push_any), op, b);
    }
    let (src, imm) = match i.operands[0] {
        Operand::Reg(src) => (src, None),
        Operand::Imm(value) => (offset::ZERO, Some(value)),
        _ => {
            let op = mem_op(i, b, access::READ, i.width);
            let f: Handler = by_width!(i.width, T => mov_rm::<T>);
            b.push(Op { f, dst: offset::VALUE, ..op });
            (offset::VALUE, None)
        }
    };
    let access = access::WRITE | access::STACK | i.width.trailing_zeros() as u8;
    let f: Handler = by_stack_width!(i.width, b, T, P => match imm {
        Some(_) => push_value::<T, P, true>,
        None => push_value::<T, P, false>,
    });
    b.push(Op { f, src, imm: imm.unwrap_or(0), access, ..Builder::blank() });
    Ok(())
}

unsafe fn push_value<T: Width, P: Pointer, const IMM: bool>(cpu: *mut Cpu, op: *const Op, budget: i64) -> i64 {
    // SAFETY: called by the engine.
    unsafe {
        let value = if IMM { T::low((*op).imm) } else { T::get(cpu, (*op).src) };
        let sp = P::moved((*cpu).gpr[regs::RSP], T::SIZE.wrapping_neg());
        let p = place!(T, cpu, op, budget, sp);
        p.write_unaligned(value);
        (*cpu).gpr[regs::RSP] = sp;
        next!(cpu, op, budget)
    }
}

/// POP. An address with RSP as base is computed after the increment (SDM Vol. 2B, POP).
pub(crate) fn pop(i: &Insn, b: &mut Builder) -> Bound {
    if matches!(i.operands[0], Operand::Seg(_)) {
        return system::bind(i, b);
    }
    let mut after = i.clone();
    if after.mem.base == offset::RSP {
        after.mem.disp += i64::from(i.width);
    }
    if b.mode().is_segmented() {
        let op = system::operands(&after, b);
        return push_slow(slow_handler!(pop_any), op, b);
    }
    let access = access::READ | access::STACK | i.width.trailing_zeros() as u8;
    if let Operand::Reg(dst) = i.operands[0] {
        let f: Handler = by_stack_width!(i.width, b, T, P => pop_register::<T, P>);
        b.push(Op { f, dst, access, ..Builder::blank() });
        return Ok(());
    }
    let f: Handler = by_width!(i.width, T => mov_rm::<T>);
    b.push(Op { f, dst: offset::VALUE, base: offset::RSP, access, ..Builder::blank() });
    let op = mem_op(&after, b, access::WRITE, i.width);
    let f: Handler = by_width!(i.width, T => mov_mr::<T>);
    b.push(Op { f, src: offset::VALUE, ..op });
    let f: Handler = by_stack_width!(i.width, b, T, P => drop_word::<T, P>);
    b.push(Op { f, ..Builder::blank() });
    Ok(())
}

unsafe fn pop_register<T: Width, P: Pointer>(cpu: *mut Cpu, op: *const Op, budget: i64) -> i64 {
    // SAFETY: called by the engine.
    unsafe {
        let sp = (*cpu).gpr[regs::RSP];
        let value = read!(T, cpu, op, budget, sp);
        (*cpu).gpr[regs::RSP] = P::moved(sp, T::SIZE);
        T::set(cpu, (*op).dst, value);
        next!(cpu, op, budget)
    }
}

unsafe fn drop_word<T: Width, P: Pointer>(cpu: *mut Cpu, op: *const Op, budget: i64) -> i64 {
    // SAFETY: called by the engine.
    unsafe {
        (*cpu).gpr[regs::RSP] = P::moved((*cpu).gpr[regs::RSP], T::SIZE);
        next!(cpu, op, budget)
    }
}

/// LEAVE: RSP = RBP, POP RBP.
pub(crate) fn leave(i: &Insn, b: &mut Builder) -> Bound {
    if b.mode().is_segmented() {
        return push_slow(slow_handler!(leave_any), Op { aux: i.width, ..Builder::blank() }, b);
    }
    let access = access::READ | access::STACK | i.width.trailing_zeros() as u8;
    let f: Handler = by_stack_width!(i.width, b, T, P => leave_frame::<T, P>);
    b.push(Op { f, access, ..Builder::blank() });
    Ok(())
}

unsafe fn leave_frame<T: Width, P: Pointer>(cpu: *mut Cpu, op: *const Op, budget: i64) -> i64 {
    // SAFETY: called by the engine.
    unsafe {
        const RBP: u8 = (regs::RBP * 8) as u8;
        let sp = (*cpu).gpr[regs::RBP];
        let value = read!(T, cpu, op, budget, sp);
        (*cpu).gpr[regs::RSP] = P::moved(sp, T::SIZE);
        T::set(cpu, RBP, value);
        next!(cpu, op, budget)
    }
}

fn push_any(cpu: &mut Cpu, op: &Op) -> Result<(), Trap> {
    let value = match op.scale {
        system::IMMEDIATE => op.imm,
        _ => system::read(cpu, op, op.dst, op.aux)?,
    };
    cpu.push(value, op.aux)
}

fn pop_any(cpu: &mut Cpu, op: &Op) -> Result<(), Trap> {
    let value = cpu.stack_word(0, op.aux)?;
    let after = cpu.stack_moved(op.aux.into());
    if op.base == offset::TMP {
        let at = system::address(cpu, op, op.aux.into(), Access::Write)?;
        cpu.store(at, value, op.aux.into(), cpu.user)?;
        cpu.gpr[regs::RSP] = after;
    } else {
        cpu.gpr[regs::RSP] = after;
        cpu.set_register(op.dst, op.aux, value);
    }
    Ok(())
}

/// The frame pointer becomes the stack pointer, as wide as the stack is.
fn leave_any(cpu: &mut Cpu, op: &Op) -> Result<(), Trap> {
    let sp = cpu.gpr[regs::RSP];
    cpu.set_register((regs::RSP * 8) as u8, cpu.seg[regs::SS].stack_bytes(), cpu.gpr[regs::RBP]);
    let value = cpu.stack_word(0, op.aux).inspect_err(|_| cpu.gpr[regs::RSP] = sp);
    let value = value?;
    cpu.gpr[regs::RSP] = cpu.stack_moved(op.aux.into());
    cpu.set_register((regs::RBP * 8) as u8, op.aux, value);
    Ok(())
}

/// PUSHF, POPF, ENTER, PUSHA, POPA.
pub(crate) fn slow(i: &Insn, b: &mut Builder) -> Bound {
    let f = match i.operation {
        Operation::Pushf => passing_handler!(pushf),
        Operation::Popf => slow_handler!(popf),
        Operation::Pusha => slow_handler!(pusha),
        Operation::Popa => slow_handler!(popa),
        _ => slow_handler!(enter_frame),
    };
    let imm = |at: usize| match i.operands[at] {
        Operand::Imm(value) => value,
        _ => 0,
    };
    push_slow(f, Op { imm: imm(0) | imm(1) << 16, aux: i.width, ..Builder::blank() }, b)
}

fn pushf(cpu: &mut Cpu, op: &Op) -> Result<(), Trap> {
    cpu.check_v86()?;
    cpu.push(cpu.rflags_all() & !(flags::VM | flags::RF), op.aux)
}

/// What POPF may change depends on CPL and IOPL (SDM Vol. 2B, POPF).
fn popf(cpu: &mut Cpu, op: &Op) -> Result<(), Trap> {
    cpu.check_v86()?;
    let value = cpu.stack_word(0, op.aux)?;
    let old = cpu.rflags_all();
    let mut may = flags::ARITH | flags::TF | flags::DF | flags::NT | flags::AC | flags::ID;
    if cpu.cpl() == 0 {
        may |= flags::IOPL;
    }
    if u64::from(cpu.cpl()) <= (old & flags::IOPL) >> 12 {
        may |= flags::IF;
    }
    if op.aux == 2 {
        may &= 0xffff;
    }
    cpu.gpr[regs::RSP] = cpu.stack_moved(op.aux.into());
    cpu.set_rflags_all((old & !may | value & may) & !flags::RF);
    Ok(())
}

/// PUSHA: the stack pointer as it was before.
fn pusha(cpu: &mut Cpu, op: &Op) -> Result<(), Trap> {
    let words: [u64; 8] = std::array::from_fn(|i| cpu.gpr[i]);
    let mut stack = cpu.stack();
    cpu.push_words(&mut stack, &words, op.aux, 0)?;
    cpu.gpr[regs::RSP] = stack.pointer(cpu.gpr[regs::RSP]);
    Ok(())
}

/// POPA: the stack pointer's word is skipped. What was popped before a fault stays, as on silicon.
fn popa(cpu: &mut Cpu, op: &Op) -> Result<(), Trap> {
    for (at, register) in (0..8u8).zip((0..8u8).rev()) {
        let word = cpu.stack_word(u64::from(at) * u64::from(op.aux), op.aux)?;
        if usize::from(register) != regs::RSP {
            cpu.set_register(register * 8, op.aux, word);
        }
    }
    cpu.gpr[regs::RSP] = cpu.stack_moved(8 * u64::from(op.aux));
    Ok(())
}

/// ENTER (SDM Vol. 2A): `imm` is size | level << 16.
fn enter_frame(cpu: &mut Cpu, op: &Op) -> Result<(), Trap> {
    let before = cpu.gpr[regs::RSP];
    let entered = build_frame(cpu, op);
    if entered.is_err() {
        cpu.gpr[regs::RSP] = before;
    }
    entered
}

fn build_frame(cpu: &mut Cpu, op: &Op) -> Result<(), Trap> {
    let (bytes, level) = (u64::from(op.aux), (op.imm >> 16) & 31);
    let (segment, user) = (cpu.seg[regs::SS], cpu.user);
    let mut bp = cpu.gpr[regs::RBP];
    cpu.push(bp, op.aux)?;
    let frame = cpu.gpr[regs::RSP];
    for _ in 1..level {
        bp = bp.wrapping_sub(bytes);
        let offset = if cpu.is_long() { bp } else { truncated(bp, segment.stack_bytes()) };
        let at = cpu.linear(regs::SS, offset, bytes, Access::Read)?;
        let outer = cpu.load_bytes(at, op.aux)?;
        cpu.push(outer, op.aux)?;
    }
    if level > 0 {
        cpu.push(frame, op.aux)?;
    }
    cpu.gpr[regs::RSP] = cpu.stack_moved((op.imm & 0xffff).wrapping_neg());
    // The new stack top must be writable, or the instruction faults as a whole.
    let top = if cpu.is_long() { cpu.gpr[regs::RSP] } else { truncated(cpu.gpr[regs::RSP], segment.stack_bytes()) };
    let at = cpu.linear(regs::SS, top, bytes, Access::Write)?;
    cpu.probe_write(at, bytes, user)?;
    cpu.set_register((regs::RBP * 8) as u8, op.aux, frame);
    Ok(())
}

impl Cpu {
    /// RFLAGS as the guest sees it.
    pub(crate) fn rflags_all(&self) -> u64 {
        self.rflags | self.flags.get() | flags::FIXED
    }

    /// Sets all of RFLAGS. Block chains must be left afterwards: IF and AC change what the run loop does.
    pub(crate) fn set_rflags_all(&mut self, value: u64) {
        self.flags = Lazy::explicit(value & flags::ARITH);
        self.rflags = value & flags::KNOWN & !(flags::ARITH | flags::FIXED);
        self.mode_changed();
    }
}
