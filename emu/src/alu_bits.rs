//! Pure bit manipulation: POPCNT, LZCNT, BMI1, BMI2, ADX, CRC32. Flags that the manual leaves undefined are as recent
//! Intel silicon has them (docs/deviations.md).

use crate::cpu::flags::{AF, CF, OF, PF, SF, ZF};
use crate::width::Width;

/// The six flags.
const ALL: u64 = CF | PF | AF | ZF | SF | OF;

/// CF as given, ZF of the result, the rest 0.
#[inline(always)]
fn count_flags(carry: bool, r: u64) -> u64 {
    u64::from(carry) * CF | u64::from(r == 0) * ZF
}

/// CF as given, SF and ZF of the result, the rest 0.
#[inline(always)]
fn sign_flags<T: Width>(carry: bool, r: T) -> u64 {
    count_flags(carry, r.zx()) | u64::from(r.zx() & T::SIGN != 0) * SF
}

/// SDM Vol. 2B, POPCNT.
#[inline(always)]
pub(crate) fn popcnt<T: Width>(a: T) -> (T, u64) {
    let r = u64::from(a.zx().count_ones());
    (T::low(r), count_flags(false, r))
}

/// SDM Vol. 2A, LZCNT.
#[inline(always)]
pub(crate) fn lzcnt<T: Width>(a: T) -> (T, u64) {
    let r = u64::from(a.zx().leading_zeros() + T::BITS - 64);
    (T::low(r), count_flags(a.zx() == 0, r))
}

/// SDM Vol. 2B, TZCNT.
#[inline(always)]
pub(crate) fn tzcnt<T: Width>(a: T) -> (T, u64) {
    let r = u64::from(a.zx().trailing_zeros().min(T::BITS));
    (T::low(r), count_flags(a.zx() == 0, r))
}

/// SDM Vol. 2A, ANDN.
#[inline(always)]
pub(crate) fn andn<T: Width>(a: T, b: T) -> (T, u64) {
    let r = T::low(!a.zx() & b.zx());
    (r, sign_flags(false, r))
}

/// `a` from bit `control[7:0]` on, `control[15:8]` bits (SDM Vol. 2A, BEXTR).
#[inline(always)]
pub(crate) fn bextr<T: Width>(a: T, control: T) -> (T, u64) {
    let (start, len) = (control.zx() as u32 & 0xff, control.zx() as u32 >> 8 & 0xff);
    let shifted = a.zx().checked_shr(start).unwrap_or(0);
    let r = if len < T::BITS { shifted & ((1 << len) - 1) } else { shifted };
    (T::low(r), count_flags(false, r))
}

/// SDM Vol. 2A, BLSI: the lowest set bit.
#[inline(always)]
pub(crate) fn blsi<T: Width>(a: T) -> (T, u64) {
    let r = T::low(a.zx() & a.zx().wrapping_neg());
    (r, sign_flags(a.zx() != 0, r))
}

/// SDM Vol. 2A, BLSMSK: all up to the lowest set bit.
#[inline(always)]
pub(crate) fn blsmsk<T: Width>(a: T) -> (T, u64) {
    let r = T::low(a.zx() ^ a.zx().wrapping_sub(1));
    (r, sign_flags(a.zx() == 0, r))
}

/// SDM Vol. 2A, BLSR: without the lowest set bit.
#[inline(always)]
pub(crate) fn blsr<T: Width>(a: T) -> (T, u64) {
    let r = T::low(a.zx() & a.zx().wrapping_sub(1));
    (r, sign_flags(a.zx() == 0, r))
}

/// SDM Vol. 2A, BZHI: the bits below number `index[7:0]`.
#[inline(always)]
pub(crate) fn bzhi<T: Width>(a: T, index: T) -> (T, u64) {
    let n = index.zx() as u32 & 0xff;
    let r = if n < T::BITS { T::low(a.zx() & ((1 << n) - 1)) } else { a };
    (r, sign_flags(n >= T::BITS, r))
}

/// Deposits the low bits of `a` where `mask` has ones (SDM Vol. 2B, PDEP).
#[inline(always)]
pub(crate) fn pdep(mut a: u64, mut mask: u64) -> u64 {
    let mut r = 0;
    while mask != 0 {
        let lowest = mask & mask.wrapping_neg();
        r |= lowest & (a & 1).wrapping_neg();
        a >>= 1;
        mask ^= lowest;
    }
    r
}

/// Gathers the bits of `a` where `mask` has ones (SDM Vol. 2B, PEXT).
#[inline(always)]
pub(crate) fn pext(a: u64, mut mask: u64) -> u64 {
    let (mut r, mut n) = (0, 0);
    while mask != 0 {
        r |= (a >> mask.trailing_zeros() & 1) << n;
        n += 1;
        mask &= mask - 1;
    }
    r
}

/// `a + b` with carry in and out through `FLAG` of `flags`, the others kept (SDM Vol. 2A, ADCX, ADOX).
#[inline(always)]
pub(crate) fn add_through<T: Width, const FLAG: u64>(a: T, b: T, flags: u64) -> (T, u64) {
    let wide = u128::from(a.zx()) + u128::from(b.zx()) + u128::from(flags & FLAG != 0);
    (T::low(wide as u64), flags & ALL & !FLAG | u64::from(wide >> T::BITS != 0) * FLAG)
}

/// CRC-32C of eight bits more, for each value of the low byte.
const CRC_TABLE: [u32; 256] = {
    /// The polynomial 0x11edc6f41, bits reversed.
    const POLYNOMIAL: u32 = 0x82f6_3b78;
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let (mut crc, mut bit) = (byte as u32, 0);
        while bit < 8 {
            crc = crc >> 1 ^ if crc & 1 != 0 { POLYNOMIAL } else { 0 };
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
};

/// SDM Vol. 2A, CRC32.
#[inline(always)]
pub(crate) fn crc32<T: Width>(mut crc: u32, data: T) -> u32 {
    for byte in data.zx().to_le_bytes().into_iter().take(T::SIZE as usize) {
        crc = crc >> 8 ^ CRC_TABLE[usize::from(crc as u8 ^ byte)];
    }
    crc
}
