//! Pure integer arithmetic: operands and flags in, result and flags out. What x86 leaves undefined is defined here,
//! as recent Intel silicon does it (docs/deviations.md lists it).

use crate::cpu::flags::{AF, CF, OF, PF, SF, ZF, parity, szp};
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

/// Whether the two top bits differ: OF of a left shift by 1, which silicon computes for every count.
#[inline(always)]
fn top_bits_differ<T: Width>(a: T) -> bool {
    (a.zx() ^ a.zx() << 1) & T::SIGN != 0
}

/// `a << count`, 1 <= count <= 63. OF as for a count of 1.
#[inline(always)]
pub(crate) fn shl<T: Width>(a: T, count: u32) -> (T, u64) {
    let wide = u128::from(a.zx()) << count;
    let r = T::low(wide as u64);
    (r, shift_flags(r, wide >> T::BITS & 1 != 0, top_bits_differ(a)))
}

/// `a >> count`, zeros in. OF as for a count of 1: the top bit.
#[inline(always)]
pub(crate) fn shr<T: Width>(a: T, count: u32) -> (T, u64) {
    let r = T::low(a.zx() >> count);
    (r, shift_flags(r, a.zx() >> (count - 1) & 1 != 0, a.zx() & T::SIGN != 0))
}

/// `a >> count`, sign in. OF = 0.
#[inline(always)]
pub(crate) fn sar<T: Width>(a: T, count: u32) -> (T, u64) {
    let r = T::low(((a.sx() as i64) >> count) as u64);
    (r, shift_flags(r, (a.sx() as i64) >> (count - 1) & 1 != 0, false))
}

/// CF and OF of a rotate.
#[inline(always)]
fn rotate_flags(carry: u64, overflow: bool) -> u64 {
    carry * CF | u64::from(overflow) * OF
}

/// Rotate left; (result, CF | OF). `count` is masked and not 0. OF as for a count of 1, from the operand.
#[inline(always)]
pub(crate) fn rol<T: Width>(a: T, count: u32) -> (T, u64) {
    let n = count % T::BITS;
    let x = a.zx();
    let r = if n == 0 { a } else { T::low(x << n | x >> (T::BITS - n)) };
    (r, rotate_flags(r.zx() & 1, top_bits_differ(a)))
}

/// Rotate right. OF as for a count of 1: the operand's top bit XOR its lowest.
#[inline(always)]
pub(crate) fn ror<T: Width>(a: T, count: u32) -> (T, u64) {
    let n = count % T::BITS;
    let x = a.zx();
    let r = if n == 0 { a } else { T::low(x >> n | x << (T::BITS - n)) };
    let top = |v: u64| v & T::SIGN != 0;
    (r, rotate_flags(u64::from(top(r.zx())), top(x) != (x & 1 != 0)))
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
    Some((T::low(r as u64), rotate_flags((r >> T::BITS & 1) as u64, top_bits_differ(a))))
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
    let overflow = (a.zx() & T::SIGN != 0) != (carry != 0);
    Some((T::low(r as u64), rotate_flags((r >> T::BITS & 1) as u64, overflow)))
}

/// `dst:src << count`, upper part (SDM Vol. 2B, SHLD). A 16-bit count above 16 rotates `src:dst:src` as silicon does.
#[inline(always)]
pub(crate) fn shld<T: Width>(dst: T, src: T, count: u32) -> (T, u64) {
    let bits = T::BITS;
    let wide = if bits == 16 {
        // dst:src:dst, 48 bits, so that counts 17-31 shift dst in again.
        (u128::from(dst.zx()) << 32 | u128::from(src.zx()) << 16 | u128::from(dst.zx())) << count >> 32
    } else {
        (u128::from(dst.zx()) << bits | u128::from(src.zx())) << count >> bits
    };
    let r = T::low(wide as u64);
    let carry =
        if count <= bits { dst.zx() >> (bits - count) & 1 != 0 } else { src.zx() >> (2 * bits - count) & 1 != 0 };
    (r, shift_flags(r, carry, top_bits_differ(dst)))
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
    (r, shift_flags(r, carry, (dst.zx() & T::SIGN != 0) != (src.zx() & 1 != 0)))
}

/// Flags of BSF and BSR: PF of the result; a zero source sets ZF and PF.
#[inline(always)]
pub(crate) fn scan_flags(bit: Option<u32>) -> u64 {
    bit.map_or(ZF | PF, |bit| parity(u64::from(bit)))
}
