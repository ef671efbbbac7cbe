//! An encoded state with some of its bytes changed: refused with a word, or a machine that runs. Never a panic.

#![allow(clippy::unwrap_used, reason = "a test panics when it fails")]

mod guest;

use std::ops::ControlFlow;

use emu::{ClockMode, Door, Machine, MachineState, Output, Position, Query, Until};
use guest::{machine_with, next_random, ticker};
use replay::codec;

/// Always the same answer, and nobody listens.
struct Deaf;

impl Door for Deaf {
    fn query(&mut self, _at: Position, _query: Query) -> Option<u64> {
        Some(77)
    }
    fn output(&mut self, _at: Position, _number: u64, _output: Output) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }
    fn interrupt(&mut self, _at: Position, _vector: u8) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }
}

#[test]
fn a_state_with_changed_bytes_is_refused_or_runs() {
    let mut seed = 0x9e37_79b9_7f4a_7c15;
    let (mut refused, mut ran) = (0, 0);
    for clock in [ClockMode::Host, ClockMode::Derived] {
        let mut machine = machine_with(clock, &ticker(100, false));
        machine.run(Until::About(20_000), &mut Deaf);
        let encoded = codec::encode(&machine.state());
        for _ in 0..4000 {
            let mut bytes = encoded.clone();
            for _ in 0..=next_random(&mut seed) % 3 {
                let at = usize::try_from(next_random(&mut seed)).unwrap() % bytes.len();
                bytes[at] = [0, 0xff, 0x80, bytes[at] ^ 1 << (next_random(&mut seed) % 8)]
                    [usize::try_from(next_random(&mut seed) % 4).unwrap()];
            }
            let Ok(state) = codec::decode::<MachineState>(&bytes) else { continue };
            let Ok(mut other) = Machine::restore(*machine.config(), &state) else {
                refused += 1;
                continue;
            };
            for pfn in machine.used_pages() {
                other.write_page(pfn, machine.page(pfn));
            }
            let _ = (other.clock_ns(), other.next_deadline_ns());
            other.run(Until::About(state.position.retired + 2000), &mut Deaf);
            ran += 1;
        }
    }
    assert!(refused > 200 && ran > 200, "{refused} refused, {ran} ran");
}
