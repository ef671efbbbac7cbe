//! A comparison of many cases: the same on both subjects, counted by form.

use std::collections::BTreeMap;

use crate::case::Subject;
use crate::compare::{differences, report};
use crate::forms::Form;
use crate::rng::Rng;
use crate::{generate, undefined};

/// Differences that are printed in full; all are counted.
const REPORTS_MAX: usize = 20;

/// What a comparison found.
#[derive(Debug, Default)]
pub struct Findings {
    /// Cases run.
    pub cases: u64,
    /// Forms with at least one case.
    pub tested: usize,
    /// Differing cases of each form that has any.
    pub mismatches: BTreeMap<String, u64>,
    /// The first differences in full, with what reproduces them.
    pub reports: Vec<String>,
}

impl Findings {
    /// Cases that differ.
    #[must_use]
    pub fn mismatch_count(&self) -> u64 {
        self.mismatches.values().sum()
    }
}

/// Case `number` of a campaign with `seed`: its own generator, so that any case can be run alone.
#[must_use]
pub fn rng_of(seed: u64, number: u64) -> Rng {
    Rng::new(Rng::new(seed).draw() ^ Rng::new(number).draw())
}

/// Runs the cases `numbers`, the forms taking turns, on `host` and `emulated`.
pub fn run(
    forms: &[Form],
    numbers: std::ops::Range<u64>,
    seed: u64,
    host: &mut dyn Subject,
    emulated: &mut dyn Subject,
) -> Findings {
    let mut findings = Findings::default();
    let mut seen = vec![false; forms.len()];
    for number in numbers {
        let index = usize::try_from(number % forms.len() as u64).unwrap_or(0);
        let form = forms[index];
        let (case, instruction) = generate::case(form, &mut rng_of(seed, number));
        let (mut expected, got) = (host.run(&case), emulated.run(&case));
        let ignored = undefined::ignored(&instruction);
        let mut lines = differences(&expected, &got, ignored);
        if form.family == "xsave" && !lines.is_empty() {
            // A host that is interrupted between loading the state and the instruction may forget what is in use.
            expected = host.run(&case);
            lines = differences(&expected, &got, ignored);
        }
        findings.cases += 1;
        seen[index] = true;
        if lines.is_empty() {
            continue;
        }
        let of_form = findings.mismatches.entry(form.to_string()).or_default();
        *of_form += 1;
        if *of_form == 1 && findings.reports.len() < REPORTS_MAX {
            let text = report(&case, &instruction.to_string(), &expected, &got, &lines);
            findings.reports.push(format!("{form}, --seed {seed} --case {number}\n{text}"));
        }
    }
    findings.tested = seen.iter().filter(|seen| **seen).count();
    findings
}
