//! aes-gcm: the crate `aes-gcm`, which uses AES-NI and PCLMULQDQ where CPUID has them.

use aes_gcm::aead::{Aead, KeyInit, Payload};
use aes_gcm::{Aes128Gcm, Aes256Gcm, Nonce};
use userland_programs::{fnv1a, hex, rounds, text};

fn main() {
    // Test case 2 of the GCM specification.
    let zeros = Aes128Gcm::new(&[0; 16].into());
    let sealed = zeros.encrypt(Nonce::from_slice(&[0; 12]), &[0; 16][..]).expect("short");
    println!("{}", hex(&sealed));

    let mut message = text(5000, 21).into_bytes();
    for round in 0..rounds(60) {
        let key: [u8; 32] = std::array::from_fn(|i| message[i] ^ i as u8);
        let mut nonce = [7; 12];
        nonce[0] = round as u8;
        let (cipher, nonce) = (Aes256Gcm::new(&key.into()), Nonce::from_slice(&nonce));
        let payload = Payload { msg: &message, aad: &key[..round % 32] };
        let sealed = cipher.encrypt(nonce, payload).expect("short");
        let opened = cipher.decrypt(nonce, Payload { msg: &sealed, aad: &key[..round % 32] });
        assert_eq!(opened.as_deref(), Ok(&message[..]));
        message = sealed[..sealed.len() - 16].to_vec();
    }
    println!("{:016x}", fnv1a(&message));
}
