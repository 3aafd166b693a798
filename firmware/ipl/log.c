// SPDX-License-Identifier: MIT
// The log. Every byte is a port write, which under emulation costs a microsecond: lines are few and short.

#include "log.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>

#include "clock.h"
#include "cpu.h"

#define DEBUGCON       0x402
#define DEBUGCON_THERE 0xE9 // what QEMU's isa-debugcon answers to a read

// A 16550 at COM1: offsets of its registers.
#define COM1          0x3F8
#define UART_DATA     0
#define UART_IER      1
#define UART_LCR      3
#define UART_MCR      4
#define UART_LSR      5
#define LCR_8N1       0x03
#define LCR_DIVISOR   0x80
#define LSR_THR_EMPTY 0x20

typedef void sink_t(uint8_t byte);

static void debugcon_put(uint8_t byte) {
    out8(DEBUGCON, byte);
}

static void serial_put(uint8_t byte) {
    // A UART that is not there reads 0xFF, one that hangs must not hang us: give up waiting after a while.
    for (uint32_t tries = 0; tries < 1000000 && !(in8(COM1 + UART_LSR) & LSR_THR_EMPTY); ++tries) {
    }
    out8(COM1 + UART_DATA, byte);
}

static void serial_init(void) {
    out8(COM1 + UART_IER, 0);
    out8(COM1 + UART_LCR, LCR_DIVISOR);
    out8(COM1 + UART_DATA, 1); // 115200 baud
    out8(COM1 + UART_IER, 0);
    out8(COM1 + UART_LCR, LCR_8N1);
    out8(COM1 + UART_MCR, 0x03); // DTR, RTS
}

static void put_string(sink_t *put, const char *s) {
    while (*s) {
        put(*s++);
    }
}

static void put_number(sink_t *put, uint64_t value, uint32_t base, uint32_t width) {
    char digits[20];
    uint32_t n = 0;
    do {
        digits[n++] = "0123456789abcdef"[value % base];
        value /= base;
    } while (value || n < width);
    while (n) {
        put(digits[--n]);
    }
}

static void put_formatted(sink_t *put, const char *format, va_list args) {
    for (; *format; ++format) {
        if (*format != '%') {
            put(*format);
            continue;
        }
        switch (*++format) {
            case 's':
                put_string(put, va_arg(args, const char *));
                break;
            case 'u':
                put_number(put, va_arg(args, uint64_t), 10, 1);
                break;
            case 'x':
                put_string(put, "0x");
                put_number(put, va_arg(args, uint64_t), 16, 1);
                break;
            default:
                put(*format);
        }
    }
}

static void log_line(const char *level, const char *format, va_list args) {
    if (in8(DEBUGCON) != DEBUGCON_THERE) {
        return;
    }
    uint32_t us = clock_us();
    put_string(debugcon_put, "[");
    put_number(debugcon_put, us / 1000000, 10, 1);
    put_string(debugcon_put, ".");
    put_number(debugcon_put, us % 1000000, 10, 6);
    put_string(debugcon_put, "] ");
    put_string(debugcon_put, level);
    put_string(debugcon_put, " ipl: ");
    put_formatted(debugcon_put, format, args);
    put_string(debugcon_put, "\n");
}

void log_info(const char *format, ...) {
    va_list args;
    va_start(args, format);
    log_line("INFO", format, args);
    va_end(args);
}

void log_warn(const char *format, ...) {
    va_list args;
    va_start(args, format);
    log_line("WARN", format, args);
    va_end(args);
}

_Noreturn void fatal(const char *format, ...) {
    va_list args;
    va_start(args, format);
    log_line("ERROR", format, args);
    va_end(args);
    serial_init();
    put_string(serial_put, "ipl: ");
    va_start(args, format);
    put_formatted(serial_put, format, args);
    va_end(args);
    put_string(serial_put, "\r\n");
    halt_forever();
    __builtin_unreachable();
}
