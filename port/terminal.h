// SPDX-License-Identifier: MIT
// The console's second terminal, which Python serves; see terminal.c.
#ifndef PORT_TERMINAL_H
#define PORT_TERMINAL_H

#include "py/obj.h"

// With nobody at it; for a fresh interpreter. What was typed and not read stays, as on COM1.
void terminal_init(void);

extern const mp_obj_base_t machine_terminal_obj;
extern const mp_obj_type_t machine_terminal_type;

#endif // PORT_TERMINAL_H
