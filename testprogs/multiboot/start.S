# A Multiboot 1 kernel: the header, and what stands in for the C environment.
    .set MAGIC, 0x1badb002
    .set FLAGS, 0x3                 # modules on pages of their own, a memory map

    .section .header, "a"
    .balign 4
    .long MAGIC, FLAGS, -(MAGIC + FLAGS)

    .text
    .globl _start
_start:
    mov $stack_top, %esp
    push %ebx
    push %eax
    call check
    # As a code of isa-debug-exit: the machine's exit code is twice that, plus 1.
    mov $0xf4, %dx
    outl %eax, %dx
1:  hlt
    jmp 1b

    .bss
    .balign 16
    .skip 4096
stack_top:

    .section .note.GNU-stack, "", @progbits
