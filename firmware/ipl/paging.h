// SPDX-License-Identifier: MIT
// Four-level identity-mapped page tables.
#pragma once

#include <stdint.h>

// Permissions and memory type of a mapping. What is not mapped faults.
#define MAP_READ     0x1 // read-only, no-execute, write-back
#define MAP_WRITE    0x2
#define MAP_EXECUTE  0x4
#define MAP_UNCACHED 0x8

// Page tables under construction: pages are taken from [next, limit).
struct page_tables {
    uint64_t root;
    uint64_t next;
    uint64_t limit;
    uint32_t largest_shift; // the largest page that the CPU has, as a power of two
};

// Starts empty tables at `first`, page-aligned; they may grow to `limit`.
void paging_start(struct page_tables *tables, uint64_t first, uint64_t limit);

// Maps [start, end) with the largest pages that fit. Ranges must be page-aligned, and no two calls' may overlap.
void paging_map(struct page_tables *tables, uint64_t start, uint64_t end, uint32_t flags);

// Switches to the tables.
void paging_load(const struct page_tables *tables);
