#include "virtio.h"

enum { VENDOR_DEVICE = 0x10421af4, QUEUE = 8, DESC_NEXT = 1, DESC_WRITE = 2 };
enum { ACKNOWLEDGE = 1, DRIVER = 2, DRIVER_OK = 4, FEATURES_OK = 8 };

// 4.1.4.3
struct common {
    uint32_t device_feature_select, device_feature, driver_feature_select, driver_feature;
    uint16_t config_msix_vector, num_queues;
    uint8_t device_status, config_generation;
    uint16_t queue_select, queue_size, queue_msix_vector, queue_enable, queue_notify_off;
    uint64_t queue_desc, queue_driver, queue_device;
};

// 2.7
static struct { uint64_t address; uint32_t length; uint16_t flags, next; } descriptors[QUEUE] __attribute__((aligned(16)));
static volatile struct { uint16_t flags, index, ring[QUEUE], used_event; } available;
static volatile struct { uint16_t flags, index; struct { uint32_t id, length; } ring[QUEUE]; } used __attribute__((aligned(4)));

static volatile uint16_t *doorbell;

static inline void outl(uint16_t port, uint32_t value) { asm volatile("outl %0, %1" ::"a"(value), "Nd"(port)); }

static inline uint32_t inl(uint16_t port) {
    uint32_t value;
    asm volatile("inl %1, %0" : "=a"(value) : "Nd"(port));
    return value;
}

static uint32_t config_read(unsigned slot, unsigned at) {
    outl(0xcf8, 0x80000000 | slot << 11 | (at & 0xfc));
    return inl(0xcfc) >> 8 * (at & 3);
}

static void config_write(unsigned slot, unsigned at, uint32_t value) {
    outl(0xcf8, 0x80000000 | slot << 11 | at);
    outl(0xcfc, value);
}

// The slot of the disk with this number; 0, where the host bridge is, if there is none.
static unsigned find(unsigned number) {
    for (unsigned slot = 1; slot < 32; slot++)
        if (config_read(slot, 0) == VENDOR_DEVICE && number-- == 0) return slot;
    return 0;
}

// Where the structure of this type is mapped (4.1.4), and for doorbells how far they are apart.
static uintptr_t structure(unsigned slot, uint8_t type, uint32_t *step) {
    for (uint8_t at = (uint8_t)config_read(slot, 0x34); at; at = (uint8_t)config_read(slot, at + 1)) {
        if ((uint8_t)config_read(slot, at) != 9 || (uint8_t)config_read(slot, at + 3) != type) continue;
        unsigned bar = 0x10 + 4 * (uint8_t)config_read(slot, at + 4);
        if (step) *step = config_read(slot, at + 16);
        return (config_read(slot, bar) & ~15u) + config_read(slot, at + 8);
    }
    return 0;
}

bool disk_start(struct disk *disk, unsigned number) {
    unsigned slot = find(number);
    if (!slot) return false;
    config_write(slot, 4, config_read(slot, 4) | 6); // memory, bus master
    uint32_t step = 0;
    volatile struct common *common = (void *)structure(slot, 1, NULL);
    volatile uint32_t *config = (void *)structure(slot, 4, NULL);
    uintptr_t notify = structure(slot, 2, &step);

    common->device_status = 0;
    common->device_status = ACKNOWLEDGE | DRIVER;
    common->device_feature_select = 0;
    disk->features = common->device_feature & ~(1u << 28 | 1u << 29); // no indirect tables, no event indices
    common->driver_feature_select = 0;
    common->driver_feature = (uint32_t)disk->features;
    common->driver_feature_select = 1;
    common->driver_feature = 1; // VERSION_1
    common->device_status = ACKNOWLEDGE | DRIVER | FEATURES_OK;

    common->queue_select = 0;
    common->queue_size = QUEUE;
    common->queue_desc = (uintptr_t)descriptors;
    common->queue_driver = (uintptr_t)&available;
    common->queue_device = (uintptr_t)&used;
    doorbell = (void *)(notify + step * common->queue_notify_off);
    common->queue_enable = 1;
    common->device_status = ACKNOWLEDGE | DRIVER | FEATURES_OK | DRIVER_OK;
    disk->sectors = config[0] | (uint64_t)config[1] << 32;
    return true;
}

static void describe(unsigned n, const volatile void *at, uint32_t bytes, uint16_t flags) {
    descriptors[n].address = (uintptr_t)at;
    descriptors[n].length = bytes;
    descriptors[n].flags = flags;
    descriptors[n].next = (uint16_t)(n + 1);
}

uint8_t disk_request(uint32_t type, uint64_t sector, void *data, uint32_t bytes) {
    static struct { uint32_t type, reserved; uint64_t sector; } header;
    static volatile uint8_t status;
    uint16_t direction = type == DISK_IN || type == DISK_ID ? DESC_WRITE : 0;
    unsigned n = 0;
    header.type = type;
    header.sector = sector;
    status = 0xff;
    describe(n++, &header, sizeof header, DESC_NEXT);
    if (bytes > 1) { // in two pieces, because a driver may
        uint32_t half = bytes / 3 + 1;
        describe(n++, data, half, DESC_NEXT | direction);
        describe(n++, (char *)data + half, bytes - half, DESC_NEXT | direction);
    }
    describe(n, &status, 1, DESC_WRITE);

    uint16_t before = used.index;
    available.ring[available.index % QUEUE] = 0;
    asm volatile("" ::: "memory");
    available.index++;
    *doorbell = 0;
    while (used.index == before) asm volatile("pause" ::: "memory");
    return status;
}
