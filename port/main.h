// SPDX-License-Identifier: MIT
// The port's life.
#ifndef PORT_MAIN_H
#define PORT_MAIN_H

// Starts the interpreter afresh, for when it cannot be unwound. Does not return.
void main_restart(void);

#endif // PORT_MAIN_H
