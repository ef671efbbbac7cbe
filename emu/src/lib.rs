//! The deterministic machine: CPU, memory, chips, boot. A value; a function of (state, inputs).

pub mod boot;
pub mod dev;
mod event;
mod position;

pub use event::{Control, Door, Input, Output, Power, Query, Stop, Until};
pub use position::Position;
