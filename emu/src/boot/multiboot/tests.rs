use super::super::Module;
use super::*;

const MEMORY: u64 = 4 << 20;
const LOAD: u32 = 0x20_0000;

/// A kernel with these address fields, its header 16 bytes from where it is loaded, which is 32 bytes into the file.
fn kernel(flags: u32, addresses: [u32; 5]) -> Vec<u8> {
    let checksum = 0u32.wrapping_sub(HEADER_MAGIC).wrapping_sub(flags);
    let words = [HEADER_MAGIC, flags, checksum].into_iter().chain(addresses);
    let header: Vec<u8> = words.flat_map(u32::to_le_bytes).collect();
    [&[0xff; 32][..], &[0x90; 16], &header, b"data"].concat()
}

fn with_addresses(addresses: [u32; 5]) -> Vec<u8> {
    kernel(FLAG_ADDRESSES | 3, addresses)
}

const ALL: [u32; 5] = [LOAD + 16, LOAD, 0, LOAD + 0x1800, LOAD + 4];

fn boot<'a>(image: &'a [u8], modules: &'a [Module<'a>]) -> Boot<'a> {
    Boot { image, modules, command_line: "quiet", protocol: None }
}

fn loaded(boot: &Boot<'_>) -> Result<(Entry, Vec<u8>), BootError> {
    let mut memory = vec![0; MEMORY as usize];
    let entry = load(boot, MEMORY, &mut |at, bytes| memory[at as usize..][..bytes.len()].copy_from_slice(bytes))?;
    Ok((entry, memory))
}

fn refused(image: &[u8], modules: &[Module<'_>]) -> String {
    load(&boot(image, modules), MEMORY, &mut |_, _| panic!("wrote in spite of the error")).unwrap_err().to_string()
}

#[test]
fn everything_is_where_the_information_says() {
    let image = with_addresses(ALL);
    let modules = [Module { bytes: &[7; 5000], command_line: "one 1" }, Module { bytes: b"2", command_line: "" }];
    let (entry, memory) = loaded(&boot(&image, &modules)).unwrap();
    assert_eq!(entry, Entry { eip: LOAD + 4, eax: 0x2bad_b002, ebx: 0x8000 });
    assert_eq!(&memory[LOAD as usize..][..image.len() - 32], &image[32..]);
    let word = |at: u32| u32::from_le_bytes(memory[at as usize..][..4].try_into().unwrap());
    let text = |at: u32, text: &[u8]| assert_eq!(&memory[at as usize..][..text.len()], text);
    assert_eq!([word(0x8000), word(0x8004), word(0x8008)], [0x24d, 639, 3 << 10]);
    text(word(0x8010), b"quiet\0");
    text(word(0x8040), b"ftemu ");
    assert_eq!(word(0x8014), 2);
    let list = word(0x8018);
    assert_eq!([word(list), word(list + 4)], [LOAD + 0x2000, LOAD + 0x2000 + 5000], "above the bss, on a page");
    text(word(list + 8), b"one 1\0");
    assert_eq!([word(list + 16), word(list + 20)], [LOAD + 0x4000, LOAD + 0x4001]);
    text(LOAD + 0x2000, &[7; 5000]);
    let map = word(0x8030);
    assert_eq!(word(0x802c), 72);
    assert_eq!([0, 4, 8, 12, 16, 20].map(|at| word(map + at)), [20, 0, 0, 0x9_fc00, 0, 1]);
    assert_eq!([24, 28, 32, 36, 40, 44].map(|at| word(map + at)), [20, 0xe_0000, 0, 0x2_0000, 0, 2]);
    assert_eq!([48, 52, 56, 60, 64, 68].map(|at| word(map + at)), [20, 0x10_0000, 0, 3 << 20, 0, 1]);
}

#[test]
fn the_header_is_found_in_the_first_8_kib() {
    let at = |offset: usize| [&vec![0xaa; offset][..], &kernel(3, [0; 5])].concat();
    assert!(is_kernel(&at(8192 - 32 - 16 - 12)));
    assert!(!is_kernel(&at(8192 - 32 - 16 - 8)), "its checksum is beyond");
    assert!(!is_kernel(&at(2)), "not at a multiple of 4");
    let mut wrong = at(0);
    wrong[32 + 16 + 8] ^= 1;
    assert!(!is_kernel(&wrong), "the checksum is wrong");
    assert!(refused(&wrong, &[]).contains("no Multiboot header in the first 8192 bytes"));
}

#[test]
fn addresses_may_leave_out_ends() {
    let load_end = |end| loaded(&boot(&with_addresses([LOAD + 16, LOAD, end, 0, LOAD]), &[])).map(|(_, memory)| memory);
    assert_eq!(&load_end(0).unwrap()[LOAD as usize + 48..][..5], b"data\0");
    assert_eq!(&load_end(LOAD + 50).unwrap()[LOAD as usize + 48..][..5], b"da\0\0\0");
}

#[test]
fn what_cannot_be_booted_is_named() {
    for (addresses, reason) in [
        ([LOAD, LOAD + 1, 0, 0, LOAD], "header_addr is below load_addr"),
        ([LOAD + 49, LOAD, 0, 0, LOAD], "load_addr is before the file begins"),
        ([LOAD + 16, LOAD, LOAD - 1, 0, LOAD], "load_end_addr is below load_addr"),
        ([LOAD + 16, LOAD, LOAD + 53, 0, LOAD], "load_end_addr is beyond the end of the file"),
        ([LOAD + 16, LOAD, 0, LOAD - 1, LOAD], "bss_end_addr is below load_addr"),
        ([LOAD + 16, LOAD, 0, LOAD + 1, LOAD], "bss_end_addr is below load_end_addr"),
        ([LOAD + 16, LOAD, 0, 0, LOAD + 52], "entry_addr is outside of what is loaded"),
    ] {
        let words = refused(&with_addresses(addresses), &[]);
        assert!(words.contains("the Multiboot header at offset 0x30") && words.contains(reason), "{words}");
    }
    assert!(refused(&with_addresses(ALL)[..70], &[]).contains("the file ends there"));
    assert!(refused(&kernel(0x0b, [0; 5]), &[]).contains("demands what is not there: flags 0x8"));
    assert!(refused(&kernel(3, [0; 5]), &[]).contains("not an ELF file"));
    assert!(refused(&with_addresses([0x8010, 0x8000, 0, 0, 0x8000]), &[]).contains("physical address 0x8000"));
    assert!(refused(&with_addresses([16, 0xffff_fff0, 0, 0, 0]), &[]).contains("header_addr"));
    let large = vec![0; 2 << 20];
    let module = Module { bytes: &large, command_line: "" };
    assert!(refused(&with_addresses(ALL), &[module]).contains("need 5 MiB of guest memory, there are 4"));
    let long = "x".repeat(0xa_0000);
    let module = Module { bytes: b"", command_line: &long };
    assert!(refused(&with_addresses(ALL), &[module]).contains("command line"));
}
