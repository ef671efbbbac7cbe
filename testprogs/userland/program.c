// From the file in the module to a program about to start (System V ABI AMD64, 3.4.1; `elf(5)`, `execve(2)`).
#include "userland.h"

// What `ftemu wrap` puts at MODULE (testprogs/src/userland.rs); the program's file follows.
struct module {
    char magic[8]; // "FTEMUSER"
    uint64_t file_bytes;
    char name[48]; // terminated
};

struct elf_header {
    uint8_t ident[16];
    uint16_t type, machine;
    uint32_t version;
    uint64_t entry, phoff, shoff;
    uint32_t flags;
    uint16_t ehsize, phentsize, phnum, shentsize, shnum, shstrndx;
};

struct program_header {
    uint32_t type, flags;
    uint64_t offset, vaddr, paddr, filesz, memsz, align;
};

enum { ET_EXEC = 2, ET_DYN = 3, EM_X86_64 = 62, PT_LOAD = 1, PT_INTERP = 3, PT_GNU_STACK = 0x6474e551, PF_X = 1, PF_W = 2,
       PF_R = 4 };
enum { AT_NULL, AT_PHDR = 3, AT_PHENT, AT_PHNUM, AT_PAGESZ, AT_BASE, AT_FLAGS, AT_ENTRY, AT_UID = 11, AT_EUID, AT_GID,
       AT_EGID, AT_PLATFORM, AT_HWCAP, AT_CLKTCK, AT_SECURE = 23, AT_RANDOM = 25, AT_HWCAP2, AT_EXECFN = 31 };

static _Noreturn void refuse(const char *why) {
    printf("userland: %s\n", why);
    exit(126); // what a shell says of a file that it cannot run
}

static const struct module *module(void) { return direct(MODULE); }

uint64_t module_end(void) {
    const struct module *m = (const struct module *)MODULE; // before the direct map exists
    if (memcmp(m->magic, "FTEMUSER", sizeof m->magic) != 0) refuse("there is no program: `ftemu wrap PROGRAM` makes a guest of one");
    return MODULE + sizeof *m + m->file_bytes;
}

static const uint8_t *file(void) { return (const uint8_t *)(module() + 1); }

static bool within_file(uint64_t offset, uint64_t bytes) {
    return offset <= module()->file_bytes && bytes <= module()->file_bytes - offset;
}

static const struct elf_header *check_header(void) {
    const struct elf_header *h = (const void *)file();
    if (!within_file(0, sizeof *h) || memcmp(h->ident, "\x7f" "ELF\2\1", 6) != 0 || h->machine != EM_X86_64)
        refuse("the program is no ELF for x86-64");
    if (h->type != ET_EXEC && h->type != ET_DYN) refuse("the program is no executable");
    if (h->phentsize != sizeof(struct program_header) || !within_file(h->phoff, h->phnum * sizeof(struct program_header)))
        refuse("the program headers are damaged");
    return h;
}

static void load_segment(const struct program_header *p, uint64_t base) {
    uint64_t start = base + p->vaddr, end = start + p->memsz;
    if (!within_file(p->offset, p->filesz) || p->filesz > p->memsz || end < start) refuse("a segment is damaged");
    if (page_down(start) < USER_START || end > PIE_BASE + (1ull << 40)) refuse("a segment lies below 0x400000 or too high");
    // Writable while it is filled; its pages come from page faults, as the program's own do.
    if (!area_add(page_down(start), page_up(end), PROT_READ | PROT_WRITE)) refuse("too many segments");
    memcpy((void *)start, file() + p->offset, p->filesz);
    int prot = (p->flags & PF_R ? PROT_READ : 0) | (p->flags & PF_W ? PROT_WRITE : 0) | (p->flags & PF_X ? PROT_EXEC : 0);
    area_protect(page_down(start), page_up(end), prot);
}

// ---- the first stack ------------------------------------------------------------------------

static uint64_t stack_pointer;

static void push(uint64_t value) {
    stack_pointer -= 8;
    *(uint64_t *)stack_pointer = value;
}

static uint64_t push_bytes(const void *bytes, size_t size) {
    stack_pointer -= size;
    memcpy((void *)stack_pointer, bytes, size);
    return stack_pointer;
}

static bool is_assignment(const char *word) {
    if (*word == '=' || (*word >= '0' && *word <= '9')) return false;
    for (; *word != '='; word++) {
        char c = *word;
        bool is_name = (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_';
        if (!is_name) return false;
    }
    return true;
}

// Cuts the command line into environment and arguments, as a shell does; returns how many pointers are in `strings`,
// `*environment` of them before the arguments, the first of which is the program's name.
enum { STRINGS_MAX = 256, COMMAND_LINE_MAX = 4096 };

static int cut_command_line(uint64_t strings[STRINGS_MAX], int *environment) {
    static char line[COMMAND_LINE_MAX];
    strcopy(line, boot_info->cmdline, sizeof line);
    char *rest = line, *word = next_word(&rest);
    int n = 0;
    for (; word && is_assignment(word) && n < STRINGS_MAX - 1; word = next_word(&rest))
        strings[n++] = push_bytes(word, strlen(word) + 1);
    *environment = n;
    strings[n++] = push_bytes(module()->name, strlen(module()->name) + 1);
    for (; word && n < STRINGS_MAX; word = next_word(&rest)) strings[n++] = push_bytes(word, strlen(word) + 1);
    if (word) refuse("too many arguments");
    return n;
}

static void make_stack(struct program *program, const struct elf_header *h, uint64_t base, uint64_t headers) {
    stack_pointer = STACK_TOP;
    static uint64_t strings[STRINGS_MAX];
    int environment, n = cut_command_line(strings, &environment);
    uint64_t random[2] = {random_word(), random_word()};
    uint64_t random_at = push_bytes(random, sizeof random), platform = push_bytes("x86_64", 7);
    program->name = (const char *)strings[environment];

    const uint64_t vector[][2] = {
        {AT_PHDR, headers},      {AT_PHENT, h->phentsize},       {AT_PHNUM, h->phnum}, {AT_PAGESZ, PAGE},
        {AT_BASE, 0},            {AT_FLAGS, 0},                  {AT_UID, 0},          {AT_EUID, 0},
        {AT_GID, 0},             {AT_EGID, 0},                   {AT_SECURE, 0},       {AT_ENTRY, base + h->entry},
        {AT_PLATFORM, platform}, {AT_HWCAP, hwcap()},            {AT_CLKTCK, 100},     {AT_RANDOM, random_at},
        {AT_HWCAP2, hwcap2()},   {AT_EXECFN, strings[environment]}, {AT_NULL, 0},
    };
    int words = 2 * (int)(sizeof vector / sizeof vector[0]) + n + 3; // NULL twice, argc
    stack_pointer = (stack_pointer & -16ull) - (words % 2 ? 8 : 0);
    for (int i = (int)(sizeof vector / sizeof vector[0]); i-- > 0;) push(vector[i][1]), push(vector[i][0]);
    push(0);
    for (int i = environment; i-- > 0;) push(strings[i]);
    push(0);
    for (int i = n; i-- > environment;) push(strings[i]);
    push((uint64_t)(n - environment));
    program->stack = stack_pointer;
}

void program_load(struct program *program) {
    const struct elf_header *h = check_header();
    const struct program_header *headers = (const void *)(file() + h->phoff);
    uint64_t base = h->type == ET_DYN ? PIE_BASE : 0, headers_at = 0;
    int stack_prot = PROT_READ | PROT_WRITE;
    for (const struct program_header *p = headers; p < headers + h->phnum; p++) {
        if (p->type == PT_INTERP) refuse("the program is dynamically linked: link it with -static");
        if (p->type == PT_GNU_STACK && p->flags & PF_X) stack_prot |= PROT_EXEC;
        if (p->type != PT_LOAD || p->memsz == 0) continue;
        load_segment(p, base);
        uint64_t end = page_up(base + p->vaddr + p->memsz);
        if (end > program->break_start) program->break_start = end;
        if (h->phoff >= p->offset && h->phoff < p->offset + p->filesz) headers_at = base + p->vaddr + h->phoff - p->offset;
    }
    if (!area_add(STACK_TOP - STACK_BYTES, STACK_TOP, stack_prot)) refuse("too many segments");
    program->entry = base + h->entry;
    make_stack(program, h, base, headers_at);
}
