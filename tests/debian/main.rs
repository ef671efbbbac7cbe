//! A whole distribution: Debian boots with its own kernel and initial RAM disk from a virtio disk, to systemd's multi-user target
//! and a login, and real programs work in it: recorded and replayed, and in a pair whose primary is killed again and again.
//!
//! `.ci/debian` makes the disk; where that is not possible, this is skipped.

#![allow(clippy::unwrap_used, reason = "a test may panic")]
#![allow(unreachable_pub, reason = "a test has no outside")]

mod alone;
#[cfg(unix)]
mod kills;
#[cfg(unix)]
#[path = "../pair/mod.rs"]
#[allow(dead_code, reason = "some of it is for other tests")]
mod pair;
#[path = "../prepared/mod.rs"]
mod prepared;
#[cfg(unix)]
mod remembered;
#[cfg(unix)]
mod storm;
#[cfg_attr(not(unix), allow(dead_code, reason = "some of it is for pairs"))]
mod terminal;

use std::sync::{Mutex, MutexGuard, PoisonError};

const PYTHON: &str = "python3 -c 'import hashlib, math; \
    print(hashlib.sha256(str(2**4423-1).encode()).hexdigest(), math.sin(1e22), sum(range(10**6)))'";
const PYTHON_SAYS: &str =
    "5c6c10ad2e971f207b1a7b31e1bfc3b1f608fb99f01f8f3d7bcda27474174bd9 -0.8522008497671888 499999500000\n";

/// The address that DHCP gives. udev finds the card, and takes its time.
const NETWORK: &str = "i=0; until a=$(ip -4 -o addr show dev enp0s3 | grep -o '10[0-9./]*/24'); do \
    i=$((i+1)); [ $i -lt 60 ] || break; sleep 1; done; echo $a";
const NETWORK_SAYS: &str = "10.0.2.15/24\n";

/// The arguments of `ftemu run` that boot it, with more words on the kernel's command line; `None` if there is none.
fn debian(append: &str) -> Option<Vec<String>> {
    let directory = prepared::by("debian", &[])?;
    let options = ["--memory", "1G", "--append"].map(str::to_owned);
    let append = format!("console=ttyS0 root=/dev/vda rw panic=-1 {append}");
    let file = |name: &str| format!("{directory}/{name}");
    let files = [file("vmlinuz"), "--initrd".into(), file("initrd.img"), "--disk".into(), file("root.img")];
    Some(files.into_iter().chain(options).chain([append]).collect())
}

/// One at a time: each has more to do than a small host has processors for.
fn one_at_a_time() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}
