//! A campaign in small: the whole of it is run by hand and by CI (CONTRIBUTING.md, "Compared with the CPU").
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

use hwdiff::campaign::{self, Duel, Event, Plan};
use hwdiff::native::Native;
use hwdiff::workers::Findings;

#[test]
fn forms_and_raw_encodings_agree_with_the_cpu() {
    let plan = Plan::new(None, 42);
    let mut native = Native::new().unwrap();
    let mut findings = Findings::default();
    let mut differing = Vec::new();
    campaign::run(&plan, 0..30_000, &mut Duel::new(&mut native), &mut |event| {
        if let Event::Differs(number, name) = &event {
            differing.push(format!("{name}: hwdiff --seed 42 --case {number}"));
        }
        findings.note(event);
    });
    assert!(differing.is_empty(), "{}", differing.join("\n"));
    assert_eq!((findings.forms.len(), findings.cases), (plan.forms().len(), 30_000));
    assert!(findings.skipped < 1000, "nearly everything is compared");
}

#[test]
fn a_case_follows_from_seed_and_number() {
    for number in [0, 4, 9, 12_345] {
        let [one, two] = [(); 2].map(|()| Plan::new(None, 7).case(number));
        assert_eq!((one.name, one.case), (two.name, two.case));
    }
    assert_ne!(Plan::new(None, 7).case(4).case, Plan::new(None, 8).case(4).case);
}
