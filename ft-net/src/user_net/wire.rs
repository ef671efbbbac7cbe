//! What the network's thread and the machine's thread say to each other besides frames.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use mio::Waker;

/// Frames that may be on their way to the machine.
const FRAMES_MAX: usize = 256;
/// From here on a sender that has found the way full is told that it is free again.
const FRAMES_LOW: usize = FRAMES_MAX / 2;

/// Shared by both threads.
#[derive(Debug)]
pub(super) struct Wire {
    waker: Waker,
    /// The network's thread has been woken and has not looked yet.
    woken: AtomicBool,
    /// Frames delivered, not taken by the machine.
    on_the_way: AtomicUsize,
    /// The network's thread waits for the way to be free.
    full: AtomicBool,
    cut: AtomicBool,
}

impl Wire {
    pub(super) fn new(waker: Waker) -> Self {
        Self {
            waker,
            woken: AtomicBool::new(false),
            on_the_way: AtomicUsize::new(0),
            full: AtomicBool::new(false),
            cut: AtomicBool::new(false),
        }
    }

    // ---- from the machine's thread ----

    /// Makes the network's thread look.
    pub(super) fn wake(&self) {
        if !self.woken.swap(true, Ordering::SeqCst) {
            let _ = self.waker.wake(); // If the host cannot even do that, frames are late.
        }
    }

    /// The machine has taken a frame.
    pub(super) fn taken(&self) {
        let left = self.on_the_way.fetch_sub(1, Ordering::SeqCst) - 1;
        if left <= FRAMES_LOW && self.full.swap(false, Ordering::SeqCst) {
            self.wake();
        }
    }

    /// Ends the network's thread.
    pub(super) fn cut(&self) {
        self.cut.store(true, Ordering::SeqCst);
        let _ = self.waker.wake(); // As above.
    }

    // ---- from the network's thread ----

    pub(super) fn is_cut(&self) -> bool {
        self.cut.load(Ordering::SeqCst)
    }

    /// It looks now: what comes from now on must wake it again.
    pub(super) fn listening(&self) {
        self.woken.store(false, Ordering::SeqCst);
    }

    /// A frame sets out for the machine.
    pub(super) fn sent(&self) {
        self.on_the_way.fetch_add(1, Ordering::SeqCst);
    }

    /// May another frame set out? If not, this thread is woken when it may.
    pub(super) fn has_room(&self) -> bool {
        if self.on_the_way.load(Ordering::SeqCst) < FRAMES_MAX {
            return true;
        }
        self.full.store(true, Ordering::SeqCst);
        // The machine may have taken them all before it could see that.
        self.on_the_way.load(Ordering::SeqCst) <= FRAMES_LOW && self.full.swap(false, Ordering::SeqCst)
    }
}
