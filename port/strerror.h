// SPDX-License-Identifier: MIT
#ifndef PORT_STRERROR_H
#define PORT_STRERROR_H

#include "py/obj.h"

// What an error number means, a str; None for one that `errno` has no name for.
mp_obj_t strerror_text(mp_int_t number);

#endif // PORT_STRERROR_H
