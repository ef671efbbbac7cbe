mod accuracy;

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
        let check = |got: X80, expected: f64| assert_eq!(got, of(expected), "{x} {y}");
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

/// Exact values, rounded once.
#[test]
fn functions_are_the_rounded_exact_ones() {
    let (half, quarter) = (of(0.5), of(0.25));
    let mut env = Env::new(0x37f);
    let angle = angle(half, Wanted::Both, &mut env).unwrap();
    assert_eq!(angle.sin, X80 { sign_exp: 0x3ffd, sig: 0xf577_43a2_582f_7f44 });
    assert_eq!(angle.cos, X80 { sign_exp: 0x3ffe, sig: 0xe0a9_4032_dbea_7cee });
    let tangent = super::angle(half, Wanted::Tan, &mut env).unwrap().tan;
    assert_eq!(tangent, X80 { sign_exp: 0x3ffe, sig: 0x8bda_7adf_9a3a_5219 });
    assert_eq!(power_less_one(half, &mut env), X80 { sign_exp: 0x3ffd, sig: 0xd413_cccf_e779_9211 });
    assert_eq!(power_less_one(half.negated(), &mut env), X80 { sign_exp: 0xbffd, sig: 0x95f6_1998_0c43_36f7 });
    assert_eq!(y_log(from_int(3), X80::ONE, &mut env), X80 { sign_exp: 0x3fff, sig: 0xcae0_0d1c_fdeb_43d0 });
    assert_eq!(y_log_plus_one(quarter, X80::ONE, &mut env), X80 { sign_exp: 0x3ffd, sig: 0xa4d3_c25e_68dc_57f2 });
    assert_eq!(arc(X80::ONE, from_int(2), &mut env), X80 { sign_exp: 0x3ffd, sig: 0xed63_382b_0dda_7b45 });
    assert_eq!(arc(from_int(-4), of(-1.0), &mut env), X80 { sign_exp: 0xbfff, sig: 0xe86b_509b_4de9_9f97 });
    assert_eq!(env.raised, flag::PE);
}

#[test]
fn angles_from_2_to_the_63_are_left_alone() {
    let mut env = Env::new(0x37f);
    let at = |exp: u16| X80 { sign_exp: 0x3fff + exp, sig: 1 << 63 };
    assert!(angle(at(62), Wanted::Sin, &mut env).is_some());
    assert!(angle(at(63), Wanted::Sin, &mut env).is_none());
}
