//! The command line of the differential tester.

fn main() {
    let mut native = hwdiff::native::Native::new().unwrap();
    print!("{}", hwdiff::silicon::report(&mut native, 400, 1));
}
