//! A function with a memory of its own, and a driver for it.

use crate::dev::virtio::{Broken, Dma, Function, Model, Outside, Starved};
use crate::event::{Output, Query};

pub(super) const RAM: usize = 0x1_0000;
/// Descriptors of each queue of the driver.
const SIZE: u16 = 8;

pub(super) const NEXT: u16 = 1;
pub(super) const WRITE: u16 = 2;
pub(super) const INDIRECT: u16 = 4;

const FEATURE_VERSION_1: u64 = 1 << 32;

pub(super) struct Rig {
    pub(super) function: Function,
    pub(super) ram: Vec<u8>,
    pub(super) printed: Vec<u8>,
    pub(super) sent: Vec<Output>,
    pub(super) disk: Vec<u8>,
    pub(super) starved: bool,
    asked: u8,
}

impl Rig {
    pub(super) fn new(model: Model) -> Self {
        let mut function = Function::new(1, model);
        function.config_write(4, 2, 6);
        Self {
            function,
            ram: vec![0; RAM],
            printed: Vec::new(),
            sent: Vec::new(),
            disk: Vec::new(),
            starved: false,
            asked: 0,
        }
    }

    /// Reads the bar with the registers.
    pub(super) fn read(&mut self, offset: u64, size: usize) -> u32 {
        self.read_at(0xfe01_0000 + offset, size)
    }

    pub(super) fn write(&mut self, offset: u64, value: u32, size: usize) -> Option<u8> {
        self.function.write(0xfe01_0000 + offset, &value.to_le_bytes()[..size])
    }

    /// Reads the bar with the table of MSI-X.
    pub(super) fn read_msix(&mut self, offset: u64) -> u32 {
        self.read_at(0xfe01_4000 + offset, 4)
    }

    pub(super) fn write_msix(&mut self, offset: u64, value: u32) {
        self.function.write(0xfe01_4000 + offset, &value.to_le_bytes());
    }

    fn read_at(&mut self, phys: u64, size: usize) -> u32 {
        let mut bytes = [0; 4];
        assert!(self.function.read(phys, &mut bytes[..size]), "{phys:#x}");
        u32::from_le_bytes(bytes)
    }

    pub(super) fn set_vector(&mut self, vector: u64, address: u32, data: u32) {
        for (n, word) in [address, 0, data, 0].into_iter().enumerate() {
            self.write_msix(16 * vector + 4 * n as u64, word);
        }
    }

    /// Number and place of each capability.
    pub(super) fn capabilities(&mut self) -> Vec<(u8, u8)> {
        let mut found = Vec::new();
        let mut at = self.function.config_read(0x34, 1) as u8;
        while at != 0 {
            found.push((self.cap_byte(at, 0), at));
            at = self.cap_byte(at, 1);
        }
        found
    }

    pub(super) fn cap_byte(&mut self, at: u8, n: u8) -> u8 {
        self.function.config_read(at + n, 1) as u8
    }

    pub(super) fn set_features(&mut self, features: u64) {
        for half in 0..2 {
            self.write(0x08, half, 4);
            self.write(0x0c, (features >> (32 * half)) as u32, 4);
        }
    }

    pub(super) fn descriptor(&mut self, table: u64, n: u16, (address, length, flags): (u64, u32, u16), next: u16) {
        let at = table as usize + 16 * usize::from(n);
        self.ram[at..at + 8].copy_from_slice(&address.to_le_bytes());
        self.ram[at + 8..at + 12].copy_from_slice(&length.to_le_bytes());
        self.ram[at + 12..at + 14].copy_from_slice(&flags.to_le_bytes());
        self.ram[at + 14..at + 16].copy_from_slice(&next.to_le_bytes());
    }

    fn put(&mut self, at: u64, value: u16) {
        self.ram[at as usize..at as usize + 2].copy_from_slice(&value.to_le_bytes());
    }

    fn get(&self, at: u64) -> u16 {
        u16::from_le_bytes([self.ram[at as usize], self.ram[at as usize + 1]])
    }

    /// One unit of work.
    pub(super) fn step(&mut self) -> Result<(), Starved> {
        let mut function = self.function.clone();
        let done = function.work(self);
        self.function = function;
        done
    }

    /// Works until nothing is to be done.
    pub(super) fn work(&mut self) {
        for _ in 0..100 {
            if !self.function.is_due() {
                return;
            }
            self.step().unwrap();
        }
        panic!("a device that never rests");
    }
}

impl Dma for Rig {
    fn dma_read(&self, phys: u64, out: &mut [u8]) -> Result<(), Broken> {
        let start = usize::try_from(phys).map_err(|_| Broken)?;
        out.copy_from_slice(self.ram.get(start..start.wrapping_add(out.len())).ok_or(Broken)?);
        Ok(())
    }

    fn dma_write(&mut self, phys: u64, data: &[u8]) -> Result<(), Broken> {
        let start = usize::try_from(phys).map_err(|_| Broken)?;
        self.ram.get_mut(start..start.wrapping_add(data.len())).ok_or(Broken)?.copy_from_slice(data);
        Ok(())
    }
}

impl Outside for Rig {
    /// The bytes of the first answer are 1, of the second 2, and so on.
    fn ask(&mut self, _query: Query) -> Result<u64, Starved> {
        if self.starved {
            return Err(Starved);
        }
        self.asked += 1;
        Ok(u64::from_le_bytes([self.asked; 8]))
    }

    fn send(&mut self, output: Output) {
        self.sent.push(output);
    }

    fn print(&mut self, byte: u8) {
        self.printed.push(byte);
    }

    fn disk_read(&self, _number: u8, offset: u64, out: &mut [u8]) {
        let start = offset as usize;
        out.copy_from_slice(&self.disk[start..start + out.len()]);
    }

    fn disk_write(&mut self, _number: u8, offset: u64, data: &[u8]) {
        let start = offset as usize;
        self.disk[start..start + data.len()].copy_from_slice(data);
    }

    fn disk_zero(&mut self, _number: u8, offset: u64, length: u64) {
        let start = offset as usize;
        self.disk[start..start + length as usize].fill(0);
    }
}

/// What a driver knows of its rings.
pub(super) struct Driver {
    /// Of each queue: descriptors in use, buffers made available.
    queues: Vec<(u16, u16)>,
}

impl Driver {
    /// Brings a device up, with its queues where `rings` says.
    pub(super) fn start(rig: &mut Rig, features: u64) -> Self {
        rig.write(0x14, 0, 1);
        rig.write(0x14, 1, 1);
        rig.write(0x14, 3, 1);
        rig.set_features(features | FEATURE_VERSION_1);
        rig.write(0x14, 11, 1);
        assert_eq!(rig.read(0x14, 1), 11, "features are taken");
        let count = rig.read(0x12, 2) as usize;
        for queue in 0..count {
            rig.write(0x16, queue as u32, 2);
            rig.write(0x18, SIZE.into(), 2);
            for ring in 0..3 {
                rig.write(0x20 + 8 * ring, (Self::rings(queue) + 0x100 * ring) as u32, 4);
                rig.write(0x24 + 8 * ring, 0, 4);
            }
            rig.write(0x1c, 1, 2);
        }
        rig.write(0x14, 15, 1);
        Self { queues: vec![(0, 0); count] }
    }

    /// Where the descriptors of a queue are; the rings follow, 256 bytes apart.
    pub(super) fn rings(queue: usize) -> u64 {
        0x1000 + 0x1000 * queue as u64
    }

    fn available(queue: usize) -> u64 {
        Self::rings(queue) + 0x100
    }

    fn used_ring(queue: usize) -> u64 {
        Self::rings(queue) + 0x200
    }

    /// Makes a chain available.
    pub(super) fn add(&mut self, rig: &mut Rig, queue: usize, spans: &[(u64, u32, u16)]) {
        let (descriptors, buffers) = self.queues[queue];
        for (n, &(address, length, flags)) in (descriptors..).zip(spans) {
            let last = usize::from(n - descriptors) + 1 == spans.len();
            let flags = if last { flags } else { flags | NEXT };
            rig.descriptor(Self::rings(queue), n, (address, length, flags), n + 1);
        }
        rig.put(Self::available(queue) + 4 + 2 * u64::from(buffers % SIZE), descriptors);
        self.queues[queue] = (descriptors + spans.len() as u16, buffers + 1);
        self.set_available(rig, queue, buffers + 1);
    }

    pub(super) fn set_available(&self, rig: &mut Rig, queue: usize, index: u16) {
        rig.put(Self::available(queue) + 2, index);
    }

    pub(super) fn suppress_interrupts(&self, rig: &mut Rig, queue: usize, quiet: bool) {
        rig.put(Self::available(queue), quiet.into());
    }

    pub(super) fn set_used_event(&self, rig: &mut Rig, queue: usize, index: u16) {
        rig.put(Self::available(queue) + 4 + 2 * u64::from(SIZE), index);
    }

    pub(super) fn available_event(&self, rig: &Rig, queue: usize) -> u16 {
        rig.get(Self::used_ring(queue) + 4 + 8 * u64::from(SIZE))
    }

    pub(super) fn ring(&self, rig: &mut Rig, queue: usize) {
        rig.write(0x3000 + 4 * queue as u64, queue as u32, 2);
    }

    /// Heads and lengths of the buffers that came back.
    pub(super) fn used(&self, rig: &Rig, queue: usize) -> Vec<(u16, u16)> {
        let ring = Self::used_ring(queue);
        let count = rig.get(ring + 2);
        let entry = |n: u16| ring + 4 + 8 * u64::from(n % SIZE);
        (0..count).map(|n| (rig.get(entry(n)), rig.get(entry(n) + 4))).collect()
    }
}
