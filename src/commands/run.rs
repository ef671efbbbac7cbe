//! `ftemu run` without a pair: a machine, a terminal and perhaps a log.

use anyhow::Result;

use super::program::{self, Booted};
use crate::cli::RunArgs;
use crate::host::signals;
use crate::host::surroundings::Surroundings;
use crate::outlet::LogFile;
use crate::snapshot::Plan;
use crate::solo::Solo;

/// Runs a guest until it is off or the operator stops it.
pub(crate) fn run(args: &RunArgs) -> Result<u8> {
    let Booted { machine, name, disks, paths, progress } = program::boot(args)?;
    let plan = args.snapshot.as_deref().zip(args.snapshot_at.clone());
    let plan = plan.map(|(path, when)| Plan::new(path, &name, paths.clone(), when)).transpose()?;
    let outside = Surroundings::new(machine.config(), args.net.as_ref())?;
    let log = args.record.as_deref().map(|path| LogFile::create(path, &name, paths, &machine, 1)).transpose()?;
    signals::install();
    Solo::new(machine, 1, log, outside)?.with_disks(disks).with_snapshot(plan).with_progress(progress).run()
}
