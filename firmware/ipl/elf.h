// SPDX-License-Identifier: MIT
// The payload: a static ELF64 executable.
#pragma once

#include <stdint.h>

#include "state.h"
#include "volume.h"

#define SEGMENTS_MAX 8

// One loaded segment, page-aligned at both ends.
struct segment {
    struct range range;
    bool writable;
    bool executable;
};

struct image {
    uint64_t entry;
    uint32_t segments;
    struct segment segment[SEGMENTS_MAX]; // in ascending order
};

// Checks the ELF and fills `image`; nothing is copied. Returns NULL, or the name of what is wrong with it.
const char *elf_check(const struct section *file, struct image *image);

// Copies a checked ELF's segments to where they belong and clears the rest of them.
void elf_load(const struct section *file);
