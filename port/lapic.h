// SPDX-License-Identifier: MIT
// The local APIC: ends of interrupts, which of them are held back, and the one timer of the port.
#ifndef PORT_LAPIC_H
#define PORT_LAPIC_H

#include <stdbool.h>
#include <stdint.h>

void lapic_init(void);
uint32_t lapic_id(void);
void lapic_eoi(void);                     // the interrupt that is being served has been
bool lapic_in_service(unsigned vector);
uint64_t lapic_msi_address(void);         // where a device writes a vector number to raise it here
void lapic_hold_devices(bool hold);       // their interrupts wait until they are held no longer
bool lapic_has_deadline(void);            // whether the timer goes by the TSC, and needs no calibration
void lapic_timer_start(uint64_t us);      // one interrupt after us microseconds, or earlier
void lapic_timer_free_run(void);          // for calibration: count down without an interrupt
uint32_t lapic_timer_elapsed(void);       // ticks since lapic_timer_free_run()
void lapic_timer_stop(void);              // the end of that

#endif // PORT_LAPIC_H
