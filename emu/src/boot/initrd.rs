//! How an initial RAM disk begins: what Linux takes for one (init/initramfs.c, init/do_mounts_rd.c).

use std::fmt;

use super::{Format, not_elf};

/// Archives and file systems, by magic number and its offset.
const MAGICS: [(&[u8], usize); 7] = [
    (b"070701", 0),
    (b"070702", 0),
    (b"\x45\x3d\xcd\x28", 0), // cramfs
    (b"-rom1fs-", 0),
    (b"hsqs", 0),
    (b"\x53\xef", 0x438), // ext2
    (b"\x7f\x13", 0x410), // minix
];

/// A file that is no initial RAM disk. `Display` is one line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoInitrd {
    /// What it looks like.
    is: &'static str,
    /// The first byte that is not zero.
    offset: usize,
}

impl fmt::Display for NoInitrd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { is, offset } = self;
        write!(f, "not an initial RAM disk: the file is {is} (byte {offset}), no cpio archive, compressed or not")
    }
}

impl std::error::Error for NoInitrd {}

/// Whether `file` may be an initial RAM disk.
///
/// # Errors
/// What it looks like instead.
pub fn check_initrd(file: &[u8]) -> Result<(), NoInitrd> {
    // The kernel skips zeros.
    let offset = file.iter().position(|byte| *byte != 0).unwrap_or(0);
    let begins_with = |magic: &[u8], at: usize| file.get(at..).is_some_and(|rest| rest.starts_with(magic));
    let known = MAGICS.iter().any(|(magic, at)| begins_with(magic, if *at == 0 { offset } else { *at }));
    if known || Format::of(&file[offset..]).is_some() {
        return Ok(());
    }
    let is = match () {
        () if begins_with(b"\x7fELF", 0) => "an ELF file",
        () if super::linux::is_kernel(file) => "a Linux kernel",
        () => match not_elf::describe(file).0 {
            "not an ELF file" => "something else",
            is => is,
        },
    };
    Err(NoInitrd { is, offset })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_linux_takes_is_taken() {
        let mut ext2 = vec![0; 0x440];
        ext2[0x438..0x43a].copy_from_slice(b"\x53\xef");
        for file in [&b"070701"[..], b"\0\0\x00070701", b"\x1f\x8b\x08", b"\xfd7zXZ\0", b"\x02\x21\x4c\x18", &ext2] {
            assert_eq!(check_initrd(file), Ok(()), "{file:x?}");
        }
    }

    #[test]
    fn other_files_are_called_what_they_are() {
        let mut kernel = vec![1; 0x300];
        kernel[0x202..0x206].copy_from_slice(b"HdrS");
        for (file, is) in [
            (&b""[..], "the file is empty (byte 0)"),
            (b"\x7fELF\x02", "the file is an ELF file"),
            (b"#!/bin/sh", "a script"),
            (&kernel, "a Linux kernel"),
            (b"\0\0\x05\x06", "something else (byte 2)"),
        ] {
            let words = check_initrd(file).unwrap_err().to_string();
            assert!(words.contains(is), "{words}");
        }
    }
}
