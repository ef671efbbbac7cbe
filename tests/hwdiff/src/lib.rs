//! Differential tester: the same instruction bytes on the host's CPU and in emu.

pub mod case;
mod encode;
pub mod forms;
pub mod generate;
pub mod layout;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
pub mod native;
pub mod rng;
pub mod silicon;
