//! What the commands take of the host.

pub(crate) mod clock;
pub(crate) mod disks;
pub(crate) mod entropy;
pub(crate) mod errors;
pub(crate) mod files;
pub(crate) mod image;
pub(crate) mod keyboard;
pub(crate) mod memory;
pub(crate) mod progress;
pub(crate) mod recorded_disks;
pub(crate) mod signals;
pub(crate) mod surroundings;
pub(crate) mod terminal;
