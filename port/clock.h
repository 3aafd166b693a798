// SPDX-License-Identifier: MIT
// Time: microseconds since power-on from the TSC, the date from the CMOS clock.
#ifndef PORT_CLOCK_H
#define PORT_CLOCK_H

#include <stdint.h>

void clock_begin(void); // needs interrupts_init
void clock_init(void);  // waits until a millisecond after that, if it must measure; no time before
void clock_refine(void);
uint64_t clock_us(void); // since reset, monotonic
uint64_t clock_tsc_hz(void);
uint64_t clock_lapic_ticks(uint64_t us); // of the local APIC's timer; 0 where that goes by the TSC
uint64_t clock_tsc_ticks(uint64_t us);
uint64_t clock_epoch_us(void); // since 1970-01-01 UTC
void clock_set_epoch_us(uint64_t epoch_us); // this session only; the CMOS clock is left alone

#endif // PORT_CLOCK_H
