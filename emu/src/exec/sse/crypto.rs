//! AES, carry-less multiplication, SHA, and arithmetic in the field of AES.

use super::X;
use super::forms::{heavy_row, masked_row};
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
        O::Aesenc => two!(aes::encrypt),
        O::Aesenclast => two!(aes::encrypt_last),
        O::Aesdec => two!(aes::decrypt),
        O::Aesdeclast => two!(aes::decrypt_last),
        O::Aesimc => heavy_row!(i, b, MEM128, X, |_, y, _| aes::inverse_mix(y)),
        O::Aeskeygenassist => heavy_row!(i, b, MEM128, X, |_, y, constant| aes::key_assist(y, constant)),
        O::Pclmulqdq => three!(galois::carryless),
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
