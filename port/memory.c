// SPDX-License-Identifier: MIT
// The machine's RAM: extents of pages, cut out of what the HOB list says is RAM and not in use.
// The GC heap's areas, DMA buffers and native code all come from here, so they never share a page.
//
// There are few extents and they live long, so one sorted array and first fit are enough.

#include <string.h>
#include "py/gc.h"
#include "py/mphal.h"
#include "port/hob.h"
#include "port/memory.h"

#define MAX_EXTENTS (2048)
#define FIRST_MIB   (0x100000) // below it lie the firmware's own scratch, VGA and ROM shadows

typedef struct _extent_t {
    uint64_t base : 56; // byte address, page-aligned
    uint64_t kind : 8;
    uint64_t size;      // bytes, whole pages
} extent_t;

static extent_t extents[MAX_EXTENTS]; // sorted by base; free neighbours are merged
static size_t n_extents;
static uint64_t ram_total;

static void insert_at(size_t i, extent_t extent) {
    memmove(&extents[i + 1], &extents[i], (n_extents - i) * sizeof(extent_t));
    extents[i] = extent;
    ++n_extents;
}

static void remove_at(size_t i) {
    --n_extents;
    memmove(&extents[i], &extents[i + 1], (n_extents - i) * sizeof(extent_t));
}

static void add_ram(uint64_t base, uint64_t end) {
    base = (MAX(base, FIRST_MIB) + PAGE_SIZE - 1) & ~(uint64_t)(PAGE_SIZE - 1);
    end &= ~(uint64_t)(PAGE_SIZE - 1);
    if (base >= end || n_extents == MAX_EXTENTS) {
        return;
    }
    size_t i = 0;
    while (i < n_extents && extents[i].base < base) {
        ++i;
    }
    insert_at(i, (extent_t) { base, MEMORY_FREE, end - base });
    ram_total += end - base;
}

// Takes [base, end) out of the free extents.
static void reserve(uint64_t base, uint64_t end) {
    base &= ~(uint64_t)(PAGE_SIZE - 1);
    end = (end + PAGE_SIZE - 1) & ~(uint64_t)(PAGE_SIZE - 1);
    for (size_t i = 0; i < n_extents;) {
        uint64_t from = extents[i].base, to = from + extents[i].size;
        if (to <= base || end <= from) {
            ++i;
            continue;
        }
        remove_at(i);
        if (end < to) {
            insert_at(i, (extent_t) { end, MEMORY_FREE, to - end });
        }
        if (from < base) {
            insert_at(i, (extent_t) { from, MEMORY_FREE, base - from });
            ++i;
        }
    }
}

void memory_init(void) {
    for (const hob_header_t *hob = hob_first(HOB_TYPE_RESOURCE_DESCRIPTOR); hob != NULL; hob = hob_next(hob, HOB_TYPE_RESOURCE_DESCRIPTOR)) {
        const hob_resource_t *res = (const hob_resource_t *)hob;
        if (res->resource_type == RESOURCE_SYSTEM_MEMORY) {
            add_ram(res->start, res->start + res->length);
        }
    }
    for (const hob_header_t *hob = hob_first(HOB_TYPE_MEMORY_ALLOCATION); hob != NULL; hob = hob_next(hob, HOB_TYPE_MEMORY_ALLOCATION)) {
        const hob_allocation_t *alloc = (const hob_allocation_t *)hob;
        reserve(alloc->base, alloc->base + alloc->length);
    }
    const stack_range_t stack = hob_stack();
    reserve(stack.base - PAGE_SIZE, stack.base); // the guard page
}

void *memory_alloc(size_t size, size_t align, memory_kind_t kind) {
    size = (size + PAGE_SIZE - 1) & ~(size_t)(PAGE_SIZE - 1);
    align = MAX(align, PAGE_SIZE);
    if (size == 0 || n_extents + 2 > MAX_EXTENTS) {
        return NULL;
    }
    for (size_t i = 0; i < n_extents; ++i) {
        extent_t e = extents[i];
        uint64_t base = (e.base + align - 1) & ~(uint64_t)(align - 1);
        if (e.kind != MEMORY_FREE || base + size > e.base + e.size || base < e.base) {
            continue;
        }
        extents[i] = (extent_t) { base, kind, size };
        if (base + size < e.base + e.size) {
            insert_at(i + 1, (extent_t) { base + size, MEMORY_FREE, e.base + e.size - base - size });
        }
        if (e.base < base) {
            insert_at(i, (extent_t) { e.base, MEMORY_FREE, base - e.base });
        }
        return (void *)(uintptr_t)base;
    }
    return NULL;
}

static void free_at(size_t i) {
    if (extents[i].kind == MEMORY_EXEC) {
        memory_protect(extents[i].base, extents[i].size, PROTECT_WRITE);
    }
    extents[i].kind = MEMORY_FREE;
    if (i + 1 < n_extents && extents[i + 1].kind == MEMORY_FREE && extents[i].base + extents[i].size == extents[i + 1].base) {
        extents[i].size += extents[i + 1].size;
        remove_at(i + 1);
    }
    if (i > 0 && extents[i - 1].kind == MEMORY_FREE && extents[i - 1].base + extents[i - 1].size == extents[i].base) {
        extents[i - 1].size += extents[i].size;
        remove_at(i);
    }
}

void memory_free(void *base) {
    for (size_t i = 0; i < n_extents; ++i) {
        if (extents[i].base == (uintptr_t)base && extents[i].kind != MEMORY_FREE) {
            free_at(i);
            return;
        }
    }
}

void memory_free_kind(memory_kind_t kind) {
    for (size_t i = n_extents; i-- > 0;) {
        if (i < n_extents && extents[i].kind == kind) {
            free_at(i);
        }
    }
}

size_t memory_used(memory_kind_t kind) {
    size_t used = 0;
    for (size_t i = 0; i < n_extents; ++i) {
        if (extents[i].kind == kind) {
            used += extents[i].size;
        }
    }
    return used;
}

size_t memory_total(void) {
    return ram_total;
}

bool memory_is_ram(uint64_t address) {
    for (size_t i = 0; i < n_extents; ++i) {
        if (address - extents[i].base < extents[i].size) {
            return true;
        }
    }
    return false;
}

static size_t dma_reserve; // bytes of DMA memory, in use or not, that the heap leaves room for

void memory_reserve_dma(size_t size) {
    dma_reserve = size;
}

void *memory_alloc_heap(size_t size) {
    return memory_alloc(size, PAGE_SIZE, MEMORY_HEAP);
}

// How far the GC heap may grow in one piece. A sixteenth of the RAM stays for DMA and native code,
// and what is to become DMA memory soon: the heap doubles, so that it would take that too, whether it
// needs it or not.
size_t gc_get_max_new_split(void) {
    size_t largest = 0, free = 0;
    for (size_t i = 0; i < n_extents; ++i) {
        if (extents[i].kind == MEMORY_FREE) {
            free += extents[i].size;
            largest = MAX(largest, extents[i].size);
        }
    }
    size_t keep = ram_total / 16 + dma_reserve - MIN(dma_reserve, memory_used(MEMORY_DMA));
    return free <= keep ? 0 : MIN(largest, free - keep);
}

// Page tables: Intel SDM volume 3, section 4.5.
#define PTE_PRESENT ((uint64_t)1 << 0)
#define PTE_WRITE   ((uint64_t)1 << 1)
#define PTE_LARGE   ((uint64_t)1 << 7)
#define PTE_NX      ((uint64_t)1 << 63)
#define PTE_ADDRESS ((uint64_t)0x000ffffffffff000)

// The entry that maps address with a page of 4 KiB, after splitting any larger one on the way.
static uint64_t *page_entry(uint64_t address) {
    uint64_t *table = (uint64_t *)(uintptr_t)(cpu_read_cr3() & PTE_ADDRESS);
    for (unsigned shift = 39;; shift -= 9) {
        uint64_t *entry = &table[address >> shift & 511];
        if (shift == 12) {
            return entry;
        }
        if (!(*entry & PTE_PRESENT)) {
            return NULL;
        }
        if (*entry & PTE_LARGE) {
            uint64_t *split = memory_alloc(PAGE_SIZE, PAGE_SIZE, MEMORY_TABLE);
            if (split == NULL) {
                return NULL;
            }
            uint64_t leaf = shift == 21 ? *entry & ~PTE_LARGE : *entry;
            for (size_t i = 0; i < 512; ++i) {
                split[i] = leaf + ((uint64_t)i << (shift - 9));
            }
            *entry = (uintptr_t)split | PTE_PRESENT | PTE_WRITE;
        }
        table = (uint64_t *)(uintptr_t)(*entry & PTE_ADDRESS);
    }
}

// Sets what may be done with the pages of [base, base + size); reading always may.
void memory_protect(uint64_t base, size_t size, unsigned protection) {
    uint64_t end = base + size;
    for (base &= ~(uint64_t)(PAGE_SIZE - 1); base < end; base += PAGE_SIZE) {
        uint64_t *entry = page_entry(base);
        if (entry != NULL) {
            *entry = (*entry & ~(PTE_WRITE | PTE_NX))
                | (protection & PROTECT_WRITE ? PTE_WRITE : 0)
                | (protection & PROTECT_EXECUTE ? 0 : PTE_NX);
            cpu_invlpg(base);
        }
    }
}
