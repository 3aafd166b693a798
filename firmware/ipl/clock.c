// SPDX-License-Identifier: MIT
// Time since reset. The PM timer has a known rate but starts late (the chipset must be found first); the TSC runs
// from reset at an unknown rate. Both together give the time of everything, without a calibration loop.

#include "clock.h"

#include "cpu.h"
#include "state.h"

static uint32_t pm_ticks_since_first(void) {
    return (in32(PM_TIMER_PORT) - ipl_state->clock.pm_first) & ((1u << PM_TIMER_BITS) - 1);
}

void clock_start(void) {
    struct clock *clock = &ipl_state->clock;
    clock->us_before_first = 0;
    clock->pm_first = in32(PM_TIMER_PORT);
    clock->tsc_first = rdtsc();
    clock->running = true;
}

uint64_t clock_tsc_hz(void) {
    uint64_t ticks = pm_ticks_since_first();
    uint64_t cycles = rdtsc() - ipl_state->clock.tsc_first;
    return ticks ? cycles * PM_TIMER_HZ / ticks : 0;
}

uint32_t clock_us(void) {
    struct clock *clock = &ipl_state->clock;
    if (!clock->running) {
        return 0;
    }
    if (clock->us_before_first == 0) {
        uint64_t per_us = clock_tsc_hz() / 1000000;
        clock->us_before_first = per_us ? (clock->tsc_first - ipl_state->tsc_at_reset) / per_us : 0;
    }
    return clock->us_before_first + (uint64_t)pm_ticks_since_first() * 1000000 / PM_TIMER_HZ;
}
