// SPDX-License-Identifier: MIT
// An exception without a handler resets the machine, over and over. With these it prints one line and stops
// (Intel SDM vol. 3A, chapter 6). The payload replaces them early in its own life.

#include "cpu.h"
#include "exceptions.h"
#include "log.h"
#include "state.h"

#define CODE_SELECTOR  0x18   // the reset vector's 64-bit code segment
#define GATE_INTERRUPT 0x8E00 // present, interrupt gate
#define ENTRY_SIZE     16

// What an entry leaves on the stack.
struct exception_frame {
    uint64_t vector;
    uint64_t error;
    uint64_t rip, cs, rflags, rsp, ss;
};

// One entry per vector, ENTRY_SIZE bytes apart. Those for which the CPU pushes no error code push a zero.
__asm__(
    ".section .text\n"
    ".balign 16\n"
    "exception_entries:\n"
    ".set vector, 0\n"
    ".rept 32\n"
    "  .balign 16\n"
    "  .if !(vector == 8 || (vector >= 10 && vector <= 14) || vector == 17 || vector == 21)\n"
    "    push $0\n"
    "  .endif\n"
    "  push $vector\n"
    "  jmp exception_common\n"
    "  .set vector, vector + 1\n"
    ".endr\n"
    "exception_common:\n"
    "  mov %rsp, %rdi\n"
    "  and $-16, %rsp\n"
    "  cld\n"
    "  call exception_report\n");

extern const uint8_t exception_entries[];

__attribute__((used)) _Noreturn void exception_report(const struct exception_frame *frame) {
    fatal("CPU exception %u at %x: error code %x, address %x, stack %x", frame->vector, frame->rip, frame->error,
        get_cr2(), frame->rsp);
}

void exceptions_init(void) {
    for (uint32_t vector = 0; vector < EXCEPTIONS; ++vector) {
        uint64_t entry = (uint64_t)exception_entries + vector * ENTRY_SIZE;
        ipl_state->idt[vector] = (struct gate) {
            .offset_low = entry,
            .selector = CODE_SELECTOR,
            .attributes = GATE_INTERRUPT,
            .offset_middle = entry >> 16,
            .offset_high = entry >> 32,
        };
    }
    load_idt(ipl_state->idt, sizeof(ipl_state->idt));
}
