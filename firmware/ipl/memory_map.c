// SPDX-License-Identifier: MIT
// The memory map: fw_cfg's etc/e820 (20-byte entries: base, length, type), the CMOS as fallback.
// Page 0 stays out, so that null pointers fault; so do the 384 KiB under 1 MiB, VGA window and ROM shadow.

#include "memory_map.h"

#include <stddef.h>

#include "cpu.h"
#include "fw_cfg.h"

#define PAGE        0x1000ull
#define KIB         0x400ull
#define MIB         0x100000ull
#define GIB         0x40000000ull
#define LEGACY_HOLE 0xA0000ull
#define E820_RAM    1
#define E820_MAX    256 // entries; more than QEMU can hold
#define AT_ONCE     16  // entries that are read by one string instruction

#define CMOS_INDEX           0x70
#define CMOS_DATA            0x71
#define CMOS_NMI_OFF         0x80
#define CMOS_ABOVE_1M_KIB    0x30 // two bytes, KiB, at most 63 MiB
#define CMOS_ABOVE_16M_64KIB 0x34 // two bytes, 64 KiB units
#define CMOS_ABOVE_4G_64KIB  0x5B // three bytes, 64 KiB units

struct e820_entry {
    uint64_t base;
    uint64_t length;
    uint32_t type;
} __attribute__((packed));

// Inserts a page-aligned range, keeping the map sorted; ranges that touch become one.
static void insert(struct memory_map *map, uint64_t start, uint64_t end) {
    end &= -PAGE;
    if (start >= end) {
        return; // nor does what follows wrap around
    }
    start = (start + PAGE - 1) & -PAGE;
    if (start >= end || map->count == RAM_RANGES_MAX) {
        return;
    }
    uint32_t i = map->count;
    for (; i > 0 && map->ram[i - 1].start > start; --i) {
        map->ram[i] = map->ram[i - 1];
    }
    map->ram[i] = (struct range) { start, end };
    map->count += 1;
}

static void merge_touching(struct memory_map *map) {
    uint32_t kept = 0;
    for (uint32_t i = 1; i < map->count; ++i) {
        struct range *last = &map->ram[kept];
        if (map->ram[i].start > last->end) {
            map->ram[++kept] = map->ram[i];
        } else if (map->ram[i].end > last->end) {
            last->end = map->ram[i].end;
        }
    }
    map->count = map->count ? kept + 1 : 0;
}

static void add_ram(struct memory_map *map, uint64_t start, uint64_t end) {
    insert(map, start > PAGE ? start : PAGE, end < LEGACY_HOLE ? end : LEGACY_HOLE);
    insert(map, start > MIB ? start : MIB, end);
}

static bool read_e820(struct memory_map *map) {
    int64_t count = fw_cfg_open("etc/e820") / (int64_t)sizeof(struct e820_entry);
    struct e820_entry entries[AT_ONCE];
    for (int64_t i = 0; i < count && i < E820_MAX; ++i) {
        if (i % AT_ONCE == 0) {
            fw_cfg_read(entries, sizeof(entries)); // zeros behind the end
        }
        struct e820_entry entry = entries[i % AT_ONCE];
        if (entry.type == E820_RAM && entry.base + entry.length > entry.base) {
            add_ram(map, entry.base, entry.base + entry.length);
        }
    }
    return map->count > 0;
}

static uint64_t cmos(uint8_t reg, uint32_t bytes) {
    uint64_t value = 0;
    for (uint32_t i = 0; i < bytes; ++i) {
        out8(CMOS_INDEX, CMOS_NMI_OFF | (reg + i));
        value |= (uint64_t)in8(CMOS_DATA) << 8 * i;
    }
    return value;
}

static void read_cmos(struct memory_map *map) {
    uint64_t above_16m = cmos(CMOS_ABOVE_16M_64KIB, 2) * 64 * KIB;
    uint64_t low_end = above_16m ? 16 * MIB + above_16m : MIB + cmos(CMOS_ABOVE_1M_KIB, 2) * KIB;
    add_ram(map, 0, low_end);
    add_ram(map, 4 * GIB, 4 * GIB + cmos(CMOS_ABOVE_4G_64KIB, 3) * 64 * KIB);
}

const char *memory_map_read(struct memory_map *map) {
    const char *source = "fw_cfg";
    map->count = 0;
    if (!read_e820(map)) {
        source = "cmos";
        read_cmos(map);
    }
    merge_touching(map);
    return source;
}

const struct range *memory_map_find(const struct memory_map *map, uint64_t start, uint64_t end) {
    for (uint32_t i = 0; i < map->count; ++i) {
        if (map->ram[i].start <= start && start < end && end <= map->ram[i].end) {
            return &map->ram[i];
        }
    }
    return NULL;
}

uint64_t memory_map_low_end(const struct memory_map *map) {
    uint64_t end = 0;
    for (uint32_t i = 0; i < map->count && map->ram[i].start < 4 * GIB; ++i) {
        end = map->ram[i].end;
    }
    return end;
}

uint64_t memory_map_end(const struct memory_map *map) {
    return map->count ? map->ram[map->count - 1].end : 0;
}
