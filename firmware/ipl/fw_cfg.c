// SPDX-License-Identifier: MIT
// QEMU's fw_cfg (QEMU, docs/specs/fw_cfg). Bytes through the data port, by string instructions: under KVM up to 1 KiB
// of them is one exit, and what we read is not much longer.

#include "fw_cfg.h"

#include "cpu.h"

#define FW_CFG_SELECTOR  0x510
#define FW_CFG_DATA      0x511
#define FW_CFG_SIGNATURE 0x0000
#define FW_CFG_FILE_DIR  0x0019
#define FILES_MAX        256 // more than QEMU can hold; a larger count is nonsense
#define FILES_AT_ONCE    16  // 1 KiB

struct file_entry {
    uint32_t size;   // big-endian
    uint16_t select; // big-endian
    uint16_t reserved;
    char name[56];
};

void fw_cfg_read(void *buf, uint32_t length) {
    in8_string(FW_CFG_DATA, buf, length);
}

static bool same_name(const char *a, const char *b) {
    while (*a && *a == *b) {
        ++a;
        ++b;
    }
    return *a == *b;
}

int64_t fw_cfg_open(const char *name) {
    char signature[4];
    out16(FW_CFG_SELECTOR, FW_CFG_SIGNATURE);
    fw_cfg_read(signature, sizeof(signature));
    if (signature[0] != 'Q' || signature[1] != 'E' || signature[2] != 'M' || signature[3] != 'U') {
        return -1;
    }
    uint32_t count;
    out16(FW_CFG_SELECTOR, FW_CFG_FILE_DIR);
    fw_cfg_read(&count, sizeof(count));
    count = __builtin_bswap32(count);
    struct file_entry entries[FILES_AT_ONCE];
    for (uint32_t i = 0; i < count && i < FILES_MAX; ++i) {
        struct file_entry *entry = &entries[i % FILES_AT_ONCE];
        if (entry == entries) {
            fw_cfg_read(entries, sizeof(entries)); // zeros behind the end
        }
        entry->name[sizeof(entry->name) - 1] = 0;
        if (same_name(entry->name, name)) {
            out16(FW_CFG_SELECTOR, __builtin_bswap16(entry->select));
            return __builtin_bswap32(entry->size);
        }
    }
    return -1;
}
