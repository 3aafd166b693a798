// SPDX-License-Identifier: MIT
// The standard streams, where others have an interest in them.

#pragma once

#include "py/obj.h"

// sys.stdout.
extern const struct _sys_stdio_obj_t mp_sys_stdout_obj;

// Back on the console, with nothing gathered; for a fresh interpreter.
void stdio_init(void);

// Put a stream (readinto, write, ioctl, as io.IOBase has them) in the place of stdin (0), stdout (1)
// or stderr (2); None: the console again. TypeError, OSError if what was gathered cannot be written.
void stdio_replace(size_t fd, mp_obj_t stream);

// Write what has been gathered and wait until it is out of our hands; errors are ignored: for the end.
void stdio_finish(void);

// Write what has been gathered. May raise what the streams raise.
void stdio_flush(void);

// For the timer's interrupt: have what has been gathered written between two bytecodes.
void stdio_linger_is_over(void);
