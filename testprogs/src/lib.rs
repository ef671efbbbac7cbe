//! Guest programs of ftemu as prebuilt images: nobody needs a C compiler to run them.
//!
//! The sources are next to this crate, one folder each; `make -C testprogs` rebuilds the images and
//! `tests/images.rs` checks that they are what the sources say. docs/guests.md is the guide.

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
    "primes", "a CPU hog that rarely speaks", "limit=200000";
};
