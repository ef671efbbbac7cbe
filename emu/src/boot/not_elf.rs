//! What a file that is not an ELF is, told from how it begins, and what its owner can do about it.

const ARM64_MAGIC_OFFSET: usize = 0x38; // arm64 boot protocol
const BOOT_SECTOR_MAGIC_OFFSET: usize = 510;

const COMPRESSED: &str = "unpack it first";
const OTHER_SYSTEM: &str = "build the program as a bare-metal ELF64 instead, see CONTRIBUTING.md";

/// (how it begins, what it is, what to do)
const MAGICS: [(&[u8], &str, &str); 16] = [
    (b"#!", "a script", "its interpreter runs on an operating system; ftemu runs bare-metal ELF64 programs"),
    (b"MZ", "a Windows or UEFI program (PE)", OTHER_SYSTEM),
    (b"\xcf\xfa\xed\xfe", "a macOS program (Mach-O)", OTHER_SYSTEM),
    (b"\xce\xfa\xed\xfe", "a 32-bit macOS program (Mach-O)", OTHER_SYSTEM),
    (b"\xca\xfe\xba\xbe", "a universal macOS program (Mach-O) or a Java class", OTHER_SYSTEM),
    (b"\0asm", "a WebAssembly module", OTHER_SYSTEM),
    (b"\x1f\x8b", "gzip-compressed", COMPRESSED),
    (b"\xfd7zXZ\0", "xz-compressed", COMPRESSED),
    (b"\x28\xb5\x2f\xfd", "zstd-compressed", COMPRESSED),
    (b"BZh", "bzip2-compressed", COMPRESSED),
    (b"\x04\x22\x4d\x18", "lz4-compressed", COMPRESSED),
    (b"PK\x03\x04", "a zip archive", COMPRESSED),
    (b"070701", "a cpio archive (an initramfs?)", "give the program itself"),
    (b"!<arch>\n", "a static library or package (ar archive)", "link it into a program, see CONTRIBUTING.md"),
    (b"QFI\xfb", "a qcow2 disk image", "give a bare-metal ELF64 program"),
    (b"BC\xc0\xde", "LLVM bitcode", "compile and link it, see CONTRIBUTING.md"),
];

/// What `image`, which does not begin like an ELF, looks like, and what to do.
pub(super) fn describe(image: &[u8]) -> (&'static str, &'static str) {
    if image.is_empty() {
        return ("empty", "did the build fail?");
    }
    if has(image, ARM64_MAGIC_OFFSET, b"ARM\x64") {
        return ("a Linux kernel for 64-bit ARM", "give one for x86-64");
    }
    if let Some((_, is, advice)) = MAGICS.iter().find(|(magic, ..)| image.starts_with(magic)) {
        return (is, advice);
    }
    if has(image, BOOT_SECTOR_MAGIC_OFFSET, &[0x55, 0xaa]) {
        return ("a boot sector or disk image", "give a bare-metal ELF64 program");
    }
    if is_text(image) {
        return ("text", "give the linked program, not its source");
    }
    ("not an ELF file", "give a bare-metal ELF64 program for x86-64, see CONTRIBUTING.md")
}

fn has(image: &[u8], offset: usize, magic: &[u8]) -> bool {
    image.get(offset..).is_some_and(|rest| rest.starts_with(magic))
}

fn is_text(image: &[u8]) -> bool {
    let beginning = &image[..image.len().min(256)];
    beginning.iter().all(|byte| byte.is_ascii_graphic() || byte.is_ascii_whitespace())
}
