// SPDX-License-Identifier: MIT
// The log: lines on I/O port 0x402, which QEMU's isa-debugcon shows or writes to a file. Without
// that device the bytes go nowhere, at the cost of an exit each, so its presence is asked once.

#include <stdarg.h>
#include "py/runtime.h"
#include "py/mphal.h"
#include "port/debugcon.h"
#include "port/journal.h"
#include "port/serial.h"

#define DEBUGCON_PORT     (0x402)
#define DEBUGCON_READBACK (0xe9) // what the device answers to a read

static void debugcon_strn(void *data, const char *str, size_t len) {
    (void)data;
    static int8_t present = -1;
    if (present < 0) {
        present = in8(DEBUGCON_PORT) == DEBUGCON_READBACK;
    }
    while (present && len-- != 0) {
        out8(DEBUGCON_PORT, *str++);
    }
}

static void report_strn(void *data, const char *str, size_t len) {
    debugcon_strn(data, str, len);
    for (const char *end = str + len; str < end; ++str) {
        if (*str == '\n') {
            serial_tx("\r", 1);
        }
        serial_tx(str, 1);
    }
}

static void log_strn(void *data, const char *str, size_t len) {
    debugcon_strn(data, str, len);
    journal_strn(str, len);
}

static const mp_print_t log_print = { NULL, log_strn };
const mp_print_t debugcon_print = { NULL, debugcon_strn };
const mp_print_t report_print = { NULL, report_strn };

void debugcon_log(const char *level, const char *where, const char *fmt, ...) {
    uint64_t us = clock_us();
    mp_printf(&log_print, "[%u.%06u] %s %s: ", (unsigned)(us / 1000000), (unsigned)(us % 1000000), level, where);
    va_list ap;
    va_start(ap, fmt);
    mp_vprintf(&log_print, fmt, ap);
    va_end(ap);
    log_strn(NULL, "\n", 1);
    journal_end();
}
