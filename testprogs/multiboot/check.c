// multiboot: a Multiboot 1 kernel in 32-bit protected mode, as hobby and test kernels are. It prints what its loader tells it, by
// port 0xe9, and checks that it makes sense.
//
// Output: loader, command line, memory map, modules with their checksums. Exit code 67 (0x21 by isa-debug-exit) if all is as
// it should be, otherwise 3 and a line that says what is not.
#include <stdbool.h>
#include <stdint.h>

#define MAGIC 0x2badb002

// The information (Multiboot Specification 0.6.96, 3.3), up to what is used.
struct information {
    uint32_t flags, mem_lower, mem_upper, boot_device, cmdline, mods_count, mods_addr, syms[4];
    uint32_t mmap_length, mmap_addr, drives_length, drives_addr, config_table, boot_loader_name;
};

struct module {
    uint32_t start, end, string, reserved;
};

struct range {
    uint32_t size;
    uint64_t base, length;
    uint32_t type;
} __attribute__((packed));

static void say(const char *text) {
    for (; *text; text++) asm volatile("outb %0, $0xe9" : : "a"(*text));
}

static void say_hex(uint64_t value) {
    char text[17];
    int at = 16;
    text[16] = 0;
    do {
        text[--at] = "0123456789abcdef"[value & 15];
        value >>= 4;
    } while (value);
    say(text + at);
}

static bool holds(bool condition, const char *what) {
    if (!condition) {
        say("wrong: ");
        say(what);
        say("\n");
    }
    return condition;
}

// Flat segments: what is written by one is read by the others.
static bool segments_are_flat(void) {
    static volatile uint32_t word = 1;
    uint32_t by_es, by_fs, by_gs, by_ss;
    asm volatile("movl %%es:%1, %0" : "=r"(by_es) : "m"(word));
    asm volatile("movl %%fs:%1, %0" : "=r"(by_fs) : "m"(word));
    asm volatile("movl %%gs:%1, %0" : "=r"(by_gs) : "m"(word));
    asm volatile("movl %%ss:%1, %0" : "=r"(by_ss) : "m"(word));
    return by_es + by_fs + by_gs + by_ss == 4;
}

static bool map_is_sound(const struct information *info) {
    uint64_t end = 0, upper = 0;
    bool sound = true;
    for (uint32_t at = info->mmap_addr; at < info->mmap_addr + info->mmap_length;) {
        const struct range *range = (const struct range *)at;
        say("memory ");
        say_hex(range->base);
        say(" + ");
        say_hex(range->length);
        say(" type ");
        say_hex(range->type);
        say("\n");
        sound &= range->size == 20 && range->base >= end && range->length > 0;
        end = range->base + range->length;
        if (range->base == 0x100000) upper = range->length;
        at += range->size + 4;
    }
    // The last bytes of RAM can be written, and there is nothing above.
    volatile uint32_t *last = (volatile uint32_t *)(uint32_t)(end - 4);
    *last = 0x12345678;
    return sound && upper / 1024 == info->mem_upper && *last == 0x12345678 && last[1] == 0xffffffff;
}

static bool modules_are_sound(const struct information *info) {
    const struct module *module = (const struct module *)info->mods_addr;
    bool sound = true;
    for (uint32_t i = 0; i < info->mods_count; i++, module++) {
        uint32_t sum = 0;
        for (uint32_t at = module->start; at < module->end; at++) sum = sum * 31 + *(const uint8_t *)at;
        say("module ");
        say((const char *)module->string);
        say(": ");
        say_hex(module->end - module->start);
        say(" bytes, checksum ");
        say_hex(sum);
        say("\n");
        sound &= module->start % 4096 == 0 && module->end >= module->start && module->start >= 0x100000;
    }
    return sound;
}

// Called with EAX and EBX as they were at the entry; gives the code to exit with.
uint32_t check(uint32_t magic, const struct information *info) {
    if (!holds(magic == MAGIC, "EAX") || !holds((info->flags & 0x24d) == 0x24d, "flags")) return 1;
    uint8_t debug_console;
    asm volatile("inb $0xe9, %0" : "=a"(debug_console));
    say((const char *)info->boot_loader_name);
    say("\ncommand line ");
    say((const char *)info->cmdline);
    say("\n");
    bool sound = holds(debug_console == 0xe9, "port 0xe9") & holds(segments_are_flat(), "segments");
    sound &= holds(map_is_sound(info), "memory map") & holds(modules_are_sound(info), "modules");
    return sound ? 0x21 : 1;
}
