// SPDX-License-Identifier: MIT
// memcpy, memmove, memset, memcmp and strlen in 64-bit words. Under QEMU's software emulation plain
// 64-bit moves, unrolled by eight, are the fastest way to copy: 6.1 GB/s at 64 KiB, against
// 4.2 for rep movsq, 0.56 for rep movsb and 2.3 for SSE. Compiled without SSE, because interrupt
// handlers call these. The rest of <string.h> is upstream's shared/libc/string0.c.

#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef uint64_t __attribute__((may_alias, aligned(1))) word_t;

static inline void copy_block(unsigned char *d, const unsigned char *s) {
    const word_t *sw = (const word_t *)s;
    word_t *dw = (word_t *)d;
    uint64_t a = sw[0], b = sw[1], c = sw[2], e = sw[3], f = sw[4], g = sw[5], h = sw[6], i = sw[7];
    dw[0] = a;
    dw[1] = b;
    dw[2] = c;
    dw[3] = e;
    dw[4] = f;
    dw[5] = g;
    dw[6] = h;
    dw[7] = i;
}

void *memcpy(void *dest, const void *src, size_t n) {
    unsigned char *d = dest;
    const unsigned char *s = src;
    for (; n >= 64; n -= 64, d += 64, s += 64) {
        copy_block(d, s);
    }
    for (; n >= 8; n -= 8, d += 8, s += 8) {
        *(word_t *)d = *(const word_t *)s;
    }
    while (n-- != 0) {
        *d++ = *s++;
    }
    return dest;
}

void *memmove(void *dest, const void *src, size_t n) {
    if ((uintptr_t)dest - (uintptr_t)src >= n) {
        return memcpy(dest, src, n); // copying upwards overwrites nothing that is still to be read
    }
    unsigned char *d = (unsigned char *)dest + n;
    const unsigned char *s = (const unsigned char *)src + n;
    while (n >= 8) {
        n -= 8, d -= 8, s -= 8;
        *(word_t *)d = *(const word_t *)s;
    }
    while (n-- != 0) {
        *--d = *--s;
    }
    return dest;
}

void *memset(void *dest, int c, size_t n) {
    unsigned char *d = dest;
    uint64_t word = (unsigned char)c * 0x0101010101010101ull;
    for (; n >= 64; n -= 64, d += 64) {
        word_t *w = (word_t *)d;
        w[0] = w[1] = w[2] = w[3] = w[4] = w[5] = w[6] = w[7] = word;
    }
    for (; n >= 8; n -= 8, d += 8) {
        *(word_t *)d = word;
    }
    while (n-- != 0) {
        *d++ = c;
    }
    return dest;
}

int memcmp(const void *a, const void *b, size_t n) {
    const unsigned char *p = a, *q = b;
    for (; n >= 8 && *(const word_t *)p == *(const word_t *)q; n -= 8) {
        p += 8, q += 8;
    }
    for (; n != 0; --n, ++p, ++q) {
        if (*p != *q) {
            return *p - *q;
        }
    }
    return 0;
}

size_t strlen(const char *str) {
    const uint64_t ones = 0x0101010101010101;
    // Aligned words lie within a page each: what surrounds the string may be looked at.
    uintptr_t before = (uintptr_t)str & 7;
    const uint64_t __attribute__((may_alias)) *word = (const void *)(str - before);
    uint64_t bytes = *word | ((1ull << (8 * before)) - 1);
    uint64_t zeros; // 0x80 in the first byte that is 0
    while ((zeros = (bytes - ones) & ~bytes & (ones << 7)) == 0) {
        bytes = *++word;
    }
    return (const char *)word + (__builtin_ctzll(zeros) >> 3) - str;
}
