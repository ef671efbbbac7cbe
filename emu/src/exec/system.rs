//! System instructions, I/O, segment registers, far transfers, CMPXCHG8B/16B. Control registers are in `control.rs`.
//!
//! All of them are plain functions on the CPU that leave the fast path. The memory operand's linear address is in
//! `Cpu::tmp` (`Op::base` says so), the operation's width in `Op::aux`.

use super::{Bound, Unsupported, control, push_slow};
use crate::block::Builder;
use crate::cpu::deliver::Source;
use crate::cpu::fault::{Fault, Trap, vector};
use crate::cpu::flags::{self, Lazy};
use crate::cpu::regs::{CS, FS, GS, R11, RAX, RBX, RCX, RDX, RSP, SS, cr4, efer};
use crate::cpu::segments::rights;
use crate::cpu::{Cpu, offset};
use crate::decode::{Insn, Operand, Operation as O};
use crate::engine::slow_handler;
use crate::event::Query;
use crate::mem::is_canonical;
use crate::op::{Handler, Op, access};
use crate::state::{Segment, Shadow, Table};

/// `Op::scale` of IN and OUT with the port in `Op::imm`, not DX.
const PORT_IMM: u8 = 1;

/// Binds a system instruction.
pub(crate) fn bind(i: &Insn, b: &mut Builder) -> Bound {
    let f: Handler = match i.operation {
        O::Mov | O::Push | O::Pop => return segment_or_control(i, b),
        O::Jmp if i.is_far() => slow_handler!(jmp_far),
        O::Call if i.is_far() => slow_handler!(call_far),
        O::RetFar => slow_handler!(ret_far),
        O::Iret => slow_handler!(iret),
        O::Int => slow_handler!(int),
        O::Int3 => slow_handler!(int3),
        O::Int1 => slow_handler!(int1),
        O::Syscall => slow_handler!(syscall),
        O::Sysret => slow_handler!(sysret),
        O::Lss | O::Lfs | O::Lgs => slow_handler!(load_far_pointer),
        O::In => slow_handler!(port_in),
        O::Out => slow_handler!(port_out),
        O::Cli => slow_handler!(cli),
        O::Sti => slow_handler!(sti),
        O::Hlt => slow_handler!(hlt),
        O::Cpuid => slow_handler!(cpuid),
        O::Rdtsc => slow_handler!(rdtsc),
        O::Rdtscp => slow_handler!(rdtscp),
        O::Rdpmc => slow_handler!(rdpmc),
        O::Rdrand | O::Rdseed => slow_handler!(random),
        O::Rdmsr => slow_handler!(rdmsr),
        O::Wrmsr => slow_handler!(wrmsr),
        O::Swapgs => slow_handler!(swapgs),
        O::Wbinvd => slow_handler!(supervisor_nop),
        O::Serialize => slow_handler!(serialize),
        O::Clflush => slow_handler!(clflush),
        O::Lgdt => slow_handler!(lgdt),
        O::Lidt => slow_handler!(lidt),
        O::Sgdt => slow_handler!(sgdt),
        O::Sidt => slow_handler!(sidt),
        O::Lldt => slow_handler!(lldt),
        O::Ltr => slow_handler!(ltr),
        O::Sldt => slow_handler!(sldt),
        O::Str => slow_handler!(str),
        O::Lar => slow_handler!(lar),
        O::Lsl => slow_handler!(lsl),
        O::Verr => slow_handler!(verr),
        O::Verw => slow_handler!(verw),
        _ => return control::bind(i, b),
    };
    let op = operands(i, b);
    let op = match i.operation {
        O::In => Op { aux: i.width, ..op },
        O::Out => Op { aux: i.source_width, ..op },
        O::Jmp | O::Call => Op { aux: i.mem_width - 2, ..op },
        O::Lss => Op { src: SS as u8, ..op },
        O::Lfs => Op { src: FS as u8, ..op },
        O::Lgs => Op { src: GS as u8, ..op },
        _ => op,
    };
    push_slow(f, op, b)
}

/// MOV, PUSH and POP with a segment, control or debug register.
fn segment_or_control(i: &Insn, b: &mut Builder) -> Bound {
    let f = match (i.operation, i.operands[0], i.operands[1]) {
        (O::Mov, Operand::Seg(_), _) => slow_handler!(mov_to_segment),
        (O::Mov, _, Operand::Seg(_)) => slow_handler!(mov_from_segment),
        (O::Push, Operand::Seg(_), _) => slow_handler!(push_segment),
        (O::Pop, Operand::Seg(_), _) => slow_handler!(pop_segment),
        (O::Mov, ..) => return control::bind(i, b),
        _ => return Err(Unsupported),
    };
    let op = operands(i, b);
    push_slow(f, op, b)
}

/// CMPXCHG8B, CMPXCHG16B.
pub(crate) fn cmpxchg8b(i: &Insn, b: &mut Builder) -> Bound {
    let op = operands(i, b);
    let f = if i.mem_width == 16 { slow_handler!(cmpxchg_16) } else { slow_handler!(cmpxchg_8) };
    push_slow(f, op, b)
}

/// The op of an instruction outside the fast path: registers in `dst` and `src`, an immediate in `imm`, the width in
/// `aux`; the address of the memory operand will be in `Cpu::tmp`, which `base` names.
pub(super) fn operands(i: &Insn, b: &mut Builder) -> Op {
    let mut op = Op { aux: i.width, ..Builder::blank() };
    if i.operands.contains(&Operand::Mem) {
        super::operand::push_address(i, b, true);
        op.base = offset::TMP;
        op.access = if i.mem.stack { access::STACK } else { 0 };
    }
    for (n, operand) in i.operands.iter().take(2).enumerate() {
        match *operand {
            Operand::Reg(r) | Operand::Seg(r) | Operand::Control(r) | Operand::Debug(r) if n == 0 => op.dst = r,
            Operand::Reg(r) | Operand::Seg(r) | Operand::Control(r) | Operand::Debug(r) => op.src = r,
            Operand::Imm(value) => (op.imm, op.scale) = (value, PORT_IMM),
            _ => {}
        }
    }
    op
}

/// Linear address of the memory operand, `bytes` long.
pub(super) fn address(cpu: &Cpu, op: &Op, bytes: u64) -> Result<u64, Trap> {
    let at = cpu.tmp;
    if is_canonical(at) && is_canonical(at.wrapping_add(bytes - 1)) {
        return Ok(at);
    }
    Err(if op.access & access::STACK != 0 { Fault::SS0 } else { Fault::GP0 }.into())
}

/// The operand that is memory, or else the register `reg`.
pub(super) fn read(cpu: &mut Cpu, op: &Op, reg: u8, bytes: u8) -> Result<u64, Trap> {
    if op.base == offset::TMP {
        let at = address(cpu, op, bytes.into())?;
        return cpu.load_bytes(at, bytes);
    }
    Ok(cpu.register(reg, bytes))
}

/// Writes the first operand: 16 bits of memory, or the whole register.
pub(super) fn write_word(cpu: &mut Cpu, op: &Op, value: u64) -> Result<(), Trap> {
    if op.base == offset::TMP {
        let at = address(cpu, op, 2)?;
        return cpu.store(at, value, 2, cpu.user);
    }
    cpu.set_register(op.dst, op.aux, value);
    Ok(())
}

/// #GP(0) unless at CPL 0.
pub(super) fn privileged(cpu: &Cpu) -> Result<(), Trap> {
    if cpu.cpl() == 0 { Ok(()) } else { Err(Fault::GP0.into()) }
}

impl Cpu {
    /// The low `bytes` of the register at `offset` (odd: AH, CH, DH, BH).
    pub(super) fn register(&self, offset: u8, bytes: u8) -> u64 {
        let value = self.gpr[usize::from(offset / 8) % 16] >> (8 * (offset % 8));
        value & u64::MAX >> (64 - 8 * u32::from(bytes))
    }

    /// Writes it as instructions do: 32 bits clear the upper half, 8 and 16 bits leave the rest.
    pub(super) fn set_register(&mut self, offset: u8, bytes: u8, value: u64) {
        let register = &mut self.gpr[usize::from(offset / 8) % 16];
        let mask = u64::MAX >> (64 - 8 * u32::from(bytes));
        let shift = 8 * (offset % 8);
        *register = match bytes {
            4 | 8 => value & mask,
            _ => *register & !(mask << shift) | ((value & mask) << shift),
        };
    }

    /// Sets ZF, leaves the other flags.
    fn set_zero(&mut self, zero: bool) {
        self.flags = Lazy::explicit(self.flags.get() & !flags::ZF | if zero { flags::ZF } else { 0 });
    }

    fn io_privileged(&self) -> bool {
        u64::from(self.cpl()) <= (self.rflags & flags::IOPL) >> 12
    }

    /// Whether `size` ports may be used: IOPL, else the TSS's permission bitmap (SDM Vol. 1, 19.5.2).
    pub(super) fn check_port(&mut self, port: u16, size: u8) -> Result<(), Trap> {
        if self.io_privileged() {
            return Ok(());
        }
        let limit = u64::from(self.tr.limit);
        let long_tss = matches!(self.tr.rights & (rights::P | rights::TYPE), 0x89 | 0x8b);
        if !long_tss || limit < 103 {
            return Err(Fault::GP0.into());
        }
        let map = self.load_system::<2>(self.tr.base.wrapping_add(102))?;
        let byte = map + u64::from(port / 8);
        if byte + 1 > limit {
            return Err(Fault::GP0.into());
        }
        let denied = self.load_system::<2>(self.tr.base.wrapping_add(byte))? >> (port % 8);
        if denied & ((1 << size) - 1) != 0 { Err(Fault::GP0.into()) } else { Ok(()) }
    }
}

fn mov_to_segment(cpu: &mut Cpu, op: &Op) -> Result<(), Trap> {
    let selector = read(cpu, op, op.src, 2)? as u16;
    cpu.load_segment(op.dst.into(), selector)?;
    if usize::from(op.dst) == SS {
        cpu.shadow = Shadow::MovSs;
    }
    Ok(())
}

fn mov_from_segment(cpu: &mut Cpu, op: &Op) -> Result<(), Trap> {
    let selector = cpu.seg[usize::from(op.src) % 6].selector;
    write_word(cpu, op, selector.into())
}

fn push_segment(cpu: &mut Cpu, op: &Op) -> Result<(), Trap> {
    let selector = cpu.seg[usize::from(op.dst) % 6].selector;
    let sp = cpu.gpr[RSP].wrapping_sub(op.aux.into());
    if !is_canonical(sp) {
        return Err(Fault::SS0.into());
    }
    cpu.store(sp, selector.into(), op.aux.into(), cpu.user)?;
    cpu.gpr[RSP] = sp;
    Ok(())
}

fn pop_segment(cpu: &mut Cpu, op: &Op) -> Result<(), Trap> {
    let sp = cpu.gpr[RSP];
    if !is_canonical(sp) {
        return Err(Fault::SS0.into());
    }
    let selector = cpu.load_bytes(sp, op.aux)? as u16;
    cpu.load_segment(op.dst.into(), selector)?;
    cpu.gpr[RSP] = sp.wrapping_add(op.aux.into());
    Ok(())
}

/// LSS, LFS, LGS: offset, then selector; `src` is the segment register.
fn load_far_pointer(cpu: &mut Cpu, op: &Op) -> Result<(), Trap> {
    let at = address(cpu, op, u64::from(op.aux) + 2)?;
    let value = cpu.load_bytes(at, op.aux)?;
    let selector = cpu.load::<2>(at.wrapping_add(op.aux.into()), cpu.user)? as u16;
    cpu.load_segment(op.src.into(), selector)?;
    cpu.set_register(op.dst, op.aux, value);
    Ok(())
}

fn far_pointer(cpu: &mut Cpu, op: &Op) -> Result<(u16, u64), Trap> {
    let at = address(cpu, op, u64::from(op.aux) + 2)?;
    let rip = cpu.load_bytes(at, op.aux)?;
    Ok((cpu.load::<2>(at.wrapping_add(op.aux.into()), cpu.user)? as u16, rip))
}

fn jmp_far(cpu: &mut Cpu, op: &Op) -> Result<(), Trap> {
    let (selector, rip) = far_pointer(cpu, op)?;
    cpu.far_jump(selector, rip, None)
}

fn call_far(cpu: &mut Cpu, op: &Op) -> Result<(), Trap> {
    let (selector, rip) = far_pointer(cpu, op)?;
    cpu.far_jump(selector, rip, Some(op.aux))
}

fn ret_far(cpu: &mut Cpu, op: &Op) -> Result<(), Trap> {
    cpu.far_return(op.aux, op.imm & 0xffff)
}

fn iret(cpu: &mut Cpu, op: &Op) -> Result<(), Trap> {
    cpu.iret(op.aux)
}

fn int(cpu: &mut Cpu, op: &Op) -> Result<(), Trap> {
    cpu.deliver(op.imm as u8, None, Source::Software)
}

fn int3(cpu: &mut Cpu, _op: &Op) -> Result<(), Trap> {
    cpu.deliver(vector::BP, None, Source::Software)
}

fn int1(cpu: &mut Cpu, _op: &Op) -> Result<(), Trap> {
    cpu.deliver(vector::DB, None, Source::Privileged)
}

/// SYSCALL (SDM Vol. 2B): flat segments, whatever the tables say.
fn syscall(cpu: &mut Cpu, _op: &Op) -> Result<(), Trap> {
    if cpu.msr.efer & efer::SCE == 0 {
        return Err(Fault::UD.into());
    }
    let image = cpu.rflags_all() & !flags::RF;
    (cpu.gpr[RCX], cpu.gpr[R11]) = (cpu.rip, image);
    cpu.rip = cpu.msr.lstar;
    enter_flat(cpu, (cpu.msr.star >> 32) as u16 & !3, 8, 0);
    cpu.set_rflags_all(image & !cpu.msr.fmask);
    // Single-stepping goes on in the handler only if the mask lets it.
    cpu.stepping &= cpu.rflags & flags::TF != 0;
    Ok(())
}

/// SYSRET (SDM Vol. 2B), to 64-bit code.
fn sysret(cpu: &mut Cpu, op: &Op) -> Result<(), Trap> {
    if cpu.msr.efer & efer::SCE == 0 {
        return Err(Fault::UD.into());
    }
    privileged(cpu)?;
    if op.aux != 8 {
        cpu.note_unimplemented("compatibility mode");
        return Err(Fault::GP0.into());
    }
    let rip = cpu.gpr[RCX];
    if !is_canonical(rip) {
        return Err(Fault::GP0.into());
    }
    cpu.rip = rip;
    let selector = ((cpu.msr.star >> 48) as u16).wrapping_add(16);
    enter_flat(cpu, selector, 0u16.wrapping_sub(8), 3);
    cpu.set_rflags_all(cpu.gpr[R11] & 0x003c_7fd7);
    Ok(())
}

/// Flat CS and SS at `cpl`: SS is `to_stack` from CS.
fn enter_flat(cpu: &mut Cpu, code: u16, to_stack: u16, cpl: u16) {
    let segment = |selector: u16, rights: u16| Segment {
        selector: selector & !3 | cpl,
        base: 0,
        limit: u32::MAX,
        rights: rights | cpl << 5,
    };
    let code = code & !3;
    cpu.seg[CS] = segment(code, rights::FLAT_CODE);
    cpu.seg[SS] = segment(code.wrapping_add(to_stack), rights::FLAT_DATA);
}

fn port(cpu: &Cpu, op: &Op) -> u16 {
    if op.scale == PORT_IMM { op.imm as u8 as u16 } else { cpu.gpr[RDX] as u16 }
}

fn port_in(cpu: &mut Cpu, op: &Op) -> Result<(), Trap> {
    let port = port(cpu, op);
    cpu.check_port(port, op.aux)?;
    let value = cpu.port_read(port, op.aux)?;
    cpu.set_register((RAX * 8) as u8, op.aux, value.into());
    Ok(())
}

fn port_out(cpu: &mut Cpu, op: &Op) -> Result<(), Trap> {
    let port = port(cpu, op);
    cpu.check_port(port, op.aux)?;
    cpu.port_write(port, op.aux, cpu.gpr[RAX] as u32)
}

fn cli(cpu: &mut Cpu, _op: &Op) -> Result<(), Trap> {
    if !cpu.io_privileged() {
        return Err(Fault::GP0.into());
    }
    cpu.rflags &= !flags::IF;
    Ok(())
}

/// STI: interrupts stay off for one more instruction if they were off.
fn sti(cpu: &mut Cpu, _op: &Op) -> Result<(), Trap> {
    if !cpu.io_privileged() {
        return Err(Fault::GP0.into());
    }
    if cpu.rflags & flags::IF == 0 {
        cpu.shadow = Shadow::Sti;
    }
    cpu.rflags |= flags::IF;
    Ok(())
}

fn hlt(cpu: &mut Cpu, _op: &Op) -> Result<(), Trap> {
    privileged(cpu)?;
    cpu.halted = true;
    Ok(())
}

fn cpuid(cpu: &mut Cpu, _op: &Op) -> Result<(), Trap> {
    cpu.cpuid();
    Ok(())
}

fn set_pair(cpu: &mut Cpu, value: u64) {
    cpu.gpr[RAX] = value & u64::from(u32::MAX);
    cpu.gpr[RDX] = value >> 32;
}

fn rdtsc(cpu: &mut Cpu, _op: &Op) -> Result<(), Trap> {
    if cpu.cr4 & cr4::TSD != 0 {
        privileged(cpu)?;
    }
    let value = cpu.tsc()?;
    set_pair(cpu, value);
    Ok(())
}

fn rdtscp(cpu: &mut Cpu, op: &Op) -> Result<(), Trap> {
    rdtsc(cpu, op)?;
    cpu.gpr[RCX] = cpu.msr.tsc_aux.into();
    Ok(())
}

fn rdpmc(cpu: &mut Cpu, _op: &Op) -> Result<(), Trap> {
    let value = cpu.read_counter(cpu.gpr[RCX] as u32)?;
    set_pair(cpu, value);
    Ok(())
}

/// RDRAND, RDSEED: always successful.
fn random(cpu: &mut Cpu, op: &Op) -> Result<(), Trap> {
    let value = cpu.query(Query::Random)?;
    cpu.set_register(op.dst, op.aux, value);
    cpu.flags = Lazy::explicit(flags::CF);
    Ok(())
}

fn rdmsr(cpu: &mut Cpu, _op: &Op) -> Result<(), Trap> {
    privileged(cpu)?;
    let value = cpu.read_msr(cpu.gpr[RCX] as u32)?;
    set_pair(cpu, value);
    Ok(())
}

fn wrmsr(cpu: &mut Cpu, _op: &Op) -> Result<(), Trap> {
    privileged(cpu)?;
    let value = cpu.gpr[RAX] & u64::from(u32::MAX) | cpu.gpr[RDX] << 32;
    cpu.write_msr(cpu.gpr[RCX] as u32, value)
}

fn swapgs(cpu: &mut Cpu, _op: &Op) -> Result<(), Trap> {
    privileged(cpu)?;
    std::mem::swap(&mut cpu.seg[GS].base, &mut cpu.msr.kernel_gs_base);
    Ok(())
}

/// SERIALIZE: every instruction is finished before the next begins.
fn serialize(_cpu: &mut Cpu, _op: &Op) -> Result<(), Trap> {
    Ok(())
}

fn supervisor_nop(cpu: &mut Cpu, _op: &Op) -> Result<(), Trap> {
    privileged(cpu)
}

/// CLFLUSH: there are no caches, but the address must be readable.
fn clflush(cpu: &mut Cpu, op: &Op) -> Result<(), Trap> {
    let at = address(cpu, op, 1)?;
    cpu.load_bytes(at, 1).map(|_| ())
}

fn load_table(cpu: &mut Cpu, op: &Op) -> Result<Table, Trap> {
    privileged(cpu)?;
    let at = address(cpu, op, 10)?;
    let limit = cpu.load::<2>(at, false)? as u16;
    let base = cpu.load::<8>(at.wrapping_add(2), false)?;
    if is_canonical(base) { Ok(Table { base, limit }) } else { Err(Fault::GP0.into()) }
}

fn lgdt(cpu: &mut Cpu, op: &Op) -> Result<(), Trap> {
    cpu.gdtr = load_table(cpu, op)?;
    Ok(())
}

fn lidt(cpu: &mut Cpu, op: &Op) -> Result<(), Trap> {
    cpu.idtr = load_table(cpu, op)?;
    Ok(())
}

/// SGDT, SIDT, SLDT, STR, SMSW are for CPL 0 under CR4.UMIP.
pub(super) fn may_look(cpu: &Cpu) -> Result<(), Trap> {
    if cpu.cr4 & cr4::UMIP != 0 { privileged(cpu) } else { Ok(()) }
}

fn store_table(cpu: &mut Cpu, op: &Op, table: Table) -> Result<(), Trap> {
    may_look(cpu)?;
    let at = address(cpu, op, 10)?;
    cpu.probe_write(at.wrapping_add(2), 8, cpu.user)?;
    cpu.store(at, table.limit.into(), 2, cpu.user)?;
    cpu.store(at.wrapping_add(2), table.base, 8, cpu.user)
}

fn sgdt(cpu: &mut Cpu, op: &Op) -> Result<(), Trap> {
    store_table(cpu, op, cpu.gdtr)
}

fn sidt(cpu: &mut Cpu, op: &Op) -> Result<(), Trap> {
    store_table(cpu, op, cpu.idtr)
}

fn lldt(cpu: &mut Cpu, op: &Op) -> Result<(), Trap> {
    privileged(cpu)?;
    let selector = read(cpu, op, op.dst, 2)? as u16;
    cpu.load_ldt(selector)
}

fn ltr(cpu: &mut Cpu, op: &Op) -> Result<(), Trap> {
    privileged(cpu)?;
    let selector = read(cpu, op, op.dst, 2)? as u16;
    cpu.load_tr(selector)
}

fn sldt(cpu: &mut Cpu, op: &Op) -> Result<(), Trap> {
    may_look(cpu)?;
    write_word(cpu, op, cpu.ldtr.selector.into())
}

fn str(cpu: &mut Cpu, op: &Op) -> Result<(), Trap> {
    may_look(cpu)?;
    write_word(cpu, op, cpu.tr.selector.into())
}

/// LAR and LSL: the value, or ZF = 0.
fn look_up(cpu: &mut Cpu, op: &Op, of: fn(&mut Cpu, u16) -> Result<Option<u64>, Trap>) -> Result<(), Trap> {
    let selector = read(cpu, op, op.src, 2)? as u16;
    let found = of(cpu, selector)?;
    if let Some(value) = found {
        cpu.set_register(op.dst, op.aux, value);
    }
    cpu.set_zero(found.is_some());
    Ok(())
}

fn lar(cpu: &mut Cpu, op: &Op) -> Result<(), Trap> {
    look_up(cpu, op, Cpu::access_rights)
}

fn lsl(cpu: &mut Cpu, op: &Op) -> Result<(), Trap> {
    look_up(cpu, op, Cpu::segment_limit)
}

fn verr(cpu: &mut Cpu, op: &Op) -> Result<(), Trap> {
    let selector = read(cpu, op, op.dst, 2)? as u16;
    let zero = cpu.verify(selector, false)?;
    cpu.set_zero(zero);
    Ok(())
}

fn verw(cpu: &mut Cpu, op: &Op) -> Result<(), Trap> {
    let selector = read(cpu, op, op.dst, 2)? as u16;
    let zero = cpu.verify(selector, true)?;
    cpu.set_zero(zero);
    Ok(())
}

/// CMPXCHG8B (SDM Vol. 2A): writes whatever the comparison says.
fn cmpxchg_8(cpu: &mut Cpu, op: &Op) -> Result<(), Trap> {
    let at = address(cpu, op, 8)?;
    let low = |value: u64| value & u64::from(u32::MAX);
    cpu.probe_write(at, 8, cpu.user)?;
    let old = cpu.load::<8>(at, cpu.user)?;
    let equal = old == low(cpu.gpr[RAX]) | cpu.gpr[RDX] << 32;
    let new = if equal { low(cpu.gpr[RBX]) | cpu.gpr[RCX] << 32 } else { old };
    cpu.store(at, new, 8, cpu.user)?;
    if !equal {
        set_pair(cpu, old);
    }
    cpu.set_zero(equal);
    Ok(())
}

fn cmpxchg_16(cpu: &mut Cpu, op: &Op) -> Result<(), Trap> {
    // Alignment comes first: #GP(0) also where the address is not canonical in the stack segment.
    if !cpu.tmp.is_multiple_of(16) {
        return Err(Fault::GP0.into());
    }
    let at = address(cpu, op, 16)?;
    cpu.probe_write(at, 16, cpu.user)?;
    let old = [cpu.load::<8>(at, cpu.user)?, cpu.load::<8>(at + 8, cpu.user)?];
    let equal = old == [cpu.gpr[RAX], cpu.gpr[RDX]];
    let new = if equal { [cpu.gpr[RBX], cpu.gpr[RCX]] } else { old };
    cpu.store(at, new[0], 8, cpu.user)?;
    cpu.store(at + 8, new[1], 8, cpu.user)?;
    if !equal {
        [cpu.gpr[RAX], cpu.gpr[RDX]] = old;
    }
    cpu.set_zero(equal);
    Ok(())
}
