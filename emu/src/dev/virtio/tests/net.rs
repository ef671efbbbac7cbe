//! The network card.

use super::rig::{Driver, Rig, WRITE};
use super::*;
use crate::event::FRAME_BYTES_MAX;

const MAC: [u8; 6] = [0x52, 0x54, 0, 0x12, 0x34, 0x56];
const CHECKSUM: u64 = 1 << 0;
const MERGEABLE: u64 = 1 << 15;
const EVENT_IDX: u64 = 1 << 29;
const HEADER: usize = 12;

fn rig() -> Rig {
    Rig::new(Model::Net(Net::new(MAC)))
}

fn net(rig: &mut Rig) -> &mut Net {
    match rig.function.model_mut() {
        Model::Net(net) => net,
        other => panic!("{other:?}"),
    }
}

/// Bytes 0, 1, 2 ...
fn frame(length: usize) -> Vec<u8> {
    (0..length).map(|n| n as u8).collect()
}

#[test]
fn a_driver_reads_the_address_and_the_carrier() {
    let mut rig = rig();
    assert_eq!(rig.function.config_read(0, 4), 0x1041_1af4);
    assert_eq!((rig.read(0x2000, 4), rig.read(0x2004, 2)), (0x1200_5452, 0x5634));
    assert_eq!(rig.read(0x2006, 2), 1);
}

#[test]
fn a_frame_goes_into_one_buffer_behind_its_header() {
    let mut rig = rig();
    let mut driver = Driver::start(&mut rig, 0);
    net(&mut rig).receive(&frame(60));
    rig.work();
    assert_eq!((net(&mut rig).backlog(), rig.function.is_due()), (1, false), "no buffer: it waits, and nobody is busy");
    driver.add(&mut rig, 0, &[(0x8000, 2000, WRITE)]);
    driver.ring(&mut rig, 0);
    rig.work();
    assert_eq!(driver.used(&rig, 0), [(0, 72)]);
    assert_eq!(rig.ram[0x8000..0x8000 + HEADER], [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0]);
    assert_eq!(rig.ram[0x8000 + HEADER..0x8000 + HEADER + 60], frame(60));
    // A buffer that is too short, where none can be put together.
    driver.add(&mut rig, 0, &[(0x9000, 71, WRITE)]);
    driver.ring(&mut rig, 0);
    net(&mut rig).receive(&frame(60));
    rig.work();
    assert_eq!((net(&mut rig).backlog(), driver.used(&rig, 0).len()), (0, 1), "lost, and the buffer stays");
}

#[test]
fn a_frame_goes_into_several_buffers_or_waits_for_them() {
    for features in [MERGEABLE, MERGEABLE | EVENT_IDX] {
        let mut rig = rig();
        let mut driver = Driver::start(&mut rig, features);
        driver.add(&mut rig, 0, &[(0x8000, 100, WRITE)]);
        driver.add(&mut rig, 0, &[(0x9000, 100, WRITE)]);
        driver.ring(&mut rig, 0);
        net(&mut rig).receive(&frame(250));
        rig.work();
        assert_eq!((driver.used(&rig, 0).len(), net(&mut rig).backlog()), (0, 1));
        if features & EVENT_IDX != 0 {
            assert_eq!(driver.available_event(&rig, 0), 2, "the doorbell is to ring for the third buffer");
        }
        driver.add(&mut rig, 0, &[(0xa000, 100, WRITE)]);
        driver.ring(&mut rig, 0);
        rig.work();
        assert_eq!(driver.used(&rig, 0), [(0, 100), (1, 100), (2, 62)]);
        assert_eq!(rig.ram[0x800a], 3, "buffers");
        let parts = [&rig.ram[0x800c..0x8064], &rig.ram[0x9000..0x9064], &rig.ram[0xa000..0xa03e]];
        assert_eq!(parts.concat(), frame(250));
    }
}

#[test]
fn a_frame_that_no_ring_can_hold_is_lost() {
    let mut rig = rig();
    let mut driver = Driver::start(&mut rig, MERGEABLE);
    for n in 0..8 {
        driver.add(&mut rig, 0, &[(0x8000 + 16 * n, 16, WRITE)]);
    }
    driver.ring(&mut rig, 0);
    net(&mut rig).receive(&frame(128 - HEADER + 1));
    net(&mut rig).receive(&frame(128 - HEADER));
    rig.work();
    assert_eq!((driver.used(&rig, 0).len(), net(&mut rig).backlog()), (8, 0));
}

#[test]
fn what_the_guest_sends_leaves_without_its_header() {
    let mut rig = rig();
    let mut driver = Driver::start(&mut rig, 0);
    rig.ram[0x8100..0x813c].copy_from_slice(&frame(60));
    driver.add(&mut rig, 1, &[(0x8000, 12, 0), (0x8100, 60, 0)]);
    driver.add(&mut rig, 1, &[(0x8000, 12, 0), (0x8100, 13, 0)]);
    driver.add(&mut rig, 1, &[(0x8000, 5, 0)]);
    driver.ring(&mut rig, 1);
    rig.work();
    assert_eq!(driver.used(&rig, 1), [(0, 0), (2, 0), (4, 0)], "all come back");
    assert_eq!(rig.sent, [Output::Frame { bytes: frame(60) }], "what is no frame is not sent");
}

#[test]
fn a_checksum_that_the_guest_left_is_filled_in() {
    let mut rig = rig();
    let mut driver = Driver::start(&mut rig, CHECKSUM);
    // From byte 14 on, to be put at 14 + 2; the sum of 1, 2, 3, 5 is 11.
    let sent = [&[9; 14][..], &[0, 1, 0, 2, 0, 3, 0, 5]].concat();
    for (at, start, offset) in [(0x8000u64, 14u8, 2u8), (0x8100, 255, 2), (0x8200, 14, 7)] {
        let header = [1, 0, 0, 0, 0, 0, start, 0, offset, 0, 0, 0];
        rig.ram[at as usize..at as usize + 34].copy_from_slice(&[&header[..], &sent].concat());
        driver.add(&mut rig, 1, &[(at, 34, 0)]);
    }
    driver.ring(&mut rig, 1);
    rig.work();
    let filled = [&[9; 14][..], &[0, 1, 0xff, 0xf4, 0, 3, 0, 5]].concat();
    let frames = [filled, sent.clone(), sent].map(|bytes| Output::Frame { bytes });
    assert_eq!(rig.sent, frames, "a place outside the frame changes nothing");
}

#[test]
fn too_many_and_what_is_no_frame_is_lost() {
    let mut rig = rig();
    for length in [0, 13, FRAME_BYTES_MAX + 1] {
        net(&mut rig).receive(&frame(length));
    }
    assert_eq!(net(&mut rig).backlog(), 0);
    for _ in 0..100 {
        net(&mut rig).receive(&frame(14));
    }
    assert_eq!(net(&mut rig).backlog(), 64);
    rig.write(0x14, 0, 1);
    assert_eq!(net(&mut rig).backlog(), 0, "a reset forgets them");
}
