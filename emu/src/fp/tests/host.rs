//! Fused multiply-add and half precision beside the host's CPU, where it has them; the digests hold everywhere.

use xxhash_rust::xxh3::Xxh3;

use super::super::*;
use super::MASKED;

/// Numbers of a format that are hard on sums of products: ends of the range, neighbours of powers of two, NaNs; and
/// random ones, half of them with exponents near each other.
struct Draw(u64);

impl Draw {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn number<F: Format>(&mut self) -> u64 {
        let one = (F::BIAS as u64) << F::FRAC;
        let least = 1 << F::FRAC;
        let edges = [
            0,
            1,
            F::FRAC_MASK,
            least,
            least + 1,
            one,
            one + 1,
            one - 1,
            F::INF - 1,
            F::INF,
            F::INF + 1,
            F::INF | F::QUIET | 5,
        ];
        let bits = self.next();
        let sign = bits & F::SIGN;
        let random = self.next();
        sign | match bits % 8 {
            0 => edges[(random % 12) as usize],
            1..4 => random & (F::SIGN - 1),
            // Near 1, with few or many bits.
            4 => one - least * 4 + random % (8 * least),
            5 => (one - least * 4 + random % (8 * least)) & !(F::FRAC_MASK >> (random >> 58 & 15)),
            // Products around the least normal number, and the greatest.
            6 => (one >> 1) - least * 4 + random % (8 * least),
            _ => (one + (one >> 1)) - least * 4 + random % (8 * least),
        }
    }

    /// MXCSR with everything masked: rounding, DAZ, FTZ.
    fn control(&mut self) -> u32 {
        let bits = self.next() as u32;
        MASKED
            | (bits & 3) << mxcsr::RC_SHIFT
            | [0, mxcsr::DAZ][(bits >> 2 & 1) as usize]
            | [0, mxcsr::FTZ][(bits >> 3 & 1) as usize]
    }
}

const CASES: usize = 100_000;

/// The form's operands in the order that `fma` wants.
fn order(form: usize, [x, y, z]: [u64; 3]) -> (u64, u64, u64) {
    match form {
        132 => (x, z, y),
        213 => (y, x, z),
        _ => (y, z, x),
    }
}

/// Compares `ours` with `host` on random operands and controls; digests results and flags.
fn digest<F: Format>(
    ours: impl Fn([u64; 3], &mut Env) -> u64,
    host: impl Fn([u64; 3], u32) -> Option<(u64, u32)>,
) -> u64 {
    let (mut draw, mut hash) = (Draw(0x9e37_79b9_7f4a_7c15), Xxh3::new());
    for _ in 0..CASES {
        let operands = [draw.number::<F>(), draw.number::<F>(), draw.number::<F>()];
        let control = draw.control();
        let mut env = Env::new(control);
        let result = (ours(operands, &mut env), env.raised);
        if let Some(expected) = host(operands, control) {
            assert_eq!(result, expected, "{operands:x?} under {control:#x}: {:x} {:x}", result.0, expected.0);
        }
        hash.update(&result.0.to_le_bytes());
        hash.update(&result.1.to_le_bytes());
    }
    hash.digest()
}

/// An instruction of the host on XMM registers, under MXCSR: low bits of the result, flags.
#[cfg(target_arch = "x86_64")]
macro_rules! native {
    ($feature:tt, $instruction:literal) => {
        |operands: [u64; 3], control: u32| -> Option<(u64, u32)> {
            if !std::is_x86_feature_detected!($feature) {
                return None;
            }
            let [mut x, y, z] = operands;
            let (mut own, mut csr) = (0u32, control);
            // SAFETY: the instruction exists and touches XMM0 only; MXCSR masks all exceptions and is restored.
            unsafe {
                std::arch::asm!(
                    "stmxcsr [{own}]",
                    "ldmxcsr [{csr}]",
                    "movq xmm0, {x}",
                    "movq xmm1, {y}",
                    "movq xmm2, {z}",
                    $instruction,
                    "movq {x}, xmm0",
                    "stmxcsr [{csr}]",
                    "ldmxcsr [{own}]",
                    own = in(reg) &raw mut own,
                    csr = in(reg) &raw mut csr,
                    x = inout(reg) x,
                    y = in(reg) y,
                    z = in(reg) z,
                    out("xmm0") _,
                    out("xmm1") _,
                    out("xmm2") _,
                );
            }
            Some((x, csr & mxcsr::FLAGS))
        }
    };
}

#[cfg(not(target_arch = "x86_64"))]
macro_rules! native {
    ($feature:tt, $instruction:literal) => {
        |_: [u64; 3], _: u32| -> Option<(u64, u32)> { None }
    };
}

#[test]
fn fused_multiply_add_of_doubles_is_that_of_the_real_cpu() {
    let digests = [
        digest::<F64>(|o, env| forms::<F64>(132, o, env), native!("fma", "vfmadd132sd xmm0, xmm1, xmm2")),
        digest::<F64>(|o, env| forms::<F64>(213, o, env), native!("fma", "vfmadd213sd xmm0, xmm1, xmm2")),
        digest::<F64>(|o, env| forms::<F64>(231, o, env), native!("fma", "vfmadd231sd xmm0, xmm1, xmm2")),
    ];
    assert_eq!(digests, [15_350_458_835_403_551_044, 13_649_221_245_774_945_646, 3_630_981_112_940_261_618]);
}

#[test]
fn fused_multiply_add_of_singles_is_that_of_the_real_cpu() {
    let digests = [
        digest::<F32>(|o, env| forms::<F32>(132, o, env), native!("fma", "vfmadd132ss xmm0, xmm1, xmm2")),
        digest::<F32>(|o, env| forms::<F32>(213, o, env), native!("fma", "vfmadd213ss xmm0, xmm1, xmm2")),
        digest::<F32>(|o, env| forms::<F32>(231, o, env), native!("fma", "vfmadd231ss xmm0, xmm1, xmm2")),
    ];
    assert_eq!(digests, [17_604_058_908_112_090_465, 11_598_110_824_517_586_617, 3_541_220_777_769_498_434]);
}

fn forms<F: Format>(form: usize, operands: [u64; 3], env: &mut Env) -> u64 {
    let (a, b, c) = order(form, operands);
    fma::<F>(a, b, c, env)
}

#[test]
fn halves_are_those_of_the_real_cpu() {
    let digests = [
        digest::<F16>(|[_, y, _], env| half_to_single(y, env), native!("f16c", "vcvtph2ps xmm0, xmm1")),
        digest::<F32>(|[_, y, _], env| single_to_half(y, 0, env), native!("f16c", "vcvtps2ph xmm0, xmm1, 0")),
        digest::<F32>(|[_, y, _], env| single_to_half(y, 1, env), native!("f16c", "vcvtps2ph xmm0, xmm1, 1")),
        digest::<F32>(|[_, y, _], env| single_to_half(y, 2, env), native!("f16c", "vcvtps2ph xmm0, xmm1, 2")),
        digest::<F32>(|[_, y, _], env| single_to_half(y, 3, env), native!("f16c", "vcvtps2ph xmm0, xmm1, 3")),
        digest::<F32>(|[_, y, _], env| single_to_half(y, 4, env), native!("f16c", "vcvtps2ph xmm0, xmm1, 4")),
    ];
    assert_eq!(
        digests,
        [
            15_146_474_272_701_757_696,
            10_594_452_768_579_455_056,
            14_639_497_081_667_606_657,
            4_917_980_772_920_670_548,
            9_877_455_941_496_080_997,
            6_273_254_400_151_615_589
        ]
    );
}

/// What is computed without a look at MXCSR is what the integers say, and raises nothing but PE.
#[test]
fn quick_results_are_those_of_the_slow_way() {
    fn compare<F: Native, Other: Native>(draw: &mut Draw, counts: &mut [usize; 13]) {
        let [a, b, c] = [draw.number::<F>(), draw.number::<F>(), draw.number::<F>()];
        let agrees = |quick: Option<u64>, slow: &dyn Fn(&mut Env) -> u64| {
            let Some(quick) = quick else { return 0 };
            // With inexactness unmasked there is no other way.
            let mut env = Env::new(MASKED & !(mxcsr::PE << mxcsr::MASK_SHIFT));
            assert_eq!(quick, slow(&mut env), "{a:x} {b:x} {c:x}");
            assert_eq!(env.raised & !mxcsr::PE, 0, "{a:x} {b:x} {c:x}");
            1
        };
        let order = ordinary_order::<F>(a, b).map(|order| order as u64);
        let quick = [
            agrees(ordinary_sum::<F>(a, b), &|e| add::<F>(a, b, e)),
            agrees(ordinary_difference::<F>(a, b), &|e| sub::<F>(a, b, e)),
            agrees(ordinary_product::<F>(a, b), &|e| mul::<F>(a, b, e)),
            agrees(ordinary_quotient::<F>(a, b), &|e| div::<F>(a, b, e)),
            agrees(ordinary_root::<F>(a), &|e| sqrt::<F>(a, e)),
            agrees(ordinary_fused::<F>(a, b, c), &|e| fma::<F>(a, b, c, e)),
            agrees(ordinary_min::<F>(a, b), &|e| min::<F>(a, b, e)),
            agrees(ordinary_max::<F>(a, b), &|e| max::<F>(a, b, e)),
            agrees(order, &|e| super::super::compare::<F>(a, b, true, e).map_or(9, |order| order as u64)),
            agrees(ordinary_conversion::<F, Other>(a), &|e| convert::<F, Other>(a, e)),
            agrees(ordinary_truncated::<F>(a, 32), &|e| to_int::<F>(a, 32, true, e)),
            agrees(ordinary_truncated::<F>(a, 64), &|e| to_int::<F>(a, 64, true, e)),
            agrees(Some(F::host_of_int(a as i64)), &|e| from_int::<F>(a as i64, e)),
        ];
        counts.iter_mut().zip(quick).for_each(|(count, n)| *count += n);
    }
    let (mut draw, mut counts) = (Draw(0x2545_f491_4f6c_dd1d), [0; 13]);
    for _ in 0..CASES {
        compare::<F64, F32>(&mut draw, &mut counts);
        compare::<F32, F64>(&mut draw, &mut counts);
    }
    assert!(counts.iter().all(|count| *count > CASES / 10), "{counts:?}");
}
