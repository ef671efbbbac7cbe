//! A campaign on all cores. Signal handlers and the two regions exist once in a process, so each worker is one: this program
//! again, with the cases it has to run. It tells what happens in lines on its standard output.
//!
//! Which worker runs a case makes no difference: what a campaign finds follows from its seed and number of cases.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, BufRead, BufReader, Write};
use std::ops::Range;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use crate::campaign::Event;

/// How often progress is told.
const PROGRESS: Duration = Duration::from_secs(10);

/// What a campaign found.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// Cases run.
    pub cases: u64,
    /// Raw encodings among them that were not compared.
    pub skipped: u64,
    /// Forms with at least one case.
    pub forms: BTreeSet<usize>,
    /// For everything that has differing cases: how many, and the number of the first.
    pub differing: BTreeMap<String, (u64, u64)>,
}

impl Findings {
    /// Cases that differ.
    #[must_use]
    pub fn mismatches(&self) -> u64 {
        self.differing.values().map(|(count, _)| count).sum()
    }

    /// Takes note of an event.
    pub fn note(&mut self, event: Event) {
        match event {
            Event::Ran(cases, skipped) => {
                self.cases += cases;
                self.skipped += skipped;
            }
            Event::Form(index) => {
                self.forms.insert(index);
            }
            Event::Differs(number, name) => {
                let (count, first) = self.differing.entry(name).or_insert((0, number));
                *count += 1;
                *first = number.min(*first);
            }
        }
    }
}

/// An event as a line.
#[must_use]
pub fn line(event: &Event) -> String {
    match event {
        Event::Ran(cases, skipped) => format!("ran {cases} {skipped}"),
        Event::Form(index) => format!("form {index}"),
        Event::Differs(number, name) => format!("differs {number} {name}"),
    }
}

fn parse(line: &str) -> Option<Event> {
    let (kind, rest) = line.split_once(' ')?;
    match kind {
        "ran" => {
            let (cases, skipped) = rest.split_once(' ')?;
            Some(Event::Ran(cases.parse().ok()?, skipped.parse().ok()?))
        }
        "form" => Some(Event::Form(rest.parse().ok()?)),
        "differs" => {
            let (number, name) = rest.split_once(' ')?;
            Some(Event::Differs(number.parse().ok()?, name.to_owned()))
        }
        _ => None,
    }
}

/// Runs `cases` cases in `jobs` processes: this program with `arguments` and `--slice FIRST..END`.
///
/// # Errors
/// What the operating system says; or a worker that did not come to its end, with the cases among which it died.
pub fn run(cases: u64, jobs: u64, arguments: &[String]) -> io::Result<Findings> {
    let jobs = jobs.clamp(1, cases.max(1));
    let slices = (0..jobs).map(|n| cases * n / jobs..cases * (n + 1) / jobs);
    let (sender, receiver) = channel();
    let mut children = Vec::new();
    for slice in slices {
        let (child, output) = spawn(&slice, arguments)?;
        let sender = sender.clone();
        let reader = std::thread::spawn(move || read(output, &sender));
        children.push((slice, child, reader));
    }
    drop(sender);
    let findings = collect(cases, &receiver);
    for (slice, mut child, reader) in children {
        let ran = reader.join().unwrap_or(0);
        let status = child.wait()?;
        if !status.success() {
            let from = slice.start + ran;
            return Err(io::Error::other(format!(
                "the worker of cases {slice:?} ended with {status} after case {from}"
            )));
        }
    }
    Ok(findings)
}

fn spawn(slice: &Range<u64>, arguments: &[String]) -> io::Result<(Child, ChildStdout)> {
    let mut child = Command::new(std::env::current_exe()?)
        .args(arguments)
        .arg(format!("--slice={}..{}", slice.start, slice.end))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()?;
    let output = child.stdout.take().ok_or_else(|| io::Error::other("no pipe"))?;
    Ok((child, output))
}

/// Passes events on; returns how many cases the worker has told of.
fn read(output: ChildStdout, sender: &std::sync::mpsc::Sender<Event>) -> u64 {
    let mut ran = 0;
    for event in BufReader::new(output).lines().map_while(Result::ok).filter_map(|line| parse(&line)) {
        if let Event::Ran(cases, _) = event {
            ran += cases;
        }
        if sender.send(event).is_err() {
            break;
        }
    }
    ran
}

fn collect(cases: u64, events: &Receiver<Event>) -> Findings {
    let mut findings = Findings::default();
    let start = Instant::now();
    let mut told = start;
    loop {
        match events.recv_timeout(PROGRESS) {
            Ok(event) => findings.note(event),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return findings,
        }
        if told.elapsed() >= PROGRESS {
            told = Instant::now();
            let (done, wrong, s) = (findings.cases, findings.mismatches(), start.elapsed().as_secs());
            let _ = writeln!(io::stderr(), "hwdiff: {done} of {cases} cases in {s} s, mismatches {wrong}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_survive_the_pipe() {
        for event in [Event::Ran(4096, 7), Event::Form(3), Event::Differs(12, "Lock Add_rm8_r8 (memory)".into())] {
            assert_eq!(parse(&line(&event)).map(|e| format!("{e:?}")), Some(format!("{event:?}")));
        }
        assert!(parse("differs x y").is_none());
    }

    #[test]
    fn findings_do_not_depend_on_the_order_of_workers() {
        let differs = |number| Event::Differs(number, "Add".into());
        let (mut one, mut two) = (Findings::default(), Findings::default());
        [1, 5, 9].into_iter().for_each(|n| one.note(differs(n)));
        [9, 1, 5].into_iter().for_each(|n| two.note(differs(n)));
        assert_eq!(one, two);
        assert_eq!((one.mismatches(), one.differing["Add"]), (3, (3, 1)));
    }
}
