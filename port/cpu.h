// SPDX-License-Identifier: MIT
// x86_64 instructions that C has no words for. Intel SDM volume 2.
#ifndef PORT_CPU_H
#define PORT_CPU_H

#include <stdint.h>
#include <stddef.h>

static inline uint8_t cpu_in8(uint16_t port) {
    uint8_t value;
    __asm__ volatile ("inb %1, %0" : "=a" (value) : "Nd" (port));
    return value;
}

static inline uint16_t cpu_in16(uint16_t port) {
    uint16_t value;
    __asm__ volatile ("inw %1, %0" : "=a" (value) : "Nd" (port));
    return value;
}

static inline uint32_t cpu_in32(uint16_t port) {
    uint32_t value;
    __asm__ volatile ("inl %1, %0" : "=a" (value) : "Nd" (port));
    return value;
}

static inline void cpu_out8(uint16_t port, uint8_t value) {
    __asm__ volatile ("outb %0, %1" : : "a" (value), "Nd" (port) : "memory");
}

static inline void cpu_out16(uint16_t port, uint16_t value) {
    __asm__ volatile ("outw %0, %1" : : "a" (value), "Nd" (port) : "memory");
}

static inline void cpu_out32(uint16_t port, uint32_t value) {
    __asm__ volatile ("outl %0, %1" : : "a" (value), "Nd" (port) : "memory");
}

static inline uint64_t cpu_rdtsc(void) {
    uint32_t low, high;
    __asm__ volatile ("rdtsc" : "=a" (low), "=d" (high));
    return (uint64_t)high << 32 | low;
}

static inline uint64_t cpu_rdmsr(uint32_t msr) {
    uint32_t low, high;
    __asm__ volatile ("rdmsr" : "=a" (low), "=d" (high) : "c" (msr));
    return (uint64_t)high << 32 | low;
}

static inline void cpu_wrmsr(uint32_t msr, uint64_t value) {
    __asm__ volatile ("wrmsr" : : "c" (msr), "a" ((uint32_t)value), "d" ((uint32_t)(value >> 32)) : "memory");
}

static inline void cpu_cpuid(uint32_t leaf, uint32_t regs[4]) {
    __asm__ volatile ("cpuid" : "=a" (regs[0]), "=b" (regs[1]), "=c" (regs[2]), "=d" (regs[3])
        : "a" (leaf), "c" (0));
}

static inline uint64_t cpu_read_cr2(void) {
    uint64_t value;
    __asm__ volatile ("mov %%cr2, %0" : "=r" (value));
    return value;
}

static inline uint64_t cpu_read_cr3(void) {
    uint64_t value;
    __asm__ volatile ("mov %%cr3, %0" : "=r" (value));
    return value;
}

static inline void cpu_invlpg(uint64_t address) {
    __asm__ volatile ("invlpg (%0)" : : "r" (address) : "memory");
}

static inline void cpu_fence(void) {
    __asm__ volatile ("mfence" : : : "memory");
}

static inline void cpu_pause(void) {
    __asm__ volatile ("pause");
}

#define CPU_RFLAGS_IF (1 << 9)

static inline uint64_t cpu_irq_save(void) {
    uint64_t flags;
    __asm__ volatile ("pushfq; pop %0; cli" : "=r" (flags) : : "memory");
    return flags & CPU_RFLAGS_IF;
}

static inline void cpu_irq_restore(uint64_t state) {
    if (state) {
        __asm__ volatile ("sti" : : : "memory");
    }
}

// The instruction after sti runs before any interrupt is taken, so none slips in before hlt.
static inline void cpu_sti_hlt(void) {
    __asm__ volatile ("sti; hlt" : : : "memory");
}

static inline void __attribute__((noreturn)) cpu_halt_forever(void) {
    for (;;) {
        __asm__ volatile ("cli; hlt");
    }
}

#endif // PORT_CPU_H
