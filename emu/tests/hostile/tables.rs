//! Guests that write to their page tables at random and use them without a word to the CPU: tables shared by two address spaces,
//! one at two addresses, large pages, accessed and dirty bits, XD, user pages with SMAP, PCIDs, INVLPG, bulk writes.

use super::*;

/// The tables of the second address space, and the page table for what is tried, which both have.
const OTHER: [u64; 3] = [0x8000, 0x9000, 0xa000];
const TRIED_PT: u64 = 0xb000;
/// Where its entries lead: this page, or one of the next few.
const FRAMES: u64 = 0x10_0000;
const PAGES: u64 = 8;

/// A program under construction.
struct Program<'a> {
    code: Vec<u8>,
    dice: &'a mut Dice,
}

impl Program<'_> {
    fn bytes(&mut self, bytes: &[u8]) {
        self.code.extend_from_slice(bytes);
    }

    fn mov_rax(&mut self, value: u64) {
        self.bytes(&[0x48, 0xb8]);
        self.bytes(&value.to_le_bytes());
    }

    /// `body`; a page fault in it goes on behind it.
    fn guarded(&mut self, body: impl FnOnce(&mut Self)) {
        self.bytes(&[0x4c, 0x8d, 0x3d, 0, 0, 0, 0]); // lea r15, [rip + ...]
        let start = self.code.len();
        body(self);
        let length = (self.code.len() - start) as u32;
        self.code[start - 4..start].copy_from_slice(&length.to_le_bytes());
    }

    /// A linear address that the tried table or a large page maps.
    fn tried(&mut self) -> u64 {
        let base = [0x20_0000, 0x20_0000, 0x40_0000, 0x60_0000 + FRAMES][self.dice.below(4) as usize];
        base + 0x1000 * self.dice.below(PAGES)
    }

    /// An entry that may be, in some way or other.
    fn entry(&mut self) -> u64 {
        let flags = [1, 3, 5, 7, 0x21, 0x27, 0x63, 0x67, 0, 0x66][self.dice.below(10) as usize];
        let xd = u64::from(self.dice.below(4) == 0) << 63;
        FRAMES + 0x1000 * self.dice.below(PAGES) | flags | xd
    }

    /// Writes to a table.
    fn write_table(&mut self) {
        let slot = TRIED_PT + 8 * self.dice.below(PAGES);
        match self.dice.below(8) {
            0..4 => {
                let entry = self.entry();
                self.mov_rax(entry);
                self.bytes(&[0x48, 0x89, 0x04, 0x25]); // mov [slot], rax
                self.bytes(&(slot as u32).to_le_bytes());
            }
            4 => {
                // Bits off in any table, also in those of the code that runs: A and D.
                let tables = [TABLES, 0x2000, 0x3000, 0x3008, 0x3018, PT + 8 * 0x10, PT + 8 * 0x1f, OTHER[2] + 8, slot];
                let at = tables[self.dice.below(tables.len() as u64) as usize];
                self.bytes(&[0x80, 0x24, 0x25]); // and byte [at], 0x9f
                self.bytes(&(at as u32).to_le_bytes());
                self.bytes(&[0x9f]);
            }
            5 => {
                // A table's entry in the directory of either space: there, gone, or read-only.
                let at = [0x3008, 0x3010, OTHER[2] + 8][self.dice.below(3) as usize];
                let flags = [7, 7, 5, 0, 0x27][self.dice.below(5) as usize];
                self.mov_rax(TRIED_PT | flags);
                self.bytes(&[0x48, 0x89, 0x04, 0x25]);
                self.bytes(&(at as u32).to_le_bytes());
            }
            6 => {
                // mov rdi, slot; mov ecx, n; rep stosq
                let entry = self.entry();
                self.mov_rax(entry);
                self.bytes(&[0xbf]);
                self.bytes(&(slot as u32).to_le_bytes());
                let n = 1 + self.dice.below(40) as u8;
                self.bytes(&[0xb9, n, 0, 0, 0, 0xf3, 0x48, 0xab]);
            }
            _ => {
                // RW of a byte of an entry, and back.
                self.bytes(&[0x80, 0x34, 0x25]); // xor byte [slot], 2
                self.bytes(&(slot as u32).to_le_bytes());
                self.bytes(&[0x02]);
            }
        }
    }

    /// Uses what the tables say.
    fn use_tables(&mut self, pcid: bool) {
        let at = self.tried();
        match self.dice.below(12) {
            0..3 => self.access(at + 0x800, &[0x48, 0x03, 0x10]), // add rdx, [rax]
            3..5 => self.access(at + 0x800, &[0x48, 0x01, 0x10]), // add [rax], rdx
            5 => self.access(at + 0xffc, &[0x48, 0x03, 0x10]),    // across pages
            6 => self.access(at + 0xffc, &[0x48, 0xff, 0x00]),    // inc qword [rax], across pages
            7..9 => self.access(at, &[0xff, 0xd0]),               // call rax
            9 => self.access(at, &[0x0f, 0x01, 0x38]),            // invlpg [rax]
            10 => {
                let (table, number) = ([TABLES, OTHER[0]][self.dice.below(2) as usize], self.dice.below(3));
                let keep = self.dice.below(2) << 63;
                self.access(if pcid { table | number | keep } else { table }, &[0x0f, 0x22, 0xd8]); // mov cr3, rax
            }
            _ => {
                let last = [0xcb, 0xca][self.dice.below(2) as usize];
                self.bytes(&[0x0f, 0x01, last]); // stac, clac
            }
        }
    }

    fn access(&mut self, rax: u64, then: &[u8]) {
        self.mov_rax(rax);
        self.bytes(then);
    }
}

fn scribbler(dice: &mut Dice) -> Guest {
    let (pcid, protect, smap) = (dice.below(2) == 0, dice.below(2) == 0, dice.below(2) == 0);
    let mut program = Program { code: Vec::new(), dice };
    for _ in 0..40 {
        program.guarded(|program| match program.dice.below(3) {
            0 => program.write_table(),
            _ => program.use_tables(pcid),
        });
    }
    // dec r13; jnz to the start; hlt
    let back = -(program.code.len() as i32 + 9);
    program.bytes(&[0x49, 0xff, 0xcd, 0x0f, 0x85]);
    program.bytes(&back.to_le_bytes());
    program.bytes(&[0xf4]);
    assert!(program.code.len() < 0x800);
    let mut guest = Guest::new(&program.code);
    // inc r14; add rsp, 8; mov [rsp], r15; iretq
    guest.bytes(CODE + 0x900, &[0x49, 0xff, 0xc6, 0x48, 0x83, 0xc4, 0x08, 0x4c, 0x89, 0x3c, 0x24, 0x48, 0xcf]);
    guest.gate(14, CODE + 0x900, 0);
    // The guest's own pages are the supervisor's, so that SMEP and SMAP leave them alone.
    for page in 0..512 {
        guest.words(PT + 8 * page, &[page << 12 | 3]);
    }
    guest.words(0x3008, &[TRIED_PT | 7, TRIED_PT | 7, 0x87]);
    guest.words(OTHER[0], &[OTHER[1] | 7]);
    guest.words(OTHER[1], &[OTHER[2] | 7]);
    guest.words(OTHER[2], &[PT | 7, TRIED_PT | 7, 0x20_0087, 0x87]);
    for page in 0..PAGES {
        guest.words(TRIED_PT + 8 * page, &[FRAMES + 0x1000 * page | 7]);
        // add edx, n; ret
        guest.bytes(FRAMES + 0x1000 * page, &[0x83, 0xc2, 3 * page as u8 + 1, 0xc3]);
    }
    let cpu = &mut guest.cpu;
    cpu.gpr[13] = 6;
    cpu.cr4 |= u64::from(pcid) << 17 | u64::from(smap) * 3 << 20;
    cpu.cr0 |= u64::from(protect) << 16;
    guest
}

#[test]
fn scribbled_tables_are_the_same_however_they_are_run() {
    let mut dice = Dice(7);
    let (mut faults, mut sums) = (0, 0);
    for number in 0..150 {
        let guest = scribbler(&mut dice);
        let machine = same_however_it_is_run(&|| guest.machine(), 5000, &mut dice, &format!("scribbler {number}"));
        let gpr = machine.state().cpu.gpr;
        faults += u64::from(gpr[14] > 3);
        sums += u64::from(gpr[2] != 0);
    }
    assert!(faults > 100 && sums > 100, "they try what is allowed and what is not: {faults}, {sums}");
}
