//! SHA-1 and SHA-256 (FIPS 180-4) as the SHA extensions cut them.

use super::X;
use crate::lanes::{Lane, from_fn};

#[inline(always)]
fn word(v: &X, i: usize) -> u32 {
    u32::at(v, i)
}

/// SDM Vol. 2B, SHA1RNDS4: four rounds on A, B, C, D (lane 3 to lane 0); lane 3 of `b` has E added in already.
pub(crate) fn sha1_rounds(a: X, b: X, which: u8) -> X {
    let mut state = [word(&a, 3), word(&a, 2), word(&a, 1), word(&a, 0), 0];
    let choose = |b: u32, c: u32, d: u32| b & c ^ !b & d;
    let parity = |b: u32, c: u32, d: u32| b ^ c ^ d;
    let majority = |b: u32, c: u32, d: u32| b & c ^ b & d ^ c & d;
    for i in (0..4).rev() {
        let [a, x, c, d, e] = state;
        let (f, k) = match which & 3 {
            0 => (choose(x, c, d), 0x5a82_7999),
            1 => (parity(x, c, d), 0x6ed9_eba1),
            2 => (majority(x, c, d), 0x8f1b_bcdc),
            _ => (parity(x, c, d), 0xca62_c1d6),
        };
        let next = f.wrapping_add(a.rotate_left(5)).wrapping_add(word(&b, i)).wrapping_add(e).wrapping_add(k);
        state = [next, a, x.rotate_left(30), c, d];
    }
    from_fn(|i| state[3 - i])
}

/// SDM Vol. 2B, SHA1NEXTE.
pub(crate) fn sha1_next(a: X, mut b: X) -> X {
    word(&b, 3).wrapping_add(word(&a, 3).rotate_left(30)).put(&mut b, 3);
    b
}

/// SDM Vol. 2B, SHA1MSG1: `w[t - 16] ^ w[t - 14]`.
pub(crate) fn sha1_schedule_first(a: X, b: X) -> X {
    from_fn(|i| word(&a, i) ^ if i < 2 { word(&b, i + 2) } else { word(&a, i - 2) })
}

/// SDM Vol. 2B, SHA1MSG2: `(a ^ w[t - 3]) <<< 1`, where the last word needs the first.
pub(crate) fn sha1_schedule_second(a: X, b: X) -> X {
    let mut out = [0; 16];
    for i in (0..4).rev() {
        let before = if i > 0 { word(&b, i - 1) } else { word(&out, 3) };
        (word(&a, i) ^ before).rotate_left(1).put(&mut out, i);
    }
    out
}

/// SDM Vol. 2B, SHA256RNDS2: two rounds on C, D, G, H in `a` and A, B, E, F in `b`, with words plus constants in `wk`.
#[inline(always)]
pub(crate) fn sha256_rounds(a: X, b: X, wk: X) -> X {
    let mut s =
        [word(&b, 3), word(&b, 2), word(&a, 3), word(&a, 2), word(&b, 1), word(&b, 0), word(&a, 1), word(&a, 0)];
    for i in 0..2 {
        let [a, b, c, d, e, f, g, h] = s;
        let sum = |x: u32, p, q, r| x.rotate_right(p) ^ x.rotate_right(q) ^ x.rotate_right(r);
        let first = h.wrapping_add(sum(e, 6, 11, 25)).wrapping_add(e & f ^ !e & g).wrapping_add(word(&wk, i));
        let second = sum(a, 2, 13, 22).wrapping_add(a & b ^ a & c ^ b & c);
        s = [first.wrapping_add(second), a, b, c, d.wrapping_add(first), e, f, g];
    }
    let [a, b, _, _, e, f, ..] = s;
    from_fn(|i| [f, e, b, a][i])
}

#[inline(always)]
fn sigma(x: u32, p: u32, q: u32, shift: u32) -> u32 {
    x.rotate_right(p) ^ x.rotate_right(q) ^ x >> shift
}

/// SDM Vol. 2B, SHA256MSG1: `w[t - 16] + sigma0(w[t - 15])`.
#[inline(always)]
pub(crate) fn sha256_schedule_first(a: X, b: X) -> X {
    from_fn(|i| {
        let next = if i < 3 { word(&a, i + 1) } else { word(&b, 0) };
        word(&a, i).wrapping_add(sigma(next, 7, 18, 3))
    })
}

/// SDM Vol. 2B, SHA256MSG2: plus `sigma1(w[t - 2])`.
#[inline(always)]
pub(crate) fn sha256_schedule_second(a: X, b: X) -> X {
    let mut out = [0; 16];
    for i in 0..4 {
        let before = if i < 2 { word(&b, i + 2) } else { word(&out, i - 2) };
        word(&a, i).wrapping_add(sigma(before, 17, 19, 10)).put(&mut out, i);
    }
    out
}
