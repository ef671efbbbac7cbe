//! RFLAGS. The six arithmetic flags are kept as what they would be computed from.

use crate::width::Width;

/// Carry.
pub(crate) const CF: u64 = 1 << 0;
/// Even parity of the low byte.
pub(crate) const PF: u64 = 1 << 2;
/// Carry out of bit 3.
pub(crate) const AF: u64 = 1 << 4;
/// Zero.
pub(crate) const ZF: u64 = 1 << 6;
/// Sign.
pub(crate) const SF: u64 = 1 << 7;
/// Signed overflow.
pub(crate) const OF: u64 = 1 << 11;
/// The six together.
pub(crate) const ARITH: u64 = CF | PF | AF | ZF | SF | OF;

/// Single-step.
pub(crate) const TF: u64 = 1 << 8;
/// Interrupts on.
pub(crate) const IF: u64 = 1 << 9;
/// String direction.
pub(crate) const DF: u64 = 1 << 10;
/// I/O privilege level (two bits).
pub(crate) const IOPL: u64 = 3 << 12;
/// Nested task.
pub(crate) const NT: u64 = 1 << 14;
/// Resume.
pub(crate) const RF: u64 = 1 << 16;
/// Virtual-8086.
pub(crate) const VM: u64 = 1 << 17;
/// Alignment check.
pub(crate) const AC: u64 = 1 << 18;
/// CPUID can be used.
pub(crate) const ID: u64 = 1 << 21;
/// Always one.
pub(crate) const FIXED: u64 = 1 << 1;

/// The flags that there are.
pub(crate) const KNOWN: u64 = ARITH | FIXED | TF | IF | DF | IOPL | NT | RF | VM | AC | ID;

/// How `Lazy` is to be read. The low two bits are log2 of the operand size.
pub(crate) mod kind {
    /// `a` holds the flags themselves.
    pub(crate) const EXPLICIT: u32 = 0;
    /// `a` is the sign-extended result; CF = OF = AF = 0.
    pub(crate) const LOGIC: u32 = 4;
    /// `a + b`.
    pub(crate) const ADD: u32 = 8;
    /// `a - b`.
    pub(crate) const SUB: u32 = 12;
    /// `a` is the result of + 1, `b` the CF to keep.
    pub(crate) const INC: u32 = 16;
    /// `a` is the result of - 1, `b` the CF to keep.
    pub(crate) const DEC: u32 = 20;
}

/// The arithmetic flags, uncomputed: sign-extended operands and what was done to them.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(crate) struct Lazy {
    pub(crate) a: u64,
    pub(crate) b: u64,
    pub(crate) kind: u32,
}

/// PF for a result.
#[inline(always)]
pub(crate) fn parity(result: u64) -> u64 {
    if (result as u8).count_ones().is_multiple_of(2) { PF } else { 0 }
}

/// PF, ZF and SF of a sign-extended result.
#[inline(always)]
pub(crate) fn szp(result: u64) -> u64 {
    parity(result) | if result == 0 { ZF } else { 0 } | if (result as i64) < 0 { SF } else { 0 }
}

#[inline(always)]
fn sign_extend(value: u64, log: u32) -> u64 {
    let shift = 64 - (8 << log);
    ((value << shift) as i64 >> shift) as u64
}

impl Lazy {
    /// The flags given.
    #[inline(always)]
    pub(crate) const fn explicit(flags: u64) -> Self {
        Self { a: flags, b: 0, kind: kind::EXPLICIT }
    }

    /// Flags of a logic operation with this result.
    #[inline(always)]
    pub(crate) fn logic<T: Width>(result: T) -> Self {
        Self { a: result.sx(), b: 0, kind: kind::LOGIC }
    }

    /// Flags of `a + b`.
    #[inline(always)]
    pub(crate) fn add<T: Width>(a: T, b: T) -> Self {
        Self { a: a.sx(), b: b.sx(), kind: kind::ADD | T::LOG }
    }

    /// Flags of `a - b`.
    #[inline(always)]
    pub(crate) fn sub<T: Width>(a: T, b: T) -> Self {
        Self { a: a.sx(), b: b.sx(), kind: kind::SUB | T::LOG }
    }

    /// The six flags at their places in RFLAGS.
    pub(crate) fn get(&self) -> u64 {
        let (a, b, log) = (self.a, self.b, self.kind & 3);
        match self.kind & !3 {
            kind::LOGIC => szp(a),
            kind::ADD => {
                let r = sign_extend(a.wrapping_add(b), log);
                let carry = (a & b | (a | b) & !r) >> 63;
                szp(r) | carry * CF | (a ^ b ^ r) & AF | (((a ^ r) & (b ^ r)) >> 63) * OF
            }
            kind::SUB => {
                let r = sign_extend(a.wrapping_sub(b), log);
                szp(r) | u64::from(a < b) * CF | (a ^ b ^ r) & AF | (((a ^ b) & (a ^ r)) >> 63) * OF
            }
            kind::INC => {
                let overflow = a == sign_extend(1 << ((8 << log) - 1), log);
                szp(a) | b | u64::from(a & 15 == 0) * AF | u64::from(overflow) * OF
            }
            kind::DEC => {
                let overflow = a == (1 << ((8 << log) - 1)) - 1;
                szp(a) | b | u64::from(a & 15 == 15) * AF | u64::from(overflow) * OF
            }
            _ => a,
        }
    }

    /// CF alone, as 0 or 1.
    #[inline(always)]
    pub(crate) fn carry(&self) -> u64 {
        match self.kind & !3 {
            kind::SUB => u64::from(self.a < self.b),
            kind::LOGIC => 0,
            kind::INC | kind::DEC => self.b,
            kind::ADD => {
                let r = sign_extend(self.a.wrapping_add(self.b), self.kind & 3);
                (self.a & self.b | (self.a | self.b) & !r) >> 63
            }
            _ => self.a & CF,
        }
    }
}

/// Whether condition `cc` (the low four bits of a Jcc opcode, SDM Vol. 2D, table B-10) holds for these flags.
#[inline(always)]
pub(crate) fn holds(cc: u8, flags: u64) -> bool {
    let less = (flags & SF != 0) != (flags & OF != 0);
    let yes = match cc >> 1 {
        0 => flags & OF != 0,
        1 => flags & CF != 0,
        2 => flags & ZF != 0,
        3 => flags & (CF | ZF) != 0,
        4 => flags & SF != 0,
        5 => flags & PF != 0,
        6 => less,
        _ => less || flags & ZF != 0,
    };
    yes != (cc & 1 == 1)
}

/// Condition `CC` after `a - b` on sign-extended operands of type `T`, without computing flags.
#[inline(always)]
pub(crate) fn holds_sub<T: Width, const CC: u8>(a: T, b: T) -> bool {
    let (sa, sb) = (a.sx() as i64, b.sx() as i64);
    let r = T::low(a.zx().wrapping_sub(b.zx()));
    let yes = match CC >> 1 {
        0 => (a.zx() ^ b.zx()) & (a.zx() ^ r.zx()) & T::SIGN != 0,
        1 => a.zx() < b.zx(),
        2 => a == b,
        3 => a.zx() <= b.zx(),
        4 => (r.sx() as i64) < 0,
        5 => parity(r.zx()) != 0,
        6 => sa < sb,
        _ => sa <= sb,
    };
    yes != (CC & 1 == 1)
}

/// Condition `CC` after a logic operation with result `r`.
#[inline(always)]
pub(crate) fn holds_logic<T: Width, const CC: u8>(r: T) -> bool {
    let s = r.sx() as i64;
    match CC {
        0 | 2 => false,
        1 | 3 => true,
        4 | 6 => s == 0,
        5 | 7 => s != 0,
        8 | 12 => s < 0,
        9 | 13 => s >= 0,
        10 => parity(s as u64) != 0,
        11 => parity(s as u64) == 0,
        14 => s <= 0,
        _ => s > 0,
    }
}

impl Lazy {
    /// Whether condition `CC` holds; `None`: the flags must be computed first (`exec::compute_flags`).
    #[inline(always)]
    pub(crate) fn test<const CC: u8>(&self) -> Option<bool> {
        match self.kind & !3 {
            kind::SUB if !matches!(CC, 0 | 1 | 8..=11) => Some(holds_sub::<u64, CC>(self.a, self.b)),
            kind::EXPLICIT => Some(holds(CC, self.a)),
            kind::LOGIC => Some(holds_logic::<u64, CC>(self.a)),
            _ if matches!(CC, 2 | 3) => Some((self.carry() != 0) != (CC & 1 == 1)),
            _ if matches!(CC, 4 | 5) => Some((self.result() == 0) != (CC & 1 == 1)),
            _ if matches!(CC, 8 | 9) => Some(((self.result() as i64) < 0) != (CC & 1 == 1)),
            _ => None,
        }
    }

    /// The sign-extended result, unless the flags are explicit.
    #[inline(always)]
    fn result(&self) -> u64 {
        match self.kind & !3 {
            kind::ADD => sign_extend(self.a.wrapping_add(self.b), self.kind & 3),
            kind::SUB => sign_extend(self.a.wrapping_sub(self.b), self.kind & 3),
            _ => self.a,
        }
    }
}
