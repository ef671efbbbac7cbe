# Entry from the loader (ARCHITECTURE.md, "Bare ELF hand-off"): 64-bit mode, ring 0, interrupts
# off, RDI = boot information, RSP as after a CALL.

    .section .text.start, "ax"
    .globl _start
_start:
    cld
    sub $8, %rsp                    # 16-byte aligned, as the ABI wants it before a CALL
    mov %rdi, boot_info(%rip)
    call interrupts_init
    call console_init
    call main
    mov %eax, %edi
    call exit

    .section .note.GNU-stack, "", @progbits
