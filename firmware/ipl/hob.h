// SPDX-License-Identifier: MIT
// The hand-off block list (PI 1.8 vol. 3, chapters 4 and 5): all that the payload is told.
#pragma once

#include <stdint.h>

#include "state.h"

// EFI_RESOURCE_TYPE and the attributes that we use (section 5.5).
#define RESOURCE_SYSTEM_MEMORY    0
#define RESOURCE_MMIO             1
#define RESOURCE_IO               2
#define RESOURCE_FIRMWARE_DEVICE  3

// EFI_MEMORY_TYPE (UEFI 2.10, section 7.2.1).
#define MEMORY_LOADER_CODE        1
#define MEMORY_LOADER_DATA        2
#define MEMORY_BOOT_SERVICES_DATA 4

// What the platform HOB says; the layout is a contract with port/ and mpy_modules/hob.py.
struct platform {
    uint32_t version; // 1
    uint32_t reserved;
    uint16_t chipset;       // PCI device id of the host bridge, chipset.h
    uint16_t pm_base;       // ACPI PM registers, I/O port
    uint16_t pm_timer_bits;
    uint16_t reserved2;
    uint64_t tsc_at_reset;
    uint64_t tsc_at_handoff;
    uint64_t ecam_base;     // address space kept free for it, 0 if there is none; the IPL does not enable it
    uint64_t boot_volume_base;
    uint64_t app_base;      // the app volume's ROMFS image, checked; 0 if there is none
    uint64_t app_size;
    uint64_t tsc_hz;        // as measured by the IPL, 0 if unknown
};

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
