//! Entropy (virtio 1.2, 5.4). A query brings 8 bytes, a step makes one query; the bytes wait until a buffer can be filled.

use serde::{Deserialize, Serialize};

use super::io::Io;
use super::{Device, Failed};
use crate::check::{Checked, ensure};
use crate::event::Query;

/// Random bytes for one buffer. Drivers ask for at most a cache line.
const POOL_BYTES: usize = 64;

/// A source of random bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entropy {
    pool: Vec<u8>,
}

impl Device for Entropy {
    fn id(&self) -> u16 {
        4
    }

    /// Unclassified.
    fn class(&self) -> [u8; 3] {
        [0, 0, 0xff]
    }

    fn queues(&self) -> &'static [u16] {
        &[64]
    }

    fn work(&mut self, _queue: usize, io: &mut Io<'_>) -> Result<(), Failed> {
        let Some(chain) = io.peek()? else { return Ok(()) };
        let wanted = usize::try_from(chain.writable_bytes()).unwrap_or(POOL_BYTES).min(POOL_BYTES);
        if self.pool.len() < wanted {
            self.pool.extend(io.ask(Query::Random)?.to_le_bytes());
            return Ok(());
        }
        let bytes: Vec<u8> = self.pool.drain(..wanted).collect();
        let written = io.write(&chain.writable, 0, &bytes)?;
        io.complete(&chain, written as u32)?;
        Ok(())
    }

    fn check(&self) -> Checked {
        ensure(self.pool.len() <= POOL_BYTES + 7, "random bytes that wait")
    }
}
