//! Operand widths as types: arithmetic and handlers are written once for all of them.

use crate::cpu::Cpu;

/// An unsigned integer of 8, 16, 32 or 64 bits.
pub(crate) trait Width: Copy + Eq + 'static {
    const BITS: u32;
    const SIZE: u64 = Self::BITS as u64 / 8;
    /// log2 of the size in bytes.
    const LOG: u32;
    const SIGN: u64 = 1 << (Self::BITS - 1);

    /// The low bits of `value`.
    fn low(value: u64) -> Self;
    /// Zero-extended.
    fn zx(self) -> u64;
    /// Sign-extended.
    fn sx(self) -> u64;
    /// Reads the register at byte offset `reg`.
    ///
    /// # Safety
    /// `reg` is the offset of a register field at the head of `Cpu`.
    unsafe fn get(cpu: *const Cpu, reg: u8) -> Self;
    /// Writes the register at byte offset `reg`: 32 bits clear the upper half, 8 and 16 bits leave the rest.
    ///
    /// # Safety
    /// As for `get`.
    unsafe fn set(cpu: *mut Cpu, reg: u8, value: Self);
}

macro_rules! width {
    ($t:ty, $signed:ty, $log:expr, $stored:ty) => {
        impl Width for $t {
            const BITS: u32 = <$t>::BITS;
            const LOG: u32 = $log;
            #[inline(always)]
            fn low(value: u64) -> Self {
                value as $t
            }
            #[inline(always)]
            fn zx(self) -> u64 {
                u64::from(self)
            }
            #[inline(always)]
            fn sx(self) -> u64 {
                self as $signed as i64 as u64
            }
            #[inline(always)]
            unsafe fn get(cpu: *const Cpu, reg: u8) -> Self {
                // SAFETY: the caller names a field at the head of `Cpu`; AH-BH are unaligned by nature.
                unsafe { cpu.cast::<u8>().add(usize::from(reg)).cast::<$t>().read_unaligned() }
            }
            #[inline(always)]
            unsafe fn set(cpu: *mut Cpu, reg: u8, value: Self) {
                // SAFETY: as for `get`.
                unsafe {
                    cpu.cast::<u8>().add(usize::from(reg)).cast::<$stored>().write_unaligned(<$stored>::from(value))
                }
            }
        }
    };
}

width!(u8, i8, 0, u8);
width!(u16, i16, 1, u16);
width!(u32, i32, 2, u64);
width!(u64, i64, 3, u64);

/// Calls a generic handler constructor for a width given in bytes.
macro_rules! by_width {
    ($bytes:expr, $T:ident => $e:expr) => {
        match $bytes {
            1 => {
                type $T = u8;
                $e
            }
            2 => {
                type $T = u16;
                $e
            }
            4 => {
                type $T = u32;
                $e
            }
            _ => {
                type $T = u64;
                $e
            }
        }
    };
}
pub(crate) use by_width;
