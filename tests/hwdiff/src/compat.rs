//! Cases of 32-bit code: compatibility mode in user mode, on flat segments. Code at [`CODE_32`] runs there, whoever is
//! the subject (`Case::is_compat`).

use iced_x86::{
    Code, CpuidFeature, Encoder, EncodingKind, Instruction, Mnemonic, OpCodeOperandKind as Kind, OpKind, Register,
};

use crate::case::reg::{RAX, RBP, RBX, RCX, RDI, RDX, RSI, RSP};
use crate::case::{Case, Cpu, DF, FIXED, Patch, STATUS};
use crate::encode;
use crate::forms::{self, FAMILIES, Form};
use crate::layout::{CODE_32, CODE_LEN, DATA, DATA_LEN, PAGE, START_32};
use crate::rng::Rng;

/// Selectors of 32-bit and 64-bit user code, and of data, on Linux; and what is not there.
const SELECTORS: [u64; 6] = [0x23, 0x23, 0x33, 0x2b, 0, 3];
/// Trap and alignment-check flags: the harness itself could not run with them.
const TF_AC: u64 = 1 << 8 | 1 << 18;

use Mnemonic::*;

/// What 64-bit mode does not have, or what is about its segments.
const LEGACY: &[Mnemonic] = &[
    Aaa, Aas, Aam, Aad, Daa, Das, Salc, Bound, Into, Arpl, Pusha, Pushad, Popa, Popad, Pushfd, Popfd, Lar, Lsl, Verr,
    Verw, Iretd, Syscall,
];

/// The forms of `family`, or of all families.
#[must_use]
pub fn forms(family: Option<&str>) -> Vec<Form> {
    let rows = FAMILIES.iter().copied().filter(|(name, _)| *name != "iret").chain([("legacy", LEGACY)]);
    let mut forms = Vec::new();
    for (name, mnemonics) in rows.filter(|(name, _)| family.is_none_or(|f| f == *name)) {
        let codes = Code::values().filter(|code| mnemonics.contains(&code.mnemonic()));
        for code in codes.filter(|code| exists(name, *code)) {
            forms::forms_of(name, code, &mut forms);
        }
    }
    forms
}

fn exists(family: &str, code: Code) -> bool {
    let op = code.op_code();
    let strange = |kind: &Kind| {
        use Kind::*;
        matches!(kind, farbr2_2 | farbr4_2 | cr_reg | dr_reg | tr_reg | r64_reg | r64_rm | r64_or_mem | r64_opcode)
    };
    let far = code.is_jmp_far_indirect() || code.is_call_far_indirect();
    // They would change the host's own segments.
    let segment = |kind: &Kind| matches!(kind, Kind::es | Kind::ss | Kind::ds | Kind::fs | Kind::gs | Kind::cs);
    let loads = code.mnemonic() == Pop && op.op_kinds().iter().any(segment)
        || code.mnemonic() == Mov && op.op0_kind() == Kind::seg_reg;
    let known = family == "legacy" && op.encoding() == EncodingKind::Legacy || forms::is_of_family(family, code);
    let gone = code.cpuid_features().contains(&CpuidFeature::INTEL486_A_ONLY);
    known
        && !gone
        && op.mode32()
        && op.intel_decoder32()
        && op.is_instruction()
        && !far
        && !loads
        && !op.op_kinds().iter().any(strange)
}

/// A random case of `form`, and its instruction.
///
/// # Panics
/// If the form cannot be encoded at all: a bug of the table.
#[must_use]
pub fn case(form: Form, rng: &mut Rng) -> (Case, Instruction) {
    for _ in 0..10_000 {
        if let Some(found) = attempt(form, rng) {
            return found;
        }
    }
    panic!("{form} cannot be encoded");
}

struct Draft<'r> {
    form: Form,
    instruction: Instruction,
    cpu: Cpu,
    memory: Vec<Patch>,
    rng: &'r mut Rng,
}

fn attempt(form: Form, rng: &mut Rng) -> Option<(Case, Instruction)> {
    let mut instruction = encode::operands(form, rng)?;
    branch(&mut instruction, rng);
    let mut cpu = Cpu::background(START_32);
    cpu.gpr.fill_with(|| rng.operand());
    cpu.rflags = FIXED | rng.draw() & STATUS;
    if form.family == "string" || rng.one_in(8) {
        cpu.rflags |= rng.draw() & DF;
    }
    let mut draft = Draft { form, instruction, cpu, memory: Vec::new(), rng };
    draft.vectors();
    draft.implicit_operands();
    if draft.instruction.op_kinds().any(|kind| kind == OpKind::Memory) {
        draft.memory_operand();
    }
    draft.targets();
    if form.family == "xsave" && (draft.cpu.gpr[RAX] >= 8 || draft.cpu.gpr[RDX] != 0) {
        return None; // the address has taken the registers of the mask
    }
    let Draft { instruction, mut cpu, memory, rng, .. } = draft;
    let (rip, code) = place(&instruction, rng)?;
    cpu.rip = rip;
    Some((Case { code, cpu, memory }, instruction))
}

/// Branches of the decoder's 64-bit kind become those of 32-bit code; what is relative begins at [`START_32`].
fn branch(instruction: &mut Instruction, rng: &mut Rng) {
    let distance = 16 + rng.below(90);
    let target = if rng.one_in(2) { START_32 + distance } else { START_32 - distance };
    let narrow = matches!(instruction.code().op_code().op0_kind(), Kind::br16_1 | Kind::br16_2);
    #[expect(clippy::cast_possible_truncation, reason = "code lies below 4 GiB; 16-bit targets are what they are")]
    match instruction.op0_kind() {
        OpKind::NearBranch64 | OpKind::NearBranch32 | OpKind::NearBranch16 if narrow => {
            instruction.set_op0_kind(OpKind::NearBranch16);
            instruction.set_near_branch16(target as u16);
        }
        OpKind::NearBranch64 => {
            instruction.set_op0_kind(OpKind::NearBranch32);
            instruction.set_near_branch32(target as u32);
        }
        _ => {}
    }
}

/// Encodes, usually at [`START_32`], sometimes across a page or the end of the region.
fn place(instruction: &Instruction, rng: &mut Rng) -> Option<(u64, Vec<u8>)> {
    let encode = |at: u64| {
        let mut encoder = Encoder::new(32);
        encoder.encode(instruction, at).ok()?;
        Some(encoder.take_buffer())
    };
    let len = encode(START_32)?.len() as u64;
    let at = match rng.below(64) {
        _ if matches!(instruction.op0_kind(), OpKind::NearBranch32 | OpKind::NearBranch16) => START_32,
        0 | 1 => CODE_32 + PAGE - rng.below(len + 1),
        2 => CODE_32 + CODE_LEN - 1 - rng.below(len),
        _ => START_32,
    };
    let mut bytes = encode(at)?;
    bytes.truncate(usize::try_from(CODE_32 + CODE_LEN - at).unwrap_or(0));
    Some((at, bytes))
}

impl Draft<'_> {
    fn patch(&mut self, at: u64, bytes: &[u8]) {
        self.memory.push(Patch { at, bytes: bytes.to_vec() });
    }

    /// Something in the upper half of a register, of which 32-bit code sees nothing.
    fn high(&mut self) -> u64 {
        if self.rng.one_in(2) { 0 } else { self.rng.draw() << 32 }
    }

    /// An address for `len` bytes, mostly in the window.
    fn target(&mut self, len: u64, line: bool) -> u64 {
        match self.rng.below(32) {
            0 => DATA + DATA_LEN - self.rng.below(len + 1),
            1 => DATA - self.rng.below(len + 1),
            _ if line => DATA + self.rng.below(DATA_LEN / 64) * 64 + self.rng.below(64 - len.min(63)),
            2..6 => DATA + PAGE - self.rng.below(len + 1),
            _ => DATA + self.rng.below(DATA_LEN - len + 1),
        }
    }

    fn vectors(&mut self) {
        let family = self.form.family;
        if forms::is_vector(family) || family.starts_with("mmx") || family.starts_with("x87") {
            self.cpu.xmm.fill_with(|| self.rng.vector());
            let x87 = &mut self.cpu.x87;
            let random = self.rng.draw().to_le_bytes();
            x87.control = 0x37f | u16::from(random[0] & 0xc) << 8;
            x87.status = u16::from(random[1] & 7) << 11 | u16::from(random[2] & 0x47) << 8;
            x87.tags = random[3].into();
            x87.st.fill_with(|| self.rng.extended());
        }
    }

    fn implicit_operands(&mut self) {
        if self.instruction.is_stack_instruction() || matches!(self.instruction.mnemonic(), Leave | Enter) {
            self.stack();
        }
        match self.instruction.mnemonic() {
            Div | Idiv if self.rng.one_in(2) => self.cpu.gpr[RDX] = 0,
            Jcxz | Jecxz | Loop | Loope | Loopne => {
                let low = self.rng.pick(&[0, 1, 2, 0x1_0000, 0x1_0001, self.cpu.gpr[RCX] & 0xffff_ffff]);
                self.cpu.gpr[RCX] = self.high() | low;
            }
            Lar | Lsl | Verr | Verw | Arpl => {
                for register in 0..8 {
                    self.cpu.gpr[register] = self.rng.pick(&SELECTORS);
                }
            }
            _ if self.form.family == "string" => self.string(),
            // Components that the host has, too.
            _ if self.form.family == "xsave" => (self.cpu.gpr[RAX], self.cpu.gpr[RDX]) = (self.rng.below(8), 0),
            Maskmovdqu | Maskmovq => self.cpu.gpr[RDI] = self.target(16, false) | self.high(),
            _ => {}
        }
    }

    fn stack(&mut self) {
        let sp = if self.rng.one_in(16) { self.target(4, false) } else { DATA + 512 + self.rng.below(DATA_LEN - 1024) };
        self.cpu.gpr[RSP] = sp;
        let around = self.rng.bytes(40);
        self.patch(sp.wrapping_sub(4), &around);
        let random = self.rng.draw();
        match self.instruction.mnemonic() {
            Ret => {
                let target = self.code_target();
                self.patch(sp, &target.to_le_bytes()[..4]);
            }
            Iretd => {
                let selector = self.rng.pick(&SELECTORS);
                let frame = [self.code_target(), selector, random & !TF_AC];
                for (at, word) in (sp..).step_by(4).zip(frame) {
                    self.patch(at, &word.to_le_bytes()[..4]);
                }
            }
            Popf | Popfd => self.patch(sp, &(random & !TF_AC).to_le_bytes()[..4]),
            Enter | Leave => {
                let bp = DATA + 512 + self.rng.below(DATA_LEN - 1024);
                self.cpu.gpr[RBP] = bp | self.high();
                let frame = self.rng.bytes(64);
                self.patch(bp - 56, &frame);
            }
            _ => {}
        }
    }

    fn code_target(&mut self) -> u64 {
        match self.rng.below(16) {
            0 => self.rng.draw() & 0xffff_ffff,
            1 => DATA + self.rng.below(DATA_LEN),
            _ => CODE_32 + 0x800 + self.rng.below(0x400),
        }
    }

    fn string(&mut self) {
        let repeated = self.form.prefix != forms::Prefix::None;
        let count = if repeated { self.rng.pick(&[0, 1, 2, 3, 7, 8, 20, 40]) } else { self.cpu.gpr[RCX] & 0xffff };
        let size = self.instruction.memory_size().size() as u64;
        let len = if repeated { count.max(1) * size } else { size };
        let (source, destination) = (self.target(len, false), self.target(len, false));
        let backward = self.cpu.rflags & DF != 0;
        let start = |at: u64| if backward { at + len - size } else { at };
        self.cpu.gpr[RSI] = start(source) | self.high();
        self.cpu.gpr[RDI] = start(destination) | self.high();
        self.cpu.gpr[RCX] = count | self.high();
        let length = usize::try_from(len).unwrap_or(0);
        let mut here = self.rng.bytes(length);
        if self.rng.one_in(2) {
            here.fill(0x55);
            self.cpu.gpr[RAX] = 0x5555_5555;
        }
        let mut there = here.clone();
        if length > 0 && self.rng.one_in(2) {
            there[length / 2] ^= 1;
        }
        self.patch(source, &here);
        self.patch(destination, &there);
    }

    /// Chooses an addressing form and a place in the window, and sets the registers so that they meet, modulo 4 GiB.
    fn memory_operand(&mut self) {
        let size = self.instruction.memory_size().size() as u64;
        let locked = self.instruction.has_lock_prefix() || self.instruction.mnemonic() == Xchg;
        let mut target = self.target(size, locked);
        if size >= 16 && !self.rng.one_in(8) {
            target &= !15;
        }
        let content = self.rng.bytes(usize::try_from(size).unwrap_or(0));
        self.patch(target, &content);
        if matches!(self.instruction.mnemonic(), Lar | Lsl | Verr | Verw) {
            let selector = self.rng.pick(&SELECTORS);
            self.patch(target, &selector.to_le_bytes()[..2]);
        }
        if self.instruction.mnemonic() == Fxrstor {
            self.patch(target + 24, &0x1f80u32.to_le_bytes());
        }
        if self.instruction.memory_index() == Register::AL {
            self.cpu.gpr[RBX] = target.wrapping_sub(self.cpu.gpr[RAX] & 0xff) & 0xffff_ffff | self.high();
        } else if self.instruction.code().op_code().op_kinds().contains(&Kind::mem_offs) {
            self.instruction.set_memory_displ_size(4);
            self.instruction.set_memory_displacement64(target);
        } else {
            self.address(target);
        }
        // VCVTPS2PH has set flags when silicon finds that the segment does not allow it (docs/deviations.md).
        if self.instruction.mnemonic() != Vcvtps2ph && self.rng.one_in(24) {
            let all = [Register::ES, Register::CS, Register::SS, Register::DS, Register::FS, Register::GS];
            self.instruction.set_segment_prefix(self.rng.pick(&all));
        }
    }

    fn address(&mut self, target: u64) {
        const MASK: u64 = 0xffff_ffff;
        let register = |n: usize| Register::EAX + u32::try_from(n).unwrap_or(0);
        let (has_base, has_index) = (!self.rng.one_in(4), self.rng.one_in(2));
        let base = usize::try_from(self.rng.below(8)).unwrap_or(0);
        let index = self.rng.pick(&[RAX, RCX, RDX, RBX, RBP, RSI, RDI]);
        let scale = self.rng.pick(&[1u64, 2, 4, 8]);
        let mut displacement = match self.rng.below(4) {
            0 => 0,
            1 => self.rng.below(256).wrapping_sub(128),
            _ => self.rng.draw(),
        } & MASK;
        let mut rest = target;
        if has_index {
            self.instruction.set_memory_index(register(index));
            self.instruction.set_memory_index_scale(u32::try_from(scale).unwrap_or(1));
            rest = rest.wrapping_sub(self.cpu.gpr[index].wrapping_mul(scale));
        }
        if has_base && !(has_index && base == index) {
            self.instruction.set_memory_base(register(base));
            self.cpu.gpr[base] = rest.wrapping_sub(displacement) & MASK | self.high();
        } else {
            displacement = rest & MASK;
        }
        #[expect(clippy::cast_possible_truncation, reason = "32 bits")]
        let signed = displacement as i32;
        let plain = self.instruction.memory_base() != Register::None;
        self.instruction.set_memory_displacement64(displacement);
        self.instruction.set_memory_displ_size(match signed {
            0 if plain && base != RBP => 0,
            -128..=127 if plain => 1,
            _ => 4,
        });
    }

    /// Where an indirect branch leads.
    fn targets(&mut self) {
        if !matches!(self.instruction.mnemonic(), Call | Jmp) {
            return;
        }
        let target = self.code_target();
        match self.instruction.op0_kind() {
            OpKind::Register => {
                let high = self.high();
                self.cpu.gpr[self.instruction.op0_register().full_register().number()] = target | high;
            }
            OpKind::Memory => {
                if let Some(at) = self.memory.last().map(|patch| patch.at) {
                    self.patch(at, &target.to_le_bytes()[..4]);
                }
            }
            _ => {}
        }
    }
}
