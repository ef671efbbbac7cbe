//! Pure integer arithmetic: operands and flags in, result and flags out. What x86 leaves undefined is defined here,
//! as recent Intel silicon does it (docs/deviations.md lists it).

use crate::cpu::flags::{AF, CF, OF, SF, ZF, parity, szp};
use crate::width::Width;

/// `a + b + carry` (SDM Vol. 2A, ADC).
#[inline(always)]
pub(crate) fn adc<T: Width>(a: T, b: T, carry: u64) -> (T, u64) {
    let wide = u128::from(a.zx()) + u128::from(b.zx()) + u128::from(carry);
    let r = T::low(wide as u64);
    let (x, y, z) = (a.zx(), b.zx(), r.zx());
    let carry_out = u64::from(wide >> T::BITS != 0) * CF;
    let overflow = u64::from((x ^ z) & (y ^ z) & T::SIGN != 0) * OF;
    (r, szp(r.sx()) | carry_out | (x ^ y ^ z) & AF | overflow)
}

/// `a - b - borrow` (SDM Vol. 2B, SBB).
#[inline(always)]
pub(crate) fn sbb<T: Width>(a: T, b: T, borrow: u64) -> (T, u64) {
    let (x, y) = (a.zx(), b.zx());
    let r = T::low(x.wrapping_sub(y).wrapping_sub(borrow));
    let z = r.zx();
    let borrow_out = u64::from(u128::from(x) < u128::from(y) + u128::from(borrow)) * CF;
    let overflow = u64::from((x ^ y) & (x ^ z) & T::SIGN != 0) * OF;
    (r, szp(r.sx()) | borrow_out | (x ^ y ^ z) & AF | overflow)
}

/// Unsigned product, low and high half. CF = OF = high half not zero; SF, ZF, PF of the low half, AF = 0.
#[inline(always)]
pub(crate) fn mul<T: Width>(a: T, b: T) -> (T, T, u64) {
    let wide = u128::from(a.zx()) * u128::from(b.zx());
    let (low, high) = (T::low(wide as u64), T::low((wide >> T::BITS) as u64));
    (low, high, product_flags(low, high.zx() != 0))
}

/// Signed product. CF = OF = the low half does not hold it.
#[inline(always)]
pub(crate) fn imul<T: Width>(a: T, b: T) -> (T, T, u64) {
    let wide = i128::from(a.sx() as i64) * i128::from(b.sx() as i64);
    let (low, high) = (T::low(wide as u64), T::low((wide >> T::BITS) as u64));
    (low, high, product_flags(low, i128::from(low.sx() as i64) != wide))
}

fn product_flags<T: Width>(low: T, overflow: bool) -> u64 {
    let sign = low.sx() & (1 << 63);
    parity(low.zx()) | (sign >> 63) * SF | u64::from(overflow) * (CF | OF)
}

/// Quotient and remainder of `high:low / by`; `None`: #DE.
#[inline(always)]
pub(crate) fn div<T: Width>(high: T, low: T, by: T) -> Option<(T, T)> {
    if by.zx() == 0 || high.zx() >= by.zx() {
        return None;
    }
    if high.zx() == 0 {
        return Some((T::low(low.zx() / by.zx()), T::low(low.zx() % by.zx())));
    }
    Some(div_wide(high, low, by))
}

#[cold]
#[inline(never)]
fn div_wide<T: Width>(high: T, low: T, by: T) -> (T, T) {
    let n = u128::from(high.zx()) << T::BITS | u128::from(low.zx());
    let by = u128::from(by.zx());
    (T::low((n / by) as u64), T::low((n % by) as u64))
}

/// Signed quotient and remainder; `None`: #DE.
#[inline(always)]
pub(crate) fn idiv<T: Width>(high: T, low: T, by: T) -> Option<(T, T)> {
    if by.zx() == 0 {
        return None;
    }
    if high.sx() == ((low.sx() as i64) >> 63) as u64 {
        let (n, by) = (low.sx() as i64, by.sx() as i64);
        let q = n.checked_div(by)?;
        return (T::low(q as u64).sx() as i64 == q).then(|| (T::low(q as u64), T::low((n % by) as u64)));
    }
    idiv_wide(high, low, by)
}

#[cold]
#[inline(never)]
fn idiv_wide<T: Width>(high: T, low: T, by: T) -> Option<(T, T)> {
    let n = i128::from(high.sx() as i64) << T::BITS | i128::from(low.zx());
    let by = i128::from(by.sx() as i64);
    let q = n.checked_div(by)?;
    (i128::from(T::low(q as u64).sx() as i64) == q).then(|| (T::low(q as u64), T::low((n % by) as u64)))
}

/// Flags of a shift result: `carry` and `overflow` as computed; AF = 0.
#[inline(always)]
fn shift_flags<T: Width>(r: T, carry: bool, overflow: bool) -> u64 {
    szp(r.sx()) | u64::from(carry) * CF | u64::from(overflow) * OF
}

/// The count of a shift, masked (SDM Vol. 2B, SAL/SAR/SHL/SHR).
#[inline(always)]
pub(crate) fn masked<T: Width>(count: u8) -> u32 {
    u32::from(count) & if T::BITS == 64 { 63 } else { 31 }
}

/// `a << count`, 1 <= count <= 63. OF for every count as for 1: MSB of the result XOR CF.
#[inline(always)]
pub(crate) fn shl<T: Width>(a: T, count: u32) -> (T, u64) {
    let wide = u128::from(a.zx()) << count;
    let r = T::low(wide as u64);
    let carry = wide >> T::BITS & 1 != 0;
    (r, shift_flags(r, carry, (r.zx() & T::SIGN != 0) != carry))
}

/// `a >> count`, zeros in. OF: the original MSB for a count of 1, and 0 for more.
#[inline(always)]
pub(crate) fn shr<T: Width>(a: T, count: u32) -> (T, u64) {
    let r = T::low(a.zx() >> count);
    let carry = a.zx() >> (count - 1) & 1 != 0;
    // MSB of the result differs from the bit below it only for a count of 1.
    let overflow = (r.zx() << 1 ^ r.zx()) & T::SIGN != 0;
    (r, shift_flags(r, carry, overflow))
}

/// `a >> count`, sign in. OF = 0.
#[inline(always)]
pub(crate) fn sar<T: Width>(a: T, count: u32) -> (T, u64) {
    let r = T::low(((a.sx() as i64) >> count) as u64);
    let carry = (a.sx() as i64) >> (count - 1) & 1 != 0;
    (r, shift_flags(r, carry, false))
}

/// Rotate left; (result, CF | OF). `count` is masked and not 0. OF: MSB of the result XOR CF.
#[inline(always)]
pub(crate) fn rol<T: Width>(a: T, count: u32) -> (T, u64) {
    let n = count % T::BITS;
    let x = a.zx();
    let r = if n == 0 { a } else { T::low(x << n | x >> (T::BITS - n)) };
    let carry = r.zx() & 1;
    (r, carry * CF | (carry ^ u64::from(r.zx() & T::SIGN != 0)) * OF)
}

/// Rotate right. OF: XOR of the two top bits of the result.
#[inline(always)]
pub(crate) fn ror<T: Width>(a: T, count: u32) -> (T, u64) {
    let n = count % T::BITS;
    let x = a.zx();
    let r = if n == 0 { a } else { T::low(x >> n | x << (T::BITS - n)) };
    let carry = u64::from(r.zx() & T::SIGN != 0);
    (r, carry * CF | u64::from((r.zx() ^ r.zx() << 1) & T::SIGN != 0) * OF)
}

/// Rotate left through carry; `None`: count a multiple of the width + 1, nothing changes.
#[inline(always)]
pub(crate) fn rcl<T: Width>(a: T, count: u32, carry: u64) -> Option<(T, u64)> {
    let n = count % (T::BITS + 1);
    if n == 0 {
        return None;
    }
    let wide = u128::from(carry) << T::BITS | u128::from(a.zx());
    let r = wide << n | wide >> (T::BITS + 1 - n);
    let out = (r >> T::BITS & 1) as u64;
    let r = T::low(r as u64);
    Some((r, out * CF | (out ^ u64::from(r.zx() & T::SIGN != 0)) * OF))
}

/// Rotate right through carry.
#[inline(always)]
pub(crate) fn rcr<T: Width>(a: T, count: u32, carry: u64) -> Option<(T, u64)> {
    let n = count % (T::BITS + 1);
    if n == 0 {
        return None;
    }
    let wide = u128::from(carry) << T::BITS | u128::from(a.zx());
    let r = wide >> n | wide << (T::BITS + 1 - n);
    let out = (r >> T::BITS & 1) as u64;
    let r = T::low(r as u64);
    Some((r, out * CF | u64::from((r.zx() ^ r.zx() << 1) & T::SIGN != 0) * OF))
}

/// `dst:src << count`, upper part (SDM Vol. 2B, SHLD). A 16-bit count above 16 rotates `src:dst:src` as silicon does.
#[inline(always)]
pub(crate) fn shld<T: Width>(dst: T, src: T, count: u32) -> (T, u64) {
    let bits = T::BITS;
    let wide = if bits == 16 {
        // dst:src:dst, 48 bits, so that counts 17-31 shift dst in again.
        (u128::from(dst.zx()) << 32 | u128::from(src.zx()) << 16 | u128::from(dst.zx())) << count >> 32
    } else {
        (u128::from(dst.zx()) << bits | u128::from(src.zx())) << (count & 31 | count & 32) >> bits
    };
    let r = T::low(wide as u64);
    let carry = if count <= bits { dst.zx() >> (bits - count) & 1 != 0 } else { src.zx() >> (2 * bits - count) & 1 != 0 };
    (r, shift_flags(r, carry, (dst.zx() ^ r.zx()) & T::SIGN != 0))
}

/// `src:dst >> count`, lower part (SDM Vol. 2B, SHRD).
#[inline(always)]
pub(crate) fn shrd<T: Width>(dst: T, src: T, count: u32) -> (T, u64) {
    let bits = T::BITS;
    let wide = if bits == 16 {
        (u128::from(dst.zx()) << 32 | u128::from(src.zx()) << 16 | u128::from(dst.zx())) >> count
    } else {
        (u128::from(src.zx()) << bits | u128::from(dst.zx())) >> count
    };
    let r = T::low(wide as u64);
    let carry = if count <= bits { dst.zx() >> (count - 1) & 1 != 0 } else { src.zx() >> (count - bits - 1) & 1 != 0 };
    (r, shift_flags(r, carry, (dst.zx() ^ r.zx()) & T::SIGN != 0))
}

/// Flags of BSF and BSR: ZF = source is zero; the rest as hardware leaves them (see `exec/bits.rs`).
#[inline(always)]
pub(crate) fn scan_flags(zero: bool) -> u64 {
    if zero { ZF } else { 0 }
}
