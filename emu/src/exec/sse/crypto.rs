//! AES, carry-less multiplication, SHA, and arithmetic in the field of AES.

use super::X;
use super::forms::{heavy_row, masked_row, native_row};
use crate::block::Builder;
use crate::crypto::{aes, galois, sha};
use crate::decode::{Insn, SseCrypto as O};
use crate::exec::Bound;

pub(crate) fn bind(op: O, i: &Insn, b: &mut Builder) -> Bound {
    // A function of destination and source; of both and the immediate.
    macro_rules! two {
        ($f:expr) => {
            heavy_row!(i, b, MEM128, X, |x, y, _| $f(x, y))
        };
    }
    macro_rules! three {
        ($f:expr) => {
            heavy_row!(i, b, MEM128, X, |x, y, imm| $f(x, y, imm))
        };
    }
    match op {
        O::Aesenc => native_row!(i, b, |x, y, _| aes::encrypt(x, y), encrypt),
        O::Aesenclast => native_row!(i, b, |x, y, _| aes::encrypt_last(x, y), encrypt_last),
        O::Aesdec => native_row!(i, b, |x, y, _| aes::decrypt(x, y), decrypt),
        O::Aesdeclast => native_row!(i, b, |x, y, _| aes::decrypt_last(x, y), decrypt_last),
        O::Aesimc => native_row!(i, b, |_, y, _| aes::inverse_mix(y), inverse_mix),
        O::Aeskeygenassist => heavy_row!(i, b, MEM128, X, |_, y, constant| aes::key_assist(y, constant)),
        O::Pclmulqdq => native_row!(i, b, |x, y, which| galois::carryless(x, y, which), carryless),
        O::Gf2p8mulb => two!(galois::multiply_bytes),
        O::Gf2p8affineqb => three!(galois::affine),
        O::Gf2p8affineinvqb => three!(galois::affine_inverse),
        O::Sha1rnds4 => three!(sha::sha1_rounds),
        O::Sha1nexte => two!(sha::sha1_next),
        O::Sha1msg1 => two!(sha::sha1_schedule_first),
        O::Sha1msg2 => two!(sha::sha1_schedule_second),
        O::Sha256rnds2 => masked_row!(i, b, sha::sha256_rounds),
        O::Sha256msg1 => two!(sha::sha256_schedule_first),
        O::Sha256msg2 => two!(sha::sha256_schedule_second),
    }
}
