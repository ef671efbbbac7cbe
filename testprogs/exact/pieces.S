# The pieces of exact.c. PIECE begins one: how many instructions retire between the two OUTs, and its name.

    .section .rodata.pieces, "a"
    .balign 8
    .globl pieces
pieces:

    .macro PIECE count, name
    .section .rodata.pieces
    .quad 1f, \count + 1, 2f
    .section .rodata.names, "a"
2:  .asciz "\name"
    .text
1:  push %rbx
    mov $0x3f8, %edx
    mov $'<', %eax
    mov $'>', %ebx
    xor %ecx, %ecx
    lea buffer(%rip), %rsi
    lea buffer(%rip), %rdi
    out %al, %dx
    .endm

    .macro END                      # 1 of the count is the MOV here
    mov %ebx, %eax
    out %al, %dx
    pop %rbx
    ret
    .endm

    PIECE 1, "nothing between"
    END

    PIECE 11, "ten NOPs"
    .rept 10
    nop
    .endr
    END

    PIECE 3002, "a loop of 1000 rounds"
    mov $1000, %ecx
3:  add $3, %r8
    dec %ecx
    jnz 3b
    END

    PIECE 1002, "LOOP, 1000 rounds"
    mov $1000, %ecx
4:  loop 4b
    END

    PIECE 302, "a branch taken every other time"
    mov $50, %ecx                   # 1
5:  test $1, %cl                    # 50
    jz 6f                           # 50: taken 25 times
    nop                             # 25
    nop                             # 25
    nop                             # 25
    nop                             # 25
6:  dec %ecx                        # 50
    jnz 5b                          # 50
    END                             # 1

    PIECE 3, "REP STOSB of 4000 bytes"
    mov $4000, %ecx
    rep stosb
    END

    PIECE 4, "REP MOVSQ of nothing"
    xor %ecx, %ecx
    rep movsq
    nop
    END

    PIECE 6, "REPNE SCASB and REPE CMPSB"
    mov $100, %ecx
    repne scasb
    mov $100, %ecx
    repe cmpsb
    nop
    END

    PIECE 5, "CALL and RET"
    call 8f
    nop
    jmp 9f
8:  ret
9:  END

    PIECE 7, "INT and IRET"         # INT retires, and so do the handler's two
    nop
    int $0x90
    nop
    nop
    END

    PIECE 7, "UD2, skipped by its handler"   # UD2 does not retire
    nop
    nop
    ud2
    nop
    nop
    END

    PIECE 14, "twelve instructions with prefixes, memory and stack"
    lock incl (%rdi)
    xchg %rax, (%rdi)
    cmpxchg %r8, (%rdi)
    push %rax
    pushfq
    popfq
    pop %rax
    xadd %r9, (%rdi)
    bsf %rax, %r10
    imul %r8, %r9
    sete (%rdi)
    cpuid
    mov $0x3f8, %edx
    mov $'>', %eax
    out %al, %dx
    pop %rbx
    ret

    .section .rodata.pieces
    .quad 0, 0, 0

# The handlers. RIP of a fault points at UD2, two bytes long.
    .text
    .globl skip_entry, return_entry
skip_entry:
    addq $2, (%rsp)
    iretq
return_entry:
    nop
    iretq

    .bss
    .balign 64
buffer: .skip 4096

    .section .note.GNU-stack, "", @progbits
