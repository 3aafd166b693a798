// SPDX-License-Identifier: MIT
// PI firmware volumes: finding a file in one, and refusing a damaged one.
#pragma once

#include <stdint.h>

// A file's first section that holds data, without its headers.
struct section {
    const uint8_t *data;
    uint32_t size;
};

// Checks the whole volume at base, `size` bytes of flash: header, every file's header and body, padding, free space.
// Stores the RAW section of the FREEFORM file named guid, if there is one, else size 0. Returns NULL, or the name of
// what is damaged. Reads nothing outside the volume, whatever the volume says.
const char *volume_open(const uint8_t *base, uint64_t size, const uint8_t guid[16], struct section *found);
