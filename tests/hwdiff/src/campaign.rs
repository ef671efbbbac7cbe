//! A comparison of many cases: the same on both subjects, counted by form. A case follows from seed and number alone.

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};

use iced_x86::{Instruction, Mnemonic};

use crate::case::{Case, Outcome, Subject};
use crate::compare::{differences, report};
use crate::emulated::Emulated;
use crate::features::Features;
use crate::forms::{Form, forms};
use crate::rng::Rng;
use crate::{generate, raw, undefined};

/// One case in so many starts from bytes, not from a form.
const RAW_ONE_IN: u64 = 5;
/// #UD.
const INVALID_OPCODE: u8 = 6;

/// What is compared: forms, which take turns, and raw encodings.
pub struct Plan {
    forms: Vec<Form>,
    raw: bool,
    seed: u64,
}

/// A case of a plan.
pub struct Planned {
    /// Its form, as an index; none if it is a raw encoding.
    pub form: Option<usize>,
    /// What differences are counted under.
    pub name: String,
    /// Bytes and state.
    pub case: Case,
    /// What the decoder makes of the bytes.
    pub instruction: Instruction,
}

impl Plan {
    /// Everything, one family or the raw encodings only; nothing if there is no such family.
    #[must_use]
    pub fn new(family: Option<&str>, seed: u64) -> Self {
        Self { forms: forms(family), raw: family.is_none_or(|name| name == raw::FAMILY), seed }
    }

    /// Forms that take turns.
    #[must_use]
    pub fn forms(&self) -> &[Form] {
        &self.forms
    }

    /// Nothing at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.forms.is_empty() && !self.raw
    }

    /// Case `number`.
    #[must_use]
    pub fn case(&self, number: u64) -> Planned {
        let mut rng = rng_of(self.seed, number);
        if self.forms.is_empty() || self.raw && number % RAW_ONE_IN == RAW_ONE_IN - 1 {
            let (case, instruction) = raw::case(&mut rng);
            return Planned { form: None, name: format!("raw {:?}", instruction.code()), case, instruction };
        }
        let turn = if self.raw { number - number / RAW_ONE_IN } else { number };
        let index = usize::try_from(turn % self.forms.len() as u64).unwrap_or(0);
        let form = self.forms[index];
        let (case, instruction) = generate::case(form, &mut rng);
        Planned { form: Some(index), name: form.to_string(), case, instruction }
    }
}

/// The generator of case `number` of a campaign with `seed`: its own, so that any case can be run alone.
#[must_use]
pub fn rng_of(seed: u64, number: u64) -> Rng {
    Rng::new(Rng::new(seed).draw() ^ Rng::new(number).draw())
}

/// How a case came out.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The same on both.
    Same,
    /// An instruction that emu does not advertise, and which is #UD there. What a CPU that has it does is no matter.
    NotCompared,
    /// Not the same, or emu panicked: how.
    Different(String),
}

/// The host's CPU against emu.
pub struct Duel<'h> {
    host: &'h mut dyn Subject,
    emulated: Emulated,
    features: Features,
}

impl<'h> Duel<'h> {
    /// `host` against a new emulated machine.
    pub fn new(host: &'h mut dyn Subject) -> Self {
        let mut emulated = Emulated::new(true);
        let features = Features::of(&mut emulated);
        Self { host, emulated, features }
    }

    /// Runs a case on both.
    pub fn run(&mut self, planned: &Planned) -> Verdict {
        let case = &planned.case;
        // A bug may be a panic; then the machine is of no further use.
        let Ok(got) = catch_unwind(AssertUnwindSafe(|| self.emulated.run(case))) else {
            self.emulated = Emulated::new(true);
            return Verdict::Different(format!("{:02x?} \"{}\" panics", case.code, planned.instruction));
        };
        if self.is_foreign(planned, &got) {
            return Verdict::NotCompared;
        }
        let ignored = undefined::ignored(&planned.instruction);
        let mut expected = self.host.run(case);
        let mut lines = differences(&expected, &got, ignored);
        if has_state_components(&planned.instruction) && !lines.is_empty() {
            // A host that is interrupted between loading the state and the instruction may forget what is in use.
            expected = self.host.run(case);
            lines = differences(&expected, &got, ignored);
        }
        if lines.is_empty() {
            return Verdict::Same;
        }
        Verdict::Different(report(case, &planned.instruction.to_string(), &expected, &got, &lines))
    }

    fn is_foreign(&self, planned: &Planned, got: &Outcome) -> bool {
        let invalid = got.fault.vector == INVALID_OPCODE && got.cpu.rip == planned.case.cpu.rip;
        let unknown = invalid && !planned.instruction.is_invalid() && !self.features.contain(&planned.instruction);
        // Forms ask for the components that both CPUs have, random masks do not.
        planned.form.is_none() && (unknown || has_state_components(&planned.instruction))
    }

    /// What emu does not implement and was asked for by a form.
    pub fn take_unimplemented(&mut self) -> Vec<String> {
        self.emulated.take_unimplemented()
    }
}

/// Whether it is about the state components of XCR0, of which CPUs have different ones.
fn has_state_components(instruction: &Instruction) -> bool {
    use Mnemonic::{Xgetbv, Xrstor, Xrstor64, Xsave, Xsave64, Xsavec, Xsavec64, Xsaveopt, Xsaveopt64};
    let saves = matches!(instruction.mnemonic(), Xsave | Xsave64 | Xsavec | Xsavec64 | Xsaveopt | Xsaveopt64);
    saves || matches!(instruction.mnemonic(), Xgetbv | Xrstor | Xrstor64)
}

/// What happens in a campaign, told as it happens.
#[derive(Debug)]
pub enum Event {
    /// So many cases have run since the last of these, so many of them not compared.
    Ran(u64, u64),
    /// The form of this index has had its first case.
    Form(usize),
    /// The case of this number differs; its name.
    Differs(u64, String),
}

/// Runs the cases `numbers` of `plan`.
pub fn run(plan: &Plan, numbers: Range<u64>, duel: &mut Duel<'_>, tell: &mut dyn FnMut(Event)) {
    const AT_ONCE: u64 = 4096;
    let mut seen = vec![false; plan.forms.len()];
    let (mut ran, mut skipped) = (0, 0);
    for number in numbers {
        let planned = plan.case(number);
        match duel.run(&planned) {
            Verdict::Same => {}
            Verdict::NotCompared => skipped += 1,
            Verdict::Different(_) => tell(Event::Differs(number, planned.name)),
        }
        if let Some(index) = planned.form
            && !std::mem::replace(&mut seen[index], true)
        {
            tell(Event::Form(index));
        }
        ran += 1;
        if ran == AT_ONCE {
            tell(Event::Ran(ran, skipped));
            (ran, skipped) = (0, 0);
        }
    }
    tell(Event::Ran(ran, skipped));
}
