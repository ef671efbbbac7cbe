//! whetstone: floating point in arrays, through calls and through the library, printed to the last bit.

use userland_programs::rounds;

fn mix(e: &mut [f64; 4], t: f64) {
    for _ in 0..6 {
        e[0] = (e[0] + e[1] + e[2] - e[3]) * t;
        e[1] = (e[0] + e[1] - e[2] + e[3]) * t;
        e[2] = (e[0] - e[1] + e[2] + e[3]) * t;
        e[3] = (-e[0] + e[1] + e[2] + e[3]) / 2.0;
    }
}

fn main() {
    const T: f64 = 0.499_975;
    let (mut e, mut x, mut y, mut z, mut w) = ([1.0, -1.0, -1.0, -1.0], 0.5f64, 0.5f64, 0.75f64, 1.0f64);
    let mut field: [f32; 96] = std::array::from_fn(|i| (i + 1) as f32 / 7.0);
    for n in 0..rounds(1500) {
        mix(&mut e, T);
        let other = field;
        for (value, other) in field.iter_mut().zip(other.iter().rev()) {
            *value = *value * 0.6 + other.sqrt() * 0.3;
        }
        x = T * (2.0 * x.sin() * x.cos() / ((x + y).cos() + (x - y).cos() - 1.0)).atan();
        y = T * (2.0 * y.sin() * y.cos() / ((x + y).cos() + (x - y).cos() - 1.0)).atan2(1.0);
        z = (z.ln() / 0.500_25).exp().sqrt();
        w = (w + n as f64 / 1000.0).powf(T).mul_add(1.0, z.tan() * 1e-3) + z.cbrt().hypot(0.1);
    }
    for value in e.into_iter().chain([x, y, z, w]) {
        println!("{:016x} {value:e} {value:.3}", value.to_bits());
    }
    let sum: f32 = field.iter().sum();
    println!("{:08x} {sum}", sum.to_bits());
}
