//! A process that is single-stepped: what retires, and the registers after it.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::{io, mem, ptr};

use crate::case::{Case, Cpu, Patch, XsaveArea, changes, code_image, data_image};
use crate::layout::{CODE, CODE_LEN, DATA, DATA_LEN};
use crate::native::map_regions;

/// More steps than any case needs.
const STEPS_MAX: usize = 1_000_000;

/// The note that holds the state of XSAVE (`NT_X86_XSTATE`).
const XSTATE: libc::c_int = 0x202;
/// More than any state of XSAVE takes.
const XSTATE_BYTES_MAX: usize = 16 * 1024;

/// A child process with the two regions mapped, stopped under ptrace.
pub struct Traced {
    pid: libc::pid_t,
    memory: File,
    fresh: libc::user_regs_struct,
    /// The state of XSAVE as the child was born with it.
    fresh_state: Vec<u8>,
}

/// What single-stepping a case showed.
#[derive(Debug)]
pub struct Trace {
    /// Registers at the start and after every retired instruction.
    pub states: Vec<Cpu>,
    /// The signal that ended it; SIGTRAP if it came to the breakpoint after it, which has not been executed.
    pub signal: i32,
    /// Registers at the end: a REP that faults has got somewhere.
    pub end: Cpu,
    /// Bytes of the data window that changed.
    pub memory: Vec<Patch>,
}

impl Traced {
    /// Forks the child.
    ///
    /// # Errors
    /// What the operating system says, for instance that tracing is forbidden here.
    pub fn new() -> io::Result<Self> {
        map_regions()?;
        // SAFETY: the child calls only async-signal-safe functions until it is killed.
        let pid = unsafe { libc::fork() };
        if pid == 0 {
            // SAFETY: as above; the parent takes over at the SIGSTOP and the child never returns.
            unsafe {
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0);
                libc::raise(libc::SIGSTOP);
                libc::_exit(1);
            }
        }
        check(i64::from(pid))?;
        let mut child = Self {
            pid,
            memory: File::options().read(true).write(true).open(format!("/proc/{pid}/mem"))?,
            fresh: zeroed(),
            fresh_state: Vec::new(),
        };
        if child.wait()? != libc::SIGSTOP {
            return Err(io::Error::other("the child did not stop"));
        }
        child.fresh = child.registers()?;
        child.fresh_state = child.state()?;
        Ok(child)
    }

    /// Single-steps `case` until it comes to a breakpoint or a signal stops it.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn run(&mut self, case: &Case) -> io::Result<Trace> {
        let mut before = vec![0; usize::try_from(DATA_LEN).unwrap_or(0)];
        data_image(case, &mut before);
        self.memory.write_all_at(&before, DATA)?;
        let mut code = vec![0; usize::try_from(CODE_LEN).unwrap_or(0)];
        code_image(case, &mut code);
        self.memory.write_all_at(&code, CODE)?;
        self.set_state(&case.cpu)?;
        let mut registers = load(&self.fresh, &case.cpu);
        // SAFETY: the child is stopped and `registers` is of the type that the request wants.
        check(unsafe { libc::ptrace(libc::PTRACE_SETREGS, self.pid, 0, &raw mut registers) })?;
        let mut states = vec![case.cpu.clone()];
        let signal = self.steps(case, &mut states)?;
        let end = self.cpu(&case.cpu)?;
        let mut after = vec![0; before.len()];
        self.memory.read_exact_at(&mut after, DATA)?;
        Ok(Trace { states, signal, end, memory: changes(&before, &after) })
    }

    /// Steps to the end; returns the signal.
    fn steps(&mut self, case: &Case, states: &mut Vec<Cpu>) -> io::Result<i32> {
        for _ in 0..STEPS_MAX {
            let rip = self.registers()?.rip;
            let code = self.code_at(rip);
            if code.first() == Some(&crate::layout::FILLER) {
                return Ok(libc::SIGTRAP);
            }
            // SAFETY: the child is stopped.
            check(unsafe { libc::ptrace(libc::PTRACE_SINGLESTEP, self.pid, 0, 0) })?;
            let signal = self.wait()?;
            if signal != libc::SIGTRAP {
                return Ok(signal);
            }
            let after = self.cpu(&case.cpu)?;
            // The trap flag stops a repeated string instruction after each iteration, and a gather before it faults in the
            // middle; they retire with the last.
            if after.rip != rip || !goes_on(&code) {
                states.push(after);
            }
        }
        Err(io::Error::other("the case does not end"))
    }

    fn code_at(&self, rip: u64) -> Vec<u8> {
        let mut code = vec![0; 15];
        let len = self.memory.read_at(&mut code, rip).unwrap_or(0);
        code.truncate(len);
        code
    }

    /// All registers.
    fn cpu(&self, before: &Cpu) -> io::Result<Cpu> {
        let mut cpu = store(&self.registers()?, before);
        if let Some(area) = XsaveArea::from_bytes(&self.state()?) {
            area.load(&mut cpu);
        }
        Ok(cpu)
    }

    /// The state of XSAVE, as long as the host's CPU has it.
    fn state(&self) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0u8; XSTATE_BYTES_MAX];
        let mut vector = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
        // SAFETY: the child is stopped; the kernel writes no more than `iov_len` bytes, which are ours.
        check(unsafe { libc::ptrace(libc::PTRACE_GETREGSET, self.pid, XSTATE, &raw mut vector) })?;
        bytes.truncate(vector.iov_len);
        Ok(bytes)
    }

    /// Gives the child the vector and floating-point registers of `cpu`.
    fn set_state(&self, cpu: &Cpu) -> io::Result<()> {
        let mut bytes = self.fresh_state.clone();
        let mut area = XsaveArea::of(cpu);
        area.in_use = 7;
        let area = area.bytes();
        let part = bytes.get_mut(..area.len()).ok_or_else(|| io::Error::other("this CPU has no AVX"))?;
        // Behind the legacy region: what the kernel says of itself.
        let kernel: [u8; 48] = part[464..512].try_into().map_err(io::Error::other)?;
        part.copy_from_slice(&area);
        part[464..512].copy_from_slice(&kernel);
        let mut vector = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
        // SAFETY: the child is stopped; the kernel reads `iov_len` bytes, which are ours.
        check(unsafe { libc::ptrace(libc::PTRACE_SETREGSET, self.pid, XSTATE, &raw mut vector) })
    }

    fn registers(&self) -> io::Result<libc::user_regs_struct> {
        let mut registers = zeroed();
        // SAFETY: the child is stopped and `registers` is of the type that the request wants.
        check(unsafe { libc::ptrace(libc::PTRACE_GETREGS, self.pid, 0, &raw mut registers) })?;
        Ok(registers)
    }

    /// Waits until the child stops and returns the signal that it stopped with.
    fn wait(&self) -> io::Result<i32> {
        let mut status = 0;
        // SAFETY: plain wait for our own child.
        check(i64::from(unsafe { libc::waitpid(self.pid, &raw mut status, libc::__WALL) }))?;
        if libc::WIFSTOPPED(status) { Ok(libc::WSTOPSIG(status)) } else { Err(io::Error::other("the child is gone")) }
    }
}

impl Drop for Traced {
    fn drop(&mut self) {
        // SAFETY: our own child, killed and reaped.
        unsafe {
            libc::kill(self.pid, libc::SIGKILL);
            libc::waitpid(self.pid, ptr::null_mut(), libc::__WALL);
        }
    }
}

/// Whether `code` starts with an instruction that can stop in the middle and go on.
fn goes_on(code: &[u8]) -> bool {
    let instruction = iced_x86::Decoder::new(64, code, 0).decode();
    let repeated = instruction.has_rep_prefix() || instruction.has_repne_prefix();
    instruction.is_string_instruction() && repeated || instruction.is_vsib()
}

fn zeroed() -> libc::user_regs_struct {
    // SAFETY: a struct of integers.
    unsafe { mem::zeroed() }
}

fn check(result: i64) -> io::Result<()> {
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn load(fresh: &libc::user_regs_struct, cpu: &Cpu) -> libc::user_regs_struct {
    let [rax, rcx, rdx, rbx, rsp, rbp, rsi, rdi, r8, r9, r10, r11, r12, r13, r14, r15] = cpu.gpr;
    let (rip, eflags) = (cpu.rip, cpu.rflags);
    // Not in a system call: nothing to restart.
    let orig_rax = u64::MAX;
    libc::user_regs_struct {
        rax,
        rcx,
        rdx,
        rbx,
        rsp,
        rbp,
        rsi,
        rdi,
        r8,
        r9,
        r10,
        r11,
        r12,
        r13,
        r14,
        r15,
        rip,
        eflags,
        orig_rax,
        ..*fresh
    }
}

fn store(r: &libc::user_regs_struct, before: &Cpu) -> Cpu {
    let gpr =
        [r.rax, r.rcx, r.rdx, r.rbx, r.rsp, r.rbp, r.rsi, r.rdi, r.r8, r.r9, r.r10, r.r11, r.r12, r.r13, r.r14, r.r15];
    // Without the trap flag, which is the tracer's.
    Cpu { gpr, rip: r.rip, rflags: r.eflags & !0x100, ..before.clone() }
}
