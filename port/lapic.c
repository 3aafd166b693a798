// SPDX-License-Identifier: MIT
// The local APIC (Intel SDM volume 3, chapter 10), by the cheapest way that the CPU offers. Under a
// hypervisor each access to it leaves the guest:
// - its registers are MSRs where there is x2APIC (10.12), since to emulate an access to memory takes
//   the hypervisor several times as long, else the page at 0xfee00000;
// - the timer goes by the TSC where it can (10.5.4.1), which is one access for each interrupt;
// - KVM takes note by itself that an interrupt has ended, where nothing waits for that
//   (Linux, Documentation/virt/kvm/x86/msr.rst, MSR_KVM_PV_EOI_EN).
// Compiled without SSE, because interrupt handlers do not save those registers.

#include "py/mphal.h"
#include "port/cpu.h"
#include "port/hypervisor.h"
#include "port/interrupts.h"
#include "port/lapic.h"

#define MSR_APIC_BASE    (0x1b)
#define APIC_BASE_X2APIC (1 << 10)
#define APIC_BASE_ENABLE (1 << 11)
#define MSR_TSC_DEADLINE (0x6e0)
#define MSR_X2APIC       (0x800) // and a sixteenth of the register's offset in the page

#define CPUID_1_ECX_X2APIC       (1u << 21)
#define CPUID_1_ECX_TSC_DEADLINE (1u << 24)

#define LAPIC               (0xfee00000)
#define LAPIC_ID            (0x20)  // in the upper 8 bits; in x2APIC mode it is all 32
#define LAPIC_TPR           (0x80)
#define TPR_NO_EXCEPTIONS   (0x10)  // no interrupt comes as one of the CPU's vectors, 16 to 31 (10.8.3.1)
#define TPR_NO_DEVICES      (VECTOR_LAST & 0xf0)
#define LAPIC_EOI           (0xb0)
#define LAPIC_SVR           (0xf0)
#define SVR_ENABLE          (1 << 8)
#define LAPIC_ISR           (0x100) // a bit for each vector, 32 in each register of 16 bytes
#define LAPIC_LVT_TIMER     (0x320)
#define LVT_MASKED          (1 << 16)
#define LVT_TSC_DEADLINE    (2 << 17)
#define LAPIC_TIMER_INITIAL (0x380)
#define LAPIC_TIMER_CURRENT (0x390)
#define LAPIC_TIMER_DIVIDE  (0x3e0)
#define DIVIDE_BY_16        (0x3)

static bool x2apic, deadline;
static uint32_t timer_mode; // what LAPIC_LVT_TIMER holds

// KVM sets bit 0 while it raises an interrupt whose end it need not be told, if we clear the bit.
// Without KVM it stays 0. Who else could write it can write all of our memory.
static volatile uint32_t end_is_known __attribute__((aligned(4)));

static uint32_t lapic_read(uint32_t reg) {
    return x2apic ? cpu_rdmsr(MSR_X2APIC + reg / 16) : *(volatile uint32_t *)(uintptr_t)(LAPIC + reg);
}

static void lapic_write(uint32_t reg, uint32_t value) {
    if (x2apic) {
        cpu_wrmsr(MSR_X2APIC + reg / 16, value);
    } else {
        *(volatile uint32_t *)(uintptr_t)(LAPIC + reg) = value;
    }
}

static void set_timer_mode(uint32_t mode) {
    if (timer_mode != mode) {
        timer_mode = mode;
        lapic_write(LAPIC_LVT_TIMER, mode);
        fence(); // the mode before the deadline: a write to memory before one to an MSR (10.5.4.1)
    }
}

void lapic_init(void) {
    uint32_t features = cpuid(1).ecx;
    uint64_t base = cpu_rdmsr(MSR_APIC_BASE);
    if (!(base & APIC_BASE_ENABLE)) {
        base |= APIC_BASE_ENABLE;
        cpu_wrmsr(MSR_APIC_BASE, base);
    }
    if (features & CPUID_1_ECX_X2APIC) {
        cpu_wrmsr(MSR_APIC_BASE, base | APIC_BASE_X2APIC);
        x2apic = cpu_rdmsr(MSR_APIC_BASE) & APIC_BASE_X2APIC; // some say that they have it and do not
    }
    deadline = features & CPUID_1_ECX_TSC_DEADLINE;
    lapic_write(LAPIC_SVR, SVR_ENABLE | VECTOR_SPURIOUS);
    lapic_write(LAPIC_TPR, TPR_NO_EXCEPTIONS);
    hypervisor_share_eoi(&end_is_known);
}

uint32_t lapic_id(void) {
    uint32_t id = lapic_read(LAPIC_ID);
    return x2apic ? id & 0xff : id >> 24; // messages and the I/O APIC have 8 bits for it
}

void lapic_eoi(void) {
    bool known;
    __asm__ volatile("btrl $0, %0" : "+m"(end_is_known), "=@ccc"(known) : : "memory"); // at once: KVM looks in between
    if (!known) {
        lapic_write(LAPIC_EOI, 0);
    }
}

bool lapic_in_service(unsigned vector) {
    return lapic_read(LAPIC_ISR + vector / 32 * 16) >> vector % 32 & 1;
}

uint64_t lapic_msi_address(void) {
    return LAPIC | lapic_id() << 12; // SDM 10.11.1, physical destination
}

// By the register and not by CR8, which under KVM would be free: QEMU 7.2's emulated SVM ends with a failed
// assertion if the guest of a guest writes CR8 while an interrupt waits for it.
void lapic_hold_devices(bool hold) {
    static bool held;
    uint64_t state = cpu_irq_save();
    if (held != hold) {
        held = hold;
        lapic_write(LAPIC_TPR, hold ? TPR_NO_DEVICES : TPR_NO_EXCEPTIONS);
    }
    cpu_irq_restore(state);
}

bool lapic_has_deadline(void) {
    return deadline;
}

void lapic_timer_start(uint64_t us) {
    if (deadline) {
        set_timer_mode(LVT_TSC_DEADLINE | VECTOR_TIMER);
        cpu_wrmsr(MSR_TSC_DEADLINE, rdtsc() + clock_tsc_ticks(us));
        return;
    }
    uint64_t count = clock_lapic_ticks(us); // or as many as the counter holds
    set_timer_mode(VECTOR_TIMER);
    lapic_write(LAPIC_TIMER_INITIAL, count == 0 ? 1 : MIN(count, UINT32_MAX));
}

void lapic_timer_stop(void) {
    lapic_write(LAPIC_TIMER_INITIAL, 0);
}

void lapic_timer_free_run(void) {
    lapic_write(LAPIC_TIMER_DIVIDE, DIVIDE_BY_16);
    set_timer_mode(LVT_MASKED | VECTOR_TIMER);
    lapic_write(LAPIC_TIMER_INITIAL, UINT32_MAX);
}

uint32_t lapic_timer_elapsed(void) {
    return UINT32_MAX - lapic_read(LAPIC_TIMER_CURRENT);
}
