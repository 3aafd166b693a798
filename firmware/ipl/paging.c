// SPDX-License-Identifier: MIT
// Builds the page tables (Intel SDM vol. 3A, section 4.5). Since ranges never overlap, a large page is only ever used
// where one range covers all of it, and nothing has to be split again.

#include "paging.h"

#include "cpu.h"
#include "log.h"
#include "memory.h"

#define PAGE_4K 0x1000ull

// What one entry of each level's table covers, as a power of two.
#define SHIFT_4K   12
#define SHIFT_2M   21
#define SHIFT_1G   30
#define SHIFT_512G 39

#define PTE_PRESENT (1ull << 0)
#define PTE_WRITE   (1ull << 1)
#define PTE_PWT     (1ull << 3)
#define PTE_PCD     (1ull << 4) // with PWT: PAT entry 3, uncacheable at reset
#define PTE_LARGE   (1ull << 7)
#define PTE_NX      (1ull << 63)
#define PTE_ADDRESS 0x000FFFFFFFFFF000ull

#define CPUID_PDPE1GB (1u << 26) // CPUID 0x80000001 EDX: 1 GiB pages

static uint64_t new_table(struct page_tables *tables) {
    if (tables->next + PAGE_4K > tables->limit) {
        fatal("page tables: no RAM left for them below %x", tables->limit);
    }
    uint64_t table = tables->next;
    tables->next += PAGE_4K;
    memset((void *)table, 0, PAGE_4K);
    return table;
}

// The entry for `address` in a table whose entries cover 1 << shift bytes each.
static uint64_t *entry_at(uint64_t table, uint64_t address, uint32_t shift) {
    return (uint64_t *)table + (address >> shift & 511);
}

static uint64_t descend(struct page_tables *tables, uint64_t *entry) {
    if (!*entry) {
        *entry = new_table(tables) | PTE_WRITE | PTE_PRESENT;
    }
    return *entry & PTE_ADDRESS;
}

void paging_start(struct page_tables *tables, uint64_t first, uint64_t limit) {
    tables->next = first;
    tables->limit = limit;
    tables->root = new_table(tables);
    tables->largest_shift = cpuid(0x80000001).edx & CPUID_PDPE1GB ? SHIFT_1G : SHIFT_2M;
}

// Maps [start, end), which lies within one table whose entries cover 1 << shift bytes each.
static void map_level(struct page_tables *tables, uint64_t table, uint32_t shift, uint64_t start, uint64_t end,
    uint64_t bits) {
    uint64_t entry_size = 1ull << shift;
    for (uint64_t next; start < end; start = next) {
        uint64_t *entry = entry_at(table, start, shift);
        next = (start | (entry_size - 1)) + 1;
        if (next > end) {
            next = end;
        }
        if (shift == SHIFT_4K) {
            *entry = start | bits;
        } else if (shift <= tables->largest_shift && next - start == entry_size) {
            *entry = start | PTE_LARGE | bits;
        } else {
            map_level(tables, descend(tables, entry), shift - 9, start, next, bits);
        }
    }
}

void paging_map(struct page_tables *tables, uint64_t start, uint64_t end, uint32_t flags) {
    uint64_t bits = PTE_PRESENT;
    bits |= flags & MAP_WRITE ? PTE_WRITE : 0;
    bits |= flags & MAP_EXECUTE ? 0 : PTE_NX;
    bits |= flags & MAP_UNCACHED ? PTE_PCD | PTE_PWT : 0;
    map_level(tables, tables->root, SHIFT_512G, start, end, bits);
}

void paging_load(const struct page_tables *tables) {
    set_cr3(tables->root);
}
