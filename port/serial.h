// SPDX-License-Identifier: MIT
// COM1, the console.
#ifndef PORT_SERIAL_H
#define PORT_SERIAL_H

#include <stdbool.h>
#include <stddef.h>

#define SERIAL_IRQ (4)

void serial_init(void);
bool serial_rx_any(void);
int serial_rx(void); // a byte, or -1 if there is none
void serial_tx(const char *str, size_t len);
void serial_irq_handler(void);

#endif // PORT_SERIAL_H
