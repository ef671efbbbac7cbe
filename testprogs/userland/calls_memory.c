// brk, mmap and relatives. Everything is private and anonymous: there are no files to map.
#include "userland.h"

enum { MAP_FIXED = 0x10, MAP_ANONYMOUS = 0x20, MAP_FIXED_NOREPLACE = 0x100000 };
enum { MREMAP_MAYMOVE = 1, MREMAP_FIXED = 2 };
enum { MADV_DONTNEED = 4, MADV_FREE = 8 };

static uint64_t break_start, break_now;

void break_init(uint64_t start) { break_start = break_now = start; }

// Page-aligned, within the program's half, not empty.
static bool is_range(uint64_t start, uint64_t bytes) {
    return start % PAGE == 0 && start >= USER_START && bytes && bytes <= USER_END && start + page_up(bytes) <= USER_END;
}

int64_t sys_brk(const uint64_t *args) {
    uint64_t wanted = args[0], old_end = page_up(break_now), new_end = page_up(wanted);
    if (wanted < break_start || wanted > break_start + (1ull << 36)) return (int64_t)break_now;
    if (new_end > old_end && !(area_free(old_end, new_end) && area_add(old_end, new_end, PROT_READ | PROT_WRITE)))
        return (int64_t)break_now;
    if (new_end < old_end && !area_remove(new_end, old_end)) return (int64_t)break_now;
    break_now = wanted;
    return (int64_t)break_now;
}

int64_t sys_mmap(const uint64_t *args) {
    uint64_t start = args[0], bytes = args[1], flags = args[3];
    int prot = (int)args[2] & (PROT_READ | PROT_WRITE | PROT_EXEC);
    if (!(flags & MAP_ANONYMOUS)) return -EBADF;
    if (!bytes) return -EINVAL;
    if (bytes > USER_END) return -ENOMEM;
    if (flags & (MAP_FIXED | MAP_FIXED_NOREPLACE)) {
        if (!is_range(start, bytes)) return -EINVAL;
        if (flags & MAP_FIXED_NOREPLACE && !area_free(start, start + page_up(bytes))) return -EEXIST;
    } else {
        start = area_find_gap(page_up(bytes));
    }
    return start && area_add(start, start + page_up(bytes), prot) ? (int64_t)start : -ENOMEM;
}

int64_t sys_munmap(const uint64_t *args) {
    if (!is_range(args[0], args[1])) return -EINVAL;
    return area_remove(args[0], args[0] + page_up(args[1])) ? 0 : -ENOMEM;
}

int64_t sys_mprotect(const uint64_t *args) {
    if (args[1] == 0) return 0;
    if (!is_range(args[0], args[1])) return -EINVAL;
    int prot = (int)args[2] & (PROT_READ | PROT_WRITE | PROT_EXEC);
    return area_protect(args[0], args[0] + page_up(args[1]), prot) ? 0 : -ENOMEM;
}

// Only areas that are readable and writable, which is what allocators move.
int64_t sys_mremap(const uint64_t *args) {
    const int prot = PROT_READ | PROT_WRITE;
    uint64_t start = args[0], old_bytes = page_up(args[1]), new_bytes = page_up(args[2]);
    if (args[3] & MREMAP_FIXED || !is_range(start, args[1]) || !is_range(start, args[2])) return -EINVAL;
    if (!area_covers(start, start + old_bytes, prot)) return -EFAULT;
    if (new_bytes <= old_bytes)
        return new_bytes == old_bytes || area_remove(start + new_bytes, start + old_bytes) ? (int64_t)start : -ENOMEM;
    if (area_free(start + old_bytes, start + new_bytes))
        return area_add(start + old_bytes, start + new_bytes, prot) ? (int64_t)start : -ENOMEM;

    uint64_t target = args[3] & MREMAP_MAYMOVE ? area_find_gap(new_bytes) : 0;
    if (!target || !area_add(target, target + new_bytes, prot)) return -ENOMEM;
    for (uint64_t at = 0; at < old_bytes; at += PAGE) page_move(start + at, target + at);
    area_remove(start, start + old_bytes);
    return (int64_t)target;
}

int64_t sys_madvise(const uint64_t *args) {
    if (args[1] == 0) return 0;
    if (!is_range(args[0], args[1])) return -EINVAL;
    if (args[2] == MADV_DONTNEED || args[2] == MADV_FREE)
        for (uint64_t at = args[0]; at < args[0] + page_up(args[1]); at += PAGE) page_remove(at); // zeros when touched
    return 0;
}
