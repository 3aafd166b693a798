// SPDX-License-Identifier: MIT
// Stands in for port/cpu.h when port/hypervisor.c is compiled for the build machine: CPUID and MSRs become calls into
// the test.
#define PORT_CPU_H

#include <stdint.h>

struct cpuid {
    uint32_t eax, ebx, ecx, edx;
};

struct host_processor {
    void (*cpuid)(uint32_t leaf, struct cpuid *answer);
    void (*wrmsr)(uint32_t msr, uint64_t value);
};

extern struct host_processor host_processor;

static inline struct cpuid cpuid(uint32_t leaf) {
    struct cpuid answer = { 0 };
    host_processor.cpuid(leaf, &answer);
    return answer;
}

static inline void cpu_wrmsr(uint32_t msr, uint64_t value) {
    host_processor.wrmsr(msr, value);
}
