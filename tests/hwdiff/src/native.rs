//! The host's CPU as a subject: user mode of x86-64 Linux.
//!
//! A case is entered by loading every register from [`Context`] and jumping; it needs no stack of its own.
//! It ends in an exception, whose signal handler runs on its own stack, copies the state out of the
//! signal frame and lets the frame return to [`leave`] instead.

use std::cell::UnsafeCell;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::{arch::naked_asm, io, mem, ptr, slice};

use crate::case::{Case, Cpu, FIXED, Fault, Outcome, Subject, X87, XsaveArea, changes, code_image, data_image};
use crate::layout::{CODE, CODE_32, CODE_LEN, DATA, DATA_LEN};

/// What the entry stub and the signal handler share. One, because signal handlers are per process.
#[repr(C)]
struct Context {
    area: XsaveArea,
    cpu: Cpu,
    host_rsp: u64,
    /// Base of FS: the host's thread-local storage. A case has 0, as the guest.
    host_fs: u64,
    fault: Fault,
    entry: FarPointer,
}

/// What a far jump reads.
#[repr(C)]
struct FarPointer {
    offset: u32,
    selector: u16,
}

/// Selectors of user mode on Linux.
const USER_CODE: u16 = 0x33;
const USER_CODE_32: u16 = 0x23;
const USER_DATA: u16 = 0x2b;

struct Shared(UnsafeCell<Context>);

// SAFETY: only the holder of `OWNER` and the signal handler that interrupts it touch the context.
unsafe impl Sync for Shared {}

static CONTEXT: Shared = Shared(UnsafeCell::new(Context {
    area: XsaveArea::INITIAL,
    cpu: Cpu { gpr: [0; 16], rip: 0, rflags: 0, xmm: [0; 16], ymm_high: [0; 16], mxcsr: 0x1f80, x87: X87::INITIAL },
    host_rsp: 0,
    host_fs: 0,
    fault: Fault { vector: 0, error: 0, cr2: 0 },
    entry: FarPointer { offset: 0, selector: 0 },
}));
/// Set while a case runs: any other signal of these kinds is a bug of ours and must kill the process.
static ARMED: AtomicBool = AtomicBool::new(false);
static OWNER: Mutex<()> = Mutex::new(());
static REGIONS: OnceLock<Result<(), i32>> = OnceLock::new();

const SIGNALS: [i32; 5] = [libc::SIGSEGV, libc::SIGBUS, libc::SIGILL, libc::SIGFPE, libc::SIGTRAP];
const ALT_STACK_BYTES: usize = 256 * 1024;

/// The order in which the kernel's `gregs` hold the registers of our encoding order.
const GREGS: [i32; 16] = [
    libc::REG_RAX,
    libc::REG_RCX,
    libc::REG_RDX,
    libc::REG_RBX,
    libc::REG_RSP,
    libc::REG_RBP,
    libc::REG_RSI,
    libc::REG_RDI,
    libc::REG_R8,
    libc::REG_R9,
    libc::REG_R10,
    libc::REG_R11,
    libc::REG_R12,
    libc::REG_R13,
    libc::REG_R14,
    libc::REG_R15,
];

/// The host's CPU. At most one exists at a time, on the thread that made it.
pub struct Native {
    _owner: MutexGuard<'static, ()>,
    _alt_stack: Box<[u8]>,
    before: Box<[u8]>,
    code: Box<[u8]>,
}

impl Native {
    /// Maps the regions (once per process) and installs the signal handlers on this thread.
    ///
    /// # Errors
    /// What the operating system says when the fixed addresses are taken or executable memory is refused.
    pub fn new() -> io::Result<Self> {
        // Linux 5.9 lets programs write the bases of FS and GS.
        const FSGSBASE: u64 = 1 << 1;
        // SAFETY: always allowed.
        if unsafe { libc::getauxval(libc::AT_HWCAP2) } & FSGSBASE == 0 {
            return Err(io::Error::other("WRFSBASE does not work on this host"));
        }
        let owner = OWNER.lock().unwrap_or_else(PoisonError::into_inner);
        map_regions()?;
        alias_code()?;
        let mut alt_stack = vec![0u8; ALT_STACK_BYTES].into_boxed_slice();
        install_handlers(&mut alt_stack)?;
        load_data_segments();
        Ok(Self {
            _owner: owner,
            _alt_stack: alt_stack,
            before: vec![0; usize::try_from(DATA_LEN).unwrap_or(0)].into(),
            code: vec![0; usize::try_from(CODE_LEN).unwrap_or(0)].into(),
        })
    }
}

impl Subject for Native {
    fn run(&mut self, case: &Case) -> Outcome {
        data_image(case, &mut self.before);
        code_image(case, &mut self.code);
        // SAFETY: both regions were mapped writable by `map_regions`, are ours alone while `_owner` is held,
        // and nothing else refers to them as Rust memory.
        let (data, code) = unsafe {
            (
                slice::from_raw_parts_mut(DATA as *mut u8, self.before.len()),
                slice::from_raw_parts_mut(case.cpu.region() as *mut u8, self.code.len()),
            )
        };
        write_what_differs(data, &self.before);
        write_what_differs(code, &self.code);
        let context = CONTEXT.0.get();
        // SAFETY: `_owner` is held, so no one else uses the context. The case can leave its bytes only through
        // an exception (the code region is filled with breakpoints), and the handler brings it to `leave`.
        let (cpu, fault) = unsafe {
            (*context).cpu = case.cpu.clone();
            (*context).entry = entry(&case.cpu);
            (*context).area = XsaveArea::of(&case.cpu);
            ARMED.store(true, Ordering::SeqCst);
            enter(context);
            ARMED.store(false, Ordering::SeqCst);
            ((*context).cpu.clone(), (*context).fault)
        };
        // SAFETY: as above; read again because the case has written there behind the compiler's back.
        let after = unsafe { slice::from_raw_parts(std::hint::black_box(DATA) as *const u8, self.before.len()) };
        Outcome { cpu, fault, memory: changes(&self.before, after) }
    }
}

/// Makes `to` equal to `from`. A write to code that has run costs the CPU a thousand cycles, so it writes little.
fn write_what_differs(to: &mut [u8], from: &[u8]) {
    const LINE: usize = 64;
    for (to, from) in to.chunks_mut(LINE).zip(from.chunks(LINE)).filter(|(to, from)| to != from) {
        to.copy_from_slice(from);
    }
}

/// Maps the data window and the code region at their fixed addresses, for ever. Also used by traced children.
///
/// # Errors
/// See [`Native::new`].
pub fn map_regions() -> io::Result<()> {
    let data = libc::PROT_READ | libc::PROT_WRITE;
    REGIONS
        .get_or_init(|| {
            map(DATA, DATA_LEN, data, libc::MAP_FIXED_NOREPLACE, None)?;
            map(CODE, CODE_LEN, data | libc::PROT_EXEC, libc::MAP_FIXED_NOREPLACE, None)
        })
        .map_err(io::Error::from_raw_os_error)
}

/// Makes the region of 32-bit code the same memory as that of 64-bit code, as in the guest.
fn alias_code() -> io::Result<()> {
    static ALIAS: OnceLock<Result<(), i32>> = OnceLock::new();
    let all = libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC;
    ALIAS
        .get_or_init(|| {
            let code = code_memory()?;
            map(CODE, CODE_LEN, all, libc::MAP_FIXED, Some(code))?;
            map(CODE_32, CODE_LEN, all, libc::MAP_FIXED_NOREPLACE, Some(code))
        })
        .map_err(io::Error::from_raw_os_error)
}

/// Maps a region; a `file` is shared.
fn map(at: u64, len: u64, protection: i32, fixed: i32, file: Option<i32>) -> Result<(), i32> {
    let kind = if file.is_some() { libc::MAP_SHARED } else { libc::MAP_PRIVATE | libc::MAP_ANONYMOUS };
    let len = usize::try_from(len).unwrap_or(0);
    // SAFETY: the call replaces nothing, or with MAP_FIXED a region of ours that no one refers to as Rust memory.
    let got = unsafe { libc::mmap(at as *mut _, len, protection, fixed | kind, file.unwrap_or(-1), 0) };
    if got as u64 == at { Ok(()) } else { Err(io::Error::last_os_error().raw_os_error().unwrap_or(libc::EEXIST)) }
}

/// A file in memory for the code; the error is the system's.
fn code_memory() -> Result<i32, i32> {
    let system = || io::Error::last_os_error().raw_os_error().unwrap_or(libc::ENOMEM);
    // SAFETY: plain system calls.
    unsafe {
        let file = libc::memfd_create(c"code".as_ptr(), libc::MFD_CLOEXEC);
        if file < 0 || libc::ftruncate(file, CODE_LEN as libc::off_t) != 0 { Err(system()) } else { Ok(file) }
    }
}

/// 64-bit programs run with null DS and ES, which compatibility mode needs.
fn load_data_segments() {
    // SAFETY: a selector that Linux has for user mode; 64-bit code does not look at these segments.
    unsafe { core::arch::asm!("mov ds, {0:e}", "mov es, {0:e}", in(reg) u32::from(USER_DATA), options(nostack)) }
}

fn entry(cpu: &Cpu) -> FarPointer {
    let selector = if cpu.is_compat() { USER_CODE_32 } else { USER_CODE };
    FarPointer { offset: u32::try_from(cpu.rip).unwrap_or(0), selector }
}

fn install_handlers(alt_stack: &mut [u8]) -> io::Result<()> {
    let stack = libc::stack_t { ss_sp: alt_stack.as_mut_ptr().cast(), ss_flags: 0, ss_size: alt_stack.len() };
    // SAFETY: the stack lives in the `Native` that is being made; all arguments are valid for the calls.
    unsafe {
        if libc::sigaltstack(&raw const stack, ptr::null_mut()) != 0 {
            return Err(io::Error::last_os_error());
        }
        let mut action: libc::sigaction = mem::zeroed();
        action.sa_sigaction = on_signal as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
        libc::sigfillset(&raw mut action.sa_mask);
        for signal in SIGNALS {
            if libc::sigaction(signal, &raw const action, ptr::null_mut()) != 0 {
                return Err(io::Error::last_os_error());
            }
        }
    }
    Ok(())
}

/// Copies the interrupted state into the context and diverts the return to [`leave`]. Async-signal-safe: it only copies.
/// There is no thread-local storage here: FS is the case's.
extern "C" fn on_signal(signal: i32, _info: *mut libc::siginfo_t, ucontext: *mut libc::c_void) {
    if !ARMED.swap(false, Ordering::SeqCst) {
        // SAFETY: SIG_DFL is valid; the instruction faults again and kills the process as it should.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
        return;
    }
    // SAFETY: the kernel passes a valid ucontext with floating point state; the context belongs to the interrupted run.
    unsafe {
        let machine = &mut (*ucontext.cast::<libc::ucontext_t>()).uc_mcontext;
        let context = &mut *CONTEXT.0.get();
        for (to, from) in context.cpu.gpr.iter_mut().zip(GREGS) {
            *to = machine.gregs[from as usize] as u64;
        }
        context.cpu.rip = machine.gregs[libc::REG_RIP as usize] as u64;
        context.cpu.rflags = machine.gregs[libc::REG_EFL as usize] as u64;
        let vector = (machine.gregs[libc::REG_TRAPNO as usize] & 0xff) as u8;
        context.fault = Fault {
            vector,
            error: machine.gregs[libc::REG_ERR as usize] as u64,
            cr2: if vector == 14 { machine.gregs[libc::REG_CR2 as usize] as u64 } else { 0 },
        };
        // The frame holds the area that XSAVE has written, wherever XSAVE is in use.
        machine.fpregs.cast::<XsaveArea>().read_unaligned().load(&mut context.cpu);
        machine.gregs[libc::REG_RIP as usize] = leave as *const () as i64;
        machine.gregs[libc::REG_EFL as usize] = FIXED as i64;
        // CS is the lowest word.
        let selectors = &mut machine.gregs[libc::REG_CSGSFS as usize];
        *selectors = *selectors & !0xffff | i64::from(USER_CODE);
    }
}

/// Saves the host's registers, loads all of `context.cpu` and jumps to its RIP. Comes back through [`leave`].
#[unsafe(naked)]
unsafe extern "sysv64" fn enter(context: *mut Context) {
    naked_asm!(
        "push rbx", "push rbp", "push r12", "push r13", "push r14", "push r15",
        "mov [rdi + {host_rsp}], rsp",
        "rdfsbase rax", "mov [rdi + {host_fs}], rax",
        "xor eax, eax", "wrfsbase rax",
        // x87, SSE, AVX: as far as the host has them.
        "mov eax, 7", "xor edx, edx", "xrstor64 [rdi + {area}]",
        "push [rdi + {rflags}]", "popfq",
        "mov rax, [rdi + {gpr}]", "mov rcx, [rdi + {gpr} + 0x08]",
        "mov rdx, [rdi + {gpr} + 0x10]", "mov rbx, [rdi + {gpr} + 0x18]",
        "mov rsp, [rdi + {gpr} + 0x20]", "mov rbp, [rdi + {gpr} + 0x28]",
        "mov rsi, [rdi + {gpr} + 0x30]",
        "mov r8, [rdi + {gpr} + 0x40]", "mov r9, [rdi + {gpr} + 0x48]",
        "mov r10, [rdi + {gpr} + 0x50]", "mov r11, [rdi + {gpr} + 0x58]",
        "mov r12, [rdi + {gpr} + 0x60]", "mov r13, [rdi + {gpr} + 0x68]",
        "mov r14, [rdi + {gpr} + 0x70]", "mov r15, [rdi + {gpr} + 0x78]",
        "mov rdi, [rdi + {gpr} + 0x38]",
        "jmp fword ptr [rip + {context} + {entry}]",
        context = sym CONTEXT,
        host_rsp = const mem::offset_of!(Context, host_rsp),
        area = const mem::offset_of!(Context, area),
        host_fs = const mem::offset_of!(Context, host_fs),
        gpr = const mem::offset_of!(Context, cpu.gpr),
        rflags = const mem::offset_of!(Context, cpu.rflags),
        entry = const mem::offset_of!(Context, entry),
    )
}

/// Where the signal handler returns to: restores the host's registers and returns to the caller of [`enter`].
#[unsafe(naked)]
unsafe extern "sysv64" fn leave() {
    naked_asm!(
        "mov rsp, [rip + {context} + {host_rsp}]",
        "mov rax, [rip + {context} + {host_fs}]", "wrfsbase rax",
        "xor eax, eax", "wrgsbase rax",
        "fninit",
        "push 0x1f80", "ldmxcsr [rsp]", "add rsp, 8",
        "pop r15", "pop r14", "pop r13", "pop r12", "pop rbp", "pop rbx",
        "ret",
        context = sym CONTEXT,
        host_rsp = const mem::offset_of!(Context, host_rsp),
        host_fs = const mem::offset_of!(Context, host_fs),
    )
}
