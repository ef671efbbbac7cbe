//! What is on a disk before the guest writes to it.

use std::sync::Arc;

use rayon::prelude::*;
use xxhash_rust::xxh3::xxh3_128;

use crate::config::DISKS_MAX;

/// An image of a disk. It never changes: two reads of the same place give the same bytes, on every replica.
///
/// Blocks that the guest has written are never read again, so that an implementation may have them changed underneath, as
/// `DiskMode::WriteThrough` does.
pub trait Image: Send + Sync {
    /// Its size in bytes.
    fn bytes(&self) -> u64;

    /// Reads `out.len()` bytes at `offset`, all of them within the image. It must not fail: a machine without its disk
    /// cannot go on.
    fn read(&self, offset: u64, out: &mut [u8]);

    /// Whether it is known without reading that `length` bytes at `offset` are zero.
    fn is_hole(&self, _offset: u64, _length: u64) -> bool {
        false
    }
}

/// The images of a machine's disks, in the places of its configuration's (`Devices::disks`).
pub type Images = [Option<Arc<dyn Image>>; DISKS_MAX];

/// An image in memory.
impl Image for Vec<u8> {
    fn bytes(&self) -> u64 {
        self.len() as u64
    }

    fn read(&self, offset: u64, out: &mut [u8]) {
        let start = offset as usize;
        out.copy_from_slice(&self[start..start + out.len()]);
    }
}

/// An image is hashed in pieces of so many bytes.
const PIECE_BYTES: u64 = 1 << 20;

/// The digest that names an image: xxh3-128 of the xxh3-128 digests, as little-endian u128, of its pieces of 1 MiB in their
/// order. Holes cost next to nothing.
#[must_use]
pub fn image_digest(image: &dyn Image) -> u128 {
    let pieces = image.bytes().div_ceil(PIECE_BYTES);
    let of_zeros = xxh3_128(&vec![0; PIECE_BYTES as usize]).to_le_bytes();
    let digest = |buffer: &mut Vec<u8>, piece: u64| {
        let start = piece * PIECE_BYTES;
        let length = (image.bytes() - start).min(PIECE_BYTES);
        if length == PIECE_BYTES && image.is_hole(start, length) {
            return of_zeros;
        }
        buffer.resize(length as usize, 0);
        image.read(start, buffer);
        xxh3_128(buffer).to_le_bytes()
    };
    let digests: Vec<[u8; 16]> = (0..pieces).into_par_iter().map_init(Vec::new, digest).collect();
    xxh3_128(digests.as_flattened())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_is_that_of_the_pieces_in_order() {
        let image: Vec<u8> = (0..(2 << 20) + 512).map(|i| (i >> 12) as u8).collect();
        let pieces: Vec<u8> = image.chunks(1 << 20).flat_map(|piece| xxh3_128(piece).to_le_bytes()).collect();
        assert_eq!(pieces.len(), 3 * 16);
        assert_eq!(image_digest(&image), xxh3_128(&pieces));
        let mut other = image.clone();
        other[1 << 20] ^= 1;
        assert_ne!(image_digest(&other), image_digest(&image));
    }
}
