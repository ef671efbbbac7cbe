//! VMASKMOV and the gathers: plain functions on the CPU, because they make an access for each element.

use super::avx_is_on;
use crate::block::Builder;
use crate::cpu::fault::{Fault, Trap};
use crate::cpu::mode::truncated;
use crate::cpu::regs::cr0;
use crate::cpu::{Cpu, offset};
use crate::decode::{Insn, Operand};
use crate::engine::slow_handler;
use crate::exec::operand::push_offset;
use crate::exec::system::segment;
use crate::exec::{Bound, Unsupported, push_slow};
use crate::mem::Access;
use crate::op::Op;

/// How many elements of how many bytes, by indices of how many bytes; and what their addresses need. In `Op::imm`.
struct Layout {
    count: usize,
    bytes: usize,
    index_bytes: usize,
    address_bytes: usize,
    register_bytes: usize,
}

impl Layout {
    fn encode(&self) -> u64 {
        let Self { count, bytes, index_bytes, address_bytes, register_bytes } = *self;
        let all = [count, bytes, index_bytes, address_bytes, register_bytes, 0, 0, 0];
        u64::from_le_bytes(all.map(|n| n as u8))
    }

    fn of(op: &Op) -> Self {
        let [count, bytes, index_bytes, address_bytes, register_bytes, ..] = op.imm.to_le_bytes().map(usize::from);
        Self { count, bytes, index_bytes, address_bytes, register_bytes }
    }

    /// Where element `n` stands in a register.
    fn place(&self, n: usize) -> std::ops::Range<usize> {
        n * self.bytes..(n + 1) * self.bytes
    }

    /// Whether element `n` of the mask has its top bit set.
    fn is_chosen(&self, mask: &[u8; 32], n: usize) -> bool {
        mask[n * self.bytes + self.bytes - 1] & 0x80 != 0
    }

    /// Linear address of the element `distance` from the operand's offset.
    fn address(&self, cpu: &Cpu, op: &Op, distance: u64, kind: Access) -> Result<u64, Trap> {
        let offset = truncated(cpu.tmp.wrapping_add(distance), self.address_bytes as u8);
        cpu.linear(segment(op), offset, self.bytes as u64, kind)
    }
}

fn available(cpu: &Cpu) -> Result<(), Trap> {
    if !avx_is_on(cpu) {
        return Err(Fault::UD.into());
    }
    if cpu.cr0 & cr0::TS != 0 { Err(Fault::NM.into()) } else { Ok(()) }
}

/// A vector register as bytes.
fn register(cpu: &Cpu, at: u8) -> [u8; 32] {
    let mut bytes = [0; 32];
    for (to, word) in bytes.chunks_exact_mut(8).zip(cpu.ymm[usize::from(at / 4) % 16].iter().flatten()) {
        to.copy_from_slice(&word.to_le_bytes());
    }
    bytes
}

fn set_register(cpu: &mut Cpu, at: u8, bytes: &[u8; 32]) {
    for (word, from) in cpu.ymm[usize::from(at / 4) % 16].iter_mut().flatten().zip(bytes.chunks_exact(8)) {
        *word = word_at(from);
    }
}

/// Up to eight bytes, zero-extended.
fn word_at(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |word, &b| word << 8 | u64::from(b))
}

/// The op of `i`, with its memory operand as in `exec::system::operands`.
fn operands(i: &Insn, b: &mut Builder) -> Op {
    push_offset(&i.mem, b);
    Op { base: offset::TMP, access: i.mem.seg, ..Builder::blank() }
}

fn vector(o: Operand) -> Option<u8> {
    if let Operand::Xmm(n) | Operand::Ymm(n) = o { Some(n) } else { None }
}

/// VMASKMOVPS and its like, of elements of so many bytes.
pub(super) fn masked_move(bytes: usize, i: &Insn, b: &mut Builder) -> Bound {
    let register_bytes = if i.uses_ymm() { 32 } else { 16 };
    let count = register_bytes / bytes;
    let address_bytes = i.mem.bytes.into();
    let imm = Layout { count, bytes, index_bytes: 0, address_bytes, register_bytes }.encode();
    let op = Op { imm, ..operands(i, b) };
    match i.operands {
        [Operand::Mem, mask, data, _] => {
            let (Some(mask), Some(data)) = (vector(mask), vector(data)) else { return Err(Unsupported) };
            push_slow(slow_handler!(masked_store), Op { aux: mask, src: data, ..op }, b)
        }
        [to, mask, Operand::Mem, _] => {
            let (Some(to), Some(mask)) = (vector(to), vector(mask)) else { return Err(Unsupported) };
            push_slow(slow_handler!(masked_load), Op { aux: mask, dst: to, ..op }, b)
        }
        _ => Err(Unsupported),
    }
}

/// The chosen elements of the memory operand: places in the register, and addresses.
fn chosen(cpu: &mut Cpu, op: &Op, kind: Access) -> Result<Vec<(std::ops::Range<usize>, u64)>, Trap> {
    let (mask, layout) = (register(cpu, op.aux), Layout::of(op));
    let at = |n: usize| layout.address(cpu, op, (n * layout.bytes) as u64, kind);
    let chosen = (0..layout.count).filter(|n| layout.is_chosen(&mask, *n));
    chosen.map(|n| Ok((layout.place(n), at(n)?))).collect()
}

/// SDM Vol. 2C, VMASKMOV: elements that are not chosen are zeros, and cannot fault.
fn masked_load(cpu: &mut Cpu, op: &Op) -> Result<(), Trap> {
    available(cpu)?;
    let mut out = [0; 32];
    for (place, at) in chosen(cpu, op, Access::Read)? {
        cpu.read_linear(at, &mut out[place], cpu.user)?;
    }
    set_register(cpu, op.dst, &out);
    Ok(())
}

/// Likewise: writes all of the chosen elements, or none.
fn masked_store(cpu: &mut Cpu, op: &Op) -> Result<(), Trap> {
    available(cpu)?;
    let chosen = chosen(cpu, op, Access::Write)?;
    for (place, at) in &chosen {
        cpu.probe_write(*at, place.len() as u64, cpu.user)?;
    }
    let data = register(cpu, op.src);
    chosen.into_iter().try_for_each(|(place, at)| cpu.write_linear(at, &data[place], cpu.user))
}

/// Gathers of elements of so many bytes by indices of so many bytes.
pub(super) fn gather(index_bytes: usize, bytes: usize, i: &Insn, b: &mut Builder) -> Bound {
    let [to, Operand::Mem, mask, _] = i.operands else { return Err(Unsupported) };
    let (Some(dst), Some(aux), Some((src, vector_bytes))) = (vector(to), vector(mask), i.mem.vector) else {
        return Err(Unsupported);
    };
    let data_bytes = if matches!(to, Operand::Ymm(_)) { 32 } else { 16 };
    let count = (data_bytes / bytes).min(usize::from(vector_bytes) / index_bytes);
    let register_bytes = data_bytes.max(vector_bytes.into());
    let address_bytes = i.mem.bytes.into();
    let imm = Layout { count, bytes, index_bytes, address_bytes, register_bytes }.encode();
    let op = Op { dst, aux, src, imm, scale: i.mem.scale, ..operands(i, b) };
    push_slow(slow_handler!(gather_elements), op, b)
}

/// SDM Vol. 2C, VPGATHERDD: element by element from the lowest. Each that is done leaves the mask, so that the instruction
/// goes on where a fault has stopped it. A debug trap that is owed for what is done comes in place of the fault.
fn gather_elements(cpu: &mut Cpu, op: &Op) -> Result<(), Trap> {
    available(cpu)?;
    let layout = Layout::of(op);
    let (index, old, mut out) = (register(cpu, op.src), register(cpu, op.aux), register(cpu, op.dst));
    // Before anything else each element of the mask becomes all ones or all zeros.
    let mut mask = [0; 32];
    for n in (0..layout.register_bytes / layout.bytes).filter(|n| layout.is_chosen(&old, *n)) {
        mask[layout.place(n)].fill(0xff);
    }
    let (pending, mut gathered, mut hit) = (cpu.debug_pending, false, cpu.debug_pending);
    for n in 0..layout.count {
        let place = layout.place(n);
        if layout.is_chosen(&mask, n) {
            let distance = scaled(&index[n * layout.index_bytes..][..layout.index_bytes], op.scale);
            let at = layout.address(cpu, op, distance, Access::Read);
            let read = at.and_then(|at| cpu.read_linear(at, &mut out[place.clone()], cpu.user));
            if let Err(trap) = read {
                set_register(cpu, op.aux, &mask);
                set_register(cpu, op.dst, &out);
                if gathered && cpu.single && (cpu.stepping || hit != pending) {
                    cpu.debug_pending = hit;
                    cpu.steps += 1;
                    return Err(Trap::Rep);
                }
                return Err(trap);
            }
            out[layout.register_bytes..].fill(0);
            (gathered, hit) = (true, cpu.debug_pending);
        }
        mask[place].fill(0);
    }
    out[layout.count * layout.bytes..].fill(0);
    set_register(cpu, op.aux, &[0; 32]);
    set_register(cpu, op.dst, &out);
    Ok(())
}

/// An index, which is signed, times the scale.
fn scaled(index: &[u8], scale: u8) -> u64 {
    let sign = 64 - 8 * index.len() as u32;
    (((word_at(index) << sign) as i64 >> sign) as u64) << scale
}
