# Between ring 3 and the kernel.
#include "../runtime/frame.inc"

    .set USER_SS, 0x1b
    .set USER_CS, 0x23

    .text
# SYSCALL: no stack; RCX = RIP and R11 = RFLAGS of the program. Makes a `struct frame` of it for system_call.
    .globl syscall_entry
syscall_entry:
    mov %rsp, user_rsp(%rip)
    mov kernel_stack_top(%rip), %rsp
    push $USER_SS
    push user_rsp(%rip)
    push %r11
    push $USER_CS
    push %rcx
    push $0
    push $0
    push_registers
    mov %rsp, %rdi
    sub $8, %rsp                    # 22 words so far: the ABI wants an even number at a CALL
    call system_call
    add $8, %rsp
    cli
    pop_registers
    add $16, %rsp                   # vector, error code
    pop %rcx
    add $8, %rsp                    # CS
    pop %r11
    pop %rsp
    sysretq

# enter_user(rip, rsp): as a process starts: all other registers zero, interrupts on.
    .globl enter_user
enter_user:
    cli
    mov %rdi, %rcx
    mov %rsi, %rsp
    mov $0x202, %r11d
    xor %eax, %eax
    xor %ebx, %ebx
    xor %edx, %edx
    xor %ebp, %ebp
    xor %esi, %esi
    xor %edi, %edi
    xor %r8d, %r8d
    xor %r9d, %r9d
    xor %r10d, %r10d
    xor %r12d, %r12d
    xor %r13d, %r13d
    xor %r14d, %r14d
    xor %r15d, %r15d
    sysretq

    .local user_rsp
    .comm user_rsp, 8, 8

    .section .note.GNU-stack, "", @progbits
