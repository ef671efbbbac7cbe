// disk: writes and reads a virtio disk at random and compares with a copy of it in memory. Whatever dies or is replayed,
// a disk must hold what was written to it.
//
//   ops=N  how much to do (default 400)     seed=N  what to do (default 1)     every=N  how often to say so (default 50)
//   disk=N  number of the disk (default 0)
//
// Needs a disk of at most 24 MiB: ftemu run guest:disk --disk FILE. Output, a function of options and image:
//   disk 0: 2049 sectors, read and write
//   found 1b3f6f2f5be3a1c5
//   50 done, written 3211264
//   ...
//   left 9d1b0c5de0f0a7f3
#include "virtio.h"

enum { BYTES_MAX = 24 << 20, PIECE = 1 << 20, REQUEST_SECTORS_MAX = 300 };

static char *const copy = (char *)(4 << 20);
static char *const buffer = (char *)(30 << 20);
static struct disk disk;
static uint64_t bits, written;

static uint64_t chance(uint64_t below) {
    bits ^= bits << 13, bits ^= bits >> 7, bits ^= bits << 17;
    return bits % below;
}

static void check(bool good, const char *what, uint64_t sector, uint64_t count) {
    if (good) return;
    printf("disk: WRONG: %s, %lu sectors at %lu\n", what, count, sector);
    exit(1);
}

// Reads all of the disk to `to`; returns its checksum.
static uint64_t read_all(char *to) {
    uint64_t bytes = disk.sectors * SECTOR, hash = FNV_START;
    for (uint64_t at = 0; at < bytes; at += PIECE) {
        uint64_t piece = bytes - at < PIECE ? bytes - at : PIECE;
        check(disk_request(DISK_IN, at / SECTOR, to + at, (uint32_t)piece) == 0, "read", at / SECTOR, piece / SECTOR);
    }
    for (uint64_t at = 0; at < bytes; at += 8) hash = fnv1a(hash, *(uint64_t *)(to + at));
    return hash;
}

static void write(uint64_t sector, uint64_t count) {
    for (uint64_t i = 0; i < count * SECTOR; i += 8) *(uint64_t *)(buffer + i) = chance(~0ull);
    check(disk_request(DISK_OUT, sector, buffer, (uint32_t)(count * SECTOR)) == 0, "write", sector, count);
    memcpy(copy + sector * SECTOR, buffer, count * SECTOR);
    written += count * SECTOR;
}

static void read(uint64_t sector, uint64_t count) {
    memset(buffer, 0xa5, count * SECTOR);
    check(disk_request(DISK_IN, sector, buffer, (uint32_t)(count * SECTOR)) == 0, "read", sector, count);
    check(memcmp(buffer, copy + sector * SECTOR, count * SECTOR) == 0, "not what was written", sector, count);
}

static void zero(uint64_t sector, uint64_t count) {
    static struct { uint64_t sector; uint32_t count, flags; } range;
    range.sector = sector;
    range.count = (uint32_t)count;
    uint32_t type = disk.features & FEATURE_DISCARD && chance(2) ? DISK_DISCARD : DISK_ZEROES;
    check(disk_request(type, 0, &range, sizeof range) == 0, "zero", sector, count);
    memset(copy + sector * SECTOR, 0, count * SECTOR);
    written += count * SECTOR;
}

// What must be refused, and change nothing.
static void misbehave(void) {
    check(disk_request(DISK_IN, disk.sectors, buffer, SECTOR) == 1, "read beyond the end", disk.sectors, 1);
    check(disk_request(DISK_OUT, disk.sectors - 1, buffer, 2 * SECTOR) == 1, "write beyond the end", disk.sectors, 2);
    check(disk_request(DISK_IN, ~0ull, buffer, SECTOR) == 1, "read far beyond the end", disk.sectors, 1);
    check(disk_request(DISK_OUT, 0, buffer, 100) == 1, "write of a part", 0, 1);
    check(disk_request(99, 0, buffer, SECTOR) == 2, "request of an unknown kind", 0, 1);
}

int main(void) {
    unsigned number = (unsigned)cmdline_u64("disk", 0);
    uint64_t ops = cmdline_u64("ops", 400), every = cmdline_u64("every", 50);
    bits = cmdline_u64("seed", 1) * 0x9e3779b97f4a7c15ull | 1;
    if (!disk_start(&disk, number)) {
        printf("disk: there is no disk %u\n", number);
        return 1;
    }
    bool fixed = disk.features & FEATURE_READ_ONLY;
    printf("disk %u: %lu sectors, %s\n", number, disk.sectors, fixed ? "read only" : "read and write");
    if (disk.sectors * SECTOR > BYTES_MAX || boot_info->memory_bytes < (32ull << 20)) {
        puts("disk: it is too large\n");
        return 1;
    }
    printf("found %016lx\n", read_all(copy));
    if (fixed) check(disk_request(DISK_OUT, 0, buffer, SECTOR) == 1, "write to what is fixed", 0, 1);

    for (uint64_t done = 1; done <= ops; done++) {
        uint64_t sector = chance(disk.sectors), count = 1 + chance(chance(4) ? 16 : REQUEST_SECTORS_MAX);
        if (count > disk.sectors - sector) count = disk.sectors - sector;
        switch (fixed ? 0 : chance(10)) {
        case 1 ... 5: write(sector, count); break;
        case 6: zero(sector, count); break;
        case 7: check(disk_request(DISK_FLUSH, 0, NULL, 0) == 0, "flush", 0, 0); break;
        case 8: misbehave(); break;
        default: read(sector, count);
        }
        if (done % every == 0) printf("%lu done, written %lu\n", done, written);
    }
    check(disk_request(DISK_FLUSH, 0, NULL, 0) == 0, "flush", 0, 0);
    for (uint64_t at = 0; at < disk.sectors; at += 128) read(at, disk.sectors - at < 128 ? disk.sectors - at : 128);
    printf("left %016lx\n", read_all(copy));
    return 0;
}
