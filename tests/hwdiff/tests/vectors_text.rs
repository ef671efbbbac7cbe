//! The text of vectors says all that there is: what this CPU did, written and read again, is what it does.

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
#[test]
fn vectors_read_back_are_the_same_cases() {
    let mut native = hwdiff::native::Native::new().unwrap();
    for family in hwdiff::vectors::families() {
        let text = hwdiff::vectors::emit(family, 2, 7, &mut native);
        let (count, wrong) = hwdiff::vectors::check(&text, &mut native);
        assert!(count > 0 && wrong.is_empty(), "{family}: {} of {count}\n{}", wrong.len(), wrong.join("\n"));
    }
}

#[test]
fn a_line_that_is_not_understood_is_an_error() {
    for line in ["90 \"nop\"", "9 \"nop\" =>", "90 \"nop\" rxx=1 =>", "90 \"nop\" => cr2=1", "90 \"nop\" flags=Q =>"] {
        assert!(hwdiff::vectors::parse(line).is_err(), "{line}");
    }
    assert!(hwdiff::vectors::parse("90 \"nop\" rax=1 flags=CZ => rax=2 #14(6) cr2=10002000").is_ok());
}
