// SPDX-License-Identifier: MIT
// The two chipsets that QEMU's PC machines have.
#pragma once

#include <stdint.h>

#define CHIPSET_Q35    0x29C0 // 82G33 memory controller: machine q35
#define CHIPSET_I440FX 0x1237 // 82441FX: machine pc

// Finds the chipset and switches its ACPI PM registers on at PLATFORM_PM_BASE. Returns the host bridge's PCI device
// id; stops with a message if it is neither of the two.
uint16_t chipset_init(void);
