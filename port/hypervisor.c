// SPDX-License-Identifier: MIT
// KVM's paravirtual features (Linux, Documentation/virt/kvm/x86: cpuid.rst, msr.rst), and the TSC's
// frequency, which a hypervisor or the CPU itself may know. Each leaf of CPUID costs an exit.

#include <stdbool.h>
#include "port/cpu.h"
#include "port/hypervisor.h"

#define CPUID_1_ECX_HYPERVISOR (1u << 31)
#define CPUID_TSC              (0x15)        // EAX, EBX: the TSC's ratio to a crystal of ECX Hz
#define CPUID_HYPERVISOR       (0x40000000)  // EAX: the last leaf, or 0; a name in EBX, ECX, EDX
#define CPUID_NEXT_HYPERVISOR  (0x100)       // KVM's leaves move up by this behind those of Hyper-V
#define CPUID_FEATURES         (1)           // from there on
#define CPUID_FREQUENCIES      (0x10)        // EAX: the TSC's kHz

#define FEATURE_CLOCKSOURCE2 (1u << 3)
#define FEATURE_PV_EOI       (1u << 6)

#define MSR_KVM_SYSTEM_TIME (0x4b564d01)
#define MSR_KVM_PV_EOI      (0x4b564d04)
#define MSR_KVM_ENABLE      (1)

// What KVM writes into memory at MSR_KVM_SYSTEM_TIME: ns = ticks of the TSC * 2^shift * mul / 2^32.
typedef struct _pvclock_t {
    uint32_t version; // odd while it is being written
    uint32_t pad;
    uint64_t tsc, ns;
    uint32_t mul;
    int8_t shift;
    uint8_t flags, pad2[2];
} pvclock_t;

#define SHIFT_MOST (31)
#define TRIES      (1000)
#define BELIEVED   (4) // what is said of the TSC may differ by one part in as many from what was measured

static uint32_t leaves, last_leaf; // where those of KVM begin; of any hypervisor; 0: none
static uint32_t features;
static volatile pvclock_t pvclock __attribute__((aligned(64)));

static bool is_kvm(const struct cpuid *leaf) {
    return leaf->ebx == 0x4b4d564b && leaf->ecx == 0x564b4d56 && leaf->edx == 0x4d; // "KVMKVMKVM"
}

void hypervisor_init(void) {
    if (!(cpuid(1).ecx & CPUID_1_ECX_HYPERVISOR)) {
        return;
    }
    for (uint32_t at = CPUID_HYPERVISOR; at <= CPUID_HYPERVISOR + CPUID_NEXT_HYPERVISOR; at += CPUID_NEXT_HYPERVISOR) {
        struct cpuid leaf = cpuid(at);
        if (is_kvm(&leaf)) {
            leaves = at;
            last_leaf = leaf.eax;
            features = cpuid(at + CPUID_FEATURES).eax;
            return;
        }
    }
}

void hypervisor_share_eoi(volatile uint32_t *word) {
    if (features & FEATURE_PV_EOI) {
        cpu_wrmsr(MSR_KVM_PV_EOI, (uintptr_t)word | MSR_KVM_ENABLE);
    }
}

// What KVM's clock goes by; 0 if it makes no sense.
static uint64_t kvm_tsc_hz(void) {
    cpu_wrmsr(MSR_KVM_SYSTEM_TIME, (uintptr_t)&pvclock | MSR_KVM_ENABLE);
    uint32_t mul = 0, version = 1;
    int shift = 0;
    for (int tries = 0; tries < TRIES && (version & 1 || version != pvclock.version); ++tries) {
        version = pvclock.version;
        mul = pvclock.mul;
        shift = pvclock.shift;
    }
    cpu_wrmsr(MSR_KVM_SYSTEM_TIME, 0); // nobody reads it any more
    if (version & 1 || mul == 0 || shift > SHIFT_MOST || shift < -SHIFT_MOST) {
        return 0;
    }
    unsigned __int128 hz = ((unsigned __int128)1000000000 << 32) / mul;
    hz = shift < 0 ? hz << -shift : hz >> shift;
    return hz >> 64 ? 0 : hz;
}

static uint64_t told_tsc_hz(void) {
    uint64_t hz = features & FEATURE_CLOCKSOURCE2 ? kvm_tsc_hz() : 0;
    if (hz == 0 && leaves != 0 && last_leaf >= leaves + CPUID_FREQUENCIES) {
        hz = (uint64_t)cpuid(leaves + CPUID_FREQUENCIES).eax * 1000;
    }
    if (hz == 0 && cpuid(0).eax >= CPUID_TSC) {
        struct cpuid tsc = cpuid(CPUID_TSC);
        hz = tsc.eax == 0 ? 0 : (uint64_t)tsc.ecx * tsc.ebx / tsc.eax;
    }
    return hz;
}

uint64_t hypervisor_tsc_hz(uint64_t measured) {
    uint64_t hz = measured == 0 ? 0 : told_tsc_hz();
    return measured - measured / BELIEVED <= hz && hz <= measured + measured / BELIEVED ? hz : 0;
}
