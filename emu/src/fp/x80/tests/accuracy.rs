//! The transcendental functions beside exact values: how far off they are in units of the last place, and that they are
//! monotone. `ACCURACY_CASES=30000 cargo test --release -p emu accuracy -- --nocapture` prints the table of
//! docs/deviations.md.
//!
//! The exact values are power series in fixed point, 700 bits behind the point, where the functions under test have 128
//! in floating point; results are at least `2^-250`, hence exact to 400 bits.

use num_bigint::{BigInt, Sign};

use super::super::functions::Angle;
use super::*;

const POINT: i32 = 700;

/// A number in units of `2^-POINT`.
#[derive(Clone, Debug)]
struct Fixed(BigInt);

impl Fixed {
    fn int(n: i64) -> Self {
        Self(BigInt::from(n) << POINT)
    }

    /// Truncated where it has bits beyond the point.
    fn of(a: X80) -> Self {
        let sign = if a.is_negative() { Sign::Minus } else { Sign::Plus };
        let (sig, shift) = (BigInt::from_biguint(sign, a.sig.into()), i32::from(a.exponent()) - BIAS - 63 + POINT);
        Self(if shift < 0 { sig >> -shift } else { sig << shift })
    }

    fn negative(&self) -> bool {
        self.0.sign() == Sign::Minus
    }

    fn abs(&self) -> Self {
        Self(BigInt::from(self.0.magnitude().clone()))
    }

    fn neg(&self) -> Self {
        Self(-&self.0)
    }

    fn plus(&self, other: &Self) -> Self {
        Self(&self.0 + &other.0)
    }

    fn minus(&self, other: &Self) -> Self {
        Self(&self.0 - &other.0)
    }

    fn times(&self, other: &Self) -> Self {
        Self((&self.0 * &other.0) >> POINT)
    }

    fn over(&self, other: &Self) -> Self {
        Self((&self.0 << POINT) / &other.0)
    }

    fn over_int(&self, n: u64) -> Self {
        Self(&self.0 / n)
    }

    fn root(&self) -> Self {
        Self((&self.0 << POINT).sqrt())
    }

    /// `first + first * step(1) + first * step(1) * step(2) ...` for `step(n) = factor * ratio(n)`, until nothing is left.
    fn series(first: Self, factor: &Self, divisor: impl Fn(u64) -> u64) -> Self {
        let (mut sum, mut term, mut n) = (first.clone(), first, 1);
        while term.0.sign() != Sign::NoSign && term.0 != BigInt::from(-1) {
            term = term.times(factor).over_int(divisor(n));
            sum = sum.plus(&term);
            n += 1;
        }
        sum
    }

    /// `x + x^3 s / 3 + x^5 / 5 + x^7 s / 7 ...` for a sign `s` of the odd powers of the square.
    fn odd_powers(x: &Self, alternate: bool) -> Self {
        let square = x.times(x);
        let factor = if alternate { square.neg() } else { square };
        let (mut sum, mut power, mut n) = (x.clone(), x.clone(), 3);
        while power.0.bits() > 1 {
            power = power.times(&factor);
            sum = sum.plus(&power.over_int(n));
            n += 2;
        }
        sum
    }

    /// Of a number from 0 to 1.
    fn arc_tangent(&self) -> Self {
        let mut x = self.clone();
        for _ in 0..3 {
            x = x.over(&Self::int(1).plus(&Self::int(1).plus(&x.times(&x)).root()));
        }
        Self(Self::odd_powers(&x, true).0 << 3)
    }

    /// Natural logarithm of a number near 1, given less 1.
    fn log_plus_one(&self) -> Self {
        Self(Self::odd_powers(&self.over(&self.plus(&Self::int(2))), false).0 << 1)
    }
}

/// The functions, with their constants.
struct Exact {
    ln_2: Fixed,
    half_pi: Fixed,
    /// Half of pi as silicon and `functions::reduce` have it, 66 bits.
    unit: BigInt,
}

impl Exact {
    fn new() -> Self {
        let third = Fixed::int(1).over_int(3);
        let ln_2 = Fixed(Fixed::odd_powers(&third, false).0 << 1);
        let half_pi = Fixed(Fixed::int(1).arc_tangent().0 << 1);
        Self { ln_2, half_pi, unit: BigInt::from(0x3_243f_6a88_85a3_08d3u128) << (POINT - 65) }
    }

    /// Sine of `a` and some quadrants, after reduction to the nearest multiple of the unit.
    fn sine(&self, a: &Fixed, more_quadrants: u64) -> Fixed {
        let size = a.abs().0;
        let count: BigInt = (&size + (&self.unit >> 1)) / &self.unit;
        let rest = Fixed(size - &count * &self.unit);
        let quadrant = count.iter_u64_digits().next().unwrap_or(0).wrapping_add(more_quadrants);
        let factor = rest.times(&rest).neg();
        let value = match quadrant & 1 {
            0 => Fixed::series(rest, &factor, |n| 2 * n * (2 * n + 1)),
            _ => Fixed::series(Fixed::int(1), &factor, |n| 2 * n * (2 * n - 1)),
        };
        let odd = more_quadrants == 0 && a.negative();
        if (quadrant & 2 != 0) != odd { value.neg() } else { value }
    }

    /// `2^a - 1`.
    fn power_less_one(&self, a: &Fixed) -> Fixed {
        let x = a.times(&self.ln_2);
        Fixed::series(x.clone(), &x, |n| n + 1)
    }

    /// `log2(1 + a)`.
    fn log_plus_one(&self, a: &Fixed) -> Fixed {
        // An even split keeps the rest near 1.
        let mut rest = a.clone();
        let mut whole = 0;
        while rest.0 > Fixed::int(1).0 >> 1 {
            // (1 + rest) / 2 - 1.
            rest = Fixed(rest.minus(&Fixed::int(1)).0 >> 1);
            whole += 1;
        }
        rest.log_plus_one().over(&self.ln_2).plus(&Fixed::int(whole))
    }

    fn log(&self, a: X80) -> Fixed {
        let lower = a.sig > 0xb504_f333_f9de_6484;
        let exp = i32::from(a.exponent()) - BIAS + i32::from(lower);
        let fraction = Fixed::of(X80 { sign_exp: BIAS as u16 - u16::from(lower), sig: a.sig });
        self.log_plus_one(&fraction.minus(&Fixed::int(1))).plus(&Fixed::int(exp.into()))
    }

    /// The angle of the point (x, y).
    fn arc(&self, y: &Fixed, x: &Fixed) -> Fixed {
        let (up, across) = (y.abs(), x.abs());
        let angle = if up.0 > across.0 {
            self.half_pi.minus(&across.over(&up).arc_tangent())
        } else {
            up.over(&across).arc_tangent()
        };
        let angle = if x.negative() { self.half_pi.plus(&self.half_pi).minus(&angle) } else { angle };
        if y.negative() { angle.neg() } else { angle }
    }
}

/// Distance of a result from the exact value in units of its last place, to 32 bits.
fn units_off(got: X80, exact: &Fixed) -> f64 {
    let got = Fixed::of(got);
    let difference = got.minus(exact).abs().0;
    // A unit is 2^(bits - 64), of the greater of the two; a distance of very many units is as good as infinite.
    let scaled = (difference << 32u32) >> (exact.0.bits().max(got.0.bits()) - 64);
    u64::try_from(scaled).map_or(f64::INFINITY, |units| units as f64 / 2f64.powi(32))
}

struct Draw(u64);

impl Draw {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 ^ self.0 >> 29).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ self.0 >> 32
    }

    fn below(&mut self, n: u64) -> u64 {
        (u128::from(self.next()) * u128::from(n) >> 64) as u64
    }

    /// A number with an exponent from `low` to `high`; often its fraction has few bits.
    fn number(&mut self, low: i32, high: i32, signed: bool) -> X80 {
        let exp = low + self.below((high - low + 1) as u64) as i32;
        let frac = match self.below(4) {
            0 => self.next() & !(u64::MAX >> self.below(20)),
            1 => self.next() | u64::MAX >> self.below(20),
            _ => self.next(),
        };
        let sign = if signed { self.next() as u16 & SIGN } else { 0 };
        X80 { sign_exp: sign | (exp + BIAS) as u16, sig: frac | INTEGER }
    }

    /// An angle next to a multiple of a quarter turn, where all leading bits cancel; or any other.
    fn angle(&mut self) -> X80 {
        if self.below(2) == 0 {
            return self.number(-70, 62, true);
        }
        let n = self.next() >> self.below(63);
        let product = u128::from(n) * 0xc90f_daa2_2168_c235;
        let zeros = product.leading_zeros() as i32;
        let sig = ((product << zeros >> 64) as u64).wrapping_add(self.below(5)).wrapping_sub(2) | INTEGER;
        // n * 2^64 / 2^63 * sig / 2^64.
        X80 { sign_exp: (BIAS + 127 - zeros - 63).min(BIAS + 62) as u16, sig }
    }

    /// A positive number for a logarithm: anything, or next to 1.
    fn positive(&mut self) -> X80 {
        match self.below(3) {
            0 => self.number(-16_000, 16_000, false),
            1 => X80 { sign_exp: BIAS as u16, sig: INTEGER + 1 + (self.next() >> self.below(63) >> 1) },
            _ => X80 { sign_exp: BIAS as u16 - 1, sig: u64::MAX - (self.next() >> self.below(63) >> 1) },
        }
    }
}

type Arguments = (X80, X80);

/// A function with how to draw its arguments, and its exact value.
struct Function {
    name: &'static str,
    draw: fn(&mut Draw) -> Arguments,
    ours: fn(X80, X80, &mut Env) -> X80,
    exact: fn(&Exact, X80, X80) -> Fixed,
    /// Where it is monotone in its first argument: exponents of the positive ones, and whether it increases.
    monotone: (i32, i32, bool),
}

fn circular(wanted: Wanted, a: X80, env: &mut Env) -> Angle {
    angle(a, wanted, env).unwrap()
}

const FUNCTIONS: [Function; 7] = [
    Function {
        name: "FSIN",
        draw: |d| (d.angle(), X80::ONE),
        ours: |a, _, env| circular(Wanted::Sin, a, env).sin,
        exact: |e, a, _| e.sine(&Fixed::of(a), 0),
        monotone: (-60, -1, true),
    },
    Function {
        name: "FCOS",
        draw: |d| (d.angle(), X80::ONE),
        ours: |a, _, env| circular(Wanted::Cos, a, env).cos,
        exact: |e, a, _| e.sine(&Fixed::of(a), 1),
        monotone: (-60, 0, false),
    },
    Function {
        name: "FPTAN",
        draw: |d| (d.angle(), X80::ONE),
        ours: |a, _, env| circular(Wanted::Tan, a, env).tan,
        exact: |e, a, _| e.sine(&Fixed::of(a), 0).over(&e.sine(&Fixed::of(a), 1)),
        monotone: (-60, -1, true),
    },
    Function {
        name: "FPATAN",
        draw: |d| (d.number(-60, 60, true), d.number(-60, 60, true)),
        ours: |y, x, env| arc(y, x, env),
        exact: |e, y, x| e.arc(&Fixed::of(y), &Fixed::of(x)),
        monotone: (-60, 60, true),
    },
    Function {
        name: "F2XM1",
        draw: |d| (d.number(-200, -1, true), X80::ONE),
        ours: |a, _, env| power_less_one(a, env),
        exact: |e, a, _| e.power_less_one(&Fixed::of(a)),
        monotone: (-60, -1, true),
    },
    Function {
        name: "FYL2X",
        draw: |d| (d.positive(), d.number(-30, 30, true)),
        ours: |x, y, env| y_log(x, y, env),
        exact: |e, x, y| e.log(x).times(&Fixed::of(y)),
        monotone: (-60, 60, true),
    },
    Function {
        name: "FYL2XP1",
        draw: |d| {
            // The manual wants arguments between sqrt(1/2) - 1 and sqrt(2) - 1.
            let positive = d.below(2) == 0;
            (if positive { d.number(-200, 20, false) } else { d.number(-200, -3, true) }, d.number(-30, 30, true))
        },
        ours: |x, y, env| y_log_plus_one(x, y, env),
        exact: |e, x, y| e.log_plus_one(&Fixed::of(x)).times(&Fixed::of(y)),
        monotone: (-60, 20, true),
    },
];

/// The greatest errors to nearest and in the directed rounding modes.
fn worst(function: &Function, cases: u64) -> (f64, f64) {
    let (exact, mut draw) = (Exact::new(), Draw(cases));
    let mut worst = (0f64, 0f64);
    for _ in 0..cases {
        let (x, y) = (function.draw)(&mut draw);
        let expected = (function.exact)(&exact, x, y);
        for mode in [0, 1 + draw.below(3) as u16] {
            let off = units_off((function.ours)(x, y, &mut Env::new(0x37f | mode << 10)), &expected);
            let place = if mode == 0 { &mut worst.0 } else { &mut worst.1 };
            *place = place.max(off);
            assert!(off <= 1.0, "{} of {x:x?}, {y:x?}, mode {mode}: {off} units off", function.name);
        }
    }
    worst
}

/// `runs` times 64 neighbours.
fn check_monotone(function: &Function, runs: u64) {
    let mut draw = Draw(runs);
    let (low, high, increasing) = function.monotone;
    for _ in 0..runs {
        let mut x = draw.number(low, high, false);
        let mut env = Env::new(0x37f);
        let mut last = (function.ours)(x, X80::ONE, &mut env);
        for _ in 0..64 {
            (x.sig, x.sign_exp) = match x.sig.checked_add(1) {
                Some(sig) => (sig, x.sign_exp),
                None => (INTEGER, x.sign_exp + 1),
            };
            let here = (function.ours)(x, X80::ONE, &mut env);
            let order = compare(last, here, false, &mut env).unwrap();
            let wrong = if increasing { std::cmp::Ordering::Greater } else { std::cmp::Ordering::Less };
            assert!(order != wrong, "{} at {x:x?}: {last:x?}, {here:x?}", function.name);
            last = here;
        }
    }
}

/// `ACCURACY_CASES=30000`, when it is compiled, makes the table of docs/deviations.md, in minutes.
#[test]
fn functions_are_within_one_unit_and_monotone() {
    let cases = option_env!("ACCURACY_CASES").map_or(300, |cases| cases.parse().unwrap());
    for function in &FUNCTIONS {
        let (nearest, directed) = worst(function, cases);
        println!("{:8} {cases} arguments: {nearest:.6} units to nearest, {directed:.6} in other modes", function.name);
        assert!(nearest <= 0.500_001, "{}: {nearest}", function.name);
        check_monotone(function, cases / 10);
    }
}
