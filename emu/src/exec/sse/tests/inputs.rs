//! Pairs of operands: all pairs of numbers at the edges of both formats, numbers of like magnitude, and noise.

use super::X;

/// Magnitudes in single precision.
const SINGLES: [u32; 22] = [
    0,
    1,           // the least denormal
    0x0040_0001, // a denormal
    0x007f_ffff, // the greatest denormal
    0x0080_0000, // the least normal number
    0x0080_0001,
    0x0100_0000,
    0x1fff_ffff, // its square is tiny
    0x2000_0000,
    0x3e99_999a, // 0.3
    0x3f00_0000, // 0.5
    0x3f7f_ffff,
    0x3f80_0000, // 1
    0x3f80_0001,
    0x4020_0000, // 2.5
    0x4b00_0001, // 2^23 + 1
    0x4eff_ffff, // just below 2^31
    0x4f00_0000, // 2^31
    0x5f00_0000, // 2^63
    0x7f7f_ffff, // the greatest
    0x7f80_0000, // infinity
    0x7f80_0001, // a signaling NaN
];
/// More of them, with their signs.
const SINGLES_SIGNED: [u32; 2] = [0x7fc1_2345, 0xffe5_4321];

/// Magnitudes in double precision.
const DOUBLES: [u64; 30] = [
    0,
    1,
    0x0008_0000_0000_0001,
    0x000f_ffff_ffff_ffff,
    0x0010_0000_0000_0000,
    0x0010_0000_0000_0001,
    0x0020_0000_0000_0000,
    0x1ff0_0000_0000_0001,
    0x3690_0000_0000_0000, // half the least denormal in single precision
    0x36a0_0000_0000_0000,
    0x380f_ffff_efff_ffff, // rounds to the least normal number or below in single precision
    0x380f_ffff_f000_0000,
    0x3810_0000_0000_0000,
    0x3fd3_3333_3333_3333, // 0.3
    0x3fe0_0000_0000_0000,
    0x3fef_ffff_ffff_ffff,
    0x3ff0_0000_0000_0000,
    0x3ff0_0000_0000_0001,
    0x3ff8_0000_0000_0000, // 1.5
    0x4004_0000_0000_0000, // 2.5
    0x41df_ffff_ffc0_0000, // 2^31 - 1
    0x41df_ffff_ffe0_0000, // 2^31 - 0.5
    0x41e0_0000_0000_0000,
    0x4330_0000_0000_0001, // 2^52 + 1
    0x43df_ffff_ffff_ffff, // just below 2^63
    0x43e0_0000_0000_0000,
    0x47ef_ffff_f000_0000, // overflows in single precision
    0x7fef_ffff_ffff_ffff,
    0x7ff0_0000_0000_0000,
    0x7ff0_0000_0000_0001,
];
const DOUBLES_SIGNED: [u64; 2] = [0x7ff8_1234_5678_9abc, 0xfffc_cba9_8765_4321];

/// A small generator (SplitMix64), so that inputs are the same everywhere.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    /// A single near 1, often with few bits.
    fn single(&mut self) -> u32 {
        let n = self.next();
        let few = if n >> 60 & 1 == 1 { 0x007f_f000 } else { 0x007f_ffff };
        (n as u32 & (0x8000_0000 | few)) | (0x3f80_0000 - 0x0400_0000 + (((n >> 32) as u32 % 16) << 23))
    }

    /// A double near 1, often with few bits.
    fn double(&mut self) -> u64 {
        let (n, m) = (self.next(), self.next());
        let few = if m >> 60 & 1 == 1 { 0x000f_fffe_0000_0000 } else { 0x000f_ffff_ffff_ffff };
        n & (1 << 63 | few) | (0x3ff0_0000_0000_0000 - 0x0080_0000_0000_0000 + ((m % 16) << 52))
    }
}

fn singles(v: [u32; 4]) -> X {
    let mut out = [0; 16];
    for (to, value) in out.chunks_exact_mut(4).zip(v) {
        to.copy_from_slice(&value.to_le_bytes());
    }
    out
}

fn doubles(v: [u64; 2]) -> X {
    super::bytes(v)
}

/// All inputs.
pub(super) fn all() -> Vec<(X, X)> {
    let mut noise = Noise(1);
    let mut out = Vec::new();
    let signed32 = SINGLES.iter().flat_map(|&m| [m, m | 1 << 31]).chain(SINGLES_SIGNED).collect::<Vec<_>>();
    for &a in &signed32 {
        for &b in &signed32 {
            // Ordinary numbers in the other lanes: a flag is then lane 0's.
            out.push((singles([a, 0x4000_0000, 0x4080_0000, a]), singles([b, 0x3f80_0000, b, 0x3f80_0000])));
        }
    }
    let signed64 = DOUBLES.iter().flat_map(|&m| [m, m | 1 << 63]).chain(DOUBLES_SIGNED).collect::<Vec<_>>();
    for &a in &signed64 {
        for &b in &signed64 {
            out.push((doubles([a, b]), doubles([b, 0x3ff0_0000_0000_0000])));
        }
    }
    for _ in 0..1500 {
        let mut four = || singles(std::array::from_fn(|_| noise.single()));
        out.push((four(), four()));
        let mut two = || doubles(std::array::from_fn(|_| noise.double()));
        out.push((two(), two()));
        let mut any = || doubles(std::array::from_fn(|_| noise.next()));
        out.push((any(), any()));
    }
    // Small counts for shifts, small integers for conversions.
    for n in 0..70 {
        out.push((doubles([noise.next(), noise.next()]), doubles([n, noise.next()])));
        out.push((doubles([n.wrapping_neg(), n]), doubles([n.wrapping_neg(), n << 32])));
    }
    out
}
