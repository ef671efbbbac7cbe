//! What the programs share: numbers that are the same everywhere, and a checksum to say what came of them.

/// xorshift64.
pub struct Random(pub u64);

impl Iterator for Random {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        Some(self.0)
    }
}

impl Random {
    /// The next number.
    pub fn word(&mut self) -> u64 {
        self.next().unwrap_or_default()
    }
}

/// A running FNV-1a checksum.
#[must_use]
pub fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3))
}

/// Bytes as hexadecimal digits.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The number of rounds: the first argument.
#[must_use]
pub fn rounds(otherwise: usize) -> usize {
    std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

/// Text of `bytes` bytes at least, so that there is something to find and to compress.
#[must_use]
pub fn text(bytes: usize, seed: u64) -> String {
    const WORDS: [&str; 16] = [
        "the",
        "machine",
        "instruction",
        "retires",
        "one",
        "after",
        "another",
        "until",
        "a",
        "fault",
        "of",
        "Seite",
        "0x1f80",
        "2026-11-21",
        "größer",
        "it@emu.example",
    ];
    let (mut text, mut random) = (String::new(), Random(seed));
    while text.len() < bytes {
        let word = random.word();
        text.push_str(WORDS[word as usize % WORDS.len()]);
        text.push(if word >> 32 & 7 == 0 { '\n' } else { ' ' });
    }
    text
}
