//! Outputs between production and release (VM-FT 2.2, Output Rule).

use std::collections::VecDeque;

use emu::{Output, Power};

/// Outputs of one machine in order: produced, handed to the sink, out.
#[derive(Debug, Default)]
pub struct Outputs {
    /// The last output that is known to have reached the outside.
    released: u64,
    /// Handed to the sink, not confirmed: `released + 1 ..`.
    handed: VecDeque<Output>,
    /// Not handed to the sink yet, with the log entry each depends on.
    waiting: VecDeque<(u64, Output)>,
    /// How the machine ended, once that is known outside.
    ended: Option<Power>,
}

impl Outputs {
    /// Nothing pending; output `released` was the last one out.
    #[must_use]
    pub fn new(released: u64) -> Self {
        Self { released, ..Self::default() }
    }

    /// The machine produced output `number`, whose log entry is `entry`. Output numbers have no gaps.
    pub fn push(&mut self, number: u64, entry: u64, output: Output) {
        assert_eq!(number, self.produced() + 1, "outputs are numbered without gaps");
        self.waiting.push_back((entry, output));
    }

    /// The next output that may leave, if its entry is at most `entry_max`: (number, output).
    pub fn poll(&mut self, entry_max: u64) -> Option<(u64, Output)> {
        let (_, output) = self.waiting.pop_front_if(|(entry, _)| *entry <= entry_max)?;
        self.handed.push_back(output.clone());
        Some((self.released + self.handed.len() as u64, output))
    }

    /// The sink says that every output up to `number` is out. Returns those that were not known to be, for a mirror.
    pub fn confirm(&mut self, number: u64) -> Vec<Output> {
        let count = usize::try_from(number.saturating_sub(self.released)).unwrap_or(usize::MAX);
        let handed = count.min(self.handed.len());
        let waiting = (count - handed).min(self.waiting.len());
        let out: Vec<Output> =
            self.handed.drain(..handed).chain(self.waiting.drain(..waiting).map(|(_, output)| output)).collect();
        self.released += out.len() as u64;
        if let Some(Output::Power(power)) = out.last() {
            self.ended = Some(*power);
        }
        out
    }

    /// The last output known to be out.
    #[must_use]
    pub fn released(&self) -> u64 {
        self.released
    }

    /// The last output produced.
    #[must_use]
    pub fn produced(&self) -> u64 {
        self.released + self.pending() as u64
    }

    /// How many outputs are produced but not known to be out.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.handed.len() + self.waiting.len()
    }

    /// Those outputs, in order.
    pub fn unreleased(&self) -> impl Iterator<Item = Output> + '_ {
        self.handed.iter().chain(self.waiting.iter().map(|(_, output)| output)).cloned()
    }

    /// How the machine ended, once its last output is out.
    #[must_use]
    pub fn ended(&self) -> Option<Power> {
        self.ended
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn byte(offset: u64) -> Output {
        Output::Console { offset, byte: b'x' }
    }

    #[test]
    fn an_output_waits_for_its_own_entry() {
        let mut outputs = Outputs::new(10);
        outputs.push(11, 5, byte(0));
        outputs.push(12, 9, byte(1));
        assert_eq!(outputs.poll(4), None);
        assert_eq!(outputs.poll(8), Some((11, byte(0))));
        assert_eq!(outputs.poll(8), None);
        assert_eq!((outputs.released(), outputs.produced()), (10, 12));
    }

    #[test]
    fn confirmation_counts_and_never_runs_ahead_of_production() {
        let mut outputs = Outputs::new(0);
        outputs.push(1, 1, byte(0));
        outputs.push(2, 2, Output::Power(Power::Dead));
        assert!(outputs.poll(1).is_some());
        assert_eq!(outputs.confirm(1), [byte(0)]);
        assert_eq!(outputs.ended(), None);
        assert_eq!(outputs.confirm(u64::MAX).len(), 1);
        assert_eq!(outputs.ended(), Some(Power::Dead));
        assert_eq!(outputs.released(), 2);
    }
}
