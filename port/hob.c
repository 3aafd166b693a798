// SPDX-License-Identifier: MIT
// Reading the hand-off block list. It comes from our own IPL and is trusted.

#include <string.h>
#include "layout.h"
#include "port/hob.h"

static const hob_header_t *list;
static size_t list_size;
static const struct platform *platform;
static stack_range_t stack;

static const hob_header_t *find(const hob_header_t *hob, uint16_t type) {
    while (hob->type != type) {
        if (hob->type == HOB_TYPE_END_OF_HOB_LIST) {
            return NULL;
        }
        hob = (const void *)((const char *)hob + hob->length);
    }
    return hob;
}

void hob_init(const void *list_in) {
    static const uint8_t stack_guid[16] = GUID_HOB_STACK;
    static const uint8_t platform_guid[16] = GUID_HOB_PLATFORM;

    list = list_in;
    const hob_header_t *end = find(list, HOB_TYPE_END_OF_HOB_LIST);
    list_size = (const char *)end + end->length - (const char *)list;

    for (const hob_header_t *hob = hob_first(HOB_TYPE_MEMORY_ALLOCATION); hob != NULL; hob = hob_next(hob, HOB_TYPE_MEMORY_ALLOCATION)) {
        const hob_allocation_t *alloc = (const hob_allocation_t *)hob;
        if (memcmp(alloc->name, stack_guid, sizeof(stack_guid)) == 0) {
            stack = (stack_range_t) { alloc->base, alloc->base + alloc->length };
        }
    }
    for (const hob_header_t *hob = hob_first(HOB_TYPE_GUID_EXTENSION); hob != NULL; hob = hob_next(hob, HOB_TYPE_GUID_EXTENSION)) {
        if (memcmp(hob + 1, platform_guid, sizeof(platform_guid)) == 0) {
            platform = (const void *)((const char *)(hob + 1) + sizeof(platform_guid));
        }
    }
}

const void *hob_list(void) {
    return list;
}

size_t hob_list_size(void) {
    return list_size;
}

const hob_header_t *hob_first(uint16_t type) {
    return find(list, type);
}

const hob_header_t *hob_next(const hob_header_t *hob, uint16_t type) {
    return find((const void *)((const char *)hob + hob->length), type);
}

const struct platform *hob_platform(void) {
    return platform;
}

stack_range_t hob_stack(void) {
    return stack;
}
