# How a guest is compiled and linked; included by the Makefile here and by those of guests that live elsewhere.
# A rule is one line:   hello.elf: hello.c ; $(LINK_GUEST)

TESTPROGS := $(patsubst %/,%,$(dir $(lastword $(MAKEFILE_LIST))))
RUNTIME := $(wildcard $(TESTPROGS)/runtime/*.c $(TESTPROGS)/runtime/*.S)
RUNTIME_PARTS := $(RUNTIME) $(TESTPROGS)/runtime/runtime.h $(TESTPROGS)/runtime/frame.inc $(TESTPROGS)/runtime/link.ld

ifeq ($(origin CC),default)
CC := gcc
endif

# Freestanding, at a fixed address, no red zone (interrupts use the stack of what they interrupt), and
# the same bytes wherever it is built: the plain x86-64 baseline, nothing of the distribution's hardening.
CODE_FLAGS := -std=gnu11 -O2 -Wall -Wextra -Werror -march=x86-64 -mtune=generic -mcmodel=small -mno-red-zone \
    -ffreestanding -fno-pic -fno-pie -fno-stack-protector -fcf-protection=none -fno-builtin \
    -fno-asynchronous-unwind-tables -fno-strict-aliasing -ffunction-sections -fdata-sections \
    -I$(TESTPROGS)/runtime
# No SSE where an interrupt may be handled: the entry code does not save it. Compute kernels may.
GUEST_FLAGS := $(CODE_FLAGS) -mgeneral-regs-only
LINK_FLAGS := -nostdlib -static -no-pie -s -Wl,-T,$(TESTPROGS)/runtime/link.ld -Wl,--build-id=none \
    -Wl,-z,noexecstack -Wl,-z,max-page-size=16 -Wl,-z,common-page-size=16 -Wl,--gc-sections

LINK_GUEST = $(CC) $(GUEST_FLAGS) $(LINK_FLAGS) -o $@ $(sort $(filter %.c %.S %.o,$^) $(RUNTIME))
