// SPDX-License-Identifier: MIT
// Switches on the ACPI power management registers: the PM timer (our clock) and S5 (power off) live there.
// Everything else on the PCI bus is left as reset left it.

#include "chipset.h"

#include "cpu.h"
#include "layout.h"
#include "log.h"

#define CONFIG_ADDRESS 0xCF8
#define CONFIG_DATA    0xCFC
#define PCI(dev, fn)   (1u << 31 | (dev) << 11 | (fn) << 8)
#define VENDOR_INTEL   0x8086

// ICH9 LPC bridge, 0:1f.0 (Intel ICH9 datasheet, section 13.1): PMBASE and ACPI_CNTL.
#define ICH9_LPC       PCI(0x1F, 0)
#define ICH9_PMBASE    0x40
#define ICH9_ACPI_CNTL 0x44
#define ICH9_ACPI_EN   0x80

// PIIX4 power management, 0:1.3 (Intel PIIX4 datasheet, section 7.1): PMBA and PMREGMISC.
#define PIIX4_PM        PCI(0x01, 3)
#define PIIX4_PMBA      0x40
#define PIIX4_PMREGMISC 0x80
#define PIIX4_PMIOSE    0x01

static uint32_t config_read(uint32_t function, uint32_t reg) {
    out32(CONFIG_ADDRESS, function | reg);
    return in32(CONFIG_DATA);
}

static void config_write(uint32_t function, uint32_t reg, uint32_t value) {
    out32(CONFIG_ADDRESS, function | reg);
    out32(CONFIG_DATA, value);
}

uint16_t chipset_init(void) {
    uint32_t id = config_read(PCI(0, 0), 0);
    uint16_t device = id >> 16;
    if ((id & 0xFFFF) == VENDOR_INTEL && device == CHIPSET_Q35) {
        config_write(ICH9_LPC, ICH9_PMBASE, PLATFORM_PM_BASE);
        config_write(ICH9_LPC, ICH9_ACPI_CNTL, config_read(ICH9_LPC, ICH9_ACPI_CNTL) | ICH9_ACPI_EN);
    } else if ((id & 0xFFFF) == VENDOR_INTEL && device == CHIPSET_I440FX) {
        config_write(PIIX4_PM, PIIX4_PMBA, PLATFORM_PM_BASE);
        config_write(PIIX4_PM, PIIX4_PMREGMISC, config_read(PIIX4_PM, PIIX4_PMREGMISC) | PIIX4_PMIOSE);
    } else {
        fatal("chipset %x is neither q35's nor pc's: start QEMU with -machine q35 or pc", (uint64_t)id);
    }
    return device;
}
