// SPDX-License-Identifier: MIT
// Upstream's module platform, which otherwise tells of the system that it was compiled on.

#include "py/builtin.h"
#include "py/mphal.h"

#undef __linux
#undef __unix__
#undef __GLIBC__
#include "extmod/modplatform.c"
