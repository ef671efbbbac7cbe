//! Hardware task switches (SDM Vol. 3A, chapter 8).

use super::guest::*;

/// The other task: its TSS, and where it runs.
const OTHER: u16 = GATE;
/// The task that runs first.
const SELF: u16 = GATE + 8;
const TASK_GATE: u16 = 0x98;
const OTHER_TSS: u64 = 0x9000;
const OTHER_CODE: u64 = CODE + 0x100;
const OTHER_STACK: u64 = 0x1_9000;

const NT: u64 = 1 << 14;
const TASK_SWITCHED: u64 = 8;

const EIP: u64 = 0x20;
const EFLAGS: u64 = 0x24;
const GPRS: u64 = 0x28;
const SEGMENTS: u64 = 0x48;
const LDT_FIELD: u64 = 0x60;

fn tss(base: u64, kind: u64, limit: u64) -> u64 {
    limit | base << 16 | kind << 40
}

/// A guest with another task, which runs `other`.
fn guest(code: &[u8], other: &[u8]) -> Guest {
    let mut guest = Guest::protected(code);
    guest.cpu.gpr[..4].copy_from_slice(&[0xa0, 0xa1, 0xa2, 0xa3]);
    guest.cpu.tr = segment(SELF, TSS, 0x67, 0x8b);
    guest.descriptor(OTHER, &[tss(OTHER_TSS, 0x89, 0x67), tss(TSS, 0x8b, 0x67)]);
    guest.descriptor(TASK_GATE, &[u64::from(OTHER) << 16 | 0x85 << 40]);
    guest.write(OTHER_CODE, other);
    put(&mut guest, EIP, &[OTHER_CODE as u32, 2]);
    put(&mut guest, GPRS, &[0xb0, 0xb1, 0xb2, 0xb3, OTHER_STACK as u32, 0xb5, 0xb6, 0xb7]);
    let [code, data] = [CODE_32, DATA_32].map(u32::from);
    put(&mut guest, SEGMENTS, &[data, code, data, data, data, 0, 0]);
    guest
}

/// Doublewords into the other task's TSS.
fn put(guest: &mut Guest, at: u64, words: &[u32]) {
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    guest.write(OTHER_TSS + at, &bytes);
}

fn far(opcode: u8, selector: u16) -> [u8; 8] {
    let [low, high] = selector.to_le_bytes();
    [opcode, 0, 0, 0, 0, low, high, 0xf4]
}

fn jump(selector: u16) -> [u8; 8] {
    far(0xea, selector)
}

fn call(selector: u16) -> [u8; 8] {
    far(0x9a, selector)
}

fn is_busy(guest: &Guest, selector: u16) -> bool {
    guest.read::<1>(GDT + u64::from(selector) + 5)[0] & 2 != 0
}

#[test]
fn a_jump_leaves_one_task_for_another() {
    for selector in [OTHER, TASK_GATE] {
        let mut guest = guest(&jump(selector), &[0xf4]);
        guest.cpu.dr[7] |= 0x355;
        guest.cpu.dr[0] = 0x7000_0000; // where nothing is
        let cpu = guest.run();
        assert_eq!((cpu.rip, cpu.rflags), (OTHER_CODE + 1, 2));
        assert_eq!(cpu.gpr[..8], [0xb0, 0xb1, 0xb2, 0xb3, OTHER_STACK, 0xb5, 0xb6, 0xb7]);
        assert_eq!(cpu.seg.map(|s| s.selector), [DATA_32, CODE_32, DATA_32, DATA_32, DATA_32, 0]);
        assert_eq!((cpu.tr.selector, cpu.tr.base, cpu.tr.rights), (OTHER, OTHER_TSS, 0x8b));
        assert_eq!((cpu.cr0 & TASK_SWITCHED, cpu.dr[7]), (TASK_SWITCHED, 0x600));
        assert!(is_busy(&guest, OTHER) && !is_busy(&guest, SELF));
        assert_eq!(guest.stack(TSS + EIP), [CODE as u32 + 7, 2]);
        assert_eq!(guest.stack(TSS + GPRS), [0xa0, 0xa1, 0xa2, 0xa3, STACK as u32]);
        let saved: [u16; 6] = std::array::from_fn(|n| guest.word16(TSS + SEGMENTS + 4 * n as u64));
        assert_eq!(saved, [DATA_32, CODE_32, DATA_32, DATA_32, DATA_32, DATA_32]);
        assert_eq!(guest.word16(OTHER_TSS), 0, "no link");
    }
}

#[test]
fn a_call_nests_and_iret_comes_back() {
    // The other task adds one to EAX and returns; called again it goes on behind the IRET.
    let twice = [&call(OTHER)[..7], &call(OTHER)].concat();
    let mut guest = guest(&twice, &[0x40, 0xcf, 0x40, 0xcf]);
    let cpu = guest.run();
    assert_eq!((cpu.rip, cpu.gpr[0], cpu.rflags), (CODE + 15, 0xa0, 2));
    assert_eq!(cpu.tr.selector, SELF);
    assert!(is_busy(&guest, SELF) && !is_busy(&guest, OTHER));
    assert_eq!(guest.word16(OTHER_TSS), SELF, "the link");
    assert_eq!(guest.stack(OTHER_TSS + EIP), [OTHER_CODE as u32 + 4, 6], "NT is cleared; PF and AF of INC are 6");
    assert_eq!(guest.stack(OTHER_TSS + GPRS), [0xb2]);
}

#[test]
fn while_nested_both_are_busy() {
    let mut guest = guest(&call(TASK_GATE), &[0xf4]);
    let cpu = guest.run();
    assert_eq!(cpu.rflags, NT | 2);
    assert!(is_busy(&guest, SELF) && is_busy(&guest, OTHER));
}

#[test]
fn interrupts_and_exceptions_go_through_task_gates() {
    // int 0x30
    let mut through = guest(&[0xcd, 0x30, 0xf4], &[0xcf]);
    through.gate(0x30, 0x85, OTHER, 0);
    let cpu = through.run();
    assert_eq!((cpu.rip, cpu.gpr[4]), (CODE + 3, STACK));
    // mov ds, ax with a bad selector: #GP, whose error code the new task finds on its stack. RF is for the return.
    let mut through = guest(&[0x8e, 0xd8], &[0x58, 0xf4]);
    through.cpu.gpr[0] = 0xff8;
    through.gate(GP, 0x85, OTHER, 0);
    let cpu = through.run();
    assert_eq!((cpu.rip, cpu.gpr[0], cpu.gpr[4]), (OTHER_CODE + 2, 0xff8, OTHER_STACK));
    assert_eq!(through.stack(TSS + EIP), [CODE as u32, 0x1_0002]);
    // A double fault in a task of its own: the reason why task gates exist.
    let mut through = guest(&[0x0f, 0x0b], &[0x58, 0xf4]);
    through.gate(UD, 0, 0, 0);
    through.gate(GP, 0, 0, 0);
    through.gate(8, 0x85, OTHER, 0);
    assert_eq!(through.run().gpr[0], 0);
}

#[test]
fn a_16_bit_task() {
    let mut guest = guest(&call(OTHER), &[]);
    guest.descriptor(OTHER, &[tss(OTHER_TSS, 0x81, 0x2b)]);
    let mut fields = [0u16; 22];
    fields[7..9].copy_from_slice(&[0x30, 2]); // IP, FLAGS
    fields[9..17].copy_from_slice(&[0xb0, 0xb1, 0xb2, 0xb3, 0x800, 0xb5, 0xb6, 0xb7]);
    fields[17..22].copy_from_slice(&[DATA_16, CODE_16, DATA_16, DATA_16, LDT]);
    guest.write(OTHER_TSS, &fields.map(u16::to_le_bytes).concat());
    guest.write(CODE + 0x30, &[0x40, 0xcf]); // inc ax; iret
    let cpu = guest.run();
    assert_eq!((cpu.rip, cpu.gpr[0], cpu.tr.selector), (CODE + 8, 0xa0, SELF));
    let saved: [u16; 3] = std::array::from_fn(|n| guest.word16(OTHER_TSS + 14 + 2 * n as u64));
    assert_eq!((guest.word16(OTHER_TSS), saved), (SELF, [0x32, 6, 0xb1]));
}

#[test]
fn a_task_in_virtual_8086_mode() {
    let mut guest = guest(&jump(OTHER), &[]);
    put(&mut guest, EFLAGS, &[0x2_3002]); // VM, IOPL 3
    put(&mut guest, 4, &[RING0 as u32, DATA_32.into()]);
    put(&mut guest, EIP, &[0]);
    put(&mut guest, SEGMENTS, &[0x2000, 0x1010, 0x1800, 0x2000, 0x2000, 0x2000]);
    guest.write(0x1_0100, &[0x0f, 0x0b]); // ud2
    assert_eq!(guest.vector(), Some(UD));
    let frame: [u32; 3] = guest.stack(guest.machine.state().cpu.gpr[4]);
    assert_eq!(frame, [0, 0x1010, 0x3_3002]);
}

#[test]
fn what_is_wrong_before_the_switch_belongs_to_the_old_task() {
    let unchanged = |code: &[u8], change: &dyn Fn(&mut Guest)| {
        let mut guest = guest(code, &[0xf4]);
        change(&mut guest);
        let (vector, error, eip) = guest.fault();
        assert_eq!((eip, guest.machine.state().cpu.tr.selector), (CODE as u32, SELF), "{code:x?}");
        (vector, error)
    };
    let other = |descriptor: u64| move |guest: &mut Guest| guest.descriptor(OTHER, &[descriptor]);
    let through =
        |selector: u16| move |guest: &mut Guest| guest.descriptor(TASK_GATE, &[u64::from(selector) << 16 | 0x85 << 40]);
    let (other_error, gate_error) = (OTHER.into(), TASK_GATE.into());
    assert_eq!(unchanged(&jump(SELF), &|_| ()), (GP, SELF.into()), "busy");
    assert_eq!(unchanged(&jump(OTHER), &other(tss(OTHER_TSS, 0x09, 0x67))), (NP, other_error));
    assert_eq!(unchanged(&jump(OTHER), &other(tss(OTHER_TSS, 0x89, 0x66))), (TS, other_error));
    assert_eq!(unchanged(&jump(OTHER), &other(tss(OTHER_TSS, 0x81, 0x2a))), (TS, other_error));
    assert_eq!(unchanged(&jump(TASK_GATE), &through(0)), (GP, 0));
    assert_eq!(unchanged(&jump(TASK_GATE), &through(OTHER | 4)), (GP, (OTHER | 4).into()), "in the LDT");
    assert_eq!(unchanged(&jump(TASK_GATE), &through(DATA_32)), (GP, DATA_32.into()));
    assert_eq!(unchanged(&jump(TASK_GATE), &through(0xff8)), (GP, 0xff8));
    let absent = |guest: &mut Guest| guest.descriptor(TASK_GATE, &[u64::from(OTHER) << 16 | 0x05 << 40]);
    assert_eq!(unchanged(&jump(TASK_GATE), &absent), (NP, gate_error));
    // IRET to a task that does not wait.
    let nested = |guest: &mut Guest| {
        guest.cpu.rflags |= NT;
        guest.write(TSS, &OTHER.to_le_bytes());
    };
    assert_eq!(unchanged(&[0xcf], &nested), (TS, other_error));
    assert_eq!(unchanged(&[0xcf], &|guest| guest.cpu.rflags |= NT), (TS, 0), "no link");
}

#[test]
fn the_privilege_to_switch_is_that_of_gate_or_tss() {
    let mut user = Guest::user(&jump(TSS_FREE));
    assert_eq!(user.vector(), Some(GP));
    let mut user = Guest::user(&jump(TASK_GATE));
    user.cpu.tr = segment(SELF, TSS, 0x67, 0x8b);
    user.descriptor(OTHER, &[tss(OTHER_TSS, 0x89, 0x67), tss(TSS, 0x8b, 0x67)]);
    user.descriptor(TASK_GATE, &[u64::from(OTHER) << 16 | 0xe5 << 40]);
    user.write(OTHER_CODE, &[0xf4]);
    put(&mut user, EIP, &[OTHER_CODE as u32, 2]);
    let [code, data] = [CODE_32, DATA_32].map(u32::from);
    put(&mut user, SEGMENTS, &[data, code, data, data, data, 0, 0]);
    assert_eq!(user.run().rip, OTHER_CODE + 1, "a gate of DPL 3 leads to a task of ring 0");
}

#[test]
fn what_is_wrong_with_the_new_task_belongs_to_it() {
    let [es, cs, ss, ds] = [0, 4, 8, 12].map(|n| SEGMENTS + n);
    for (at, value, expected) in [
        (LDT_FIELD, DATA_32, (TS, DATA_32)),
        (cs, 0, (TS, 0)),
        (cs, DATA_32, (TS, DATA_32)),
        (cs, CODE_32 | 3, (TS, CODE_32)),
        (ss, 0, (TS, 0)),
        (ss, CODE_32, (TS, CODE_32)),
        (ss, NOT_PRESENT, (SS, NOT_PRESENT)),
        (ds, EXECUTE_ONLY, (TS, EXECUTE_ONLY)),
        (es, NOT_PRESENT, (NP, NOT_PRESENT)),
        (es, 0xff8, (TS, 0xff8)),
    ] {
        let mut guest = guest(&jump(OTHER), &[0xf4]);
        put(&mut guest, at, &[value.into()]);
        // A handler that needs neither CS nor SS of the task: another task.
        let third = 0xa000;
        guest.descriptor(LDT, &[tss(third, 0x89, 0x67)]);
        let copy: [u8; 0x68] = guest.read(OTHER_TSS);
        guest.write(third, &copy);
        let [code, data] = [CODE_32, DATA_32].map(u32::from);
        let segments = [data, code, data, data, data, 0, 0].map(u32::to_le_bytes).concat();
        guest.write(third + SEGMENTS, &segments);
        guest.write(third + EIP, &(OTHER_CODE as u32 + 0x20).to_le_bytes());
        guest.write(OTHER_CODE + 0x20, &[0x58, 0xf4]); // pop eax: the error code
        guest.gate(expected.0, 0x85, LDT, 0);
        let cpu = guest.run();
        let seen = (cpu.rip, cpu.gpr[0], guest.word16(third));
        assert_eq!(seen, (OTHER_CODE + 0x22, u64::from(expected.1), OTHER), "{at:#x}: {value:#x}");
        assert_eq!(guest.word32(OTHER_TSS + EIP), OTHER_CODE as u32, "{at:#x}: the new task has not begun");
    }
}

#[test]
fn a_task_with_its_trap_flag_set_begins_with_a_debug_exception() {
    let mut guest = guest(&jump(OTHER), &[0x40, 0xf4]);
    put(&mut guest, 0x64, &[1]);
    assert_eq!(guest.vector(), Some(1));
    let cpu = &guest.machine.state().cpu;
    assert_eq!((cpu.dr[6], guest.word32(cpu.gpr[4])), (0xffff_8ff0, OTHER_CODE as u32));
}

#[test]
fn long_mode_has_no_task_switches() {
    for code in [jump(TSS_FREE), call(TSS_FREE)] {
        let mut guest = Guest::compat(&code);
        assert_eq!(guest.vector(), Some(GP));
    }
}
