//! Packed integers: pure functions on vectors of bytes in memory order, for any lane type and vector length
//! (`B`: 8 for MMX, 16 for SSE; AVX works on halves of 16).

pub(crate) mod horizontal;
pub(crate) mod select;
pub(crate) mod text;

/// An unsigned integer that is one lane of a vector.
pub(crate) trait Lane: Copy + Eq {
    const BYTES: usize;
    const BITS: u32 = Self::BYTES as u32 * 8;
    /// Lane `i`.
    fn at<const B: usize>(v: &[u8; B], i: usize) -> Self;
    /// Replaces lane `i`.
    fn put<const B: usize>(self, v: &mut [u8; B], i: usize);
    /// Zero-extended.
    fn zx(self) -> u64;
    /// Sign-extended.
    fn sx(self) -> i64;
    /// The low bits.
    fn low(value: u64) -> Self;
    /// The nearest signed number.
    fn clamp_signed(value: i64) -> Self;
    /// The nearest unsigned number.
    fn clamp_unsigned(value: i64) -> Self;
    /// Shifted by less than its bits: to the left, to the right with zeros, with the sign.
    fn left(self, count: u32) -> Self;
    fn right(self, count: u32) -> Self;
    fn right_signed(self, count: u32) -> Self;
}

macro_rules! lane {
    ($($t:ident $signed:ident),+) => {$(
        impl Lane for $t {
            const BYTES: usize = size_of::<$t>();
            #[inline(always)]
            fn at<const B: usize>(v: &[u8; B], i: usize) -> Self {
                let mut bytes = [0; size_of::<$t>()];
                bytes.copy_from_slice(&v[i * Self::BYTES..][..Self::BYTES]);
                $t::from_le_bytes(bytes)
            }
            #[inline(always)]
            fn put<const B: usize>(self, v: &mut [u8; B], i: usize) {
                v[i * Self::BYTES..][..Self::BYTES].copy_from_slice(&self.to_le_bytes());
            }
            #[inline(always)]
            fn zx(self) -> u64 {
                u64::from(self)
            }
            #[inline(always)]
            fn sx(self) -> i64 {
                i64::from(self as $signed)
            }
            #[inline(always)]
            fn low(value: u64) -> Self {
                value as $t
            }
            #[inline(always)]
            fn clamp_signed(value: i64) -> Self {
                value.clamp(i64::from($signed::MIN), i64::from($signed::MAX)) as $t
            }
            #[inline(always)]
            fn clamp_unsigned(value: i64) -> Self {
                // For 64-bit lanes no instruction saturates.
                value.clamp(0, $t::MAX as i64) as $t
            }
            #[inline(always)]
            fn left(self, count: u32) -> Self {
                self.wrapping_shl(count)
            }
            #[inline(always)]
            fn right(self, count: u32) -> Self {
                self.wrapping_shr(count)
            }
            #[inline(always)]
            fn right_signed(self, count: u32) -> Self {
                (self as $signed).wrapping_shr(count) as $t
            }
        }
    )+};
}

lane!(u8 i8, u16 i16, u32 i32, u64 i64);

/// The vector whose lane `i` is `f(i)`.
#[inline(always)]
pub(crate) fn from_fn<T: Lane, const B: usize>(mut f: impl FnMut(usize) -> T) -> [u8; B] {
    let mut out = [0; B];
    for i in 0..B / T::BYTES {
        f(i).put(&mut out, i);
    }
    out
}

/// Lane by lane.
#[inline(always)]
pub(crate) fn zip<T: Lane, const B: usize>(a: [u8; B], b: [u8; B], f: impl Fn(T, T) -> T) -> [u8; B] {
    from_fn(|i| f(T::at(&a, i), T::at(&b, i)))
}

/// Bit by bit, on whole vectors.
#[inline(always)]
fn bits<const B: usize>(a: [u8; B], b: [u8; B], f: impl Fn(u64, u64) -> u64) -> [u8; B] {
    zip::<u64, B>(a, b, f)
}

#[inline(always)]
fn truth<T: Lane>(yes: bool) -> T {
    T::low(if yes { u64::MAX } else { 0 })
}

macro_rules! lanewise {
    ($($(#[$doc:meta])+ $name:ident<$T:ident>($a:ident, $b:ident) $e:expr;)+) => {$(
        $(#[$doc])+
        #[inline(always)]
        pub(crate) fn $name<$T: Lane, const B: usize>(a: [u8; B], b: [u8; B]) -> [u8; B] {
            zip::<$T, B>(a, b, |$a, $b| $e)
        }
    )+};
}

lanewise! {
    /// SDM Vol. 2B, PADDB.
    add<T>(a, b) T::low(a.zx().wrapping_add(b.zx()));
    /// SDM Vol. 2B, PSUBB.
    sub<T>(a, b) T::low(a.zx().wrapping_sub(b.zx()));
    /// SDM Vol. 2B, PADDSB.
    add_signed_saturating<T>(a, b) T::clamp_signed(a.sx() + b.sx());
    /// SDM Vol. 2B, PADDUSB.
    add_unsigned_saturating<T>(a, b) T::clamp_unsigned((a.zx() + b.zx()) as i64);
    /// SDM Vol. 2B, PSUBSB.
    sub_signed_saturating<T>(a, b) T::clamp_signed(a.sx() - b.sx());
    /// SDM Vol. 2B, PSUBUSB.
    sub_unsigned_saturating<T>(a, b) T::clamp_unsigned(a.zx() as i64 - b.zx() as i64);
    /// SDM Vol. 2B, PMULLW.
    mul_low<T>(a, b) T::low(a.zx().wrapping_mul(b.zx()));
    /// SDM Vol. 2B, PMULHW; lanes of at most 32 bits.
    mul_high_signed<T>(a, b) T::low(((a.sx() * b.sx()) >> T::BITS) as u64);
    /// SDM Vol. 2B, PMULHUW; lanes of at most 32 bits.
    mul_high_unsigned<T>(a, b) T::low((a.zx() * b.zx()) >> T::BITS);
    /// SDM Vol. 2B, PAVGB.
    average<T>(a, b) T::low((a.zx() + b.zx() + 1) >> 1);
    /// SDM Vol. 2B, PMINUB.
    min_unsigned<T>(a, b) if a.zx() < b.zx() { a } else { b };
    /// SDM Vol. 2B, PMAXUB.
    max_unsigned<T>(a, b) if a.zx() > b.zx() { a } else { b };
    /// SDM Vol. 2B, PMINSW.
    min_signed<T>(a, b) if a.sx() < b.sx() { a } else { b };
    /// SDM Vol. 2B, PMAXSW.
    max_signed<T>(a, b) if a.sx() > b.sx() { a } else { b };
    /// SDM Vol. 2B, PCMPEQB.
    equal<T>(a, b) truth(a == b);
    /// SDM Vol. 2B, PCMPGTB.
    greater<T>(a, b) truth(a.sx() > b.sx());
}

/// SDM Vol. 2B, PAND.
#[inline(always)]
pub(crate) fn and<const B: usize>(a: [u8; B], b: [u8; B]) -> [u8; B] {
    bits(a, b, |a, b| a & b)
}

/// SDM Vol. 2B, PANDN.
#[inline(always)]
pub(crate) fn and_not<const B: usize>(a: [u8; B], b: [u8; B]) -> [u8; B] {
    bits(a, b, |a, b| !a & b)
}

/// SDM Vol. 2B, POR.
#[inline(always)]
pub(crate) fn or<const B: usize>(a: [u8; B], b: [u8; B]) -> [u8; B] {
    bits(a, b, |a, b| a | b)
}

/// SDM Vol. 2B, PXOR.
#[inline(always)]
pub(crate) fn xor<const B: usize>(a: [u8; B], b: [u8; B]) -> [u8; B] {
    bits(a, b, |a, b| a ^ b)
}

/// Products of the even 32-bit lanes (SDM Vol. 2B, PMULUDQ).
#[inline(always)]
pub(crate) fn mul_even<const B: usize>(a: [u8; B], b: [u8; B]) -> [u8; B] {
    zip::<u64, B>(a, b, |a, b| (a & 0xffff_ffff) * (b & 0xffff_ffff))
}

/// Sums of products of neighbours (SDM Vol. 2B, PMADDWD).
#[inline(always)]
pub(crate) fn mul_add_pairs<const B: usize>(a: [u8; B], b: [u8; B]) -> [u8; B] {
    let product = |i| (u16::at(&a, i).sx() * u16::at(&b, i).sx()) as u32;
    from_fn(|i| product(2 * i).wrapping_add(product(2 * i + 1)))
}

/// Sums of absolute differences, one for each eight bytes (SDM Vol. 2B, PSADBW).
#[inline(always)]
pub(crate) fn sum_of_differences<const B: usize>(a: [u8; B], b: [u8; B]) -> [u8; B] {
    from_fn(|i| (8 * i..8 * i + 8).map(|j| u64::from(a[j].abs_diff(b[j]))).sum::<u64>())
}

/// SDM Vol. 2B, PSLLW.
#[inline(always)]
pub(crate) fn shift_left<T: Lane, const B: usize>(a: [u8; B], count: u64) -> [u8; B] {
    if count >= u64::from(T::BITS) {
        return [0; B];
    }
    from_fn(|i| T::at(&a, i).left(count as u32))
}

/// SDM Vol. 2B, PSRLW.
#[inline(always)]
pub(crate) fn shift_right<T: Lane, const B: usize>(a: [u8; B], count: u64) -> [u8; B] {
    if count >= u64::from(T::BITS) {
        return [0; B];
    }
    from_fn(|i| T::at(&a, i).right(count as u32))
}

/// SDM Vol. 2B, PSRAW.
#[inline(always)]
pub(crate) fn shift_right_signed<T: Lane, const B: usize>(a: [u8; B], count: u64) -> [u8; B] {
    let count = count.min(u64::from(T::BITS) - 1);
    from_fn(|i| T::at(&a, i).right_signed(count as u32))
}

/// SDM Vol. 2B, PSLLDQ.
#[inline(always)]
pub(crate) fn bytes_left(a: [u8; 16], count: u64) -> [u8; 16] {
    let a = u128::from_le_bytes(a);
    (if count > 15 { 0 } else { a << (8 * count) }).to_le_bytes()
}

/// SDM Vol. 2B, PSRLDQ.
#[inline(always)]
pub(crate) fn bytes_right(a: [u8; 16], count: u64) -> [u8; 16] {
    let a = u128::from_le_bytes(a);
    (if count > 15 { 0 } else { a >> (8 * count) }).to_le_bytes()
}

/// Lanes of the lower halves of `a` and `b` in turn (SDM Vol. 2B, PUNPCKLBW).
#[inline(always)]
pub(crate) fn interleave_low<T: Lane, const B: usize>(a: [u8; B], b: [u8; B]) -> [u8; B] {
    from_fn(|i| T::at(if i % 2 == 0 { &a } else { &b }, i / 2))
}

/// Lanes of the upper halves of `a` and `b` in turn (SDM Vol. 2B, PUNPCKHBW).
#[inline(always)]
pub(crate) fn interleave_high<T: Lane, const B: usize>(a: [u8; B], b: [u8; B]) -> [u8; B] {
    let half = B / T::BYTES / 2;
    from_fn(|i| T::at(if i % 2 == 0 { &a } else { &b }, half + i / 2))
}

/// The lanes of `a`, then those of `b`, narrowed by `f`.
#[inline(always)]
fn pack<From: Lane, To: Lane, const B: usize>(a: [u8; B], b: [u8; B], f: impl Fn(i64) -> To) -> [u8; B] {
    let n = B / From::BYTES;
    from_fn(|i| f(if i < n { From::at(&a, i).sx() } else { From::at(&b, i - n).sx() }))
}

/// SDM Vol. 2B, PACKSSWB.
#[inline(always)]
pub(crate) fn pack_signed<From: Lane, To: Lane, const B: usize>(a: [u8; B], b: [u8; B]) -> [u8; B] {
    pack::<From, To, B>(a, b, To::clamp_signed)
}

/// SDM Vol. 2B, PACKUSWB.
#[inline(always)]
pub(crate) fn pack_unsigned<From: Lane, To: Lane, const B: usize>(a: [u8; B], b: [u8; B]) -> [u8; B] {
    pack::<From, To, B>(a, b, To::clamp_unsigned)
}

/// Lane `i` of four comes from the lane that bits `2i` and `2i + 1` of `order` name.
fn pick(order: u8, i: usize) -> usize {
    usize::from(order >> (2 * i) & 3)
}

/// SDM Vol. 2B, PSHUFD.
pub(crate) fn shuffle(a: [u8; 16], order: u8) -> [u8; 16] {
    from_fn(|i| u32::at(&a, pick(order, i)))
}

/// SDM Vol. 2B, PSHUFLW; PSHUFW for eight bytes.
#[inline(always)]
pub(crate) fn shuffle_low<const B: usize>(a: [u8; B], order: u8) -> [u8; B] {
    from_fn(|i| u16::at(&a, if i < 4 { pick(order, i) } else { i }))
}

/// SDM Vol. 2B, PSHUFHW.
#[inline(always)]
pub(crate) fn shuffle_high(a: [u8; 16], order: u8) -> [u8; 16] {
    from_fn(|i| u16::at(&a, if i < 4 { i } else { 4 + pick(order, i - 4) }))
}

/// Two lanes of `a`, then two of `b` (SDM Vol. 2B, SHUFPS).
pub(crate) fn shuffle_two(a: [u8; 16], b: [u8; 16], order: u8) -> [u8; 16] {
    from_fn(|i| u32::at(if i < 2 { &a } else { &b }, pick(order, i)))
}

/// One 64-bit lane of `a`, then one of `b` (SDM Vol. 2B, SHUFPD).
#[inline(always)]
pub(crate) fn shuffle_halves(a: [u8; 16], b: [u8; 16], order: u8) -> [u8; 16] {
    let mut out = [0; 16];
    u64::at(&a, usize::from(order & 1)).put(&mut out, 0);
    u64::at(&b, usize::from(order >> 1 & 1)).put(&mut out, 1);
    out
}

/// The sign bits of the lanes, lane 0 lowest (SDM Vol. 2B, PMOVMSKB, MOVMSKPS).
#[inline(always)]
pub(crate) fn signs<T: Lane, const B: usize>(a: [u8; B]) -> u64 {
    if T::BYTES > 1 {
        return (0..B / T::BYTES).fold(0, |mask, i| mask | u64::from(T::at(&a, i).sx() < 0) << i);
    }
    // The product moves bit 8i of each word to 56 + i; no two of its terms meet, so nothing is carried.
    let gathered = |word: u64| (word >> 7 & 0x0101_0101_0101_0101).wrapping_mul(0x0102_0408_1020_4080) >> 56;
    (0..B / 8).fold(0, |mask, i| mask | gathered(u64::at(&a, i)) << (8 * i))
}

/// The bytes of `new` where `mask` has its top bit set, those of `old` elsewhere (SDM Vol. 2A, MASKMOVDQU).
#[inline(always)]
pub(crate) fn blend_bytes<const B: usize>(old: [u8; B], new: [u8; B], mask: [u8; B]) -> [u8; B] {
    from_fn(|i| if mask[i] & 0x80 != 0 { new[i] } else { old[i] })
}

#[cfg(test)]
mod tests;
