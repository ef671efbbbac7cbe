//! Random bits of the host, fetched many at a time: RDRAND asks for them one by one.

use anyhow::{Result, anyhow};

const WORDS: usize = 64;

/// A supply of random bits.
#[derive(Debug)]
pub(crate) struct Entropy {
    words: [u64; WORDS],
    left: usize,
}

impl Entropy {
    /// A full supply.
    ///
    /// # Errors
    /// If the host has none.
    pub(crate) fn new() -> Result<Self> {
        let mut this = Self { words: [0; WORDS], left: 0 };
        this.refill().map_err(|error| anyhow!("the host has no entropy: {error}"))?;
        Ok(this)
    }

    /// 64 random bits.
    ///
    /// # Panics
    /// If a host that had entropy has none any more: a guest must not get predictable bits instead.
    pub(crate) fn next(&mut self) -> u64 {
        if self.left == 0 {
            assert!(self.refill().is_ok(), "the host has no entropy any more");
        }
        self.left -= 1;
        self.words[self.left]
    }

    fn refill(&mut self) -> Result<(), getrandom::Error> {
        let mut bytes = [0; WORDS * 8];
        getrandom::fill(&mut bytes)?;
        for (word, chunk) in self.words.iter_mut().zip(bytes.as_chunks().0) {
            *word = u64::from_le_bytes(*chunk);
        }
        self.left = WORDS;
        Ok(())
    }
}
