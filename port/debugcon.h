// SPDX-License-Identifier: MIT
// The log on QEMU's debug console.
#ifndef PORT_DEBUGCON_H
#define PORT_DEBUGCON_H

#include "py/mpprint.h"

extern const mp_print_t debugcon_print; // raw text
extern const mp_print_t report_print;   // serial and debugcon at once, for exception reports

// One line `[seconds.micros] LEVEL where: what`, what given as for mp_printf.
void debugcon_log(const char *level, const char *where, const char *fmt, ...);

#endif // PORT_DEBUGCON_H
