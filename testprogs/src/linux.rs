//! One static Linux program on a real Linux kernel: the initial RAM disk that starts it and switches the machine off with its
//! exit code.

use std::fmt;
use std::io::{Cursor, Error};

use cpio::newc::Builder;

use crate::userland::{self, WrapError};

/// The first process: `linux-init/init.c`.
pub const INIT: &[u8] = include_bytes!("../images/linux-init.elf");

/// What the first process has room for.
const ARGUMENTS_MAX: usize = 4095;
const ARGUMENTS_BYTES_MAX: usize = (1 << 20) - 1;

// Modes (`inode(7)`).
const DIRECTORY: u32 = 0o040_755;
const PROGRAM: u32 = 0o100_755;
const FILE: u32 = 0o100_644;
const CHARACTER_DEVICE: u32 = 0o020_600;
/// `/dev/console`, which the kernel opens for the first process: major and minor number.
const CONSOLE: (u32, u32) = (5, 1);

/// Why a program cannot be started so.
#[derive(Debug)]
pub enum InitramfsError {
    /// Of the program.
    Program(WrapError),
    /// Too many arguments, or too long ones.
    Arguments {
        /// How many.
        count: usize,
        /// Their bytes.
        bytes: usize,
    },
    /// The archive cannot be written: the program is too large for its format.
    Archive(Error),
}

impl fmt::Display for InitramfsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Program(error) => error.fmt(f),
            Self::Arguments { count, bytes } => {
                write!(
                    f,
                    "{count} arguments of {bytes} bytes: at most {ARGUMENTS_MAX} of {ARGUMENTS_BYTES_MAX} bytes fit"
                )
            }
            Self::Archive(error) => write!(f, "no initial RAM disk can be made of it: {error}"),
        }
    }
}

impl std::error::Error for InitramfsError {}

/// An initramfs (a cpio archive in the newc format) that runs `program`, a static Linux program, with these arguments, of
/// which the first is its name.
///
/// # Errors
/// Why Linux could not start it.
pub fn initramfs(program: &[u8], arguments: &[&[u8]]) -> Result<Vec<u8>, InitramfsError> {
    userland::check(program).map_err(InitramfsError::Program)?;
    let text: Vec<u8> = arguments.iter().flat_map(|argument| argument.iter().chain(&[0])).copied().collect();
    if arguments.len() > ARGUMENTS_MAX || text.len() > ARGUMENTS_BYTES_MAX {
        return Err(InitramfsError::Arguments { count: arguments.len(), bytes: text.len() });
    }
    let entries: [(&str, u32, &[u8]); 9] = [
        ("dev", DIRECTORY, b""),
        ("dev/console", CHARACTER_DEVICE, b""),
        ("proc", DIRECTORY, b""),
        ("sys", DIRECTORY, b""),
        ("tmp", DIRECTORY, b""),
        ("bin", DIRECTORY, b""),
        ("init", PROGRAM, INIT),
        ("program", PROGRAM, program),
        ("arguments", FILE, &text),
    ];
    let inputs = entries.into_iter().zip(1..).map(|((name, mode, data), number)| {
        let (major, minor) = if mode == CHARACTER_DEVICE { CONSOLE } else { (0, 0) };
        (Builder::new(name).ino(number).mode(mode).rdev_major(major).rdev_minor(minor), Cursor::new(data))
    });
    cpio::write_cpio(inputs, Vec::new()).map_err(InitramfsError::Archive)
}

#[cfg(test)]
mod tests {
    use super::*;
    use cpio::newc::Reader;

    #[test]
    fn everything_is_in_the_archive() {
        let archive = initramfs(INIT, &[b"./name", b"a b"]).unwrap();
        let mut rest = Cursor::new(&archive[..]);
        let mut files = Vec::new();
        loop {
            let mut reader = Reader::new(rest).unwrap();
            let entry = reader.entry().clone();
            if entry.is_trailer() {
                break;
            }
            let mut data = Vec::new();
            std::io::Read::read_to_end(&mut reader, &mut data).unwrap();
            files.push((entry.name().to_owned(), entry.mode(), entry.rdev_major(), entry.rdev_minor(), data));
            rest = reader.finish().unwrap();
        }
        let find = |name: &str| files.iter().find(|file| file.0 == name).unwrap();
        assert_eq!((find("dev/console").1, find("dev/console").2, find("dev/console").3), (0o020_600, 5, 1));
        assert_eq!(find("init").4, INIT);
        assert_eq!(find("program").4, INIT);
        assert_eq!(find("arguments").4, b"./name\0a b\0");
    }

    #[test]
    fn what_linux_could_not_start_is_refused() {
        let refused = |program: &[u8], arguments: &[&[u8]]| initramfs(program, arguments).unwrap_err().to_string();
        assert!(refused(b"#!/bin/sh\n", &[]).starts_with("not a 64-bit ELF"));
        assert!(refused(INIT, &[&b"x"[..]; 5000]).starts_with("5000 arguments of 10000 bytes"));
        assert!(refused(INIT, &[&vec![b'x'; 1 << 20]]).starts_with("1 arguments of 1048577 bytes"));
    }
}
