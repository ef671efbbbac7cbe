//! zstd: the reference library through the crate `zstd`.

use userland_programs::{fnv1a, rounds, text};

fn main() {
    let text = text(1000 * rounds(50), 5);
    for level in [-3, 1, 3, 6, 12, 19] {
        let packed = zstd::bulk::compress(text.as_bytes(), level).expect("fits");
        let back = zstd::bulk::decompress(&packed, text.len()).expect("just packed");
        println!("level {level}: {} bytes {:016x}, back {}", packed.len(), fnv1a(&packed), back == text.as_bytes());
    }
    let stream = zstd::stream::encode_all(text.as_bytes(), 2).expect("fits");
    println!("stream {} bytes {:016x}", stream.len(), fnv1a(&stream));
}
