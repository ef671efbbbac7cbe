//! Differential tester: the same instruction bytes on the host's CPU and in emu.
//!
//! `forms` lists what is compared, `generate` makes cases of it, `native` and `emulated` run them, `compare` looks.

pub mod campaign;
pub mod case;
pub mod compare;
pub mod emulated;
mod encode;
pub mod forms;
pub mod generate;
mod kernel;
pub mod layout;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
pub mod native;
pub mod rng;
pub mod sequence;
pub mod silicon;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
pub mod traced;
pub mod undefined;
pub mod vectors;
