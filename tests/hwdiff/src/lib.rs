//! Differential tester: the same instruction bytes on the host's CPU and in emu.
//!
//! `forms` lists what is compared and `generate` makes cases of it; `raw` makes cases of random bytes. `native` and `emulated`
//! run them, `compare` looks, `campaign` runs many and `workers` shares them among processes.

pub mod campaign;
pub mod case;
pub mod compare;
pub mod compat;
pub mod emulated;
mod encode;
pub mod features;
pub mod forms;
mod gather;
pub mod generate;
mod kernel;
pub mod layout;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
pub mod native;
pub mod raw;
pub mod rng;
pub mod sequence;
pub mod silicon;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
pub mod traced;
pub mod undefined;
pub mod vectors;
pub mod workers;
