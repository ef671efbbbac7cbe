//! The log of a machine: everything about its run that is not a consequence of its own state, in a form from which the
//! same run can be had again, on any host (VM-FT 2.1, "Deterministic Replay").
//!
//! | module | is |
//! |---|---|
//! | [`entry`] | what a log is made of |
//! | [`log`] | entries as bytes: packing, segments, the file |
//! | [`codec`] | machine state, configuration and messages as bytes |
//! | [`recorder`] | the door of a live machine, which writes entries |
//! | [`replayer`] | the door of a replayed machine, which consumes them and checks |
//! | [`snapshot`] | a whole machine as bytes |
//! | [`digest`], [`diverge`] | are two machines the same, and if not, where do they part |
//!
//! **Architecture Invariant:** no sockets, no roles, no clocks, no threads. The only I/O is `Read` and `Write` given by
//! the caller in [`log::LogReader`], [`log::LogWriter`] and [`snapshot`].

pub mod codec;
pub mod digest;
pub mod diverge;
pub mod entry;
pub mod log;
pub mod recorder;
pub mod replayer;
pub mod snapshot;

pub use digest::machine_digest;
pub use diverge::{Divergence, Happened};
pub use entry::{CLOCK_STEP_NS, Entry, Event, OutputCheck, clock_step_up};
pub use log::{EncodedSegment, LogError, Segment, SegmentEncoder, SegmentError, decode_bare, decode_segment};
pub use recorder::{Live, Recorder};
pub use replayer::{Emitted, GapError, ReplayStop, Replayer, Unfinished};
pub use snapshot::{Assembler, Snapshot, SnapshotError};
