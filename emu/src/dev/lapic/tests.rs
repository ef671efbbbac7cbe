use super::register::*;
use super::*;

const FIXED: u8 = 0;

fn message(vector: u8) -> Message {
    Message { dest: 0, logical: false, mode: FIXED, vector, level: false }
}

fn level(vector: u8) -> Message {
    Message { level: true, ..message(vector) }
}

fn x2apic() -> Lapic {
    let mut lapic = Lapic::new();
    lapic.set_base(lapic.base() | base::EXTD, true).unwrap();
    lapic
}

/// Vectors that the CPU takes, each ended at once.
fn taken(lapic: &mut Lapic) -> Vec<u8> {
    let mut vectors = vec![];
    while lapic.pending() {
        vectors.push(lapic.acknowledge());
        lapic.write(EOI, 0, 0);
    }
    vectors
}

#[test]
fn firmware_leaves_virtual_wire_mode() {
    let mut lapic = Lapic::new();
    assert_eq!(lapic.base(), 0xfee0_0900);
    assert_eq!((lapic.read(LVT + 3, 0), lapic.read(LVT + 4, 0)), (0x700, 0x400));
    assert_eq!((lapic.read(SVR, 0), lapic.read(register::VERSION, 0)), (0x1ff, 0x0005_0014));
    assert!(lapic.accepts_extint() && !lapic.pending());
    assert!(lapic.check(true).is_ok());
    lapic.write(LVT + 3, 0x1_0700, 0);
    assert!(!lapic.accepts_extint());
}

#[test]
fn the_highest_vector_comes_first_and_nests_by_class() {
    let mut lapic = Lapic::new();
    for vector in [0x31, 0x45, 0x4a, 0xf0] {
        assert!(lapic.receive(&message(vector)));
    }
    assert_eq!(lapic.acknowledge(), 0xf0);
    assert!(!lapic.pending());
    lapic.write(EOI, 0, 0);
    assert_eq!(lapic.acknowledge(), 0x4a);
    assert_eq!(lapic.read(PPR, 0), 0x40);
    assert!(!lapic.pending(), "0x45 is of the same class");
    lapic.receive(&message(0x50));
    assert_eq!(lapic.acknowledge(), 0x50);
    assert_eq!((lapic.read(ISR + 2, 0), lapic.read(IRR + 2, 0)), (1 << 10 | 1 << 16, 1 << 5));
    lapic.write(EOI, 0, 0);
    assert_eq!(lapic.read(PPR, 0), 0x40);
    lapic.write(EOI, 0, 0);
    assert_eq!(taken(&mut lapic), [0x45, 0x31]);
}

#[test]
fn task_priority_masks_its_class_and_those_below() {
    let mut lapic = Lapic::new();
    lapic.receive(&message(0x4f));
    lapic.write(TPR, 0x40, 0);
    assert_eq!((lapic.pending(), lapic.read(PPR, 0)), (false, 0x40));
    lapic.write(TPR, 0x3f, 0);
    assert!(lapic.pending());
    lapic.set_tpr(0x40);
    lapic.receive(&message(0x50));
    assert_eq!(lapic.acknowledge(), 0x50);
    assert_eq!(lapic.read(PPR, 0), 0x50);
}

#[test]
fn only_the_end_of_a_level_is_told() {
    let mut lapic = Lapic::new();
    lapic.receive(&message(0x31));
    lapic.receive(&level(0x52));
    assert_eq!(lapic.read(TMR + 2, 0), 1 << 18);
    lapic.acknowledge();
    assert_eq!(lapic.write(EOI, 0, 0), Some(0x52));
    lapic.acknowledge();
    assert_eq!(lapic.write(EOI, 0, 0), None);
    assert_eq!(lapic.write(EOI, 0, 0), None, "nothing is in service");
    lapic.receive(&message(0x52));
    assert_eq!(lapic.read(TMR + 2, 0), 0);
}

#[test]
fn destinations() {
    let reached =
        |lapic: &mut Lapic, dest: u8, logical: bool| lapic.receive(&Message { dest, logical, ..message(0x40) });
    let mut lapic = Lapic::new();
    assert!(reached(&mut lapic, 0, false) && reached(&mut lapic, 0xff, false));
    assert!(!reached(&mut lapic, 1, false));
    assert!(!reached(&mut lapic, 1, true), "no logical identifier yet");
    lapic.write(LDR, 0x0300_0000, 0);
    assert!(reached(&mut lapic, 2, true) && reached(&mut lapic, 0xff, true) && !reached(&mut lapic, 4, true));
    lapic.write(DFR, 0x0fff_ffff, 0);
    lapic.write(LDR, 0x2200_0000, 0);
    assert!(reached(&mut lapic, 0x22, true) && reached(&mut lapic, 0x23, true));
    assert!(!reached(&mut lapic, 0x21, true) && !reached(&mut lapic, 0x32, true));
    let mut lapic = x2apic();
    assert_eq!(lapic.read_msr(LDR, 0), Ok(1));
    assert!(reached(&mut lapic, 1, true) && !reached(&mut lapic, 2, true));
}

#[test]
fn interrupts_to_oneself() {
    let send = |lapic: &mut Lapic, high: u32, low: u32| {
        lapic.write(ICR_HIGH, high, 0);
        lapic.write(ICR, low, 0);
        (taken(lapic), std::mem::take(&mut lapic.nmi))
    };
    let mut lapic = Lapic::new();
    for (high, low, vectors, nmi) in [
        (0, 0x4_0041, vec![0x41], false),           // self
        (0, 0x8_0042, vec![0x42], false),           // all with self
        (0, 0xc_0043, vec![], false),               // all without
        (0, 0x0_0044, vec![0x44], false),           // by number
        (0xff00_0000, 0x0_0045, vec![0x45], false), // broadcast
        (0x0100_0000, 0x0_0046, vec![], false),     // somebody else
        (0, 0x0_0147, vec![0x47], false),           // lowest priority
        (0, 0x0_0400, vec![], true),                // NMI
        (0, 0x4_0400, vec![], false),               // NMI with the shorthand: not valid
        (0, 0x0_4500, vec![], false),               // INIT
        (0, 0x0_0610, vec![], false),               // start-up
    ] {
        assert_eq!(send(&mut lapic, high, low), (vectors, nmi), "{high:x} {low:x}");
    }
    assert_eq!(lapic.read(ICR, 0), 0x610);
    let mut lapic = x2apic();
    assert_eq!(lapic.write_msr(ICR, 0x4c, 0), Ok(None));
    assert_eq!(lapic.write_msr(SELF_IPI, 0x4d, 0), Ok(None));
    assert_eq!(lapic.write_msr(ICR, 1 << 32 | 0x4e, 0), Ok(None));
    assert_eq!(taken(&mut lapic), [0x4d, 0x4c]);
}

#[test]
fn errors_are_latched_by_a_write() {
    let mut lapic = Lapic::new();
    lapic.write(LVT + 5, 0xfe, 0);
    lapic.write(ICR, 0x4_0005, 0);
    assert_eq!(lapic.read(ESR, 0), 0);
    lapic.write(ESR, 0, 0);
    assert_eq!(lapic.read(ESR, 0), error::SEND_VECTOR | error::RECEIVE_VECTOR);
    assert_eq!(taken(&mut lapic), [0xfe]);
    lapic.read(0x3a, 0);
    lapic.write(ESR, 0, 0);
    assert_eq!(lapic.read(ESR, 0), error::REGISTER);
    lapic.write(ESR, 0, 0);
    assert_eq!(lapic.read(ESR, 0), 0);
}

#[test]
fn switched_off_by_software() {
    let mut lapic = Lapic::new();
    lapic.receive(&message(0x40));
    lapic.write(SVR, 0xff, 0);
    assert!(!lapic.pending() && !lapic.receive(&message(0x41)) && !lapic.accepts_extint());
    lapic.write(LVT, 0x30, 0);
    assert_eq!(lapic.read(LVT, 0), 0x1_0030, "masked for good");
    assert!(lapic.check(true).is_ok());
    lapic.write(SVR, 0x1ff, 0);
    assert_eq!(taken(&mut lapic), [0x40]);
}

#[test]
fn modes_change_as_the_manual_says() {
    const OFF: u64 = ADDRESS | base::BSP;
    const XAPIC: u64 = OFF | base::EN;
    const X2APIC: u64 = XAPIC | base::EXTD;
    for (from, to, legal) in [
        (&[][..], X2APIC, true),
        (&[], XAPIC, true),
        (&[], OFF, true),
        (&[], OFF | base::EXTD, false),
        (&[X2APIC], XAPIC, false),
        (&[X2APIC], OFF, true),
        (&[OFF], X2APIC, false),
        (&[OFF], XAPIC, true),
        (&[], XAPIC + 0x1000, false),
        (&[], XAPIC | 1, false),
    ] {
        let mut lapic = Lapic::new();
        from.iter().for_each(|&step| lapic.set_base(step, true).unwrap());
        assert_eq!(lapic.set_base(to, true).is_ok(), legal, "{from:x?} {to:x}");
        assert!(lapic.check(true).is_ok());
    }
    let mut lapic = Lapic::new();
    assert!(lapic.set_base(X2APIC, false).is_err());
    lapic.write(TPR, 0x80, 0);
    lapic.set_base(OFF, true).unwrap();
    assert!(lapic.accepts_extint() && !lapic.receive(&message(0x40)));
    assert_eq!((lapic.tpr(), lapic.read(SVR, 0)), (0, 0xff), "as after power-on");
}

#[test]
fn msrs_refuse_what_memory_ignores() {
    let mut lapic = x2apic();
    for number in [0, 4, APR, EOI, RRD, DFR, 0x29, LVT - 1, 0x3a, SELF_IPI, 0x40, 0xff] {
        assert_eq!(lapic.read_msr(number, 0), Err(Refused), "{number:x}");
    }
    for (number, value) in [
        (ID, 0),
        (PPR, 0),
        (LDR, 1),
        (DFR, 0),
        (EOI, 1),
        (ESR, 1),
        (TPR, 0x100),
        (SVR, 0x1000),
        (ICR, 1 << 13),
        (LVT, 1 << 20),
        (CURRENT_COUNT, 0),
        (DIVIDE, 4),
        (INITIAL_COUNT, 1 << 32),
    ] {
        assert_eq!(lapic.write_msr(number, value, 0), Err(Refused), "{number:x}");
    }
    assert_eq!(lapic.write_msr(ICR, 0x1_0000_0041, 0), Ok(None));
    assert_eq!(lapic.read_msr(ICR, 0), Ok(0x1_0000_0041));
    assert_eq!(lapic.read_msr(ID, 0), Ok(0));
}

/// 40 ns a tick.
const UNDIVIDED: u32 = 0xb;

#[test]
fn one_shot() {
    let mut lapic = Lapic::new();
    lapic.write(DIVIDE, UNDIVIDED, 0);
    lapic.write(LVT, 0x60, 0);
    lapic.write(INITIAL_COUNT, 100, 1000);
    assert_eq!(lapic.next_deadline(), Some(5000));
    assert_eq!((lapic.read(CURRENT_COUNT, 1039), lapic.read(CURRENT_COUNT, 1040)), (100, 99));
    lapic.advance(4999);
    assert_eq!((taken(&mut lapic), lapic.read(CURRENT_COUNT, 4999)), (vec![], 1));
    lapic.advance(5000);
    assert_eq!((taken(&mut lapic), lapic.read(CURRENT_COUNT, 5000)), (vec![0x60], 0));
    assert_eq!((lapic.next_deadline(), lapic.read(INITIAL_COUNT, 5000)), (None, 100));
    lapic.write(INITIAL_COUNT, 100, 6000);
    lapic.write(INITIAL_COUNT, 0, 6001);
    assert_eq!(lapic.next_deadline(), None);
}

#[test]
fn dividers() {
    for (value, by) in [(0, 2), (1, 4), (2, 8), (3, 16), (8, 32), (9, 64), (0xa, 128), (0xb, 1)] {
        let mut lapic = Lapic::new();
        lapic.write(DIVIDE, value, 0);
        lapic.write(INITIAL_COUNT, 10, 0);
        assert_eq!(lapic.next_deadline(), Some(10 * 40 * by));
        lapic.write(DIVIDE, UNDIVIDED, 40 * by * 4);
        assert_eq!(lapic.next_deadline(), Some(40 * by * 4 + 6 * 40), "the count goes on from where it is");
    }
}

#[test]
fn periodic() {
    let mut lapic = Lapic::new();
    lapic.write(DIVIDE, UNDIVIDED, 0);
    lapic.write(LVT, 0x2_0060, 0);
    lapic.write(INITIAL_COUNT, 10, 0);
    assert_eq!(lapic.read(CURRENT_COUNT, 25 * 40), 5);
    lapic.advance(25 * 40);
    assert_eq!(taken(&mut lapic), [0x60], "two ends are one interrupt");
    assert_eq!((lapic.next_deadline(), lapic.read(CURRENT_COUNT, 25 * 40)), (Some(30 * 40), 5));
    lapic.write(LVT, 0x3_0060, 0);
    lapic.advance(30 * 40);
    assert_eq!((taken(&mut lapic), lapic.next_deadline()), (vec![], Some(40 * 40)), "masked, it goes on");
}

#[test]
fn tsc_deadline() {
    let mut lapic = Lapic::new();
    lapic.set_deadline(5000, 0);
    assert_eq!((lapic.deadline(), lapic.next_deadline()), (0, None), "another mode");
    lapic.write(LVT, 0x4_0060, 0);
    assert!(!lapic.is_timed(INITIAL_COUNT) && !lapic.is_timed(CURRENT_COUNT));
    lapic.write(INITIAL_COUNT, 7, 0);
    assert_eq!((lapic.read(INITIAL_COUNT, 0), lapic.read(CURRENT_COUNT, 0)), (0, 0));
    lapic.set_deadline(5000, 1000);
    assert_eq!((lapic.deadline(), lapic.next_deadline()), (5000, Some(4000)));
    lapic.adjust_tsc(1000u64.wrapping_neg());
    assert_eq!(lapic.next_deadline(), Some(6000));
    lapic.advance(6000);
    assert_eq!((taken(&mut lapic), lapic.deadline(), lapic.next_deadline()), (vec![0x60], 0, None));
    lapic.set_deadline(500, 1000);
    assert_eq!(lapic.next_deadline(), Some(0), "in the past: at once");
    lapic.set_deadline(0, 0);
    assert_eq!(lapic.next_deadline(), None);
    lapic.set_deadline(u64::MAX, 0);
    lapic.write(LVT, 0x60, 0);
    assert_eq!((lapic.deadline(), lapic.next_deadline()), (0, None), "leaving the mode disarms it");
}

#[test]
fn messages_of_devices() {
    let fixed = Message::from_write(0xfee0_0000, 0x41);
    assert_eq!(fixed, Some(message(0x41)));
    let all = Message { dest: 0xff, logical: true, mode: 1, vector: 0x42, level: true };
    assert_eq!(Message::from_write(0xfeef_f00c, 0xc142), Some(all));
    assert_eq!(Message::from_write(0xfee0_0000, 0x8041), None, "takes back a level");
    assert_eq!(Message::from_write(0xfed0_0000, 0x41), None);
}

#[test]
fn a_performance_interrupt_masks_itself() {
    let mut lapic = Lapic::new();
    lapic.write(LVT + 2, 0x400, 0);
    lapic.raise_performance();
    assert!(std::mem::take(&mut lapic.nmi));
    lapic.raise_performance();
    assert_eq!((lapic.nmi(), lapic.read(LVT + 2, 0)), (false, 0x1_0400));
}

#[test]
fn states_that_cannot_be() {
    let cases: [fn(&mut Lapic); 10] = [
        |lapic| lapic.base |= 1,
        |lapic| lapic.base = ADDRESS | base::BSP | base::EXTD,
        |lapic| lapic.irr.set(15, true),
        |lapic| lapic.isr.set(0, true),
        |lapic| lapic.lvt[0] |= 1 << 8,
        |lapic| lapic.svr = 0xff,
        |lapic| lapic.esr = 1,
        |lapic| lapic.icr = 1 << 12,
        |lapic| lapic.ldr = 1,
        |lapic| lapic.dfr = 0,
    ];
    for (number, damage) in cases.iter().enumerate() {
        let mut lapic = Lapic::new();
        damage(&mut lapic);
        assert!(lapic.check(true).is_err(), "{number}");
    }
    assert!(x2apic().check(true).is_ok() && x2apic().check(false).is_err());
}
