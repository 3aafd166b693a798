// SPDX-License-Identifier: MIT
// Writes the HOB list.

#include "hob.h"

#include "log.h"
#include "memory.h"

#define HOB_TYPE_HANDOFF           0x0001
#define HOB_TYPE_MEMORY_ALLOCATION 0x0002
#define HOB_TYPE_RESOURCE          0x0003
#define HOB_TYPE_GUID_EXTENSION    0x0004
#define HOB_TYPE_FV                0x0005
#define HOB_TYPE_CPU               0x0006
#define HOB_TYPE_END               0xFFFF

#define HANDOFF_VERSION              0x0009
#define BOOT_WITH_FULL_CONFIGURATION 0

#define RESOURCE_PRESENT     0x00000001
#define RESOURCE_INITIALIZED 0x00000002
#define RESOURCE_TESTED      0x00000004
#define RESOURCE_UNCACHEABLE 0x00000400
#define RESOURCE_WRITE_BACK  0x00002000

struct hob_header {
    uint16_t type;
    uint16_t length;
    uint32_t reserved;
};

struct hob_handoff {
    struct hob_header header;
    uint32_t version;
    uint32_t boot_mode;
    uint64_t memory_top, memory_bottom;
    uint64_t free_memory_top, free_memory_bottom;
    uint64_t end_of_list;
};

struct hob_memory_allocation {
    struct hob_header header;
    uint8_t name[16];
    uint64_t base, length;
    uint32_t memory_type;
    uint32_t reserved;
};

struct hob_resource {
    struct hob_header header;
    uint8_t owner[16];
    uint32_t type, attributes;
    uint64_t base, length;
};

struct hob_guid {
    struct hob_header header;
    uint8_t name[16];
};

struct hob_volume {
    struct hob_header header;
    uint64_t base, length;
};

struct hob_cpu {
    struct hob_header header;
    uint8_t memory_bits, io_bits;
    uint8_t reserved[6];
};

// Appends a zeroed HOB of `length` bytes, a multiple of eight.
static void *append(struct hob_list *list, uint16_t type, uint16_t length) {
    if (list->next + length > list->limit) {
        fatal("HOB list: full after %x bytes", (uint64_t)(list->next - list->start));
    }
    struct hob_header *header = memset(list->next, 0, length);
    list->next += length;
    header->type = type;
    header->length = length;
    return header;
}

void hob_start(struct hob_list *list, void *start, uint64_t size) {
    list->start = list->next = start;
    list->limit = list->start + size;
    append(list, HOB_TYPE_HANDOFF, sizeof(struct hob_handoff));
}

void hob_resource(struct hob_list *list, uint32_t type, struct range range) {
    struct hob_resource *hob = append(list, HOB_TYPE_RESOURCE, sizeof(*hob));
    hob->type = type;
    hob->attributes = RESOURCE_PRESENT | RESOURCE_INITIALIZED;
    if (type == RESOURCE_SYSTEM_MEMORY) {
        hob->attributes |= RESOURCE_TESTED | RESOURCE_WRITE_BACK;
    } else if (type == RESOURCE_MMIO) {
        hob->attributes |= RESOURCE_UNCACHEABLE;
    }
    hob->base = range.start;
    hob->length = range.end - range.start;
}

void hob_allocation(struct hob_list *list, const uint8_t name[16], uint32_t memory_type, struct range range) {
    struct hob_memory_allocation *hob = append(list, HOB_TYPE_MEMORY_ALLOCATION, sizeof(*hob));
    memcpy(hob->name, name, sizeof(hob->name));
    hob->base = range.start;
    hob->length = range.end - range.start;
    hob->memory_type = memory_type;
}

void hob_volume(struct hob_list *list, uint64_t base, uint64_t size) {
    struct hob_volume *hob = append(list, HOB_TYPE_FV, sizeof(*hob));
    hob->base = base;
    hob->length = size;
}

void hob_cpu(struct hob_list *list, uint8_t memory_bits, uint8_t io_bits) {
    struct hob_cpu *hob = append(list, HOB_TYPE_CPU, sizeof(*hob));
    hob->memory_bits = memory_bits;
    hob->io_bits = io_bits;
}

struct platform *hob_platform(struct hob_list *list) {
    static const uint8_t name[16] = GUID_HOB_PLATFORM;
    struct hob_guid *hob = append(list, HOB_TYPE_GUID_EXTENSION, sizeof(*hob) + sizeof(struct platform));
    memcpy(hob->name, name, sizeof(name));
    return (struct platform *)(hob + 1);
}

void hob_finish(struct hob_list *list, struct range ram, uint64_t free_bottom) {
    struct hob_handoff *hob = (struct hob_handoff *)list->start;
    append(list, HOB_TYPE_END, sizeof(struct hob_header));
    hob->version = HANDOFF_VERSION;
    hob->boot_mode = BOOT_WITH_FULL_CONFIGURATION;
    hob->memory_bottom = ram.start;
    hob->memory_top = ram.end;
    hob->free_memory_bottom = free_bottom;
    hob->free_memory_top = ram.end;
    hob->end_of_list = (uint64_t)list->next;
}
