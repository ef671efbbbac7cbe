//! Disks at register level.

use super::rig::{Driver, Rig, WRITE};
use crate::config::{DiskConfig, DiskMode};
use crate::dev::virtio::{Block, Device as _, Model};
use crate::event::Output;

const FLUSH: u64 = 1 << 9;
/// Where the driver has a request's header, its data and its status.
const HEADER: u64 = 0x8000;
const DATA: u64 = 0x9000;
const STATUS: u64 = 0x8800;

fn rig(mode: DiskMode) -> Rig {
    let disk: Vec<u8> = (0..256 << 10).map(|i: u32| (i / 512) as u8).collect();
    let config = DiskConfig { bytes: disk.len() as u64, mode, digest: 0 };
    let mut rig = Rig::new(Model::Block(Block::new(1, &config)));
    rig.disk = disk;
    rig
}

fn block(rig: &mut Rig) -> &mut Block {
    match rig.function.model_mut() {
        Model::Block(block) => block,
        other => panic!("{other:?}"),
    }
}

/// Makes a request available whose data is in `spans`.
fn ask(rig: &mut Rig, driver: &mut Driver, kind: u32, sector: u64, spans: &[(u64, u32, u16)]) {
    let at = HEADER as usize;
    rig.ram[at..at + 4].copy_from_slice(&kind.to_le_bytes());
    rig.ram[at + 8..at + 16].copy_from_slice(&sector.to_le_bytes());
    rig.ram[STATUS as usize] = 0xff;
    let chain = [&[(HEADER, 16, 0)], spans, &[(STATUS, 1, WRITE)]].concat();
    driver.add(rig, 0, &chain);
    driver.ring(rig, 0);
}

/// The status of one request on a fresh device.
fn status(mode: DiskMode, kind: u32, sector: u64, spans: &[(u64, u32, u16)]) -> u8 {
    let mut rig = rig(mode);
    let mut driver = Driver::start(&mut rig, FLUSH);
    ask(&mut rig, &mut driver, kind, sector, spans);
    rig.work();
    assert_eq!(driver.used(&rig, 0).len(), 1, "given back");
    rig.ram[STATUS as usize]
}

#[test]
fn what_is_written_is_read() {
    let mut rig = rig(DiskMode::Overlay);
    let mut driver = Driver::start(&mut rig, FLUSH);
    rig.ram[DATA as usize..DATA as usize + 1024].fill(0xaa);
    ask(&mut rig, &mut driver, 1, 7, &[(DATA, 500, 0), (DATA + 500, 524, 0)]);
    rig.work();
    assert_eq!(rig.ram[STATUS as usize], 0);
    assert_eq!(rig.disk[7 * 512 - 1..9 * 512 + 1], [&[6][..], &[0xaa; 1024], &[9]].concat());
    ask(&mut rig, &mut driver, 0, 8, &[(DATA + 0x1000, 1024, WRITE)]);
    rig.work();
    assert_eq!(driver.used(&rig, 0), [(0, 1), (4, 1025)]);
    let read = DATA as usize + 0x1000;
    assert_eq!(rig.ram[read..read + 1024], [[0xaa; 512], [9; 512]].concat());
    assert_eq!(rig.sent, [], "an overlay is nobody's business");
}

#[test]
fn a_long_request_is_done_in_steps() {
    let mut rig = rig(DiskMode::WriteThrough);
    let mut driver = Driver::start(&mut rig, FLUSH);
    rig.ram[DATA as usize..DATA as usize + 0x7000].fill(0x55);
    ask(&mut rig, &mut driver, 1, 0, &[(DATA, 0x7000, 0); 4]);
    rig.step().unwrap();
    assert_eq!((driver.used(&rig, 0).len(), rig.disk[0xffff], rig.disk[0x10000]), (0, 0x55, 0x80));
    rig.work();
    assert_eq!(driver.used(&rig, 0), [(0, 1)]);
    assert_eq!((rig.disk[4 * 0x7000 - 1], rig.disk[4 * 0x7000]), (0x55, 4 * 56));
    let bytes = |length| vec![0x55; length];
    assert_eq!(
        rig.sent,
        [
            Output::Disk { disk: 1, offset: 0, bytes: bytes(0x1_0000) },
            Output::Disk { disk: 1, offset: 0x1_0000, bytes: bytes(0xc000) },
        ]
    );
}

#[test]
fn a_flush_waits_for_the_outside() {
    let mut rig = rig(DiskMode::WriteThrough);
    let mut driver = Driver::start(&mut rig, FLUSH);
    ask(&mut rig, &mut driver, 4, 0, &[]);
    rig.work();
    assert_eq!(rig.sent, [Output::Flush { disk: 1, flush: 1 }]);
    assert_eq!(block(&mut rig).pending_flush(), Some(1));
    block(&mut rig).flushed(2);
    assert!(!rig.function.is_due(), "another one");
    block(&mut rig).flushed(1);
    rig.work();
    assert_eq!((driver.used(&rig, 0), rig.ram[STATUS as usize]), (vec![(0, 1)], 0));
    assert_eq!(block(&mut rig).pending_flush(), None);
    ask(&mut rig, &mut driver, 4, 0, &[]);
    rig.work();
    assert_eq!(block(&mut rig).pending_flush(), Some(2));
    rig.write(0x14, 0, 1);
    assert_eq!(block(&mut rig).pending_flush(), None, "a reset forgets it");
    block(&mut rig).flushed(2);
    assert_eq!(block(&mut rig).pending_flush(), None);
}

#[test]
fn where_nothing_follows_a_flush_is_done_at_once() {
    for mode in [DiskMode::Overlay, DiskMode::ReadOnly] {
        assert_eq!(status(mode, 4, 0, &[]), 0);
    }
}

#[test]
fn a_driver_without_flushes_finds_its_writes_durable() {
    let mut rig = rig(DiskMode::WriteThrough);
    let mut driver = Driver::start(&mut rig, 0);
    ask(&mut rig, &mut driver, 1, 3, &[(DATA, 512, 0)]);
    rig.work();
    assert_eq!(rig.sent.len(), 2, "the write and a flush");
    assert_eq!(driver.used(&rig, 0), []);
    block(&mut rig).flushed(1);
    rig.work();
    assert_eq!((driver.used(&rig, 0), rig.sent.len()), (vec![(0, 1)], 2));
}

#[test]
fn ranges_become_zeros() {
    for (kind, mode, flags, good) in [
        (13, DiskMode::Overlay, 0, 0),
        (13, DiskMode::Overlay, 1, 0),
        (13, DiskMode::Overlay, 2, 2),
        (13, DiskMode::WriteThrough, 0, 0),
        (11, DiskMode::Overlay, 0, 0),
        (11, DiskMode::Overlay, 1, 2),
        (11, DiskMode::WriteThrough, 0, 2),
        (13, DiskMode::ReadOnly, 0, 1),
    ] {
        let mut rig = rig(mode);
        let mut driver = Driver::start(&mut rig, FLUSH);
        let range = [&5_u64.to_le_bytes()[..], &300_u32.to_le_bytes(), &[flags, 0, 0, 0]].concat();
        rig.ram[DATA as usize..DATA as usize + 16].copy_from_slice(&range);
        let before = rig.disk.clone();
        ask(&mut rig, &mut driver, kind, 0, &[(DATA, 16, 0)]);
        rig.work();
        assert_eq!(rig.ram[STATUS as usize], good, "type {kind}, {mode:?}, flags {flags}");
        let zeros = if good == 0 { 300 * 512 } else { 0 };
        let after = [&before[..5 * 512], &vec![0; zeros], &before[5 * 512 + zeros..]].concat();
        assert!(rig.disk == after, "type {kind}, {mode:?}, flags {flags}");
    }
}

#[test]
fn a_disk_has_a_name_and_a_size() {
    let mut rig = rig(DiskMode::ReadOnly);
    assert_eq!((rig.read(0x2000, 4), rig.read(0x2004, 4)), (512, 0), "sectors");
    assert_eq!(rig.read(0x2014, 4), 512, "bytes in one");
    let mut driver = Driver::start(&mut rig, 1 << 5);
    ask(&mut rig, &mut driver, 8, 0, &[(DATA, 20, WRITE)]);
    rig.work();
    assert_eq!(&rig.ram[DATA as usize..DATA as usize + 12], b"ftemu-disk1\0");
}

#[test]
fn what_makes_no_sense_is_refused() {
    let overlay = DiskMode::Overlay;
    for (what, status, expected) in [
        ("beyond the end", status(overlay, 0, 512, &[(DATA, 512, WRITE)]), 1),
        ("across the end", status(overlay, 1, 511, &[(DATA, 1024, 0)]), 1),
        ("far beyond the end", status(overlay, 0, u64::MAX, &[(DATA, 512, WRITE)]), 1),
        ("a part of a sector", status(overlay, 0, 0, &[(DATA, 100, WRITE)]), 1),
        ("no name that short", status(overlay, 8, 0, &[(DATA, 19, WRITE)]), 1),
        ("half a range", status(overlay, 13, 0, &[(DATA, 8, 0)]), 1),
        ("an unknown type", status(overlay, 77, 0, &[(DATA, 512, 0)]), 2),
        ("a write to what is fixed", status(DiskMode::ReadOnly, 1, 0, &[(DATA, 512, 0)]), 1),
        ("nothing", status(overlay, 0, 512, &[]), 0),
    ] {
        assert_eq!(status, expected, "{what}");
    }
    // No room for a status, no whole header.
    let mut rig = rig(overlay);
    let mut driver = Driver::start(&mut rig, FLUSH);
    driver.add(&mut rig, 0, &[(HEADER, 16, 0)]);
    driver.add(&mut rig, 0, &[(HEADER, 15, 0), (STATUS, 1, WRITE)]);
    driver.ring(&mut rig, 0);
    rig.work();
    assert_eq!((driver.used(&rig, 0), rig.ram[STATUS as usize]), (vec![(0, 0), (1, 1)], 1));
}

/// Whatever a driver writes into its rings, the device stays on its disk (the rig's indexing sees to that) and in its RAM.
#[test]
fn a_hostile_driver_harms_itself_only() {
    let mut bits = 1_u64;
    let mut chance = |below: u64| {
        bits = bits.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (bits >> 33) % below
    };
    let mut given_back = 0;
    for round in 0..3000 {
        let mode = [DiskMode::ReadOnly, DiskMode::Overlay, DiskMode::WriteThrough][round % 3];
        let mut rig = rig(mode);
        let driver = Driver::start(&mut rig, [0, FLUSH][round % 2]);
        for n in 0..8 {
            let address = if chance(8) == 0 { chance(u64::MAX) } else { HEADER + 16 * chance(64) };
            let length = [1, 15, 16, 512, 1024, chance(0x1_0000), chance(u64::from(u32::MAX))][chance(7) as usize];
            let flags = if chance(8) == 0 { chance(8) } else { [0, 1, 2, 3][chance(4) as usize] };
            rig.descriptor(Driver::rings(0), n, (address, length as u32, flags as u16), chance(9) as u16);
        }
        for header in 0..64 {
            let at = (HEADER + 16 * header) as usize;
            let kind = [0, 1, 4, 8, 11, 13, 77][chance(7) as usize] as u32;
            let sector = if chance(8) == 0 { chance(u64::MAX) } else { chance(520) };
            rig.ram[at..at + 4].copy_from_slice(&kind.to_le_bytes());
            rig.ram[at + 8..at + 16].copy_from_slice(&sector.to_le_bytes());
        }
        for place in 0..8 {
            rig.ram[(Driver::rings(0) + 0x104) as usize + 2 * place] = chance(9) as u8;
        }
        driver.set_available(&mut rig, 0, 1 + chance(9) as u16);
        driver.ring(&mut rig, 0);
        for _ in 0..64 {
            rig.step().unwrap();
            if let Some(flush) = block(&mut rig).pending_flush() {
                block(&mut rig).flushed(flush);
            }
            assert_eq!(block(&mut rig).check(), Ok(()), "round {round}");
        }
        given_back += driver.used(&rig, 0).len();
        assert!(mode == DiskMode::WriteThrough || rig.sent.is_empty());
    }
    assert!(given_back > 1000, "{given_back}: such drivers are refused at once");
}
