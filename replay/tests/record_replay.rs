//! A recorded run and its replays are one run: same outputs, same digests, wherever the log is cut.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod guest;

use emu::{ClockMode, Control, Input, Machine, Output, Position, Power, Stop, Until};
use guest::{Recorded, World, machine, machine_with, next_random, record, talker};
use replay::log::{EntriesSegment, LogItem, LogReader, check};
use replay::{
    Event, Happened, OutputCheck, Recorder, ReplayStop, Replayer, Snapshot, Unfinished, machine_digest, snapshot,
};

const FAR: Until = Until::About(u64::MAX);

fn outputs(replayer: &mut Replayer) -> Vec<(u64, Output, u64)> {
    std::iter::from_fn(|| replayer.poll_output())
        .map(|emitted| (emitted.number, emitted.output, emitted.entry))
        .collect()
}

fn assert_same_end(machine: &mut Machine, recorded: &Recorded) {
    assert_eq!(machine.position(), recorded.at);
    assert_eq!(machine.power(), Some(recorded.power));
    assert_eq!(machine_digest(machine), recorded.digest);
}

/// Entries `from..to` (counted from 0) of the recorded run as one segment.
fn part(recorded: &Recorded, from: usize, to: usize) -> EntriesSegment {
    EntriesSegment { first: from as u64 + 1, entries: recorded.entries()[from..to].to_vec() }
}

#[test]
fn a_replay_is_the_recorded_run() {
    let elf = talker(40);
    for clock in [ClockMode::Host, ClockMode::Derived] {
        for seed in 1..30 {
            let recorded = record(&mut machine_with(clock, &elf), seed);
            assert_eq!(recorded.power, Power::Off { code: 7 });
            let mut replica = machine_with(clock, &elf);
            let mut replayer = Replayer::new(Position::default(), 1);
            for segment in &recorded.segments {
                replayer.push(segment.clone()).unwrap();
            }
            match replayer.step(&mut replica, FAR) {
                ReplayStop::Off(power) => assert_eq!(power, recorded.power),
                other => panic!("seed {seed}, {clock:?} clock: {other:?}"),
            }
            assert_eq!(outputs(&mut replayer), recorded.outputs);
            assert_same_end(&mut replica, &recorded);
        }
    }
}

#[test]
fn a_replay_in_slices_is_the_same_and_stops_where_it_is_told() {
    let elf = talker(60);
    let recorded = record(&mut machine(&elf), 77);
    let (mut replica, mut replayer) = (machine(&elf), Replayer::new(Position::default(), 1));
    replayer.push(part(&recorded, 0, recorded.entries().len())).unwrap();
    let mut seed = 5;
    loop {
        let limit = replica.position().retired + 1 + next_random(&mut seed) % 9;
        let exact = next_random(&mut seed).is_multiple_of(2);
        let until = if exact { Until::Exactly(Position::at(limit)) } else { Until::About(limit + 64) };
        match replayer.step(&mut replica, until) {
            ReplayStop::Limit if exact => assert_eq!(replica.position(), Position::at(limit)),
            ReplayStop::Limit => {}
            ReplayStop::Off(_) => break,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(outputs(&mut replayer), recorded.outputs);
    assert_same_end(&mut replica, &recorded);
}

#[test]
fn a_replica_fed_entry_by_entry_never_runs_past_the_log() {
    let elf = talker(20);
    let recorded = record(&mut machine(&elf), 3);
    let entries = recorded.entries();
    let (mut replica, mut replayer) = (machine(&elf), Replayer::new(Position::default(), 1));
    let mut emitted = 0;
    for (i, entry) in entries.iter().enumerate() {
        replayer.push(part(&recorded, i, i + 1)).unwrap();
        match replayer.step(&mut replica, FAR) {
            ReplayStop::NeedMore => {}
            ReplayStop::Off(_) => assert!(replica.power().is_some() && i + 2 >= entries.len()),
            other => panic!("entry {}: {other:?}", i + 1),
        }
        let bound = match entry.event {
            Event::Input(_) | Event::Digest(_) | Event::Watermark => entry.at,
            _ => Position::at(entry.at.retired + 1),
        };
        assert!(replica.position() <= bound, "{} after entry {}: {entry}", replica.position(), i + 1);
        emitted += outputs(&mut replayer).len();
        let known = entries[..=i].iter().filter(|e| matches!(e.event, Event::Output { .. })).count();
        assert_eq!(emitted, known, "after entry {}: {entry}", i + 1);
    }
    assert_same_end(&mut replica, &recorded);
}

#[test]
fn going_live_after_any_entry_continues_the_same_run() {
    let elf = talker(12);
    let recorded = record(&mut machine(&elf), 11);
    let count = recorded.entries().len();
    for held in 0..count {
        let (mut replica, mut replayer) = (machine(&elf), Replayer::new(Position::default(), 1));
        replayer.push(part(&recorded, 0, held)).unwrap_or_else(|_| assert_eq!(held, 0));
        if matches!(replayer.step(&mut replica, FAR), ReplayStop::Off(_)) {
            continue;
        }
        let mut before = outputs(&mut replayer);
        assert_eq!(before, recorded.outputs[..before.len()]);
        let mut recorder = replayer.go_live(&replica, World::new(500 + held as u64)).unwrap();
        let Stop::Off(power) = recorder.run(&mut replica, FAR) else { panic!("not off") };
        assert_eq!(power, Power::Off { code: 7 });
        let live = guest::drain(&mut recorder);
        before.extend_from_slice(&recorder.live.outputs);
        assert!(before.iter().map(|output| output.0).eq(1..=before.len() as u64));

        // What was recorded before and after is one log of one run.
        let (mut third, mut replayer) = (machine(&elf), Replayer::new(Position::default(), 1));
        replayer.push(part(&recorded, 0, held)).unwrap_or_else(|_| assert_eq!(held, 0));
        for segment in live {
            replayer.push(segment).unwrap();
        }
        assert!(matches!(replayer.step(&mut third, FAR), ReplayStop::Off(_)));
        assert_eq!(outputs(&mut replayer), before);
        assert_eq!(machine_digest(&mut third), machine_digest(&mut replica));
    }
}

#[test]
fn going_live_waits_for_the_replay() {
    let elf = talker(5);
    let recorded = record(&mut machine(&elf), 2);
    let mut replayer = Replayer::new(Position::default(), 1);
    replayer.push(part(&recorded, 0, 8)).unwrap();
    let error = replayer.go_live(&machine(&elf), World::new(1)).unwrap_err();
    assert_eq!(error, Unfinished(8));
}

#[test]
fn a_gap_in_the_log_is_refused() {
    let recorded = record(&mut machine(&talker(5)), 2);
    let mut replayer = Replayer::new(Position::default(), 1);
    replayer.push(part(&recorded, 0, 3)).unwrap();
    let error = replayer.push(part(&recorded, 4, 5)).unwrap_err();
    assert_eq!(error.to_string(), "entry 5 came when entry 4 was due");
    assert!(replayer.push(part(&recorded, 2, 5)).is_err());
    replayer.push(part(&recorded, 3, 5)).unwrap();
}

#[test]
fn a_machine_that_leaves_its_log_is_caught_at_the_entry() {
    let elf = talker(20);
    let recorded = record(&mut machine(&elf), 8);
    let entries = recorded.entries();
    let mut caught = [0; 4];
    for (i, entry) in entries.iter().enumerate() {
        let mut changed = entries.clone();
        let kind = match &mut changed[i].event {
            Event::Output { check: OutputCheck::Console(byte), .. } => {
                *byte ^= 1;
                0
            }
            Event::Output { check, .. } => {
                *check = OutputCheck::Power(Power::Dead);
                1
            }
            Event::Digest(digest) => {
                *digest ^= 1;
                2
            }
            event @ Event::Random(_) => {
                *event = Event::Clock(0);
                3
            }
            _ => continue,
        };
        let (mut replica, mut replayer) = (machine(&elf), Replayer::new(Position::default(), 1));
        replayer.push(EntriesSegment { first: 1, entries: changed }).unwrap();
        let ReplayStop::Diverged(report) = replayer.step(&mut replica, FAR) else {
            panic!("entry {} changed, not caught: {entry}", i + 1)
        };
        assert_eq!(report.entry, i as u64 + 1);
        assert_eq!(report.expected.as_ref().unwrap().at, entry.at);
        let text = report.to_string();
        assert!(text.contains(&format!("(entry {})", i + 1)) && text.contains("rip 00000000001000"), "{text}");
        caught[kind] += 1;
    }
    assert!(caught.iter().all(|&count| count > 0), "{caught:?}");
}

#[test]
fn an_answer_that_changes_what_the_guest_prints_is_caught_at_the_next_output() {
    let elf = talker(20);
    let mut entries = record(&mut machine(&elf), 8).entries();
    let random = entries.iter().position(|entry| matches!(entry.event, Event::Random(_))).unwrap();
    let Event::Random(bits) = &mut entries[random].event else { unreachable!() };
    *bits ^= 1;
    let (mut replica, mut replayer) = (machine(&elf), Replayer::new(Position::default(), 1));
    replayer.push(EntriesSegment { first: 1, entries }).unwrap();
    let ReplayStop::Diverged(report) = replayer.step(&mut replica, FAR) else { panic!("not caught") };
    assert!(matches!(report.happened, Happened::Output { .. } | Happened::Digest(_)), "{report}");
    assert!(report.entry > random as u64 + 1);
}

#[test]
fn an_answer_that_nobody_asks_for_and_a_question_without_answer_are_caught() {
    let elf = talker(20);
    let entries = record(&mut machine(&elf), 8).entries();
    let replayed = |entries: Vec<replay::Entry>| {
        let (mut replica, mut replayer) = (machine(&elf), Replayer::new(Position::default(), 1));
        replayer.push(EntriesSegment { first: 1, entries }).unwrap();
        match replayer.step(&mut replica, FAR) {
            ReplayStop::Diverged(report) => report,
            other => panic!("{other:?}"),
        }
    };
    let mut questions = 0;
    for (i, entry) in entries.iter().enumerate().skip(1) {
        let mut more = entries.clone();
        let before = entries[..i].iter().rev().find_map(|entry| match entry.event {
            Event::Clock(ns) => Some(ns),
            _ => None,
        });
        more.insert(i, replay::Entry { at: entries[i - 1].at, event: Event::Clock(before.unwrap_or(0)) });
        // The machine takes an answer too many for the next one, and is caught when it comes to the entry after.
        let report = replayed(more);
        assert!(report.entry > i as u64, "an answer before entry {}: {report}", i + 1);
        if matches!(entry.event, Event::Clock(_)) {
            let mut fewer = entries.clone();
            fewer.remove(i);
            let report = replayed(fewer);
            assert!(
                report.entry > i as u64 || matches!(report.happened, Happened::Query(_)),
                "without entry {}: {report}",
                i + 1
            );
            questions += 1;
        }
    }
    assert!(questions > 10);
}

#[test]
fn a_log_that_goes_on_after_the_machine_is_off_is_caught() {
    let elf = talker(2);
    let recorded = record(&mut machine(&elf), 8);
    let mut entries = recorded.entries();
    let at = Position::at(recorded.at.retired + 5);
    entries.push(replay::Entry { at, event: Event::Watermark });
    let (mut replica, mut replayer) = (machine(&elf), Replayer::new(Position::default(), 1));
    replayer.push(EntriesSegment { first: 1, entries }).unwrap();
    let ReplayStop::Diverged(report) = replayer.step(&mut replica, FAR) else { panic!("not caught") };
    assert_eq!(report.happened, Happened::Off(Power::Off { code: 7 }));
}

#[test]
fn power_off_goes_through_the_log() {
    let elf = talker(1000);
    let mut primary = machine(&elf);
    let mut recorder = Recorder::new(World::new(4), &primary, 1);
    recorder.run(&mut primary, Until::Exactly(Position::at(100)));
    recorder.deliver(&mut primary, Input::Control(Control::PowerOff));
    assert_eq!(recorder.run(&mut primary, FAR), Stop::Off(Power::Off { code: 0 }));
    let (mut replica, mut replayer) = (machine(&elf), Replayer::new(Position::default(), 1));
    for segment in guest::drain(&mut recorder) {
        replayer.push(segment).unwrap();
    }
    let stop = replayer.step(&mut replica, FAR);
    assert!(matches!(stop, ReplayStop::Off(Power::Off { code: 0 })), "{stop:?}");
    assert_eq!(outputs(&mut replayer), recorder.live.outputs);
    assert_eq!(machine_digest(&mut replica), machine_digest(&mut primary));
}

/// A log file of a run, recorded from a snapshot in its middle.
fn file_from_the_middle() -> (Vec<u8>, Machine, World) {
    let mut primary = machine(&talker(200));
    let mut recorder = Recorder::new(World::new(6), &primary, 1);
    recorder.run(&mut primary, Until::Exactly(Position::at(501)));
    guest::drain(&mut recorder);
    let first = recorder.next_entry();
    recorder.live.outputs.clear();
    let mut writer = snapshot::begin_log(Vec::new(), "talker", vec![], &primary, first).unwrap();
    for limit in (600..).step_by(100) {
        let stop = recorder.run(&mut primary, Until::About(limit));
        recorder.flush();
        while let Some(segment) = recorder.poll_segment() {
            writer.write_segment(&segment.encode().bytes).unwrap();
        }
        if matches!(stop, Stop::Off(_)) {
            break;
        }
    }
    let bytes = writer.finish(&recorder.totals(&primary)).unwrap();
    (bytes, primary, recorder.live)
}

/// Replays a log file; returns the machine, what it put out, and whether the log ended on purpose.
fn replay_file(bytes: &[u8]) -> (Machine, Vec<(u64, Output, u64)>, bool) {
    let mut reader = LogReader::open(bytes).unwrap();
    let snapshot = Snapshot::read(&mut reader).unwrap();
    let mut replica = snapshot.restore().unwrap();
    let mut replayer = Replayer::new(replica.position(), snapshot.next_entry);
    let ended = loop {
        match reader.next().unwrap().unwrap() {
            LogItem::Entries(segment) => replayer.push(segment).unwrap(),
            LogItem::End(_) => break true,
            LogItem::BrokenOff { .. } => break false,
            other => panic!("{other:?}"),
        }
        let stop = replayer.step(&mut replica, FAR);
        assert!(matches!(stop, ReplayStop::NeedMore | ReplayStop::Off(_)), "{stop:?}");
    };
    (replica, outputs(&mut replayer), ended)
}

#[test]
fn a_log_file_needs_nothing_but_itself() {
    let (bytes, mut primary, world) = file_from_the_middle();
    assert_eq!(check(&bytes[..]).unwrap().totals.unwrap().outputs, primary.outputs());
    let (mut replica, outputs, ended) = replay_file(&bytes);
    assert!(ended);
    assert_eq!(outputs, world.outputs);
    assert_eq!(machine_digest(&mut replica), machine_digest(&mut primary));
}

#[test]
fn a_cut_log_file_replays_as_far_as_it_goes() {
    let (bytes, _, world) = file_from_the_middle();
    let mut seen = Vec::new();
    for len in (0..bytes.len()).rev().step_by(61) {
        if check(&bytes[..len]).is_err() {
            break;
        }
        let (_, outputs, ended) = replay_file(&bytes[..len]);
        assert!(!ended);
        assert_eq!(outputs, world.outputs[..outputs.len()]);
        seen.push(outputs.len());
    }
    seen.dedup();
    assert!(seen.len() > 5 && seen.is_sorted_by(|a, b| a > b), "{seen:?}");
}

#[test]
fn a_snapshot_is_the_machine() {
    let mut original = machine(&talker(50));
    let mut recorder = Recorder::new(World::new(6), &original, 1);
    recorder.run(&mut original, Until::Exactly(Position::at(333)));
    let copy = Snapshot::capture(&original, recorder.next_entry());
    assert_eq!(machine_digest(&mut copy.restore().unwrap()), machine_digest(&mut original));

    let saved = snapshot::save(Vec::new(), "talker", vec![], &original).unwrap();
    let loaded = Snapshot::read(&mut LogReader::open(&saved[..]).unwrap()).unwrap();
    let mut restored = loaded.restore().unwrap();
    assert_eq!(machine_digest(&mut restored), machine_digest(&mut original));

    // And goes on as the original does.
    let seed = recorder.live.seed;
    let (mut one, mut two) =
        (Recorder::new(World::new(seed), &original, 1), Recorder::new(World::new(seed), &restored, 1));
    assert_eq!(one.run(&mut original, FAR), two.run(&mut restored, FAR));
    assert_eq!(one.live.outputs, two.live.outputs);
    assert_eq!(machine_digest(&mut restored), machine_digest(&mut original));
}

#[test]
fn pages_sent_ahead_and_again_give_the_last_copy() {
    let mut source = machine(&talker(5));
    source.write_page(3, &[7; 4096]);
    source.write_page(4, &[8; 4096]);
    let mut assembler = replay::Assembler::default();
    let mut take = |bytes: Vec<u8>| match replay::decode_segment(&bytes).unwrap().0 {
        replay::Segment::Pages(pages) => assembler.pages(pages),
        other => panic!("{other:?}"),
    };
    let all: Vec<u32> = source.used_pages().collect();
    take(snapshot::pages_segment(&source, 1, &all));
    source.write_page(3, &[0; 4096]);
    source.write_page(4, &[9; 4096]);
    take(snapshot::pages_segment(&source, 1, &[3, 4]));
    let replay::Segment::State(state) = replay::decode_segment(&snapshot::state_segment(&source, 1)).unwrap().0 else {
        panic!("not a state")
    };
    let mut copy = assembler.finish(state).unwrap().restore().unwrap();
    assert_eq!(machine_digest(&mut copy), machine_digest(&mut source));
    assert_eq!(copy.page(4), &[9; 4096]);
}
