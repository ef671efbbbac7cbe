//! The block cache: decoded code, found by physical address, remembered by linear address.

use std::collections::BTreeMap;

use crate::cpu::fault::{Fault, Trap};
use crate::cpu::mode::Mode;
use crate::cpu::{Cpu, Exit};
use crate::decode::{self, Insn};
use crate::exec;
use crate::mem::{Access, PAGE_BITS, PAGE_MASK, Privilege};
use crate::op::{FALL, FAR, Header, Links, NEVER, Op, TAKEN};

/// Guest instructions in a block at most.
const BLOCK_INSNS_MAX: usize = 48;
/// Bytes looked at for one block: room for its longest instructions.
const CODE_BYTES: usize = BLOCK_INSNS_MAX * decode::INSN_BYTES_MAX;
/// Ops in a block at most: `Op::slot` is a byte.
const BLOCK_OPS_MAX: usize = 240;
/// Ops in one piece of the arena.
const CHUNK_OPS: usize = 16 * 1024;
/// The cache is flushed beyond this many ops (64 MiB).
const OPS_MAX: usize = 2 * 1024 * 1024;
/// Entries of the table by linear address.
const KNOWN: usize = 16 * 1024;

/// Bit of a key: a block of one instruction with all flags live.
const KEY_SINGLE: u64 = 1 << 62;
/// Where the mode stands in a key: the same bytes are other code in another mode.
const KEY_MODE_SHIFT: u32 = 60;
/// Bit of a key: code of real or virtual-8086 mode, which has no VEX.
const KEY_REAL: u64 = 1 << 59;
/// The physical address in a key.
const KEY_PHYS: u64 = KEY_REAL - 1;

/// An entry of the table by linear address.
#[derive(Clone, Copy)]
pub(crate) struct Known {
    pub(crate) rip: u64,
    pub(crate) key: u64,
    pub(crate) header: *const Header,
}

/// All decoded code.
pub(crate) struct Cache {
    known: Box<[Known; KNOWN]>,
    by_key: Table,
    /// Blocks by physical page.
    by_page: BTreeMap<u64, Vec<*mut Header>>,
    chunks: Vec<Vec<Op>>,
    ops: usize,
    unknown: Box<Header>,
    /// Mnemonics met that are not implemented, to be told once each.
    pub(crate) unimplemented: Vec<String>,
}

// SAFETY: all pointers lead into the cache's own chunks.
unsafe impl Send for Cache {}

impl Known {
    /// The block that is remembered, if it is that of `key`.
    fn block(&self, key: u64) -> Option<*mut Header> {
        // SAFETY: null, or a block of the cache.
        let header = unsafe { self.header.as_ref() }?;
        (header.key == key && header.n != NEVER).then_some(self.header.cast_mut())
    }
}

const EMPTY: Known = Known { rip: 0, key: 0, header: std::ptr::null() };

impl Cache {
    pub(crate) fn new() -> Self {
        let unknown = Box::new(Header {
            owner: std::ptr::null_mut(),
            key: 0,
            n: NEVER,
            bytes: 0,
            insns: 0,
            second_page: u64::MAX,
        });
        Self {
            known: Box::new([EMPTY; KNOWN]),
            by_key: Table::new(),
            by_page: BTreeMap::new(),
            chunks: Vec::new(),
            ops: 0,
            unknown,
            unimplemented: Vec::new(),
        }
    }

    /// What is remembered for the linear address; valid if address and `Cpu::code_key` are the same.
    #[inline(always)]
    pub(crate) fn known(&self, rip: u64) -> *const Known {
        &raw const self.known[(rip ^ (rip >> 12)) as usize % KNOWN]
    }

    /// A header that is never entered and never patched.
    pub(crate) fn unknown(&self) -> *const Header {
        &raw const *self.unknown
    }

    pub(crate) fn is_full(&self) -> bool {
        self.ops >= OPS_MAX
    }

    fn remember(&mut self, rip: u64, key: u64, header: *const Header) {
        self.known[(rip ^ (rip >> 12)) as usize % KNOWN] = Known { rip, key, header };
    }

    /// Copies a finished block into the arena and makes its inner pointers absolute.
    fn place(&mut self, ops: &[Op], links: bool) -> *mut Header {
        if self.chunks.last().is_none_or(|c| c.capacity() - c.len() < ops.len()) {
            self.chunks.push(Vec::with_capacity(CHUNK_OPS));
        }
        self.ops += ops.len();
        let count = self.chunks.len();
        let chunk = &mut self.chunks[count - 1];
        let start = chunk.len();
        chunk.extend_from_slice(ops);
        // SAFETY: `start` is inside, and the chunk never reallocates.
        let first = unsafe { chunk.as_mut_ptr().add(start) };
        if links {
            // SAFETY: the builder ended the block with links and two stubs; the chunk never reallocates.
            unsafe {
                let end = first.add(ops.len());
                let links: *mut Links = end.sub(3).cast();
                for side in [TAKEN, FALL] {
                    let stub: *mut Header = end.sub(2).add(side).cast();
                    if !(*stub).owner.is_null() {
                        (*stub).owner = &raw mut (*links).to[side];
                    }
                    (*links).to[side] = stub;
                }
            }
        }
        first.cast()
    }

    fn insert(&mut self, header: *mut Header, key: u64) {
        self.by_key.insert(key, header);
        self.by_page.entry((key & KEY_PHYS) >> PAGE_BITS).or_default().push(header);
        // SAFETY: just placed.
        let second = unsafe { (*header).second_page };
        if second != u64::MAX && second >> PAGE_BITS != (key & KEY_PHYS) >> PAGE_BITS {
            self.by_page.entry(second >> PAGE_BITS).or_default().push(header);
        }
    }
}

impl Header {
    /// Where the code is, as (physical address, bytes): the second part, in another page, is empty for most blocks.
    fn parts(&self) -> [(u64, u64); 2] {
        let (start, bytes) = (self.key & KEY_PHYS, u64::from(self.bytes));
        let first = bytes.min(0x1000 - (start & PAGE_MASK));
        [(start, first), (self.second_page, bytes - first)]
    }
}

impl Cpu {
    /// Drops every block. Only outside block chains.
    pub(crate) fn flush_code(&mut self) {
        let unimplemented = std::mem::take(&mut self.cache.unimplemented);
        self.cache = Cache::new();
        self.cache.unimplemented = unimplemented;
        self.mem.clear_all_code();
        self.forget_returns();
    }

    /// The block of the instruction at `rip`; `None`: the cache must be flushed first.
    pub(crate) fn find_block(&mut self, rip: u64) -> Result<Option<*const Header>, Trap> {
        if self.cache.is_full() {
            return Ok(None);
        }
        // SAFETY: points into the table.
        let known = unsafe { *self.cache.known(rip) };
        // SAFETY: entries of the table are empty (no key is theirs) or name blocks of the cache.
        if !self.single && known.rip == rip && known.key == self.code_key && unsafe { (*known.header).n } != NEVER {
            return Ok(Some(known.header));
        }
        let linear = self.fetch_address(rip)?;
        let phys = self.translate_code(linear)?;
        let mode = (self.mode as u64) << KEY_MODE_SHIFT;
        let real = if self.is_protected() { 0 } else { KEY_REAL };
        let key = phys | mode | real | if self.single { KEY_SINGLE } else { 0 };
        // In another mapping it is most often the same block: the large table is not in the host's caches.
        let mut found = known.block(key).or_else(|| self.cache.by_key.get(key));
        if let Some(header) = found {
            // SAFETY: blocks in the table are live.
            let (second, bytes) = unsafe { ((*header).second_page, u64::from((*header).bytes)) };
            // A shorter one does for all whose segment ends here or further on.
            let mut valid = bytes <= self.code_room(rip);
            if second != u64::MAX {
                valid &= self.translate_code(self.next_page(linear))? == second;
            }
            // SAFETY: as above. The walk may have set an accessed bit in its code.
            if !valid || unsafe { (*header).n } == NEVER {
                self.drop_block(header);
                found = None;
            }
        }
        let header = match found {
            Some(header) => header,
            None => self.build(rip, linear, phys, key)?,
        };
        // A second page, too, has been looked up under this key.
        if !self.single {
            self.cache.remember(rip, self.code_key, header);
        }
        Ok(Some(header))
    }

    /// The block at `rip`; null: leave the chain, `exit` says why (nothing special: the cache must be flushed first).
    #[inline(never)]
    pub(crate) fn resolve(&mut self) -> *const Header {
        self.rip &= self.ip_mask;
        match self.find_block(self.rip) {
            Ok(Some(header)) => header,
            Ok(None) => std::ptr::null(),
            Err(trap) => {
                self.exit = Exit::Trap(trap);
                std::ptr::null()
            }
        }
    }

    fn translate_code(&mut self, linear: u64) -> Result<u64, Trap> {
        if !crate::mem::is_canonical(linear) {
            return Err(Fault::GP0.into());
        }
        Ok(self.translate(linear, Access::Execute, Privilege::explicit(self.user))?)
    }

    /// Linear address of the page after that of `linear`.
    fn next_page(&self, linear: u64) -> u64 {
        (linear | PAGE_MASK).wrapping_add(1) & self.ip_mask
    }

    /// Decodes the block at `rip`, which is at `phys`.
    fn build(&mut self, rip: u64, linear: u64, phys: u64, key: u64) -> Result<*mut Header, Trap> {
        let page_room = (0x1000 - (linear & PAGE_MASK)) as usize;
        let room = usize::try_from(self.code_room(rip)).map_or(page_room, |room| room.min(page_room));
        let mut second_page = u64::MAX;
        let max = if self.single { 1 } else { BLOCK_INSNS_MAX };
        let code = self.code_bytes(phys, room.min(CODE_BYTES));
        let mut insns = decode::block(&code, max, self.mode, self.features);
        if insns.is_empty() {
            // The first instruction goes on in the next page (SDM: a fetch fault there is a fault of it) ...
            let (code, page) = self.code_across(rip, linear, phys)?;
            second_page = page;
            insns = decode::block(&code, 1, self.mode, self.features);
            // ... or its segment ends.
            let Some(first) = insns.first_mut() else { return Err(Fault::GP0.into()) };
            // What was looked at counts, also where a shorter instruction is found.
            first.len = first.len.max(room as u8 + 1);
        }
        if !self.is_protected() {
            insns.iter_mut().filter(|insn| insn.vex).for_each(Insn::make_invalid);
        }
        let builder = Builder::new(self.single, self.mode, linear & PAGE_MASK);
        let block = builder.finish(&mut insns, &mut self.cache.unimplemented);
        Ok(self.install(&block, key, second_page))
    }

    /// The bytes of an instruction that crosses a page, and the second page; #GP(0) if its segment ends in the first.
    fn code_across(&mut self, rip: u64, linear: u64, phys: u64) -> Result<(Vec<u8>, u64), Trap> {
        let first = (0x1000 - (linear & PAGE_MASK)) as usize;
        let rest = usize::try_from(self.code_room(rip))
            .unwrap_or(usize::MAX)
            .min(decode::INSN_BYTES_MAX)
            .saturating_sub(first);
        if rest == 0 {
            return Err(Fault::GP0.into());
        }
        let second_page = self.translate_code(self.next_page(linear))?;
        // Read again: the walk may have set an accessed bit in what is now code.
        let mut code = self.code_bytes(phys, first);
        code.extend(self.code_bytes(second_page, rest));
        Ok((code, second_page))
    }

    /// Code as it is fetched: all ones where there is no RAM.
    fn code_bytes(&self, phys: u64, length: usize) -> Vec<u8> {
        self.mem.slice(phys, length).map_or(vec![0xff; length], <[u8]>::to_vec)
    }

    fn install(&mut self, block: &Built, key: u64, second_page: u64) -> *mut Header {
        let header = self.cache.place(&block.ops, block.links);
        // SAFETY: just placed.
        unsafe {
            *header = Header {
                owner: std::ptr::null_mut(),
                key,
                n: i32::from(block.n),
                bytes: block.bytes,
                insns: block.n,
                second_page,
            };
        }
        self.cache.insert(header, key);
        // SAFETY: just placed.
        for (start, length) in unsafe { (*header).parts() } {
            if length > 0 {
                self.note_code(start, length);
            }
        }
        header
    }

    fn note_code(&mut self, phys: u64, length: u64) {
        if self.mem.add_code(phys, length) {
            self.protect(phys);
        }
    }

    fn drop_block(&mut self, header: *mut Header) {
        // SAFETY: headers stay allocated until the cache is flushed.
        unsafe {
            self.cache.by_key.remove((*header).key);
            (*header).n = NEVER;
            (*header).owner = std::ptr::null_mut();
        }
    }

    /// A write hit decoded code: drops the blocks of that page that it touches.
    pub(crate) fn invalidate_code(&mut self, phys: u64, length: u64) {
        let page = phys >> PAGE_BITS;
        let Some(mut blocks) = self.cache.by_page.remove(&page) else { return };
        let (from, to) = (phys, phys + length);
        self.mem.clear_code(page);
        blocks.retain(|&header| {
            // SAFETY: as in `drop_block`.
            let (n, parts) = unsafe { ((*header).n, (*header).parts()) };
            if n == NEVER {
                return false;
            }
            // A block that crosses is listed under both pages (which may be one); only what is in `page` counts.
            let here = parts.into_iter().filter(|&(start, length)| length > 0 && start >> PAGE_BITS == page);
            let hit = here.clone().any(|(start, length)| start < to && from < start + length);
            if hit {
                self.drop_block(header);
            } else {
                for (start, length) in here {
                    self.mem.add_code(start, length);
                }
            }
            !hit
        });
        if !blocks.is_empty() {
            self.cache.by_page.insert(page, blocks);
        }
        // Remembered headers of dropped blocks are found NEVER and resolved again, so they may stay.
    }
}

/// A block ready to be placed.
struct Built {
    ops: Vec<Op>,
    n: u16,
    bytes: u16,
    links: bool,
}

/// Instructions that may be switched off.
#[derive(Clone, Copy)]
pub(crate) enum Use {
    Sse,
    /// On vector registers, with a VEX prefix.
    Avx,
}

/// Turns decoded instructions into ops.
pub(crate) struct Builder {
    ops: Vec<Op>,
    idx: u8,
    off: u16,
    len: u8,
    /// All flags live, the run loop decides after it.
    single: bool,
    mode: Mode,
    /// Page offset of the block's first byte.
    start: u64,
    links: Option<[i64; 2]>,
    ended: bool,
    /// An SSE instruction, a VEX-encoded one has been added.
    used: [bool; 2],
}

impl Builder {
    fn new(single: bool, mode: Mode, start: u64) -> Self {
        let header = Op { f: crate::engine::return_op, ..Self::blank() };
        let used = [false; 2];
        Self { ops: vec![header], idx: 0, off: 0, len: 0, single, mode, start, links: None, ended: false, used }
    }

    /// An op with no operands.
    pub(crate) fn blank() -> Op {
        use crate::cpu::offset::ZERO;
        Op {
            f: crate::engine::return_op,
            imm: 0,
            disp: 0,
            dst: ZERO,
            src: ZERO,
            base: ZERO,
            index: ZERO,
            scale: 0,
            access: 0,
            idx: 0,
            slot: 0,
            off: 0,
            len: 0,
            aux: 0,
        }
    }

    /// Whether the block is one instruction that runs alone.
    pub(crate) fn is_single(&self) -> bool {
        self.single
    }

    /// How the block's code reaches memory.
    pub(crate) fn mode(&self) -> Mode {
        self.mode
    }

    /// Adds an op of the current instruction.
    pub(crate) fn push(&mut self, op: Op) {
        let slot = u8::try_from(self.ops.len()).unwrap_or(u8::MAX);
        self.ops.push(Op { idx: self.idx, slot, off: self.off, len: self.len, ..op });
    }

    /// The current instruction's bytes end here, counted from the block's first byte.
    pub(crate) fn end_off(&self) -> i64 {
        i64::from(self.off) + i64::from(self.len)
    }

    /// Whether the current instruction is the block's first of its kind.
    pub(crate) fn first(&mut self, kind: Use) -> bool {
        !std::mem::replace(&mut self.used[kind as usize], true)
    }

    /// The op just pushed ends the block with links: distances from the block's first byte.
    pub(crate) fn end_with_links(&mut self, taken: i64, fall: i64) {
        self.links = Some([taken, fall]);
        self.ended = true;
    }

    /// The op just pushed ends the block and needs no links.
    pub(crate) fn end(&mut self) {
        self.ended = true;
    }

    fn finish(mut self, insns: &mut [Insn], unimplemented: &mut Vec<String>) -> Built {
        decode::mark_live_flags(insns, self.single);
        let mut n = 0;
        let mut bytes = 0;
        for (i, insn) in insns.iter().enumerate() {
            if self.ended || self.ops.len() > BLOCK_OPS_MAX - 8 {
                break;
            }
            self.idx = u8::try_from(i).unwrap_or(u8::MAX);
            (self.off, self.len) = (insn.off, insn.len);
            n += 1;
            bytes = self.end_off();
            match insns.get(i + 1) {
                Some(second) if exec::fuse(insn, second, &mut self) => {
                    n += 1;
                    bytes = second.end_off();
                }
                _ => exec::bind(insn, &mut self, unimplemented),
            }
        }
        if !self.ended {
            let end = Op { imm: bytes as u64, ..Self::blank() };
            if self.single {
                self.push(Op { f: crate::engine::stop_after, ..end });
            } else {
                self.push(Op { f: crate::engine::fall_through, ..end });
                self.links = Some([bytes, bytes]);
            }
        }
        let links = self.links.is_some();
        self.push_links();
        Built { ops: self.ops, n, bytes: u16::try_from(bytes).unwrap_or(u16::MAX), links }
    }

    /// Appends `Links` and the two stubs they point at until they are resolved.
    fn push_links(&mut self) {
        let Some(delta) = self.links else { return };
        let mut slots = [Self::blank(); 3];
        let links: *mut Op = slots.as_mut_ptr();
        // SAFETY: `Links` and `Header` fit into an op and are plain data.
        unsafe {
            links.cast::<Links>().write(Links { to: [std::ptr::null(); 2], delta });
            for side in [TAKEN, FALL] {
                // Only a target in the same page is certain to stay where it is: those links are patched (`place`
                // finds a non-null owner); the others remember where they led (`Far`), or are looked up each time.
                // Nor does a segment's limit hold in another segment.
                let patched = !self.single && !self.mode.is_segmented();
                let same_page = (self.start as i64 + delta[side]) >> PAGE_BITS == 0;
                let owner = match patched && same_page {
                    true => std::ptr::NonNull::dangling().as_ptr(),
                    false => std::ptr::null_mut(),
                };
                let bytes = if patched && !same_page { FAR } else { 0 };
                let stub = Header { owner, key: 0, n: NEVER, bytes, insns: 0, second_page: u64::MAX };
                links.add(1 + side).cast::<Header>().write(stub);
            }
        }
        self.ops.extend_from_slice(&slots);
    }
}

/// Open-addressing table from key to block: deterministic, no hashing state of the host.
struct Table {
    slots: Vec<(u64, *mut Header)>,
    used: usize,
}

const FREE: u64 = u64::MAX;
const GONE: u64 = u64::MAX - 1;

impl Table {
    fn new() -> Self {
        Self { slots: vec![(FREE, std::ptr::null_mut()); 1024], used: 0 }
    }

    fn place_of(&self, key: u64) -> usize {
        // Blocks within 256 bytes of code stand near each other here, too.
        let region = (key >> 8).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 24;
        (region << 5 | key >> 3 & 31) as usize & (self.slots.len() - 1)
    }

    fn get(&self, key: u64) -> Option<*mut Header> {
        let mut i = self.place_of(key);
        loop {
            match self.slots[i] {
                (k, header) if k == key => return Some(header),
                (FREE, _) => return None,
                _ => i = (i + 1) & (self.slots.len() - 1),
            }
        }
    }

    fn insert(&mut self, key: u64, header: *mut Header) {
        if (self.used + 1) * 2 > self.slots.len() {
            let old = std::mem::take(&mut self.slots);
            let live = old.iter().filter(|s| s.0 < GONE).count();
            self.slots = vec![(FREE, std::ptr::null_mut()); (live * 4).next_power_of_two().max(1024)];
            self.used = 0;
            for (k, h) in old.into_iter().filter(|s| s.0 < GONE) {
                self.insert(k, h);
            }
        }
        let mut i = self.place_of(key);
        while self.slots[i].0 < GONE {
            i = (i + 1) & (self.slots.len() - 1);
        }
        if self.slots[i].0 == FREE {
            self.used += 1;
        }
        self.slots[i] = (key, header);
    }

    fn remove(&mut self, key: u64) {
        let mut i = self.place_of(key);
        loop {
            match self.slots[i].0 {
                k if k == key => {
                    self.slots[i] = (GONE, std::ptr::null_mut());
                    return;
                }
                FREE => return,
                _ => i = (i + 1) & (self.slots.len() - 1),
            }
        }
    }
}
