//! Exit codes of `ftemu` (README, "Exit codes"). A guest that switches itself off has its own.

use emu::Power;

/// An error, told in one line on stderr.
pub(crate) const ERROR: u8 = 1;
/// A command line that makes no sense.
pub(crate) const USAGE: u8 = 2;
/// `ftemu demo --unsafe-no-output-rule`: the record was contradicted, as it should be without the Output Rule.
pub(crate) const CONTRADICTED: u8 = 3;
/// The guest died of a triple fault.
pub(crate) const TRIPLE_FAULT: u8 = 120;
/// The guest halted with interrupts off.
pub(crate) const DEAD: u8 = 121;
/// The guest asked for a reset.
pub(crate) const RESET: u8 = 119;
/// A replayed machine left its log.
pub(crate) const DIVERGED: u8 = 122;
/// A replica lost the right to speak.
pub(crate) const HALTED: u8 = 123;
/// The operator stopped it: 128 + SIGINT, as shells count.
pub(crate) const STOPPED: u8 = 130;
/// Whoever read the output has gone: 128 + SIGPIPE.
pub(crate) const CLOSED_OUTPUT: u8 = 141;

/// The exit code for the way a guest ended.
pub(crate) fn of_power(power: Power) -> u8 {
    match power {
        Power::Off { code } => code,
        Power::TripleFault => TRIPLE_FAULT,
        Power::Dead => DEAD,
        Power::Reset => RESET,
    }
}
