//! Are two machines the same?

use emu::Machine;
use xxhash_rust::xxh3::Xxh3;

use crate::codec;

/// Digest of the whole machine: xxh3-128 of its encoded state and then the digest of its RAM as u128. Machines that
/// behave alike have equal digests; the cost is that of the pages written since the last one.
pub fn machine_digest(machine: &mut Machine) -> u128 {
    let mut hasher = Xxh3::new();
    hasher.update(&codec::encode(&machine.state()));
    hasher.update(&machine.ram_digest().to_le_bytes());
    hasher.digest128()
}
