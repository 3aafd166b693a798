// SPDX-License-Identifier: MIT
// The hand-off block list that the IPL leaves (PI 1.8 volume 3, chapters 4 and 5), read side.
#ifndef PORT_HOB_H
#define PORT_HOB_H

#include <stddef.h>
#include <stdint.h>
#include "firmware/platform_hob.h"

#define HOB_TYPE_MEMORY_ALLOCATION   (0x0002)
#define HOB_TYPE_RESOURCE_DESCRIPTOR (0x0003)
#define HOB_TYPE_GUID_EXTENSION      (0x0004)
#define HOB_TYPE_END_OF_HOB_LIST     (0xffff)

#define RESOURCE_SYSTEM_MEMORY (0)

typedef struct _hob_header_t {
    uint16_t type, length;
    uint32_t reserved;
} hob_header_t;

typedef struct _hob_resource_t {
    hob_header_t header;
    uint8_t owner[16];
    uint32_t resource_type, attributes;
    uint64_t start, length;
} hob_resource_t;

typedef struct _hob_allocation_t {
    hob_header_t header;
    uint8_t name[16];
    uint64_t base, length;
    uint32_t memory_type;
    uint32_t reserved;
} hob_allocation_t;

typedef struct _stack_range_t {
    uint64_t base, top; // the guard page lies right below base
} stack_range_t;

void hob_init(const void *list);
const void *hob_list(void);
size_t hob_list_size(void);
const hob_header_t *hob_first(uint16_t type); // NULL if there is none
const hob_header_t *hob_next(const hob_header_t *hob, uint16_t type);
const struct platform *hob_platform(void);
stack_range_t hob_stack(void);

#endif // PORT_HOB_H
