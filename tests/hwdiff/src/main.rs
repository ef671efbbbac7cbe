//! The command line of the differential tester.

use clap::Parser;

/// Runs the same instructions on this host's CPU and in emu, and reports every difference.
#[derive(Parser)]
struct Options {
    /// How many cases; the forms take turns.
    #[arg(long, default_value_t = 1_000_000)]
    cases: u64,
    /// Only the forms of this family, or "raw": random bytes.
    #[arg(long)]
    family: Option<String>,
    /// Seed of all random choices.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Only this case (the same family and seed reproduce it).
    #[arg(long)]
    case: Option<u64>,
    /// Processes that share the cases [default: one for each core].
    #[arg(long)]
    jobs: Option<u64>,
    /// The cases FIRST..END as a worker: events on standard output.
    #[arg(long, hide = true, value_name = "FIRST..END")]
    slice: Option<String>,
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
    use std::io::{Error, Write};
    use std::process::ExitCode;

    use hwdiff::campaign::{self, Duel, Plan, Verdict};
    use hwdiff::native::Native;
    use hwdiff::workers::{self, Findings};
    use hwdiff::{forms, raw, silicon, vectors};

    use super::Options;

    /// Vectors written for each form.
    const LINES: u64 = 9;
    /// Likewise of AVX, whose lines are long and whose functions are those of SSE.
    const LINES_AVX: u64 = 2;
    /// Likewise of what makes an access for each element, and can fault in the middle.
    const LINES_MASKED: u64 = 6;
    /// Differences that are printed in full; all are counted.
    const REPORTS_MAX: usize = 20;

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
        let plan = Plan::new(options.family.as_deref(), options.seed);
        if plan.is_empty() {
            let names: Vec<_> = forms::FAMILIES.iter().map(|(name, _)| *name).chain([raw::FAMILY]).collect();
            return Err(Error::other(format!("no such family; there are {}", names.join(", "))));
        }
        if let Some(slice) = &options.slice {
            work(&plan, slice).map(|()| true)
        } else if options.silicon {
            let each = options.cases / plan.forms().len().max(1) as u64 + 1;
            print!("{}", silicon::report(&mut Native::new()?, plan.forms(), each, options.seed));
            Ok(true)
        } else if let Some(directory) = &options.emit_vectors {
            emit(options, directory).map(|()| true)
        } else if let Some(number) = options.case {
            alone(&plan, number)
        } else {
            compare(&plan, options)
        }
    }

    /// One of the processes of [`compare`].
    fn work(plan: &Plan, slice: &str) -> std::io::Result<()> {
        let numbers = slice.split_once("..").and_then(|(first, end)| Some(first.parse().ok()?..end.parse().ok()?));
        let numbers = numbers.ok_or_else(|| Error::other("a slice is FIRST..END"))?;
        let mut native = Native::new()?;
        let mut duel = Duel::new(&mut native);
        let mut out = std::io::stdout().lock();
        let mut told = Ok(());
        campaign::run(plan, numbers, &mut duel, &mut |event| {
            if told.is_ok() {
                told = writeln!(out, "{}", workers::line(&event));
            }
        });
        told
    }

    fn emit(options: &Options, directory: &std::path::Path) -> std::io::Result<()> {
        let mut native = Native::new()?;
        for family in vectors::families().filter(|name| options.family.as_deref().is_none_or(|f| f == *name)) {
            let lines = match family {
                "avx-mask" => LINES_MASKED,
                _ if family.starts_with("avx") => LINES_AVX,
                _ => LINES,
            };
            let text = vectors::emit(family, lines, options.seed, &mut native);
            std::fs::write(directory.join(family).with_extension("txt"), text)?;
        }
        Ok(())
    }

    /// One case; prints what is different.
    fn alone(plan: &Plan, number: u64) -> std::io::Result<bool> {
        let mut native = Native::new()?;
        match Duel::new(&mut native).run(&plan.case(number)) {
            Verdict::Same => println!("no difference"),
            Verdict::NotCompared => println!("not compared: not a feature of the emulated CPU"),
            Verdict::Different(text) => {
                println!("{text}");
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn compare(plan: &Plan, options: &Options) -> std::io::Result<bool> {
        let cores = std::thread::available_parallelism().map_or(1, |n| n.get() as u64);
        let mut arguments = vec![format!("--seed={}", options.seed)];
        arguments.extend(options.family.iter().map(|family| format!("--family={family}")));
        let findings = workers::run(options.cases, options.jobs.unwrap_or(cores), &arguments)?;
        explain(plan, options.seed, &findings)?;
        for (name, (count, _)) in &findings.differing {
            println!("{count:8} of {name}");
        }
        if findings.skipped > 0 {
            println!(
                "not compared: {} raw encodings of features that the emulated CPU does not have",
                findings.skipped
            );
        }
        let (tested, forms, mismatches) = (findings.forms.len(), plan.forms().len(), findings.mismatches());
        println!("forms {tested} of {forms}, cases {}, mismatches {mismatches}", findings.cases);
        Ok(mismatches == 0 && tested == forms)
    }

    /// The first difference of each form, in full.
    fn explain(plan: &Plan, seed: u64, findings: &Findings) -> std::io::Result<()> {
        let mut firsts: Vec<_> = findings.differing.iter().map(|(name, (_, number))| (*number, name)).collect();
        firsts.sort_unstable();
        let mut native = Native::new()?;
        let mut duel = Duel::new(&mut native);
        for (number, name) in firsts.into_iter().take(REPORTS_MAX) {
            if let Verdict::Different(text) = duel.run(&plan.case(number)) {
                println!("{name}, --seed {seed} --case {number}\n{text}");
            }
        }
        Ok(())
    }
}
