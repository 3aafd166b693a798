// SPDX-License-Identifier: MIT
// The log's lines for Python; see journal.c.
#ifndef PORT_JOURNAL_H
#define PORT_JOURNAL_H

#include "py/obj.h"

void journal_init(void); // nobody wants them; for a fresh interpreter

// A piece of a line of the log, and the line's end.
void journal_strn(const char *str, size_t len);
void journal_end(void);

extern const mp_obj_base_t machine_journal_obj;
extern const mp_obj_type_t machine_journal_type;

#endif // PORT_JOURNAL_H
