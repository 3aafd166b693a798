// SPDX-License-Identifier: MIT
// Memory for the unix port that is no part of its heap: slots between inaccessible pages.
//
// Loaded before the program (LD_PRELOAD). MPFW_ARENA names what there is to be: `address:size:count`
// in hexadecimal, once for each size, with blanks between them. Each slot has an inaccessible page
// before and behind it, so that a stray access ends the program.

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#define PAGE 4096ul

static void reserve(unsigned long at, unsigned long size, unsigned long count) {
    unsigned long stride = size + PAGE;
    void *found = mmap((void *)at, PAGE + stride * count, PROT_NONE,
        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0);
    if (found != (void *)at) {
        perror("arena");
        exit(1);
    }
    for (unsigned long i = 0; i < count; i++) {
        if (mprotect((void *)(at + PAGE + stride * i), size, PROT_READ | PROT_WRITE) != 0) {
            perror("arena");
            exit(1);
        }
    }
}

__attribute__((constructor)) static void make_arena(void) {
    const char *text = getenv("MPFW_ARENA");
    unsigned long at, size, count;
    int used;
    while (text != NULL && sscanf(text, "%lx:%lx:%lx%n", &at, &size, &count, &used) == 3) {
        reserve(at, size, count);
        text += used;
    }
}
