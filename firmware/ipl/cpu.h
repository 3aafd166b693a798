// SPDX-License-Identifier: MIT
// x86-64 instructions that C has no name for. An include guard rather than #pragma once: the host tests define it
// and bring their own ports.
#ifndef MPFW_IPL_CPU_H
#define MPFW_IPL_CPU_H

#include <stdint.h>

static inline void out8(uint16_t port, uint8_t value) {
    __asm__ volatile ("outb %0, %1" : : "a" (value), "Nd" (port));
}

static inline void out16(uint16_t port, uint16_t value) {
    __asm__ volatile ("outw %0, %1" : : "a" (value), "Nd" (port));
}

static inline void out32(uint16_t port, uint32_t value) {
    __asm__ volatile ("outl %0, %1" : : "a" (value), "Nd" (port));
}

static inline uint8_t in8(uint16_t port) {
    uint8_t value;
    __asm__ volatile ("inb %1, %0" : "=a" (value) : "Nd" (port));
    return value;
}

static inline uint32_t in32(uint16_t port) {
    uint32_t value;
    __asm__ volatile ("inl %1, %0" : "=a" (value) : "Nd" (port));
    return value;
}

static inline void in8_string(uint16_t port, void *buf, uint64_t length) {
    __asm__ volatile ("rep insb" : "+D" (buf), "+c" (length) : "d" (port) : "memory");
}

static inline uint64_t rdtsc(void) {
    uint32_t low, high;
    __asm__ volatile ("rdtsc" : "=a" (low), "=d" (high));
    return (uint64_t)high << 32 | low;
}

struct cpuid {
    uint32_t eax, ebx, ecx, edx;
};

static inline struct cpuid cpuid(uint32_t leaf) {
    struct cpuid r;
    __asm__ volatile ("cpuid" : "=a" (r.eax), "=b" (r.ebx), "=c" (r.ecx), "=d" (r.edx) : "a" (leaf), "c" (0));
    return r;
}

static inline void load_idt(const void *table, uint16_t size) {
    struct {
        uint16_t limit;
        uint64_t base;
    } __attribute__((packed)) pointer = {size - 1, (uint64_t)table};
    __asm__ volatile ("lidt %0" : : "m" (pointer));
}

static inline void set_cr3(uint64_t value) {
    __asm__ volatile ("mov %0, %%cr3" : : "r" (value) : "memory");
}

static inline uint64_t get_cr2(void) {
    uint64_t value;
    __asm__ volatile ("mov %%cr2, %0" : "=r" (value));
    return value;
}

static inline void halt_forever(void) {
    for (;;) {
        __asm__ volatile ("cli; hlt");
    }
}

#endif
