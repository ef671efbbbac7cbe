//! The table of forms: every (mnemonic, operand form, width) that is compared. A family is a row of mnemonics; what
//! forms they have comes from the decoder's own opcode table, so none is forgotten.

use iced_x86::{Code, CpuidFeature, EncodingKind, Mnemonic, OpCodeOperandKind as Kind};

/// A prefix that makes a form of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prefix {
    /// None.
    None,
    /// F0, legal or not.
    Lock,
    /// F3: REP, REPE.
    Rep,
    /// F2: REPNE.
    Repne,
}

/// One row of the comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Form {
    /// Name of its family.
    pub family: &'static str,
    /// Opcode, operand kinds and width.
    pub code: Code,
    /// The r/m operand is in memory.
    pub memory: bool,
    /// Lock or repeat prefix.
    pub prefix: Prefix,
}

impl Form {
    /// Its memory operand has a vector of indices.
    #[must_use]
    pub fn is_gather(&self) -> bool {
        self.code.op_code().op_kinds().iter().any(is_vsib)
    }
}

impl std::fmt::Display for Form {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let place = if self.memory { " (memory)" } else { "" };
        match self.prefix {
            Prefix::None => write!(f, "{:?}{place}", self.code),
            prefix => write!(f, "{prefix:?} {:?}{place}", self.code),
        }
    }
}

use Mnemonic::*;

/// Families and their mnemonics. Add a row, and its forms are compared.
#[rustfmt::skip]
pub const FAMILIES: &[(&str, &[Mnemonic])] = &[
    ("arith", &[Add, Adc, Sub, Sbb, Cmp, Inc, Dec, Neg]),
    ("logic", &[And, Or, Xor, Test, Not]),
    ("shift", &[Shl, Sal, Shr, Sar, Rol, Ror, Rcl, Rcr, Shld, Shrd]),
    ("muldiv", &[Mul, Imul, Div, Idiv]),
    ("bits", &[Bt, Bts, Btr, Btc, Bsf, Bsr, Bswap]),
    ("bmi", &[Popcnt, Lzcnt, Tzcnt, Andn, Bextr, Blsi, Blsmsk, Blsr, Bzhi, Mulx, Pdep, Pext, Rorx, Sarx, Shlx, Shrx, Adcx, Adox, Movbe, Crc32]),
    ("cache", &[Clflush, Clflushopt, Prefetchw, Prefetchnta, Prefetcht0, Prefetcht1, Prefetcht2]),
    ("setcc", &[Seta, Setae, Setb, Setbe, Sete, Setg, Setge, Setl, Setle, Setne, Setno, Setnp, Setns, Seto, Setp, Sets]),
    ("cmov", &[Cmova, Cmovae, Cmovb, Cmovbe, Cmove, Cmovg, Cmovge, Cmovl, Cmovle, Cmovne, Cmovno, Cmovnp, Cmovns, Cmovo, Cmovp, Cmovs]),
    ("mov", &[Mov, Movzx, Movsx, Movsxd, Xchg, Lea, Xlatb, Cbw, Cwde, Cdqe, Cwd, Cdq, Cqo, Nop, Movdiri]),
    ("atomic", &[Xadd, Cmpxchg, Cmpxchg8b, Cmpxchg16b]),
    ("stack", &[Push, Pop, Pushf, Pushfq, Popf, Popfq, Enter, Leave]),
    ("branch", &[Call, Ret, Jmp, Ja, Jae, Jb, Jbe, Je, Jg, Jge, Jl, Jle, Jne, Jno, Jnp, Jns, Jo, Jp, Js, Jcxz, Jecxz, Jrcxz, Loop, Loope, Loopne]),
    ("string", &[Movsb, Movsw, Movsd, Movsq, Cmpsb, Cmpsw, Cmpsd, Cmpsq, Scasb, Scasw, Scasd, Scasq, Lodsb, Lodsw, Lodsd, Lodsq, Stosb, Stosw, Stosd, Stosq]),
    ("flags", &[Lahf, Sahf, Clc, Stc, Cmc, Cld, Std]),
    ("trap", &[Ud2, Ud1, Ud0, Int3, Int1, Hlt, Cli, Sti, Clts, Invd, Wbinvd, Rdmsr, Wrmsr]),
    ("sse-move", &[Movaps, Movapd, Movdqa, Movups, Movupd, Movdqu, Movntps, Movntpd, Movntdq, Movnti, Maskmovdqu, Movss, Movsd, Movd, Movq, Movlps, Movlpd, Movhps, Movhpd, Movlhps, Movhlps, Movmskps, Movmskpd, Pmovmskb, Pextrw, Pinsrw]),
    ("sse-int", &[
        Paddb, Paddw, Paddd, Paddq, Psubb, Psubw, Psubd, Psubq, Paddsb, Paddsw, Paddusb, Paddusw, Psubsb, Psubsw, Psubusb, Psubusw,
        Pmullw, Pmulhw, Pmulhuw, Pmuludq, Pmaddwd, Psadbw, Pavgb, Pavgw, Pminub, Pmaxub, Pminsw, Pmaxsw,
        Pcmpeqb, Pcmpeqw, Pcmpeqd, Pcmpgtb, Pcmpgtw, Pcmpgtd, Pand, Pandn, Por, Pxor,
        Psllw, Pslld, Psllq, Psrlw, Psrld, Psrlq, Psraw, Psrad, Pslldq, Psrldq,
        Punpcklbw, Punpcklwd, Punpckldq, Punpcklqdq, Punpckhbw, Punpckhwd, Punpckhdq, Punpckhqdq,
        Packsswb, Packssdw, Packuswb, Pshufd, Pshuflw, Pshufhw,
    ]),
    ("sse-float", &[
        Addps, Addpd, Addss, Addsd, Subps, Subpd, Subss, Subsd, Mulps, Mulpd, Mulss, Mulsd, Divps, Divpd, Divss, Divsd,
        Minps, Minpd, Minss, Minsd, Maxps, Maxpd, Maxss, Maxsd, Sqrtps, Sqrtpd, Sqrtss, Sqrtsd, Rcpps, Rcpss, Rsqrtps, Rsqrtss,
        Cmpps, Cmppd, Cmpss, Cmpsd, Comiss, Comisd, Ucomiss, Ucomisd, Andps, Andpd, Andnps, Andnpd, Orps, Orpd, Xorps, Xorpd,
        Unpcklps, Unpcklpd, Unpckhps, Unpckhpd, Shufps, Shufpd,
    ]),
    ("sse-convert", &[
        Cvtsi2ss, Cvtsi2sd, Cvtss2si, Cvtsd2si, Cvttss2si, Cvttsd2si, Cvtps2dq, Cvttps2dq, Cvtpd2dq, Cvttpd2dq,
        Cvtdq2ps, Cvtdq2pd, Cvtps2pd, Cvtpd2ps, Cvtss2sd, Cvtsd2ss,
    ]),
    ("sse3", &[Lddqu, Movddup, Movshdup, Movsldup, Haddps, Haddpd, Hsubps, Hsubpd, Addsubps, Addsubpd]),
    ("ssse3", &[Pshufb, Palignr, Phaddw, Phaddd, Phaddsw, Phsubw, Phsubd, Phsubsw, Pmaddubsw, Pmulhrsw, Psignb, Psignw, Psignd, Pabsb, Pabsw, Pabsd]),
    ("sse4-int", &[
        Pmuldq, Pmulld, Pcmpeqq, Pcmpgtq, Packusdw, Pminsb, Pminsd, Pminuw, Pminud, Pmaxsb, Pmaxsd, Pmaxuw, Pmaxud,
        Pblendw, Pblendvb, Mpsadbw, Phminposuw, Ptest, Movntdqa, Pextrb, Pextrd, Pextrq, Extractps, Pinsrb, Pinsrd, Pinsrq,
        Pmovsxbw, Pmovsxbd, Pmovsxbq, Pmovsxwd, Pmovsxwq, Pmovsxdq, Pmovzxbw, Pmovzxbd, Pmovzxbq, Pmovzxwd, Pmovzxwq, Pmovzxdq,
    ]),
    ("sse4-float", &[Roundps, Roundpd, Roundss, Roundsd, Dpps, Dppd, Blendps, Blendpd, Blendvps, Blendvpd, Insertps]),
    ("sse4-text", &[Pcmpestri, Pcmpestrm, Pcmpestri64, Pcmpestrm64, Pcmpistri, Pcmpistrm]),
    ("crypto", &[
        Aesenc, Aesenclast, Aesdec, Aesdeclast, Aesimc, Aeskeygenassist, Pclmulqdq, Gf2p8mulb, Gf2p8affineqb, Gf2p8affineinvqb,
        Sha1rnds4, Sha1nexte, Sha1msg1, Sha1msg2, Sha256rnds2, Sha256msg1, Sha256msg2,
    ]),
    // With VEX prefixes: 128 and 256 bits.
    ("avx-move", &[
        Vmovaps, Vmovapd, Vmovdqa, Vmovups, Vmovupd, Vmovdqu, Vmovntps, Vmovntpd, Vmovntdq, Vmaskmovdqu, Vmovss, Vmovsd,
        Vmovd, Vmovq, Vmovlps, Vmovlpd, Vmovhps, Vmovhpd, Vmovlhps, Vmovhlps, Vmovmskps, Vmovmskpd, Vpmovmskb, Vpextrw,
        Vpinsrw, Vzeroall, Vzeroupper,
    ]),
    ("avx-int", &[
        Vpaddb, Vpaddw, Vpaddd, Vpaddq, Vpsubb, Vpsubw, Vpsubd, Vpsubq, Vpaddsb, Vpaddsw, Vpaddusb, Vpaddusw, Vpsubsb,
        Vpsubsw, Vpsubusb, Vpsubusw, Vpmullw, Vpmulhw, Vpmulhuw, Vpmuludq, Vpmaddwd, Vpsadbw, Vpavgb, Vpavgw, Vpminub,
        Vpmaxub, Vpminsw, Vpmaxsw, Vpcmpeqb, Vpcmpeqw, Vpcmpeqd, Vpcmpgtb, Vpcmpgtw, Vpcmpgtd, Vpand, Vpandn, Vpor, Vpxor,
        Vpsllw, Vpslld, Vpsllq, Vpsrlw, Vpsrld, Vpsrlq, Vpsraw, Vpsrad, Vpslldq, Vpsrldq, Vpunpcklbw, Vpunpcklwd, Vpunpckldq,
        Vpunpcklqdq, Vpunpckhbw, Vpunpckhwd, Vpunpckhdq, Vpunpckhqdq, Vpacksswb, Vpackssdw, Vpackuswb, Vpshufd, Vpshuflw,
        Vpshufhw,
    ]),
    ("avx-float", &[
        Vaddps, Vaddpd, Vaddss, Vaddsd, Vsubps, Vsubpd, Vsubss, Vsubsd, Vmulps, Vmulpd, Vmulss, Vmulsd, Vdivps, Vdivpd,
        Vdivss, Vdivsd, Vminps, Vminpd, Vminss, Vminsd, Vmaxps, Vmaxpd, Vmaxss, Vmaxsd, Vsqrtps, Vsqrtpd, Vsqrtss, Vsqrtsd,
        Vrcpps, Vrcpss, Vrsqrtps, Vrsqrtss, Vcmpps, Vcmppd, Vcmpss, Vcmpsd, Vcomiss, Vcomisd, Vucomiss, Vucomisd, Vandps,
        Vandpd, Vandnps, Vandnpd, Vorps, Vorpd, Vxorps, Vxorpd, Vunpcklps, Vunpcklpd, Vunpckhps, Vunpckhpd, Vshufps, Vshufpd,
    ]),
    ("avx-convert", &[
        Vcvtsi2ss, Vcvtsi2sd, Vcvtss2si, Vcvtsd2si, Vcvttss2si, Vcvttsd2si, Vcvtps2dq, Vcvttps2dq, Vcvtpd2dq, Vcvttpd2dq,
        Vcvtdq2ps, Vcvtdq2pd, Vcvtps2pd, Vcvtpd2ps, Vcvtss2sd, Vcvtsd2ss,
    ]),
    ("avx-ssse3", &[
        Vlddqu, Vmovddup, Vmovshdup, Vmovsldup, Vhaddps, Vhaddpd, Vhsubps, Vhsubpd, Vaddsubps, Vaddsubpd, Vpshufb, Vpalignr,
        Vphaddw, Vphaddd, Vphaddsw, Vphsubw, Vphsubd, Vphsubsw, Vpmaddubsw, Vpmulhrsw, Vpsignb, Vpsignw, Vpsignd, Vpabsb,
        Vpabsw, Vpabsd,
    ]),
    ("avx-int4", &[
        Vpmuldq, Vpmulld, Vpcmpeqq, Vpcmpgtq, Vpackusdw, Vpminsb, Vpminsd, Vpminuw, Vpminud, Vpmaxsb, Vpmaxsd, Vpmaxuw,
        Vpmaxud, Vpblendw, Vpblendvb, Vmpsadbw, Vphminposuw, Vptest, Vmovntdqa, Vpextrb, Vpextrd, Vpextrq, Vextractps,
        Vpinsrb, Vpinsrd, Vpinsrq, Vpmovsxbw, Vpmovsxbd, Vpmovsxbq, Vpmovsxwd, Vpmovsxwq, Vpmovsxdq, Vpmovzxbw, Vpmovzxbd,
        Vpmovzxbq, Vpmovzxwd, Vpmovzxwq, Vpmovzxdq,
    ]),
    ("avx-float4", &[
        Vroundps, Vroundpd, Vroundss, Vroundsd, Vdpps, Vdppd, Vblendps, Vblendpd, Vblendvps, Vblendvpd, Vinsertps,
    ]),
    ("avx-text", &[Vpcmpestri, Vpcmpestrm, Vpcmpestri64, Vpcmpestrm64, Vpcmpistri, Vpcmpistrm]),
    ("avx-crypto", &[
        Vaesenc, Vaesenclast, Vaesdec, Vaesdeclast, Vaesimc, Vaeskeygenassist, Vpclmulqdq, Vgf2p8mulb, Vgf2p8affineqb,
        Vgf2p8affineinvqb,
    ]),
    ("avx-lanes", &[
        Vbroadcastss, Vbroadcastsd, Vbroadcastf128, Vbroadcasti128, Vpbroadcastb, Vpbroadcastw, Vpbroadcastd, Vpbroadcastq,
        Vinsertf128, Vinserti128, Vextractf128, Vextracti128, Vperm2f128, Vperm2i128, Vpermd, Vpermps, Vpermq, Vpermpd,
        Vpermilps, Vpermilpd, Vpblendd, Vpsllvd, Vpsllvq, Vpsrlvd, Vpsrlvq, Vpsravd, Vtestps, Vtestpd,
    ]),
    ("avx-fma", &[
        Vfmadd132ps, Vfmadd213ps, Vfmadd231ps, Vfmadd132pd, Vfmadd213pd, Vfmadd231pd, Vfmadd132ss, Vfmadd213ss, Vfmadd231ss,
        Vfmadd132sd, Vfmadd213sd, Vfmadd231sd, Vfmsub132ps, Vfmsub213ps, Vfmsub231ps, Vfmsub132pd, Vfmsub213pd, Vfmsub231pd,
        Vfmsub132ss, Vfmsub213ss, Vfmsub231ss, Vfmsub132sd, Vfmsub213sd, Vfmsub231sd, Vfnmadd132ps, Vfnmadd213ps,
        Vfnmadd231ps, Vfnmadd132pd, Vfnmadd213pd, Vfnmadd231pd, Vfnmadd132ss, Vfnmadd213ss, Vfnmadd231ss, Vfnmadd132sd,
        Vfnmadd213sd, Vfnmadd231sd, Vfnmsub132ps, Vfnmsub213ps, Vfnmsub231ps, Vfnmsub132pd, Vfnmsub213pd, Vfnmsub231pd,
        Vfnmsub132ss, Vfnmsub213ss, Vfnmsub231ss, Vfnmsub132sd, Vfnmsub213sd, Vfnmsub231sd, Vfmaddsub132ps, Vfmaddsub213ps,
        Vfmaddsub231ps, Vfmaddsub132pd, Vfmaddsub213pd, Vfmaddsub231pd, Vfmsubadd132ps, Vfmsubadd213ps, Vfmsubadd231ps,
        Vfmsubadd132pd, Vfmsubadd213pd, Vfmsubadd231pd,
    ]),
    ("avx-half", &[Vcvtph2ps, Vcvtps2ph]),
    ("avx-mask", &[
        Vmaskmovps, Vmaskmovpd, Vpmaskmovd, Vpmaskmovq, Vgatherdps, Vgatherdpd, Vgatherqps, Vgatherqpd, Vpgatherdd,
        Vpgatherdq, Vpgatherqd, Vpgatherqq,
    ]),
    ("mmx-int", &[
        Paddb, Paddw, Paddd, Paddq, Psubb, Psubw, Psubd, Psubq, Paddsb, Paddsw, Paddusb, Paddusw, Psubsb, Psubsw, Psubusb, Psubusw,
        Pmullw, Pmulhw, Pmulhuw, Pmuludq, Pmaddwd, Psadbw, Pavgb, Pavgw, Pminub, Pmaxub, Pminsw, Pmaxsw,
        Pcmpeqb, Pcmpeqw, Pcmpeqd, Pcmpgtb, Pcmpgtw, Pcmpgtd, Pand, Pandn, Por, Pxor,
        Psllw, Pslld, Psllq, Psrlw, Psrld, Psrlq, Psraw, Psrad, Punpcklbw, Punpcklwd, Punpckldq, Punpckhbw, Punpckhwd, Punpckhdq,
        Pshufb, Palignr, Phaddw, Phaddd, Phaddsw, Phsubw, Phsubd, Phsubsw, Pmaddubsw, Pmulhrsw, Psignb, Psignw, Psignd, Pabsb, Pabsw, Pabsd,
        Packsswb, Packssdw, Packuswb, Pshufw,
    ]),
    ("mmx-move", &[Movd, Movq, Movntq, Maskmovq, Movq2dq, Movdq2q, Pmovmskb, Pextrw, Pinsrw, Emms]),
    ("mmx-convert", &[Cvtpi2ps, Cvtpi2pd, Cvtps2pi, Cvttps2pi, Cvtpd2pi, Cvttpd2pi]),
    ("x87-arith", &[
        Fadd, Faddp, Fiadd, Fsub, Fsubp, Fisub, Fsubr, Fsubrp, Fisubr, Fmul, Fmulp, Fimul, Fdiv, Fdivp, Fidiv, Fdivr, Fdivrp, Fidivr,
        Fsqrt, Fabs, Fchs, Frndint, Fscale, Fprem, Fprem1, Fxtract,
    ]),
    ("x87-compare", &[Fcom, Fcomp, Fcompp, Ficom, Ficomp, Fucom, Fucomp, Fucompp, Fcomi, Fcomip, Fucomi, Fucomip, Ftst, Fxam]),
    ("x87-move", &[
        Fld, Fst, Fstp, Fstpnce, Fild, Fist, Fistp, Fisttp, Fbld, Fbstp, Fld1, Fldl2t, Fldl2e, Fldpi, Fldlg2, Fldln2, Fldz, Fxch,
        Fcmovb, Fcmove, Fcmovbe, Fcmovu, Fcmovnb, Fcmovne, Fcmovnbe, Fcmovnu,
    ]),
    ("x87-function", &[F2xm1, Fyl2x, Fyl2xp1, Fptan, Fpatan, Fsin, Fcos, Fsincos]),
    ("x87-control", &[
        Fninit, Fnclex, Fldcw, Fnstcw, Fnstsw, Fnstenv, Fldenv, Fnsave, Frstor, Fincstp, Fdecstp, Ffree, Ffreep, Fnop, Wait,
        Fneni, Fndisi, Fnsetpm, Fxsave, Fxsave64, Fxrstor, Fxrstor64,
    ]),
    // Not XGETBV: it tells what the host has enabled.
    ("xsave", &[Xsave, Xsave64, Xsaveopt, Xsaveopt64, Xsavec, Xsavec64, Xrstor, Xrstor64]),
    ("iret", &[Iretd, Iretq]),
];

/// The forms of `family`, or of all families.
#[must_use]
pub fn forms(family: Option<&str>) -> Vec<Form> {
    let mut forms = Vec::new();
    for &(name, mnemonics) in FAMILIES.iter().filter(|(name, _)| family.is_none_or(|f| f == *name)) {
        for code in Code::values().filter(|code| mnemonics.contains(&code.mnemonic()) && can_be_compared(name, *code)) {
            forms_of(name, code, &mut forms);
        }
    }
    forms
}

/// Exists in 64-bit user mode, and neither loads a segment register nor is another family's namesake.
fn can_be_compared(family: &str, code: Code) -> bool {
    let op = code.op_code();
    let strange = |kind: &Kind| {
        use Kind::*;
        matches!(
            kind,
            farbr2_2 | farbr4_2 | seg_reg | cr_reg | dr_reg | tr_reg | es | cs | ss | ds | fs | gs | br16_1 | br16_2
        )
    };
    let far = matches!(code, Code::Jmp_m1616 | Code::Jmp_m1632 | Code::Jmp_m1664)
        || matches!(code, Code::Call_m1616 | Code::Call_m1632 | Code::Call_m1664);
    // Intel ignores the operand-size prefix of near branches; the decoder's 16-bit and 32-bit ones are AMD's.
    let narrow_branch = family == "branch" && op.operand_size() == 16;
    is_of_family(family, code)
        && op.mode64()
        && op.intel_decoder64()
        && op.is_instruction()
        && !far
        && !narrow_branch
        && !op.op_kinds().iter().any(strange)
}

/// MOVSD and CMPSD are two instructions each, and SSE mnemonics have MMX and later forms.
pub(crate) fn is_of_family(family: &str, code: Code) -> bool {
    let op = code.op_code();
    let legacy = op.encoding() == EncodingKind::Legacy;
    let touches_xmm = op.op_kinds().iter().any(|kind| matches!(kind, Kind::xmm_reg | Kind::xmm_rm | Kind::xmm_or_mem));
    let on_mmx = |kind: &Kind| matches!(kind, Kind::mm_reg | Kind::mm_rm | Kind::mm_or_mem);
    let is_mmx = op.op_kinds().iter().any(on_mmx) || code.mnemonic() == Emms;
    match family {
        _ if family.starts_with("mmx") != is_mmx => false,
        _ if is_mmx => true,
        _ if family.starts_with("avx") => op.encoding() == EncodingKind::VEX,
        "bmi" => {
            matches!(op.encoding(), EncodingKind::Legacy | EncodingKind::VEX)
                && !code.cpuid_features().contains(&CpuidFeature::KNC)
        }
        _ if is_vector(family) => legacy && (touches_xmm || code.cpuid_features() == [CpuidFeature::SSE2]),
        _ => legacy && !touches_xmm,
    }
}

/// A family of instructions on vector registers.
#[must_use]
pub fn is_vector(family: &str) -> bool {
    ["sse", "ssse", "crypto", "avx"].iter().any(|start| family.starts_with(start))
}

pub(crate) fn forms_of(family: &'static str, code: Code, forms: &mut Vec<Form>) {
    let op = code.op_code();
    let kinds = op.op_kinds();
    let either = kinds.iter().any(is_register_or_memory);
    let always = kinds.iter().any(|kind| matches!(kind, Kind::mem | Kind::mem_offs) || is_vsib(kind));
    let places: &[bool] = if either { &[false, true] } else { &[always] };
    for &memory in places {
        let mut add = |prefix| forms.push(Form { family, code, memory, prefix });
        add(Prefix::None);
        if op.can_use_lock_prefix() {
            add(Prefix::Lock);
        }
        if family == "string" {
            add(Prefix::Rep);
            add(Prefix::Repne);
        }
    }
}

/// A modr/m operand that is a register or memory.
#[must_use]
pub fn is_register_or_memory(kind: &Kind) -> bool {
    matches!(
        kind,
        Kind::r8_or_mem
            | Kind::r16_or_mem
            | Kind::r32_or_mem
            | Kind::r64_or_mem
            | Kind::xmm_or_mem
            | Kind::ymm_or_mem
            | Kind::mm_or_mem
    )
}

/// A memory operand with a vector of indices.
#[must_use]
pub fn is_vsib(kind: &Kind) -> bool {
    matches!(kind, Kind::mem_vsib32x | Kind::mem_vsib64x | Kind::mem_vsib32y | Kind::mem_vsib64y)
}
