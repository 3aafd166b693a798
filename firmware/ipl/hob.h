// SPDX-License-Identifier: MIT
// The hand-off block list (PI 1.8 vol. 3, chapters 4 and 5): all that the payload is told.
#pragma once

#include <stdint.h>

#include "../platform_hob.h"
#include "state.h"

// EFI_RESOURCE_TYPE and the attributes that we use (section 5.5).
#define RESOURCE_SYSTEM_MEMORY   0
#define RESOURCE_MMIO            1
#define RESOURCE_IO              2
#define RESOURCE_FIRMWARE_DEVICE 3

// EFI_MEMORY_TYPE (UEFI 2.10, section 7.2.1).
#define MEMORY_LOADER_CODE        1
#define MEMORY_LOADER_DATA        2
#define MEMORY_BOOT_SERVICES_DATA 4

// A list under construction.
struct hob_list {
    uint8_t *start;
    uint8_t *next;
    uint8_t *limit;
};

void hob_start(struct hob_list *list, void *start, uint64_t size);
void hob_resource(struct hob_list *list, uint32_t type, struct range range);
void hob_allocation(struct hob_list *list, const uint8_t name[16], uint32_t memory_type, struct range range);
void hob_volume(struct hob_list *list, uint64_t base, uint64_t size);
void hob_cpu(struct hob_list *list, uint8_t memory_bits, uint8_t io_bits);

// Appends the platform HOB and returns where its contents lie.
struct platform *hob_platform(struct hob_list *list);

// Ends the list and fills in its first HOB: `ram` is the range that holds the payload, free from `free_bottom` on.
void hob_finish(struct hob_list *list, struct range ram, uint64_t free_bottom);
