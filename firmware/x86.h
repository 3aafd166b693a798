// SPDX-License-Identifier: MIT
// x86-64 instructions that C has no name for and that more than one of our programs needs: the
// IPL, the port, the benchmark's floor. Intel SDM volume 2.
#ifndef FIRMWARE_X86_H
#define FIRMWARE_X86_H

#include <stdint.h>

static inline void out8(uint16_t port, uint8_t value) {
    __asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port) : "memory");
}

static inline void out16(uint16_t port, uint16_t value) {
    __asm__ volatile("outw %0, %1" : : "a"(value), "Nd"(port) : "memory");
}

static inline void out32(uint16_t port, uint32_t value) {
    __asm__ volatile("outl %0, %1" : : "a"(value), "Nd"(port) : "memory");
}

static inline uint8_t in8(uint16_t port) {
    uint8_t value;
    __asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
    return value;
}

static inline uint16_t in16(uint16_t port) {
    uint16_t value;
    __asm__ volatile("inw %1, %0" : "=a"(value) : "Nd"(port));
    return value;
}

static inline uint32_t in32(uint16_t port) {
    uint32_t value;
    __asm__ volatile("inl %1, %0" : "=a"(value) : "Nd"(port));
    return value;
}

static inline uint64_t rdtsc(void) {
    uint32_t low, high;
    __asm__ volatile("rdtsc" : "=a"(low), "=d"(high));
    return (uint64_t)high << 32 | low;
}

struct cpuid {
    uint32_t eax, ebx, ecx, edx;
};

static inline struct cpuid cpuid(uint32_t leaf) {
    struct cpuid r;
    __asm__ volatile("cpuid" : "=a"(r.eax), "=b"(r.ebx), "=c"(r.ecx), "=d"(r.edx) : "a"(leaf), "c"(0));
    return r;
}

static inline uint64_t get_cr2(void) {
    uint64_t value;
    __asm__ volatile("mov %%cr2, %0" : "=r"(value));
    return value;
}

// x86 keeps all loads and stores in order but a load after a store to another place.
// QEMU 7.2's TCG leaves mfence out for a machine with one processor, although a device may be another process: a
// notification or an interrupt could be lost. Reading the TSC takes a lock there, by xchg, which is a barrier; elsewhere
// it costs nothing to speak of.
static inline void fence(void) {
    uint32_t low, high;
    __asm__ volatile("mfence; rdtsc" : "=a"(low), "=d"(high) : : "memory");
}

static inline void __attribute__((noreturn)) halt_forever(void) {
    for (;;) {
        __asm__ volatile("cli; hlt");
    }
}

#endif // FIRMWARE_X86_H
