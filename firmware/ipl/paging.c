// SPDX-License-Identifier: MIT
// Builds the page tables (Intel SDM vol. 3A, section 4.5). Since ranges never overlap, a large page is only ever used
// where one range covers all of it, and nothing has to be split again.

#include "paging.h"

#include <stdbool.h>

#include "cpu.h"
#include "log.h"
#include "memory.h"

#define PAGE_4K      0x1000ull
#define PAGE_2M      0x200000ull
#define PAGE_1G      0x40000000ull

#define PTE_PRESENT  (1ull << 0)
#define PTE_WRITE    (1ull << 1)
#define PTE_PWT      (1ull << 3)
#define PTE_PCD      (1ull << 4) // with PWT: PAT entry 3, uncacheable at reset
#define PTE_LARGE    (1ull << 7)
#define PTE_NX       (1ull << 63)
#define PTE_ADDRESS  0x000FFFFFFFFFF000ull

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

static bool fits(uint64_t start, uint64_t end, uint64_t page) {
    return start % page == 0 && end - start >= page;
}

void paging_start(struct page_tables *tables, uint64_t first, uint64_t limit) {
    tables->next = first;
    tables->limit = limit;
    tables->root = new_table(tables);
}

void paging_map(struct page_tables *tables, uint64_t start, uint64_t end, uint32_t flags) {
    uint64_t bits = PTE_PRESENT;
    bits |= flags & MAP_WRITE ? PTE_WRITE : 0;
    bits |= flags & MAP_EXECUTE ? 0 : PTE_NX;
    bits |= flags & MAP_UNCACHED ? PTE_PCD | PTE_PWT : 0;
    bool has_1g_pages = cpuid(0x80000001).edx & CPUID_PDPE1GB;

    while (start < end) {
        uint64_t pdpt = descend(tables, entry_at(tables->root, start, 39));
        uint64_t *pdpte = entry_at(pdpt, start, 30);
        if (has_1g_pages && fits(start, end, PAGE_1G)) {
            *pdpte = start | PTE_LARGE | bits;
            start += PAGE_1G;
            continue;
        }
        uint64_t *pde = entry_at(descend(tables, pdpte), start, 21);
        if (fits(start, end, PAGE_2M)) {
            *pde = start | PTE_LARGE | bits;
            start += PAGE_2M;
            continue;
        }
        *entry_at(descend(tables, pde), start, 12) = start | bits;
        start += PAGE_4K;
    }
}

void paging_load(const struct page_tables *tables) {
    set_cr3(tables->root);
}
