use super::*;
use crate::fp::F64;

fn of(value: f64) -> X80 {
    load_format::<F64>(value.to_bits(), &mut Env::new(0x37f))
}

#[test]
fn sums_products_and_quotients_of_doubles_round_as_doubles_under_53_bits() {
    let mut state = 1u64;
    let mut draw = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        f64::from_bits(state >> 12 | 0x3ff0_0000_0000_0000) * if state & 1 == 0 { 1.0 } else { -3.5 }
    };
    for _ in 0..10_000 {
        let (x, y) = (draw(), draw());
        let mut env = Env::new(0x27f);
        let mut check = |got: X80, expected: f64| assert_eq!(got, of(expected), "{x} {y}");
        check(add(of(x), of(y), &mut env), x + y);
        check(sub(of(x), of(y), &mut env), x - y);
        check(mul(of(x), of(y), &mut env), x * y);
        check(div(of(x), of(y), &mut env), x / y);
        check(sqrt(of(x.abs()), &mut env), x.abs().sqrt());
        check(remainder(of(x), of(y), false, &mut env).0, x % y);
    }
}

#[test]
fn a_quotient_is_rounded_once() {
    let mut env = Env::new(0x37f);
    let third = div(X80::ONE, from_int(3), &mut env);
    assert_eq!(third, X80 { sign_exp: 0x3ffd, sig: 0xaaaa_aaaa_aaaa_aaab });
    assert_eq!((env.raised, env.c1), (flag::PE, true));
}

#[test]
fn decimals_go_there_and_back() {
    let mut env = Env::new(0x37f);
    for value in [0, 1, -1, 999_999_999_999_999_999, -123_456_789_012_345_678] {
        let (low, high) = bcd_of(from_int(value), &mut env);
        assert_eq!(from_bcd(low, high), from_int(value));
    }
    assert_eq!(env.raised, 0);
    assert_eq!(bcd_of(from_int(1_000_000_000_000_000_000), &mut env), (0xc000_0000_0000_0000, 0xffff));
    assert_eq!(env.raised, flag::IE);
}
