// SPDX-License-Identifier: MIT
// QEMU's fw_cfg, read through its I/O ports.
#pragma once

#include <stdbool.h>
#include <stdint.h>

// Selects the named file for reading. Returns its size in bytes, or -1 if there is no fw_cfg or no such file.
int64_t fw_cfg_open(const char *name);

// Reads the next bytes of the selected file.
void fw_cfg_read(void *buf, uint32_t length);
