//! Cases that start from bytes, not from forms: prefixes in any number and order, any opcode of any map, any operands.
//!
//! What the decoder makes of the bytes only serves to let memory operands meet the window. Bytes it takes for
//! invalid are run all the same.

use iced_x86::{CpuidFeature, Decoder, DecoderOptions, Instruction, Mnemonic, OpKind, Register};

use crate::case::reg::{RDI, RSI, RSP};
use crate::case::{Case, DF};
use crate::forms::{Form, Prefix};
use crate::generate::Draft;
use crate::layout::{CODE, CODE_LEN, DATA, DATA_LEN, PAGE, START};
use crate::rng::Rng;

/// The name under which raw encodings go among the families.
pub const FAMILY: &str = "raw";

/// Longest string of bytes: one more than an instruction may have.
const BYTES_MAX: usize = 16;

/// A random encoding with a state to run it in.
#[must_use]
pub fn case(rng: &mut Rng) -> (Case, Instruction) {
    loop {
        let bytes = bytes(rng);
        if !calls_the_kernel(&bytes)
            && let Some(found) = attempt(bytes, rng)
        {
            return found;
        }
    }
}

/// What the decoder makes of `bytes`, which lie at `rip`.
#[must_use]
pub fn decode(bytes: &[u8], rip: u64) -> Instruction {
    Decoder::with_ip(64, bytes, rip, DecoderOptions::NONE).decode()
}

/// Whether some part of `bytes` is SYSCALL, SYSENTER, INT n, or VMCALL, VMFUNC, VMMCALL with whatever prefixes: these do
/// not come back as an exception, or as one that a hypervisor made up.
fn calls_the_kernel(bytes: &[u8]) -> bool {
    bytes.contains(&0xcd)
        || bytes.windows(2).any(|pair| matches!(pair, [0x0f, 0x05 | 0x34]))
        || bytes.windows(3).any(|three| matches!(three, [0x0f, 0x01, 0xc1 | 0xd4 | 0xd9]))
}

/// Where what an instruction does depends on more than the registers of user mode: segments, descriptor tables and
/// identity of the machine, time; what the kernel does in its stead (SGDT and the like under UMIP); and what components
/// of state the machine has (XSAVE and the like: a family of their own).
fn depends_on_the_machine(instruction: &Instruction) -> bool {
    use Mnemonic::*;
    let machine =
        [Cpuid, Rdtsc, Rdtscp, Rdrand, Rdseed, Rdpid, Rdpmc, Sgdt, Sidt, Sldt, Str, Smsw, Lar, Lsl, Verr, Verw];
    let bases = [Lfs, Lgs, Lss, Rdfsbase, Rdgsbase, Wrfsbase, Wrgsbase, Retf];
    // What XSAVE writes depends on what else is enabled in XCR0.
    let states = [CpuidFeature::XSAVE, CpuidFeature::XSAVEC, CpuidFeature::XSAVEOPT, CpuidFeature::XSAVES];
    machine.contains(&instruction.mnemonic())
        || bases.contains(&instruction.mnemonic())
        || instruction.is_jmp_far_indirect()
        || instruction.is_call_far_indirect()
        || instruction.op0_register().is_segment_register()
        || instruction.op1_register().is_segment_register()
        || instruction.cpuid_features().iter().any(|feature| states.contains(feature))
}

/// A jump into itself may never end.
fn loops(instruction: &Instruction) -> bool {
    let near = matches!(instruction.op0_kind(), OpKind::NearBranch16 | OpKind::NearBranch32 | OpKind::NearBranch64);
    near && (instruction.ip()..instruction.next_ip()).contains(&instruction.near_branch_target())
}

fn attempt(mut bytes: Vec<u8>, rng: &mut Rng) -> Option<(Case, Instruction)> {
    let rip = place(rng);
    let mut draft = state(decode(&bytes, rip), rng);
    if draft.instruction.op_kinds().any(|kind| kind == OpKind::Memory) {
        memory_operand(&mut draft, &mut bytes, rip)?;
    }
    if draft.instruction.is_invalid() {
        // Whatever follows: if the CPU thinks otherwise, that must not be a program.
        let taken = draft.instruction.len().max(1);
        bytes.truncate(if draft.rng.one_in(2) { taken } else { taken + 1 });
    } else {
        bytes.truncate(draft.instruction.len());
    }
    let Draft { mut instruction, cpu, memory, .. } = draft;
    if !instruction.is_invalid() {
        instruction = decode(&bytes, rip);
    }
    if calls_the_kernel(&bytes) || depends_on_the_machine(&instruction) || loops(&instruction) {
        return None;
    }
    bytes.truncate(usize::try_from(CODE + CODE_LEN - rip).unwrap_or(0));
    let mut case = Case { code: bytes, cpu, memory };
    case.cpu.rip = rip;
    Some((case, instruction))
}

/// Usually [`START`], sometimes so that the bytes cross a page boundary or the end of the region.
fn place(rng: &mut Rng) -> u64 {
    match rng.below(8) {
        0 => CODE + PAGE - 1 - rng.below(BYTES_MAX as u64),
        1 => CODE + CODE_LEN - 1 - rng.below(BYTES_MAX as u64),
        _ => START,
    }
}

/// Random registers, many of them pointers into the window.
fn state(instruction: Instruction, rng: &mut Rng) -> Draft<'_> {
    let form = Form { family: FAMILY, code: instruction.code(), memory: false, prefix: Prefix::None };
    let mut draft = Draft::new(form, instruction, rng);
    draft.vector_registers();
    draft.x87_registers();
    for n in 0..16 {
        if matches!(n, RSP | RSI | RDI) && !draft.rng.one_in(8) || draft.rng.one_in(3) {
            draft.cpu.gpr[n] = DATA + draft.rng.below(DATA_LEN);
        }
    }
    if draft.rng.one_in(8) {
        draft.cpu.rflags |= DF;
    }
    let (rsp, target) = (draft.cpu.gpr[RSP], draft.code_target());
    // POPF and IRET find flags here: never TF (bit 8) and AC (bit 18), with which the harness itself could not run.
    let stack: Vec<u8> = draft.rng.bytes(64).into_iter().map(|byte| byte & !0x05).collect();
    let numbers = draft.rng.bytes(32);
    draft.patch(draft.cpu.gpr[RSI], &numbers);
    draft.patch(rsp, &stack);
    if draft.instruction.mnemonic() == Mnemonic::Ret {
        draft.patch(rsp, &target.to_le_bytes());
    }
    draft
}

/// Lets the memory operand lie in the window, over its end or over the page boundary in its middle: by its base register
/// or, without one, by its displacement.
fn memory_operand(draft: &mut Draft<'_>, bytes: &mut [u8], rip: u64) -> Option<()> {
    let instruction = draft.instruction;
    let size = instruction.memory_size().size().max(1) as u64;
    let atomic = instruction.has_lock_prefix() || instruction.mnemonic() == Mnemonic::Xchg;
    let mut target = draft.target(size.min(64), atomic);
    if size >= 16 && !draft.rng.one_in(8) {
        target &= !(size.min(64) - 1);
    }
    let content = draft.rng.bytes(usize::try_from(size.min(512)).unwrap_or(0));
    draft.patch(target, &content);
    if instruction.mnemonic() == Mnemonic::Fxrstor64 {
        // What becomes of other instruction pointers depends on the width of linear addresses.
        draft.patch(target.wrapping_add(13), &[0; 3]);
    }
    if draft.rng.one_in(16) {
        return Some(());
    }
    let (base, index) = (instruction.memory_base(), instruction.memory_index());
    if base.is_gpr() && base.full_register() != index.full_register() {
        let base_number = base.number();
        let rest = address(draft, &instruction)?.wrapping_sub(draft.cpu.gpr[base_number]);
        let high = if base.is_gpr32() { draft.rng.draw() << 32 } else { 0 };
        let wanted = target.wrapping_sub(rest);
        draft.cpu.gpr[base_number] = if base.is_gpr32() { wanted & 0xffff_ffff | high } else { wanted };
        if base.is_gpr64() && draft.rng.one_in(48) {
            draft.cpu.gpr[base_number] ^= 1 << 62;
        }
    } else if !base.is_gpr() && index == Register::None {
        let mut decoder = Decoder::with_ip(64, bytes, rip, DecoderOptions::NONE);
        let decoded = decoder.decode();
        let offsets = decoder.get_constant_offsets(&decoded);
        let origin = if base == Register::None { 0 } else { instruction.next_ip() };
        let to = offsets.displacement_offset()..offsets.displacement_offset() + offsets.displacement_size();
        let field = bytes.get_mut(to)?;
        let len = field.len();
        field.copy_from_slice(&target.wrapping_sub(origin).to_le_bytes()[..len]);
    }
    Some(())
}

/// The linear address of the memory operand, before truncation to 32 bits.
fn address(draft: &Draft<'_>, instruction: &Instruction) -> Option<u64> {
    let at = (0..instruction.op_count()).find(|&n| instruction.op_kind(n) == OpKind::Memory)?;
    instruction.virtual_address(at, 0, |register, _, _| match register {
        register if register.is_segment_register() => Some(0),
        register if register.is_gpr() => {
            let value = draft.cpu.gpr.get(register.full_register().number())?;
            Some(if register.is_gpr32() { value & 0xffff_ffff } else { *value })
        }
        _ => None,
    })
}

/// [`BYTES_MAX`] bytes: prefixes, an opcode of some map, and what may be ModRM, SIB, displacement and immediate.
fn bytes(rng: &mut Rng) -> Vec<u8> {
    let mut bytes = prefixes(rng);
    opcode(rng, &mut bytes);
    while bytes.len() < BYTES_MAX {
        // Small numbers now and then, so that displacements and counts are.
        let byte = if rng.one_in(4) { rng.pick(&[0, 1, 2, 8, 0x10, 0xff, 0xf8]) } else { random_byte(rng) };
        bytes.push(byte);
    }
    bytes.truncate(BYTES_MAX);
    bytes
}

fn random_byte(rng: &mut Rng) -> u8 {
    rng.draw().to_le_bytes()[3]
}

fn prefixes(rng: &mut Rng) -> Vec<u8> {
    const LEGACY: [u8; 14] = [0x66, 0x66, 0x66, 0x67, 0xf2, 0xf2, 0xf3, 0xf3, 0xf0, 0x2e, 0x36, 0x3e, 0x26, 0x65];
    let count = match rng.below(64) {
        0 => rng.below(16),
        1..8 => rng.below(6),
        8..24 => 1,
        24..32 => 2,
        _ => 0,
    };
    let mut bytes = Vec::new();
    for _ in 0..count {
        bytes.push(match rng.below(12) {
            0 | 1 => 0x40 | random_byte(rng) & 0xf,
            2 => 0x64,
            _ => rng.pick(&LEGACY),
        });
    }
    if rng.one_in(3) {
        bytes.push(0x40 | random_byte(rng) & 0xf);
    }
    bytes
}

fn opcode(rng: &mut Rng, bytes: &mut Vec<u8>) {
    let byte = random_byte(rng);
    match rng.below(32) {
        0..8 => bytes.push(byte),
        8..16 => bytes.extend([0x0f, byte]),
        16..20 => bytes.extend([0x0f, 0x38, byte]),
        20..22 => bytes.extend([0x0f, 0x3a, byte]),
        22..25 => bytes.extend([0xc5, vector_length_and_prefix(rng), byte]),
        25..30 => {
            let map = if rng.one_in(12) { random_byte(rng) & 31 } else { rng.pick(&[1, 1, 2, 2, 3]) };
            let extend = if rng.one_in(2) { 0xe0 } else { random_byte(rng) & 0xe0 };
            bytes.extend([0xc4, extend | map, vector_length_and_prefix(rng), byte]);
        }
        30 => bytes.extend([rng.pick(&[0x62, 0x8f]), random_byte(rng), random_byte(rng), random_byte(rng), byte]),
        // Escapes of the x87 and groups, which one opcode in 256 would leave rare.
        _ => bytes.push(rng.pick(&[0xd8, 0xd9, 0xda, 0xdb, 0xdc, 0xdd, 0xde, 0xdf, 0xf6, 0xf7, 0xfe, 0xff])),
    }
}

/// The last payload byte of VEX: W or R, vvvv (half of the time "none"), L, pp.
fn vector_length_and_prefix(rng: &mut Rng) -> u8 {
    let byte = random_byte(rng);
    if rng.one_in(2) { byte | 0x78 } else { byte }
}
