// SPDX-License-Identifier: MIT
// Reads PI firmware volumes (PI 1.8 vol. 3, chapters 2 and 3). Nothing in them is believed before it is checked; a
// checksum is believed only for what it covers, so every byte of a volume is either covered by one, or has one
// value that it may have. This file also compiles for the build machine, where the tests feed it damaged volumes.

#include "volume.h"

#include <stdbool.h>
#include <stddef.h>

#include "layout.h"
#include "memory.h"

// EFI_FIRMWARE_VOLUME_HEADER with a block map of one entry and the terminator (section 3.2.1.1).
struct volume_header {
    uint8_t zero_vector[16];
    uint8_t file_system[16];
    uint64_t length;
    uint32_t signature;
    uint32_t attributes;
    uint16_t header_length;
    uint16_t checksum;
    uint16_t ext_header_offset;
    uint8_t reserved;
    uint8_t revision;
    uint32_t block_count;
    uint32_t block_length;
    uint64_t block_map_end;
};

// EFI_FFS_FILE_HEADER (section 3.2.3.1).
struct file_header {
    uint8_t name[16];
    uint8_t header_checksum;
    uint8_t file_checksum;
    uint8_t type;
    uint8_t attributes;
    uint8_t size[3];
    uint8_t state;
};

// EFI_COMMON_SECTION_HEADER (section 3.2.4.1).
struct section_header {
    uint8_t size[3];
    uint8_t type;
};

#define FVH_SIGNATURE       0x4856465F // "_FVH"
#define FVH_REVISION        2
#define FVB_ERASE_POLARITY  0x800
#define FFS_ATTRIB_CHECKSUM 0x40
#define FILE_STATE_VALID    0xF8       // erase polarity 1: construction, header valid, data valid are cleared bits
#define FILE_TYPE_FREEFORM  0x02
#define SECTION_RAW         0x19
#define ERASED              0xFF
#define ALIGN_UP(n, a)      (((n) + (a) - 1) & -(uint64_t)(a))

static uint32_t read_size(const uint8_t size[3]) {
    return size[0] | size[1] << 8 | (uint32_t)size[2] << 16;
}

static uint64_t read64(const uint8_t *p) {
    uint64_t value;
    __builtin_memcpy(&value, p, sizeof(value));
    return value;
}

static uint16_t sum16(const uint8_t *p, uint32_t size) {
    uint16_t sum = 0;
    for (uint32_t i = 0; i < size; i += 2) {
        sum += p[i] | p[i + 1] << 8;
    }
    return sum;
}

// The 8-bit sum, eight bytes at a time. Even bytes are added in 16-bit lanes, which 256 words cannot overflow; the
// plain sum less those is the sum of the odd bytes in lanes of their own (the topmost is cut to 8 bits, all we need).
static uint8_t sum8(const uint8_t *p, uint64_t size) {
    const uint64_t lanes = 0x00FF00FF00FF00FF;
    uint64_t total = 0;
    while (size >= 8) {
        uint64_t words = size / 8 < 256 ? size / 8 : 256;
        uint64_t sum = 0, even = 0;
        size -= words * 8;
        for (const uint8_t *end = p + words * 8; p != end; p += 8) {
            uint64_t word = read64(p);
            sum += word;
            even += word & lanes;
        }
        uint64_t odd = (sum - even) >> 8;
        total += even + (even >> 16) + (even >> 32) + (even >> 48);
        total += odd + (odd >> 16) + (odd >> 32) + (odd >> 48);
    }
    while (size--) {
        total += *p++;
    }
    return total;
}

static bool all_erased(const uint8_t *p, uint64_t size) {
    uint64_t all = ~(uint64_t)0;
    for (; size >= 64; size -= 64, p += 64) {
        for (uint32_t i = 0; i < 64; i += 8) {
            all &= read64(p + i);
        }
    }
    for (; size >= 8; size -= 8, p += 8) {
        all &= read64(p);
    }
    uint8_t rest = ERASED;
    while (size--) {
        rest &= *p++;
    }
    return all == ~(uint64_t)0 && rest == ERASED;
}

static const char *check_volume_header(const uint8_t *base, uint64_t size) {
    const struct volume_header *header = (const void *)base;
    static const uint8_t ffs2[16] = GUID_FFS2;
    if (size < sizeof(*header) || header->signature != FVH_SIGNATURE) {
        return "volume header signature";
    }
    if (header->header_length != sizeof(*header)) {
        return "volume header length";
    }
    if (sum16(base, sizeof(*header)) != 0) {
        return "volume header checksum";
    }
    if (memcmp(header->file_system, ffs2, sizeof(ffs2)) != 0 || header->revision != FVH_REVISION) {
        return "volume header format";
    }
    if (header->length != size || (uint64_t)header->block_count * header->block_length != size) {
        return "volume header size";
    }
    return header->attributes & FVB_ERASE_POLARITY ? NULL : "volume header attributes";
}

// Checks the file at p, of which `room` bytes are in the volume.
static const char *check_file(const uint8_t *p, uint64_t room) {
    const struct file_header *header = (const void *)p;
    uint32_t size = read_size(header->size);
    uint8_t uncounted = header->file_checksum + header->state; // the header's sum takes them as zero
    if (sum8(p, sizeof(*header)) != uncounted) {
        return "file header checksum";
    }
    if (header->state != FILE_STATE_VALID) {
        return "file header state";
    }
    if (!(header->attributes & FFS_ATTRIB_CHECKSUM)) {
        return "file header attributes";
    }
    if (size < sizeof(*header) || size > room) {
        return "file header size";
    }
    if ((uint8_t)(sum8(p + sizeof(*header), size - sizeof(*header)) + header->file_checksum) != 0) {
        return "file body checksum";
    }
    uint64_t padded = ALIGN_UP(size, 8) < room ? ALIGN_UP(size, 8) : room;
    return all_erased(p + size, padded - size) ? NULL : "padding between files";
}

// Finds the first RAW section among a checked file's sections, each of which starts 4-byte aligned. All are looked
// at, so that a wrong size shows.
static const char *find_raw_section(const uint8_t *p, uint32_t size, struct section *found) {
    for (uint32_t offset = 0; offset < size;) {
        const struct section_header *header = (const void *)(p + offset);
        uint32_t section_size = size - offset < sizeof(*header) ? 0 : read_size(header->size);
        if (section_size < sizeof(*header) || section_size > size - offset) {
            return "section header";
        }
        if (header->type == SECTION_RAW && !found->data) {
            found->data = p + offset + sizeof(*header);
            found->size = section_size - sizeof(*header);
        }
        offset += ALIGN_UP(section_size, 4);
    }
    return found->data ? NULL : "file sections";
}

const char *volume_open(const uint8_t *base, uint64_t size, const uint8_t guid[16], struct section *found) {
    found->data = NULL;
    found->size = 0;
    const char *damage = check_volume_header(base, size);
    uint64_t offset = sizeof(struct volume_header);
    while (!damage && size - offset >= sizeof(struct file_header)
        && !all_erased(base + offset, sizeof(struct file_header))) {
        const struct file_header *file = (const void *)(base + offset);
        damage = check_file(base + offset, size - offset);
        if (!damage && file->type == FILE_TYPE_FREEFORM && memcmp(file->name, guid, 16) == 0) {
            damage = find_raw_section((const uint8_t *)(file + 1), read_size(file->size) - sizeof(*file), found);
        }
        offset += ALIGN_UP(read_size(file->size), 8);
        if (offset > size) {
            offset = size;
        }
    }
    if (!damage && !all_erased(base + offset, size - offset)) {
        damage = "free space";
    }
    return damage;
}
