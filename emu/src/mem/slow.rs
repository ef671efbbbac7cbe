//! Memory accesses that the TLB does not answer: fills, page crossings, device memory, writes to decoded code.
//!
//! A handler commits nothing before its last check; on a miss it tail-calls `mem_miss`, which fills the TLB and runs
//! the op again, or *bounces*: the operand is gathered into `Cpu::bounce`, the TLB entry points there for one op, and
//! what the op wrote is scattered back. So no handler has a second version.

use super::paging::Walk;
use super::{Access, Entry, PAGE_BITS, PAGE_MASK, Privilege, is_canonical};
use crate::cpu::fault::{Fault, Trap};
use crate::cpu::flags;
use crate::cpu::regs::cr0;
use crate::cpu::{Cpu, Exit};
use crate::engine::{go, leave, leave_before, return_op, run_ops};
use crate::op::{Header, Op, access};

/// The physical pieces of an operand: a second one if it crosses a page.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Parts {
    first: (u64, usize),
    second: (u64, usize),
}

/// What stands between an op and its operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Prepared {
    /// The TLB now answers: run the op again.
    Ready,
    /// Leave, `Cpu::exit` says why: the access is not allowed, or the operand overlaps decoded code and the instruction
    /// must run alone.
    Leave,
    /// The operand must be gathered and scattered: `Cpu::parts`.
    Bounce,
}

/// Way on for an op whose operand at `addr` the TLB does not know.
///
/// # Safety
/// A handler's tail; the op has `access` set and has committed nothing.
#[cold]
#[inline(never)]
pub(crate) unsafe fn mem_miss(cpu: *mut Cpu, op: *const Op, budget: i64, addr: u64) -> i64 {
    // SAFETY: as the caller promises; no other reference to the CPU is live.
    unsafe {
        let access = (*op).access;
        match (*cpu).prepare(addr, access) {
            Prepared::Ready => go!(cpu, op, budget),
            Prepared::Leave => leave_before(cpu, op, budget),
            Prepared::Bounce if access & access::LEAVES != 0 => {
                (*cpu).exit = Exit::Single;
                leave_before(cpu, op, budget)
            }
            Prepared::Bounce => {
                let left = bounce(cpu, op, budget, addr);
                if (*cpu).exit != Exit::None {
                    leave!(cpu, left)
                }
                go!(cpu, op.add(1), left)
            }
        }
    }
}

/// Runs one op on a gathered operand; returns the budget left.
///
/// # Safety
/// As for `mem_miss`.
#[inline(never)]
unsafe fn bounce(cpu: *mut Cpu, op: *const Op, budget: i64, addr: u64) -> i64 {
    // SAFETY: the op reads and writes only the bounce buffer through the entry set here, and runs to `return_op`.
    unsafe {
        let access = (*op).access;
        let size = 1u64 << (access & access::LOG);
        let parts = (*cpu).parts;
        (*cpu).gather(&parts, access);
        let buffer = (&raw mut (*cpu).bounce).cast::<u8>();
        let page = addr.wrapping_add(size - 1) & !PAGE_MASK;
        let addend = buffer.expose_provenance().wrapping_sub(addr as usize);
        let slot: *mut Entry = (*(*cpu).tlb).entry(addr);
        let saved = slot.replace(Entry { read: page, write: page, addend, phys: u64::MAX });
        let scratch = (&raw mut (*cpu).scratch).cast::<Op>();
        scratch.cast::<Header>().write(*Op::header(op));
        scratch.add(1).write(Op { slot: 1, ..*op });
        scratch.add(2).write(Op { f: return_op, ..*op });
        let budget = run_one(cpu, scratch.add(1), budget);
        slot.write(saved);
        if (*cpu).exit == Exit::None && access & access::WRITE != 0 {
            (*cpu).scatter(&parts);
        }
        budget
    }
}

#[inline(never)]
unsafe fn run_one(cpu: *mut Cpu, op: *const Op, budget: i64) -> i64 {
    // SAFETY: as for `bounce`.
    unsafe { run_ops(cpu, op, budget) }
}

impl Cpu {
    /// Checks an access and makes it possible: see `Prepared`.
    #[inline(never)]
    pub(crate) fn prepare(&mut self, unbounded: u64, code: u8) -> Prepared {
        // Outside 64-bit mode a sum beyond 4 GiB wraps.
        let addr = unbounded & self.ip_mask;
        let size = 1u64 << (code & access::LOG);
        let kind = if code & access::WRITE != 0 { Access::Write } else { Access::Read };
        let parts = match self.operand(addr, size, kind, code & access::STACK != 0) {
            Ok(Some(parts)) => parts,
            Ok(None) => {
                self.exit = Exit::Single;
                return Prepared::Leave;
            }
            Err(trap) => {
                self.exit = Exit::Trap(trap);
                return Prepared::Leave;
            }
        };
        if let Err(trap) = self.tell_time(&parts) {
            self.exit = Exit::Trap(trap);
            return Prepared::Leave;
        }
        self.watch_memory(addr, size, kind);
        let (phys, _) = parts.first;
        if parts.second.1 == 0 && !self.checked() && self.mem.is_ram(phys, size) {
            let watched = kind == Access::Write && self.mem.is_watched(phys);
            if !watched {
                self.fill(unbounded, phys, kind);
                return Prepared::Ready;
            }
        }
        self.parts = parts;
        Prepared::Bounce
    }

    /// Translates an operand; `None`: its instruction must run alone. That is found out before anything is marked: the
    /// instruction will run again from its start, and may look at what would be marked.
    fn operand(&mut self, addr: u64, size: u64, kind: Access, stack: bool) -> Result<Option<Parts>, Trap> {
        let by = Privilege::explicit(self.user);
        let last = self.check_address(addr, size, by, stack)?;
        let mut walk = Walk::default();
        self.look_up(addr, kind, by, &mut walk)?;
        let room = 0x1000 - (addr & PAGE_MASK);
        if !self.single && self.must_be_alone(&walk, size.min(room), kind) {
            return Ok(None);
        }
        if room >= size {
            self.mark_used(addr, &walk, kind);
            return Ok(Some(Parts { first: (walk.phys, size as usize), second: (0, 0) }));
        }
        let mut second = Walk::default();
        if !self.single
            && self.look_up(last & !PAGE_MASK, kind, by, &mut second).is_ok()
            && self.must_be_alone(&second, size - room, kind)
        {
            return Ok(None);
        }
        self.locate(addr, size, kind, by, stack).map(Some)
    }

    /// Whether an access reaches a device, writes to decoded code or changes the mapping.
    fn must_be_alone(&self, walk: &Walk, length: u64, kind: Access) -> bool {
        let changes = || self.mem.has_code(walk.phys, length) || self.unmaps(walk.phys, length as usize);
        self.marks_code(walk, kind) || !self.mem.is_ram(walk.phys, 1) || kind == Access::Write && changes()
    }

    /// Lets the TLB answer for the page of `addr`, which outside 64-bit mode may be one of several names of it.
    fn fill(&mut self, addr: u64, phys: u64, kind: Access) {
        let write = kind == Access::Write;
        if write {
            self.mem.add_writer(phys, addr);
        }
        let host = self.mem.base().wrapping_add((phys & !PAGE_MASK) as usize);
        let entry = Entry::new(addr, phys, host, write);
        // SAFETY: `tlb` points at one of the CPU's own halves.
        unsafe { (*self.tlb).put(addr, entry) };
    }

    /// Physical address of the byte at `addr` if the TLB knows it.
    fn known(&mut self, addr: u64, kind: Access, by: Privilege) -> Option<u64> {
        // SAFETY: `tlb` points at one of the CPU's own halves.
        let entry = unsafe { *(*self.tlb).entry(addr) };
        let tag = if kind == Access::Write { entry.write } else { entry.read };
        let knows = tag == addr & !PAGE_MASK && by == Privilege::explicit(self.user);
        knows.then_some(entry.phys | addr & PAGE_MASK)
    }

    /// Physical address of the byte at a canonical `addr`, through the TLB where it knows.
    pub(crate) fn page(&mut self, addr: u64, kind: Access) -> Result<u64, Trap> {
        let by = Privilege::explicit(self.user);
        if let Some(phys) = self.known(addr, kind, by) {
            return Ok(phys);
        }
        let phys = self.translate(addr, kind, by)?;
        let watched = kind == Access::Write && self.mem.is_watched(phys);
        if self.mem.is_ram(phys, 1) && !watched && !self.checked() {
            self.fill(addr, phys, kind);
        }
        Ok(phys)
    }

    /// Whether every access must be looked at: then the TLB in use is never filled.
    pub(crate) fn checked(&self) -> bool {
        self.aligned() || self.has_breakpoints()
    }

    /// Whether alignment is checked.
    fn aligned(&self) -> bool {
        self.user && self.cr0 & cr0::AM != 0 && self.rflags & flags::AC != 0
    }

    /// Checks what does not depend on page tables; returns the address of the last byte.
    fn check_address(&self, addr: u64, size: u64, by: Privilege, stack: bool) -> Result<u64, Trap> {
        let mut last = addr.wrapping_add(size - 1);
        if addr <= self.ip_mask {
            last &= self.ip_mask;
        }
        if !is_canonical(addr) || !is_canonical(last) {
            return Err(if stack { Fault::SS0 } else { Fault::GP0 }.into());
        }
        if by == Privilege::User && size > 1 && self.aligned() && addr & (size - 1) != 0 {
            return Err(Fault::AC0.into());
        }
        Ok(last)
    }

    /// Translates all of `size` bytes at `addr`, which may cross one page.
    fn locate(&mut self, addr: u64, size: u64, kind: Access, by: Privilege, stack: bool) -> Result<Parts, Trap> {
        let last = self.check_address(addr, size, by, stack)?;
        let first = match self.known(addr, kind, by) {
            Some(phys) => phys,
            None => self.translate(addr, kind, by)?,
        };
        let room = 0x1000 - (addr & PAGE_MASK);
        if room >= size {
            return Ok(Parts { first: (first, size as usize), second: (0, 0) });
        }
        let second = self.translate(last & !PAGE_MASK, kind, by)?;
        Ok(Parts { first: (first, room as usize), second: (second, (size - room) as usize) })
    }

    fn gather(&mut self, parts: &Parts, code: u8) {
        let mut buffer = [0; 64];
        let (n, m) = (parts.first.1, parts.second.1);
        if code & access::READ != 0 || self.mem.is_ram(parts.first.0, 1) {
            self.read_phys(parts.first.0, &mut buffer[..n]);
            self.read_phys(parts.second.0, &mut buffer[n..n + m]);
        }
        self.bounce = words(&buffer);
    }

    fn scatter(&mut self, parts: &Parts) {
        let mut buffer = [0; 64];
        for (word, to) in self.bounce.iter().zip(buffer.chunks_exact_mut(8)) {
            to.copy_from_slice(&word.to_ne_bytes());
        }
        let (n, m) = (parts.first.1, parts.second.1);
        self.write_phys(parts.first.0, &buffer[..n]);
        self.write_phys(parts.second.0, &buffer[n..n + m]);
    }

    /// Reads physical memory or a device, within one page.
    pub(crate) fn read_phys(&mut self, phys: u64, out: &mut [u8]) {
        if out.is_empty() || self.mem.read(phys, out).is_some() {
            return;
        }
        self.refetch = true;
        self.bus.mmio_read(phys, out, self.mmio_ns);
    }

    /// Has the time ready for a device that looks at it. Asked only once the access is known to be allowed; an instruction
    /// that stops here for want of an answer has done nothing.
    fn tell_time(&mut self, parts: &Parts) -> Result<(), Trap> {
        for (phys, length) in [parts.first, parts.second] {
            if length > 0 && !self.mem.is_ram(phys, 1) && self.bus.is_timed_memory(phys) {
                self.mmio_ns = self.guest_time()?;
            }
        }
        Ok(())
    }

    /// Writes physical memory or a device, within one page; drops decoded code that it hits.
    pub(crate) fn write_phys(&mut self, phys: u64, data: &[u8]) {
        if data.is_empty() {
            return;
        }
        if !self.mem.is_ram(phys, data.len() as u64) {
            self.refetch = true;
            if let Some(byte) = self.bus.mmio_write(phys, data, self.mmio_ns) {
                self.print_byte(byte);
            }
            return;
        }
        self.refetch |= self.unmap(phys, data.len());
        self.write_entry(phys, data);
    }

    /// Writes RAM within one page without a look at cached translations; drops decoded code that it hits.
    pub(crate) fn write_entry(&mut self, phys: u64, data: &[u8]) {
        if self.mem.has_code(phys, data.len() as u64) {
            self.refetch = true;
            self.invalidate_code(phys, data.len() as u64);
        }
        self.mem.write(phys, data);
    }

    /// Makes way for a REP that writes `length` bytes of RAM at `phys`, within one page, at once: drops decoded code there.
    /// False if it must write element by element, as table entries in use or its own code stand there.
    pub(crate) fn clear_way(&mut self, phys: u64, length: u64) -> bool {
        if self.unmaps(phys, length as usize) {
            return false;
        }
        if self.mem.has_code(phys, length) {
            let own = |rip: u64| self.fetch_address(rip).ok().and_then(|at| self.translate_quietly(at));
            // `Cpu::rip` is the next instruction's: the last byte is before it, the first no more than 15.
            let page = phys >> PAGE_BITS;
            if (1..=15)
                .any(|back| own(self.rip.wrapping_sub(back) & self.ip_mask).is_none_or(|at| at >> PAGE_BITS == page))
            {
                return false;
            }
            self.refetch = true;
            self.invalidate_code(phys, length);
        }
        true
    }

    /// Reads `out.len()` bytes (at most a page) at a linear address.
    pub(crate) fn read_linear(&mut self, addr: u64, out: &mut [u8], user: bool) -> Result<(), Trap> {
        self.read_by(Privilege::explicit(user), addr, out)
    }

    fn read_by(&mut self, by: Privilege, addr: u64, out: &mut [u8]) -> Result<(), Trap> {
        let parts = self.locate(addr, out.len() as u64, Access::Read, by, false)?;
        self.tell_time(&parts)?;
        self.watch_memory(addr, out.len() as u64, Access::Read);
        let (head, tail) = out.split_at_mut(parts.first.1);
        self.read_phys(parts.first.0, head);
        self.read_phys(parts.second.0, tail);
        Ok(())
    }

    /// Writes `data` (at most a page) at a linear address: all of it or, with an error, nothing.
    pub(crate) fn write_linear(&mut self, addr: u64, data: &[u8], user: bool) -> Result<(), Trap> {
        self.write_by(Privilege::explicit(user), addr, data)
    }

    fn write_by(&mut self, by: Privilege, addr: u64, data: &[u8]) -> Result<(), Trap> {
        let parts = self.locate(addr, data.len() as u64, Access::Write, by, false)?;
        self.tell_time(&parts)?;
        self.watch_memory(addr, data.len() as u64, Access::Write);
        let (head, tail) = data.split_at(parts.first.1);
        self.write_phys(parts.first.0, head);
        self.write_phys(parts.second.0, tail);
        Ok(())
    }

    /// Checks that a write of `size` bytes (at most a page) would be allowed.
    pub(crate) fn probe_write(&mut self, addr: u64, size: u64, user: bool) -> Result<(), Trap> {
        self.locate(addr, size, Access::Write, Privilege::explicit(user), false).map(|_| ())
    }

    /// Reads a little-endian integer of `N` bytes.
    pub(crate) fn load<const N: usize>(&mut self, addr: u64, user: bool) -> Result<u64, Trap> {
        let mut bytes = [0; 8];
        self.read_linear(addr, &mut bytes[..N], user)?;
        Ok(u64::from_le_bytes(bytes))
    }

    /// Reads an integer of `N` bytes of a descriptor table or TSS: an implicit supervisor access.
    pub(crate) fn load_system<const N: usize>(&mut self, addr: u64) -> Result<u64, Trap> {
        let mut bytes = [0; 8];
        self.read_by(Privilege::Implicit, addr, &mut bytes[..N])?;
        Ok(u64::from_le_bytes(bytes))
    }

    /// Writes to a descriptor table or TSS, likewise: all of it or, with an error, nothing.
    pub(crate) fn store_system(&mut self, addr: u64, data: &[u8]) -> Result<(), Trap> {
        self.write_by(Privilege::Implicit, addr, data)
    }

    /// Checks that such a write would be allowed.
    pub(crate) fn probe_system(&mut self, addr: u64, size: u64) -> Result<(), Trap> {
        self.locate(addr, size, Access::Write, Privilege::Implicit, false).map(|_| ())
    }

    /// Writes the low `bytes` of `value`.
    pub(crate) fn store(&mut self, addr: u64, value: u64, bytes: usize, user: bool) -> Result<(), Trap> {
        self.write_linear(addr, &value.to_le_bytes()[..bytes], user)
    }
}

fn words(bytes: &[u8; 64]) -> [u64; 8] {
    std::array::from_fn(|i| u64::from_ne_bytes(std::array::from_fn(|j| bytes[i * 8 + j])))
}
