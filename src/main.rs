//! The command line `ftemu`.
fn main() {}
