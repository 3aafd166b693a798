// SPDX-License-Identifier: MIT
// The IPL's only writable data. It runs in place from flash, so it has no .data or .bss; this structure lies at
// a fixed place in low RAM (layout.toml: ipl.state), which nobody uses any more once the payload runs.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "layout.h"

#define RAM_RANGES_MAX 32
#define EXCEPTIONS     32 // the vectors that belong to the CPU

// A range of addresses, end exclusive.
struct range {
    uint64_t start;
    uint64_t end;
};

// RAM as the payload may use it: sorted, page-aligned, disjoint.
struct memory_map {
    uint32_t count;
    struct range ram[RAM_RANGES_MAX];
};

// The clock: the TSC's time of reset, and one moment on both TSC and ACPI PM timer.
struct clock {
    uint64_t tsc_first;
    uint32_t pm_first;
    uint32_t us_before_first; // from reset to that moment, microseconds
    bool running;
};

// An entry of the interrupt descriptor table (Intel SDM vol. 3A, section 6.14.1).
struct gate {
    uint16_t offset_low, selector, attributes, offset_middle;
    uint32_t offset_high, reserved;
};

struct ipl_state {
    uint64_t tsc_at_reset; // written by the reset vector
    struct gate idt[EXCEPTIONS];
    struct clock clock;
    struct memory_map map;
};

#define ipl_state ((struct ipl_state *)IPL_STATE)
