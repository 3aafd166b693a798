// SPDX-License-Identifier: MIT
// MicroPython's hardware abstraction: the console over serial.c, sleeping over clock.c and
// interrupts.c, and the event latch that every wait of the port ends in.

#include "py/runtime.h"
#include "py/stream.h"
#include "py/mphal.h"
#include "extmod/misc.h"
#include "port/interrupts.h"
#include "port/lapic.h"
#include "port/modmachine.h"
#include "port/serial.h"
#include "port/stdstreams.h"

// Set by every interrupt and by every interrupt handler that Python has run, cleared when a
// wait returns. A condition that changes between a caller's check and its wait is therefore
// never slept through.
static volatile bool event_latch;

// Waits that have ended.
static size_t waits;

// When every wait ends at the latest, in microseconds of clock_us(); 0 for no such moment.
static uint64_t alarm_at;

// When Vector.after() has the timer interrupt, in the same microseconds; 0 for never.
static volatile uint64_t timer_at;

// When what is printed has stayed with us long enough, in the same microseconds; 0: nothing is there.
static volatile uint64_t linger_until;

// When the timer, as it runs, will interrupt; 0 if it does not run.
static volatile uint64_t timer_end;

void mp_hal_signal_event(void) {
    event_latch = true;
}

// Ends the wait that goes on in timeout_us microseconds, or the next one after that moment: for
// who has something to do then without being the one who waits. There is one alarm; the earliest
// time asked for counts, and whoever asked for a later one asks again. Negative: no alarm.
void mp_hal_set_alarm_us(int64_t timeout_us) {
    uint64_t at = clock_us() + timeout_us;
    if (timeout_us < 0) {
        alarm_at = 0;
    } else if (alarm_at == 0 || at < alarm_at) {
        alarm_at = at;
    }
}

// The time that a wait may take, given the alarm; the alarm goes off if it is 0.
static int64_t until_alarm(int64_t timeout_us) {
    if (alarm_at == 0) {
        return timeout_us;
    }
    int64_t left = alarm_at - clock_us();
    if (left <= 0) {
        alarm_at = 0;
        return 0;
    }
    return timeout_us < 0 || left < timeout_us ? left : timeout_us;
}

static void timer_interrupt(void *arg);

static uint64_t earlier(uint64_t at, uint64_t other) {
    return other != 0 && other < at ? other : at;
}

// Have the timer interrupt at that time or earlier. One that is under way and ends in time is left
// alone, and none is ever stopped: setting the timer costs more than being woken for nothing. One that
// is late by our clock is not waited for: it starts anew, for all who wait for it. Interrupts are off.
static void timer_start_until(uint64_t at) {
    uint64_t now = clock_us();
    at = earlier(earlier(at, timer_at), linger_until);
    // One whose time has passed may have been lost: nested hypervisors do that.
    if (timer_end > now && timer_end <= at) {
        return;
    }
    vector_set_handler(VECTOR_TIMER, timer_interrupt, NULL);
    timer_end = at;
    lapic_timer_start(at > now ? at - now : 1);
}

static void timer_interrupt(void *arg) {
    (void)arg;
    timer_end = 0;
    if (linger_until != 0 && linger_until <= clock_us()) {
        linger_until = 0;
        stdio_linger_is_over();
    }
    if (timer_at != 0) {
        machine_vector_raise_due();
    }
    if (linger_until != 0) {
        timer_start_until(linger_until);
    }
}

void mp_hal_set_linger_us(uint64_t us) {
    uint64_t state = cpu_irq_save(), now = clock_us();
    if (linger_until <= now) {
        linger_until = now + us;
        timer_start_until(linger_until);
    }
    cpu_irq_restore(state);
}

// Have machine_vector_raise_due() called at that time of clock_us() or earlier; 0: never.
void mp_hal_set_timer_at_us(uint64_t at) {
    uint64_t state = cpu_irq_save();
    timer_at = at;
    if (at != 0) {
        timer_start_until(at);
    }
    cpu_irq_restore(state);
}

// Halt until an interrupt has come since the previous call returned, or timeout_us (negative:
// for ever) has passed. It may return early; callers check their condition again.
void mp_hal_wait_event_us(int64_t timeout_us) {
    size_t before = waits;
    stdio_flush(); // who waits for us may wait for what has been printed
    if (waits != before) { // a stream in Python has waited: news that ended its waits may be the caller's
        mp_hal_signal_event();
    }
    timeout_us = until_alarm(timeout_us);
    uint64_t state = cpu_irq_save();
    machine_vector_wait(true);
    if (!event_latch && timeout_us != 0) {
        if (timeout_us > 0) {
            timer_start_until(clock_us() + timeout_us);
        }
        cpu_sti_hlt();
        cpu_irq_save();
    }
    machine_vector_wait(false);
    event_latch = false;
    ++waits;
    cpu_irq_restore(state);
    clock_refine();
}

void mp_hal_delay_us(mp_uint_t us) {
    uint64_t end = clock_us() + us;
    for (;;) {
        mp_handle_pending(true);
        int64_t left = end - clock_us();
        if (left <= 0) {
            return;
        }
        // Below this an interrupt costs more than the wait itself.
        if (left > 50) {
            mp_hal_wait_event_us(left);
        } else {
            cpu_pause();
        }
    }
}

void mp_hal_delay_ms(mp_uint_t ms) {
    mp_hal_delay_us(ms * 1000);
}

uint64_t mp_hal_time_ns(void) {
    return clock_epoch_us() * 1000;
}

// The console is COM1 and whatever os.dupterm() has put beside it.

uintptr_t mp_hal_stdio_poll(uintptr_t poll_flags) {
    uintptr_t ret = (poll_flags & MP_STREAM_POLL_WR) | mp_os_dupterm_poll(poll_flags);
    if ((poll_flags & MP_STREAM_POLL_RD) && serial_rx_any()) {
        ret |= MP_STREAM_POLL_RD;
    }
    return ret;
}

int mp_hal_stdin_rx_chr(void) {
    for (;;) {
        int c = serial_rx();
        if (c < 0) {
            c = mp_os_dupterm_rx_chr();
        }
        if (c >= 0) {
            return c;
        }
        mp_event_wait_indefinite();
    }
}

mp_uint_t mp_hal_stdout_tx_strn(const char *str, size_t len) {
    serial_tx(str, len);
    mp_os_dupterm_tx_strn(str, len);
    return len;
}
