//! The command line of the differential tester.

use clap::Parser;

/// Runs the same instructions on this host's CPU and in emu, and reports every difference.
#[derive(Parser)]
struct Options {
    /// How many cases; the forms take turns.
    #[arg(long, default_value_t = 1_000_000)]
    cases: u64,
    /// Only the forms of this family.
    #[arg(long)]
    family: Option<String>,
    /// Seed of all random choices.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Only this case (the same family and seed reproduce it).
    #[arg(long)]
    case: Option<u64>,
    /// Write test vectors made by this CPU into this directory, one file for each family.
    #[arg(long, value_name = "DIR")]
    emit_vectors: Option<std::path::PathBuf>,
    /// Report what this CPU does with the flags that the manual leaves undefined.
    #[arg(long)]
    silicon: bool,
}

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
fn main() -> std::process::ExitCode {
    host::main(&Options::parse())
}

#[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
fn main() -> std::process::ExitCode {
    let _ = Options::parse();
    eprintln!("hwdiff: SKIPPED: compares with the host's CPU, and this is not x86-64 Linux; see emu/tests/vectors.rs");
    std::process::ExitCode::from(2)
}

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod host {
    use std::process::ExitCode;

    use hwdiff::emulated::Emulated;
    use hwdiff::native::Native;
    use hwdiff::{campaign, forms, silicon, vectors};

    use super::Options;

    /// Vectors written for each form.
    const LINES: u64 = 9;

    pub(super) fn main(options: &Options) -> ExitCode {
        match run(options) {
            Ok(true) => ExitCode::SUCCESS,
            Ok(false) => ExitCode::FAILURE,
            Err(error) => {
                eprintln!("hwdiff: {error}");
                ExitCode::FAILURE
            }
        }
    }

    fn run(options: &Options) -> std::io::Result<bool> {
        let forms = forms::forms(options.family.as_deref());
        if forms.is_empty() {
            let names: Vec<_> = forms::FAMILIES.iter().map(|(name, _)| *name).collect();
            return Err(std::io::Error::other(format!("no such family; there are {}", names.join(", "))));
        }
        let mut native = Native::new()?;
        if options.silicon {
            print!(
                "{}",
                silicon::report(&mut native, &forms, options.cases.div_ceil(forms.len() as u64), options.seed)
            );
            return Ok(true);
        }
        if let Some(directory) = &options.emit_vectors {
            for family in vectors::families().filter(|name| options.family.as_deref().is_none_or(|f| f == *name)) {
                let text = vectors::emit(family, LINES, options.seed, &mut native);
                std::fs::write(directory.join(family).with_extension("txt"), text)?;
            }
            return Ok(true);
        }
        let mut emulated = Emulated::new(true);
        let numbers = options.case.map_or(0..options.cases, |n| n..n + 1);
        let findings = campaign::run(&forms, numbers, options.seed, &mut native, &mut emulated);
        for report in &findings.reports {
            println!("{report}");
        }
        for (form, count) in &findings.mismatches {
            println!("{count:8} of {form}");
        }
        for name in emulated.take_unimplemented() {
            println!("not implemented in emu: {name}");
        }
        let mismatches = findings.mismatch_count();
        println!("forms {} of {}, cases {}, mismatches {mismatches}", findings.tested, forms.len(), findings.cases);
        Ok(mismatches == 0 && (findings.tested == forms.len() || options.case.is_some()))
    }
}
