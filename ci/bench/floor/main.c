// SPDX-License-Identifier: MIT
// The floor's life: memory from the hand-off blocks, the device, then its queues are polled for ever.

#include "floor.h"

#define SERIAL (0x3f8)

// The first hand-off block (PI 1.8 vol. 3, 5.3) tells which memory is free.
struct phit {
    uint16_t type, length;
    uint32_t reserved, version, boot_mode;
    uint64_t memory_top, memory_bottom, free_top, free_bottom, end;
};

static uint64_t free_memory, free_memory_end;

static void print(uint16_t port, const char *text) {
    while (*text) {
        out8(port, *text++);
    }
}

void fatal(const char *text) {
    print(SERIAL, "floor: ");
    print(SERIAL, text);
    print(SERIAL, "\r\n");
    for (;;) {
        __asm__ volatile("cli; hlt");
    }
}

void *allocate(size_t size, size_t align) {
    uint64_t at = (free_memory + align - 1) & -(uint64_t)align;
    if (at + size > free_memory_end) {
        fatal("out of memory");
    }
    free_memory = at + size;
    return (void *)at; // fresh from power-on: QEMU's memory is zero
}

void floor_main(const struct phit *hobs) {
    free_memory = hobs->free_bottom;
    free_memory_end = hobs->free_top;
    device_init();
    print(SERIAL, "READY\r\n");
    for (;;) {
        device_poll(connections_receive);
        connections_run();
    }
}

// The compiler may call these.
void *memcpy(void *dest, const void *src, size_t n) {
    uint8_t *d = dest;
    const uint8_t *s = src;
    for (; n >= 8; n -= 8, d += 8, s += 8) {
        *(uint64_t __attribute__((may_alias, aligned(1))) *)d = *(const uint64_t __attribute__((may_alias, aligned(1))) *)s;
    }
    while (n-- > 0) {
        *d++ = *s++;
    }
    return dest;
}

void *memset(void *dest, int c, size_t n) {
    uint8_t *d = dest;
    while (n-- > 0) {
        *d++ = c;
    }
    return dest;
}
