//! A disk (virtio 1.2, 5.2). What is on it is in `crate::disk`; here are the requests.
//!
//! Requests are done in their order, in units of [`UNIT_BYTES`]. A flush of an image that follows waits until the outside has
//! said that what was written is durable, and the requests behind it wait, too.

use serde::{Deserialize, Serialize};

use super::io::Io;
use super::queue::Chain;
use super::{Device, Failed};
use crate::check::{Checked, ensure};
use crate::config::{DiskConfig, DiskMode};
use crate::disk::SECTOR_BYTES;
use crate::event::Output;

/// Descriptors in the queue, and how many of them a request has for its data (header and status take one each).
const QUEUE_SIZE: u16 = 128;
const SEGMENTS_MAX: u32 = 126;
/// Bytes that are read, written or zeroed in one step.
const UNIT_BYTES: u64 = 64 << 10;

// Features (5.2.3).
const SEG_MAX: u32 = 2;
const RO: u32 = 5;
const BLK_SIZE: u32 = 6;
const FLUSH: u32 = 9;
const TOPOLOGY: u32 = 10;
const DISCARD: u32 = 13;
const WRITE_ZEROES: u32 = 14;

// Types of requests (5.2.6).
const TYPE_IN: u32 = 0;
const TYPE_OUT: u32 = 1;
const TYPE_FLUSH: u32 = 4;
const TYPE_GET_ID: u32 = 8;
const TYPE_DISCARD: u32 = 11;
const TYPE_WRITE_ZEROES: u32 = 13;

/// What a request begins with: type, reserved, sector.
const HEADER_BYTES: u64 = 16;
/// A range to discard or to zero: sector, number of sectors, flags.
const RANGE_BYTES: u64 = 16;
/// Flag of a range that is to be zeroed: it may become unmapped, which says nothing here.
const RANGE_UNMAP: u32 = 1;
/// Sectors of a range, at most.
const RANGE_SECTORS_MAX: u32 = 1 << 21;
/// What a request for the serial number brings.
const ID_BYTES: usize = 20;

/// Guests learn that 4 KiB are best written together: they are one block of the overlay.
const SECTORS_IN_BLOCK_LOG2: u8 = 3;

/// How a request ended (5.2.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Status {
    Ok = 0,
    IoError = 1,
    Unsupported = 2,
}

/// What has become of the next request so far.
enum Progress {
    /// There is more to do.
    More,
    /// It is done, and so many bytes of its data were written.
    Done(Status, u64),
}

/// A flush on its way through the outside.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
enum Flush {
    #[default]
    None,
    /// The outside has been asked.
    Asked,
    /// It has answered.
    Answered,
}

/// A virtio disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Block {
    number: u8,
    sectors: u64,
    mode: DiskMode,
    /// Bytes of the next request's data that have been dealt with.
    done: u64,
    /// How many flushes the outside has been asked for.
    flushes: u64,
    /// The last one of them.
    flush: Flush,
}

/// The beginning of a request.
struct Header {
    kind: u32,
    sector: u64,
}

impl Block {
    /// Disk `number` of a machine.
    pub(crate) fn new(number: u8, config: &DiskConfig) -> Self {
        let (sectors, mode) = (config.bytes / SECTOR_BYTES, config.mode);
        Self { number, sectors, mode, done: 0, flushes: 0, flush: Flush::None }
    }

    /// Whether it is the disk that `new` is, whatever has happened to it.
    pub(crate) fn is_same_disk(&self, new: &Self) -> bool {
        (self.number, self.sectors, self.mode) == (new.number, new.sectors, new.mode)
    }

    /// Number of the disk.
    pub(crate) fn number(&self) -> u8 {
        self.number
    }

    /// What was written before flush number `flush` is durable.
    pub(crate) fn flushed(&mut self, flush: u64) {
        if self.flush == Flush::Asked && self.flushes == flush {
            self.flush = Flush::Answered;
        }
    }

    /// The flush that waits for [`Self::flushed`].
    pub(crate) fn pending_flush(&self) -> Option<u64> {
        (self.flush == Flush::Asked).then_some(self.flushes)
    }

    /// Makes sure that what was written is durable, if there is an outside for which it matters.
    fn flush(&mut self, io: &mut Io<'_>) -> Progress {
        if self.mode != DiskMode::WriteThrough {
            return Progress::Done(Status::Ok, 0);
        }
        match std::mem::take(&mut self.flush) {
            Flush::None | Flush::Asked => {
                self.flushes += 1;
                self.flush = Flush::Asked;
                io.send(Output::Flush { disk: self.number, flush: self.flushes });
                Progress::More
            }
            Flush::Answered => Progress::Done(Status::Ok, 0),
        }
    }

    /// Where `bytes` at `sector` are, if they are on the disk.
    fn place(&self, sector: u64, bytes: u64) -> Option<u64> {
        let sectors = bytes / SECTOR_BYTES;
        let fits = bytes.is_multiple_of(SECTOR_BYTES) && sector <= self.sectors && sectors <= self.sectors - sector;
        fits.then(|| sector * SECTOR_BYTES)
    }

    /// Does a unit of the request in `chain`, which has room for a status.
    fn request(&mut self, chain: &Chain, io: &mut Io<'_>) -> Result<Progress, Failed> {
        let mut bytes = [0; HEADER_BYTES as usize];
        if io.read(&chain.readable, 0, &mut bytes)? < bytes.len() {
            return Ok(Progress::Done(Status::IoError, 0));
        }
        let [k0, k1, k2, k3, _, _, _, _, sector @ ..] = bytes;
        let header = Header { kind: u32::from_le_bytes([k0, k1, k2, k3]), sector: u64::from_le_bytes(sector) };
        match header.kind {
            TYPE_IN => self.read(&header, chain, io),
            TYPE_OUT | TYPE_DISCARD | TYPE_WRITE_ZEROES if self.mode == DiskMode::ReadOnly => {
                Ok(Progress::Done(Status::IoError, 0))
            }
            TYPE_OUT => self.write(&header, chain, io),
            TYPE_FLUSH => Ok(self.flush(io)),
            TYPE_GET_ID => self.tell_id(chain, io),
            TYPE_WRITE_ZEROES => self.zero(RANGE_UNMAP, chain, io),
            TYPE_DISCARD if self.features() & 1 << DISCARD != 0 => self.zero(0, chain, io),
            _ => Ok(Progress::Done(Status::Unsupported, 0)),
        }
    }

    /// How many bytes of `total` to deal with now.
    fn unit(&self, total: u64) -> u64 {
        total.saturating_sub(self.done).min(UNIT_BYTES)
    }

    fn read(&mut self, header: &Header, chain: &Chain, io: &mut Io<'_>) -> Result<Progress, Failed> {
        let total = chain.writable_bytes() - 1;
        let Some(start) = self.place(header.sector, total) else {
            return Ok(Progress::Done(Status::IoError, 0));
        };
        let mut data = vec![0; self.unit(total) as usize];
        io.disk_read(self.number, start + self.done, &mut data);
        io.write(&chain.writable, self.done, &data)?;
        self.done += data.len() as u64;
        Ok(if self.done >= total { Progress::Done(Status::Ok, total) } else { Progress::More })
    }

    fn write(&mut self, header: &Header, chain: &Chain, io: &mut Io<'_>) -> Result<Progress, Failed> {
        let total = chain.readable_bytes() - HEADER_BYTES;
        let Some(start) = self.place(header.sector, total) else {
            return Ok(Progress::Done(Status::IoError, 0));
        };
        let mut data = vec![0; self.unit(total) as usize];
        if !data.is_empty() {
            io.read(&chain.readable, HEADER_BYTES + self.done, &mut data)?;
            let offset = start + self.done;
            io.disk_write(self.number, offset, &data);
            self.done += data.len() as u64;
            self.follow(offset, data, io);
        }
        Ok(self.written(total, io))
    }

    /// Fills a range with zeros; so does a discard, after which anything may be read.
    fn zero(&mut self, flags_known: u32, chain: &Chain, io: &mut Io<'_>) -> Result<Progress, Failed> {
        let mut range = [0; RANGE_BYTES as usize];
        if chain.readable_bytes() != HEADER_BYTES + RANGE_BYTES {
            return Ok(Progress::Done(Status::IoError, 0));
        }
        io.read(&chain.readable, HEADER_BYTES, &mut range)?;
        let [s0, s1, s2, s3, s4, s5, s6, s7, n0, n1, n2, n3, flags @ ..] = range;
        let sectors = u32::from_le_bytes([n0, n1, n2, n3]);
        if u32::from_le_bytes(flags) & !flags_known != 0 {
            return Ok(Progress::Done(Status::Unsupported, 0));
        }
        let total = u64::from(sectors) * SECTOR_BYTES;
        let place = self.place(u64::from_le_bytes([s0, s1, s2, s3, s4, s5, s6, s7]), total);
        let Some(start) = place.filter(|_| sectors <= RANGE_SECTORS_MAX) else {
            return Ok(Progress::Done(Status::IoError, 0));
        };
        let (offset, length) = (start + self.done, self.unit(total));
        if length > 0 {
            io.disk_zero(self.number, offset, length);
            self.done += length;
            self.follow(offset, vec![0; length as usize], io);
        }
        Ok(self.written(total, io))
    }

    /// `bytes` were written at `offset`: if the image follows, so it must.
    fn follow(&self, offset: u64, bytes: Vec<u8>, io: &mut Io<'_>) {
        if self.mode == DiskMode::WriteThrough {
            io.send(Output::Disk { disk: self.number, offset, bytes });
        }
    }

    /// What has become of a request that writes `total` bytes. A driver that knows no flushes takes a write that is done for
    /// durable (5.2.6.2).
    fn written(&mut self, total: u64, io: &mut Io<'_>) -> Progress {
        match self.done >= total {
            false => Progress::More,
            true if io.has_feature(FLUSH) => Progress::Done(Status::Ok, 0),
            true => self.flush(io),
        }
    }

    fn tell_id(&self, chain: &Chain, io: &mut Io<'_>) -> Result<Progress, Failed> {
        let mut id = format!("ftemu-disk{}", self.number).into_bytes();
        id.resize(ID_BYTES, 0);
        if chain.writable_bytes() - 1 < ID_BYTES as u64 {
            return Ok(Progress::Done(Status::IoError, 0));
        }
        io.write(&chain.writable, 0, &id)?;
        Ok(Progress::Done(Status::Ok, ID_BYTES as u64))
    }
}

impl Device for Block {
    fn id(&self) -> u16 {
        2
    }

    /// Mass storage controller, SCSI: what drivers of virtio disks expect.
    fn class(&self) -> [u8; 3] {
        [0, 0, 0x01]
    }

    fn queues(&self) -> &'static [u16] {
        &[QUEUE_SIZE]
    }

    fn features(&self) -> u64 {
        let common = 1 << SEG_MAX | 1 << BLK_SIZE | 1 << FLUSH | 1 << TOPOLOGY;
        common
            | match self.mode {
                DiskMode::ReadOnly => 1 << RO,
                DiskMode::Overlay => 1 << WRITE_ZEROES | 1 << DISCARD,
                // The image would be written full of zeros: what is discarded is better left as it is.
                DiskMode::WriteThrough => 1 << WRITE_ZEROES,
            }
    }

    /// 5.2.4.
    fn config(&self) -> Vec<u8> {
        let mut config = vec![0; 60];
        let mut put = |at: usize, bytes: &[u8]| config[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, &self.sectors.to_le_bytes());
        put(12, &SEGMENTS_MAX.to_le_bytes());
        put(20, &(SECTOR_BYTES as u32).to_le_bytes());
        put(24, &[SECTORS_IN_BLOCK_LOG2]);
        for limits in [36, 48] {
            put(limits, &RANGE_SECTORS_MAX.to_le_bytes()); // Discard, and zeroes: sectors and ranges of one request.
            put(limits + 4, &1_u32.to_le_bytes());
        }
        put(44, &(1_u32 << SECTORS_IN_BLOCK_LOG2).to_le_bytes());
        put(56, &[1]);
        config
    }

    fn reset_queue(&mut self, _queue: usize) {
        (self.done, self.flush) = (0, Flush::None);
    }

    fn wants(&self, _queue: usize) -> bool {
        self.flush != Flush::Asked
    }

    fn work(&mut self, _queue: usize, io: &mut Io<'_>) -> Result<(), Failed> {
        let Some(chain) = io.peek()? else { return Ok(()) };
        let room = chain.writable_bytes();
        if room == 0 {
            self.done = 0;
            return Ok(io.complete(&chain, 0)?);
        }
        if let Progress::Done(status, written) = self.request(&chain, io)? {
            (self.done, self.flush) = (0, Flush::None);
            io.write(&chain.writable, room - 1, &[status as u8])?;
            io.complete(&chain, u32::try_from(written + 1).unwrap_or(u32::MAX))?;
        }
        Ok(())
    }

    fn check(&self) -> Checked {
        ensure(self.done <= self.sectors * SECTOR_BYTES, "request to a disk")?;
        ensure(self.mode == DiskMode::WriteThrough || (self.flushes == 0 && self.flush == Flush::None), "flush")
    }
}
