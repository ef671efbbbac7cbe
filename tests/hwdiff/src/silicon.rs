//! What this host's CPU does where the manual says "undefined": the experiment behind `undefined.rs`.

use std::collections::BTreeMap;

use crate::case::Subject;
use crate::forms::Form;
use crate::generate;
use crate::rng::Rng;

const FLAGS: [(&str, u32, u32); 6] = [
    ("OF", 11, iced_x86::RflagsBits::OF),
    ("SF", 7, iced_x86::RflagsBits::SF),
    ("ZF", 6, iced_x86::RflagsBits::ZF),
    ("AF", 4, iced_x86::RflagsBits::AF),
    ("CF", 0, iced_x86::RflagsBits::CF),
    ("PF", 2, iced_x86::RflagsBits::PF),
];

/// How often each undefined flag of each form came out as what it is compared with.
#[derive(Default, Clone, Copy)]
struct Tally {
    cases: u64,
    set: u64,
    kept: u64,
}

/// For each of `forms` with undefined flags: how they came out in `cases` random cases.
#[must_use]
pub fn report(subject: &mut dyn Subject, forms: &[Form], cases: u64, seed: u64) -> String {
    let mut tallies: BTreeMap<(String, &str), Tally> = BTreeMap::new();
    for &form in forms {
        let mut rng = Rng::new(seed);
        for _ in 0..cases {
            let (case, instruction) = generate::case(form, &mut rng);
            let undefined = instruction.rflags_undefined();
            if undefined == 0 {
                continue;
            }
            let outcome = subject.run(&case);
            if outcome.fault.vector != 3 {
                continue;
            }
            for (name, bit, mask) in FLAGS {
                if undefined & mask != 0 {
                    let tally = tallies.entry((form.to_string(), name)).or_default();
                    tally.cases += 1;
                    tally.set += outcome.cpu.rflags >> bit & 1;
                    tally.kept += u64::from(outcome.cpu.rflags >> bit & 1 == case.cpu.rflags >> bit & 1);
                }
            }
        }
    }
    let line = |((form, flag), t): (&(String, &str), &Tally)| {
        let verdict = match *t {
            t if t.set == 0 => "always 0",
            t if t.set == t.cases => "always 1",
            t if t.kept == t.cases => "unchanged",
            _ => "depends",
        };
        format!("{form:40} {flag} {verdict} ({} of {} set, {} kept)\n", t.set, t.cases, t.kept)
    };
    tallies.iter().map(line).collect()
}
