// SPDX-License-Identifier: MIT
// Where everything lies once the payload runs.
#pragma once

#include "elf.h"
#include "state.h"

// What the IPL leaves behind, from the payload's end upwards: HOB list | guard page | stack | page tables.
struct address_space {
    struct range ram;         // the RAM range that holds the payload and all of this
    struct range hobs;
    struct range stack;       // the page below it is not mapped
    struct range page_tables;
    struct range ecam;        // empty if the chipset has none, or RAM is in its place
    struct range pci32;
    struct range pci64;       // empty if the CPU cannot address it
    uint8_t address_bits;     // the CPU's physical address width
};

// Lays out the address space for a checked, not yet loaded payload; stops with a message if RAM is too small.
void address_space_plan(struct address_space *space, const struct memory_map *map, const struct image *image,
    uint16_t chipset);

// Builds the page tables, switches to them and records in `space` how much they took.
void address_space_map(struct address_space *space, const struct memory_map *map, const struct image *image);
