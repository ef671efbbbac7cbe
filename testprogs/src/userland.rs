//! `userland`: the guest kernel that runs one static Linux program, and how a program gets into it.

use std::fmt;

/// The kernel. Alone it says that it has no program.
pub const KERNEL: &[u8] = include_bytes!("../images/userland.elf");

/// Where the kernel looks for the program (MODULE in `userland/userland.h`), a physical address.
const MODULE: u64 = 0x20_0000;
const MODULE_MAGIC: &[u8; 8] = b"FTEMUSER";
/// The program's name, with the NUL that ends it.
const NAME_BYTES: usize = 48;

// Offsets in the ELF file header and in a program header, which is 56 bytes long (`elf(5)`).
const E_TYPE: usize = 16;
const E_MACHINE: usize = 18;
const E_PHOFF: usize = 32;
const E_SHOFF: usize = 40;
const E_PHNUM: usize = 56;
const E_SHNUM: usize = 60;
const P_OFFSET: usize = 8;
const P_FILESZ: usize = 32;
const PROGRAM_HEADER_BYTES: usize = 56;

const ET_EXEC: u64 = 2;
const ET_DYN: u64 = 3;
const EM_X86_64: u64 = 62;
const PT_LOAD: u64 = 1;
const PT_INTERP: u64 = 3;
/// Readable: the kernel copies the program out.
const PF_R: u64 = 4;

/// Why a file cannot be run by `userland`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WrapError {
    /// Not a 64-bit ELF for x86-64.
    NotElf,
    /// An object file, a core dump.
    NotExecutable {
        /// `e_type`.
        kind: u64,
    },
    /// It ends before its program headers do, or one points outside.
    Damaged {
        /// At which byte of the file that shows.
        offset: usize,
    },
    /// It needs a dynamic loader, which is a file, and libraries, which are more of them.
    Dynamic {
        /// Path of the loader.
        interpreter: String,
    },
    /// The name does not fit.
    Name {
        /// Its length in bytes.
        bytes: usize,
    },
}

impl fmt::Display for WrapError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotElf => write!(f, "not a 64-bit ELF for x86-64 (byte 0)"),
            Self::NotExecutable { kind } => write!(f, "not an executable (e_type {kind}, byte {E_TYPE}): link it"),
            Self::Damaged { offset } => write!(f, "a damaged ELF (byte {offset}): copy or build it again"),
            Self::Dynamic { interpreter } => write!(
                f,
                "dynamically linked (it asks for {interpreter}): link it with -static, in Rust with \
                 -C target-feature=+crt-static"
            ),
            Self::Name { bytes } => write!(f, "a name of {bytes} bytes: at most {} fit", NAME_BYTES - 1),
        }
    }
}

impl std::error::Error for WrapError {}

/// The little-endian number of `bytes` bytes at `offset`; `None` outside of the file.
fn number(file: &[u8], offset: usize, bytes: usize) -> Option<u64> {
    let bytes = file.get(offset..offset.checked_add(bytes)?)?;
    Some(bytes.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte)))
}

/// Where the program headers are: (offset, how many).
fn program_headers(file: &[u8]) -> Option<(usize, usize)> {
    let offset = usize::try_from(number(file, E_PHOFF, 8)?).ok()?;
    let count = usize::try_from(number(file, E_PHNUM, 2)?).ok()?;
    file.get(offset..offset.checked_add(count * PROGRAM_HEADER_BYTES)?)?;
    Some((offset, count))
}

/// What a header at `offset` says of the file.
fn contents(file: &[u8], offset: usize) -> Option<&[u8]> {
    let start = usize::try_from(number(file, offset + P_OFFSET, 8)?).ok()?;
    let bytes = usize::try_from(number(file, offset + P_FILESZ, 8)?).ok()?;
    file.get(start..start.checked_add(bytes)?)
}

pub(crate) fn check(program: &[u8]) -> Result<(), WrapError> {
    if !program.starts_with(b"\x7fELF\x02\x01") || number(program, E_MACHINE, 2) != Some(EM_X86_64) {
        return Err(WrapError::NotElf);
    }
    match number(program, E_TYPE, 2) {
        Some(ET_EXEC | ET_DYN) => {}
        kind => return Err(WrapError::NotExecutable { kind: kind.unwrap_or(0) }),
    }
    let (first, count) = program_headers(program).ok_or(WrapError::Damaged { offset: E_PHOFF })?;
    for offset in (0..count).map(|index| first + index * PROGRAM_HEADER_BYTES) {
        let kind = number(program, offset, 4);
        if kind == Some(PT_LOAD) || kind == Some(PT_INTERP) {
            let bytes = contents(program, offset).ok_or(WrapError::Damaged { offset })?;
            if kind == Some(PT_INTERP) {
                let interpreter = String::from_utf8_lossy(bytes).trim_end_matches('\0').to_owned();
                return Err(WrapError::Dynamic { interpreter });
            }
        }
    }
    Ok(())
}

/// What the kernel finds at `MODULE`: `struct module` of `userland/program.c`.
fn module(name: &str, program: &[u8]) -> Vec<u8> {
    let mut module = MODULE_MAGIC.to_vec();
    module.extend((program.len() as u64).to_le_bytes());
    module.extend(name.as_bytes());
    module.resize(MODULE_MAGIC.len() + 8 + NAME_BYTES, 0);
    module.extend(program);
    module
}

/// A guest that is the kernel and `program`, a static Linux program; `name` is its `argv[0]`. The rest of its arguments is
/// the guest's command line.
///
/// # Errors
/// Why the kernel could not run it.
pub fn wrap(name: &str, program: &[u8]) -> Result<Vec<u8>, WrapError> {
    if name.len() >= NAME_BYTES {
        return Err(WrapError::Name { bytes: name.len() });
    }
    check(program)?;
    // The kernel's file as it is, the module behind it, and behind that its program headers and one more.
    let (first, count) = program_headers(KERNEL).ok_or(WrapError::Damaged { offset: E_PHOFF })?;
    let mut file = KERNEL.to_vec();
    file.resize(file.len().next_multiple_of(8), 0);
    let module = module(name, program);
    let module_at = file.len();
    file.extend(&module);
    file.resize(file.len().next_multiple_of(8), 0);
    let headers_at = file.len();
    file.extend(&KERNEL[first..first + count * PROGRAM_HEADER_BYTES]);
    let bytes = module.len() as u64;
    for field in [PT_LOAD | PF_R << 32, module_at as u64, MODULE, MODULE, bytes, bytes, 8] {
        file.extend(field.to_le_bytes());
    }
    file[E_PHOFF..E_PHOFF + 8].copy_from_slice(&(headers_at as u64).to_le_bytes());
    let headers = u16::try_from(count + 1).unwrap_or(u16::MAX);
    file[E_PHNUM..E_PHNUM + 2].copy_from_slice(&headers.to_le_bytes());
    file[E_SHOFF..E_SHOFF + 8].fill(0);
    file[E_SHNUM..E_SHNUM + 2].fill(0);
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A program of one header of type `kind` for the `bytes` at `offset`.
    fn program(kind: u64, offset: u64, bytes: u64) -> Vec<u8> {
        let mut file = b"\x7fELF\x02\x01\x01".to_vec();
        file.resize(64, 0);
        file[E_TYPE] = 2;
        file[E_MACHINE] = 62;
        file[E_PHOFF] = 64;
        file[E_PHNUM] = 1;
        for field in [kind, offset, 0, 0, bytes, bytes, 8] {
            file.extend(field.to_le_bytes());
        }
        file.extend(b"/lib/loader\0");
        file
    }

    #[test]
    fn a_wrapped_program_is_the_kernel_with_one_more_segment() {
        let program = program(PT_LOAD, 0, 64);
        let file = wrap("hello", &program).unwrap();
        let (first, count) = program_headers(&file).unwrap();
        assert_eq!(count, program_headers(KERNEL).unwrap().1 + 1);
        let last = first + (count - 1) * PROGRAM_HEADER_BYTES;
        let module = contents(&file, last).unwrap();
        assert_eq!(&module[..8], MODULE_MAGIC);
        assert_eq!(number(module, 8, 8), Some(program.len() as u64));
        assert_eq!(&module[16..22], b"hello\0");
        assert_eq!(&module[64..], program);
        assert_eq!(contents(&file, first), contents(KERNEL, program_headers(KERNEL).unwrap().0));
    }

    #[test]
    fn what_cannot_be_run_is_refused() {
        let interpreter = "/lib/loader".to_owned();
        let mut object = program(PT_LOAD, 0, 64);
        object[E_TYPE] = 1;
        let mut cut = program(PT_LOAD, 0, 64);
        cut.truncate(100);
        for (file, error) in [
            (b"#!/bin/sh".to_vec(), WrapError::NotElf),
            (KERNEL[..4].to_vec(), WrapError::NotElf),
            (object, WrapError::NotExecutable { kind: 1 }),
            (cut, WrapError::Damaged { offset: E_PHOFF }),
            (program(PT_LOAD, 60, 1000), WrapError::Damaged { offset: 64 }),
            (program(PT_LOAD, u64::MAX, 2), WrapError::Damaged { offset: 64 }),
            (program(PT_INTERP, 120, 12), WrapError::Dynamic { interpreter }),
        ] {
            assert_eq!(wrap("x", &file), Err(error));
        }
        let name = "x".repeat(NAME_BYTES);
        assert_eq!(wrap(&name, &program(PT_LOAD, 0, 64)), Err(WrapError::Name { bytes: NAME_BYTES }));
    }
}
