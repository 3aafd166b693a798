// SPDX-License-Identifier: MIT
// Finds the vsock device on PCI bus 0, places its BARs and locates its register blocks (virtio 1.2, 4.1.4).

#include "floor.h"
#include "layout.h"

#define CONFIG_ADDRESS     (0xcf8)
#define CONFIG_DATA        (0xcfc)
#define VIRTIO_VENDOR      (0x1af4)
#define VSOCK_MODERN       (0x1053)
#define VSOCK_TRANSITIONAL (0x1012)

#define REG_COMMAND               (0x04)
#define COMMAND_MEMORY_AND_MASTER (0x6)
#define REG_BAR0                  (0x10)
#define BARS                      (6)
#define REG_CAPABILITIES          (0x34)
#define CAP_VENDOR                (0x09)
#define CAP_COMMON                (1)
#define CAP_NOTIFY                (2)
#define CAP_DEVICE                (4)

static uint32_t slot;
static uint64_t bars[BARS];

static uint32_t config_read(uint32_t reg) {
    out32(CONFIG_ADDRESS, 1u << 31 | slot | (reg & ~3u));
    return in32(CONFIG_DATA) >> 8 * (reg & 3);
}

static void config_write(uint32_t reg, uint32_t value) {
    out32(CONFIG_ADDRESS, 1u << 31 | slot | reg);
    out32(CONFIG_DATA, value);
}

static bool find(void) {
    for (slot = 0; slot < 1 << 16; slot += 1 << 8) { // device and function
        uint32_t id = config_read(0);
        if ((id & 0xffff) == VIRTIO_VENDOR && (id >> 16 == VSOCK_MODERN || id >> 16 == VSOCK_TRANSITIONAL)) {
            return true;
        }
    }
    return false;
}

static void place_bars(void) {
    uint64_t next = PLATFORM_PCI32_BASE;
    for (int i = 0; i < BARS; ++i) {
        uint32_t reg = REG_BAR0 + 4 * i, old = config_read(reg);
        config_write(reg, 0xffffffff);
        uint32_t mask = config_read(reg);
        if (mask == 0 || (old & 1)) { // none, or I/O ports
            continue;
        }
        uint64_t size = -(mask & ~0xfu) & 0xffffffff;
        next = (next + size - 1) & -size;
        bars[i] = next;
        config_write(reg, next);
        if ((old & 6) == 4) { // 64 bits: the next register is its upper half
            config_write(REG_BAR0 + 4 * ++i, 0);
        }
        next += size;
    }
    config_write(REG_COMMAND, COMMAND_MEMORY_AND_MASTER);
}

void pci_find_vsock(struct virtio_pci *device) {
    if (!find()) {
        fatal("no vsock device");
    }
    place_bars();
    for (uint32_t at = config_read(REG_CAPABILITIES) & 0xfc; at; at = config_read(at + 1) & 0xfc) {
        uint32_t bar = config_read(at + 4) & 0xff;
        if ((config_read(at) & 0xff) != CAP_VENDOR || bar >= BARS) {
            continue;
        }
        volatile uint8_t *place = (volatile uint8_t *)(bars[bar] + config_read(at + 8));
        uint32_t type = config_read(at + 3) & 0xff;
        if (type == CAP_COMMON) {
            device->common = place;
        } else if (type == CAP_NOTIFY) {
            device->notify = place;
            device->notify_multiplier = config_read(at + 16);
        } else if (type == CAP_DEVICE) {
            device->config = place;
        }
    }
}
