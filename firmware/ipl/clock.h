// SPDX-License-Identifier: MIT
// Time since reset, from the TSC and the ACPI PM timer.
#pragma once

#include <stdint.h>

#define PM_TIMER_HZ   3579545
#define PM_TIMER_BITS 24
#define PM_TIMER_PORT (PLATFORM_PM_BASE + 8) // ACPI 6.5, section 4.8.3.3

// Starts the clock; the PM timer must be enabled.
void clock_start(void);

// Microseconds since reset; 0 until clock_start().
uint32_t clock_us(void);

// TSC ticks per second, measured since clock_start(): good to about 0.1% after a millisecond.
uint64_t clock_tsc_hz(void);
