# 256 entry points of 16 bytes, one for each vector. Each makes the stack look the same (an error
# code, a vector number) and goes on to the common part, which saves the registers as `struct frame`.
#include "frame.inc"

    .text
    .globl vectors
    .balign 16
vectors:
    .set vector, 0
    .rept 256
    .balign 16
    # The CPU pushes an error code for these itself (SDM Vol. 3A, 6.13).
    .if (vector == 8) || (vector >= 10 && vector <= 14) || (vector == 17) || (vector == 21) || (vector == 29) || (vector == 30)
    .else
    push $0
    .endif
    push $vector
    jmp common
    .set vector, vector + 1
    .endr

common:
    push_registers
    cld
    mov %rsp, %rdi
    call dispatch                   # RSP is 16-byte aligned here: the CPU aligned it before its five pushes
    .globl resume
resume:                             # RSP = struct frame *
    pop_registers
    add $16, %rsp                   # vector, error code
    iretq

    .section .note.GNU-stack, "", @progbits
