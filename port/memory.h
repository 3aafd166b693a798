// SPDX-License-Identifier: MIT
// The machine's RAM in pages, and their protection.
#ifndef PORT_MEMORY_H
#define PORT_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PAGE_SIZE (4096)

typedef enum _memory_kind_t {
    MEMORY_FREE,
    MEMORY_HEAP,    // areas of the GC heap
    MEMORY_DMA,     // machine.DMABuffer
    MEMORY_EXEC,    // native code
    MEMORY_TABLE,   // page tables
    MEMORY_RAMDISK, // outlives a soft reset, as page tables do
    MEMORY_TERMINAL, // machine.terminal's buffers; likewise
} memory_kind_t;

void memory_init(void);
void *memory_alloc(size_t size, size_t align, memory_kind_t kind); // NULL if there is no room
void memory_free(void *base);
void memory_free_kind(memory_kind_t kind);
size_t memory_used(memory_kind_t kind); // bytes
void memory_reserve_dma(size_t size); // bytes that the GC heap leaves room for, those in use among them
size_t memory_total(void); // bytes of RAM above the first MiB, allocated or not
bool memory_is_ram(uint64_t address);

#define PROTECT_WRITE   (1 << 0)
#define PROTECT_EXECUTE (1 << 1)

void memory_protect(uint64_t base, size_t size, unsigned protection);

#endif // PORT_MEMORY_H
