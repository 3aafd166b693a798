// SPDX-License-Identifier: MIT
// Plans and maps the address space. Page 0 and the page under the stack stay unmapped, code is never writable, data
// never executable; what no HOB describes is not mapped at all.

#include "address_space.h"

#include "chipset.h"
#include "cpu.h"
#include "log.h"
#include "memory_map.h"
#include "paging.h"

#define PAGE           0x1000ull
#define GIB            0x40000000ull
#define FOUR_GIB       0x100000000ull
#define HOB_SIZE       (2 * PAGE)
#define MMIO_ALIGN     0x200000ull
#define ALIGN_UP(n, a) (((n) + (a) - 1) & -(uint64_t)(a))

#define CPUID_ADDRESS_SIZES 0x80000008 // EAX[7:0]: physical address bits

static uint8_t cpu_address_bits(void) {
    return cpuid(0x80000000).eax >= CPUID_ADDRESS_SIZES ? cpuid(CPUID_ADDRESS_SIZES).eax & 0xFF : 36;
}

static void plan_windows(struct address_space *space, const struct memory_map *map, uint16_t chipset) {
    uint64_t low_end = ALIGN_UP(memory_map_low_end(map), MMIO_ALIGN);
    uint64_t top = memory_map_end(map) > FOUR_GIB ? memory_map_end(map) : FOUR_GIB;
    space->ecam = (struct range) { 0, 0 };
    if (chipset == CHIPSET_Q35 && low_end <= PLATFORM_ECAM_BASE) {
        space->ecam = (struct range) { PLATFORM_ECAM_BASE, PLATFORM_ECAM_BASE + PLATFORM_ECAM_SIZE };
    }
    space->pci32 = (struct range) { low_end > PLATFORM_PCI32_BASE ? low_end : PLATFORM_PCI32_BASE, PLATFORM_PCI32_END };
    space->address_bits = cpu_address_bits();
    space->pci64.start = ALIGN_UP(top, GIB);
    space->pci64.end = space->pci64.start + PLATFORM_PCI64_SIZE;
    if (space->address_bits < 64 && space->pci64.end > 1ull << space->address_bits) {
        space->pci64.end = 1ull << space->address_bits;
    }
    if (space->pci64.end <= space->pci64.start) {
        space->pci64 = (struct range) { 0, 0 };
    }
}

void address_space_plan(struct address_space *space, const struct memory_map *map, const struct image *image,
    uint16_t chipset) {
    uint64_t start = image->segment[0].range.start;
    uint64_t end = image->segment[image->segments - 1].range.end;
    space->hobs = (struct range) { end, end + HOB_SIZE };
    uint64_t stack = space->hobs.end + PAGE;
    space->stack = (struct range) { stack, stack + PAYLOAD_STACK_SIZE };
    const struct range *ram = memory_map_find(map, start, space->stack.end);
    if (!ram) {
        fatal("payload: no RAM for %x..%x", start, space->stack.end);
    }
    space->ram = *ram;
    plan_windows(space, map, chipset);
}

// Maps RAM from *cursor to `start` for data, and moves *cursor to `end`.
static void map_data_up_to(struct page_tables *tables, uint64_t *cursor, uint64_t start, uint64_t end) {
    if (*cursor < start) {
        paging_map(tables, *cursor, start, MAP_WRITE);
    }
    *cursor = end;
}

static void map_payload_ram(struct page_tables *tables, const struct address_space *space, const struct image *image) {
    uint64_t cursor = space->ram.start;
    for (uint32_t i = 0; i < image->segments; ++i) {
        const struct segment *s = &image->segment[i];
        map_data_up_to(tables, &cursor, s->range.start, s->range.end);
        uint32_t flags = (s->writable ? MAP_WRITE : 0) | (s->executable ? MAP_EXECUTE : 0);
        paging_map(tables, s->range.start, s->range.end, MAP_READ | flags);
    }
    map_data_up_to(tables, &cursor, space->stack.start - PAGE, space->stack.start);
    map_data_up_to(tables, &cursor, space->ram.end, space->ram.end);
}

static void map_ram(struct page_tables *tables, const struct address_space *space, const struct memory_map *map,
    const struct image *image) {
    for (uint32_t i = 0; i < map->count; ++i) {
        struct range ram = map->ram[i];
        if (ram.start == space->ram.start) {
            map_payload_ram(tables, space, image);
        } else {
            paging_map(tables, ram.start, ram.end, MAP_WRITE);
        }
    }
}

void address_space_map(struct address_space *space, const struct memory_map *map, const struct image *image) {
    struct page_tables tables;
    uint64_t low_end = memory_map_low_end(map);
    paging_start(&tables, space->stack.end, space->ram.end);
    map_ram(&tables, space, map, image);
    paging_map(&tables, low_end, FLASH_BASE, MAP_WRITE | MAP_UNCACHED); // a second flash chip ends there
    paging_map(&tables, FLASH_BASE, BOOT_VOLUME_BASE, MAP_READ);
    paging_map(&tables, BOOT_VOLUME_BASE, FOUR_GIB, MAP_READ | MAP_EXECUTE);
    paging_map(&tables, space->pci64.start, space->pci64.end, MAP_WRITE | MAP_UNCACHED);
    paging_load(&tables);
    space->page_tables = (struct range) { tables.root, tables.next };
}
