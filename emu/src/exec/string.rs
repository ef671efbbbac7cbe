//! MOVS CMPS STOS LODS SCAS INS OUTS, with REP (SDM Vol. 2B, REP).
//!
//! A step does at least one iteration or faults having done none. A REP that stops in the middle leaves its registers
//! at the iterations done. `Cpu::steps` counts them, so that each has a position of its own. Whatever the run loop would do
//! in the middle of a REP it must do whether or not the machine is told to stop there: so a REP goes back to it by itself
//! after an iteration that may give it something to do, and is fetched anew after one that may have changed it.

use super::system::operands;
use super::{Bound, push_slow};
use crate::block::Builder;
use crate::cpu::Cpu;
use crate::cpu::fault::{Fault, Trap};
use crate::cpu::flags::{self, Lazy};
use crate::cpu::mode::truncated;
use crate::cpu::regs::{ES, RAX, RCX, RDI, RDX, RSI};
use crate::decode::{Insn, Operation as O, Rep};
use crate::engine::{passing_handler, slow_handler};
use crate::mem::{Access, PAGE_BYTES, PAGE_MASK, is_canonical};
use crate::op::{Handler, Op};
use crate::width::{Width, by_width};

/// Bits of `Op::imm`.
const REP: u64 = 1;
/// F2, not F3.
const NE: u64 = 2;
/// Where the bytes of an address stand.
const ADDRESS_SHIFT: u32 = 8;

/// Binds a string instruction: log2 of the element size in `scale`, the source's segment in `src`.
pub(crate) fn bind(i: &Insn, b: &mut Builder) -> Bound {
    let f: Handler = match i.operation {
        O::Movs | O::MovsdOrSse => passing_handler!(movs),
        O::Cmps | O::CmpsdOrSse => slow_handler!(cmps),
        O::Stos => passing_handler!(stos),
        O::Lods => slow_handler!(lods),
        O::Scas => slow_handler!(scas),
        O::Ins => slow_handler!(ins),
        _ => slow_handler!(outs),
    };
    let rep = match i.rep {
        Rep::None => 0,
        Rep::Equal => REP,
        Rep::NotEqual => REP | NE,
    };
    let imm = rep | u64::from(i.address_width) << ADDRESS_SHIFT;
    let op = Op { imm, scale: i.mem_width.trailing_zeros() as u8, src: i.mem.seg, ..operands(i, b) };
    push_slow(f, op, b)
}

/// What a step did: iterations, and whether the REP ends with them.
struct Done {
    iterations: u64,
    ends: bool,
}

impl Done {
    fn more(iterations: u64) -> Self {
        Self { iterations, ends: false }
    }
}

/// One step of at most that many iterations.
type Step = fn(&mut Cpu, &Op, u64) -> Result<Done, Trap>;

fn repeat(cpu: &mut Cpu, op: &Op, step: Step) -> Result<(), Trap> {
    if op.imm & REP == 0 {
        return step(cpu, op, 1).map(|_| ());
    }
    // Flags change only when the instruction is done (as silicon does it): what a fault or a stop in the middle shows
    // does not depend on where the machine has stopped before.
    let flags = cpu.flags;
    let result = iterate(cpu, op, step);
    if result.is_err() {
        cpu.flags = flags;
    }
    result
}

fn iterate(cpu: &mut Cpu, op: &Op, step: Step) -> Result<(), Trap> {
    cpu.refetch = false;
    // Silicon zero-extends ECX even if nothing is done.
    settle(cpu, op, RCX);
    loop {
        let count = masked(op, cpu.gpr[RCX]);
        if count == 0 {
            break;
        }
        if cpu.steps >= cpu.steps_limit || cpu.door_break || cpu.refetch {
            return Err(Trap::Rep);
        }
        let done = step(cpu, op, count.min(cpu.steps_limit - cpu.steps))?;
        set(cpu, op, RCX, count - done.iterations);
        cpu.steps += done.iterations;
        if done.ends {
            break;
        }
    }
    cpu.steps = 0;
    Ok(())
}

fn address_bytes(op: &Op) -> u8 {
    (op.imm >> ADDRESS_SHIFT) as u8
}

/// A register as the address size sees it.
fn masked(op: &Op, value: u64) -> u64 {
    truncated(value, address_bytes(op))
}

/// Writes it.
fn set(cpu: &mut Cpu, op: &Op, register: usize, value: u64) {
    cpu.set_register((register * 8) as u8, address_bytes(op), value);
}

/// Makes it what the address size sees of it.
fn settle(cpu: &mut Cpu, op: &Op, register: usize) {
    let value = cpu.gpr[register];
    set(cpu, op, register, value);
}

fn size(op: &Op) -> u64 {
    1 << op.scale
}

/// Linear address of the source, RSI: `elements` of it.
fn source(cpu: &Cpu, op: &Op, elements: u64) -> Result<u64, Trap> {
    cpu.linear(op.src.into(), masked(op, cpu.gpr[RSI]), elements << op.scale, Access::Read)
}

/// Linear address of the destination, RDI.
fn destination(cpu: &Cpu, op: &Op, elements: u64, access: Access) -> Result<u64, Trap> {
    cpu.linear(ES, masked(op, cpu.gpr[RDI]), elements << op.scale, access)
}

/// Moves RSI or RDI by that many elements.
fn advance(cpu: &mut Cpu, op: &Op, register: usize, elements: u64) {
    let bytes = elements << op.scale;
    let value = cpu.gpr[register];
    let moved = if cpu.rflags & flags::DF != 0 { value.wrapping_sub(bytes) } else { value.wrapping_add(bytes) };
    set(cpu, op, register, moved);
}

/// How many of `most` elements `register` reaches as one piece: upward, in a page, without wrapping, in its segment, without
/// alignment checks. 0: one element after the other.
fn piece(cpu: &Cpu, op: &Op, register: usize, most: u64) -> u64 {
    let offset = masked(op, cpu.gpr[register]);
    let segment = if register == RSI { op.src.into() } else { ES };
    if cpu.rflags & flags::DF != 0 || cpu.checked() {
        return 0;
    }
    let Ok(linear) = cpu.linear(segment, offset, 1, Access::Read) else { return 0 };
    let unwrapped = (masked(op, u64::MAX) - offset) >> op.scale;
    let n = most.min(room(op, linear)).min(unwrapped);
    match n > 0 && cpu.linear(segment, offset, n << op.scale, Access::Read).is_ok() {
        true => n,
        false => 0,
    }
}

/// Elements from `addr` to the end of its page.
fn room(op: &Op, addr: u64) -> u64 {
    (PAGE_BYTES as u64 - (addr & PAGE_MASK)) >> op.scale
}

/// Physical address of RAM at `addr`; `None` for a device.
fn ram(cpu: &mut Cpu, addr: u64, kind: Access) -> Result<Option<u64>, Trap> {
    if !is_canonical(addr) {
        return Err(Fault::GP0.into());
    }
    let phys = cpu.page(addr, kind)?;
    Ok(cpu.mem.is_ram(phys, 1).then_some(phys))
}

fn movs(cpu: &mut Cpu, op: &Op) -> Result<(), Trap> {
    if op.imm & REP != 0 {
        // Silicon zero-extends ESI and EDI, too, whatever comes of it (unlike in the other string instructions).
        settle(cpu, op, RSI);
        settle(cpu, op, RDI);
    }
    repeat(cpu, op, movs_step)
}

fn movs_step(cpu: &mut Cpu, op: &Op, most: u64) -> Result<Done, Trap> {
    let n = move_piece(cpu, op, most)?;
    if n == 0 {
        let from = source(cpu, op, 1)?;
        let value = cpu.load_bytes(from, 1 << op.scale)?;
        let to = destination(cpu, op, 1, Access::Write)?;
        cpu.store(to, value, 1 << op.scale, cpu.user)?;
    }
    let n = n.max(1);
    advance(cpu, op, RSI, n);
    advance(cpu, op, RDI, n);
    Ok(Done::more(n))
}

/// Moves elements as far as both pages go; 0 if that is not possible.
fn move_piece(cpu: &mut Cpu, op: &Op, most: u64) -> Result<u64, Trap> {
    let mut n = piece(cpu, op, RSI, most);
    n = piece(cpu, op, RDI, n);
    if n == 0 {
        return Ok(0);
    }
    let (from, to) = (source(cpu, op, n)?, destination(cpu, op, n, Access::Write)?);
    let (Some(from), Some(to)) = (ram(cpu, from, Access::Read)?, ram(cpu, to, Access::Write)?) else { return Ok(0) };
    // A destination just above the source repeats what lies between, element by element.
    if to > from {
        n = n.min((to - from) >> op.scale);
    }
    if n == 0 || !cpu.clear_way(to, n << op.scale) {
        return Ok(0);
    }
    cpu.mem.copy(from, to, n << op.scale);
    Ok(n)
}

fn stos(cpu: &mut Cpu, op: &Op) -> Result<(), Trap> {
    if op.imm & REP != 0 {
        settle(cpu, op, RDI); // as in MOVS
    }
    repeat(cpu, op, stos_step)
}

fn stos_step(cpu: &mut Cpu, op: &Op, most: u64) -> Result<Done, Trap> {
    let mut n = piece(cpu, op, RDI, most);
    let to = destination(cpu, op, n.max(1), Access::Write)?;
    if n > 0 {
        match ram(cpu, to, Access::Write)? {
            Some(phys) if cpu.clear_way(phys, n << op.scale) => {
                let value = cpu.gpr[RAX].to_le_bytes();
                cpu.mem.fill(phys, n << op.scale, &value[..1 << op.scale]);
            }
            _ => n = 0,
        }
    }
    if n == 0 {
        cpu.store(to, cpu.gpr[RAX], 1 << op.scale, cpu.user)?;
    }
    advance(cpu, op, RDI, n.max(1));
    Ok(Done::more(n.max(1)))
}

fn lods(cpu: &mut Cpu, op: &Op) -> Result<(), Trap> {
    repeat(cpu, op, |cpu, op, _| {
        let at = source(cpu, op, 1)?;
        let value = cpu.load_bytes(at, 1 << op.scale)?;
        cpu.set_register((RAX * 8) as u8, 1 << op.scale, value);
        advance(cpu, op, RSI, 1);
        Ok(Done::more(1))
    })
}

/// Compares elements of `left` and `right` (both as long) until REPE or REPNE says stop; flags are those of the last.
fn compare<T: Width>(op: &Op, pairs: impl Iterator<Item = (T, T)>) -> (Done, Lazy) {
    let until_equal = op.imm & NE != 0;
    let mut done = Done::more(0);
    let mut last = Lazy::explicit(0);
    for (a, b) in pairs {
        done.iterations += 1;
        if (a == b) == until_equal {
            done.ends = true;
            last = Lazy::sub(a, b);
            break;
        }
        last = Lazy::sub(a, b);
    }
    (done, last)
}

fn elements<T: Width>(bytes: &[u8]) -> impl Iterator<Item = T> {
    let word = |chunk: &[u8]| chunk.iter().rev().fold(0, |word, &b| word << 8 | u64::from(b));
    bytes.chunks_exact(T::SIZE as usize).map(move |chunk| T::low(word(chunk)))
}

fn scas(cpu: &mut Cpu, op: &Op) -> Result<(), Trap> {
    repeat(cpu, op, |cpu, op, most| by_width!(size(op), T => scas_step::<T>(cpu, op, most)))
}

fn scas_step<T: Width>(cpu: &mut Cpu, op: &Op, most: u64) -> Result<Done, Trap> {
    let wanted = T::low(cpu.gpr[RAX]);
    let n = piece(cpu, op, RDI, most);
    let at = destination(cpu, op, n.max(1), Access::Read)?;
    let piece = if n > 0 { ram(cpu, at, Access::Read)? } else { None };
    let (done, last) = match piece.and_then(|phys| cpu.mem.slice(phys, (n << op.scale) as usize)) {
        Some(bytes) => compare::<T>(op, elements(bytes).map(|b| (wanted, b))),
        None => {
            let value = T::low(cpu.load_bytes(at, T::SIZE as u8)?);
            compare(op, [(wanted, value)].into_iter())
        }
    };
    cpu.flags = last;
    advance(cpu, op, RDI, done.iterations);
    Ok(done)
}

fn cmps(cpu: &mut Cpu, op: &Op) -> Result<(), Trap> {
    repeat(cpu, op, |cpu, op, most| by_width!(size(op), T => cmps_step::<T>(cpu, op, most)))
}

fn cmps_step<T: Width>(cpu: &mut Cpu, op: &Op, most: u64) -> Result<Done, Trap> {
    let n = piece(cpu, op, RDI, piece(cpu, op, RSI, most));
    let pieces = match n {
        0 => None,
        _ => {
            let (left, right) = (source(cpu, op, n)?, destination(cpu, op, n, Access::Read)?);
            // A fault of the destination comes first.
            let right = ram(cpu, right, Access::Read)?;
            ram(cpu, left, Access::Read)?.zip(right)
        }
    };
    let slice = |phys| cpu.mem.slice(phys, (n << op.scale) as usize);
    let (done, last) = match pieces.and_then(|(a, b)| slice(a).zip(slice(b))) {
        Some((a, b)) => compare::<T>(op, elements(a).zip(elements(b))),
        None => {
            let right = destination(cpu, op, 1, Access::Read)?;
            let b = T::low(cpu.load_bytes(right, T::SIZE as u8)?);
            let left = source(cpu, op, 1)?;
            let a = T::low(cpu.load_bytes(left, T::SIZE as u8)?);
            compare(op, [(a, b)].into_iter())
        }
    };
    cpu.flags = last;
    advance(cpu, op, RSI, done.iterations);
    advance(cpu, op, RDI, done.iterations);
    Ok(done)
}

/// What INS and OUTS begin with: the right to use the port is checked even if RCX is 0. A port may raise or let through
/// an interrupt: the run loop must look after each iteration.
fn one_at_a_time(cpu: &mut Cpu, op: &Op) -> Result<(), Trap> {
    cpu.check_port(cpu.gpr[RDX] as u16, 1 << op.scale)?;
    cpu.steps_limit = cpu.steps_limit.min(cpu.steps + 1);
    Ok(())
}

/// INS: the destination is checked before the port is read, which may have an effect.
fn ins(cpu: &mut Cpu, op: &Op) -> Result<(), Trap> {
    one_at_a_time(cpu, op)?;
    repeat(cpu, op, |cpu, op, _| {
        let (port, bytes) = (cpu.gpr[RDX] as u16, 1 << op.scale);
        let to = destination(cpu, op, 1, Access::Write)?;
        cpu.probe_write(to, bytes.into(), cpu.user)?;
        let value = cpu.port_read(port, bytes)?;
        cpu.store(to, value.into(), bytes.into(), cpu.user)?;
        advance(cpu, op, RDI, 1);
        Ok(Done::more(1))
    })
}

fn outs(cpu: &mut Cpu, op: &Op) -> Result<(), Trap> {
    one_at_a_time(cpu, op)?;
    repeat(cpu, op, |cpu, op, _| {
        let (port, bytes) = (cpu.gpr[RDX] as u16, 1 << op.scale);
        let from = source(cpu, op, 1)?;
        let value = cpu.load_bytes(from, bytes)?;
        cpu.port_write(port, bytes, value as u32)?;
        advance(cpu, op, RSI, 1);
        Ok(Done::more(1))
    })
}
