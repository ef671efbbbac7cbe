//! Carry-less products, and the field of 256 elements that AES and GFNI compute in.

use super::X;
use crate::lanes::{Lane, from_fn};

/// `a * b` without carries.
fn product(a: u64, b: u64) -> u128 {
    // Four bits of `b` at a time, by a table of their products with all but the top three bits of `a`, which fit a word.
    let short = a << 3 >> 3;
    let mut multiples = [0; 16];
    multiples[1] = short;
    for i in 1..8 {
        multiples[2 * i] = multiples[i] << 1;
        multiples[2 * i + 1] = multiples[2 * i] ^ short;
    }
    let (mut low, mut high) = (multiples[(b & 15) as usize], 0);
    for shift in (4..64).step_by(4) {
        let multiple = multiples[(b >> shift & 15) as usize];
        low ^= multiple << shift;
        high ^= multiple >> (64 - shift);
    }
    for bit in 61..64 {
        let all = (a >> bit & 1).wrapping_neg();
        low ^= b << bit & all;
        high ^= b >> (64 - bit) & all;
    }
    u128::from(high) << 64 | u128::from(low)
}

/// SDM Vol. 2B, PCLMULQDQ: bit 0 of `which` chooses the half of `a`, bit 4 that of `b`.
pub(crate) fn carryless(a: X, b: X, which: u8) -> X {
    let (a, b) = (u64::at(&a, usize::from(which & 1)), u64::at(&b, usize::from(which >> 4 & 1)));
    product(a, b).to_le_bytes()
}

/// `a * b` modulo x^8 + x^4 + x^3 + x + 1.
pub(super) const fn multiply(mut a: u8, mut b: u8) -> u8 {
    let mut sum = 0;
    while b != 0 {
        if b & 1 != 0 {
            sum ^= a;
        }
        a = a << 1 ^ if a & 0x80 != 0 { 0x1b } else { 0 };
        b >>= 1;
    }
    sum
}

/// Inverses in the field; that of 0 is 0.
pub(super) const INVERSE: [u8; 256] = {
    // Powers of the generator 3: the inverse of 3^n is 3^(255 - n).
    let (mut power, mut n) = ([1u8; 256], 1);
    while n < 256 {
        power[n] = multiply(power[n - 1], 3);
        n += 1;
    }
    let mut inverse = [0; 256];
    n = 0;
    while n < 255 {
        inverse[power[n] as usize] = power[255 - n];
        n += 1;
    }
    inverse
};

/// SDM Vol. 2A, GF2P8MULB.
pub(crate) fn multiply_bytes(a: X, b: X) -> X {
    from_fn(|i| multiply(a[i], b[i]))
}

/// Matrix times vector: bit `i` of the result is the parity of `x` and byte `7 - i` of `matrix`.
fn transform(matrix: u64, x: u8) -> u8 {
    let row = |i: u32| (matrix >> (8 * (7 - i))) as u8;
    (0..8).fold(0, |y, i| y | ((row(i) & x).count_ones() as u8 & 1) << i)
}

/// SDM Vol. 2A, GF2P8AFFINEQB: each byte of `a` by the matrix in its half of `b`, plus a constant.
pub(crate) fn affine(a: X, b: X, constant: u8) -> X {
    from_fn(|i| transform(u64::at(&b, i / 8), a[i]) ^ constant)
}

/// SDM Vol. 2A, GF2P8AFFINEINVQB: likewise of the inverses.
pub(crate) fn affine_inverse(a: X, b: X, constant: u8) -> X {
    affine(a.map(|x| INVERSE[usize::from(x)]), b, constant)
}
