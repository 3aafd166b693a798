// SPDX-License-Identifier: MIT
// What the IPL tells the world: its log on debugcon, its last words on debugcon and COM1.
#pragma once

// One line on debugcon: `[seconds.micros] INFO ipl: ...`. Formats: %s, %u and %x (both take a uint64_t), %%.
void log_info(const char *format, ...);
void log_warn(const char *format, ...);

// One line on debugcon and on COM1, then stops the CPU for good.
_Noreturn void fatal(const char *format, ...);
