//! Examples of the standards; `hwdiff` compares every instruction with the real CPU.

use super::{aes, galois, sha};
use crate::lanes::{Lane, from_fn};

fn block(hex: u128) -> [u8; 16] {
    hex.to_be_bytes()
}

/// FIPS 197, appendix B: key expansion and cipher.
#[test]
fn aes_128_enciphers_the_example() {
    const KEY: u128 = 0x2b7e1516_28aed2a6_abf71588_09cf4f3c;
    const CONSTANTS: [u8; 10] = [1, 2, 4, 8, 0x10, 0x20, 0x40, 0x80, 0x1b, 0x36];
    let mut keys = vec![block(KEY)];
    for constant in CONSTANTS {
        let last = keys[keys.len() - 1];
        let mut word = u32::at(&aes::key_assist(last, constant), 3);
        keys.push(from_fn(|i| {
            word ^= u32::at(&last, i);
            word
        }));
    }
    let xor = |a, b| crate::lanes::xor::<16>(a, b);
    let mut state = xor(block(0x3243f6a8_885a308d_313198a2_e0370734), keys[0]);
    for key in &keys[1..10] {
        state = aes::encrypt(state, *key);
    }
    state = aes::encrypt_last(state, keys[10]);
    assert_eq!(state, block(0x3925841d_02dc09fb_dc118597_196a0b32));

    state = xor(state, keys[10]);
    for key in keys[1..10].iter().rev() {
        state = aes::decrypt(state, aes::inverse_mix(*key));
    }
    assert_eq!(aes::decrypt_last(state, keys[0]), block(0x3243f6a8_885a308d_313198a2_e0370734));
}

/// FIPS 180-4: the digest of "abc" is one block.
#[test]
fn sha_256_of_abc() {
    let root_bits = |n: u64, root: fn(f64) -> f64| (root(n as f64).fract() * 4_294_967_296.0) as u32;
    let primes: Vec<u64> = (2..320).filter(|n| (2..*n).all(|d| n % d != 0)).collect();
    let mut w = [0u32; 64];
    (w[0], w[15]) = (0x6162_6380, 24);
    for t in (16..64).step_by(4) {
        let at = |from: usize| from_fn(|i| w[t - from + i]);
        let first = sha::sha256_schedule_first(at(16), at(12));
        let sum = crate::lanes::add::<u32, 16>(first, at(7));
        let four = sha::sha256_schedule_second(sum, at(4));
        for i in 0..4 {
            w[t + i] = u32::at(&four, i);
        }
    }
    let start: Vec<u32> = primes[..8].iter().map(|p| root_bits(*p, f64::sqrt)).collect();
    let pack = |s: [u32; 4]| from_fn::<u32, 16>(|i| s[i]);
    let mut abef = pack([start[5], start[4], start[1], start[0]]);
    let mut cdgh = pack([start[7], start[6], start[3], start[2]]);
    for t in (0..64).step_by(2) {
        let wk = from_fn(|i| if i < 2 { w[t + i].wrapping_add(root_bits(primes[t + i], f64::cbrt)) } else { 0 });
        (cdgh, abef) = (abef, sha::sha256_rounds(cdgh, abef, wk));
    }
    let [f, e, b, a] = [0, 1, 2, 3].map(|i| u32::at(&abef, i));
    let [h, g, d, c] = [0, 1, 2, 3].map(|i| u32::at(&cdgh, i));
    let digest: Vec<u32> = [a, b, c, d, e, f, g, h].iter().zip(start).map(|(x, y)| x.wrapping_add(y)).collect();
    assert_eq!(
        digest,
        [0xba78_16bf, 0x8f01_cfea, 0x4141_40de, 0x5dae_2223, 0xb003_61a3, 0x9617_7a9c, 0xb410_ff61, 0xf200_15ad]
    );
}

#[test]
fn products_without_carries() {
    // (x + 1)^2 = x^2 + 1.
    assert_eq!(galois::carryless(from_fn(|_| 3u64), from_fn(|_| 3u64), 0), 5u128.to_le_bytes());
    let (a, b) = (from_fn(|i| [1u64, 1 << 63][i]), from_fn(|i| [1u64 << 63, 7][i]));
    assert_eq!(galois::carryless(a, b, 0x01), (1u128 << 126).to_le_bytes());
    assert_eq!(galois::carryless(a, b, 0x11), (7u128 << 63).to_le_bytes());
    // FIPS 197, 4.2: {57} * {83} = {c1}.
    assert_eq!(galois::multiply_bytes([0x57; 16], [0x83; 16]), [0xc1; 16]);
}
