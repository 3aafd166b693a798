// SPDX-License-Identifier: MIT
// CPU exceptions while the IPL runs, and until the payload has handlers of its own.
#pragma once

// Points the IDT at handlers that print the exception and stop.
void exceptions_init(void);
