// SPDX-License-Identifier: MIT
// What a hypervisor offers beyond the machine that it plays: KVM's paravirtual features.
#ifndef PORT_HYPERVISOR_H
#define PORT_HYPERVISOR_H

#include <stdint.h>

void hypervisor_init(void);
void hypervisor_share_eoi(volatile uint32_t *word); // KVM's note to the local APIC's driver, if KVM keeps one
uint64_t hypervisor_tsc_hz(uint64_t measured); // what hypervisor or CPU say, 0 if that is nothing like what was measured

#endif // PORT_HYPERVISOR_H
