//! Dispatch: how handlers reach the next op, the next block, and the way out.
//!
//! With `cfg(threaded)` a handler calls the next one in tail position, which optimised builds compile to a jump.
//! Otherwise it returns the next op to a loop (`run_chain`); handlers are the same.

use crate::cpu::fault::{Fault, Trap, vector};
use crate::cpu::{Cpu, Exit, RETURNS, Return};
use crate::op::{FAR, Far, Header, Links, NEVER, Op};

/// Goes on with `$op`.
macro_rules! go {
    ($cpu:expr, $op:expr, $budget:expr) => {{
        let op: *const crate::op::Op = $op;
        #[cfg(threaded)]
        return ((*op).f)($cpu, op, $budget);
        #[cfg(not(threaded))]
        {
            (*$cpu).trampoline_budget = $budget;
            return op as usize as i64;
        }
    }};
}
pub(crate) use go;

/// Goes on with the op after `$op`.
macro_rules! next {
    ($cpu:expr, $op:expr, $budget:expr) => {
        crate::engine::go!($cpu, $op.add(1), $budget)
    };
}
pub(crate) use next;

/// Leaves the block chain; `Cpu::exit` says why.
macro_rules! leave {
    ($cpu:expr, $budget:expr) => {{
        #[cfg(threaded)]
        return $budget;
        #[cfg(not(threaded))]
        {
            (*$cpu).trampoline_budget = $budget;
            return 0;
        }
    }};
}
pub(crate) use leave;

/// Enters the block of `$header`, whose first instruction is at `Cpu::rip`.
macro_rules! enter {
    ($cpu:expr, $header:expr, $budget:expr) => {{
        let header: *const crate::op::Header = $header;
        let left = $budget - i64::from((*header).n);
        if left < 0 {
            return crate::engine::enter_cold($cpu, header.cast(), $budget);
        }
        crate::engine::go!($cpu, header.cast::<crate::op::Op>().add(1), left)
    }};
}
pub(crate) use enter;

/// Enters through link `$which` of the links behind `$op`.
macro_rules! follow {
    ($cpu:expr, $op:expr, $budget:expr, $which:expr) => {{
        let links = crate::op::Op::links($op);
        (*$cpu).rip = (*$cpu).rip.wrapping_add((*links).delta[$which] as u64);
        crate::engine::enter!($cpu, (*links).to[$which], $budget)
    }};
}
pub(crate) use follow;

/// Enters the block at `$rip`, which was computed by the guest.
macro_rules! jump {
    ($cpu:expr, $rip:expr, $budget:expr) => {{
        let rip: u64 = $rip;
        (*$cpu).rip = rip;
        let known = (*$cpu).cache.known(rip);
        if ((*known).rip ^ rip) | ((*known).key ^ (*$cpu).code_key) == 0 {
            crate::engine::enter!($cpu, (*known).header, $budget)
        }
        return crate::engine::enter_cold($cpu, (*$cpu).unknown().cast(), $budget);
    }};
}
pub(crate) use jump;

/// Runs a block chain from `header` until something leaves it; returns the budget left.
///
/// # Safety
/// `header` is a block of this CPU's cache that may be entered, with `(*header).n <= budget`.
pub(crate) unsafe fn run_chain(cpu: *mut Cpu, header: *const Header, budget: i64) -> i64 {
    // SAFETY: ops of a block are walked as its builder laid them out.
    unsafe {
        let left = budget - i64::from((*header).n);
        let op = header.cast::<Op>().add(1);
        run_ops(cpu, op, left)
    }
}

/// Runs from `op` until something leaves the chain.
///
/// # Safety
/// `op` is an op of a well-formed block.
#[inline(always)]
pub(crate) unsafe fn run_ops(cpu: *mut Cpu, op: *const Op, budget: i64) -> i64 {
    // SAFETY: as the caller promises.
    unsafe {
        #[cfg(threaded)]
        return ((*op).f)(cpu, op, budget);
        #[cfg(not(threaded))]
        {
            let (mut op, mut budget) = (op, budget);
            loop {
                let then = ((*op).f)(cpu, op, budget);
                budget = (*cpu).trampoline_budget;
                if then == 0 {
                    return budget;
                }
                op = then as usize as *const Op;
            }
        }
    }
}

/// The way on when a block cannot simply be entered: not yet known, invalidated, or beyond the budget.
///
/// Like every cold function that goes back into a block, it keeps nothing on the stack that outlives its last call:
/// otherwise that call would not be a jump, and the host's stack would grow with the guest's run.
///
/// # Safety
/// A handler's tail: `header` is a header, `Cpu::rip` the address it stands for.
#[cold]
#[inline(never)]
pub(crate) unsafe fn enter_cold(cpu: *mut Cpu, header: *const Op, budget: i64) -> i64 {
    // SAFETY: headers live as long as the cache, which is flushed only outside block chains.
    unsafe {
        let mut header = header.cast::<Header>();
        if budget <= 0 {
            // Not even looked at: a fetch fault belongs to the far side of the limit.
            (*cpu).exit = Exit::Budget;
            leave!(cpu, budget)
        }
        let mut short = Exit::Budget;
        if (*header).n == NEVER {
            let (owner, far) = ((*header).owner, header.cast_mut().cast::<Far>());
            let is_far = (*header).bytes == FAR;
            if is_far && ((*far).rip ^ (*cpu).rip) | ((*far).key ^ (*cpu).code_key) == 0 {
                let left = budget - i64::from((*(*far).to).n);
                if left >= 0 {
                    go!(cpu, (*far).to.cast::<Op>().add(1), left)
                }
            }
            header = (*cpu).resolve();
            // Looking for it may have set accessed bits: at least its first instruction must run.
            short = Exit::Single;
            if header.is_null() {
                leave!(cpu, budget)
            }
            if is_far {
                *far = Far { to: header, key: (*cpu).code_key, rip: (*cpu).rip, n: NEVER, bytes: FAR, insns: 0 };
            } else if !owner.is_null() && (*header).second_page == u64::MAX {
                *owner = header;
            }
        }
        let left = budget - i64::from((*header).n);
        if left < 0 {
            (*cpu).exit = short;
            leave!(cpu, budget)
        }
        go!(cpu, header.cast::<Op>().add(1), left)
    }
}

/// Leaves with the instruction of `op` not retired; `Cpu::exit` says why.
///
/// # Safety
/// A handler's tail.
#[cold]
#[inline(never)]
pub(crate) unsafe fn leave_before(cpu: *mut Cpu, op: *const Op, budget: i64) -> i64 {
    // SAFETY: `op` is in a block.
    unsafe {
        let header = Op::header(op);
        let budget = budget + i64::from((*header).insns) - i64::from((*op).idx);
        (*cpu).rip = (*cpu).rip.wrapping_add(u64::from((*op).off)) & (*cpu).ip_mask;
        leave!(cpu, budget)
    }
}

/// Defines cold tails that leave with a fault, so that handlers need no fourth argument for it.
macro_rules! fault_tails {
    ($($(#[$doc:meta])* $name:ident $fault:ident;)+) => {
        $($(#[$doc])*
        ///
        /// # Safety
        /// A handler's tail.
        #[cold]
        #[inline(never)]
        pub(crate) unsafe fn $name(cpu: *mut Cpu, op: *const Op, budget: i64) -> i64 {
            // SAFETY: as the caller promises.
            unsafe {
                (*cpu).exit = Exit::Trap(Trap::Fault(Fault::$fault));
                leave_before(cpu, op, budget)
            }
        })+
    };
}

fault_tails! {
    /// #DE.
    divide_error DE;
    /// #GP(0).
    general_protection GP0;
    /// #UD.
    undefined UD;
    /// #NM.
    not_available NM;
    /// #MF.
    x87_exception MF;
    /// #XM.
    simd_exception XM;
}

/// Handler of an instruction that never executes: `Op::aux` is #GP or #UD.
pub(crate) unsafe fn raise(cpu: *mut Cpu, op: *const Op, budget: i64) -> i64 {
    // SAFETY: called by the engine with an op of a block.
    unsafe {
        match (*op).aux {
            vector::GP => general_protection(cpu, op, budget),
            _ => undefined(cpu, op, budget),
        }
    }
}

/// Handler behind an op that runs by itself.
pub(crate) unsafe fn return_op(cpu: *mut Cpu, _op: *const Op, budget: i64) -> i64 {
    let _ = cpu;
    // SAFETY: called by the engine.
    #[cfg_attr(threaded, allow(unused_unsafe))]
    unsafe {
        leave!(cpu, budget)
    }
}

/// Handler at the end of a block that just goes on.
pub(crate) unsafe fn fall_through(cpu: *mut Cpu, op: *const Op, budget: i64) -> i64 {
    // SAFETY: called by the engine with the last op of a block that has links.
    unsafe { follow!(cpu, op, budget, crate::op::TAKEN) }
}

/// Handler at the end of a block after which the run loop decides (`Op::imm`: distance from the block's first byte).
pub(crate) unsafe fn stop_after(cpu: *mut Cpu, op: *const Op, budget: i64) -> i64 {
    // SAFETY: called by the engine with an op of a block.
    unsafe {
        (*cpu).rip = (*cpu).rip.wrapping_add((*op).imm);
        leave!(cpu, budget)
    }
}

/// An instruction outside the fast path: a plain function on the CPU. `Cpu::rip` is already the next instruction's.
pub(crate) type Body = fn(&mut Cpu, &Op) -> Result<(), Trap>;

/// Handler of an instruction outside the fast path; it ends its block. `Op::imm` is used by `body` as it likes.
///
/// # Safety
/// A handler's tail.
#[inline(never)]
pub(crate) unsafe fn run_body(cpu: *mut Cpu, op: *const Op, budget: i64, body: Body) -> i64 {
    // SAFETY: as the caller promises.
    unsafe {
        let left = do_body(cpu, op, budget, body);
        leave!(cpu, left)
    }
}

/// Likewise of one after which the run loop seldom has anything to do: if not, the next block is entered at once.
///
/// # Safety
/// A handler's tail.
#[inline(never)]
pub(crate) unsafe fn run_body_on(cpu: *mut Cpu, op: *const Op, budget: i64, body: Body) -> i64 {
    // SAFETY: as the caller promises; nothing of this frame is live at the jump.
    unsafe {
        (*cpu).refetch = false;
        let left = do_body(cpu, op, budget, body);
        if (*cpu).exit != Exit::None || (*cpu).must_look_around() {
            leave!(cpu, left)
        }
        jump!(cpu, (*cpu).rip, left)
    }
}

/// Runs a body; returns the budget left.
#[inline(never)]
unsafe fn do_body(cpu: *mut Cpu, op: *const Op, budget: i64, body: Body) -> i64 {
    // SAFETY: `op` is in a block; no other reference to the CPU is live in a handler.
    unsafe {
        let c = &mut *cpu;
        let left = budget + i64::from((*Op::header(op)).insns) - i64::from((*op).idx);
        c.retired = c.limit.wrapping_sub(left as u64);
        let at = c.rip.wrapping_add(u64::from((*op).off)) & c.ip_mask;
        c.rip = at.wrapping_add(u64::from((*op).len)) & c.ip_mask;
        match body(c, &*op) {
            Ok(()) => left - 1,
            Err(trap) => {
                c.rip = at;
                c.exit = Exit::Trap(trap);
                left
            }
        }
    }
}

/// Makes a handler of a `Body`.
macro_rules! slow_handler {
    ($body:path) => {{
        unsafe fn handler(cpu: *mut crate::cpu::Cpu, op: *const crate::op::Op, budget: i64) -> i64 {
            // SAFETY: called by the engine with an op of a block.
            unsafe { crate::engine::run_body(cpu, op, budget, $body) }
        }
        handler as crate::op::Handler
    }};
}
pub(crate) use slow_handler;

/// Likewise, with `run_body_on`: of one that changes nothing the run loop looks at, but what `Cpu::must_look_around` sees.
macro_rules! passing_handler {
    ($body:path) => {{
        unsafe fn handler(cpu: *mut crate::cpu::Cpu, op: *const crate::op::Op, budget: i64) -> i64 {
            // SAFETY: called by the engine with an op of a block.
            unsafe { crate::engine::run_body_on(cpu, op, budget, $body) }
        }
        handler as crate::op::Handler
    }};
}
pub(crate) use passing_handler;

impl Cpu {
    /// Notes that the code at `rip` will probably be returned to through `links`.
    #[inline(always)]
    pub(crate) fn push_return(&mut self, rip: u64, links: *const Links) {
        self.return_top = (self.return_top + 1) % RETURNS;
        self.returns[self.return_top % RETURNS] = Return { rip, key: self.code_key, links };
    }
}
