//! Random programs: some hundred instructions in a loop, with memory operands in the window and a stack.

use iced_x86::{Encoder, Instruction, InstructionInfoFactory, Mnemonic, OpAccess, OpKind, Register};

use crate::case::{Case, Cpu, FIXED, Patch, STATUS};
use crate::encode;
use crate::forms::{Form, Prefix, forms};
use crate::layout::{DATA, DATA_LEN, START};
use crate::rng::Rng;

/// Families whose instructions can follow each other in any order.
const FAMILIES: [&str; 10] = ["arith", "logic", "shift", "muldiv", "bits", "bmi", "setcc", "cmov", "mov", "flags"];
/// Where the loop counter lies.
const COUNTER: u64 = DATA + DATA_LEN - 16;

/// The forms that random programs are made of.
#[must_use]
pub fn usable_forms() -> Vec<Form> {
    let all = FAMILIES.iter().flat_map(|family| forms(Some(family)));
    let faults = |form: &Form| {
        let division = matches!(form.code.mnemonic(), Mnemonic::Div | Mnemonic::Idiv);
        division || form.prefix == Prefix::Lock && !form.memory
    };
    all.filter(|form| !faults(form)).collect()
}

/// A program of about `len` instructions that goes round `rounds` times.
///
/// # Panics
/// If the instructions do not fit the code region: a bug of the caller.
#[must_use]
pub fn program(usable: &[Form], len: usize, rounds: u8, rng: &mut Rng) -> Case {
    let mut code = Vec::new();
    while code.len() < len * 5 {
        if rng.one_in(12) {
            branch_over(usable, rng, &mut code);
        } else if let Some(bytes) = instruction(rng.pick(usable), START + code.len() as u64, rng) {
            code.extend(bytes);
        }
    }
    // dec byte [COUNTER]; jnz START
    code.extend([0xfe, 0x0c, 0x25]);
    code.extend((COUNTER & 0xffff_ffff).to_le_bytes().iter().take(4));
    let back = START.wrapping_sub(START + code.len() as u64 + 6);
    code.extend([0x0f, 0x85]);
    code.extend(back.to_le_bytes().iter().take(4));
    assert!(START + code.len() as u64 <= crate::layout::CODE + crate::layout::CODE_LEN, "program too long");

    let mut cpu = Cpu::background(START);
    cpu.gpr.fill_with(|| rng.operand());
    cpu.gpr[4] = DATA + DATA_LEN / 2;
    cpu.rflags = FIXED | rng.draw() & STATUS;
    let data = Patch { at: DATA, bytes: rng.bytes(usize::try_from(DATA_LEN).unwrap_or(0)) };
    Case { code, cpu, memory: vec![data, Patch { at: COUNTER, bytes: vec![rounds] }] }
}

/// A conditional branch over one instruction.
fn branch_over(usable: &[Form], rng: &mut Rng, code: &mut Vec<u8>) {
    if let Some(bytes) = instruction(rng.pick(usable), START + code.len() as u64 + 2, rng)
        && let Ok(len) = u8::try_from(bytes.len())
    {
        code.extend([0x70 + u8::try_from(rng.below(16)).unwrap_or(0), len]);
        code.extend(bytes);
    }
}

/// One instruction that neither moves RSP nor addresses memory outside the window.
fn instruction(form: Form, at: u64, rng: &mut Rng) -> Option<Vec<u8>> {
    let mut instruction = encode::operands(form, rng)?;
    let size = instruction.memory_size().size() as u64;
    if instruction.op_kinds().any(|kind| kind == OpKind::Memory) {
        if instruction.memory_index() == Register::AL || instruction.is_stack_instruction() {
            return None;
        }
        // Locked ones within a cache line.
        let room = (COUNTER - DATA) / 64;
        instruction.set_memory_displacement64(DATA + rng.below(room) * 64 + rng.below(64 - size));
        match instruction.code().op_code().op_kinds().contains(&iced_x86::OpCodeOperandKind::mem_offs) {
            true => instruction.set_memory_displ_size(8),
            false if rng.one_in(2) => instruction.set_memory_displ_size(4),
            false => {
                instruction.set_memory_displ_size(4);
                instruction.set_memory_base(Register::RIP);
            }
        }
    }
    // Bit strings reach out of the window.
    let bit_string = form.family == "bits" && form.memory && instruction.op1_kind() == OpKind::Register;
    if bit_string || writes_rsp(&instruction) {
        return None;
    }
    let mut encoder = Encoder::new(64);
    encoder.encode(&instruction, at).ok()?;
    Some(encoder.take_buffer())
}

fn writes_rsp(instruction: &Instruction) -> bool {
    let mut factory = InstructionInfoFactory::new();
    let used = factory.info(instruction).used_registers();
    used.iter().any(|u| u.register().full_register() == Register::RSP && u.access() != OpAccess::Read)
}
