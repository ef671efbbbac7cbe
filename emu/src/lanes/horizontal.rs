//! Packed integers across lanes: sums and differences of neighbours, sums of products and of absolute differences,
//! the least word.

use super::{Lane, from_fn};

/// `f` of neighbours: those of `a`, then those of `b`.
#[inline(always)]
fn neighbours<T: Lane, const B: usize>(a: [u8; B], b: [u8; B], f: impl Fn(T, T) -> T) -> [u8; B] {
    let half = B / T::BYTES / 2;
    from_fn(|i| {
        let (v, i) = if i < half { (&a, i) } else { (&b, i - half) };
        f(T::at(v, 2 * i), T::at(v, 2 * i + 1))
    })
}

/// SDM Vol. 2B, PHADDW.
#[inline(always)]
pub(crate) fn add<T: Lane, const B: usize>(a: [u8; B], b: [u8; B]) -> [u8; B] {
    neighbours::<T, B>(a, b, |x, y| T::low(x.zx().wrapping_add(y.zx())))
}

/// SDM Vol. 2B, PHADDSW.
#[inline(always)]
pub(crate) fn add_saturating<const B: usize>(a: [u8; B], b: [u8; B]) -> [u8; B] {
    neighbours::<u16, B>(a, b, |x, y| u16::clamp_signed(x.sx() + y.sx()))
}

/// SDM Vol. 2B, PHSUBW.
#[inline(always)]
pub(crate) fn sub<T: Lane, const B: usize>(a: [u8; B], b: [u8; B]) -> [u8; B] {
    neighbours::<T, B>(a, b, |x, y| T::low(x.zx().wrapping_sub(y.zx())))
}

/// SDM Vol. 2B, PHSUBSW.
#[inline(always)]
pub(crate) fn sub_saturating<const B: usize>(a: [u8; B], b: [u8; B]) -> [u8; B] {
    neighbours::<u16, B>(a, b, |x, y| u16::clamp_signed(x.sx() - y.sx()))
}

/// Sums of products of neighbours, unsigned times signed (SDM Vol. 2B, PMADDUBSW).
#[inline(always)]
pub(crate) fn mul_add_bytes<const B: usize>(a: [u8; B], b: [u8; B]) -> [u8; B] {
    let product = |i: usize| i64::from(a[i]) * b[i].sx();
    from_fn(|i| u16::clamp_signed(product(2 * i) + product(2 * i + 1)))
}

/// Sums of absolute differences of four bytes of `b` and eight windows of `a` (SDM Vol. 2B, MPSADBW).
pub(crate) fn sums_of_differences(a: [u8; 16], b: [u8; 16], choice: u8) -> [u8; 16] {
    let (window, block) = (usize::from(choice >> 2 & 1) * 4, usize::from(choice & 3) * 4);
    from_fn(|i| (0..4).map(|j| u16::from(a[window + i + j].abs_diff(b[block + j]))).sum::<u16>())
}

/// The least word and its number (SDM Vol. 2B, PHMINPOSUW).
pub(crate) fn least_word(a: [u8; 16]) -> [u8; 16] {
    let least = (0..8).map(|i| (u16::at(&a, i), i)).min().unwrap_or((0, 0));
    let mut out = [0; 16];
    least.0.put(&mut out, 0);
    (least.1 as u16).put(&mut out, 1);
    out
}
