// SPDX-License-Identifier: MIT
// Memory for native and viper code. A page is writable while code is copied into it and
// executable afterwards, never both: nothing of the region runs during the copy, because the
// port has one thread and its interrupt handlers live in the payload's own text.
//
// Code is never freed singly, since nothing tells when the last pointer into it is gone; a soft
// reset frees all of it.

#include <string.h>
#include "py/runtime.h"
#include "py/persistentcode.h"
#include "port/memory.h"
#include "port/nativecode.h"

#define CHUNK_SIZE (64 * 1024)
#define CODE_ALIGN (16)

static uint8_t *chunk;
static size_t chunk_used, chunk_size;

static uint8_t *reserve(size_t len) {
    len = (len + CODE_ALIGN - 1) & ~(size_t)(CODE_ALIGN - 1);
    if (chunk_size - chunk_used < len) {
        size_t size = MAX(len, CHUNK_SIZE);
        uint8_t *fresh = memory_alloc(size, PAGE_SIZE, MEMORY_EXEC);
        if (fresh == NULL) {
            m_malloc_fail(len);
        }
        chunk = fresh;
        chunk_used = 0;
        chunk_size = size;
    }
    uint8_t *code = chunk + chunk_used;
    chunk_used += len;
    return code;
}

// Moves len bytes of finished code to executable memory, relocating them if reloc is not NULL;
// returns where they run. Raises MemoryError.
void *nativecode_commit(void *buf, size_t len, void *reloc) {
    uint8_t *code = reserve(len);
    if (reloc != NULL) {
        mp_native_relocate(reloc, buf, (uintptr_t)code);
    }
    memory_protect((uintptr_t)code, len, PROTECT_WRITE);
    memcpy(code, buf, len);
    memory_protect((uintptr_t)code, len, PROTECT_EXECUTE);
    return code;
}

void nativecode_deinit(void) {
    memory_free_kind(MEMORY_EXEC);
    chunk = NULL;
    chunk_used = chunk_size = 0;
}
