//! CPUID: what this CPU says it is (SDM Vol. 2A, CPUID). Fixed: nothing of the host shows through.
//!
//! Vendor, family and model are those of an in-order Atom (Saltwell): software knows it as a CPU that does not
//! speculate, which is true here, so guests spend nothing on mitigations. Feature flags are those of `model.rs`.

use super::Cpu;
use super::model::{Feature, FeatureSet, Output::*};
use super::regs::{RAX, RBX, RCX, RDX, cr4, xcr0};
use crate::dev::lapic;
use crate::mem::PHYS_BITS;

/// Family 6, model 0x36, stepping 1.
const SIGNATURE: u32 = 0x0003_0661;
/// Highest basic leaf.
const BASIC_MAX: u32 = 0x16;
/// Highest extended leaf.
const EXTENDED_MAX: u32 = 0x8000_0008;
/// First leaf of the range for hypervisors.
const HYPERVISOR: u32 = 0x4000_0000;
/// CLFLUSH line of 64 bytes (in units of 8), one logical processor, APIC number 0.
const LEAF_1_EBX: u32 = 8 << 8 | 1 << 16;
const BRAND: &[u8; 48] = b"ftemu virtual CPU\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
/// The TSC: 40 ticks of the crystal, which also feeds the timer of the local APIC.
const CRYSTAL_HZ: u32 = lapic::HZ as u32;
const TSC_PER_CRYSTAL: u32 = 40;
const TSC_MHZ: u32 = 1000;

const _: () = assert!(CRYSTAL_HZ as u64 * TSC_PER_CRYSTAL as u64 == crate::clock::TSC_HZ);

fn word(text: &[u8], at: usize) -> u32 {
    let mut bytes = [0; 4];
    for (to, from) in bytes.iter_mut().zip(text.iter().skip(4 * at)) {
        *to = *from;
    }
    u32::from_le_bytes(bytes)
}

/// EAX, EBX, ECX, EDX of a leaf.
fn leaf(number: u32, sub: u32, features: FeatureSet) -> [u32; 4] {
    let flags = |output| features.flags(number, output);
    match number {
        0 => [BASIC_MAX, word(b"Genu", 0), word(b"ntel", 0), word(b"ineI", 0)],
        1 => [SIGNATURE, LEAF_1_EBX, flags(Ecx), flags(Edx)],
        // One round of descriptors: look into leaf 4.
        2 => [0x00ff_0001, 0, 0, 0],
        4 => caches(sub),
        7 if sub == 0 => [0, flags(Ebx), flags(Ecx), flags(Edx)],
        0xa => super::pmu::LEAF,
        6 => [flags(Eax), 0, 0, 0],
        // One thread of one core.
        0xb if sub < 2 => [0, 1, sub | (sub + 1) << 8, 0],
        0xb => [0, 0, sub & 0xff, 0],
        0xd if features.has(Feature::XSAVE) => xsave(sub, flags(Eax)),
        0x15 => [1, TSC_PER_CRYSTAL, CRYSTAL_HZ, 0],
        0x16 => [TSC_MHZ, TSC_MHZ, 100, 0],
        3..=BASIC_MAX => [0; 4],
        HYPERVISOR => [HYPERVISOR, word(b"ftem", 0), word(b"ufte", 0), word(b"muft", 0)],
        0x8000_0000 => [EXTENDED_MAX, 0, 0, 0],
        0x8000_0001 => [0, 0, flags(Ecx), flags(Edx)],
        0x8000_0002..=0x8000_0004 => {
            let at = (number - 0x8000_0002) as usize * 4;
            std::array::from_fn(|i| word(BRAND, at + i))
        }
        0x8000_0005 => [0; 4],
        // Level 2: 512 KiB, 8 ways, 64-byte lines.
        0x8000_0006 => [0, 0, 512 << 16 | 6 << 12 | 64, 0],
        0x8000_0007 => [0, 0, 0, flags(Edx)],
        EXTENDED_MAX => [PHYS_BITS | 48 << 8, 0, 0, 0],
        // Beyond a range: the highest basic leaf.
        _ => leaf(BASIC_MAX, sub, features),
    }
}

/// Deterministic cache parameters: of no effect, but libraries size their copies by them.
fn caches(sub: u32) -> [u32; 4] {
    // (type, level, sets): 8 ways of 64-byte lines.
    let (kind, level, sets) = match sub {
        0 => (1, 1, 64),
        1 => (2, 1, 64),
        2 => (3, 2, 1024),
        _ => return [0; 4],
    };
    [kind | level << 5 | 1 << 8, 7 << 22 | 63, sets - 1, 0]
}

/// CPUID.1:EDX: there is a local APIC.
const APIC: u32 = 1 << 9;
/// CPUID.1:ECX of XGETBV and XSETBV: CR4.OSXSAVE.
const OSXSAVE: u32 = 1 << 27;

/// State components; the size of the area for those enabled is filled in (SDM Vol. 1, 13.2).
fn xsave(sub: u32, flags: u32) -> [u32; 4] {
    match sub {
        0 => [xcr0::KNOWN as u32, 0, 576 + 256, 0],
        1 => [flags, 0, 0, 0],
        // AVX: 256 bytes at 576.
        2 => [256, 576, 0, 0],
        _ => [0; 4],
    }
}

impl Cpu {
    /// CPUID.
    pub(crate) fn cpuid(&mut self) {
        let (number, sub) = (self.gpr[RAX] as u32, self.gpr[RCX] as u32);
        let [a, mut b, mut c, mut d] = leaf(number, sub, self.features);
        if number == 1 && !self.bus.lapic.is_enabled() {
            d &= !APIC;
        }
        match (number, sub) {
            (1, _) if self.cr4 & cr4::OSXSAVE != 0 => c |= OSXSAVE,
            (0xd, 0 | 1) if self.features.has(Feature::XSAVE) => b = self.xsave_bytes(),
            _ => {}
        }
        (self.gpr[RAX], self.gpr[RBX], self.gpr[RCX], self.gpr[RDX]) = (a.into(), b.into(), c.into(), d.into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::CpuModel;

    fn leaf(number: u32, sub: u32) -> [u32; 4] {
        super::leaf(number, sub, FeatureSet::of(CpuModel::V3))
    }

    #[test]
    fn leaves_beyond_a_range_are_the_highest_basic_leaf() {
        assert_eq!(leaf(0x17, 0), leaf(BASIC_MAX, 0));
        assert_eq!(leaf(0x8000_0009, 0), leaf(BASIC_MAX, 0));
        assert_eq!(leaf(0x4000_0001, 0), leaf(BASIC_MAX, 0));
    }

    #[test]
    fn texts() {
        let text = |words: [u32; 3]| words.iter().flat_map(|w| w.to_le_bytes()).collect::<Vec<u8>>();
        let [_, b, c, d] = leaf(0, 0);
        assert_eq!(text([b, d, c]), b"GenuineIntel");
        let [_, b, c, d] = leaf(HYPERVISOR, 0);
        assert_eq!(text([b, c, d]), b"ftemuftemuft");
        assert_eq!(leaf(0x8000_0002, 0)[0].to_le_bytes(), *b"ftem");
    }
}
