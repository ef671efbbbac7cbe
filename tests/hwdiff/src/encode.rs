//! From a form to an instruction with random operands.

use iced_x86::{Encoder, Instruction, OpCodeOperandKind as Kind, OpKind, Register};

use crate::forms::{Form, Prefix};
use crate::layout::{CODE, CODE_LEN, PAGE, START};
use crate::rng::Rng;

/// A random instruction of `form`, whose memory operand (if any) is still without an address.
/// `None`: these operands do not go together (a high byte register with a REX prefix).
pub(crate) fn operands(form: Form, rng: &mut Rng) -> Option<Instruction> {
    let mut instruction = Instruction::new();
    instruction.set_code(form.code);
    let short_address = rng.one_in(6);
    for (n, &kind) in (0u32..).zip(form.code.op_code().op_kinds()) {
        let place = crate::forms::is_register_or_memory(&kind) || kind == Kind::mem || crate::forms::is_vsib(&kind);
        if form.memory && place {
            instruction.set_op_kind(n, OpKind::Memory);
            continue;
        }
        match registers(kind) {
            [] => other_operand(&mut instruction, n, kind, short_address, rng)?,
            choice => {
                instruction.set_op_kind(n, OpKind::Register);
                instruction.set_op_register(n, rng.pick(choice));
            }
        }
    }
    match form.prefix {
        Prefix::None => {}
        Prefix::Lock => instruction.set_has_lock_prefix(true),
        Prefix::Rep => instruction.set_has_rep_prefix(true),
        Prefix::Repne => instruction.set_has_repne_prefix(true),
    }
    Some(instruction)
}

/// Immediates, branch targets and implicit memory.
fn other_operand(instruction: &mut Instruction, n: u32, kind: Kind, short_address: bool, rng: &mut Rng) -> Option<()> {
    let value = rng.operand();
    let narrow = match kind {
        Kind::imm8_const_1 => 1,
        Kind::imm8 | Kind::imm8sex16 | Kind::imm8sex32 | Kind::imm8sex64 if rng.one_in(2) => rng.below(66),
        _ => value,
    };
    #[allow(clippy::cast_possible_truncation)] // an immediate of the operand's width
    let (byte, word, long) = (narrow as u8, value as u16, value as u32);
    let after_imm16 = instruction.code().op_code().op0_kind() == Kind::imm16;
    let mut set = |kind| instruction.set_op_kind(n, kind);
    match kind {
        Kind::imm8 if n == 1 && after_imm16 => {
            set(OpKind::Immediate8_2nd);
            instruction.set_immediate8_2nd(byte);
        }
        Kind::imm8 | Kind::imm8_const_1 => {
            set(OpKind::Immediate8);
            instruction.set_immediate8(byte);
        }
        Kind::imm8sex16 => {
            set(OpKind::Immediate8to16);
            instruction.set_immediate8to16(i16::from(byte as i8));
        }
        Kind::imm8sex32 => {
            set(OpKind::Immediate8to32);
            instruction.set_immediate8to32(i32::from(byte as i8));
        }
        Kind::imm8sex64 => {
            set(OpKind::Immediate8to64);
            instruction.set_immediate8to64(i64::from(byte as i8));
        }
        Kind::imm16 => {
            set(OpKind::Immediate16);
            // ENTER and RET n move RSP by this much: mostly not out of the window.
            instruction.set_immediate16(if rng.one_in(8) { word } else { word % 256 });
        }
        Kind::imm32 => {
            set(OpKind::Immediate32);
            instruction.set_immediate32(long);
        }
        Kind::imm32sex64 => {
            set(OpKind::Immediate32to64);
            instruction.set_immediate32to64(i64::from(long as i32));
        }
        Kind::imm64 => {
            set(OpKind::Immediate64);
            instruction.set_immediate64(value);
        }
        Kind::br64_1 | Kind::br32_1 | Kind::br64_4 | Kind::br32_4 | Kind::br16_1 | Kind::br16_2 => {
            set(OpKind::NearBranch64);
            // Not into the instruction itself: that might never end.
            let distance = 16 + rng.below(90);
            instruction.set_near_branch64(if rng.one_in(2) { START + distance } else { START - distance });
        }
        Kind::seg_rSI => set(if short_address { OpKind::MemorySegESI } else { OpKind::MemorySegRSI }),
        Kind::es_rDI => set(if short_address { OpKind::MemoryESEDI } else { OpKind::MemoryESRDI }),
        Kind::seg_rBX_al => {
            set(OpKind::Memory);
            instruction.set_memory_base(if short_address { Register::EBX } else { Register::RBX });
            instruction.set_memory_index(Register::AL);
        }
        Kind::seg_rDI => set(if short_address { OpKind::MemorySegEDI } else { OpKind::MemorySegRDI }),
        Kind::mem_offs => set(OpKind::Memory),
        _ => return None,
    }
    Some(())
}

/// Encodes at a place of its own choosing: usually [`START`], sometimes across a page boundary or the end of the
/// region. Returns the address and the bytes.
pub(crate) fn place(instruction: &Instruction, rng: &mut Rng) -> Option<(u64, Vec<u8>)> {
    let bytes = encode(instruction, START)?;
    let len = bytes.len() as u64;
    let at = match rng.below(64) {
        _ if instruction.op0_kind() == OpKind::NearBranch64 => START,
        0 | 1 => CODE + PAGE - rng.below(len + 1),
        2 => CODE + CODE_LEN - 1 - rng.below(len),
        _ => START,
    };
    let mut bytes = encode(instruction, at)?;
    bytes.truncate(usize::try_from(CODE + CODE_LEN - at).unwrap_or(0));
    Some((at, bytes))
}

pub(crate) fn encode(instruction: &Instruction, at: u64) -> Option<Vec<u8>> {
    let mut encoder = Encoder::new(64);
    encoder.encode(instruction, at).ok()?;
    Some(encoder.take_buffer())
}

/// The registers an operand can name; none if it is no register operand.
fn registers(kind: Kind) -> &'static [Register] {
    use Register::*;
    match kind {
        Kind::r8_reg | Kind::r8_opcode | Kind::r8_or_mem => {
            &[AL, CL, DL, BL, AH, CH, DH, BH, SPL, BPL, SIL, DIL, R8L, R9L, R10L, R11L, R12L, R13L, R14L, R15L]
        }
        Kind::r16_reg | Kind::r16_opcode | Kind::r16_or_mem | Kind::r16_rm => {
            &[AX, CX, DX, BX, SP, BP, SI, DI, R8W, R9W, R10W, R11W, R12W, R13W, R14W, R15W]
        }
        Kind::r32_reg | Kind::r32_opcode | Kind::r32_or_mem | Kind::r32_rm | Kind::r32_vvvv => {
            &[EAX, ECX, EDX, EBX, ESP, EBP, ESI, EDI, R8D, R9D, R10D, R11D, R12D, R13D, R14D, R15D]
        }
        Kind::r64_reg | Kind::r64_opcode | Kind::r64_or_mem | Kind::r64_rm | Kind::r64_vvvv => {
            &[RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8, R9, R10, R11, R12, R13, R14, R15]
        }
        Kind::xmm_reg | Kind::xmm_rm | Kind::xmm_or_mem | Kind::xmm_vvvv | Kind::xmm_is4 => {
            &[XMM0, XMM1, XMM2, XMM3, XMM4, XMM5, XMM6, XMM7, XMM8, XMM9, XMM10, XMM11, XMM12, XMM13, XMM14, XMM15]
        }
        Kind::ymm_reg | Kind::ymm_rm | Kind::ymm_or_mem | Kind::ymm_vvvv | Kind::ymm_is4 => {
            &[YMM0, YMM1, YMM2, YMM3, YMM4, YMM5, YMM6, YMM7, YMM8, YMM9, YMM10, YMM11, YMM12, YMM13, YMM14, YMM15]
        }
        Kind::st0 => &[ST0],
        Kind::sti_opcode => &[ST0, ST1, ST2, ST3, ST4, ST5, ST6, ST7],
        Kind::mm_reg | Kind::mm_rm | Kind::mm_or_mem => &[MM0, MM1, MM2, MM3, MM4, MM5, MM6, MM7],
        Kind::al => &[AL],
        Kind::cl => &[CL],
        Kind::ax => &[AX],
        Kind::dx => &[DX],
        Kind::eax => &[EAX],
        Kind::rax => &[RAX],
        Kind::seg_reg => &[ES, CS, SS, DS, FS, GS],
        Kind::es => &[ES],
        Kind::cs => &[CS],
        Kind::ss => &[SS],
        Kind::ds => &[DS],
        Kind::fs => &[FS],
        Kind::gs => &[GS],
        _ => &[],
    }
}
