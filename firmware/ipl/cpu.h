// SPDX-License-Identifier: MIT
// x86-64 instructions that only the IPL needs, beside those of ../x86.h. An include guard rather than #pragma once: the
// host tests define it and bring their own ports.
#ifndef MPFW_IPL_CPU_H
#define MPFW_IPL_CPU_H

#include <stdint.h>

#include "../x86.h"

static inline void in8_string(uint16_t port, void *buf, uint64_t length) {
    __asm__ volatile("rep insb" : "+D"(buf), "+c"(length) : "d"(port) : "memory");
}

static inline void load_idt(const void *table, uint16_t size) {
    struct {
        uint16_t limit;
        uint64_t base;
    } __attribute__((packed)) pointer = { size - 1, (uint64_t)table };
    __asm__ volatile("lidt %0" : : "m"(pointer));
}

static inline void set_cr3(uint64_t value) {
    __asm__ volatile("mov %0, %%cr3" : : "r"(value) : "memory");
}

#endif
