//! Bytes to instructions in the engine's own terms. This file and `decode/features.rs` are the only ones that name the decoder.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use iced_x86::{
    Code, CodeSize, ConditionCode, Decoder, DecoderError, DecoderOptions, EncodingKind, FlowControl, Instruction,
    Mnemonic, OpKind, Register,
};

use crate::cpu::fault::vector;
use crate::cpu::mode::Mode;
use crate::cpu::model::FeatureSet;
use crate::cpu::offset;
use crate::cpu::regs::{DS, ES, FS, SS};

mod features;
mod length;

pub(crate) use length::MAX as INSN_BYTES_MAX;

/// One list of operations: the enum, the mapping from the decoder's mnemonics, and the list for reports.
/// `exec::bind` matches on the enum without a wildcard, so that a missing handler does not compile.
macro_rules! operations {
    ($($name:ident: $($mnemonic:ident)+;)+) => {
        /// What an instruction does, whatever its operands.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Operation {
            $($name,)+
            /// SSE and SSE2, by family.
            SseMove(SseMove),
            SseInt(SseInt),
            SseFloat(SseFloat),
            SseConvert(SseConvert),
            /// SSE3 to SSE4.2, AES, SHA and the like.
            SseInt4(SseInt4),
            SseFloat4(SseFloat4),
            SseText(SseText),
            SseCrypto(SseCrypto),
            /// AVX and AVX2 where SSE has no counterpart.
            Avx(Avx),
            Fma(Fma),
            /// What is on MMX registers alone.
            Mmx(Mmx),
            /// x87, by family.
            X87Arith(X87Arith),
            X87Move(X87Move),
            X87Control(X87Control),
            X87Function(X87Function),
            /// Not an instruction of this machine: #UD.
            Invalid,
        }

        impl Operation {
            fn of(mnemonic: Mnemonic) -> Self {
                match mnemonic {
                    $($(Mnemonic::$mnemonic)|+ => Self::$name,)+
                    _ => Self::sse(mnemonic).or_else(|| namesake(mnemonic).map(Self::of)).unwrap_or(Self::Invalid),
                }
            }
        }
    };
}

operations! {
    // Data transfer.
    Mov: Mov; Movzx: Movzx; Movsx: Movsx Movsxd; Lea: Lea; Xchg: Xchg; Bswap: Bswap; Xlat: Xlatb;
    Movdiri: Movdiri;
    Cmovcc: Cmovo Cmovno Cmovb Cmovae Cmove Cmovne Cmovbe Cmova Cmovs Cmovns Cmovp Cmovnp Cmovl Cmovge Cmovle Cmovg;
    Setcc: Seto Setno Setb Setae Sete Setne Setbe Seta Sets Setns Setp Setnp Setl Setge Setle Setg;
    Widen: Cbw Cwde Cdqe; WidenPair: Cwd Cdq Cqo;
    Xadd: Xadd; Cmpxchg: Cmpxchg; Cmpxchg8b: Cmpxchg8b Cmpxchg16b;
    Lahf: Lahf; Sahf: Sahf;
    // Not in 64-bit mode.
    Aaa: Aaa; Aas: Aas; Aam: Aam; Aad: Aad; Daa: Daa; Das: Das; Salc: Salc; Bound: Bound; Into: Into; Arpl: Arpl;
    Pusha: Pusha Pushad; Popa: Popa Popad; Les: Les; Lds: Lds;
    // Arithmetic and logic.
    Add: Add; Or: Or; Adc: Adc; Sbb: Sbb; And: And; Sub: Sub; Xor: Xor; Cmp: Cmp; Test: Test;
    Inc: Inc; Dec: Dec; Neg: Neg; Not: Not;
    Mul: Mul; Imul: Imul; Div: Div; Idiv: Idiv;
    Rol: Rol; Ror: Ror; Rcl: Rcl; Rcr: Rcr; Shl: Shl Sal; Shr: Shr; Sar: Sar; Shld: Shld; Shrd: Shrd;
    Bt: Bt; Bts: Bts; Btr: Btr; Btc: Btc; Bsf: Bsf; Bsr: Bsr;
    Popcnt: Popcnt; Lzcnt: Lzcnt; Tzcnt: Tzcnt; Andn: Andn; Bextr: Bextr; Blsi: Blsi; Blsmsk: Blsmsk; Blsr: Blsr;
    Bzhi: Bzhi; Mulx: Mulx; Pdep: Pdep; Pext: Pext; Rorx: Rorx; Sarx: Sarx; Shlx: Shlx; Shrx: Shrx;
    Adcx: Adcx; Adox: Adox; Movbe: Movbe; Crc32: Crc32;
    Clc: Clc; Stc: Stc; Cmc: Cmc; Cld: Cld; Std: Std;
    // Control.
    Jmp: Jmp; Call: Call; Ret: Ret; Loop: Loop; Loope: Loope; Loopne: Loopne; Jrcxz: Jcxz Jecxz Jrcxz;
    Jcc: Jo Jno Jb Jae Je Jne Jbe Ja Js Jns Jp Jnp Jl Jge Jle Jg;
    // Stack.
    Push: Push; Pop: Pop; Pushf: Pushf Pushfd Pushfq; Popf: Popf Popfd Popfq; Enter: Enter; Leave: Leave;
    // Strings.
    Movs: Movsb Movsw Movsq; MovsdOrSse: Movsd; Cmps: Cmpsb Cmpsw Cmpsq; CmpsdOrSse: Cmpsd; Stos: Stosb Stosw Stosd Stosq;
    Lods: Lodsb Lodsw Lodsd Lodsq; Scas: Scasb Scasw Scasd Scasq; Ins: Insb Insw Insd; Outs: Outsb Outsw Outsd;
    // No effect here. RDSSP, CLDEMOTE and PREFETCHIT are among the reserved NOPs as long as nobody advertises them.
    Nop: Nop Reservednop Pause Endbr64 Endbr32 Lfence Mfence Sfence Rdsspd Rdsspq Cldemote
        Prefetchnta Prefetcht0 Prefetcht1 Prefetcht2 Prefetch Prefetchw Prefetchwt1 Prefetchit0 Prefetchit1;
    // System.
    Hlt: Hlt; Cli: Cli; Sti: Sti; In: In; Out: Out; Cpuid: Cpuid; Rdtsc: Rdtsc; Rdtscp: Rdtscp;
    Rdrand: Rdrand; Rdseed: Rdseed; Rdmsr: Rdmsr; Wrmsr: Wrmsr; Clts: Clts; Wbinvd: Wbinvd Invd; Invlpg: Invlpg;
    Invpcid: Invpcid; Clac: Clac; Stac: Stac; Serialize: Serialize; Rdpmc: Rdpmc;
    Lgdt: Lgdt; Lidt: Lidt; Sgdt: Sgdt; Sidt: Sidt; Lldt: Lldt; Sldt: Sldt; Ltr: Ltr; Str: Str; Smsw: Smsw; Lmsw: Lmsw;
    Lar: Lar; Lsl: Lsl; Verr: Verr; Verw: Verw; Swapgs: Swapgs; Clflush: Clflush Clflushopt;
    Rdpid: Rdpid; Rdfsbase: Rdfsbase; Rdgsbase: Rdgsbase; Wrfsbase: Wrfsbase; Wrgsbase: Wrgsbase;
    Int: Int; Int3: Int3; Int1: Int1; Iret: Iret Iretd Iretq; RetFar: Retf;
    Syscall: Syscall; Sysret: Sysret Sysretq; Sysenter: Sysenter; Sysexit: Sysexit Sysexitq;
    Lfs: Lfs; Lgs: Lgs; Lss: Lss; Ud: Ud0 Ud1 Ud2;
    Fxsave: Fxsave Fxsave64; Fxrstor: Fxrstor Fxrstor64; Ldmxcsr: Ldmxcsr; Stmxcsr: Stmxcsr;
    Xgetbv: Xgetbv; Xsetbv: Xsetbv; Xsave: Xsave Xsave64; Xsaveopt: Xsaveopt Xsaveopt64; Xsavec: Xsavec Xsavec64;
    Xsaves: Xsaves Xsaves64; Xrstor: Xrstor Xrstor64; Xrstors: Xrstors Xrstors64;
}

/// The lists of the SSE families: an operation for each mnemonic. Forms on MMX registers share some of the mnemonics.
macro_rules! sse_operations {
    ($($(#[$doc:meta])+ $family:ident: $($name:ident)+;)+) => {
        $($(#[$doc])+
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum $family {
            $($name,)+
        })+

        impl Operation {
            fn sse(mnemonic: Mnemonic) -> Option<Self> {
                match mnemonic {
                    $($(Mnemonic::$name => Some(Self::$family($family::$name)),)+)+
                    _ => None,
                }
            }
        }
    };
}

sse_operations! {
    /// Moves (`exec::sse::mov`).
    SseMove: Movaps Movapd Movdqa Movups Movupd Movdqu Movntps Movntpd Movntdq Movnti Maskmovdqu
        Movss Movsd Movd Movq Movlps Movlpd Movhps Movhpd Movlhps Movhlps
        Movmskps Movmskpd Pmovmskb Lddqu Movntdqa
        Pextrb Pextrw Pextrd Pextrq Extractps Pinsrb Pinsrw Pinsrd Pinsrq;
    /// Packed integers (`exec::sse::int`).
    SseInt: Paddb Paddw Paddd Paddq Psubb Psubw Psubd Psubq
        Paddsb Paddsw Paddusb Paddusw Psubsb Psubsw Psubusb Psubusw
        Pmullw Pmulhw Pmulhuw Pmuludq Pmaddwd Psadbw Pavgb Pavgw Pminub Pmaxub Pminsw Pmaxsw
        Pcmpeqb Pcmpeqw Pcmpeqd Pcmpgtb Pcmpgtw Pcmpgtd Pand Pandn Por Pxor
        Psllw Pslld Psllq Psrlw Psrld Psrlq Psraw Psrad Pslldq Psrldq
        Punpcklbw Punpcklwd Punpckldq Punpcklqdq Punpckhbw Punpckhwd Punpckhdq Punpckhqdq
        Packsswb Packssdw Packuswb Pshufd Pshuflw Pshufhw;
    /// Floating point (`exec::sse::float`).
    SseFloat: Addps Addpd Addss Addsd Subps Subpd Subss Subsd Mulps Mulpd Mulss Mulsd Divps Divpd Divss Divsd
        Minps Minpd Minss Minsd Maxps Maxpd Maxss Maxsd Sqrtps Sqrtpd Sqrtss Sqrtsd Rcpps Rcpss Rsqrtps Rsqrtss
        Cmpps Cmppd Cmpss Cmpsd Comiss Comisd Ucomiss Ucomisd
        Andps Andpd Andnps Andnpd Orps Orpd Xorps Xorpd
        Unpcklps Unpcklpd Unpckhps Unpckhpd Shufps Shufpd;
    /// Conversions (`exec::sse::convert`).
    SseConvert: Cvtsi2ss Cvtsi2sd Cvtss2si Cvtsd2si Cvttss2si Cvttsd2si
        Cvtps2dq Cvttps2dq Cvtpd2dq Cvttpd2dq Cvtdq2ps Cvtdq2pd Cvtps2pd Cvtpd2ps Cvtss2sd Cvtsd2ss;
    /// Packed integers of SSSE3 and SSE4 (`exec::sse::int4`).
    SseInt4: Pshufb Palignr Phaddw Phaddd Phaddsw Phsubw Phsubd Phsubsw Pmaddubsw Pmulhrsw
        Psignb Psignw Psignd Pabsb Pabsw Pabsd
        Pmuldq Pmulld Pcmpeqq Pcmpgtq Packusdw Pminsb Pminsd Pminuw Pminud Pmaxsb Pmaxsd Pmaxuw Pmaxud
        Pblendw Pblendvb Mpsadbw Phminposuw Ptest
        Pmovsxbw Pmovsxbd Pmovsxbq Pmovsxwd Pmovsxwq Pmovsxdq Pmovzxbw Pmovzxbd Pmovzxbq Pmovzxwd Pmovzxwq Pmovzxdq;
    /// Floating point of SSE3 and SSE4.1 (`exec::sse::float4`).
    SseFloat4: Haddps Haddpd Hsubps Hsubpd Addsubps Addsubpd Roundps Roundpd Roundss Roundsd Dpps Dppd
        Blendps Blendpd Blendvps Blendvpd Insertps Movddup Movshdup Movsldup;
    /// Strings in registers (`exec::sse::text`).
    SseText: Pcmpestri Pcmpestrm Pcmpestri64 Pcmpestrm64 Pcmpistri Pcmpistrm;
    /// AES, PCLMULQDQ, SHA, GFNI (`exec::sse::crypto`).
    SseCrypto: Aesenc Aesenclast Aesdec Aesdeclast Aesimc Aeskeygenassist Pclmulqdq
        Sha1rnds4 Sha1nexte Sha1msg1 Sha1msg2 Sha256rnds2 Sha256msg1 Sha256msg2 Gf2p8mulb Gf2p8affineqb Gf2p8affineinvqb;
    /// AVX and AVX2 (`exec::sse::avx`, `exec::sse::gather`).
    Avx: Vbroadcastss Vbroadcastsd Vbroadcastf128 Vbroadcasti128 Vpbroadcastb Vpbroadcastw Vpbroadcastd Vpbroadcastq
        Vinsertf128 Vinserti128 Vextractf128 Vextracti128 Vperm2f128 Vperm2i128 Vpermd Vpermps Vpermq Vpermpd
        Vpermilps Vpermilpd Vpblendd Vpsllvd Vpsllvq Vpsrlvd Vpsrlvq Vpsravd Vtestps Vtestpd Vzeroall Vzeroupper
        Vmaskmovps Vmaskmovpd Vpmaskmovd Vpmaskmovq
        Vgatherdps Vgatherdpd Vgatherqps Vgatherqpd Vpgatherdd Vpgatherdq Vpgatherqd Vpgatherqq;
    /// FMA and F16C (`exec::sse::fma`).
    Fma: Vcvtph2ps Vcvtps2ph
        Vfmadd132ps Vfmadd213ps Vfmadd231ps Vfmadd132pd Vfmadd213pd Vfmadd231pd Vfmadd132ss Vfmadd213ss Vfmadd231ss
        Vfmadd132sd Vfmadd213sd Vfmadd231sd Vfmsub132ps Vfmsub213ps Vfmsub231ps Vfmsub132pd Vfmsub213pd Vfmsub231pd
        Vfmsub132ss Vfmsub213ss Vfmsub231ss Vfmsub132sd Vfmsub213sd Vfmsub231sd Vfnmadd132ps Vfnmadd213ps Vfnmadd231ps
        Vfnmadd132pd Vfnmadd213pd Vfnmadd231pd Vfnmadd132ss Vfnmadd213ss Vfnmadd231ss Vfnmadd132sd Vfnmadd213sd
        Vfnmadd231sd Vfnmsub132ps Vfnmsub213ps Vfnmsub231ps Vfnmsub132pd Vfnmsub213pd Vfnmsub231pd Vfnmsub132ss
        Vfnmsub213ss Vfnmsub231ss Vfnmsub132sd Vfnmsub213sd Vfnmsub231sd Vfmaddsub132ps Vfmaddsub213ps Vfmaddsub231ps
        Vfmaddsub132pd Vfmaddsub213pd Vfmaddsub231pd Vfmsubadd132ps Vfmsubadd213ps Vfmsubadd231ps Vfmsubadd132pd
        Vfmsubadd213pd Vfmsubadd231pd;
    /// MMX instructions that share their mnemonic with none on XMM registers (`exec::mmx`).
    Mmx: Emms Movq2dq Movdq2q Maskmovq Movntq Pshufw Cvtpi2ps Cvtpi2pd Cvtps2pi Cvttps2pi Cvtpd2pi Cvttpd2pi;
    /// Arithmetic and comparison (`exec::x87::arith`).
    X87Arith: Fadd Faddp Fiadd Fsub Fsubp Fisub Fsubr Fsubrp Fisubr Fmul Fmulp Fimul Fdiv Fdivp Fidiv Fdivr Fdivrp Fidivr
        Fcom Fcomp Fcompp Ficom Ficomp Fucom Fucomp Fucompp Fcomi Fcomip Fucomi Fucomip Ftst Fxam
        Fsqrt Fabs Fchs Frndint Fscale Fprem Fprem1 Fxtract;
    /// Moves and constants (`exec::x87::mov`).
    X87Move: Fld Fst Fstp Fstpnce Fild Fist Fistp Fisttp Fbld Fbstp Fld1 Fldl2t Fldl2e Fldpi Fldlg2 Fldln2 Fldz Fxch
        Fcmovb Fcmove Fcmovbe Fcmovu Fcmovnb Fcmovne Fcmovnbe Fcmovnu;
    /// Transcendental functions (`exec::x87::function`).
    X87Function: F2xm1 Fyl2x Fyl2xp1 Fptan Fpatan Fsin Fcos Fsincos;
    /// Control (`exec::x87::control`).
    X87Control: Fninit Fnclex Fldcw Fnstcw Fnstsw Fnstenv Fldenv Fnsave Frstor Fincstp Fdecstp Ffree Ffreep Fnop Wait
        Fneni Fndisi Fnsetpm;
}

/// The SSE instruction of the same function: its name, less the V before it.
fn namesake(mnemonic: Mnemonic) -> Option<Mnemonic> {
    static NAMESAKES: LazyLock<Vec<Option<Mnemonic>>> = LazyLock::new(|| {
        let name = |m: Mnemonic| format!("{m:?}").to_lowercase();
        let all: BTreeMap<String, Mnemonic> = Mnemonic::values().map(|m| (name(m), m)).collect();
        let without_v = |m| name(m).strip_prefix('v').and_then(|rest| all.get(rest).copied());
        Mnemonic::values().map(without_v).collect()
    });
    NAMESAKES.get(mnemonic as usize).copied().flatten()
}

/// Where an operand is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operand {
    None,
    /// General register at this byte offset of `Cpu`.
    Reg(u8),
    /// The memory operand, `Insn::mem`.
    Mem,
    /// Immediate, extended to 64 bits as the instruction says.
    Imm(u64),
    /// Far pointer: the selector, and the offset as it stands in the instruction.
    Far(u16, u32),
    /// Near branch target: distance from the block's first byte.
    Branch(i64),
    /// XMM register: the place of its first word in `Cpu::ymm`.
    Xmm(u8),
    /// YMM register, likewise.
    Ymm(u8),
    /// MMX register number.
    Mm(u8),
    /// x87 register, from the top of the stack.
    St(u8),
    /// Segment register, index into `Cpu::seg`.
    Seg(u8),
    /// Control register number.
    Control(u8),
    /// Debug register number.
    Debug(u8),
}

/// The memory operand.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MemRef {
    /// Byte offsets into `Cpu`.
    pub(crate) base: u8,
    pub(crate) index: u8,
    /// Place in `Cpu::ymm` and bytes of a vector of indices.
    pub(crate) vector: Option<(u8, u8)>,
    pub(crate) scale: u8,
    pub(crate) disp: i64,
    /// The segment (index into `Cpu::seg`). In 64-bit mode only FS and GS have a base, and SS stands for #SS, not #GP.
    pub(crate) seg: u8,
    /// Bytes of the effective address, which is truncated to them: 2, 4 or 8.
    pub(crate) bytes: u8,
}

impl MemRef {
    /// The registers and the displacement as an op has them; `None` for an address that takes an op of its own.
    pub(crate) fn direct(&self, mode: Mode) -> Option<i32> {
        let disp = i32::try_from(self.disp).ok()?;
        let plain = match mode {
            Mode::Long => self.bytes == 8 && self.seg < FS as u8,
            // Sums beyond 4 GiB are truncated by whoever fills the TLB, which costs nothing if they are rare.
            Mode::Flat => {
                let small = if self.base == offset::ZERO { disp >= 0 } else { disp >= -0x1_0000 };
                self.bytes == 4 && self.index == offset::ZERO && small && matches!(self.seg.into(), ES | SS | DS)
            }
            Mode::Segmented32 | Mode::Segmented16 => false,
        };
        plain.then_some(disp)
    }
}

/// REP prefixes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rep {
    None,
    /// F3: REP, REPE.
    Equal,
    /// F2: REPNE.
    NotEqual,
}

/// A decoded instruction.
#[derive(Clone, Debug)]
pub(crate) struct Insn {
    pub(crate) operation: Operation,
    /// Mnemonic, for reports.
    pub(crate) name: Mnemonic,
    /// Distance from the block's first byte.
    pub(crate) off: u16,
    pub(crate) len: u8,
    pub(crate) operands: [Operand; 4],
    pub(crate) mem: MemRef,
    /// Bytes of the operation: the first operand's, for most.
    pub(crate) width: u8,
    /// Bytes of the second operand, if it is a register, or of the third of a VEX-encoded instruction.
    pub(crate) source_width: u8,
    /// Bytes of the memory operand.
    pub(crate) mem_width: u8,
    /// Has a VEX prefix.
    pub(crate) vex: bool,
    pub(crate) rep: Rep,
    /// Bytes of an address (string and count instructions).
    pub(crate) address_width: u8,
    /// Condition code of Jcc, SETcc, CMOVcc.
    pub(crate) cc: u8,
    /// The 11 bits of opcode that the x87 keeps.
    pub(crate) x87_opcode: u16,
    /// Someone reads a flag that this instruction writes.
    pub(crate) flags_live: bool,
    flags: FlagUse,
    may_fault: bool,
    ends: bool,
    far: bool,
}

/// The decoder's bits of the six arithmetic flags.
const ARITH: u32 = 0x3f;

#[derive(Clone, Copy, Debug, Default)]
struct FlagUse {
    read: u32,
    written: u32,
    /// Written whatever the operands: what was there before is dead.
    killed: u32,
}

/// Decodes up to `max` instructions from the start of `code`, to the end of straight-line code. Stops before an
/// encoding that `code` does not hold whole; one of more than 15 bytes, or of none that there are with `features`, is
/// #GP or #UD.
pub(crate) fn block(code: &[u8], max: usize, mode: Mode, features: FeatureSet) -> Vec<Insn> {
    let mut decoder = Decoder::with_ip(mode.bits(), code, 0, features::options(features));
    let mut insns = Vec::new();
    while insns.len() < max && decoder.can_decode() {
        let start = decoder.position();
        let instruction = decoder.decode();
        if decoder.last_error() != DecoderError::None {
            insns.extend(invalid(&code[start..], start as u16, mode.bits()));
            break;
        }
        let mut insn = convert(&instruction, start as u16);
        if !features::needs(&instruction).is_some_and(|needed| features.has_all(needed)) {
            insn.make_invalid();
        }
        insn.x87_opcode = x87_opcode(&code[start..]);
        let ends = insn.ends;
        insns.push(insn);
        if ends {
            break;
        }
    }
    insns
}

/// The low bits of the first escape opcode and the byte behind it (SDM Vol. 1, 8.1.9).
fn x87_opcode(code: &[u8]) -> u16 {
    let escape = code.windows(2).find(|bytes| matches!(bytes[0], 0xd8..=0xdf));
    escape.map_or(0, |bytes| u16::from(bytes[0] & 7) << 8 | u16::from(bytes[1]))
}

/// The instruction that raises what the encoding at the start of `code` raises; `None` if more bytes must be seen.
fn invalid(code: &[u8], off: u16, bits: u32) -> Option<Insn> {
    let (len, vector) = match length::of(&code[..code.len().min(length::MAX)], bits) {
        Some(len) => (len, vector::UD),
        None if code.len() >= length::MAX => (length::MAX, vector::GP),
        None => return None,
    };
    let mut insn = convert(&Instruction::default(), off);
    insn.make_invalid();
    (insn.len, insn.cc) = (len as u8, vector);
    Some(insn)
}

/// The length of the instruction at the start of `code`, if there is one.
#[cfg(test)]
fn valid_length(code: &[u8], bits: u32) -> Option<usize> {
    let mut decoder = Decoder::with_ip(bits, code, 0, DecoderOptions::NONE);
    let instruction = decoder.decode();
    let is_intel = instruction.code().encoding() != EncodingKind::D3NOW;
    (decoder.last_error() == DecoderError::None && is_intel).then_some(instruction.len())
}

/// The text of the instruction at the start of `code`, which is code of `bits` (16, 32 or 64), for reports.
#[must_use]
pub fn disassemble(code: &[u8], rip: u64, bits: u32) -> String {
    use iced_x86::Formatter;
    let mut decoder = Decoder::with_ip(bits, code, rip, DecoderOptions::NONE);
    let mut text = String::new();
    iced_x86::NasmFormatter::new().format(&decoder.decode(), &mut text);
    text
}

/// Sets `flags_live` by one backward pass; with `all`, everywhere.
pub(crate) fn mark_live_flags(insns: &mut [Insn], all: bool) {
    let mut live = ARITH;
    for insn in insns.iter_mut().rev() {
        insn.flags_live = all || live & insn.flags.written != 0;
        live = live & !insn.flags.killed | insn.flags.read;
        if insn.may_fault {
            live = ARITH;
        }
    }
}

fn convert(i: &Instruction, off: u16) -> Insn {
    let vex = i.encoding() == EncodingKind::VEX;
    let known = vex || i.encoding() == EncodingKind::Legacy;
    let operation = if known { Operation::of(i.mnemonic()) } else { Operation::Invalid };
    let mut operands = [Operand::None; 4];
    for (at, to) in (0..i.op_count().min(4)).zip(operands.iter_mut()) {
        *to = operand(i, at);
    }
    let mem = mem_ref(i);
    let has_mem = operands.contains(&Operand::Mem);
    Insn {
        operation,
        name: i.mnemonic(),
        off,
        len: i.len() as u8,
        operands,
        mem,
        width: width(i),
        source_width: match if vex && i.op_count() > 2 { 2 } else { 1 } {
            at if at < i.op_count() && i.op_kind(at) == OpKind::Register => i.op_register(at).size() as u8,
            _ => 0,
        },
        mem_width: i.memory_size().size() as u8,
        vex,
        rep: match (i.has_repne_prefix(), i.has_rep_prefix()) {
            (true, _) => Rep::NotEqual,
            (_, true) => Rep::Equal,
            _ => Rep::None,
        },
        address_width: address_width(i),
        cc: condition(i.condition_code()),
        x87_opcode: 0,
        flags_live: true,
        flags: flag_use(i),
        may_fault: has_mem || may_fault(i),
        ends: i.flow_control() != FlowControl::Next,
        far: i.is_jmp_far_indirect() || i.is_call_far_indirect() || i.is_jmp_far() || i.is_call_far(),
    }
}

fn operand(i: &Instruction, at: u32) -> Operand {
    match i.op_kind(at) {
        OpKind::Register => register(i.op_register(at)),
        // Relative to the block, which begins at address 0 to the decoder: negative distances have wrapped.
        OpKind::NearBranch16 => Operand::Branch((i.near_branch16() as i16).into()),
        OpKind::NearBranch32 => Operand::Branch((i.near_branch32() as i32).into()),
        OpKind::NearBranch64 => Operand::Branch(i.near_branch64() as i64),
        OpKind::FarBranch16 => Operand::Far(i.far_branch_selector(), i.far_branch16().into()),
        OpKind::FarBranch32 => Operand::Far(i.far_branch_selector(), i.far_branch32()),
        OpKind::Immediate8
        | OpKind::Immediate8_2nd
        | OpKind::Immediate16
        | OpKind::Immediate32
        | OpKind::Immediate64
        | OpKind::Immediate8to16
        | OpKind::Immediate8to32
        | OpKind::Immediate8to64
        | OpKind::Immediate32to64 => Operand::Imm(i.immediate(at)),
        OpKind::Memory => Operand::Mem,
        _ => Operand::None, // implied operands of string instructions
    }
}

fn register(r: Register) -> Operand {
    if r.is_gpr() {
        let high = matches!(r, Register::AH | Register::CH | Register::DH | Register::BH);
        Operand::Reg(gpr_offset(r) + u8::from(high))
    } else if r.is_xmm() {
        Operand::Xmm(vector_place(r))
    } else if r.is_ymm() {
        Operand::Ymm(vector_place(r))
    } else if r.is_mm() {
        Operand::Mm(r.number() as u8)
    } else if r.is_st() {
        Operand::St(r.number() as u8)
    } else if r.is_segment_register() {
        Operand::Seg(r.number() as u8)
    } else if r.is_cr() {
        Operand::Control(r.number() as u8)
    } else if r.is_dr() {
        Operand::Debug(r.number() as u8)
    } else {
        Operand::None
    }
}

/// The place of its first word in `Cpu::ymm`.
fn vector_place(r: Register) -> u8 {
    (r.number() * 4) as u8
}

fn gpr_offset(r: Register) -> u8 {
    (r.full_register().number() * 8) as u8
}

fn mem_ref(i: &Instruction) -> MemRef {
    let (base, index) = (i.memory_base(), i.memory_index());
    let place = |r: Register| match r {
        Register::None => offset::ZERO,
        Register::RIP | Register::EIP => offset::RIP,
        r if r.is_gpr() => gpr_offset(r),
        _ => offset::ZERO,
    };
    let long = i.code_size() == CodeSize::Code64;
    // The decoder resolves RIP-relative operands against the block's first byte, which is address 0 to it.
    let disp = i.memory_displacement64();
    let bytes = match (base, index) {
        (Register::EIP, _) => 4,
        (Register::RIP, _) => 8,
        (base, _) if base.is_gpr() => base.size() as u8,
        (_, index) if index.is_gpr() => index.size() as u8,
        _ => i.memory_displ_size() as u8,
    };
    let segment = i.memory_segment();
    let stack = matches!(base.full_register(), Register::RSP | Register::RBP);
    MemRef {
        base: place(base),
        index: place(index),
        vector: index.is_vector_register().then(|| (vector_place(index), index.size() as u8)),
        scale: i.memory_index_scale().trailing_zeros() as u8,
        disp: if long { disp as i64 } else { (disp as i32).into() },
        seg: match segment {
            Register::FS | Register::GS => segment.number() as u8,
            Register::None => DS as u8,
            _ if !long => segment.number() as u8,
            // In 64-bit mode an SS override is ignored, FS and GS are not.
            _ if stack => SS as u8,
            _ => DS as u8,
        },
        bytes,
    }
}

/// Bytes of the operation.
fn width(i: &Instruction) -> u8 {
    let first = match i.op0_kind() {
        OpKind::Register => i.op0_register().size(),
        OpKind::NearBranch16 | OpKind::FarBranch16 => 2,
        OpKind::NearBranch32 | OpKind::FarBranch32 => 4,
        OpKind::NearBranch64 => 8,
        _ => i.memory_size().size(),
    };
    match i.mnemonic() {
        // Operand size where no operand shows it.
        Mnemonic::Cbw | Mnemonic::Cwd | Mnemonic::Pushf | Mnemonic::Popf | Mnemonic::Iret => 2,
        Mnemonic::Pusha | Mnemonic::Popa => 2,
        Mnemonic::Cwde | Mnemonic::Cdq | Mnemonic::Iretd | Mnemonic::Pushfd | Mnemonic::Popfd => 4,
        Mnemonic::Sysret | Mnemonic::Sysexit | Mnemonic::Pushad | Mnemonic::Popad => 4,
        Mnemonic::Cdqe | Mnemonic::Cqo | Mnemonic::Iretq | Mnemonic::Pushfq | Mnemonic::Popfq => 8,
        Mnemonic::Sysretq | Mnemonic::Sysexitq => 8,
        Mnemonic::Push | Mnemonic::Pop | Mnemonic::Ret | Mnemonic::Retf | Mnemonic::Enter | Mnemonic::Leave => {
            stack_width(i)
        }
        Mnemonic::Lgdt | Mnemonic::Lidt | Mnemonic::Sgdt | Mnemonic::Sidt => table_width(i.code()),
        Mnemonic::Xlatb => 1,
        _ => first as u8,
    }
}

fn stack_width(i: &Instruction) -> u8 {
    match i.code() {
        Code::Enterw_imm16_imm8 | Code::Leavew | Code::Retnw | Code::Retnw_imm16 => 2,
        Code::Enterd_imm16_imm8 | Code::Leaved | Code::Retnd | Code::Retnd_imm16 => 4,
        Code::Enterq_imm16_imm8 | Code::Leaveq | Code::Retnq | Code::Retnq_imm16 => 8,
        Code::Retfw | Code::Retfw_imm16 => 2,
        Code::Retfd | Code::Retfd_imm16 => 4,
        Code::Retfq | Code::Retfq_imm16 => 8,
        _ => i.stack_pointer_increment().unsigned_abs().min(8) as u8,
    }
}

/// Operand size of LGDT and its like: with 2 the base has 24 bits.
fn table_width(code: Code) -> u8 {
    match code {
        Code::Lgdt_m1632_16 | Code::Lidt_m1632_16 | Code::Sgdt_m1632_16 | Code::Sidt_m1632_16 => 2,
        Code::Lgdt_m1632 | Code::Lidt_m1632 | Code::Sgdt_m1632 | Code::Sidt_m1632 => 4,
        _ => 8,
    }
}

/// Bytes of an address where no operand shows it.
fn address_width(i: &Instruction) -> u8 {
    use OpKind as K;
    let of_operand = |at| match i.op_kind(at) {
        K::MemorySegSI | K::MemorySegDI | K::MemoryESDI => Some(2),
        K::MemorySegESI | K::MemorySegEDI | K::MemoryESEDI => Some(4),
        K::MemorySegRSI | K::MemorySegRDI | K::MemoryESRDI => Some(8),
        _ => None,
    };
    let of_counter = match i.mnemonic() {
        Mnemonic::Jcxz => Some(2),
        Mnemonic::Jecxz => Some(4),
        Mnemonic::Jrcxz => Some(8),
        Mnemonic::Loop | Mnemonic::Loope | Mnemonic::Loopne => Some(counter_width(i.code())),
        _ => None,
    };
    of_counter.or_else(|| (0..i.op_count()).find_map(of_operand)).unwrap_or(0)
}

fn counter_width(code: Code) -> u8 {
    match code {
        Code::Loop_rel8_16_CX | Code::Loope_rel8_16_CX | Code::Loopne_rel8_16_CX => 2,
        Code::Loop_rel8_32_CX | Code::Loope_rel8_32_CX | Code::Loopne_rel8_32_CX => 2,
        Code::Loop_rel8_16_ECX | Code::Loope_rel8_16_ECX | Code::Loopne_rel8_16_ECX => 4,
        Code::Loop_rel8_32_ECX | Code::Loope_rel8_32_ECX | Code::Loopne_rel8_32_ECX => 4,
        Code::Loop_rel8_64_ECX | Code::Loope_rel8_64_ECX | Code::Loopne_rel8_64_ECX => 4,
        _ => 8,
    }
}

fn condition(cc: ConditionCode) -> u8 {
    // The decoder numbers them from 1 in opcode order.
    (cc as u8).wrapping_sub(1) & 15
}

fn flag_use(i: &Instruction) -> FlagUse {
    let written = i.rflags_modified() & ARITH;
    let by_count = matches!(
        i.mnemonic(),
        Mnemonic::Rol
            | Mnemonic::Ror
            | Mnemonic::Rcl
            | Mnemonic::Rcr
            | Mnemonic::Shl
            | Mnemonic::Sal
            | Mnemonic::Shr
            | Mnemonic::Sar
            | Mnemonic::Shld
            | Mnemonic::Shrd
    );
    // A count of zero leaves the flags alone, and so does a REP with RCX = 0.
    // Flags that these leave undefined stay as they were (docs/deviations.md), so the ones before them still count.
    let keeps_undefined = matches!(
        i.mnemonic(),
        Mnemonic::Bt | Mnemonic::Bts | Mnemonic::Btr | Mnemonic::Btc | Mnemonic::Div | Mnemonic::Idiv
    );
    let killed = match () {
        () if by_count || i.has_rep_prefix() || i.has_repne_prefix() => 0,
        () if keeps_undefined => written & !i.rflags_undefined(),
        () => written,
    };
    FlagUse { read: i.rflags_read() & ARITH, written, killed }
}

fn may_fault(i: &Instruction) -> bool {
    // Everything that touches memory without naming it, divides, or is not plain arithmetic on registers.
    i.is_stack_instruction()
        || i.is_string_instruction()
        || i.is_privileged()
        || i.flow_control() != FlowControl::Next
        || matches!(i.mnemonic(), Mnemonic::Div | Mnemonic::Idiv | Mnemonic::Aam | Mnemonic::Xlatb)
        || matches!(
            Operation::of(i.mnemonic()),
            Operation::Invalid
                | Operation::X87Arith(_)
                | Operation::X87Move(_)
                | Operation::X87Control(_)
                | Operation::X87Function(_)
                | Operation::Mmx(_)
        )
        || matches!(
            i.mnemonic(),
            Mnemonic::Cpuid
                | Mnemonic::Sldt
                | Mnemonic::Str
                | Mnemonic::Smsw
                | Mnemonic::Lar
                | Mnemonic::Lsl
                | Mnemonic::Verr
                | Mnemonic::Verw
                | Mnemonic::Clac
                | Mnemonic::Stac
                | Mnemonic::Serialize
                | Mnemonic::Rdpmc
                | Mnemonic::Rdtsc
                | Mnemonic::Rdtscp
                | Mnemonic::Rdrand
                | Mnemonic::Rdseed
                | Mnemonic::Pause
                | Mnemonic::Rdpid
                | Mnemonic::Rdfsbase
                | Mnemonic::Rdgsbase
                | Mnemonic::Wrfsbase
                | Mnemonic::Wrgsbase
                | Mnemonic::Xgetbv
                | Mnemonic::Vzeroall
                | Mnemonic::Vzeroupper
        )
        || (0..i.op_count()).any(|at| i.op_kind(at) == OpKind::Register && !i.op_register(at).is_gpr())
}

impl Insn {
    /// Turns it into what raises #UD.
    pub(crate) fn make_invalid(&mut self) {
        // What is implemented, but not in this model, is nothing to report.
        if self.operation != Operation::Invalid {
            self.name = Mnemonic::INVALID;
        }
        self.operation = Operation::Invalid;
        self.cc = vector::UD;
        (self.may_fault, self.ends) = (true, true);
    }

    /// Not an encoding of any instruction.
    pub(crate) fn is_undecodable(&self) -> bool {
        self.name == Mnemonic::INVALID
    }

    /// JMP, CALL through a far pointer.
    pub(crate) fn is_far(&self) -> bool {
        self.far
    }

    /// A string instruction, told from the SSE instruction of the same mnemonic by its implied operands.
    pub(crate) fn is_string(&self) -> bool {
        !self.operands.iter().any(|o| matches!(o, Operand::Xmm(_)))
    }

    /// FXSAVE, XSAVE and their like with 64-bit addresses.
    pub(crate) fn is_fx64(&self) -> bool {
        use Mnemonic as M;
        matches!(self.name, M::Fxsave64 | M::Fxrstor64 | M::Xrstor64 | M::Xrstors64)
            || matches!(self.name, M::Xsave64 | M::Xsaveopt64 | M::Xsavec64 | M::Xsaves64)
    }

    /// Works on both lanes of YMM registers.
    pub(crate) fn uses_ymm(&self) -> bool {
        self.mem_width == 32 || self.operands.iter().any(|o| matches!(o, Operand::Ymm(_)))
    }

    /// The same with less of its immediate.
    pub(crate) fn with_immediate_bits(&self, mask: u64) -> Self {
        let masked = |o: Operand| if let Operand::Imm(value) = o { Operand::Imm(value & mask) } else { o };
        Self { operands: self.operands.map(masked), ..self.clone() }
    }

    /// The same with a fourth operand, for what a family wants to hand to its handlers.
    pub(crate) fn with_fourth_operand(&self, operand: Operand) -> Self {
        let [one, two, three, _] = self.operands;
        Self { operands: [one, two, three, operand], ..self.clone() }
    }

    /// Names an MMX register.
    pub(crate) fn is_mmx(&self) -> bool {
        self.operands.iter().any(|o| matches!(o, Operand::Mm(_)))
    }

    /// An x87 instruction whose memory operand is an integer.
    pub(crate) fn is_x87_integer(&self) -> bool {
        use Mnemonic as M;
        matches!(self.name, M::Fiadd | M::Fisub | M::Fisubr | M::Fimul | M::Fidiv | M::Fidivr | M::Ficom | M::Ficomp)
    }

    /// The signed distance of the end of this instruction from the block's first byte.
    pub(crate) fn end_off(&self) -> i64 {
        i64::from(self.off) + i64::from(self.len)
    }
}
