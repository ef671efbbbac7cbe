//! The deterministic machine: CPU, memory, chips, boot. A value; a function of (state, inputs).
//!
//! | module | is |
//! |---|---|
//! | `machine` | the owner's view: run, deliver, save |
//! | `event`, `position`, `config`, `state`, `check` | what crosses the border, as plain data |
//! | `engine`, `op`, `block`, `decode` | guest code as blocks of threaded ops |
//! | `exec`, `alu`, `alu_bits`, `width` | what instructions do |
//! | `lanes`, `fp`, `crypto` | the same for vectors, floating point and ciphers |
//! | `host` | the same by the host's vector instructions |
//! | `cpu` | registers, modes, faults and their delivery |
//! | `mem` | RAM, paging, TLB |
//! | `bus`, `dev`, `clock` | chips and time |
//! | `disk` | what is on disks |
//! | `boot` | images and their hand-off |

#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_lossless,
    reason = "narrowing a register is what most instructions do; `Width` and explicit masks say where"
)]

#[cfg(target_endian = "big")]
compile_error!("guest registers are accessed as little-endian bytes");

mod alu;
mod alu_bits;
mod block;
pub mod boot;
mod bus;
mod check;
mod clock;
mod config;
mod cpu;
mod crypto;
mod decode;
pub mod dev;
mod disk;
mod engine;
mod event;
mod exec;
mod fp;
mod host;
mod lanes;
mod machine;
mod mem;
mod op;
mod position;
mod state;
mod width;

pub use clock::TSC_HZ;
pub use config::{
    ClockMode, ConsolePort, CpuModel, DISKS_MAX, Devices, DiskConfig, DiskError, DiskMode, MachineConfig, MachineError,
};
pub use decode::disassemble;
pub use disk::{Image, Images, SECTOR_BYTES, image_digest};
pub use event::{Control, Door, FRAME_BYTES_MAX, Input, Output, Power, Query, Stop, Until};
pub use machine::Machine;
pub use mem::{DirtySet, PAGE_BYTES};
pub use position::Position;
pub use state::{
    CONSOLE_CLIENTS_MAX, ClockState, ConsoleClient, CpuState, Fpu, MachineState, Msrs, Pmu, Segment, Shadow, Table, X80,
};
