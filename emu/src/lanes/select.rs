//! Packed integers by choice: shuffles by a vector, blends, insertions, extensions, signs.

use super::{Lane, from_fn, zip};

/// Bytes of `a` at the places that `order` names, 0 where its top bit is set (SDM Vol. 2B, PSHUFB).
#[inline(always)]
pub(crate) fn shuffle_bytes<const B: usize>(a: [u8; B], order: [u8; B]) -> [u8; B] {
    from_fn(|i| if order[i] & 0x80 != 0 { 0 } else { a[usize::from(order[i]) % B] })
}

/// Bytes from number `shift` of `low` followed by `high` (SDM Vol. 2B, PALIGNR).
pub(crate) fn align_right<const B: usize>(high: [u8; B], low: [u8; B], shift: u8) -> [u8; B] {
    from_fn(|i| match i + usize::from(shift) {
        at if at < B => low[at],
        at if at < 2 * B => high[at - B],
        _ => 0,
    })
}

/// `a` with the sign of `b`, 0 where that is 0 (SDM Vol. 2B, PSIGNB).
#[inline(always)]
pub(crate) fn with_sign<T: Lane, const B: usize>(a: [u8; B], b: [u8; B]) -> [u8; B] {
    zip::<T, B>(a, b, |a, b| T::low((a.sx().wrapping_mul(b.sx().signum())) as u64))
}

/// SDM Vol. 2B, PABSB.
#[inline(always)]
pub(crate) fn absolute<T: Lane, const B: usize>(a: [u8; B]) -> [u8; B] {
    zip::<T, B>(a, a, |a, _| T::low(a.sx().unsigned_abs()))
}

/// High halves of products, rounded (SDM Vol. 2B, PMULHRSW).
#[inline(always)]
pub(crate) fn mul_high_rounded<const B: usize>(a: [u8; B], b: [u8; B]) -> [u8; B] {
    zip::<u16, B>(a, b, |a, b| (((a.sx() * b.sx() >> 14) + 1) >> 1) as u16)
}

/// Signed products of the even 32-bit lanes (SDM Vol. 2B, PMULDQ).
#[inline(always)]
pub(crate) fn mul_even_signed<const B: usize>(a: [u8; B], b: [u8; B]) -> [u8; B] {
    zip::<u64, B>(a, b, |a, b| ((a as u32).sx() * (b as u32).sx()) as u64)
}

/// Each lane of `a` by the count in `b` (SDM Vol. 2C, VPSLLVD).
#[inline(always)]
pub(crate) fn shift_left_each<T: Lane, const B: usize>(a: [u8; B], b: [u8; B]) -> [u8; B] {
    zip::<T, B>(a, b, |a, b| if b.zx() < T::BITS.into() { a.left(b.zx() as u32) } else { T::low(0) })
}

/// SDM Vol. 2C, VPSRLVD.
#[inline(always)]
pub(crate) fn shift_right_each<T: Lane, const B: usize>(a: [u8; B], b: [u8; B]) -> [u8; B] {
    zip::<T, B>(a, b, |a, b| if b.zx() < T::BITS.into() { a.right(b.zx() as u32) } else { T::low(0) })
}

/// SDM Vol. 2C, VPSRAVD.
#[inline(always)]
pub(crate) fn shift_right_signed_each<T: Lane, const B: usize>(a: [u8; B], b: [u8; B]) -> [u8; B] {
    zip::<T, B>(a, b, |a, b| a.right_signed(b.zx().min(u64::from(T::BITS) - 1) as u32))
}

/// Lane `i` of `b` where bit `i` of `which` is set (SDM Vol. 2B, PBLENDW).
#[inline(always)]
pub(crate) fn blend<T: Lane, const B: usize>(a: [u8; B], b: [u8; B], which: u8) -> [u8; B] {
    from_fn(|i| T::at(if which >> i & 1 != 0 { &b } else { &a }, i))
}

/// Lanes of `b` where `mask` has its top bit set (SDM Vol. 2A, BLENDVPS).
#[inline(always)]
pub(crate) fn blend_by<T: Lane, const B: usize>(a: [u8; B], b: [u8; B], mask: [u8; B]) -> [u8; B] {
    from_fn(|i| T::at(if T::at(&mask, i).sx() < 0 { &b } else { &a }, i))
}

/// The lower lanes of `a`, each widened (SDM Vol. 2B, PMOVSX).
#[inline(always)]
pub(crate) fn sign_extend<From: Lane, To: Lane, const B: usize>(a: [u8; B]) -> [u8; B] {
    from_fn(|i| To::low(From::at(&a, i).sx() as u64))
}

/// Likewise with zeros (SDM Vol. 2B, PMOVZX).
#[inline(always)]
pub(crate) fn zero_extend<From: Lane, To: Lane, const B: usize>(a: [u8; B]) -> [u8; B] {
    from_fn(|i| To::low(From::at(&a, i).zx()))
}

/// `a` with one lane of `b`, both named by `how`, and some zeroed (SDM Vol. 2A, INSERTPS).
pub(crate) fn insert_float(mut a: [u8; 16], b: [u8; 16], how: u8) -> [u8; 16] {
    u32::at(&b, usize::from(how >> 6)).put(&mut a, usize::from(how >> 4 & 3));
    blend::<u32, 16>(a, [0; 16], how & 15)
}
