//! JMP CALL RET Jcc LOOPcc JRCXZ, and compare-and-branch as one op.

use super::mov::by_condition;
use super::operand::{Form, ea, flags, form, operands, read, test};
use super::stack::{Narrow, Pointer, Wide, by_stack_width};
use super::{Bound, Unsupported, mov, near, push_slow, system};
use crate::block::Builder;
use crate::cpu::fault::Trap;
use crate::cpu::flags::{IF, Lazy, TF, ZF, holds_logic, holds_sub};
use crate::cpu::mode::Mode;
use crate::cpu::{Cpu, Exit, RETURNS, offset, regs};
use crate::decode::{Insn, Operand, Operation};
use crate::engine::{enter, follow, general_protection, go, jump, leave_before, slow_handler};
use crate::mem::{Prepared, is_canonical, tlb_read, tlb_write};
use crate::op::{FALL, Handler, Links, Op, TAKEN, access};
use crate::width::{Width, by_width};

/// `Op::aux` of an indirect call.
const INDIRECT: u8 = 1;

/// Adds the ops of an indirect jump or call: `by_register` and `by_memory` take the target from there. An instruction that
/// runs alone may have to bounce its operand, which an op that leaves its block cannot: the target is loaded first then.
fn push_indirect(i: &Insn, b: &mut Builder, by_register: Handler, by_memory: Handler, imm: u64) -> Bound {
    match i.operands[0] {
        Operand::Reg(src) => b.push(Op { f: by_register, src, imm, aux: INDIRECT, ..Builder::blank() }),
        Operand::Mem => {
            let op = super::operand::mem_op(i, b, access::READ, i.mem_width);
            if b.is_single() {
                let load: Handler = by_width!(i.mem_width, T => mov::mov_rm::<T>);
                b.push(Op { f: load, dst: offset::TMP, ..op });
                b.push(Op { f: by_register, src: offset::TMP, imm, aux: INDIRECT, ..Builder::blank() });
            } else {
                b.push(Op { f: by_memory, imm, aux: INDIRECT, access: op.access | access::LEAVES, ..op });
            }
        }
        _ => return Err(Unsupported),
    }
    Ok(())
}

/// Whether a near branch is one of the fast path: as wide as the mode, and nothing to check it against.
fn is_plain(i: &Insn, b: &Builder) -> bool {
    match b.mode() {
        Mode::Long => true,
        Mode::Flat => i.width == 4,
        Mode::Segmented32 | Mode::Segmented16 => false,
    }
}

/// The target of an indirect jump or call.
macro_rules! target {
    ($T:ty, $MEM:expr, $cpu:expr, $op:expr, $budget:expr) => {
        if $MEM { read!($T, $cpu, $op, $budget, ea($cpu, $op)) } else { <$T>::get($cpu, (*$op).src) }.zx()
    };
}

/// JMP.
pub(crate) fn jmp(i: &Insn, b: &mut Builder) -> Bound {
    if i.is_far() {
        return system::bind(i, b);
    }
    if i.operands[0] == Operand::Branch(i.end_off() - i64::from(i.len)) {
        return push_slow(slow_handler!(jump_to_itself), Builder::blank(), b);
    }
    if !is_plain(i, b) {
        return near::jmp(i, b);
    }
    if let Operand::Branch(target) = i.operands[0] {
        b.push(Op { f: crate::engine::fall_through, ..Builder::blank() });
        b.end_with_links(target, target);
        return Ok(());
    }
    match b.mode() {
        Mode::Long => push_indirect(i, b, jmp_to::<u64, false>, jmp_to::<u64, true>, 0)?,
        _ => push_indirect(i, b, jmp_to::<u32, false>, jmp_to::<u32, true>, 0)?,
    }
    b.end();
    Ok(())
}

/// JMP to itself: with interrupts off and nothing that could trap there, the end, as HLT would be. Only an NMI is another way on.
fn jump_to_itself(cpu: &mut Cpu, op: &Op) -> Result<(), Trap> {
    cpu.rip = cpu.rip.wrapping_sub(op.len.into()) & cpu.ip_mask;
    cpu.halted = cpu.rflags & (IF | TF) == 0 && !cpu.has_breakpoints();
    Ok(())
}

unsafe fn jmp_to<T: Width, const MEM: bool>(cpu: *mut Cpu, op: *const Op, budget: i64) -> i64 {
    // SAFETY: called by the engine.
    unsafe {
        let target = target!(T, MEM, cpu, op, budget);
        if !is_canonical(target) {
            return general_protection(cpu, op, budget);
        }
        jump!(cpu, target, budget)
    }
}

/// CALL. The links' fall side is where it returns to; `Op::access` is that of the push.
pub(crate) fn call(i: &Insn, b: &mut Builder) -> Bound {
    let back = i.end_off();
    if i.is_far() {
        return system::bind(i, b);
    }
    if !is_plain(i, b) {
        return near::call(i, b);
    }
    if let Operand::Branch(target) = i.operands[0] {
        let f: Handler = by_stack_width!(i.width, b, T, P => call_near::<T, P>);
        b.push(Op { f, imm: back as u64, ..Builder::blank() });
        b.end_with_links(target, back);
        return Ok(());
    }
    let (by_register, by_memory): (Handler, Handler) =
        by_stack_width!(i.width, b, T, P => (call_to::<T, P, false>, call_to::<T, P, true>));
    push_indirect(i, b, by_register, by_memory, back as u64)?;
    b.end_with_links(back, back);
    Ok(())
}

unsafe fn call_near<T: Width, P: Pointer>(cpu: *mut Cpu, op: *const Op, budget: i64) -> i64 {
    // SAFETY: called by the engine.
    unsafe {
        let sp = P::moved((*cpu).gpr[regs::RSP], T::SIZE.wrapping_neg());
        let back = (*cpu).rip.wrapping_add((*op).imm);
        let p = tlb_write::<T>(cpu, sp);
        if p.is_null() {
            return call_miss::<T, P>(cpu, op, budget);
        }
        p.write_unaligned(T::low(back));
        (*cpu).gpr[regs::RSP] = sp;
        (*cpu).push_return(back, Op::links(op));
        follow!(cpu, op, budget, TAKEN)
    }
}

unsafe fn call_to<T: Width, P: Pointer, const MEM: bool>(cpu: *mut Cpu, op: *const Op, budget: i64) -> i64 {
    // SAFETY: called by the engine.
    unsafe {
        let target = target!(T, MEM, cpu, op, budget);
        if !is_canonical(target) {
            return call_nowhere(cpu, op, budget);
        }
        let sp = P::moved((*cpu).gpr[regs::RSP], T::SIZE.wrapping_neg());
        let back = (*cpu).rip.wrapping_add((*op).imm);
        let p = tlb_write::<T>(cpu, sp);
        if p.is_null() {
            (*cpu).value = target;
            return call_miss::<T, P>(cpu, op, budget);
        }
        p.write_unaligned(T::low(back));
        (*cpu).gpr[regs::RSP] = sp;
        (*cpu).push_return(back, Op::links(op));
        jump!(cpu, target, budget)
    }
}

/// A CALL of a non-canonical address: silicon has written the return address when it finds out.
#[cold]
#[inline(never)]
unsafe fn call_nowhere(cpu: *mut Cpu, op: *const Op, budget: i64) -> i64 {
    // SAFETY: a handler's tail.
    unsafe {
        let sp = (*cpu).gpr[regs::RSP].wrapping_sub(8);
        match (*cpu).prepare(sp, access::WRITE | access::STACK | 3) {
            Prepared::Leave => return leave_before(cpu, op, budget),
            Prepared::Ready | Prepared::Bounce => {}
        }
        let back = (*cpu).rip.wrapping_add((*op).imm);
        if (*cpu).store_stack::<u64>(sp, back) {
            general_protection(cpu, op, budget)
        } else {
            leave_before(cpu, op, budget)
        }
    }
}

/// A CALL whose push the TLB does not answer: as `mem_miss`, but a bounced op cannot leave its block, so the push is
/// done here. An indirect call has left its target in `Cpu::value`.
#[cold]
#[inline(never)]
unsafe fn call_miss<T: Width, P: Pointer>(cpu: *mut Cpu, op: *const Op, budget: i64) -> i64 {
    // SAFETY: a handler's tail.
    unsafe {
        let sp = P::moved((*cpu).gpr[regs::RSP], T::SIZE.wrapping_neg());
        match (*cpu).prepare(sp, access::WRITE | access::STACK | T::LOG as u8) {
            // Not an indirect one: its target may be in the table entry that has just been marked.
            Prepared::Ready if (*op).aux != INDIRECT => go!(cpu, op, budget),
            Prepared::Leave => return leave_before(cpu, op, budget),
            Prepared::Ready | Prepared::Bounce => {}
        }
        let back = (*cpu).rip.wrapping_add((*op).imm);
        if !(*cpu).store_stack::<T>(sp, back) {
            return leave_before(cpu, op, budget);
        }
        let links: *const Links = Op::links(op);
        (*cpu).gpr[regs::RSP] = sp;
        (*cpu).push_return(back, links);
        let near = (*cpu).rip.wrapping_add((*links).delta[TAKEN] as u64);
        let target = if (*op).aux == INDIRECT { (*cpu).value } else { near };
        jump!(cpu, target, budget)
    }
}

/// RET, with an optional count of bytes to pop.
pub(crate) fn ret(i: &Insn, b: &mut Builder) -> Bound {
    let pop = match i.operands[0] {
        Operand::Imm(bytes) => bytes,
        _ => 0,
    };
    if !is_plain(i, b) || i.width == 2 {
        return near::ret(i, b, pop);
    }
    let imm = u64::from(i.width) + pop;
    let access = access::READ | access::STACK | i.width.trailing_zeros() as u8;
    let f: Handler = by_stack_width!(i.width, b, T, P => ret_near::<T, P>);
    b.push(Op { f, imm, access, ..Builder::blank() });
    b.end();
    Ok(())
}

unsafe fn ret_near<T: Width, P: Pointer>(cpu: *mut Cpu, op: *const Op, budget: i64) -> i64 {
    // SAFETY: called by the engine; a return entry's links live as long as the cache, and are forgotten with it.
    unsafe {
        let sp = (*cpu).gpr[regs::RSP];
        let p = tlb_read::<T>(cpu, sp);
        if p.is_null() {
            return ret_miss::<T, P>(cpu, op, budget);
        }
        let target = p.read_unaligned().zx();
        let top = (*cpu).return_top;
        let known = (&raw const (*cpu).returns).cast::<crate::cpu::Return>().add(top % RETURNS);
        if ((*known).rip ^ target) | ((*known).key ^ (*cpu).code_key) == 0 {
            (*cpu).gpr[regs::RSP] = P::moved(sp, (*op).imm);
            (*cpu).return_top = top.wrapping_sub(1);
            (*cpu).rip = target;
            enter!(cpu, (*(*known).links).to[FALL], budget)
        }
        if !is_canonical(target) {
            return general_protection(cpu, op, budget);
        }
        (*cpu).gpr[regs::RSP] = P::moved(sp, (*op).imm);
        jump!(cpu, target, budget)
    }
}

/// A RET whose pop the TLB does not answer.
#[cold]
#[inline(never)]
unsafe fn ret_miss<T: Width, P: Pointer>(cpu: *mut Cpu, op: *const Op, budget: i64) -> i64 {
    // SAFETY: a handler's tail.
    unsafe {
        let sp = (*cpu).gpr[regs::RSP];
        match (*cpu).prepare(sp, (*op).access) {
            Prepared::Ready => go!(cpu, op, budget),
            Prepared::Leave => return leave_before(cpu, op, budget),
            Prepared::Bounce => {}
        }
        if !(*cpu).load_stack::<T>(sp) {
            return leave_before(cpu, op, budget);
        }
        let target = (*cpu).value;
        if !is_canonical(target) {
            return general_protection(cpu, op, budget);
        }
        (*cpu).gpr[regs::RSP] = P::moved(sp, (*op).imm);
        jump!(cpu, target, budget)
    }
}

impl Cpu {
    /// Writes a return address the slow way; false: leave, `exit` is set.
    #[inline(never)]
    fn store_stack<T: Width>(&mut self, sp: u64, value: u64) -> bool {
        let done = self.store(sp & self.ip_mask, value, T::SIZE as usize, self.user);
        done.map_err(|trap| self.exit = Exit::Trap(trap)).is_ok()
    }

    /// Reads a return address into `value` the slow way; false: leave, `exit` is set.
    #[inline(never)]
    fn load_stack<T: Width>(&mut self, sp: u64) -> bool {
        let loaded = self.load_bytes(sp & self.ip_mask, T::SIZE as u8);
        loaded.map(|value| self.value = value).map_err(|trap| self.exit = Exit::Trap(trap)).is_ok()
    }
}

/// Jcc.
pub(crate) fn jcc(i: &Insn, b: &mut Builder) -> Bound {
    let Operand::Branch(target) = i.operands[0] else { return Err(Unsupported) };
    if !is_plain(i, b) {
        return near::jcc(i, b, target);
    }
    let f: Handler = by_condition!(i.cc, C => jcc_if::<C>);
    b.push(Op { f, ..Builder::blank() });
    b.end_with_links(target, i.end_off());
    Ok(())
}

unsafe fn jcc_if<const CC: u8>(cpu: *mut Cpu, op: *const Op, budget: i64) -> i64 {
    // SAFETY: called by the engine.
    unsafe {
        if test!(CC, cpu, op, budget) {
            follow!(cpu, op, budget, TAKEN)
        }
        // Keeps this a branch: a select would make the next block wait for guest data.
        std::hint::cold_path();
        follow!(cpu, op, budget, FALL)
    }
}

/// LOOP, LOOPE, LOOPNE and JRCXZ: count in RCX (ECX with a 32-bit address size).
pub(crate) fn count(i: &Insn, b: &mut Builder) -> Bound {
    let Operand::Branch(target) = i.operands[0] else { return Err(Unsupported) };
    if !is_plain(i, b) {
        return near::count(i, b, target);
    }
    let f: Handler = by_width!(i.address_width, T => match i.operation {
        Operation::Loop => loop_while::<T, 0>,
        Operation::Loope => loop_while::<T, 1>,
        Operation::Loopne => loop_while::<T, 2>,
        _ => loop_while::<T, 3>,
    });
    b.push(Op { f, ..Builder::blank() });
    b.end_with_links(target, i.end_off());
    Ok(())
}

/// `HOW`: 0 LOOP, 1 LOOPE, 2 LOOPNE, 3 JRCXZ.
unsafe fn loop_while<T: Width, const HOW: u8>(cpu: *mut Cpu, op: *const Op, budget: i64) -> i64 {
    // SAFETY: called by the engine.
    unsafe {
        const RCX: u8 = (regs::RCX * 8) as u8;
        let mut count = T::get(cpu, RCX);
        let taken = if HOW == 3 {
            count.zx() == 0
        } else {
            let zero = HOW != 0 && flags!(cpu, op, budget) & ZF != 0;
            count = T::low(count.zx().wrapping_sub(1));
            T::set(cpu, RCX, count);
            count.zx() != 0 && (HOW == 0 || zero == (HOW == 1))
        };
        if taken {
            follow!(cpu, op, budget, TAKEN)
        }
        std::hint::cold_path();
        follow!(cpu, op, budget, FALL)
    }
}

/// CMP or TEST followed by Jcc, as one op. False: not a pair that is worth one.
pub(crate) fn fused(first: &Insn, second: &Insn, b: &mut Builder) -> bool {
    if second.operation != Operation::Jcc || !is_plain(second, b) {
        return false;
    }
    let (Operand::Branch(target), Ok(form)) = (second.operands[0], form(first)) else { return false };
    let f: Handler = match first.operation {
        Operation::Cmp => by_width!(first.width, T => by_condition!(second.cc, C => pick::<CmpJcc, T, C>(form))),
        Operation::Test => by_width!(first.width, T => by_condition!(second.cc, C => pick::<TestJcc, T, C>(form))),
        _ => return false,
    };
    let op = operands(first, b, access::READ);
    b.push(Op { f, access: op.access | access::LEAVES, ..op });
    b.end_with_links(target, second.end_off());
    true
}

fn pick<C: Compare, T: Width, const CC: u8>(form: Form) -> Handler {
    match form {
        Form::RR => compare_rr::<C, T, CC>,
        Form::RI => compare_ri::<C, T, CC>,
        Form::RM => compare_rm::<C, T, CC>,
        Form::MR => compare_mr::<C, T, CC>,
        Form::MI => compare_mi::<C, T, CC>,
    }
}

/// The comparing half of a fused pair.
trait Compare {
    fn flags<T: Width>(a: T, b: T) -> Lazy;
    fn holds<T: Width, const CC: u8>(a: T, b: T) -> bool;
}

struct CmpJcc;
impl Compare for CmpJcc {
    #[inline(always)]
    fn flags<T: Width>(a: T, b: T) -> Lazy {
        Lazy::sub(a, b)
    }
    #[inline(always)]
    fn holds<T: Width, const CC: u8>(a: T, b: T) -> bool {
        holds_sub::<T, CC>(a, b)
    }
}

struct TestJcc;
impl Compare for TestJcc {
    #[inline(always)]
    fn flags<T: Width>(a: T, b: T) -> Lazy {
        Lazy::logic(T::low(a.zx() & b.zx()))
    }
    #[inline(always)]
    fn holds<T: Width, const CC: u8>(a: T, b: T) -> bool {
        holds_logic::<T, CC>(T::low(a.zx() & b.zx()))
    }
}

macro_rules! compare {
    ($name:ident, |$T:ident, $cpu:ident, $op:ident, $budget:ident| $a:expr, $b:expr) => {
        unsafe fn $name<C: Compare, $T: Width, const CC: u8>($cpu: *mut Cpu, $op: *const Op, $budget: i64) -> i64 {
            // SAFETY: called by the engine with the last op of a block that has links.
            unsafe {
                let (a, b) = ($a, $b);
                (*$cpu).flags = C::flags(a, b);
                if C::holds::<$T, CC>(a, b) {
                    follow!($cpu, $op, $budget, TAKEN)
                }
                std::hint::cold_path();
                follow!($cpu, $op, $budget, FALL)
            }
        }
    };
}

compare!(compare_rr, |T, cpu, op, budget| T::get(cpu, (*op).dst), T::get(cpu, (*op).src));
compare!(compare_ri, |T, cpu, op, budget| T::get(cpu, (*op).dst), T::low((*op).imm));
compare!(compare_rm, |T, cpu, op, budget| T::get(cpu, (*op).dst), read!(T, cpu, op, budget, ea(cpu, op)));
compare!(compare_mr, |T, cpu, op, budget| read!(T, cpu, op, budget, ea(cpu, op)), T::get(cpu, (*op).src));
compare!(compare_mi, |T, cpu, op, budget| read!(T, cpu, op, budget, ea(cpu, op)), T::low((*op).imm));
