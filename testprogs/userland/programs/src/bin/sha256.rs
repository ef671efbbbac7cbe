//! sha256: the crate `sha2`, which uses SHA-NI where CPUID has it.

use sha2::{Digest, Sha224, Sha256, Sha512};
use userland_programs::{hex, rounds, text};

fn main() {
    println!("abc {}", hex(&Sha256::digest(b"abc")));
    let text = text(4000, 9);
    let mut digest = Sha256::digest(&text);
    for round in 0..rounds(100) {
        let bytes = &text.as_bytes()[round % 64..];
        digest = Sha256::new().chain_update(digest).chain_update(bytes).finalize();
    }
    println!("256 {}", hex(&digest));
    println!("224 {}", hex(&Sha224::digest(&text)));
    println!("512 {}", hex(&Sha512::digest(&text)));
}
