// exact: how many instructions is that? Runs pieces of code whose count of retired instructions is known by
// construction, each between two checkpoints. A checkpoint is one OUT of one byte to the console, so whoever records
// outputs with positions sees `<` leave at position p and `>` at position q, and q - p must be the number that
// the guest prints behind it: a faulting instruction does not retire, a REP string instruction retires once,
// an interrupt or exception is no instruction (but its handler's are).
//
// Output (every number follows from pieces.S, not from a measurement):
//   <>2 nothing between
//   <>12 ten NOPs
//   ...
//   exact: 12 pieces
#include "runtime.h"

struct piece {
    void (*run)(void);
    uint64_t count; // from the OUT of `<` to the OUT of `>`: what is between, and 1 for the first OUT
    const char *name;
};
extern const struct piece pieces[]; // pieces.S, ends with a null

extern char skip_entry[], return_entry[]; // pieces.S: handlers of a known length

int main(void) {
    set_gate(6, skip_entry, 0x8e, 0);
    set_gate(0x90, return_entry, 0x8e, 0);
    unsigned n = 0;
    for (const struct piece *p = pieces; p->run; p++, n++) {
        p->run();
        printf("%lu %s\n", p->count, p->name);
    }
    printf("exact: %u pieces\n", n);
    return 0;
}
