//! What the cryptographic instructions compute: pure functions on vectors of 16 bytes in memory order.

pub(crate) mod aes;
pub(crate) mod galois;
pub(crate) mod sha;
#[cfg(test)]
mod tests;

/// The value of an XMM register, in memory order.
type X = [u8; 16];
