//! From a form to a case: an instruction with operands, and a state in which it does something interesting.

use iced_x86::{Instruction, Mnemonic, OpKind, Register};

use crate::case::reg::{RAX, RBP, RBX, RCX, RDI, RDX, RSI, RSP};
use crate::case::{Case, Cpu, DF, FIXED, Patch, STATUS, X87, XsaveArea};
use crate::encode;
use crate::forms::Form;
use crate::gather::Gather;
use crate::layout::{CODE, DATA, DATA_LEN, PAGE, START};
use crate::rng::Rng;

/// Selectors of user mode on Linux.
const USER_CODE: u64 = 0x33;
const USER_CODE_32: u64 = 0x20;
const USER_DATA: u64 = 0x2b;

/// Trap and alignment-check flags: the harness itself could not run with them.
const TF_AC: u64 = 1 << 8 | 1 << 18;

/// A random case of `form`, and its instruction.
///
/// # Panics
/// If the form cannot be encoded at all: a bug of the table.
#[must_use]
pub fn case(form: Form, rng: &mut Rng) -> (Case, Instruction) {
    for _ in 0..1000 {
        if let Some(found) = attempt(form, rng) {
            return found;
        }
    }
    panic!("{form} cannot be encoded");
}

/// A case in the making.
pub(crate) struct Draft<'r> {
    pub(crate) form: Form,
    pub(crate) instruction: Instruction,
    pub(crate) cpu: Cpu,
    pub(crate) memory: Vec<Patch>,
    pub(crate) rng: &'r mut Rng,
}

fn attempt(form: Form, rng: &mut Rng) -> Option<(Case, Instruction)> {
    let instruction = encode::operands(form, rng)?;
    let mut draft = Draft::new(form, instruction, rng);
    if form.family == "string" || draft.rng.one_in(8) {
        draft.cpu.rflags |= draft.rng.draw() & DF;
    }
    if crate::forms::is_vector(draft.form.family) {
        draft.vector_registers();
    }
    if ["x87", "mmx"].iter().any(|kind| draft.form.family.starts_with(kind)) {
        draft.x87_registers();
    }
    if draft.form.family == "xsave" {
        draft.vector_registers();
        draft.x87_registers();
        draft.some_initial();
    }
    if draft.form.family.starts_with("mmx") {
        draft.vector_registers();
        draft.mmx_registers();
    }
    draft.implicit_operands();
    if draft.instruction.op_kinds().any(|kind| kind == OpKind::Memory) {
        draft.memory_operand();
    }
    draft.dependent_operands();
    // EDX:EAX says which components.
    let masks_moved = [Register::RAX, Register::RDX].into_iter().any(|r| draft.addresses_with(r));
    if draft.form.family == "xsave" && masks_moved {
        return None;
    }
    let Draft { instruction, mut cpu, memory, rng, .. } = draft;
    let (rip, code) = encode::place(&instruction, rng)?;
    cpu.rip = rip;
    Some((Case { code, cpu, memory }, instruction))
}

impl<'r> Draft<'r> {
    /// Random integer registers and flags; nothing in memory.
    pub(crate) fn new(form: Form, instruction: Instruction, rng: &'r mut Rng) -> Self {
        let mut cpu = Cpu::background(START);
        cpu.gpr.fill_with(|| rng.operand());
        cpu.rflags = FIXED | rng.draw() & STATUS;
        Self { form, instruction, cpu, memory: Vec::new(), rng }
    }
}

impl Draft<'_> {
    pub(crate) fn patch(&mut self, at: u64, bytes: &[u8]) {
        self.memory.push(Patch { at, bytes: bytes.to_vec() });
    }

    /// A linear address for `len` bytes: mostly inside the window, sometimes over the middle of it (a page
    /// boundary), over its ends, or outside. `line`: within a cache line, as locked operations should be.
    pub(crate) fn target(&mut self, len: u64, line: bool) -> u64 {
        let slack = len.max(1);
        match self.rng.below(32) {
            0 => DATA + DATA_LEN - self.rng.below(slack + 1),
            1 => DATA - self.rng.below(slack + 1),
            _ if line => DATA + self.rng.below(DATA_LEN / 64) * 64 + self.rng.below(64 - slack + 1),
            2..6 => DATA + PAGE - self.rng.below(slack + 1),
            _ => DATA + self.rng.below(DATA_LEN - slack + 1),
        }
    }

    /// An address to jump to: among the breakpoints, or one that faults.
    pub(crate) fn code_target(&mut self) -> u64 {
        match self.rng.below(16) {
            0 => self.rng.draw() | 1 << 62,
            1 => CODE - 1 - self.rng.below(PAGE),
            2 => DATA + self.rng.below(DATA_LEN),
            _ => CODE + 0x800 + self.rng.below(0x400),
        }
    }

    /// Registers that the instruction uses without naming them.
    fn implicit_operands(&mut self) {
        use Mnemonic::*;
        if self.instruction.is_stack_instruction() || matches!(self.instruction.mnemonic(), Leave | Enter) {
            self.stack();
        }
        match self.instruction.mnemonic() {
            Div | Idiv => self.dividend(),
            Jcxz | Jecxz | Jrcxz | Loop | Loope | Loopne => {
                let high = self.rng.pick(&[0, 0, 1, self.cpu.gpr[RCX] >> 32]);
                self.cpu.gpr[RCX] = high << 32 | self.rng.pick(&[0, 1, 2, self.cpu.gpr[RCX] & 0xffff_ffff]);
            }
            _ if self.form.family == "string" => self.string(),
            Maskmovdqu | Vmaskmovdqu | Maskmovq => {
                let size = if self.instruction.mnemonic() == Maskmovq { 8 } else { 16 };
                let target = self.target(size, false);
                let short = self.instruction.op0_kind() == OpKind::MemorySegEDI;
                self.cpu.gpr[RDI] = target | if short { self.rng.draw() << 32 } else { 0 };
            }
            _ => {}
        }
    }

    /// Numbers and bits for every lane width; any rounding mode, mostly with all exceptions masked.
    pub(crate) fn vector_registers(&mut self) {
        const MASKS: u32 = 0x1f80;
        for n in 0..16 {
            (self.cpu.xmm[n], self.cpu.ymm_high[n]) = (self.rng.vector(), self.rng.vector());
        }
        let control = u32::try_from(self.rng.draw() & 0xe07f).unwrap_or(0);
        self.cpu.mxcsr = if self.rng.one_in(3) { MASKS } else { control | MASKS };
        if self.rng.one_in(6) {
            self.cpu.mxcsr &= !(1 << (7 + self.rng.below(6)));
        }
    }

    /// Numbers on the stack, which mostly has one empty place; any control, exceptions mostly masked, rarely pending.
    pub(crate) fn x87_registers(&mut self) {
        const MASKS: u16 = 0x3f;
        const CODES: u16 = 0x4700;
        let control = low_word(self.rng.draw()) & 0xf00;
        let masks = match self.rng.below(6) {
            0 => low_word(self.rng.draw()) & MASKS,
            1 => MASKS & !(1 << self.rng.below(6)),
            _ => MASKS,
        };
        let top = low_word(self.rng.below(8));
        let random = low_word(self.rng.draw());
        let flags = if self.rng.one_in(12) { random } else { random & masks } & 0x7f;
        let all_but_one = 0xff & !(1 << ((top + 7) & 7));
        let tags = [0xff, random >> 8, all_but_one, all_but_one, all_but_one, all_but_one];
        let x87 = &mut self.cpu.x87;
        x87.control = 0x40 | control | masks;
        x87.status = top << 11 | random & CODES | flags;
        x87.tags = self.rng.pick(&tags);
        x87.opcode = low_word(self.rng.draw()) & 0x7ff;
        (x87.ip, x87.dp) = (self.rng.draw() >> 17, self.rng.draw() >> 17);
        for n in 0..8 {
            self.cpu.x87.st[n] = self.rng.extended();
        }
        if self.rng.one_in(4) {
            // Close to each other, or equal.
            let [a, b] = [self.cpu.x87.st[0], u128::from(self.rng.below(3))];
            self.cpu.x87.st.iter_mut().skip(1).for_each(|st| *st = a + b);
        }
    }

    /// Packed integers in the registers of MMX.
    fn mmx_registers(&mut self) {
        for n in 0..8 {
            self.cpu.x87.st[n] = self.cpu.x87.st[n] >> 64 << 64 | self.rng.vector() & u128::from(u64::MAX);
        }
    }

    fn stack(&mut self) {
        let rsp =
            if self.rng.one_in(16) { self.target(8, false) } else { DATA + 512 + self.rng.below(DATA_LEN - 1024) };
        self.cpu.gpr[RSP] = rsp;
        let around = self.rng.bytes(24);
        self.patch(rsp.wrapping_sub(8), &around);
        match self.instruction.mnemonic() {
            Mnemonic::Ret => {
                let target = self.code_target();
                self.patch(rsp, &target.to_le_bytes());
            }
            Mnemonic::Iretd | Mnemonic::Iretq => self.exception_frame(),
            Mnemonic::Popf | Mnemonic::Popfq => {
                let flags = self.rng.draw() & !TF_AC;
                self.patch(rsp, &flags.to_le_bytes());
            }
            Mnemonic::Enter | Mnemonic::Leave => {
                let rbp = if self.rng.one_in(16) {
                    self.target(8, false)
                } else {
                    DATA + 512 + self.rng.below(DATA_LEN - 1024)
                };
                self.cpu.gpr[RBP] = rbp;
                let frame = self.rng.bytes(64);
                self.patch(rbp.wrapping_sub(56), &frame);
            }
            _ => {}
        }
    }

    /// What IRET pops: mostly back to user mode, sometimes one item of it random.
    fn exception_frame(&mut self) {
        let size = if self.instruction.mnemonic() == Mnemonic::Iretq { 8 } else { 4 };
        let mut frame = [self.code_target(), USER_CODE, self.rng.draw() & !TF_AC, self.rng.draw(), USER_DATA];
        if self.rng.one_in(4) {
            let item = self.rng.pick(&[0, 1, 2, 3, 4]);
            frame[item] = self.rng.draw() & if item == 2 { !TF_AC } else { u64::MAX };
            // A kernel that is asked to run 32-bit code does so.
            if item == 1 && frame[item] & 0xfff8 == USER_CODE_32 {
                frame[item] ^= 0x8000;
            }
        }
        let bytes: Vec<u8> = frame.iter().flat_map(|item| item.to_le_bytes().into_iter().take(size)).collect();
        self.patch(self.cpu.gpr[RSP], &bytes);
    }

    /// Half of all random dividends overflow: make most of them fit.
    fn dividend(&mut self) {
        let bits = 8 * self.instruction.op_code().op0_kind().size();
        let rax = self.cpu.gpr[RAX];
        let sign = if rax >> (bits - 1) & 1 == 1 { u64::MAX } else { 0 };
        let high = match self.rng.below(4) {
            0 => return,
            1 => 0,
            2 => sign,
            _ => self.rng.draw() >> self.rng.below(64),
        };
        if bits == 8 {
            self.cpu.gpr[RAX] = rax & !0xff00 | (high & 0xff) << 8;
        } else {
            self.cpu.gpr[RDX] = high;
        }
    }

    fn string(&mut self) {
        let repeated = self.form.prefix != crate::forms::Prefix::None;
        let count = if repeated { self.rng.pick(&[0, 1, 2, 3, 7, 8, 20, 40]) } else { self.cpu.gpr[RCX] };
        let size = self.instruction.memory_size().size() as u64;
        let len = if repeated { count.max(1) * size } else { size };
        let source = self.target(len, false);
        let mut destination = self.target(len, false);
        if self.rng.one_in(6) {
            destination = source.wrapping_add(self.rng.below(17)).wrapping_sub(8);
        }
        let backward = self.cpu.rflags & DF != 0;
        let start = |at: u64| if backward { at + len - size } else { at };
        self.cpu.gpr[RSI] = start(source);
        self.cpu.gpr[RDI] = start(destination);
        self.cpu.gpr[RCX] = count;
        self.string_memory(source, destination, usize::try_from(len).unwrap_or(0));
        if self.instruction.op_kinds().any(|kind| matches!(kind, OpKind::MemorySegESI | OpKind::MemoryESEDI)) {
            for register in [RSI, RDI, RCX] {
                self.cpu.gpr[register] |= self.rng.draw() << 32;
            }
        }
    }

    /// Random data, or runs of equal elements with one different, so that comparisons go on for a while.
    fn string_memory(&mut self, source: u64, destination: u64, len: usize) {
        let mut here = self.rng.bytes(len);
        let mut there = self.rng.bytes(len);
        if !self.rng.one_in(4) {
            let element = self.cpu.gpr[RAX].to_le_bytes();
            let size = self.instruction.memory_size().size();
            here = element[..size].iter().copied().cycle().take(len).collect();
            there.clone_from(&here);
            if self.rng.one_in(2) {
                for byte in &mut there {
                    *byte ^= 0xff;
                }
            }
            if len > 0 && !self.rng.one_in(3) {
                let at = usize::try_from(self.rng.below(len as u64)).unwrap_or(0);
                there[at] = if self.rng.one_in(2) { element[at % size] } else { 0x55 };
            }
        }
        self.patch(source, &here);
        self.patch(destination, &there);
    }

    /// Chooses an addressing form and a place in the window, and sets the registers so that they meet.
    fn memory_operand(&mut self) {
        let size = self.instruction.memory_size().size() as u64;
        let locked = self.instruction.has_lock_prefix() || self.instruction.mnemonic() == Mnemonic::Xchg;
        let mut target = self.target(size, locked);
        // SSE insists on alignment.
        let one = if self.form.family.starts_with("avx") { 2 } else { 8 };
        if (size == 16 || size == 32) && !self.rng.one_in(one) {
            target &= !(size - 1);
        }
        if self.form.family == "xsave" {
            target = self.xsave_area();
        }
        let size = usize::try_from(size).unwrap_or(0);
        let vectors = crate::forms::is_vector(self.form.family) || self.form.family.starts_with("mmx");
        let numbers = vectors && size <= 32;
        let x87 = self.form.family.starts_with("x87");
        let keep_canonical = self.instruction.mnemonic() == Mnemonic::Fxrstor64;
        let content = if x87 && size <= 10 {
            self.x87_operand(size)
        } else if numbers {
            [self.rng.vector().to_le_bytes(), self.rng.vector().to_le_bytes()].concat()[..size].to_vec()
        } else {
            self.rng.bytes(size)
        };
        if self.form.family != "xsave" {
            self.patch(target, &content);
        }
        if keep_canonical {
            // What becomes of other instruction pointers depends on the width of linear addresses.
            self.patch(target.wrapping_add(13), &[0; 3]);
        }
        if let Some(gather) = Gather::of(self.form, &self.instruction) {
            self.gathered(gather);
        } else if self.instruction.memory_index() == Register::AL {
            self.cpu.gpr[RBX] = target.wrapping_sub(self.cpu.gpr[RAX] & 0xff);
        } else if self.instruction.code().op_code().op_kinds().contains(&iced_x86::OpCodeOperandKind::mem_offs) {
            self.instruction.set_memory_displ_size(8);
            self.instruction.set_memory_displacement64(target);
        } else {
            self.address(target);
        }
        if self.rng.one_in(32) {
            let ignored = [Register::ES, Register::CS, Register::SS, Register::DS, Register::GS];
            self.instruction.set_segment_prefix(self.rng.pick(&ignored));
        }
        if self.instruction.mnemonic() != Mnemonic::Lea && self.rng.one_in(64) {
            self.noncanonical();
        }
    }

    /// State components in their initial configuration.
    fn some_initial(&mut self) {
        let which = self.rng.below(16);
        for (n, half) in [&mut self.cpu.xmm, &mut self.cpu.ymm_high].into_iter().enumerate() {
            if which >> n & 1 == 1 {
                *half = [0; 16];
            }
        }
        if which & 4 != 0 {
            self.cpu.x87 = X87::INITIAL;
        }
        if which & 8 != 0 {
            self.cpu.mxcsr = 0x1f80;
        }
        self.cpu.gpr[RAX] = self.rng.below(8);
        self.cpu.gpr[RDX] = 0;
    }

    /// An area of XSAVE: mostly one that XRSTOR accepts, with components that the host has, too.
    fn xsave_area(&mut self) -> u64 {
        let size = size_of::<XsaveArea>() as u64;
        let mut at = self.target(size, false);
        if !self.rng.one_in(16) {
            at &= !63;
        }
        let image = self.rng.bytes(size_of::<XsaveArea>());
        self.patch(at, &image);
        // The instruction pointer stays canonical.
        self.patch(at.wrapping_add(13), &[0; 3]);
        let (state, mut layout) = (self.rng.below(8), self.rng.below(8) | 1 << 63);
        if !self.rng.one_in(12) {
            layout |= state;
        }
        let mut header = [state, if self.rng.one_in(2) { layout } else { 0 }, 0, 0, 0, 0, 0, 0];
        // MXCSR mostly has no bits that do not exist. In the compacted format silicon has changed registers when it
        // finds some.
        if header[1] != 0 || !self.rng.one_in(16) {
            self.patch(at.wrapping_add(26), &[0; 2]);
        }
        if self.rng.one_in(8) {
            // Bit 4 of the masks is MPX, which is no more.
            let place = usize::try_from(self.rng.below(8)).unwrap_or(0);
            header[place] ^= self.rng.pick(&[1 << 4, 1 << 62]);
        }
        self.patch(at.wrapping_add(512), &header.map(u64::to_le_bytes).concat());
        at
    }

    /// A number of `size` bytes, or anything.
    fn x87_operand(&mut self, size: usize) -> Vec<u8> {
        let number = match size {
            _ if self.rng.one_in(3) => self.rng.operand().into(),
            4 => self.rng.single().into(),
            8 => self.rng.double().into(),
            10 if self.instruction.mnemonic() == Mnemonic::Fbld => {
                (0..20).fold(0u128, |digits, _| digits << 4 | u128::from(self.rng.below(10)))
            }
            _ => self.rng.extended(),
        };
        number.to_le_bytes()[..size].to_vec()
    }

    fn address(&mut self, target: u64) {
        let shape = self.rng.below(10);
        if shape == 0 {
            self.instruction.set_memory_base(Register::RIP);
            self.instruction.set_memory_displ_size(4);
            self.instruction.set_memory_displacement64(target);
            return;
        }
        let short = self.rng.one_in(8);
        let (first, mask) = if short { (Register::EAX, 0xffff_ffff) } else { (Register::RAX, u64::MAX) };
        let base = usize::try_from(self.rng.below(16)).unwrap_or(0);
        let index = usize::try_from(self.rng.below(16)).unwrap_or(0);
        let scale = self.rng.pick(&[1u64, 2, 4, 8]);
        let register = |n: usize| first + u32::try_from(n).unwrap_or(0);
        let high = if short { self.rng.draw() << 32 } else { 0 };
        let has_base = shape >= 3;
        let has_index = index != RSP && (shape == 2 || shape >= 6);
        let mut displacement = match self.rng.below(4) {
            0 => 0,
            1 => self.rng.below(256).wrapping_sub(128),
            _ => low_half(self.rng.draw()) as u64,
        };
        let mut rest = target;
        if has_index {
            self.instruction.set_memory_index(register(index));
            self.instruction.set_memory_index_scale(u32::try_from(scale).unwrap_or(1));
            if !has_base || base == index || self.rng.one_in(2) {
                self.cpu.gpr[index] = self.rng.below(0x8000).wrapping_sub(0x4000) & mask | high;
            }
            rest = rest.wrapping_sub(self.cpu.gpr[index].wrapping_mul(scale));
        }
        if has_base {
            self.instruction.set_memory_base(register(base));
            if has_index && base == index {
                displacement = rest.wrapping_sub(self.cpu.gpr[index]);
            } else {
                self.cpu.gpr[base] = rest.wrapping_sub(displacement) & mask | high;
            }
        } else {
            displacement = rest;
        }
        let signed = if short { low_half(displacement) } else { displacement as i64 };
        self.instruction.set_memory_displacement64(if short { displacement & mask } else { displacement });
        self.instruction.set_memory_displ_size(match signed {
            0 if has_base => 0,
            -128..=127 => 1,
            _ => 4,
        });
    }

    /// Moves the address out of the canonical range: #GP, or #SS for a stack operand.
    fn noncanonical(&mut self) {
        let base = self.instruction.memory_base();
        if base.is_gpr64() {
            self.cpu.gpr[base.number()] ^= 1 << 62;
        }
    }

    /// Operands whose interesting values depend on other operands.
    fn dependent_operands(&mut self) {
        use Mnemonic::*;
        match self.instruction.mnemonic() {
            Bt | Bts | Btr | Btc => self.bit_offset(),
            Bextr | Bzhi => self.bit_range(),
            Cmpxchg if self.rng.one_in(2) => self.equal_accumulator(),
            Cmpxchg8b | Cmpxchg16b if self.rng.one_in(2) => self.equal_pair(),
            Call | Jmp => self.branch_target(),
            _ if self.form.family == "sse4-text" => self.text(),
            _ => {}
        }
    }

    /// A bit string reaches far from its address: keep most of it in the window.
    fn bit_offset(&mut self) {
        let register = self.instruction.op1_register();
        if self.form.memory && register != Register::None && !self.rng.one_in(16) && !self.addresses_with(register) {
            let near = self.rng.below(0x400).wrapping_sub(0x200);
            self.cpu.gpr[register.number()] = near;
            let around = self.rng.bytes(128);
            if let Some(at) = self.memory.last().map(|patch| patch.at) {
                self.patch(at.wrapping_sub(64), &around);
            }
        }
    }

    /// Start and length: mostly within the operand.
    fn bit_range(&mut self) {
        let register = self.instruction.op2_register();
        if !self.addresses_with(register) && !self.rng.one_in(4) {
            let near = self.rng.draw() & 0x3f3f;
            self.cpu.gpr[register.full_register().number()] = near;
        }
    }

    fn addresses_with(&self, register: Register) -> bool {
        let full = register.full_register();
        self.instruction.memory_base().full_register() == full
            || self.instruction.memory_index().full_register() == full
    }

    fn equal_accumulator(&mut self) {
        let rax = self.cpu.gpr[RAX].to_le_bytes();
        if let Some(patch) = self.memory.last_mut() {
            let len = patch.bytes.len();
            patch.bytes.copy_from_slice(&rax[..len]);
        } else if self.instruction.op0_register().number() < 16 {
            self.cpu.gpr[self.instruction.op0_register().full_register().number()] = self.cpu.gpr[RAX];
        }
    }

    fn equal_pair(&mut self) {
        let (low, high) = (self.cpu.gpr[RAX].to_le_bytes(), self.cpu.gpr[RDX].to_le_bytes());
        if let Some(patch) = self.memory.last_mut() {
            let half = patch.bytes.len() / 2;
            patch.bytes[..half].copy_from_slice(&low[..half]);
            patch.bytes[half..].copy_from_slice(&high[..half]);
        }
    }

    /// Strings of few characters, so that they match, and lengths around those of a register.
    fn text(&mut self) {
        let (kind, letter) = (self.rng.below(4), self.rng.draw().to_le_bytes()[0]);
        let mut strings = [0u128; 2];
        for string in &mut strings {
            for place in 0..16 {
                let odd = if kind == 0 { place % 2 == 1 } else { false };
                let character = letter.wrapping_add(self.rng.pick(&[0, 0, 1, 2, 255]));
                let end = self.rng.one_in(24);
                *string |= u128::from(if odd || end { 0 } else { character }) << (8 * place);
            }
        }
        if kind != 3 {
            self.cpu.xmm[self.instruction.op0_register().number()] = strings[0];
            match (self.instruction.op1_kind(), self.memory.last_mut()) {
                (OpKind::Memory, Some(patch)) => patch.bytes.copy_from_slice(&strings[1].to_le_bytes()),
                _ => self.cpu.xmm[self.instruction.op1_register().number()] = strings[1],
            }
        }
        for (register, name) in [(RAX, Register::RAX), (RDX, Register::RDX)] {
            if !self.addresses_with(name) && !self.rng.one_in(8) {
                let length = self.rng.below(40).wrapping_sub(20);
                let high = if self.rng.one_in(8) { self.rng.draw() << 32 } else { 0 };
                self.cpu.gpr[register] = length ^ high;
            }
        }
    }

    fn branch_target(&mut self) {
        let target = self.code_target();
        match self.instruction.op0_kind() {
            OpKind::Register => self.cpu.gpr[self.instruction.op0_register().number()] = target,
            OpKind::Memory => {
                if let Some(at) = self.memory.last().map(|patch| patch.at) {
                    self.patch(at, &target.to_le_bytes());
                }
            }
            _ => {}
        }
    }
}

/// The low 16 bits.
#[expect(clippy::cast_possible_truncation, reason = "that is its purpose")]
fn low_word(value: u64) -> u16 {
    value as u16
}

/// The low 32 bits, sign-extended.
#[expect(clippy::cast_possible_truncation, reason = "that is its purpose")]
fn low_half(value: u64) -> i64 {
    i64::from(value as i32)
}

trait OperandSize {
    fn size(self) -> u32;
}

impl OperandSize for iced_x86::OpCodeOperandKind {
    fn size(self) -> u32 {
        use iced_x86::OpCodeOperandKind::*;
        match self {
            r8_or_mem => 1,
            r16_or_mem => 2,
            r32_or_mem => 4,
            _ => 8,
        }
    }
}
