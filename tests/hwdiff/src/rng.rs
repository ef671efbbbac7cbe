//! Reproducible random numbers (SplitMix64) and the operands that find bugs.

/// A generator; equal seeds give equal sequences.
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    /// A generator for `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// 64 random bits.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `n` (which is not 0).
    pub fn below(&mut self, n: u64) -> u64 {
        self.draw() % n
    }

    /// True once in `n` times.
    pub fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    /// One of `items`, which is not empty.
    pub fn pick<T: Copy>(&mut self, items: &[T]) -> T {
        let index = self.draw() % items.len() as u64;
        #[allow(clippy::cast_possible_truncation)] // below items.len()
        items[index as usize]
    }

    /// A 64-bit operand, half of the time near one of the places where carries and signs change.
    pub fn operand(&mut self) -> u64 {
        let width = self.pick(&[8, 16, 32, 64]);
        let edge = match self.below(8) {
            0 => 0,
            1 => u64::MAX,
            2 => 1 << (width - 1),
            3 => (1 << (width - 1)) - 1,
            4 => 1 << self.below(64),
            5 => self.below(64),
            _ => return self.draw() >> (64 - width),
        };
        match self.below(8) {
            0 => edge.wrapping_add(1),
            1 => edge.wrapping_sub(1),
            2 => !edge,
            3 => edge | self.draw() << 32,
            4 => self.draw(),
            _ => edge,
        }
    }

    /// 128 bits: integers, or floating-point numbers of one width with the rare kinds made frequent.
    pub fn vector(&mut self) -> u128 {
        let (low, high) = match self.below(4) {
            0 => (self.operand(), self.operand()),
            1 => (self.draw(), self.draw()),
            2 => (self.double(), self.double()),
            _ => (self.single() | self.single() << 32, self.single() | self.single() << 32),
        };
        u128::from(low) | u128::from(high) << 64
    }

    /// The bits of a double.
    pub fn double(&mut self) -> u64 {
        let fraction = self.fraction() & ((1 << 52) - 1);
        let near = 1023 + self.below(130) - 65;
        let exponent = self.pick(&[0, 0, 1, 2046, 2047, 1023, near, near, near, near]);
        (self.draw() & 1) << 63 | exponent << 52 | fraction
    }

    /// The 80 bits of a double-extended number, a few of them unsupported.
    pub fn extended(&mut self) -> u128 {
        let near = 0x3fff + self.below(140) - 70;
        let exponent = self.pick(&[0, 0, 1, 0x7ffe, 0x7fff, 0x3fff, self.0 >> 49, near, near, near, near, near]);
        let integer = exponent != 0 && !self.one_in(24) || exponent == 0 && self.one_in(6);
        let fraction = match self.below(3) {
            0 => self.fraction() << 11 & (u64::MAX >> 1),
            1 => self.operand() >> 1,
            _ => self.draw() >> 1,
        };
        let sign = u128::from(self.draw() & 1) << 79;
        sign | u128::from(exponent) << 64 | u128::from(fraction) | u128::from(integer) << 63
    }

    /// The bits of a float.
    pub fn single(&mut self) -> u64 {
        let fraction = self.fraction() >> 29 & ((1 << 23) - 1);
        let near = 127 + self.below(70) - 35;
        let exponent = self.pick(&[0, 0, 1, 254, 255, 127, near, near, near, near]);
        (self.draw() & 1) << 31 | exponent << 23 | fraction
    }

    /// 52 bits of a fraction: few ones, all ones, or anything.
    fn fraction(&mut self) -> u64 {
        match self.below(5) {
            0 => 0,
            1 => 1 << self.below(52),
            2 => u64::MAX << self.below(52),
            3 => u64::MAX >> self.below(52),
            _ => self.draw(),
        }
    }

    /// `len` bytes of operands.
    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(len + 8);
        while bytes.len() < len {
            bytes.extend(self.operand().to_le_bytes());
        }
        bytes.truncate(len);
        bytes
    }
}
