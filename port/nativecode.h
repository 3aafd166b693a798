// SPDX-License-Identifier: MIT
// Memory for native and viper code.
#ifndef PORT_NATIVECODE_H
#define PORT_NATIVECODE_H

void nativecode_deinit(void);

#endif // PORT_NATIVECODE_H
