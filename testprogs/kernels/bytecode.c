// bytecode: an interpreter in the interpreter: indirect jumps that depend on data.
#include "kernel.h"

enum { PUSH, ADD, SUB, MUL, XOR, DUP, SWAP, LOAD, STORE, JUMP_IF, HALT };

// x = seed, i = count; while (i) { x = (x * 31 + i) ^ (x - i); i = i - 1; }; slot 0 = x, slot 1 = i
static const int16_t program[] = {
    LOAD, 0, PUSH, 31, MUL, LOAD, 1, ADD,    // x * 31 + i
    LOAD, 0, LOAD, 1,  SUB, XOR,  STORE, 0,  // ^ (x - i)
    LOAD, 1, PUSH, 1,  SUB, DUP,  STORE, 1,  // i - 1
    JUMP_IF, 0, HALT,
};

static uint64_t interpret(uint64_t x, uint64_t i) {
    uint64_t slots[2] = {x, i}, stack[16], *top = stack, t;
    for (const int16_t *pc = program;;) {
        switch (*pc++) {
        case PUSH: *top++ = (uint64_t)*pc++; break;
        case ADD: top--, top[-1] += top[0]; break;
        case SUB: top--, top[-1] -= top[0]; break;
        case MUL: top--, top[-1] *= top[0]; break;
        case XOR: top--, top[-1] ^= top[0]; break;
        case DUP: top[0] = top[-1], top++; break;
        case SWAP: t = top[-1], top[-1] = top[-2], top[-2] = t; break;
        case LOAD: *top++ = slots[*pc++]; break;
        case STORE: slots[*pc++] = *--top; break;
        case JUMP_IF: pc = *--top ? program + *pc : pc + 1; break;
        case HALT: return slots[0];
        }
    }
}

uint64_t kernel_run(uint64_t n) {
    uint64_t sum = 0;
    for (uint64_t i = 0; i < n; i++) sum = mix(sum, interpret(i + 1, 9000));
    return sum;
}
