use super::*;

const A: [u8; 8] = [0x00, 0x01, 0x7f, 0x80, 0x81, 0xfe, 0xff, 0x10];
const B: [u8; 8] = [0xff, 0x02, 0x01, 0x80, 0xff, 0x03, 0xff, 0x20];

#[test]
fn sums_wrap_or_stop_at_the_ends() {
    assert_eq!(add::<u8, 8>(A, B), [0xff, 0x03, 0x80, 0x00, 0x80, 0x01, 0xfe, 0x30]);
    assert_eq!(add_signed_saturating::<u8, 8>(A, B), [0xff, 0x03, 0x7f, 0x80, 0x80, 0x01, 0xfe, 0x30]);
    assert_eq!(add_unsigned_saturating::<u8, 8>(A, B), [0xff, 0x03, 0x80, 0xff, 0xff, 0xff, 0xff, 0x30]);
    assert_eq!(sub_unsigned_saturating::<u8, 8>(A, B), [0x00, 0x00, 0x7e, 0x00, 0x00, 0xfb, 0x00, 0x00]);
}

#[test]
fn lanes_of_all_widths_are_little_endian() {
    assert_eq!(add::<u16, 8>(A, B), [0xff, 0x03, 0x80, 0x00, 0x80, 0x02, 0xfe, 0x31]);
    assert_eq!(add::<u64, 8>(A, B), [0xff, 0x03, 0x80, 0x00, 0x81, 0x02, 0xff, 0x31]);
    assert_eq!(shift_left::<u32, 8>(A, 8), [0x00, 0x00, 0x01, 0x7f, 0x00, 0x81, 0xfe, 0xff]);
    assert_eq!(shift_right_signed::<u16, 8>(A, 99), [0, 0, 0xff, 0xff, 0xff, 0xff, 0, 0]);
}

#[test]
fn packing_reads_signed_and_stops_at_the_ends() {
    let words = [0x00, 0x01, 0x80, 0x00, 0xff, 0xff, 0x00, 0x80];
    assert_eq!(pack_signed::<u16, u8, 8>(words, words)[..4], [0x7f, 0x7f, 0xff, 0x80]);
    assert_eq!(pack_unsigned::<u16, u8, 8>(words, words)[..4], [0xff, 0x80, 0x00, 0x00]);
}

#[test]
fn shuffles_name_their_sources() {
    let a: [u8; 16] = std::array::from_fn(|i| i as u8);
    assert_eq!(shuffle(a, 0b00_01_10_11), [12, 13, 14, 15, 8, 9, 10, 11, 4, 5, 6, 7, 0, 1, 2, 3]);
    assert_eq!(shuffle_high(a, 0b11_10_00_01)[8..], [10, 11, 8, 9, 12, 13, 14, 15]);
    assert_eq!(interleave_high::<u8, 8>(A, B), [0x81, 0xff, 0xfe, 0x03, 0xff, 0xff, 0x10, 0x20]);
    assert_eq!(bytes_right(a, 13), [13, 14, 15, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
}

#[test]
fn sums_of_products_and_differences() {
    // -32768 * -32768 twice is the one sum that wraps.
    assert_eq!(
        mul_add_pairs([0, 0x80, 0, 0x80, 2, 0, 0xff, 0xff], [0, 0x80, 0, 0x80, 3, 0, 4, 0]),
        [0, 0, 0, 0x80, 2, 0, 0, 0]
    );
    assert_eq!(sum_of_differences(A, B), (255u64 + 1 + 126 + 126 + 251 + 16).to_le_bytes());
    assert_eq!(signs::<u8, 8>(A), 0b0111_1000);
}

/// The four ways of PCMPISTRI, on texts that end before the register does.
#[test]
fn strings_are_compared_in_four_ways() {
    use super::text::{Control, compare};
    use crate::cpu::flags::{CF, OF, SF, ZF};
    let text = |s: &str| from_fn::<u8, 16>(|i| s.as_bytes().get(i).copied().unwrap_or(0));
    let run = |a: &str, b: &str, control: u8| {
        let (a, b, control) = (text(a), text(b), Control(control));
        let found = compare(&a, control.implicit_length(&a), &b, control.implicit_length(&b), control);
        (found.index(), found.flags)
    };
    assert_eq!(run("aeiou", "strength", 0), (3, CF | ZF | SF), "the first vowel");
    assert_eq!(run("aeiou", "aerate", 0x40), (5, CF | ZF | SF | OF), "the last vowel");
    assert_eq!(run("azAZ", "abc1", 0x14), (3, CF | ZF | SF), "the first that is no letter");
    assert_eq!(run("azAZ", "abcd", 0x34), (16, ZF | SF), "none within the text");
    assert_eq!(run("same", "sane", 0x18), (2, CF | ZF | SF), "where they differ");
    assert_eq!(run("needle", "a haystack, needle", 0x0c), (12, CF | SF), "as far as the register shows");
    // Words: "b" is not found in the upper bytes of characters.
    assert_eq!(run("b\0", "a\u{1}b\u{1}b", 1), (2, CF | ZF | SF));
}
