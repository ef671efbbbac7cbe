//! Random code in every mode: nothing panics, and stops and moves on the way cannot be seen.

use emu::{Machine, Position, Stop, Until};

use crate::dice::Dice;
use crate::guest::*;

/// Pieces of code that do something in most modes.
const PIECES: [&[u8]; 36] = [
    &[0x8e, 0xd8],
    &[0x8e, 0xd1],
    &[0x8e, 0xc2],
    &[0x07],
    &[0x1f],
    &[0x17],
    &[0x0f, 0xa9],
    &[0x8b, 0x03],
    &[0x89, 0x07],
    &[0x89, 0x45, 0xfc],
    &[0x26, 0x89, 0x06],
    &[0x2e, 0x8b, 0x07],
    &[0x50],
    &[0x5b],
    &[0x60],
    &[0x61],
    &[0x9c, 0x9d],
    &[0xc8, 8, 0, 2],
    &[0xc9],
    &[0xe8, 2, 0, 0, 0],
    &[0xe2, 0xf0],
    &[0x75, 0x06],
    &[0x66, 0x75, 0x04],
    &[0xf3, 0xa4],
    &[0xf3, 0xab],
    &[0x67, 0xf3, 0xa6],
    &[0xcb],
    &[0xcf],
    &[0xcd, 0x21],
    &[0xcc],
    &[0xea, 0x40, 0, 1, 0, 0x20, 0],
    &[0x9a, 0x40, 0, 0, 0, 0x20, 0],
    &[0x9a, 0, 0, 0, 0, 0x83, 0],
    &[0xdd, 0x07, 0xdb, 0x3f],
    &[0x0f, 0x28, 0x06],
    &[0x66, 0xb8, 0x10, 0, 0x8e, 0xd8, 0x8e, 0xd0],
];

/// Code at `CODE`, handlers that step over a byte of what faulted, segments and registers at random.
fn random_guest(dice: &mut Dice) -> Guest {
    let mut code = Vec::new();
    while code.len() < 0x180 {
        match dice.below(3) {
            0 => code.extend(&dice.roll().to_le_bytes()[..dice.0 as usize % 5]),
            _ => code.extend(dice.one_of(&PIECES)),
        }
    }
    let kind = dice.below(5);
    let mut guest = match kind {
        0 => Guest::protected(&code),
        1 => Guest::user(&code),
        2 => Guest::compat(&code),
        3 => Guest::real(&code),
        _ => crate::real::to_v86(&code, dice.below(4) as u32),
    };
    for vector in 0..64 {
        let has_error = matches!(vector, 8 | 10..=14 | 17);
        let step: &[u8] = match (kind, has_error) {
            (2, true) => &[0x48, 0x83, 0xc4, 0x08, 0x48, 0xff, 0x04, 0x24, 0x48, 0xcf],
            (2, false) => &[0x48, 0xff, 0x04, 0x24, 0x48, 0xcf],
            (3, _) => &[0x55, 0x89, 0xe5, 0xff, 0x46, 0x02, 0x5d, 0xcf],
            (_, true) => &[0x83, 0xc4, 0x04, 0xff, 0x04, 0x24, 0xcf],
            (_, false) => &[0xff, 0x04, 0x24, 0xcf],
        };
        guest.write(HANDLERS + 16 * vector, step);
    }
    guest.descriptor(GATE, &[0x0001_ec01_0008_1200]);
    let data: Vec<u64> = (0..512).map(|_| dice.roll()).collect();
    guest.words(DATA, &data);
    guest.words(STACK - 0x100, &data[..96]);
    for register in [0, 1, 2, 3, 5, 6, 7] {
        guest.cpu.gpr[register] = match dice.below(4) {
            0 => dice.roll(),
            1 => u64::from(dice.one_of(&[SMALL, DOWN, DOWN_16, READ_ONLY, DATA_16, DATA_32, USER_DATA, 0])),
            2 => dice.below(0x1000),
            _ => DATA + dice.below(0x1000),
        };
    }
    guest.cpu.rflags |= dice.roll() & 0xcd5;
    guest
}

fn moved(machine: &Machine) -> Machine {
    let mut other = Machine::restore(*machine.config(), &machine.state()).unwrap();
    copy_ram(machine, &mut other);
    other
}

#[test]
fn random_code_runs_the_same_however_it_is_run() {
    let mut retired = 0;
    for seed in 0..60 {
        let mut dice = Dice(seed << 20);
        let mut guest = random_guest(&mut dice);
        guest.start();
        let mut slow = moved(&guest.machine);
        let straight = &mut guest.machine;
        for _ in 0..8 {
            straight.run(Until::About(150), &mut Closed);
        }
        let end = straight.position();
        while slow.position() < end {
            let at = slow.position();
            let next = match dice.below(3) {
                0 => Position { retired: at.retired + 1 + dice.below(20), steps: dice.below(2) },
                _ => Position { steps: at.steps + 1, ..at },
            };
            let stop = slow.run(Until::Exactly(next.min(end)), &mut Closed);
            if dice.below(4) == 0 {
                slow = moved(&slow);
            }
            if matches!(stop, Stop::Off(_) | Stop::Halted | Stop::Starved) {
                break;
            }
        }
        if straight.power().is_some() {
            slow.run(Until::About(u64::MAX), &mut Closed);
        }
        assert_eq!(straight.state(), slow.state(), "seed {seed}");
        assert_eq!(straight.ram_digest(), slow.ram_digest(), "seed {seed}");
        retired += end.retired;
    }
    assert!(retired > 1000, "{retired}");
}
