//! 32-bit code on the host's CPU and in emu: compatibility mode. `HWDIFF_CASES` and `HWDIFF_FAMILY` for longer and narrower
//! runs.

#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

use std::collections::BTreeMap;

use hwdiff::campaign::rng_of;
use hwdiff::case::Subject;
use hwdiff::compare::{differences, report};
use hwdiff::emulated::Emulated;
use hwdiff::native::Native;
use hwdiff::{compat, undefined};

#[test]
fn compatibility_mode_does_what_the_host_does() {
    let setting = |name: &str| std::env::var(name).ok();
    let cases = setting("HWDIFF_CASES").and_then(|n| n.parse().ok()).unwrap_or(60_000);
    let forms = compat::forms(setting("HWDIFF_FAMILY").as_deref());
    assert!(!forms.is_empty(), "no such family");
    let mut native = match Native::new() {
        Ok(native) => native,
        Err(error) => return eprintln!("SKIPPED: {error}"),
    };
    let mut emulated = Emulated::new(true);
    let mut wrong: BTreeMap<String, (u64, String)> = BTreeMap::new();
    for (number, form) in (0..cases).zip(forms.iter().cycle()) {
        let (case, instruction) = compat::case(*form, &mut rng_of(32, number));
        let (host, got) = (native.run(&case), emulated.run(&case));
        let lines = differences(&host, &got, undefined::ignored(&instruction));
        if !lines.is_empty() {
            let text = || (0, report(&case, &instruction.to_string(), &host, &got, &lines));
            wrong.entry(form.to_string()).or_insert_with(text).0 += 1;
        }
    }
    for (form, (count, text)) in &wrong {
        eprintln!("{count} of {form}, first:\n{text}");
    }
    let unimplemented = emulated.take_unimplemented();
    eprintln!("forms {}, cases {cases}, forms that differ {}, missing {unimplemented:?}", forms.len(), wrong.len());
    assert!(wrong.is_empty());
}
