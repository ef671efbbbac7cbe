//! The machine: what its owner sees.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::ptr::NonNull;

use crate::boot::{self, Boot, BootError, Elf, ElfError, acpi, hand_off};
use crate::bus::Bus;
use crate::config::{MachineConfig, MachineError};
use crate::cpu::fault::Trap;
use crate::cpu::flags;
use crate::cpu::model::FeatureSet;
use crate::cpu::{Cpu, Exit};
use crate::dev::pci::LINES as PCI_LINES;
use crate::dev::pic::ELCR_SLAVE;
use crate::dev::uart::BACKLOG_MAX;
use crate::dev::virtio::Starved;
use crate::dev::{I8042, Ioapic, Lapic, Pci, Pic, Pit, Pm, Rtc, Uart};
use crate::disk::{Disks, Images};
use crate::event::{Control, Door, Input, Power, Stop, Until};
use crate::mem::{DirtySet, PAGE_BITS, PAGE_BYTES, by_page};
use crate::op::NEVER;
use crate::state::{CONSOLE_CLIENTS_MAX, ClockState, ConsoleClient, CpuState, MachineState, Shadow};
use crate::{ClockMode, Position};

/// REP iterations in one go, after which the run loop looks at its limit again.
const REP_ITERATIONS_MAX: u64 = 1 << 16;
/// Steps that retire nothing in one run that need not be exact.
const IDLE_STEPS_MAX: u32 = 64;
/// Instructions in one go: a budget must not reach `NEVER`, or a block that must not be entered would fit it.
const GO_MAX: u64 = 1 << 30;
const _: () = assert!(GO_MAX < NEVER as u64);

/// A deterministic x86-64 machine: a function of its state and of what `deliver` and the `Door` bring in.
pub struct Machine {
    config: MachineConfig,
    cpu: Box<Cpu>,
}

// SAFETY: the CPU's pointers lead into the boxed CPU itself and what it owns; the door is `None` outside `run`.
unsafe impl Send for Machine {}

impl Machine {
    /// A machine with empty RAM and without disks, its CPU as after power-on.
    ///
    /// # Errors
    /// A memory size out of bounds, or more than the host gives; a configuration with disks.
    pub fn new(config: MachineConfig) -> Result<Self, MachineError> {
        Self::with_images(config, Images::default())
    }

    /// The same with the images of its disks. That their digests are those of the configuration is for the caller to see.
    ///
    /// # Errors
    /// As `new`; images that are not of the number and size of the configuration's disks.
    pub fn with_images(config: MachineConfig, images: Images) -> Result<Self, MachineError> {
        let bytes = config.memory_bytes;
        let bounds = MachineConfig::MEMORY_BYTES_MIN..=MachineConfig::MEMORY_BYTES_MAX;
        if !bounds.contains(&bytes) || !bytes.is_multiple_of(PAGE_BYTES as u64) {
            return Err(MachineError::MemorySize(bytes));
        }
        let mut pic = Pic::new();
        // As firmware leaves it: the lines of PCI are level-triggered.
        pic.write(ELCR_SLAVE, PCI_LINES.iter().fold(0, |levels, irq| levels | 1 << (irq - 8)));
        let bus = Bus {
            uart: Uart::new(),
            pic,
            lapic: Lapic::new(),
            ioapic: Ioapic::new(),
            pit: Pit::new(),
            rtc: Rtc::new(config.epoch_s),
            i8042: I8042::new(),
            pm: Pm::new(),
            pci: Pci::new(&config.devices),
            work_is_due: false,
            mode: config.clock,
            clock: ClockState::new(),
            outputs: 0,
            console_bytes: 0,
            power: None,
        };
        let disks = Disks::plug(&config.devices, images, (bytes / PAGE_BYTES as u64) as usize)
            .map_err(|(number, error)| MachineError::Disk(number, error))?;
        let cpu =
            Cpu::new(bytes, FeatureSet::of(config.cpu), bus, disks).map_err(|e| MachineError::HostMemory(bytes, e))?;
        Ok(Self { config, cpu })
    }

    /// The CPU, for tests of what the machine does not show.
    #[cfg(test)]
    pub(crate) fn cpu(&mut self) -> &mut Cpu {
        &mut self.cpu
    }

    /// Its configuration.
    #[must_use]
    pub fn config(&self) -> &MachineConfig {
        &self.config
    }

    /// Loads a bare ELF64 and prepares the hand-off (ARCHITECTURE.md, "Bare ELF hand-off").
    ///
    /// # Errors
    /// What is wrong with the image or the command line.
    pub fn load_elf(&mut self, image: &[u8], command_line: &str) -> Result<(), ElfError> {
        let elf: Elf<'_> = crate::boot::elf::parse(image)?;
        let mem = &mut self.cpu.mem;
        let mut write = |phys: u64, data: &[u8]| write_ram(mem, phys, data);
        elf.load(&[hand_off::RESERVED], self.config.memory_bytes, &mut write)?;
        let info = hand_off::BootInfo {
            memory_bytes: self.config.memory_bytes,
            tsc_hz: crate::clock::TSC_HZ,
            command_line: command_line.as_bytes(),
        };
        hand_off::build(&info, &mut write)?;
        self.cpu.flush_code();
        let state = CpuState::handed_off(elf.entry);
        self.cpu.set_state(&state);
        Ok(())
    }

    /// Loads a kernel and prepares its entry (ARCHITECTURE.md, "Kernels").
    ///
    /// # Errors
    /// What is wrong with the kernel, or that memory is too small.
    pub fn load_kernel(&mut self, boot: &Boot<'_>) -> Result<(), BootError> {
        let mem = &mut self.cpu.mem;
        let state = boot::load(boot, self.config.memory_bytes, &mut |phys, data| write_ram(mem, phys, data))?;
        write_ram(mem, acpi::RSDP, &acpi::tables(self.config.clock));
        self.cpu.flush_code();
        self.cpu.set_state(&state);
        Ok(())
    }

    /// Where it is.
    #[must_use]
    pub fn position(&self) -> Position {
        self.cpu.position()
    }

    /// Number of the last output.
    #[must_use]
    pub fn outputs(&self) -> u64 {
        self.cpu.bus.outputs
    }

    /// Numbers outputs from 1 again, and bytes of the console from 0: for an outside that has seen none of them.
    pub fn renumber_outputs(&mut self) {
        (self.cpu.bus.outputs, self.cpu.bus.console_bytes) = (0, 0);
    }

    /// Console bytes sent so far.
    #[must_use]
    pub fn console_bytes(&self) -> u64 {
        self.cpu.bus.console_bytes
    }

    /// Whether it stopped for good, and why.
    #[must_use]
    pub fn power(&self) -> Option<Power> {
        self.cpu.bus.power
    }

    /// Guest time, as far as it is known.
    #[must_use]
    pub fn clock_ns(&self) -> u64 {
        self.cpu.bus.clock.at(self.config.clock, self.cpu.retired)
    }

    /// Guest time at which a chip wants to be told the time (`Input::Clock`).
    #[must_use]
    pub fn next_deadline_ns(&self) -> Option<u64> {
        self.cpu.bus.next_deadline()
    }

    /// Console bytes that wait for the guest to read them.
    #[must_use]
    pub fn console_backlog(&self) -> usize {
        self.cpu.bus.console_backlog()
    }

    /// Whether another frame would be taken, or the guest has no network card in use anyway.
    #[must_use]
    pub fn frame_room(&self) -> bool {
        self.cpu.bus.pci.frame_room()
    }

    /// Number of the last console input taken from `client`.
    #[must_use]
    pub fn console_seq(&self, client: u64) -> u64 {
        self.cpu.clients.get(&client).map_or(0, |client| client.seq)
    }

    /// Whether the CPU waits in HLT.
    #[must_use]
    pub fn is_halted(&self) -> bool {
        self.cpu.halted
    }

    /// Instructions met since the last call that are not implemented, by name. They raised #UD.
    pub fn take_unimplemented(&mut self) -> Vec<String> {
        let told = &mut self.cpu.told;
        let fresh: Vec<String> = self.cpu.cache.unimplemented.iter().filter(|n| !told.contains(*n)).cloned().collect();
        told.extend(fresh.iter().cloned());
        fresh
    }

    /// Takes an input at the current position. Console input that is not the client's next, or for which there is no room, is
    /// not taken (`console_seq` stays).
    pub fn deliver(&mut self, input: &Input) {
        let cpu = &mut *self.cpu;
        match input {
            Input::Clock { ns } => {
                cpu.bus.clock.input(cpu.bus.mode, cpu.retired, *ns, cpu.halted);
                let now = cpu.bus.clock.base_ns;
                cpu.bus.advance(now);
            }
            Input::Console { client, seq, bytes } => {
                let last = cpu.clients.get(client).map_or(0, |client| client.seq);
                let room = BACKLOG_MAX.saturating_sub(cpu.bus.console_backlog());
                if last.checked_add(1) == Some(*seq) && bytes.len() <= room {
                    note_client(&mut cpu.clients, *client, *seq);
                    cpu.bus.console_receive(bytes);
                }
            }
            Input::ConsoleSize { columns, rows } => {
                cpu.bus.pci.resize_console(*columns, *rows);
                cpu.bus.update_functions();
            }
            Input::Flushed { disk, flush } => {
                cpu.bus.pci.flushed(*disk, *flush);
                cpu.bus.update_functions();
            }
            Input::Frame { bytes } => {
                cpu.bus.pci.receive_frame(bytes);
                cpu.bus.update_functions();
            }
            Input::Control(Control::PowerOff) => cpu.switch_off = true,
            Input::Control(Control::PowerButton) => {
                cpu.bus.pm.press_power_button();
                cpu.bus.update_lines();
            }
            Input::Control(Control::CtrlAltDel) => {
                cpu.bus.i8042.press_ctrl_alt_del();
                cpu.bus.update_lines();
            }
        }
    }

    /// Runs until `until`, or until something else stops it.
    pub fn run(&mut self, until: Until, door: &mut dyn Door) -> Stop {
        let door: NonNull<dyn Door + '_> = NonNull::from(door);
        // SAFETY: only the lifetime changes; the pointer is gone before `door` is.
        self.cpu.door = Some(unsafe { std::mem::transmute::<NonNull<dyn Door + '_>, NonNull<dyn Door>>(door) });
        let stop = self.run_until(until);
        self.cpu.door = None;
        stop
    }

    fn run_until(&mut self, until: Until) -> Stop {
        let (mut retired, mut idle) = (self.cpu.retired, 0);
        loop {
            let cpu = &mut *self.cpu;
            if let Some(power) = cpu.bus.power {
                cpu.door_break = false;
                return Stop::Off(power);
            }
            if std::mem::take(&mut cpu.door_break) {
                return Stop::Door;
            }
            if is_reached(cpu.position(), until) {
                return Stop::Limit;
            }
            if let ControlFlow::Break(stop) = self.step(until) {
                return stop;
            }
            idle = if self.cpu.retired == retired { idle + 1 } else { 0 };
            retired = self.cpu.retired;
            // A guest may fault in its fault handler for ever; its owner wants to hear of it all the same.
            if idle >= IDLE_STEPS_MAX && matches!(until, Until::About(_)) && self.cpu.bus.power.is_none() {
                return Stop::Limit;
            }
        }
    }

    /// Does one thing: an event that is due, or a chain of blocks.
    fn step(&mut self, until: Until) -> ControlFlow<Stop> {
        let cpu = &mut *self.cpu;
        if cpu.switch_off {
            cpu.switch_off = false;
            cpu.power(Power::Off { code: 0 });
            return ControlFlow::Continue(());
        }
        // Before interrupts (SDM Vol. 3A, table 6-2).
        if cpu.debug_trap_is_due() {
            cpu.debug_trap();
            return ControlFlow::Continue(());
        }
        // Before interrupts: one is enough for all that a doorbell has set off.
        if cpu.bus.work_is_due {
            return match cpu.device_work() {
                Ok(()) => ControlFlow::Continue(()),
                Err(Starved) => ControlFlow::Break(Stop::Starved),
            };
        }
        if let Some(vector) = cpu.due_interrupt() {
            cpu.take_interrupt(vector);
            return ControlFlow::Continue(());
        }
        if cpu.halted {
            if cpu.rflags & flags::IF != 0 {
                return ControlFlow::Break(Stop::Halted);
            }
            cpu.power(Power::Dead);
            return ControlFlow::Continue(());
        }
        let mut limit = match until {
            Until::Exactly(p) => p.retired,
            Until::About(retired) => retired,
        };
        let mut exact = matches!(until, Until::Exactly(_));
        if self.config.clock == ClockMode::Derived
            && let Some(ns) = cpu.bus.next_deadline()
        {
            let due = cpu.bus.clock.retired_at(ns);
            if due <= cpu.retired {
                cpu.bus.advance(cpu.bus.clock.at(ClockMode::Derived, cpu.retired));
                cpu.steps += 1;
                return ControlFlow::Continue(());
            }
            if due < limit {
                (limit, exact) = (due, true);
            }
        }
        let overflow = cpu.overflow_at();
        if overflow < limit {
            (limit, exact) = (overflow, true);
        }
        self.execute(limit, exact, until)
    }

    /// Runs instructions up to the count `limit`.
    fn execute(&mut self, limit: u64, exact: bool, until: Until) -> ControlFlow<Stop> {
        let cpu = &mut *self.cpu;
        // After one iteration of a REP the shadow of a STI is over, and an interrupt or a debug trap may come.
        let watched = cpu.rflags & flags::TF != 0 || cpu.has_breakpoints() || cpu.shadow != Shadow::None;
        cpu.steps_limit = cpu.steps + if watched { 1 } else { REP_ITERATIONS_MAX };
        // Likewise inside a REP, and where RF is to be cleared: that instruction alone.
        if watched || cpu.rflags & flags::RF != 0 || cpu.steps > 0 || cpu.retired >= limit {
            if let Until::Exactly(p) = until
                && p.retired == cpu.retired
            {
                cpu.steps_limit = cpu.steps_limit.min(p.steps);
            }
            return stop_of(cpu.run_single());
        }
        let budget = (limit - cpu.retired).min(GO_MAX);
        match cpu.run_blocks(budget) {
            Exit::Budget if cpu.retired < limit => {
                if !exact {
                    return ControlFlow::Break(Stop::Limit);
                }
                stop_of(cpu.run_single())
            }
            Exit::Single => stop_of(cpu.run_single()),
            exit => stop_of(exit),
        }
    }
}

/// Console input number `seq` of a client has been taken.
fn note_client(clients: &mut BTreeMap<u64, ConsoleClient>, client: u64, seq: u64) {
    let turn = clients.values().map(|client| client.turn).max().map_or(0, |last| last.wrapping_add(1));
    if clients.len() >= CONSOLE_CLIENTS_MAX && !clients.contains_key(&client) {
        let silent = clients.iter().min_by_key(|(_, client)| client.turn).map(|(&id, _)| id);
        silent.map(|id| clients.remove(&id));
    }
    clients.insert(client, ConsoleClient { seq, turn });
}

/// Whether `position` has come to the end of a run.
fn is_reached(position: Position, until: Until) -> bool {
    match until {
        Until::Exactly(p) => position >= p,
        Until::About(retired) => position.retired >= retired,
    }
}

fn stop_of(exit: Exit) -> ControlFlow<Stop> {
    match exit {
        Exit::Trap(Trap::Starved) => ControlFlow::Break(Stop::Starved),
        _ => ControlFlow::Continue(()),
    }
}

fn write_ram(mem: &mut crate::mem::Mem, phys: u64, data: &[u8]) {
    by_page(phys, data).for_each(|(at, here)| mem.write(at, here));
}

/// Memory, page by page: transfer, snapshots, digests. Behind the pages of RAM come those of the disks, each block of 4 KiB
/// one; the last one of a disk may reach beyond its end.
impl Machine {
    /// Pages of RAM and disks.
    #[must_use]
    pub fn page_count(&self) -> u32 {
        self.cpu.disks.page_count()
    }

    /// Pages of RAM.
    #[must_use]
    pub fn ram_page_count(&self) -> u32 {
        self.cpu.mem.page_count() as u32
    }

    /// Page `pfn`. A block of a disk that the guest has not written shows zeros here.
    ///
    /// # Panics
    /// If there is no such page.
    #[must_use]
    pub fn page(&self, pfn: u32) -> &[u8; PAGE_BYTES] {
        let page = self.cpu.mem.slice(u64::from(pfn) << PAGE_BITS, PAGE_BYTES).and_then(|p| p.try_into().ok());
        #[expect(clippy::expect_used, reason = "documented")]
        page.or_else(|| self.cpu.disks.page(pfn)).expect("number of a page")
    }

    /// Replaces page `pfn`. A block of a disk counts as written from then on, whatever is in it.
    ///
    /// # Panics
    /// If there is no such page.
    pub fn write_page(&mut self, pfn: u32, data: &[u8; PAGE_BYTES]) {
        assert!(pfn < self.page_count(), "number of a page");
        if pfn < self.ram_page_count() {
            self.cpu.write_phys(u64::from(pfn) << PAGE_BITS, data);
        } else {
            self.cpu.disks.write_page(pfn, data);
        }
    }

    /// The pages that are not as in a new machine, ascending: those of RAM that are not zero, and the blocks of disks that
    /// have been written, zero or not. Copying these copies all.
    pub fn used_pages(&self) -> impl Iterator<Item = u32> + '_ {
        self.cpu.mem.nonzero().chain(self.cpu.disks.written())
    }

    /// Flushes for which the guest waits (`Input::Flushed`): numbers of disks and of flushes. Whoever makes a machine go on live
    /// answers those that were asked for before.
    #[must_use]
    pub fn pending_flushes(&self) -> Vec<(u8, u64)> {
        self.cpu.bus.pci.pending_flushes().collect()
    }

    /// Bytes that the guest has written to disk `number`, in whole blocks of 4 KiB.
    #[must_use]
    pub fn disk_written_bytes(&self, number: usize) -> u64 {
        self.cpu.disks.written_bytes(number)
    }

    /// Pages written since the last call for `set`, ascending.
    pub fn take_dirty(&mut self, set: DirtySet) -> Vec<u32> {
        let mut pages = self.cpu.mem.take_dirty(set);
        pages.extend(self.cpu.disks.take_dirty(set));
        self.cpu.watch_writes();
        pages
    }

    /// Digest of RAM and of what was written to disks; costs only the pages written since the last call.
    pub fn ram_digest(&mut self) -> u128 {
        let digest = self.cpu.mem.digest().wrapping_add(self.cpu.disks.digest());
        self.cpu.watch_writes();
        digest
    }

    /// `length` bytes at the linear address `addr`, as far as they are mapped; changes nothing. For reports and debuggers.
    #[must_use]
    pub fn peek(&self, addr: u64, length: usize) -> Vec<u8> {
        self.cpu.peek(addr, length)
    }

    /// Everything but pages.
    #[must_use]
    pub fn state(&self) -> MachineState {
        let cpu = &*self.cpu;
        MachineState {
            version: MachineState::VERSION,
            position: cpu.position(),
            clock: cpu.bus.clock,
            outputs: cpu.bus.outputs,
            console_bytes: cpu.bus.console_bytes,
            clients: cpu.clients.clone(),
            switch_off: cpu.switch_off,
            power: cpu.bus.power,
            cpu: cpu.state(),
            uart: cpu.bus.uart.clone(),
            pic: cpu.bus.pic.clone(),
            lapic: cpu.bus.lapic.clone(),
            ioapic: cpu.bus.ioapic.clone(),
            pit: cpu.bus.pit.clone(),
            rtc: cpu.bus.rtc.clone(),
            i8042: cpu.bus.i8042.clone(),
            pm: cpu.bus.pm.clone(),
            pci: cpu.bus.pci.clone(),
        }
    }

    /// A machine without disks in `state`, its RAM empty: `write_page` fills it.
    ///
    /// # Errors
    /// As `new`, and what [`MachineState::check`] finds.
    pub fn restore(config: MachineConfig, state: &MachineState) -> Result<Self, MachineError> {
        Self::restore_with_images(config, Images::default(), state)
    }

    /// A machine in `state`, its RAM empty and nothing written to its disks: `write_page` fills them.
    ///
    /// # Errors
    /// As `with_images`, and what [`MachineState::check`] finds.
    pub fn restore_with_images(
        config: MachineConfig,
        images: Images,
        state: &MachineState,
    ) -> Result<Self, MachineError> {
        state.check(&config)?;
        let mut machine = Self::with_images(config, images)?;
        machine.set_state(state);
        Ok(machine)
    }

    /// Puts everything but RAM into `state`, which the caller has checked or made.
    pub fn set_state(&mut self, state: &MachineState) {
        let cpu = &mut *self.cpu;
        (cpu.retired, cpu.steps) = (state.position.retired, state.position.steps);
        cpu.clients = state.clients.clone();
        cpu.switch_off = state.switch_off;
        cpu.bus = Bus {
            uart: state.uart.clone(),
            pic: state.pic.clone(),
            lapic: state.lapic.clone(),
            ioapic: state.ioapic.clone(),
            pit: state.pit.clone(),
            rtc: state.rtc.clone(),
            i8042: state.i8042.clone(),
            pm: state.pm.clone(),
            pci: state.pci.clone(),
            work_is_due: state.pci.is_due(),
            mode: self.config.clock,
            clock: state.clock,
            outputs: state.outputs,
            console_bytes: state.console_bytes,
            power: state.power,
        };
        cpu.set_state(&state.cpu);
    }
}
