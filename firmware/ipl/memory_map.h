// SPDX-License-Identifier: MIT
// Where the machine's RAM is.
#pragma once

#include "state.h"

// Fills the map from fw_cfg's etc/e820, or from the CMOS if that is missing. Returns which of the two it was.
const char *memory_map_read(struct memory_map *map);

// The range below 4 GiB in which the payload lies, or NULL: the one that holds [start, end).
const struct range *memory_map_find(const struct memory_map *map, uint64_t start, uint64_t end);

// The end of RAM below 4 GiB and of all RAM.
uint64_t memory_map_low_end(const struct memory_map *map);
uint64_t memory_map_end(const struct memory_map *map);
