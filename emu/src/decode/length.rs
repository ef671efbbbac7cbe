//! How long an encoding is, whether or not it is an instruction: the CPU fetches all of it (and raises #PF,
//! or #GP above 15 bytes) before it finds out (#UD). As measured on recent Intel silicon; SDM Vol. 2D, appendix A
//! has the maps.

/// Bytes of an instruction at most.
pub(crate) const MAX: usize = 15;

/// The length of what begins in `code`, which is code of `bits`; `None` if `code` does not hold it whole.
pub(super) fn of(code: &[u8], bits: u32) -> Option<usize> {
    let mut reader = Reader { code, at: 0, bits };
    let (prefixes, opcode) = reader.prefixes()?;
    let tail = match opcode {
        0x0f => reader.escape(&prefixes)?,
        // LES, LDS and BOUND, unless their ModRM names registers.
        0xc4 | 0xc5 | 0x62 if bits != 64 && reader.peek()? < 0xc0 => MODRM,
        0xc4 => reader.vex(2)?,
        0xc5 => {
            reader.next()?;
            map_0f(reader.next()?, true, 4)
        }
        0x62 => reader.vex(3)?,
        _ => one_byte(opcode, &prefixes, reader.peek()),
    };
    if tail.modrm {
        reader.modrm(prefixes.address_bytes)?;
    }
    let end = reader.at + tail.immediate;
    (end <= code.len()).then_some(end)
}

/// What follows an opcode.
#[derive(Clone, Copy)]
struct Tail {
    modrm: bool,
    immediate: usize,
}

const NOTHING: Tail = tail(false, 0);
const MODRM: Tail = tail(true, 0);

const fn tail(modrm: bool, immediate: usize) -> Tail {
    Tail { modrm, immediate }
}

/// What the prefixes that change lengths make of them.
struct Prefixes {
    /// Bytes of an immediate that is as long as the operand, at most 4.
    operand_bytes: usize,
    /// Bytes of a relative near branch's distance.
    branch_bytes: usize,
    address_bytes: usize,
    rex_w: bool,
}

struct Reader<'c> {
    code: &'c [u8],
    at: usize,
    bits: u32,
}

impl Reader<'_> {
    fn next(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.at += 1;
        Some(byte)
    }

    fn peek(&self) -> Option<u8> {
        self.code.get(self.at).copied()
    }

    /// Reads the prefixes and the byte behind them.
    fn prefixes(&mut self) -> Option<(Prefixes, u8)> {
        let (mut operand, mut address, mut rex_w) = (false, false, false);
        loop {
            let byte = self.next()?;
            // REX counts only right before the opcode.
            match byte {
                0x66 => operand = true,
                0x67 => address = true,
                0x26 | 0x2e | 0x36 | 0x3e | 0x64 | 0x65 | 0xf0 | 0xf2 | 0xf3 => {}
                0x40..=0x4f if self.bits == 64 => {}
                _ => return Some((self.sizes(operand, address, rex_w), byte)),
            }
            rex_w = self.bits == 64 && (0x48..=0x4f).contains(&byte);
        }
    }

    fn sizes(&self, operand: bool, address: bool, rex_w: bool) -> Prefixes {
        let operand_bytes = if (self.bits == 16) == operand || rex_w { 4 } else { 2 };
        let address_bytes = match (self.bits, address) {
            (64, false) => 8,
            (64, true) | (32, false) | (16, true) => 4,
            _ => 2,
        };
        // Intel ignores the prefix in 64-bit mode.
        let branch_bytes = if self.bits == 64 { 4 } else { operand_bytes };
        Prefixes { operand_bytes, branch_bytes, address_bytes, rex_w }
    }

    /// Behind 0F.
    fn escape(&mut self, prefixes: &Prefixes) -> Option<Tail> {
        let opcode = self.next()?;
        Some(match opcode {
            0x38..=0x3f => {
                self.next()?;
                tail(true, usize::from(opcode & 2 != 0))
            }
            _ => map_0f(opcode, false, prefixes.branch_bytes),
        })
    }

    /// VEX of three bytes and EVEX, of which `payload` bytes follow the first. Two bits name the map; without a map
    /// it is LES or BOUND, as in 32-bit mode.
    fn vex(&mut self, payload: usize) -> Option<Tail> {
        let map = self.peek()? & 3;
        if map == 0 {
            return Some(MODRM);
        }
        for _ in 0..payload {
            self.next()?;
        }
        let opcode = self.next()?;
        Some(match map {
            1 => map_0f(opcode, true, 4),
            2 => MODRM,
            _ => tail(true, 1),
        })
    }

    /// ModRM, SIB and displacement (SDM Vol. 2A, 2.1.5).
    fn modrm(&mut self, address_bytes: usize) -> Option<()> {
        let modrm = self.next()?;
        let (kind, rm) = (modrm >> 6, modrm & 7);
        if address_bytes == 2 {
            self.at += match kind {
                0 if rm == 6 => 2,
                1 => 1,
                2 => 2,
                _ => 0,
            };
            return Some(());
        }
        let base = if rm == 4 && kind != 3 { self.next()? & 7 } else { rm };
        self.at += match kind {
            0 if base == 5 => 4,
            1 => 1,
            2 => 4,
            _ => 0,
        };
        Some(())
    }
}

/// The one-byte map. `next` is the byte behind the opcode: group 3 has an immediate for two of its members.
fn one_byte(opcode: u8, prefixes: &Prefixes, next: Option<u8>) -> Tail {
    let word_or_long = prefixes.operand_bytes;
    match opcode {
        0x00..=0x3f => match opcode & 7 {
            0..=3 => MODRM,
            4 => tail(false, 1),
            5 => tail(false, word_or_long),
            _ => NOTHING,
        },
        0x63 | 0x84..=0x8f | 0xd0..=0xd3 | 0xd8..=0xdf | 0xfe | 0xff => MODRM,
        0x68 | 0xa9 => tail(false, word_or_long),
        0x69 | 0x81 | 0xc7 => tail(true, word_or_long),
        0x6a | 0x70..=0x7f | 0xa8 | 0xb0..=0xb7 | 0xcd | 0xd4 | 0xd5 | 0xe0..=0xe7 | 0xeb => tail(false, 1),
        0x6b | 0x80 | 0x82 | 0x83 | 0xc0 | 0xc1 | 0xc6 => tail(true, 1),
        // Far pointers, which are invalid in 64-bit mode.
        0x9a | 0xea => tail(false, 2 + word_or_long),
        0xa0..=0xa3 => tail(false, prefixes.address_bytes),
        0xb8..=0xbf => tail(false, if prefixes.rex_w { 8 } else { word_or_long }),
        0xc2 | 0xca => tail(false, 2),
        0xc8 => tail(false, 3),
        0xe8 | 0xe9 => tail(false, prefixes.branch_bytes),
        0xf6 | 0xf7 => {
            let test = next.is_some_and(|modrm| modrm & 0x30 == 0);
            tail(
                true,
                if !test {
                    0
                } else if opcode == 0xf6 {
                    1
                } else {
                    word_or_long
                },
            )
        }
        _ => NOTHING,
    }
}

/// The two-byte map, behind 0F or (`vex`) in VEX and EVEX.
fn map_0f(opcode: u8, vex: bool, branch_bytes: usize) -> Tail {
    match opcode {
        0x04..=0x0c | 0x0e | 0x0f | 0x24..=0x27 | 0x30..=0x37 | 0x77 => NOTHING,
        0x38..=0x3f if vex => NOTHING,
        // MOV to and from control and debug registers: a ModRM that always names registers.
        0x20..=0x23 => tail(false, 1),
        0xa0..=0xa2 | 0xa8..=0xaa | 0xc8..=0xcf => NOTHING,
        0x70..=0x73 | 0xa4 | 0xac | 0xba | 0xc2 | 0xc4..=0xc6 => tail(true, 1),
        0x80..=0x8f => tail(false, branch_bytes),
        _ => MODRM,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As silicon fetched them: the bytes, and how many of them it took.
    const MEASURED: &[(&[u8], usize)] = &[
        (&[0x0f, 0x0a, 0x80], 2),
        (&[0x0f, 0x0f, 0x80], 2),
        (&[0x0f, 0x20, 0x80, 1], 3),
        (&[0xc4, 0xe1, 0x25, 0x20, 0xac, 1], 5),
        (&[0x0f, 0x39, 0x80, 0x80, 1, 2, 3, 4], 8),
        (&[0x0f, 0x3e, 0x80, 0x80, 1, 2, 3, 4, 5], 9),
        (&[0x0f, 0x84, 1, 2, 3, 4, 5, 6], 6),
        (&[0x66, 0x0f, 0x84, 1, 2, 3, 4, 5, 6], 7),
        (&[0x0f, 0xff, 0x04, 0x25, 1, 2, 3, 4, 5], 8),
        (&[0xea, 1, 2, 3, 4, 5, 6], 7),
        (&[0x66, 0xea, 1, 2, 3, 4, 5, 6], 6),
        (&[0xd5, 1, 2], 2),
        (&[0x06, 1, 2], 1),
        (&[0xc4, 0xe0, 1, 2], 2),
        (&[0xc4, 0xe4, 1, 2], 2),
        (&[0xc4, 0x70, 1, 2], 3),
        (&[0x62, 0x94, 0x80, 1, 2, 3, 4, 5], 7),
        (&[0xc4, 0xe5, 0x78, 0x77, 2], 4),
        (&[0xc4, 0xff, 0x78, 0x77, 0x80, 1, 2, 3, 4, 5], 10),
        (&[0xc5, 0xf8, 0x3a, 1], 3),
        (&[0x66, 0xc5, 0xf8, 0x70, 0xc0, 1], 6),
        (&[0x62, 0xf4, 1, 2], 2),
        (&[0x62, 0xf2, 0x7c, 0x08, 0, 0x40, 1, 2], 7),
        (&[0x48, 0xb8, 1, 2, 3, 4, 5, 6, 7, 8, 9], 10),
        (&[0x66, 0xb8, 1, 2, 3, 4], 4),
        (&[0x48, 0x66, 0xb8, 1, 2, 3, 4], 5),
        (&[0x67, 0xa0, 1, 2, 3, 4, 5], 6),
        (&[0xf7, 0x00, 1, 2, 3, 4], 6),
        (&[0x66, 0x48, 0xf7, 0xc0, 1, 2, 3, 4, 5], 8),
        (&[0xf6, 0x10, 1], 2),
        (&[0x8f, 0xbe, 1, 2, 3, 4], 6),
        (&[0xfe, 0x96, 1, 2, 3, 4], 6),
    ];

    #[test]
    fn lengths_are_those_of_silicon() {
        for (code, length) in MEASURED {
            assert_eq!(of(code, 64), Some(*length), "{code:02x?}");
            assert_eq!(of(&code[..length - 1], 64), None, "{code:02x?} cut");
        }
    }

    /// Whatever the decoder takes for an instruction has the length that is found here.
    #[test]
    fn lengths_are_those_of_the_decoder() {
        let mut seed = 1u64;
        let mut random = || {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            seed.to_be_bytes()
        };
        for bits in [16, 32, 64] {
            let mut valid = 0;
            for _ in 0..200_000 {
                let code = [random(), random()].concat();
                if let Some(length) = super::super::valid_length(&code, bits) {
                    valid += 1;
                    assert_eq!(of(&code, bits), Some(length), "{bits}: {code:02x?}");
                }
            }
            assert!(valid > 60_000);
        }
    }
}
