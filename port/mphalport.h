// SPDX-License-Identifier: MIT
// MicroPython's hardware abstraction on this port: time, waiting, the console.

#include "port/cpu.h"
#include "port/clock.h"
#include "shared/runtime/interrupt_char.h"

#define MICROPY_BEGIN_ATOMIC_SECTION()    cpu_irq_save()
#define MICROPY_END_ATOMIC_SECTION(state) cpu_irq_restore(state)

// Use mp_event_wait_ms() or mp_event_wait_indefinite(), not this macro.
#define MICROPY_INTERNAL_WFE(TIMEOUT_MS) \
    mp_hal_wait_event_us((TIMEOUT_MS) == (mp_uint_t)-1 ? -1 : (int64_t)(TIMEOUT_MS) * 1000)

// The port's one waiting primitive; see mphalport.c.
void mp_hal_wait_event_us(int64_t timeout_us);

// Make the next mp_hal_wait_event_us() return at once: something has happened.
void mp_hal_signal_event(void);

// Make the wait at that time end, whoever waits then; see mphalport.c.
void mp_hal_set_alarm_us(int64_t timeout_us);

// Have machine_vector_raise_due() called once clock_us() is `at`; see mphalport.c.
void mp_hal_set_timer_at_us(uint64_t at);

// Have stdio_linger_is_over() called in that time, unless it will be anyhow.
void mp_hal_set_linger_us(uint64_t us);

static inline mp_uint_t mp_hal_ticks_us(void) {
    return clock_us();
}

static inline mp_uint_t mp_hal_ticks_ms(void) {
    return clock_us() / 1000;
}

static inline mp_uint_t mp_hal_ticks_cpu(void) {
    return rdtsc();
}
