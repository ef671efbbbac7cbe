# The instructions that fault. RDI is the argument. `name_at` is the RIP that the CPU must report: the
# instruction itself for a fault, the one behind it for a trap. `int $0x80` at the end: it did not happen.

# attempt_raw(code, argument, user): runs `code` in ring 0 or 3. The handler comes back to attempt_return.
    .text
    .globl attempt_raw, attempt_return
attempt_raw:
    push %rbx
    push %rbp
    push %r12
    push %r13
    push %r14
    push %r15
    mov %rsp, attempt_rsp(%rip)
    mov %rdi, %rax
    mov %rsi, %rdi
    test %edx, %edx
    jnz 1f
    jmp *%rax
1:  push $0x1b
    push user_rsp(%rip)
    push user_flags(%rip)
    push $0x23
    push %rax
    iretq
attempt_return:
    mov $0x10, %eax
    mov %eax, %ds
    mov %eax, %es
    pop %r15
    pop %r14
    pop %r13
    pop %r12
    pop %rbp
    pop %rbx
    ret

# SYSCALL comes here (MSR LSTAR): no stack, RCX = where from, R11 = its flags.
    .globl syscall_entry, syscall_rcx, syscall_r11, syscall_flags, enter_by_sysret
syscall_entry:
    mov %rcx, syscall_rcx(%rip)
    mov %r11, syscall_r11(%rip)
    mov %rsp, %rbx
    lea kernel_stack+4096(%rip), %rsp
    pushfq
    pop syscall_flags(%rip)
    mov %rbx, %rsp
    sysretq

# Enters ring 3 at RDI by SYSRET, with the flags 0x202.
enter_by_sysret:
    mov %rdi, %rcx
    mov $0x202, %r11d
    mov user_rsp(%rip), %rsp
    sysretq

    .bss
    .balign 8
syscall_rcx: .skip 8
syscall_r11: .skip 8
syscall_flags: .skip 8

    .macro FAULT name, instruction:vararg       # a fault at once
    .globl \name, \name\()_at
\name:
\name\()_at:
    \instruction
    int $0x80
    .endm

    .macro TRAP name, instruction:vararg        # RIP is behind it
    .globl \name, \name\()_at
\name:
    \instruction
\name\()_at:
    int $0x80
    .endm

    .macro AFTER name, setup, instruction:vararg # a fault after one instruction of preparation
    .globl \name, \name\()_at
\name:
    \setup
\name\()_at:
    \instruction
    int $0x80
    .endm

    .section .text.snippets, "ax"
    .balign 4096
    .globl snippets
snippets:
    # memory
    FAULT load, mov (%rdi), %rax
    FAULT store, movq $1, (%rdi)
    FAULT modify, incl (%rdi)
    FAULT fetch, jmp *%rdi
    AFTER push_there, "mov %rdi, %rsp", push %rax
    AFTER load_by_rbp, "mov %rdi, %rbp", mov (%rbp), %rax
    FAULT load_vector, movaps (%rdi), %xmm0
    AFTER fill, "mov $32, %ecx", rep stosb

    # arithmetic
    .globl divide_zero, divide_zero_at, divide_overflow, divide_overflow_at
divide_zero:
    xor %eax, %eax
    xor %edx, %edx
    xor %ecx, %ecx
divide_zero_at:
    div %ecx
    int $0x80
divide_overflow:
    mov $1, %eax
    shl $63, %rax
    cqo
    mov $-1, %rcx
divide_overflow_at:
    idiv %rcx
    int $0x80

    # traps
    TRAP breakpoint, int3
    TRAP icebp, .byte 0xf1
    TRAP int_81, int $0x81
    FAULT int_81_refused, int $0x81
    FAULT breakpoint_refused, int3
    .globl single_step, single_step_at
single_step:                                    # TF set by POPF traps after the instruction behind it
    pushfq
    orl $0x100, (%rsp)
    popfq
    nop
single_step_at:
    nop
    int $0x80

    # what is no instruction
    FAULT undefined, ud2
    FAULT undefined_push_es, .byte 0x06
    FAULT undefined_into, .byte 0xce
    FAULT undefined_lock, .byte 0xf0, 0x90
    FAULT undefined_cr1, .byte 0x0f, 0x20, 0xc8
    FAULT too_long, .byte 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x90
    FAULT call_system, syscall
    .globl call_system_twice, call_system_twice_at
call_system_twice:
    syscall
    syscall
call_system_twice_at:
    int $0x80
    FAULT vector_op, xorps %xmm0, %xmm0

    # segments
    FAULT load_ds, mov %edi, %ds
    FAULT load_ss, mov %edi, %ss
    FAULT load_tr, ltr %di
    .globl far_return, far_return_at, iret, iret_at, iret_nested, iret_nested_at
far_return:
    push %rdi
    lea far_return_at(%rip), %rax
    push %rax
far_return_at:
    lretq
    int $0x80
iret:                                           # to a CS of the caller's choice
    push $0x10
    push $0x8000
    push $2
    push %rdi
    push $0
iret_at:
    iretq
iret_nested:                                    # NT set: IRET in long mode refuses
    pushfq
    orl $0x4000, (%rsp)
    popfq
iret_nested_at:
    iretq

    # privileged
    FAULT privileged_hlt, hlt
    FAULT privileged_cli, cli
    FAULT privileged_sti, sti
    FAULT privileged_cr0, mov %cr0, %rax
    FAULT privileged_cr3, mov %rax, %cr3
    FAULT privileged_lgdt, lgdt (%rdi)
    FAULT privileged_lidt, lidt (%rdi)
    FAULT privileged_rdmsr, rdmsr
    FAULT privileged_wrmsr, wrmsr
    FAULT privileged_invlpg, invlpg (%rdi)
    FAULT privileged_clts, clts
    FAULT privileged_swapgs, swapgs
    FAULT privileged_sysret, sysretq
    FAULT privileged_in, in $0x60, %al
    FAULT privileged_out, out %al, $0x80

    # refused even to ring 0
    FAULT write_cr0_bad, mov %rdi, %cr0
    FAULT write_cr4_bad, mov %rdi, %cr4
    .globl write_msr_bad, write_msr_bad_at
write_msr_bad:                                  # MSR number in RDI, value all ones
    mov %edi, %ecx
    mov $0xffffffff, %eax
    mov $0x7fffffff, %edx
write_msr_bad_at:
    wrmsr
    int $0x80

    # SSE: an unmasked division by zero
    .globl divide_vector, divide_vector_at
divide_vector:
    push $0x1d80                                # MXCSR without the mask of ZE
    ldmxcsr (%rsp)
    pop %rax
    mov $0x3f800000, %eax
    movd %eax, %xmm0
    pxor %xmm1, %xmm1
divide_vector_at:
    divss %xmm1, %xmm0
    int $0x80

    .section .note.GNU-stack, "", @progbits
