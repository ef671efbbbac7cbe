//! Chooses how handlers reach each other (ARCHITECTURE.md, "Threaded dispatch").

fn main() {
    println!("cargo::rustc-check-cfg=cfg(threaded)");
    println!("cargo::rerun-if-changed=build.rs");
    let optimised = std::env::var("OPT_LEVEL").is_ok_and(|level| level != "0");
    let arch = std::env::var("CARGO_CFG_TARGET_ARCH").unwrap_or_default();
    // LLVM turns calls in tail position into jumps only when it optimises, and not at all on wasm.
    if optimised && matches!(arch.as_str(), "x86_64" | "aarch64") {
        println!("cargo::rustc-cfg=threaded");
    }
}
