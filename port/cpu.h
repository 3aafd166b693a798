// SPDX-License-Identifier: MIT
// x86_64 instructions that only the port needs, beside those of firmware/x86.h.
#ifndef PORT_CPU_H
#define PORT_CPU_H

#include <stdint.h>
#include "firmware/x86.h"

static inline uint64_t cpu_rdmsr(uint32_t msr) {
    uint32_t low, high;
    __asm__ volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(msr));
    return (uint64_t)high << 32 | low;
}

static inline void cpu_wrmsr(uint32_t msr, uint64_t value) {
    __asm__ volatile("wrmsr" : : "c"(msr), "a"((uint32_t)value), "d"((uint32_t)(value >> 32)) : "memory");
}

static inline uint64_t cpu_read_cr3(void) {
    uint64_t value;
    __asm__ volatile("mov %%cr3, %0" : "=r"(value));
    return value;
}

static inline void cpu_invlpg(uint64_t address) {
    __asm__ volatile("invlpg (%0)" : : "r"(address) : "memory");
}

static inline void cpu_pause(void) {
    __asm__ volatile("pause");
}

#define CPU_RFLAGS_IF (1 << 9)

static inline uint64_t cpu_irq_save(void) {
    uint64_t flags;
    __asm__ volatile("pushfq; pop %0; cli" : "=r"(flags) : : "memory");
    return flags & CPU_RFLAGS_IF;
}

static inline void cpu_irq_restore(uint64_t state) {
    if (state) {
        __asm__ volatile("sti" : : : "memory");
    }
}

#endif // PORT_CPU_H
