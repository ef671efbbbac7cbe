//! Rounds of AES (FIPS 197) by tables: a column of the state is four words, each of one byte.

use super::X;
use super::galois::{INVERSE, multiply};
use crate::lanes::{Lane, from_fn};

/// SubBytes (FIPS 197, 5.1.1).
const SUB: [u8; 256] = {
    let (mut table, mut i) = ([0; 256], 0);
    while i < 256 {
        let x = INVERSE[i];
        table[i] = x ^ x.rotate_left(1) ^ x.rotate_left(2) ^ x.rotate_left(3) ^ x.rotate_left(4) ^ 0x63;
        i += 1;
    }
    table
};

/// InvSubBytes (5.3.2).
const INV_SUB: [u8; 256] = {
    let (mut table, mut i) = ([0; 256], 0);
    while i < 256 {
        table[SUB[i] as usize] = i as u8;
        i += 1;
    }
    table
};

/// Products of `sub[i]` with a column of coefficients.
const fn columns(sub: [u8; 256], coefficients: [u8; 4]) -> [u32; 256] {
    let (mut table, mut i) = ([0; 256], 0);
    while i < 256 {
        let mut bytes = [0; 4];
        let mut row = 0;
        while row < 4 {
            bytes[row] = multiply(sub[i], coefficients[row]);
            row += 1;
        }
        table[i] = u32::from_le_bytes(bytes);
        i += 1;
    }
    table
}

/// `sub[i] = i`.
const IDENTITY: [u8; 256] = {
    let (mut table, mut i) = ([0; 256], 0);
    while i < 256 {
        table[i] = i as u8;
        i += 1;
    }
    table
};

/// MixColumns (5.1.3) after SubBytes.
static MIX: [u32; 256] = columns(SUB, [2, 1, 1, 3]);
/// InvMixColumns (5.3.3) after InvSubBytes.
static INV_MIX: [u32; 256] = columns(INV_SUB, [14, 9, 13, 11]);
/// InvMixColumns alone.
static INV_MIX_ONLY: [u32; 256] = columns(IDENTITY, [14, 9, 13, 11]);

/// The place in the state before ShiftRows of row `row` of column `column` (5.1.2); `INVERSE`: InvShiftRows (5.3.1).
#[inline(always)]
fn shifted<const INVERSE: bool>(column: usize, row: usize) -> usize {
    let from = if INVERSE { column + 4 - row } else { column + row };
    4 * (from % 4) + row
}

/// A column of products: the row gives the rotation.
#[inline(always)]
fn mixed<const INVERSE: bool>(table: &[u32; 256], state: X, key: X) -> X {
    from_fn(|column| {
        (0..4).fold(u32::at(&key, column), |sum, row| {
            sum ^ table[usize::from(state[shifted::<INVERSE>(column, row)])].rotate_left(8 * row as u32)
        })
    })
}

#[inline(always)]
fn last<const INVERSE: bool>(table: &[u8; 256], state: X, key: X) -> X {
    from_fn(|i| table[usize::from(state[shifted::<INVERSE>(i / 4, i % 4)])] ^ key[i])
}

/// SDM Vol. 2A, AESENC.
pub(crate) fn encrypt(state: X, key: X) -> X {
    mixed::<false>(&MIX, state, key)
}

/// SDM Vol. 2A, AESENCLAST.
pub(crate) fn encrypt_last(state: X, key: X) -> X {
    last::<false>(&SUB, state, key)
}

/// SDM Vol. 2A, AESDEC.
pub(crate) fn decrypt(state: X, key: X) -> X {
    mixed::<true>(&INV_MIX, state, key)
}

/// SDM Vol. 2A, AESDECLAST.
pub(crate) fn decrypt_last(state: X, key: X) -> X {
    last::<true>(&INV_SUB, state, key)
}

/// SDM Vol. 2A, AESIMC.
pub(crate) fn inverse_mix(a: X) -> X {
    from_fn(|column| {
        (0..4).fold(0, |sum, row| sum ^ INV_MIX_ONLY[usize::from(a[4 * column + row])].rotate_left(8 * row as u32))
    })
}

/// SDM Vol. 2A, AESKEYGENASSIST: of words 1 and 3, SubWord and RotWord of it XOR the round constant.
pub(crate) fn key_assist(a: X, constant: u8) -> X {
    from_fn(|i| {
        let word = u32::at(&a, i | 1);
        let substituted = u32::from_le_bytes(word.to_le_bytes().map(|b| SUB[usize::from(b)]));
        if i % 2 == 0 { substituted } else { substituted.rotate_right(8) ^ u32::from(constant) }
    })
}
