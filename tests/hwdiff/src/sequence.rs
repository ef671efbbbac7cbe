//! Random programs: some hundred instructions of all families in a loop, with memory operands in the window, calls and a
//! stack, strings, inner loops, and stores into the program itself.

use iced_x86::{Code, Instruction, InstructionInfoFactory, MemoryOperand, Mnemonic, OpAccess, OpKind, Register};

use crate::case::{Case, Cpu, FIXED, Patch, STATUS, X87};
use crate::encode;
use crate::forms::{FAMILIES, Form, Prefix, forms};
use crate::gather::Gather;
use crate::layout::{CODE, CODE_LEN, DATA, DATA_LEN, PAGE, START};
use crate::rng::Rng;

/// Families that are not made of instructions that can follow each other in any order, or that have no one result.
const UNUSABLE: [&str; 10] =
    ["cache", "atomic", "stack", "branch", "string", "trap", "iret", "xsave", "x87-function", "fsgsbase"];
/// Where the loop counters lie: behind everything that a program writes.
const COUNTERS: u64 = DATA + DATA_LEN - 64;
/// The stack grows down from here, into data like any other.
const STACK: u64 = DATA + DATA_LEN / 2 + 0x200;
/// Room for the last piece, the end of the loop, and what faults.
const TAIL: usize = 160;

/// The forms that random programs are made of.
#[must_use]
pub fn usable_forms() -> Vec<Form> {
    let families = FAMILIES.iter().map(|(name, _)| *name).filter(|name| !UNUSABLE.contains(name));
    families.flat_map(|family| forms(Some(family))).filter(is_usable).collect()
}

/// Neither ends the program by a fault nor lets others do so.
fn is_usable(form: &Form) -> bool {
    use Mnemonic::*;
    let mnemonic = form.code.mnemonic();
    let divides = matches!(mnemonic, Div | Idiv);
    // They write through RDI, or load masks of exceptions.
    let elsewhere = matches!(mnemonic, Maskmovq | Maskmovdqu | Vmaskmovdqu | Xlatb);
    let unmasks = matches!(mnemonic, Fldcw | Fldenv | Frstor | Fxrstor | Fxrstor64 | Ldmxcsr | Vldmxcsr);
    let faults = divides || form.prefix == Prefix::Lock && !form.memory;
    !faults && !elsewhere && !unmasks
}

/// A program of about `len` instructions that goes round `rounds` times. The last thing some of them do is to fault in
/// the middle of a REP or of a gather.
#[must_use]
pub fn program(usable: &[Form], len: usize, rounds: u8, rng: &mut Rng) -> Case {
    let room = usize::try_from(CODE + CODE_LEN - START).unwrap_or(0) - TAIL;
    let mut draft = Draft { usable, code: Vec::new(), immediates: Vec::new(), rng };
    while draft.code.len() < (len * 5).min(room) {
        draft.piece();
    }
    draft.loop_end(COUNTERS, 0);
    match draft.rng.below(4) {
        0 => draft.string(true),
        1 => _ = draft.gather(true),
        _ => {}
    }
    let Draft { code, rng, .. } = draft;
    let data = Patch { at: DATA, bytes: rng.bytes(usize::try_from(DATA_LEN).unwrap_or(0)) };
    Case { code, cpu: registers(rng), memory: vec![data, Patch { at: COUNTERS, bytes: vec![rounds] }] }
}

/// Random registers, exceptions of floating point masked.
fn registers(rng: &mut Rng) -> Cpu {
    let mut cpu = Cpu::background(START);
    cpu.gpr.fill_with(|| rng.operand());
    cpu.gpr[4] = STACK;
    cpu.rflags = FIXED | rng.draw() & STATUS;
    cpu.xmm.fill_with(|| rng.vector());
    cpu.ymm_high.fill_with(|| rng.vector());
    cpu.x87.st.fill_with(|| rng.extended());
    let top = u16::from(rng.draw().to_le_bytes()[0] & 7);
    cpu.x87 = X87 { control: 0x37f, status: top << 11, tags: 0x0f, ..cpu.x87 };
    cpu
}

/// A program in the making.
struct Draft<'a> {
    usable: &'a [Form],
    code: Vec<u8>,
    /// Where immediates lie that the program itself may change.
    immediates: Vec<u64>,
    rng: &'a mut Rng,
}

impl Draft<'_> {
    fn here(&self) -> u64 {
        START + self.code.len() as u64
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.code.extend(bytes);
    }

    /// The low half of an address in the first 2 GiB, as a displacement.
    fn address(&mut self, address: u64) {
        self.code.extend(&address.to_le_bytes()[..4]);
    }

    fn piece(&mut self) {
        match self.rng.below(40) {
            0..3 => self.branch_over(),
            3 => self.inner_loop(),
            4 => self.string(false),
            5 => self.immediate(),
            6 => self.change_immediate(),
            7 => self.push_and_pop(),
            8 => self.call(),
            9 => _ = self.gather(false),
            _ => self.instruction(),
        }
    }

    /// One instruction that neither moves RSP nor addresses memory outside the window.
    fn instruction(&mut self) {
        let form = self.rng.pick(self.usable);
        if let Some(bytes) = encoded(form, self.here(), self.rng) {
            self.bytes(&bytes);
        }
    }

    /// A conditional branch over one instruction.
    fn branch_over(&mut self) {
        let condition = 0x70 | self.rng.draw().to_le_bytes()[0] & 15;
        self.bytes(&[condition, 0]);
        let start = self.code.len();
        self.instruction();
        self.code[start - 1] = u8::try_from(self.code.len() - start).unwrap_or(0);
    }

    /// `mov byte [counter], n`, some instructions, and back.
    fn inner_loop(&mut self) {
        const COUNTER: u64 = COUNTERS + 1;
        self.bytes(&[0xc6, 0x04, 0x25]);
        self.address(COUNTER);
        let rounds = self.rng.pick(&[1, 2, 5]);
        self.bytes(&[rounds]);
        let top = self.code.len();
        for _ in 0..=self.rng.below(4) {
            self.instruction();
        }
        self.loop_end(COUNTER, top);
    }

    /// `dec byte [counter]; jnz top`.
    fn loop_end(&mut self, counter: u64, top: usize) {
        self.bytes(&[0xfe, 0x0c, 0x25]);
        self.address(counter);
        self.bytes(&[0x0f, 0x85]);
        let back = (START + top as u64).wrapping_sub(self.here() + 4);
        self.address(back);
    }

    /// A string instruction with its registers set: within the window, or (`fault`) over its end.
    fn string(&mut self, fault: bool) {
        let size = self.rng.pick(&[1u64, 2, 4, 8]);
        let count = self.rng.below(12);
        let len = (count + 1) * size;
        let room = COUNTERS - DATA - len;
        let (from, mut to) = (DATA + self.rng.below(room), DATA + self.rng.below(room));
        if fault {
            to = DATA + DATA_LEN - size * self.rng.below(count + 1) - 1;
        }
        for (opcode, value) in [(0xb9, count), (0xbe, from), (0xbf, to)] {
            self.bytes(&[opcode]);
            self.address(value);
        }
        let prefix: &[u8] = if fault { &[0xf3] } else { self.rng.pick(&[&[], &[0xf3], &[0xf2]]) };
        self.bytes(prefix);
        let opcode = if fault { self.rng.pick(&[0xa4, 0xaa]) } else { self.rng.pick(&[0xa4, 0xa6, 0xaa, 0xac, 0xae]) };
        match size {
            1 => self.bytes(&[opcode]),
            2 => self.bytes(&[0x66, opcode + 1]),
            4 => self.bytes(&[opcode + 1]),
            _ => self.bytes(&[0x48, opcode + 1]),
        }
    }

    /// A gather by indices that lie before it in the code: into the window, or (`fault`) all but one of them, which is
    /// not the first. Nothing if its registers are not different ones.
    fn gather(&mut self, fault: bool) -> Option<()> {
        let forms: Vec<Form> = self.usable.iter().copied().filter(Form::is_gather).collect();
        let form = self.rng.pick(&forms);
        let mut instruction = encode::operands(form, self.rng)?;
        let gather = Gather::of(form, &instruction)?;
        let mask = Register::YMM0 + u32::try_from(instruction.op2_register().number()).ok()?;
        if mask.number() == instruction.op0_register().number() {
            return None;
        }
        let scale = self.rng.pick(&[1, 2, 4, 8]);
        let register =
            Register::YMM0 + u32::try_from(gather.set_index(&mut instruction, scale, false, self.rng)).ok()?;
        instruction.set_memory_displacement64(DATA);
        instruction.set_memory_displ_size(4);
        let bad = if fault { 1 + self.rng.below(gather.elements as u64 - 1) } else { u64::MAX };
        let beyond = [0u64.wrapping_sub(16 + self.rng.below(PAGE)), DATA_LEN - 1, DATA_LEN + 8 + self.rng.below(PAGE)];
        let beyond = self.rng.pick(&beyond);
        let indices =
            gather.indices(scale, |n| if n as u64 == bad { beyond } else { self.rng.below(COUNTERS - DATA - 8) });
        // A jump over the indices, and a mask of ones.
        self.bytes(&[0xeb, 32]);
        let operand = MemoryOperand::with_base_displ(Register::RIP, self.here() as i64);
        self.bytes(&indices);
        self.emit(&Instruction::with2(Code::VEX_Vmovdqu_ymm_ymmm256, register, operand).ok()?)?;
        if fault || self.rng.one_in(2) {
            self.emit(&Instruction::with3(Code::VEX_Vpcmpeqd_ymm_ymm_ymmm256, mask, mask, mask).ok()?)?;
        }
        self.emit(&instruction)
    }

    fn emit(&mut self, instruction: &Instruction) -> Option<()> {
        let bytes = encode::encode(instruction, self.here())?;
        self.bytes(&bytes);
        Some(())
    }

    /// `mov ebp, imm32`, whose immediate may be changed.
    fn immediate(&mut self) {
        self.bytes(&[0xbd]);
        self.immediates.push(self.here());
        let value = self.rng.operand();
        self.address(value);
    }

    /// `add byte [immediate], n`: of an instruction far behind, or right here.
    fn change_immediate(&mut self) {
        if self.rng.one_in(2) {
            let next = self.here() + 8;
            self.immediates.push(next + 1);
            self.add_to(next + 1);
            self.bytes(&[0xbd, 1, 2, 3, 4]);
        } else if !self.immediates.is_empty() {
            let at = self.rng.pick(&self.immediates) + self.rng.below(4);
            self.add_to(at);
        }
    }

    fn add_to(&mut self, at: u64) {
        self.bytes(&[0x80, 0x04, 0x25]);
        self.address(at);
        self.bytes(&[0x11]);
    }

    fn push_and_pop(&mut self) {
        let [push, pop] = [0x50, 0x58].map(|opcode| opcode | self.rng.draw().to_le_bytes()[0] & 7);
        self.bytes(&[push]);
        self.instruction();
        self.bytes(&[if pop == 0x5c { 0x5b } else { pop }]);
    }

    /// `call over`, an instruction and RET behind a jump: forward, back and on.
    fn call(&mut self) {
        self.bytes(&[0xeb, 0]);
        let function = self.code.len();
        self.instruction();
        self.bytes(&[0xc3]);
        self.code[function - 1] = u8::try_from(self.code.len() - function).unwrap_or(0);
        self.bytes(&[0xe8]);
        let back = (START + function as u64).wrapping_sub(self.here() + 4);
        self.address(back);
    }
}

fn encoded(form: Form, at: u64, rng: &mut Rng) -> Option<Vec<u8>> {
    let mut instruction = encode::operands(form, rng)?;
    let size = instruction.memory_size().size() as u64;
    if instruction.op_kinds().any(|kind| kind == OpKind::Memory) {
        if instruction.memory_index() == Register::AL || instruction.is_stack_instruction() {
            return None;
        }
        instruction.set_memory_displacement64(place(&instruction, size, rng));
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
    encode::encode(&instruction, at)
}

/// Where a memory operand lies: locked ones within a cache line, those of whole registers aligned, others
/// anywhere, also across the page boundary in the middle.
fn place(instruction: &Instruction, size: u64, rng: &mut Rng) -> u64 {
    let room = COUNTERS - DATA - size;
    let atomic = instruction.has_lock_prefix() || instruction.mnemonic() == Mnemonic::Xchg;
    match rng.below(8) {
        _ if atomic => DATA + rng.below(room / 64) * 64 + rng.below(65 - size.min(64)),
        _ if size >= 16 => (DATA + rng.below(room)) & !(size.min(64) - 1),
        0 => DATA + PAGE - rng.below(size + 1),
        _ => DATA + rng.below(room),
    }
}

fn writes_rsp(instruction: &Instruction) -> bool {
    let mut factory = InstructionInfoFactory::new();
    let used = factory.info(instruction).used_registers();
    used.iter().any(|u| u.register().full_register() == Register::RSP && u.access() != OpAccess::Read)
}
