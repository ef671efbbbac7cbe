//! Interrupts on replay: taken where they were, and checked.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod guest;

use emu::{ClockMode, Control, Input, Position, Power, Stop, Until};
use guest::{Recorded, World, machine_with, record_in, ticker};
use replay::log::EntriesSegment;
use replay::{Event, Happened, Recorder, ReplayStop, Replayer, machine_digest};

const FAR: Until = Until::About(u64::MAX);

/// The clock, and whether the guest sleeps between interrupts.
const VARIANTS: [(ClockMode, bool); 4] =
    [(ClockMode::Host, true), (ClockMode::Host, false), (ClockMode::Derived, true), (ClockMode::Derived, false)];

fn recorded(clock: ClockMode, asleep: bool, seed: u64) -> (Vec<u8>, Recorded) {
    let elf = if asleep { ticker(25, true) } else { ticker(4000, false) };
    let world = World { step_ns: 60_000, ..World::new(seed) };
    let recorded = record_in(&mut machine_with(clock, &elf), world);
    assert_eq!(recorded.power, Power::Off { code: 3 });
    (elf, recorded)
}

fn interrupts(recorded: &Recorded) -> usize {
    recorded.entries().iter().filter(|entry| matches!(entry.event, Event::Interrupt { .. })).count()
}

#[test]
fn a_replay_takes_interrupts_where_they_were() {
    for seed in 1..20 {
        for (clock, asleep) in VARIANTS {
            let (elf, recorded) = recorded(clock, asleep, seed);
            assert!(interrupts(&recorded) >= 5, "{} interrupts", interrupts(&recorded));
            let (mut replica, mut replayer) = (machine_with(clock, &elf), Replayer::new(Position::default(), 1));
            for segment in recorded.segments.clone() {
                replayer.push(segment).unwrap();
            }
            let stop = replayer.step(&mut replica, FAR);
            assert!(matches!(stop, ReplayStop::Off(_)), "seed {seed}: {stop:?}");
            let outputs: Vec<_> = std::iter::from_fn(|| replayer.poll_output()).collect();
            assert!(outputs.iter().map(|e| (e.number, e.output.clone(), e.entry)).eq(recorded.outputs.iter().cloned()));
            assert_eq!(machine_digest(&mut replica), recorded.digest);
        }
    }
}

#[test]
fn going_live_after_any_entry_takes_each_interrupt_once() {
    for (clock, asleep) in VARIANTS {
        let (elf, recorded) = recorded(clock, asleep, 5);
        let entries = recorded.entries();
        let last_is_interrupt = |held: usize| matches!(entries[held - 1].event, Event::Interrupt { .. });
        assert!((1..entries.len()).any(last_is_interrupt));
        for held in 1..entries.len() {
            let first = EntriesSegment { first: 1, entries: entries[..held].to_vec() };
            let (mut replica, mut replayer) = (machine_with(clock, &elf), Replayer::new(Position::default(), 1));
            replayer.push(first.clone()).unwrap();
            if matches!(replayer.step(&mut replica, FAR), ReplayStop::Off(_)) {
                continue;
            }
            assert_eq!(replayer.held(), 0, "after entry {held}");
            if last_is_interrupt(held) {
                let Position { retired, steps } = entries[held - 1].at;
                assert_eq!(replica.position(), Position { retired, steps: steps + 1 })
            }
            let mut before: Vec<_> =
                std::iter::from_fn(|| replayer.poll_output()).map(|e| (e.number, e.output, e.entry)).collect();
            let world = World { ns: replica.clock_ns(), step_ns: 60_000, ..World::new(held as u64) };
            let mut recorder = replayer.go_live(&replica, world).unwrap();
            loop {
                let until = Until::About(replica.position().retired + 200);
                match recorder.run(&mut replica, until) {
                    Stop::Off(_) => break,
                    _ => guest::sleep(&mut replica, &mut recorder),
                }
            }
            let live = guest::drain(&mut recorder);
            before.extend_from_slice(&recorder.live.outputs);
            assert!(before.iter().map(|output| output.0).eq(1..=before.len() as u64));

            let (mut third, mut replayer) = (machine_with(clock, &elf), Replayer::new(Position::default(), 1));
            replayer.push(first).unwrap();
            live.into_iter().for_each(|segment| replayer.push(segment).unwrap());
            let stop = replayer.step(&mut third, FAR);
            assert!(matches!(stop, ReplayStop::Off(_)), "after entry {held}: {stop:?}");
            assert_eq!(machine_digest(&mut third), machine_digest(&mut replica));
        }
    }
}

#[test]
fn an_interrupt_of_another_vector_or_place_is_caught() {
    let clock = ClockMode::Host;
    let (elf, recorded) = recorded(clock, false, 5);
    let entries = recorded.entries();
    let at = entries.iter().position(|entry| matches!(entry.event, Event::Interrupt { .. })).unwrap();
    let caught = |entries: Vec<replay::Entry>| {
        let (mut replica, mut replayer) = (machine_with(clock, &elf), Replayer::new(Position::default(), 1));
        replayer.push(EntriesSegment { first: 1, entries }).unwrap();
        match replayer.step(&mut replica, FAR) {
            ReplayStop::Diverged(report) => *report,
            other => panic!("not caught: {other:?}"),
        }
    };
    let mut other_vector = entries.clone();
    other_vector[at].event = Event::Interrupt { vector: 0x21 };
    let report = caught(other_vector);
    assert_eq!((report.entry, report.at), (at as u64 + 1, entries[at].at));
    assert_eq!(report.happened, Happened::Interrupt { vector: 0x20 });

    let mut missing = entries.clone();
    missing.remove(at);
    let report = caught(missing);
    assert_eq!((report.entry, report.at), (at as u64 + 1, entries[at].at));
    assert_eq!(report.happened, Happened::Interrupt { vector: 0x20 });
}

#[test]
fn a_sleeper_with_the_derived_clock_is_told_the_time_before_it_is_woken() {
    for (clock, expected) in [(ClockMode::Host, 1), (ClockMode::Derived, 2)] {
        let mut machine = machine_with(clock, &ticker(25, true));
        let mut recorder = Recorder::new(World { step_ns: 60_000, ..World::new(3) }, &machine, 1);
        while recorder.run(&mut machine, FAR) != Stop::Halted {}
        let before = recorder.next_entry();
        recorder.deliver(&mut machine, Input::Control(Control::PowerButton));
        assert_eq!(recorder.next_entry() - before, expected, "{clock:?}");
        let events: Vec<_> = guest::drain(&mut recorder).into_iter().flat_map(|segment| segment.entries).collect();
        let [.., told, _] = &events[..] else { panic!("{events:?}") };
        assert_eq!(matches!(told.event, Event::Input(Input::Clock { .. })), clock == ClockMode::Derived);
        assert!(machine.is_halted(), "a button that nobody has asked for wakes nobody");
    }
}
