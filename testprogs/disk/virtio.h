// A virtio disk (virtio 1.2, 4.1 and 5.2), one request at a time, without interrupts.
#pragma once

#include "runtime.h"

enum { SECTOR = 512 };
enum { DISK_IN = 0, DISK_OUT = 1, DISK_FLUSH = 4, DISK_ID = 8, DISK_DISCARD = 11, DISK_ZEROES = 13 };

struct disk {
    uint64_t sectors;
    uint64_t features; // those that are offered are taken
};

enum { FEATURE_READ_ONLY = 1 << 5, FEATURE_DISCARD = 1 << 13 };

// Brings up the disk with this number; false if there is none.
bool disk_start(struct disk *disk, unsigned number);
// One request with its data; returns the status: 0 is good.
uint8_t disk_request(uint32_t type, uint64_t sector, void *data, uint32_t bytes);
