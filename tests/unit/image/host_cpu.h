// SPDX-License-Identifier: MIT
// Stands in for firmware/ipl/cpu.h when the IPL's code is compiled for the build machine: its port accesses become
// calls into the test.
#define MPFW_IPL_CPU_H

#include <stdint.h>

struct host_ports {
    uint8_t (*in8)(uint16_t port);
    void (*out)(uint16_t port, uint32_t value);
};

extern struct host_ports host_ports;

static inline uint8_t in8(uint16_t port) {
    return host_ports.in8(port);
}

static inline void out8(uint16_t port, uint8_t value) {
    host_ports.out(port, value);
}

static inline void out16(uint16_t port, uint16_t value) {
    host_ports.out(port, value);
}

static inline void in8_string(uint16_t port, void *buf, uint64_t length) {
    for (uint64_t i = 0; i < length; ++i) {
        ((uint8_t *)buf)[i] = in8(port);
    }
}
