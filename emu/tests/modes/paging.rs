//! Page tables outside 64-bit mode.

use crate::guest::*;

#[test]
fn paging_cannot_be_switched_wrongly() {
    // (CR0, CR4, EFER before; what is written to CR0)
    let cases = [
        (PE, 0, 0x100, PE | PG),  // LME without PAE
        (PE, 0x20, 0, PG),        // PG without PE
        (PE, 0, 0, PE | 1 << 29), // NW without CD
        (PE | PG, 0x20, 0x500, PE | 1 << 29),
    ];
    for (cr0, cr4, efer, value) in cases {
        let mut guest = Guest::compat(&[0x0f, 0x22, 0xc0]); // mov cr0, eax
        guest.cpu = Guest::protected(&[]).cpu;
        (guest.cpu.cr0, guest.cpu.cr4, guest.cpu.msr.efer, guest.cpu.cr3) = (cr0 | 0x10, cr4, efer, 0x1000);
        guest.cpu.gpr[0] = value;
        if efer & 0x400 == 0 {
            for vector in 0..64 {
                guest.gate(vector, 0x8e, CODE_32, HANDLERS + 16 * vector);
            }
            assert_eq!(guest.fault(), (GP, 0, CODE as u32), "{value:x}");
        } else {
            assert_eq!(guest.run().code_bits(), 64, "{value:x}");
        }
    }
}

const P: u64 = 1;
const W: u64 = 2;
const U: u64 = 4;
const PS: u64 = 0x80;
const NX: u64 = 1 << 63;

#[test]
fn paging_with_32_bit_entries() {
    // mov eax, [ebx]; mov [ebx + 4], eax; hlt
    const CODE_BYTES: &[u8] = &[0x8b, 0x03, 0x89, 0x43, 0x04, 0xf4];
    // (PDE, PTE, CR4.PSE, CR2 and error code of the fault)
    let cases: [(u64, u64, bool, Option<u32>); 8] = [
        (0x4000 | P | W | U, DATA | P | W | U, false, None),
        (0x4000 | P | W | U, DATA, false, Some(4)),
        (0, DATA | P | W | U, false, Some(4)),
        (0x4000 | P | W, DATA | P | W | U, false, Some(5)),
        (0x4000 | P | W | U, DATA | P | U, false, Some(7)),
        (P | W | U | PS, 0, true, None),
        (P | U | PS, 0, true, Some(7)),
        (1 << 21 | P | W | U | PS, 0, true, Some(0xd)),
    ];
    for (pde, pte, pse, fault) in cases {
        let mut guest = Guest::user(CODE_BYTES);
        guest.cpu.cr0 |= PG;
        guest.cpu.cr4 |= u64::from(pse) << 4;
        guest.cpu.cr3 = 0x1000;
        // The first 4 MiB by small pages, what is tested at 0xc0000000.
        for page in 0..1024u32 {
            guest.write(0x2000 + 4 * u64::from(page), &(page << 12 | 7).to_le_bytes());
        }
        guest.write(0x1000, &0x2007u32.to_le_bytes());
        guest.write(0x1c00, &low(pde).to_le_bytes());
        guest.write(0x4000 + 4 * 0x20, &low(pte).to_le_bytes());
        guest.write(DATA, &0x1122_3344u32.to_le_bytes());
        guest.cpu.gpr[3] = 0xc002_0000;
        let vector = guest.vector();
        let what = format!("{pde:x} {pte:x}");
        if let Some(error) = fault {
            assert_eq!((vector, guest.machine.state().cpu.cr2 & !4), (Some(PF), 0xc002_0000), "{what}");
            assert_eq!(guest.word32(guest.machine.state().cpu.gpr[4]), error, "{what}");
            continue;
        }
        assert_eq!(vector, Some(GP), "HLT in ring 3: {what}");
        assert_eq!(guest.word32(DATA + 4), 0x1122_3344, "{what}");
        let entry = if pse { 0x1c00 } else { 0x4080 };
        assert_eq!(guest.word32(entry) & 0x60, 0x60, "accessed and dirty: {what}");
        assert_eq!(guest.word32(0x1c00) & 0x20, 0x20, "{what}");
    }
}

#[test]
fn paging_with_64_bit_entries_outside_long_mode() {
    const LOAD: &[u8] = &[0x8b, 0x03, 0xf4];
    const JUMP: &[u8] = &[0xff, 0xe3];
    // (PDPTE, PDE, code, error code of the fault)
    let cases = [
        (0x3000 | P, P | W | U | PS, LOAD, None),
        (0, P | W | U | PS, LOAD, Some(4)),
        (0x3000 | P, P | W | PS, LOAD, Some(5)),
        (0x3000 | P, P | W | U | PS | NX, LOAD, None),
        (0x3000 | P, P | W | U | PS | NX, JUMP, Some(0x15)),
        (0x3000 | P, P | W | U | PS | 1 << 62, LOAD, Some(0xd)),
    ];
    for (pdpte, pde, code, fault) in cases {
        let mut guest = Guest::user(code);
        guest.cpu.cr0 |= PG;
        guest.cpu.cr4 |= 0x20;
        guest.cpu.msr.efer = 0x800;
        guest.cpu.cr3 = 0x1020;
        guest.cpu.pdpte = [0x2001, 0, 0, pdpte];
        guest.words(0x2000, &[0x87]);
        guest.words(0x3000, &[pde]);
        guest.write(DATA, &0x1122_3344u32.to_le_bytes());
        guest.cpu.gpr[3] = 0xc002_0000;
        let vector = guest.vector();
        let what = format!("{pdpte:x} {pde:x}");
        match fault {
            Some(error) => {
                assert_eq!((vector, guest.machine.state().cpu.cr2), (Some(PF), 0xc002_0000), "{what}");
                assert_eq!(guest.word32(guest.machine.state().cpu.gpr[4]), error, "{what}");
            }
            None => assert_eq!((vector, low(guest.machine.state().cpu.gpr[0])), (Some(GP), 0x1122_3344), "{what}"),
        }
    }
    // MOV CR3 loads the four entries, and refuses reserved bits in them.
    let mut guest = Guest::protected(&[0x0f, 0x22, 0xdb, 0x0f, 0x22, 0xd9]); // mov cr3, ebx; mov cr3, ecx
    guest.cpu.cr0 |= PG;
    guest.cpu.cr4 |= 0x20;
    guest.cpu.pdpte = [0x2001, 0, 0, 0];
    guest.words(0x2000, &[0x87]);
    guest.words(0x4020, &[0x2001, 0, 0x7001, 0]);
    guest.words(0x4040, &[0x2001, 0x3003, 0, 0]);
    (guest.cpu.gpr[3], guest.cpu.gpr[1]) = (0x4020, 0x4040);
    assert_eq!(guest.fault(), (GP, 0, CODE as u32 + 3));
    assert_eq!(guest.machine.state().cpu.pdpte, [0x2001, 0, 0x7001, 0]);
}
