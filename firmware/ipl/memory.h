// SPDX-License-Identifier: MIT
// Copying, clearing and comparing memory. Sizes in bytes.
#pragma once

#include <stddef.h>

void *memcpy(void *restrict dst, const void *restrict src, size_t n);
void *memset(void *dst, int byte, size_t n);
int memcmp(const void *a, const void *b, size_t n);
