//! Status, features and queues of a device, as the common configuration shows them (virtio 1.2, 2.1 to 2.4, 4.1.4.3).

use serde::{Deserialize, Serialize};

use super::queue::{NO_VECTOR, Queue};
use crate::check::{Checked, ensure};

// Device status (2.1).
const DRIVER_OK: u8 = 4;
const FEATURES_OK: u8 = 8;
const NEEDS_RESET: u8 = 64;
/// What the driver can set: ACKNOWLEDGE, DRIVER, FAILED besides these.
const STATUS_DRIVER: u8 = 1 | 2 | DRIVER_OK | FEATURES_OK | 128;

// Feature bits (6).
const INDIRECT_DESC: u64 = 1 << 28;
const EVENT_IDX: u64 = 1 << 29;
const VERSION_1: u64 = 1 << 32;
const RING_RESET: u64 = 1 << 40;
/// What every device offers.
pub(super) const FEATURES: u64 = INDIRECT_DESC | EVENT_IDX | VERSION_1 | RING_RESET;

// Fields of the common configuration.
const DEVICE_FEATURE_SELECT: usize = 0x00;
const DEVICE_FEATURE: usize = 0x04;
const DRIVER_FEATURE_SELECT: usize = 0x08;
const DRIVER_FEATURE: usize = 0x0c;
const CONFIG_VECTOR: usize = 0x10;
const QUEUES: usize = 0x12;
const STATUS: usize = 0x14;
const QUEUE_SELECT: usize = 0x16;
const QUEUE_SIZE: usize = 0x18;
const QUEUE_VECTOR: usize = 0x1a;
const QUEUE_ENABLE: usize = 0x1c;
const QUEUE_NOTIFY_OFF: usize = 0x1e;
const QUEUE_RINGS: usize = 0x20;
const QUEUE_RESET: usize = 0x3a;
/// Size of the common configuration.
pub(super) const COMMON_BYTES: usize = 0x40;

/// Offset and size of what can be written; 64-bit addresses are written by halves.
const WRITABLE: [(usize, usize); 15] = [
    (DEVICE_FEATURE_SELECT, 4),
    (DRIVER_FEATURE_SELECT, 4),
    (DRIVER_FEATURE, 4),
    (CONFIG_VECTOR, 2),
    (STATUS, 1),
    (QUEUE_SELECT, 2),
    (QUEUE_SIZE, 2),
    (QUEUE_VECTOR, 2),
    (QUEUE_ENABLE, 2),
    (QUEUE_RINGS, 4),
    (QUEUE_RINGS + 4, 4),
    (QUEUE_RINGS + 8, 4),
    (QUEUE_RINGS + 12, 4),
    (QUEUE_RINGS + 16, 4),
    (QUEUE_RINGS + 20, 4),
];

/// The part of a device that all kinds have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Transport {
    device_feature_select: u32,
    driver_feature_select: u32,
    driver_features: u64,
    config_vector: u16,
    queue_select: u16,
    status: u8,
    generation: u8,
    pub(super) queues: Vec<Queue>,
}

/// What the function must do about a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    Nothing,
    /// The device is reset.
    Reset,
    /// One queue is.
    QueueReset(usize),
    /// The driver is ready.
    Started,
}

impl Transport {
    /// After reset, with queues of these largest sizes.
    pub(super) fn new(sizes: &[u16]) -> Self {
        Self {
            device_feature_select: 0,
            driver_feature_select: 0,
            driver_features: 0,
            config_vector: NO_VECTOR,
            queue_select: 0,
            status: 0,
            generation: 0,
            queues: sizes.iter().map(|&size| Queue::new(size)).collect(),
        }
    }

    /// Checks that this state can be that of a device that offers `features`, with queues of these sizes.
    pub(super) fn check(&self, features: u64, sizes: &[u16]) -> Checked {
        let has_vector = |vector: u16| vector == NO_VECTOR || usize::from(vector) <= sizes.len();
        ensure(self.queues.len() == sizes.len() && has_vector(self.config_vector), "virtqueues")?;
        for (queue, &size) in self.queues.iter().zip(sizes) {
            queue.check(size, has_vector(queue.vector))?;
        }
        ensure(self.status & !(STATUS_DRIVER | NEEDS_RESET) == 0, "virtio device status")?;
        ensure(self.status & DRIVER_OK == 0 || self.status & FEATURES_OK != 0, "virtio device status")?;
        let negotiated = self.status & FEATURES_OK == 0 || acceptable(self.driver_features, features);
        ensure(negotiated, "virtio features")
    }

    /// Whether the driver uses the device, and may.
    pub(super) fn is_running(&self) -> bool {
        self.status & (DRIVER_OK | NEEDS_RESET) == DRIVER_OK
    }

    /// Features in force.
    pub(super) fn features(&self) -> u64 {
        if self.status & FEATURES_OK != 0 { self.driver_features } else { 0 }
    }

    /// Whether notifications are suppressed by index (2.7.7, 2.7.10).
    pub(super) fn event_index(&self) -> bool {
        self.features() & EVENT_IDX != 0
    }

    /// The MSI-X vector for changes of the configuration.
    pub(super) fn config_vector(&self) -> u16 {
        self.config_vector
    }

    /// The configuration of the device has changed. True if the driver is to be told.
    pub(super) fn config_changed(&mut self) -> bool {
        self.generation = self.generation.wrapping_add(1);
        self.status & DRIVER_OK != 0
    }

    /// The driver has broken the rules. True if it is to be told.
    pub(super) fn needs_reset(&mut self) -> bool {
        self.status |= NEEDS_RESET;
        self.status & DRIVER_OK != 0
    }

    /// The doorbell of a queue.
    pub(super) fn notify(&mut self, queue: u32) {
        if let Some(queue) = self.queues.get_mut(queue as usize).filter(|queue| queue.enabled) {
            queue.notified = true;
        }
    }

    /// The common configuration as it reads now, for a device that offers `features`.
    pub(super) fn read(&self, features: u64) -> [u8; COMMON_BYTES] {
        let mut space = [0; COMMON_BYTES];
        let mut put = |at: usize, bytes: &[u8]| space[at..at + bytes.len()].copy_from_slice(bytes);
        put(DEVICE_FEATURE_SELECT, &self.device_feature_select.to_le_bytes());
        put(DEVICE_FEATURE, &half(features, self.device_feature_select).to_le_bytes());
        put(DRIVER_FEATURE_SELECT, &self.driver_feature_select.to_le_bytes());
        put(DRIVER_FEATURE, &half(self.driver_features, self.driver_feature_select).to_le_bytes());
        put(CONFIG_VECTOR, &self.config_vector.to_le_bytes());
        put(QUEUES, &(self.queues.len() as u16).to_le_bytes());
        // The generation of the configuration stands behind the status.
        put(STATUS, &[self.status, self.generation]);
        put(QUEUE_SELECT, &self.queue_select.to_le_bytes());
        // A queue that does not exist has size 0.
        let Some(queue) = self.queues.get(usize::from(self.queue_select)) else { return space };
        put(QUEUE_SIZE, &queue.size.to_le_bytes());
        put(QUEUE_VECTOR, &queue.vector.to_le_bytes());
        put(QUEUE_ENABLE, &u16::from(queue.enabled).to_le_bytes());
        put(QUEUE_NOTIFY_OFF, &self.queue_select.to_le_bytes());
        for (n, ring) in queue.rings.iter().enumerate() {
            put(QUEUE_RINGS + 8 * n, &ring.to_le_bytes());
        }
        space
    }

    /// Writes the fields that lie within `data` at `offset`.
    pub(super) fn write(&mut self, offset: usize, data: &[u8], features: u64, sizes: &[u16]) -> Effect {
        let mut effect = Effect::Nothing;
        for (at, bytes) in WRITABLE.into_iter().chain([(QUEUE_RESET, 2)]) {
            let Some(start) = at.checked_sub(offset) else { continue };
            let Some(field) = data.get(start..start + bytes) else { continue };
            let value = field.iter().rev().fold(0, |value, &byte| value << 8 | u32::from(byte));
            match at {
                STATUS if value == 0 => {
                    *self = Self::new(sizes);
                    effect = Effect::Reset;
                }
                STATUS => effect = self.set_status(value as u8, features),
                QUEUE_RESET if value == 1 => effect = self.reset_queue(sizes),
                _ => self.set(at, value, sizes),
            }
        }
        effect
    }

    /// The driver sets bits of the status; only a reset clears them.
    fn set_status(&mut self, value: u8, features: u64) -> Effect {
        let before = self.status;
        self.status |= value & STATUS_DRIVER & !(FEATURES_OK | DRIVER_OK);
        if value & FEATURES_OK != 0 && acceptable(self.driver_features, features) {
            self.status |= FEATURES_OK;
        }
        if self.status & FEATURES_OK != 0 {
            self.status |= value & DRIVER_OK;
        }
        if !before & self.status & DRIVER_OK != 0 { Effect::Started } else { Effect::Nothing }
    }

    /// The driver takes back what is in the selected queue (2.6.1).
    fn reset_queue(&mut self, sizes: &[u16]) -> Effect {
        let number = usize::from(self.queue_select);
        let (Some(queue), Some(&size)) = (self.queues.get_mut(number), sizes.get(number)) else {
            return Effect::Nothing;
        };
        *queue = Queue::new(size);
        Effect::QueueReset(number)
    }

    fn set(&mut self, at: usize, value: u32, sizes: &[u16]) {
        let has_vector = usize::from(value as u16) <= self.queues.len();
        let vector = if has_vector { value as u16 } else { NO_VECTOR };
        match at {
            DEVICE_FEATURE_SELECT => self.device_feature_select = value,
            DRIVER_FEATURE_SELECT => self.driver_feature_select = value,
            DRIVER_FEATURE if self.status & FEATURES_OK == 0 => {
                set_half(&mut self.driver_features, self.driver_feature_select, value);
            }
            CONFIG_VECTOR => self.config_vector = vector,
            QUEUE_SELECT => self.queue_select = value as u16,
            _ => {
                let number = usize::from(self.queue_select);
                let (Some(queue), Some(&size_max)) = (self.queues.get_mut(number), sizes.get(number)) else { return };
                set_queue(queue, at, value, vector, size_max);
            }
        }
    }
}

/// A write to a field of the selected queue. What is set up does not change while it is in use.
fn set_queue(queue: &mut Queue, at: usize, value: u32, vector: u16, size_max: u16) {
    match at {
        QUEUE_VECTOR => queue.vector = vector,
        _ if queue.enabled => {}
        QUEUE_SIZE => {
            let size = value as u16;
            if size.is_power_of_two() && size <= size_max {
                queue.size = size;
            }
        }
        QUEUE_ENABLE if value == 1 => queue.enabled = true,
        QUEUE_RINGS.. if at < QUEUE_RINGS + 24 => {
            let (ring, upper) = ((at - QUEUE_RINGS) / 8, (at / 4 & 1) as u32);
            set_half(&mut queue.rings[ring], upper, value);
        }
        _ => {}
    }
}

/// Whether a driver may ask for these features.
fn acceptable(wanted: u64, offered: u64) -> bool {
    wanted & !offered == 0 && wanted & VERSION_1 != 0
}

/// Bits 32 `n` to 32 `n` + 31.
fn half(value: u64, n: u32) -> u32 {
    if n < 2 { (value >> (32 * n)) as u32 } else { 0 }
}

fn set_half(value: &mut u64, n: u32, to: u32) {
    if n < 2 {
        let shift = 32 * n;
        *value = *value & !(u64::from(u32::MAX) << shift) | u64::from(to) << shift;
    }
}
