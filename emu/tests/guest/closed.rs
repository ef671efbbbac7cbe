//! A door behind which nobody is.

use std::ops::ControlFlow;

use emu::{Door, Output, Position, Query};

/// Nobody answers.
pub(crate) struct Closed;

impl Door for Closed {
    fn query(&mut self, _at: Position, _query: Query) -> Option<u64> {
        None
    }
    fn output(&mut self, _at: Position, _number: u64, _output: Output) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }
    fn interrupt(&mut self, _at: Position, _vector: u8) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }
}
