//! Guest programs of ftemu as prebuilt images: nobody needs a C compiler to run them.
//!
//! The sources are next to this crate, one folder each; `make -C testprogs` rebuilds the images and
//! `tests/images.rs` checks that they are what the sources say. docs/guests.md is the guide.

pub mod linux;
pub mod userland;

/// A Multiboot kernel that checks what it is told: `multiboot/check.c`.
pub const MULTIBOOT: &[u8] = include_bytes!("../images/multiboot.elf");
/// Its exit code if all is well.
pub const MULTIBOOT_EXIT_CODE: u8 = 67;

/// A bare-metal program, ready for the ELF loader (ARCHITECTURE.md, "Bare ELF hand-off").
#[derive(Clone, Copy, Debug)]
pub struct Guest {
    /// Name of its folder, or of its file in `kernels/`.
    pub name: &'static str,
    /// What it shows, in a few words.
    pub about: &'static str,
    /// The ELF64 file.
    pub image: &'static [u8],
    /// Command line for a run of a few seconds at most that ends by itself (if its input does).
    pub default_cmdline: &'static str,
}

/// The guests that are compute kernels, and the checksum that each prints for its default command line.
/// `make -C testprogs native` links the same object files for the host, as `build/native/<name>`: the same
/// `n` prints the same line.
pub const KERNELS: [(&str, u64); 13] = [
    ("mixed", 0x006d_51eb_e34f_ac6b),
    ("sha256", 0x4d08_a26e_b502_8a4a),
    ("sieve", 0x5cee_ca32_50a7_a250),
    ("fib", 0xf5fc_1752_969f_fdff),
    ("bytecode", 0x1bb6_48bd_6446_abc9),
    ("copy", 0xd45b_3c92_4fbe_b987),
    ("sort", 0xc50d_a31f_b4b4_f01d),
    ("whetstone", 0xcdbe_9fde_38de_ee42),
    ("x87", 0x2a77_591d_8a98_1df0),
    ("linpack", 0xe864_96e1_2db5_0816),
    ("packed", 0x5c13_c29d_071f_57d4),
    ("aesgcm", 0x10ef_db40_aec9_5601),
    ("shani", 0x2877_d9da_3bb3_360b),
];

/// Every guest, in the order of docs/guests.md.
#[must_use]
pub fn all() -> &'static [Guest] {
    GUESTS
}

/// The guest called `name`.
#[must_use]
pub fn find(name: &str) -> Option<&'static Guest> {
    GUESTS.iter().find(|guest| guest.name == name)
}

macro_rules! guests {
    ($($name:literal, $about:literal, $cmdline:literal;)*) => {
        &[$(Guest {
            name: $name,
            about: $about,
            image: include_bytes!(concat!("../images/", $name, ".elf")),
            default_cmdline: $cmdline,
        }),*]
    };
}

#[rustfmt::skip]
static GUESTS: &[Guest] = guests! {
    "counter", "counts 1, 2, 3 ... at a visible pace", "count=100 hz=20";
    "clock", "RDTSC and timer ticks interleaved, checked for running backwards", "ticks=50 hz=50";
    "dice", "RDRAND and RDSEED throws with a running checksum", "throws=100";
    "calc", "a calculator over the console", "";
    "kv", "a key-value store over the console, replies numbered", "";
    "lock", "a lock server: leases against the timer, replies numbered and timed", "";
    "mapreduce", "a MapReduce master whose workers die by RDRAND", "";
    "primes", "a CPU hog that rarely speaks", "limit=200000";
    "walker", "touches every page and follows pointers between them", "mb=16";
    "selfmod", "changes its own code, in every way that is allowed", "rounds=1000";
    "faults", "raises every exception, in ring 0 and ring 3, and checks what the CPU reports", "";
    "exact", "pieces of code whose retired count is known by construction", "";
    "disk", "writes and reads a virtio disk at random, compared with a copy in memory", "ops=200";
    "mixed", "kernel: lists, matrices, a state machine and a CRC", "n=20";
    "sha256", "kernel: straight blocks of rotates and adds", "n=20";
    "sieve", "kernel: strided stores", "n=20";
    "fib", "kernel: calls and returns", "n=20";
    "bytecode", "kernel: an interpreter's indirect jumps", "n=20";
    "copy", "kernel: words, SSE registers and REP strings", "n=20";
    "sort", "kernel: unpredictable branches and a hash table", "n=20";
    "whetstone", "kernel: scalar double precision, elementary functions", "n=20";
    "x87", "kernel: the same in double extended precision", "n=20";
    "linpack", "kernel: linear equations by Gaussian elimination", "n=20";
    "packed", "kernel: integers in SSE2 registers", "n=20";
    "aesgcm", "kernel: AES-GCM with AES-NI and carry-less products", "n=20";
    "shani", "kernel: SHA-256 with the SHA extensions", "n=20";
};
