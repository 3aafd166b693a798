// SPDX-License-Identifier: MIT
// Descriptor tables, exceptions, interrupts and who handles them.
#ifndef PORT_INTERRUPTS_H
#define PORT_INTERRUPTS_H

#include <stdint.h>
#include <stdbool.h>

// What vectors.S leaves on the stack, lowest address first.
typedef struct _interrupt_frame_t {
    uint64_t r15, r14, r13, r12, r11, r10, r9, r8, rbp, rdi, rsi, rdx, rcx, rbx, rax;
    uint64_t vector, error;
    uint64_t rip, cs, rflags, rsp, ss;
} interrupt_frame_t;

#define VECTOR_EXCEPTIONS (32)   // 0..31 belong to the CPU
#define VECTOR_FIRST      (0x40) // handed out by machine.Vector()
#define VECTOR_LAST       (0xef)
#define VECTOR_TIMER      (0xf0) // with the next, of a higher priority class than what devices have
#define VECTOR_SERIAL     (0xf1)
#define VECTOR_SPURIOUS   (0xff)

#define KERNEL_CS  (0x08)
#define KERNEL_DS  (0x10)
#define KERNEL_TSS (0x18)

typedef void (*vector_handler_t)(void *arg);

void interrupts_init(void);
void cpu_sti_hlt(void); // vectors.S: halt until the next interrupt
void vector_set_handler(unsigned vector, vector_handler_t handler, void *arg);

// exception.c
void exception_handle(interrupt_frame_t *frame);

#endif // PORT_INTERRUPTS_H
