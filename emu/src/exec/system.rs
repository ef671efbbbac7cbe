//! System instructions, I/O, segment registers, far transfers, CMPXCHG8B/16B. Control registers are in `control.rs`.
//!
//! All of them are plain functions on the CPU that leave the fast path. The memory operand's linear address is in
//! `Cpu::tmp` (`Op::base` says so), the operation's width in `Op::aux`.

use super::{Bound, Unsupported, control, fast, push_slow};
use crate::block::Builder;
use crate::cpu::deliver::Source;
use crate::cpu::fault::{Fault, Trap, vector};
use crate::cpu::flags::{self, Lazy};
use crate::cpu::regs::{DS, ES, FS, GS, RAX, RBX, RCX, RDX, RSP, SS, cr4};
use crate::cpu::segments::rights;
use crate::cpu::{Cpu, offset};
use crate::decode::{Insn, Operand, Operation as O};
use crate::engine::{passing_handler, slow_handler};
use crate::event::Query;
use crate::mem::{Access, is_canonical};
use crate::op::{Handler, Op, access};
use crate::state::{Shadow, Table};

/// `Op::scale` of an instruction with an immediate in `Op::imm`: the port of IN and OUT, the word of PUSH.
pub(super) const IMMEDIATE: u8 = 1;

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
        O::Into => slow_handler!(into),
        O::Arpl => slow_handler!(arpl),
        O::Syscall => slow_handler!(fast::syscall),
        O::Sysret => slow_handler!(fast::sysret),
        O::Sysenter => slow_handler!(fast::sysenter),
        O::Sysexit => slow_handler!(fast::sysexit),
        O::Les | O::Lds | O::Lss | O::Lfs | O::Lgs => slow_handler!(load_far_pointer),
        O::In => slow_handler!(port_in),
        O::Out => slow_handler!(port_out),
        O::Cli => passing_handler!(cli),
        O::Sti => passing_handler!(sti),
        O::Hlt => slow_handler!(hlt),
        O::Cpuid => slow_handler!(cpuid),
        O::Rdtsc => slow_handler!(rdtsc),
        O::Rdtscp => slow_handler!(rdtscp),
        O::Rdpmc => slow_handler!(rdpmc),
        O::Rdrand | O::Rdseed => slow_handler!(random),
        O::Rdmsr => slow_handler!(rdmsr),
        O::Wrmsr => slow_handler!(wrmsr),
        O::Swapgs => passing_handler!(swapgs),
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
        O::Jmp | O::Call if i.operands[0] == Operand::Mem => Op { aux: i.mem_width - 2, ..op },
        O::Les => Op { src: ES as u8, ..op },
        O::Lds => Op { src: DS as u8, ..op },
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
    let f = if i.mem_width == 16 { passing_handler!(cmpxchg_16) } else { slow_handler!(cmpxchg_8) };
    push_slow(f, op, b)
}

/// The op of an instruction outside the fast path: registers in `dst` and `src`, an immediate in `imm`, the width in
/// `aux`; the offset of the memory operand will be in `Cpu::tmp`, which `base` names, its segment is in `access`.
pub(super) fn operands(i: &Insn, b: &mut Builder) -> Op {
    let mut op = Op { aux: i.width, ..Builder::blank() };
    if i.operands.contains(&Operand::Mem) {
        super::operand::push_offset(&i.mem, b);
        (op.base, op.access) = (offset::TMP, i.mem.seg);
    }
    for (n, operand) in i.operands.iter().take(2).enumerate() {
        match *operand {
            Operand::Reg(r) | Operand::Seg(r) | Operand::Control(r) | Operand::Debug(r) if n == 0 => op.dst = r,
            Operand::Reg(r) | Operand::Seg(r) | Operand::Control(r) | Operand::Debug(r) => op.src = r,
            Operand::Imm(value) => (op.imm, op.scale) = (value, IMMEDIATE),
            Operand::Far(selector, offset) => op.imm = u64::from(selector) << 32 | u64::from(offset),
            _ => {}
        }
    }
    op
}

/// Segment of the memory operand.
pub(super) fn segment(op: &Op) -> usize {
    usize::from(op.access & access::LOG) % 6
}

/// Linear address of the memory operand, of which `bytes` are accessed.
pub(super) fn address(cpu: &Cpu, op: &Op, bytes: u64, kind: Access) -> Result<u64, Trap> {
    cpu.linear(segment(op), cpu.tmp, bytes, kind)
}

/// The same, whether or not it may be accessed.
pub(super) fn unchecked_address(cpu: &Cpu, op: &Op) -> u64 {
    let segment = segment(op);
    let base = if cpu.is_long() && segment < FS { 0 } else { cpu.seg[segment].base };
    base.wrapping_add(cpu.tmp) & cpu.ip_mask
}

/// The operand that is memory, or else the register `reg`.
pub(super) fn read(cpu: &mut Cpu, op: &Op, reg: u8, bytes: u8) -> Result<u64, Trap> {
    if op.base == offset::TMP {
        let at = address(cpu, op, bytes.into(), Access::Read)?;
        return cpu.load_bytes(at, bytes);
    }
    Ok(cpu.register(reg, bytes))
}

/// Writes the first operand: 16 bits of memory, or the whole register.
pub(super) fn write_word(cpu: &mut Cpu, op: &Op, value: u64) -> Result<(), Trap> {
    if op.base == offset::TMP {
        let at = address(cpu, op, 2, Access::Write)?;
        return cpu.store(at, value, 2, cpu.user);
    }
    cpu.set_register(op.dst, op.aux, value);
    Ok(())
}

/// #UD in real and virtual-8086 mode.
pub(super) fn protected(cpu: &Cpu) -> Result<(), Trap> {
    if cpu.is_protected() { Ok(()) } else { Err(Fault::UD.into()) }
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
    pub(super) fn set_zero(&mut self, zero: bool) {
        self.flags = Lazy::explicit(self.flags.get() & !flags::ZF | if zero { flags::ZF } else { 0 });
    }

    /// #GP(0) in virtual-8086 mode with IOPL below 3 (SDM Vol. 3B, 20.2.7).
    pub(super) fn check_v86(&self) -> Result<(), Trap> {
        if self.is_v86() && !self.io_privileged() { Err(Fault::GP0.into()) } else { Ok(()) }
    }

    fn io_privileged(&self) -> bool {
        u64::from(self.cpl()) <= (self.rflags & flags::IOPL) >> 12
    }

    /// Whether `size` ports may be used: IOPL, else the TSS's permission bitmap (SDM Vol. 1, 19.5.2).
    pub(super) fn check_port(&mut self, port: u16, size: u8) -> Result<(), Trap> {
        if self.io_privileged() && !self.is_v86() {
            return Ok(());
        }
        let limit = u64::from(self.tr.limit);
        // 32 or 64 bits: a 16-bit TSS has no map.
        let has_map = matches!(self.tr.rights & (rights::P | rights::TYPE), 0x89 | 0x8b);
        if !has_map || limit < 103 {
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
        cpu.cast_shadow(Shadow::MovSs);
    }
    Ok(())
}

fn mov_from_segment(cpu: &mut Cpu, op: &Op) -> Result<(), Trap> {
    let selector = cpu.seg[usize::from(op.src) % 6].selector;
    write_word(cpu, op, selector.into())
}

fn push_segment(cpu: &mut Cpu, op: &Op) -> Result<(), Trap> {
    let selector = cpu.seg[usize::from(op.dst) % 6].selector;
    // With 32-bit operands silicon moves 16 bits, and leaves the rest of the stack's word alone.
    let written = if op.aux == 4 { 2 } else { op.aux };
    cpu.push_part(selector.into(), op.aux, written)
}

fn pop_segment(cpu: &mut Cpu, op: &Op) -> Result<(), Trap> {
    let selector = cpu.stack_word(0, op.aux)? as u16;
    let after = cpu.stack_moved(op.aux.into());
    cpu.load_segment(op.dst.into(), selector)?;
    if usize::from(op.dst) == SS {
        cpu.cast_shadow(Shadow::MovSs);
    }
    // With the width of the old SS.
    cpu.gpr[RSP] = after;
    Ok(())
}

/// LES, LDS, LSS, LFS, LGS: `src` is the segment register.
fn load_far_pointer(cpu: &mut Cpu, op: &Op) -> Result<(), Trap> {
    let (selector, value) = far_pointer(cpu, op)?;
    cpu.load_segment(op.src.into(), selector)?;
    cpu.set_register(op.dst, op.aux, value);
    Ok(())
}

/// Offset, then selector, from memory or from the instruction.
fn far_pointer(cpu: &mut Cpu, op: &Op) -> Result<(u16, u64), Trap> {
    if op.base != offset::TMP {
        return Ok(((op.imm >> 32) as u16, op.imm & u64::from(u32::MAX)));
    }
    let at = address(cpu, op, u64::from(op.aux) + 2, Access::Read)?;
    let offset = cpu.load_bytes(at, op.aux)?;
    Ok((cpu.load::<2>(at.wrapping_add(op.aux.into()), cpu.user)? as u16, offset))
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
    cpu.check_v86()?;
    cpu.iret(op.aux)
}

fn int(cpu: &mut Cpu, op: &Op) -> Result<(), Trap> {
    cpu.check_v86()?;
    cpu.deliver(op.imm as u8, None, Source::Software)
}

fn int3(cpu: &mut Cpu, _op: &Op) -> Result<(), Trap> {
    cpu.deliver(vector::BP, None, Source::Software)
}

/// SDM Vol. 2A, INTO.
fn into(cpu: &mut Cpu, _op: &Op) -> Result<(), Trap> {
    if cpu.flags.get() & flags::OF == 0 {
        return Ok(());
    }
    cpu.deliver(vector::OF, None, Source::Software)
}

fn int1(cpu: &mut Cpu, _op: &Op) -> Result<(), Trap> {
    cpu.deliver(vector::DB, None, Source::Privileged)
}

fn port(cpu: &Cpu, op: &Op) -> u16 {
    if op.scale == IMMEDIATE { op.imm as u8 as u16 } else { cpu.gpr[RDX] as u16 }
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
        cpu.cast_shadow(Shadow::Sti);
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
    fast::long(cpu)?;
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
    let at = address(cpu, op, 1, Access::Read)?;
    cpu.load_bytes(at, 1).map(|_| ())
}

/// Limit and base: with 16-bit operands the base has 24 bits.
fn load_table(cpu: &mut Cpu, op: &Op) -> Result<Table, Trap> {
    privileged(cpu)?;
    let bytes = op.aux.max(4);
    let at = address(cpu, op, 2 + u64::from(bytes), Access::Read)?;
    let limit = cpu.load::<2>(at, cpu.user)? as u16;
    let base = cpu.load_bytes(at.wrapping_add(2), bytes)?;
    let base = if op.aux == 2 { base & 0xff_ffff } else { base };
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
    let bytes = u64::from(op.aux.max(4));
    let at = address(cpu, op, 2 + bytes, Access::Write)?;
    cpu.probe_write(at.wrapping_add(2), bytes, cpu.user)?;
    cpu.store(at, table.limit.into(), 2, cpu.user)?;
    cpu.store(at.wrapping_add(2), table.base, bytes as usize, cpu.user)
}

fn sgdt(cpu: &mut Cpu, op: &Op) -> Result<(), Trap> {
    store_table(cpu, op, cpu.gdtr)
}

fn sidt(cpu: &mut Cpu, op: &Op) -> Result<(), Trap> {
    store_table(cpu, op, cpu.idtr)
}

fn lldt(cpu: &mut Cpu, op: &Op) -> Result<(), Trap> {
    protected(cpu)?;
    privileged(cpu)?;
    let selector = read(cpu, op, op.dst, 2)? as u16;
    cpu.load_ldt(selector)
}

fn ltr(cpu: &mut Cpu, op: &Op) -> Result<(), Trap> {
    protected(cpu)?;
    privileged(cpu)?;
    let selector = read(cpu, op, op.dst, 2)? as u16;
    cpu.load_tr(selector)
}

fn sldt(cpu: &mut Cpu, op: &Op) -> Result<(), Trap> {
    protected(cpu)?;
    may_look(cpu)?;
    write_word(cpu, op, cpu.ldtr.selector.into())
}

fn str(cpu: &mut Cpu, op: &Op) -> Result<(), Trap> {
    protected(cpu)?;
    may_look(cpu)?;
    write_word(cpu, op, cpu.tr.selector.into())
}

/// LAR and LSL: the value, or ZF = 0.
fn look_up(cpu: &mut Cpu, op: &Op, of: fn(&mut Cpu, u16) -> Result<Option<u64>, Trap>) -> Result<(), Trap> {
    protected(cpu)?;
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
    protected(cpu)?;
    let selector = read(cpu, op, op.dst, 2)? as u16;
    let zero = cpu.verify(selector, false)?;
    cpu.set_zero(zero);
    Ok(())
}

fn verw(cpu: &mut Cpu, op: &Op) -> Result<(), Trap> {
    protected(cpu)?;
    let selector = read(cpu, op, op.dst, 2)? as u16;
    let zero = cpu.verify(selector, true)?;
    cpu.set_zero(zero);
    Ok(())
}

/// ARPL (SDM Vol. 2A): the destination's RPL is raised to the source's.
fn arpl(cpu: &mut Cpu, op: &Op) -> Result<(), Trap> {
    protected(cpu)?;
    let source = cpu.register(op.src, 2);
    let selector = read(cpu, op, op.dst, 2)?;
    let raises = selector & 3 < source & 3;
    if raises {
        let result = selector & !3 | source & 3;
        match op.base {
            offset::TMP => write_word(cpu, op, result)?,
            _ => cpu.set_register(op.dst, 2, result),
        }
    }
    cpu.set_zero(raises);
    Ok(())
}

/// CMPXCHG8B (SDM Vol. 2A): writes whatever the comparison says.
fn cmpxchg_8(cpu: &mut Cpu, op: &Op) -> Result<(), Trap> {
    let at = address(cpu, op, 8, Access::Write)?;
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
    let at = address(cpu, op, 16, Access::Write)?;
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
