//! All disks of a machine, and the place of their blocks among its pages: those of RAM come first, then those of disk 0, and
//! so on.

use super::{BLOCK_BYTES, Disk, Images, SECTOR_BYTES};
use crate::config::{DISKS_MAX, Devices, DiskError};
use crate::mem::{DirtySet, PAGE_BYTES};

/// The disks that are plugged in.
pub(crate) struct Disks {
    disks: [Option<Disk>; DISKS_MAX],
    /// Pages of RAM and of all disks.
    pages: u32,
}

impl Disks {
    /// Puts `images` into the places that `devices` have for them. `ram_pages`: pages of RAM.
    ///
    /// # Errors
    /// The number of a disk and what is wrong with it.
    pub(crate) fn plug(devices: &Devices, images: Images, ram_pages: usize) -> Result<Self, (usize, DiskError)> {
        let mut disks = [const { None }; DISKS_MAX];
        let mut pages = ram_pages as u32;
        for (number, (config, image)) in devices.disks.iter().zip(images).enumerate() {
            let wrong = |error| Err((number, error));
            let (config, image) = match (config, image) {
                (None, None) => continue,
                (None, Some(_)) => return wrong(DiskError::NoSuchDisk),
                (Some(_), None) => return wrong(DiskError::NoImage),
                (Some(config), Some(image)) => (config, image),
            };
            if config.bytes == 0 || !config.bytes.is_multiple_of(SECTOR_BYTES) {
                return wrong(DiskError::Size(config.bytes));
            }
            if image.bytes() != config.bytes {
                return wrong(DiskError::OtherSize { image: image.bytes(), config: config.bytes });
            }
            let disk = Disk::new(image, pages);
            let end = u32::try_from(u64::from(pages) + disk.blocks());
            let Ok(end) = end else { return wrong(DiskError::Size(config.bytes)) };
            pages = end;
            disks[number] = Some(disk);
        }
        Ok(Self { disks, pages })
    }

    /// Disk `number`, if there is one.
    pub(crate) fn get(&self, number: usize) -> Option<&Disk> {
        self.disks.get(number)?.as_ref()
    }

    /// Disk `number`, if there is one.
    pub(crate) fn get_mut(&mut self, number: usize) -> Option<&mut Disk> {
        self.disks.get_mut(number)?.as_mut()
    }

    /// Pages of RAM and of all disks.
    pub(crate) fn page_count(&self) -> u32 {
        self.pages
    }

    /// The disk and block that page `pfn` is.
    fn place(&self, pfn: u32) -> Option<(usize, u32)> {
        let mut disks = self.disks.iter().enumerate().filter_map(|(i, disk)| Some((i, disk.as_ref()?)));
        disks.find_map(|(i, disk)| {
            let block = pfn.checked_sub(disk.overlay.first_page())?;
            (u64::from(block) < disk.blocks()).then_some((i, block))
        })
    }

    /// Page `pfn`; `None` if that is no block of a disk.
    pub(crate) fn page(&self, pfn: u32) -> Option<&[u8; PAGE_BYTES]> {
        let (number, block) = self.place(pfn)?;
        Some(self.get(number)?.overlay.page(block))
    }

    /// Writes page `pfn`, if that is a block of a disk.
    pub(crate) fn write_page(&mut self, pfn: u32, data: &[u8; PAGE_BYTES]) {
        if let Some((number, block)) = self.place(pfn)
            && let Some(disk) = self.get_mut(number)
        {
            disk.overlay.write(block, data);
        }
    }

    /// The pages that have been written, ascending.
    pub(crate) fn written(&self) -> impl Iterator<Item = u32> + '_ {
        let disks = self.disks.iter().flatten();
        disks.flat_map(|disk| disk.overlay.written().map(|block| disk.overlay.first_page() + block))
    }

    /// The pages written since the last call for `set`, ascending.
    pub(crate) fn take_dirty(&mut self, set: DirtySet) -> Vec<u32> {
        let disks = self.disks.iter_mut().flatten();
        let dirty = disks.flat_map(|disk| {
            let first = disk.overlay.first_page();
            disk.overlay.take_dirty(set).into_iter().map(move |block| first + block)
        });
        dirty.collect()
    }

    /// The sum of the digests of all blocks that have been written.
    pub(crate) fn digest(&mut self) -> u128 {
        let digests = self.disks.iter_mut().flatten().map(|disk| disk.overlay.update_digest());
        digests.fold(0, u128::wrapping_add)
    }

    /// Bytes of blocks that the guest has written to disk `number`.
    pub(crate) fn written_bytes(&self, number: usize) -> u64 {
        self.get(number).map_or(0, |disk| disk.overlay.len() as u64 * BLOCK_BYTES)
    }
}
