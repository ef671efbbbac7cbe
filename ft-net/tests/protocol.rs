//! Statements about the state machines, one at a time.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::time::Duration;

use emu::{Control, Output};
use ft_net::Time;
use ft_net::event::Event;
use ft_net::message::{Ack, Bye, Hello, Message, Role};
use ft_net::proto::arbitration::{Answer, Ask};
use ft_net::proto::backup::Backup;
use ft_net::proto::client::Client;
use ft_net::proto::output::Outputs;
use ft_net::proto::primary::Primary;
use ft_net::proto::{Config, ConnId, Transmit};

const PEER: ConnId = ConnId(1);
const RUN: u64 = 7;

fn ms(n: u64) -> Time {
    Time::from_ns(n * 1_000_000)
}

fn config() -> Config {
    Config { log_bytes_max: 1000, ..Config::new(RUN, 1) }
}

fn hello(instance: u64, role: Role) -> Message {
    Message::Hello(Hello { instance, replica: 2, generation: 1, role })
}

fn byte(offset: u64) -> Output {
    Output::Console { offset, byte: b'x' }
}

fn sent(mut poll: impl FnMut() -> Option<Transmit>) -> Vec<Transmit> {
    std::iter::from_fn(&mut poll).collect()
}

fn ack(received: u64, replayed: u64) -> Message {
    Message::Ack(Ack { received, replayed, retired: 0 })
}

/// A primary at 0 ms whose backup has the machine, nothing logged yet.
fn protected() -> Primary {
    let mut primary = Primary::new(config(), ms(0), 1, 0, Outputs::new(0));
    primary.handle_connect(ms(0), PEER);
    primary.handle_message(ms(0), PEER, hello(RUN, Role::Backup));
    primary.begin_state(vec![]);
    primary.end_state(vec![], Duration::ZERO);
    sent(|| primary.poll_transmit());
    primary
}

/// A backup at 0 ms that follows generation 1 from entry 0.
fn following() -> Backup {
    let mut primary = Primary::new(config(), ms(0), 1, 0, Outputs::new(0));
    let mut backup = Backup::new(Config::new(RUN, 2), ms(0));
    primary.handle_connect(ms(0), PEER);
    backup.handle_connect(ms(0), PEER);
    primary.handle_message(ms(0), PEER, hello(RUN, Role::Backup));
    primary.begin_state(vec![]);
    primary.end_state(vec![], Duration::ZERO);
    for transmit in sent(|| primary.poll_transmit()) {
        if let Transmit::Message(conn, message) = transmit {
            backup.handle_message(ms(0), conn, message);
        }
    }
    assert!(std::iter::from_fn(|| backup.poll_event()).any(|event| matches!(event, Event::Following { .. })));
    backup
}

#[test]
fn an_output_waits_for_the_acknowledgement_of_its_entry() {
    let mut primary = protected();
    primary.log(ms(1), 1, 3, vec![0; 10], 0);
    primary.output(1, 3, byte(0));
    assert_eq!(primary.poll_release(), None);
    primary.handle_message(ms(2), PEER, ack(2, 0));
    assert_eq!(primary.poll_release(), None);
    primary.handle_message(ms(3), PEER, ack(3, 0));
    assert_eq!(primary.poll_release(), Some((1, byte(0))));
}

#[test]
fn without_the_rule_it_does_not_wait() {
    let mut primary = Primary::new(Config { output_rule: false, ..config() }, ms(0), 1, 0, Outputs::new(0));
    primary.handle_connect(ms(0), PEER);
    primary.handle_message(ms(0), PEER, hello(RUN, Role::Backup));
    primary.end_state(vec![], Duration::ZERO);
    primary.log(ms(1), 1, 1, vec![], 0);
    primary.output(1, 1, byte(0));
    assert_eq!(primary.poll_release(), Some((1, byte(0))));
}

#[test]
fn a_primary_that_was_paused_asks_before_it_speaks() {
    for (answer, speaks) in [(Answer::Free, true), (Answer::Held { holder: "b".to_owned() }, false)] {
        let mut primary = protected();
        primary.log(ms(1), 1, 1, vec![], 0);
        primary.output(1, 1, byte(0));
        primary.handle_message(ms(2000), PEER, ack(1, 1));
        assert_eq!(primary.poll_release(), None, "acknowledged, but perhaps long ago");
        assert_eq!(primary.poll_ask(ms(2000)), Some(Ask::Exists(2)));
        primary.handle_answer(ms(2001), Ask::Exists(2), Answer::Unreachable { reason: String::new() });
        assert_eq!(primary.poll_release(), None);
        assert_eq!(primary.poll_ask(ms(2400)), Some(Ask::Exists(2)));
        primary.handle_answer(ms(2401), Ask::Exists(2), answer);
        assert_eq!(primary.poll_release().is_some(), speaks);
        assert_eq!(primary.over(), !speaks);
    }
}

#[test]
fn a_primary_without_its_backup_speaks_after_winning_the_next_generation_only() {
    let mut primary = protected();
    primary.log(ms(1), 1, 1, vec![], 0);
    primary.output(1, 1, byte(0));
    primary.handle_disconnect(ms(2), PEER, "gone");
    assert_eq!(primary.poll_ask(ms(2)), Some(Ask::Claim(2)));
    assert_eq!(primary.poll_ask(ms(3)), None, "one question at a time");
    assert_eq!(primary.poll_release(), None);
    primary.handle_answer(ms(4), Ask::Claim(2), Answer::Won);
    assert_eq!(primary.generation(), 2);
    assert_eq!(primary.poll_release(), Some((1, byte(0))));
}

#[test]
fn a_backup_lost_before_it_had_the_machine_changes_nothing() {
    let mut primary = Primary::new(config(), ms(0), 1, 0, Outputs::new(0));
    primary.handle_connect(ms(0), PEER);
    primary.handle_message(ms(0), PEER, hello(RUN, Role::Backup));
    primary.begin_state(vec![]);
    primary.send_pages(vec![]);
    primary.handle_disconnect(ms(1), PEER, "gone");
    assert_eq!(primary.poll_ask(ms(1)), None);
    primary.output(1, 1, byte(0));
    assert_eq!(primary.poll_release(), Some((1, byte(0))));
}

#[test]
fn the_machine_stops_while_the_window_is_full() {
    let mut primary = protected();
    primary.log(ms(1), 1, 1, vec![0; 600], 0);
    assert!(primary.may_run());
    primary.log(ms(1), 2, 2, vec![0; 600], 0);
    assert!(!primary.may_run());
    primary.handle_message(ms(2), PEER, ack(2, 0));
    assert!(!primary.may_run(), "received is not replayed");
    primary.handle_message(ms(3), PEER, ack(2, 1));
    assert!(primary.may_run());
}

#[test]
fn strangers_are_turned_away_and_nothing_else_happens() {
    let (mut primary, stranger) = (protected(), ConnId(2));
    let refused = |primary: &mut Primary, message| {
        primary.handle_connect(ms(1), stranger);
        primary.handle_message(ms(1), stranger, message);
        let sent = sent(|| primary.poll_transmit());
        assert_eq!(sent.last(), Some(&Transmit::Close(stranger)));
        sent.len() == 2
    };
    assert!(refused(&mut primary, hello(RUN + 1, Role::Backup)));
    assert!(refused(&mut primary, hello(RUN, Role::Primary)));
    assert!(refused(&mut primary, hello(RUN, Role::Backup)), "one backup at a time");
    assert!(!refused(&mut primary, ack(9, 9)), "closed without an answer");
    assert!(primary.protected());
    primary.handle_message(ms(2), PEER, ack(9, 9));
    assert!(!primary.protected(), "it acknowledged what was never sent");
}

#[test]
fn a_silent_primary_is_suspected_and_a_claim_is_never_taken_back() {
    let mut backup = following();
    for at in (0..1000).step_by(100) {
        backup.handle_tick(ms(at));
        assert_eq!(backup.poll_ask(ms(at)), None);
    }
    backup.handle_tick(ms(1000));
    assert_eq!(backup.poll_ask(ms(1000)), Some(Ask::Claim(2)));
    assert!(sent(|| backup.poll_transmit()).contains(&Transmit::Close(PEER)));
    let beat = Message::Heartbeat { generation: 1, last_entry: 0, released: 0, clock_ns: 0 };
    backup.handle_message(ms(1001), PEER, beat);
    assert!(backup.take_over(ms(1002)).is_none(), "not won yet");
    backup.handle_answer(ms(1003), Ask::Claim(2), Answer::Won);
    assert!(backup.won());
}

#[test]
fn a_backup_that_was_paused_itself_suspects_nobody() {
    let mut backup = following();
    backup.handle_tick(ms(5000));
    assert_eq!(backup.poll_ask(ms(5000)), None);
}

#[test]
fn a_power_off_is_not_a_failure() {
    let mut backup = following();
    backup.handle_message(ms(1), PEER, Message::Bye(Bye::PowerOff { outputs: 0 }));
    backup.handle_disconnect(ms(2), PEER, "closed");
    assert!(backup.over());
    assert_eq!(backup.poll_ask(ms(5000)), None);
}

#[test]
fn a_log_with_a_hole_is_not_followed() {
    let mut backup = following();
    let log = Message::Log { first: 2, last: 2, released: 0, clock_ns: 0, bytes: vec![] };
    backup.handle_message(ms(1), PEER, log);
    let events: Vec<Event> = std::iter::from_fn(|| backup.poll_event()).collect();
    assert!(matches!(events[..], [Event::BadPeer { .. }, Event::Suspected { .. }]), "{events:?}");
}

#[test]
fn a_button_that_was_pressed_while_nobody_served_is_told_once() {
    let mut client = Client::new(7, config().timeout, ms(0));
    client.control(Control::PowerButton);
    assert_eq!(client.poll_message(), None);
    client.handle_connect(ms(1));
    let mut primary = protected();
    let conn = ConnId(9);
    primary.handle_connect(ms(1), conn);
    while let Some(message) = client.poll_message() {
        primary.handle_message(ms(1), conn, message);
    }
    assert!(primary.has_wish());
    assert_eq!((primary.poll_control(), primary.poll_control()), (Some(Control::PowerButton), None));
    client.handle_disconnect();
    client.handle_connect(ms(2));
    assert!(!std::iter::from_fn(|| client.poll_message()).any(|m| matches!(m, Message::ClientControl(_))));
}

#[test]
fn a_terminal_tells_its_size_to_whoever_serves_next_too() {
    let told = |client: &mut Client| {
        let sizes = std::iter::from_fn(|| client.poll_message()).filter(|m| matches!(m, Message::ClientSize { .. }));
        sizes.collect::<Vec<_>>()
    };
    let mut client = Client::new(7, config().timeout, ms(0));
    client.resize(80, 24);
    client.resize(100, 30);
    assert_eq!(told(&mut client), []);
    let size = Message::ClientSize { columns: 100, rows: 30 };
    for round in 1..3 {
        client.handle_connect(ms(round));
        assert_eq!(told(&mut client), std::slice::from_ref(&size));
        assert_eq!(told(&mut client), []);
        client.handle_disconnect();
    }

    let mut primary = protected();
    let conn = ConnId(9);
    primary.handle_connect(ms(1), conn);
    for message in [Message::ClientHello { client: 7 }, Message::ClientSize { columns: 80, rows: 24 }, size] {
        primary.handle_message(ms(1), conn, message);
    }
    assert!(primary.has_wish());
    assert_eq!((primary.poll_size(), primary.poll_size()), (Some((100, 30)), None), "the last one holds");
    assert!(!primary.has_wish());
}
