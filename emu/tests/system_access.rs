//! Who may do what to which page: every combination of the bits of a table entry, of the modes, and of the kind of access,
//! against the rules of SDM Vol. 3A, 4.6 and 4.7, written down here once more.

#![allow(clippy::unwrap_used, clippy::cast_possible_truncation, reason = "a test panics when it fails")]

mod guest;

use emu::{Power, Segment, Stop};
use guest::*;

const P: u64 = 1;
const W: u64 = 1 << 1;
const U: u64 = 1 << 2;
const A: u64 = 1 << 5;
const D: u64 = 1 << 6;
const NX: u64 = 1 << 63;
const WP: u64 = 1 << 16;
const SMEP: u64 = 1 << 20;
const SMAP: u64 = 1 << 21;
const AC: u64 = 1 << 18;
const NXE: u64 = 1 << 11;

/// Table entries that hold the window's page directory entry.
const PD: u64 = 0x3000;
/// The page that is accessed.
const TARGET: u64 = WINDOW + 0x1000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Read,
    Write,
    Fetch,
    /// A descriptor is read by MOV to DS: supervisor, whatever CPL is, and AC does not count.
    Descriptor,
    /// Its accessed bit is set.
    Accessed,
}

const KINDS: [Kind; 5] = [Kind::Read, Kind::Write, Kind::Fetch, Kind::Descriptor, Kind::Accessed];

/// One case: bits of the page's entry, of the directory's entry above, of the modes.
#[derive(Clone, Copy, Debug)]
struct Case {
    entry: u64,
    above: u64,
    wp: bool,
    smep: bool,
    smap: bool,
    ac: bool,
    nxe: bool,
    user: bool,
    kind: Kind,
}

/// The error code of the page fault that the SDM wants; `None`: allowed.
fn model(case: &Case) -> Option<u64> {
    let Case { entry, above, wp, smep, smap, ac, nxe, user, kind } = *case;
    if kind == Kind::Accessed {
        // It is read first.
        let read = model(&Case { kind: Kind::Descriptor, ..*case });
        if read.is_some() {
            return read;
        }
    }
    let implicit = matches!(kind, Kind::Descriptor | Kind::Accessed);
    let as_user = user && !implicit;
    let writes = matches!(kind, Kind::Write | Kind::Accessed);
    let fetches = kind == Kind::Fetch;
    let error = |present: bool, reserved: bool| {
        u64::from(present)
            | u64::from(writes) << 1
            | u64::from(as_user) << 2
            | u64::from(reserved) << 3
            | u64::from(fetches && (nxe || smep)) << 4
    };
    // Table 4-20: bit 63 is reserved if IA32_EFER.NXE = 0; the walk goes from the top.
    for e in [above, entry] {
        if e & P == 0 {
            return Some(error(false, false));
        }
        if e & NX != 0 && !nxe {
            return Some(error(true, true));
        }
    }
    // "A linear address is a user-mode address if U/S is 1 in every entry."
    let user_page = entry & above & U != 0;
    let writable = entry & above & W != 0;
    let executable = (entry | above) & NX == 0;
    let allowed = match (as_user, kind) {
        (true, Kind::Read) => user_page,
        (true, Kind::Write) => user_page && writable,
        (true, _) => user_page && executable,
        (false, Kind::Fetch) => executable && !(smep && user_page),
        (false, _) => {
            let kept_out = smap && user_page && (implicit || !ac);
            !kept_out && (!writes || writable || !wp)
        }
    };
    if allowed { None } else { Some(error(true, false)) }
}

/// What the guest did: the error code pushed for an access to the page, or nothing.
fn outcome(case: &Case) -> Option<u64> {
    let code: &[u8] = match case.kind {
        Kind::Read => &[0x8a, 0x07],  // mov al, [rdi]
        Kind::Write => &[0x88, 0x07], // mov [rdi], al
        Kind::Fetch => &[0xff, 0xe7], // jmp rdi
        _ => &[0x8e, 0xd8],           // mov ds, eax
    };
    let mut guest = Guest::new(&[code, &[0xcd, 0x41]].concat());
    guest.gate(PF, 0);
    guest.gate_to(0x41, HANDLER);
    // The rest of memory: supervisor pages, or the user's where ring 3 runs from them; the handler's in a page of its own.
    supervisor_pages(&mut guest, case.user);
    guest.words(PD + 8, &[PAGES | case.above]);
    // In the target page: INT 0x41 to be fetched, and at 0x28 a descriptor of data with DPL 3, accessed or not.
    let descriptor = 0x00cf_f200_0000_ffff | u64::from(case.kind == Kind::Descriptor) << 40;
    guest.words(PAGES + 8, &[FRAME | case.entry]);
    guest.words(FRAME, &[0x41cd, 0, 0, 0, 0, descriptor]);
    if case.user {
        guest.enter_ring3();
    }
    let cpu = &mut guest.state.cpu;
    (cpu.gpr[7], cpu.gpr[0]) = (TARGET, 0x28 | if case.user { 3 } else { 0 });
    let set = |register: &mut u64, bit: u64, on: bool| *register = *register & !bit | if on { bit } else { 0 };
    set(&mut cpu.cr0, WP, case.wp);
    set(&mut cpu.cr4, SMEP, case.smep);
    set(&mut cpu.cr4, SMAP, case.smap);
    set(&mut cpu.rflags, AC, case.ac);
    set(&mut cpu.msr.efer, NXE, case.nxe);
    if matches!(case.kind, Kind::Descriptor | Kind::Accessed) {
        // It is in the LDT, as delivery needs the GDT.
        cpu.ldtr = Segment { selector: 0x38, base: TARGET, limit: 0xfff, rights: 0x82 };
        cpu.gpr[0] |= 4;
    }
    assert_eq!(guest.run(), Stop::Off(Power::Dead), "{case:?}");
    let top = if case.user { RING0 } else { STACK };
    let faulted = guest.machine.state().cpu.gpr[4] == top - 48;
    let used = guest.word(PAGES + 8) & (A | D);
    let result = faulted.then(|| guest.word(top - 48));
    // A page that was not reached is not marked; one that was is, and dirty by a write.
    let marks = match (result, case.kind) {
        (None, Kind::Write) => A | D,
        (None, Kind::Accessed) => A | D,
        (None, _) => A,
        (Some(_), Kind::Accessed) if used == A => A, // the descriptor was read before the write was refused
        (Some(_), _) => 0,
    };
    assert_eq!(used, marks, "{case:?}");
    result
}

/// The first 2 MiB in small pages, each for the supervisor, or also for the user: the code and the user's stack.
fn supervisor_pages(guest: &mut Guest, user: bool) {
    const PT: u64 = 0xb000;
    guest.words(PD, &[PT | P | W | U]);
    let users = |page: u64| user && matches!(page << 12, CODE | 0x1_7000 | STACK);
    let entries: Vec<u64> = (0..512).map(|page| page << 12 | P | W | if users(page) { U } else { 0 }).collect();
    guest.words(PT, &entries);
}

fn bools() -> [bool; 2] {
    [false, true]
}

#[test]
fn every_combination_of_rights_modes_and_accesses() {
    let mut cases = 0;
    for (bits, entry) in (0..8u64).map(|bits| (bits, P | bits << 1 & (W | U) | (bits >> 2) << 63)) {
        for modes in 0..64u32 {
            let on = |n: u32| modes >> n & 1 != 0;
            for kind in KINDS {
                // The directory above allows everything, or takes one thing away.
                for above in [P | W | U, P | W, P | U, P | W | U | NX] {
                    let (wp, smep, smap, ac, nxe, user) = (on(0), on(1), on(2), on(3), on(4), on(5));
                    let case = Case { entry, above, wp, smep, smap, ac, nxe, user, kind };
                    assert_eq!(outcome(&case), model(&case), "{bits}: {case:?}");
                    cases += 1;
                }
            }
        }
    }
    assert_eq!(cases, 8 * 64 * 5 * 4);
}

#[test]
fn an_entry_that_is_not_present_says_so_at_either_level() {
    for user in bools() {
        for kind in KINDS {
            for (entry, above) in [(W | U, P | W | U), (P | W | U, W | U), (0, 0)] {
                let case = Case { entry, above, wp: true, smep: true, smap: true, ac: true, nxe: true, user, kind };
                assert_eq!(outcome(&case), model(&case), "{case:?}");
            }
        }
    }
}

/// Bits of an entry that must be zero (SDM Vol. 3A, tables 4-15 to 4-20): beyond the physical width, and by level.
#[test]
fn reserved_bits_of_each_level() {
    // (physical address of the entry, its bits, reserved positions): PML4E, PDPTE, PDE, PTE; large pages.
    let beyond: Vec<u32> = (40..52).collect();
    let with = |more: &[u32]| [&beyond[..], more].concat();
    let low: Vec<u32> = (13..21).collect();
    let cases: [(u64, u64, Vec<u32>); 5] = [
        (0x1000, 0x2000 | P | W | U, with(&[7])),
        (0x2000, 0x3000 | P | W | U, with(&[])),
        (PD + 8, PAGES | P | W | U, with(&[])),
        (PAGES + 8, FRAME | P | W | U, with(&[])),
        (PD + 8, 0x20_0000 | P | W | U | 1 << 7, with(&low)),
    ];
    for (at, bits, reserved) in cases {
        for bit in 0..63u32 {
            // Not these: address bits and P, W, U, PS, which change the meaning.
            let is_reserved = reserved.contains(&bit);
            if !is_reserved && !matches!(bit, 3 | 4 | 5 | 6 | 8..=11 | 52..=62) {
                continue;
            }
            // The walk for the code itself goes through the upper levels, too: a second mapping of the top for the access.
            let mut guest = Guest::new(&[0x8a, 0x07, 0xf4]);
            guest.gate(PF, 0);
            let (top, directory) = (0xc000, 0xd000);
            guest.words(0x1000 + 8, &[top | P | W | U]);
            guest.words(top, &[directory | P | W | U]);
            guest.words(directory + 8, &[PAGES | P | W | U]);
            guest.words(PAGES + 8, &[FRAME | P | W | U]);
            let address = (1 << 39) + TARGET;
            match at {
                0x1000 => guest.words(0x1008, &[bits & 0xfff | top | 1 << bit]),
                0x2000 => guest.words(top, &[bits & 0xfff | directory | 1 << bit]),
                PAGES_1 => guest.words(PAGES_1, &[bits | 1 << bit]),
                _ => guest.words(directory + 8, &[bits | 1 << bit]),
            }
            guest.state.cpu.gpr[7] = address;
            guest.run();
            let faulted = guest.machine.state().cpu.gpr[4] == STACK - 48;
            assert_eq!(faulted, is_reserved, "entry at {at:#x}, bit {bit}");
            assert!(!faulted || guest.word(STACK - 48) == 9, "P and RSVD");
        }
    }
}

const PAGES_1: u64 = PAGES + 8;
