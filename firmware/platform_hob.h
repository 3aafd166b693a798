// SPDX-License-Identifier: MIT
// The platform HOB's contents: what the IPL tells the payload beyond the PI specification's HOBs.
// Its GUID is guids.hob_platform in layout.toml. The IPL writes it, port/ and mpy_modules/hob.py
// read it; a change of the layout is a new version.
#pragma once

#include <stdint.h>

struct platform {
    uint32_t version;       // 1
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
