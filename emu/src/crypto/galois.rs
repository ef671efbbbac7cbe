//! Carry-less products, and the field of 256 elements that AES and GFNI compute in.

use super::X;
use crate::lanes::{Lane, from_fn};

/// `a * b` without carries.
#[inline(always)]
fn product(a: u64, b: u64) -> u128 {
    // Four bits of `b` at a time, by a table of their products.
    let mut multiples = [0u128; 16];
    for i in 1..16 {
        multiples[i] = if i % 2 == 0 { multiples[i / 2] << 1 } else { multiples[i - 1] ^ u128::from(a) };
    }
    (0..16).rev().fold(0, |sum, i| sum << 4 ^ multiples[(b >> (4 * i) & 15) as usize])
}

/// SDM Vol. 2B, PCLMULQDQ: bit 0 of `which` chooses the half of `a`, bit 4 that of `b`.
pub(crate) fn carryless(a: X, b: X, which: u8) -> X {
    product(u64::at(&a, usize::from(which & 1)), u64::at(&b, usize::from(which >> 4 & 1))).to_le_bytes()
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
