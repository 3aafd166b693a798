// SPDX-License-Identifier: MIT
// GDT, TSS and IDT; what becomes of an interrupt; the I/O APIC's one line in use, COM1's.
// Compiled without SSE, because interrupt_dispatch() does not save those registers.
// Intel SDM volume 3: chapter 6 (interrupts), 7.7 (64-bit TSS), 10.9 (spurious interrupts); 82093AA (I/O APIC).

#include <string.h>
#include "py/mphal.h"
#include "port/interrupts.h"
#include "port/lapic.h"
#include "port/serial.h"

#define PIC1_DATA (0x21)
#define PIC2_DATA (0xa1)

#define IOAPIC             (0xfec00000)
#define IOAPIC_SELECT      (0x00)
#define IOAPIC_WINDOW      (0x10)
#define IOAPIC_REDIRECTION (0x10) // two registers a line: vector and mode, destination

#define GATE_INTERRUPT (0x8e)
#define IST_EXCEPTION  (1)    // own stacks, so that a stack overflow can be reported
#define IST_INTERRUPT  (2)

typedef struct __attribute__((packed)) _gate_t {
    uint16_t offset_low, selector;
    uint8_t ist, type;
    uint16_t offset_mid;
    uint32_t offset_high, reserved;
} gate_t;

typedef struct __attribute__((packed)) _tss_t {
    uint32_t reserved0;
    uint64_t rsp[3];
    uint64_t reserved1;
    uint64_t ist[7];
    uint64_t reserved2;
    uint16_t reserved3, iomap_base;
} tss_t;

typedef struct __attribute__((packed)) _table_pointer_t {
    uint16_t limit;
    const void *base;
} table_pointer_t;

extern const uint8_t vector_stubs[256][16];
extern const uint8_t cpu_hlt[]; // one byte long
void descriptor_tables_load(const table_pointer_t *gdt, const table_pointer_t *idt);

static uint64_t gdt[5]; // null, code, data, TSS (two entries)
static tss_t tss;
static gate_t idt[256];
static uint8_t exception_stack[16 * 1024] __attribute__((aligned(16)));
static uint8_t interrupt_stack[8 * 1024] __attribute__((aligned(16)));

static struct {
    vector_handler_t handler;
    void *arg;
} handlers[256];

static void ioapic_write(uint32_t reg, uint32_t value) {
    *(volatile uint32_t *)(uintptr_t)(IOAPIC + IOAPIC_SELECT) = reg;
    *(volatile uint32_t *)(uintptr_t)(IOAPIC + IOAPIC_WINDOW) = value;
}

static void descriptor_tables_init(void) {
    tss.ist[IST_EXCEPTION - 1] = (uintptr_t)exception_stack + sizeof(exception_stack);
    tss.ist[IST_INTERRUPT - 1] = (uintptr_t)interrupt_stack + sizeof(interrupt_stack);
    tss.iomap_base = sizeof(tss);

    uint64_t base = (uintptr_t)&tss;
    gdt[KERNEL_CS / 8] = 0x00209a0000000000; // 64-bit code, present, ring 0
    gdt[KERNEL_DS / 8] = 0x0000920000000000; // data, writable, present, ring 0
    gdt[KERNEL_TSS / 8] = (sizeof(tss) - 1) | (base & 0xffffff) << 16 | (uint64_t)0x89 << 40 | (base >> 24 & 0xff) << 56;
    gdt[KERNEL_TSS / 8 + 1] = base >> 32;

    for (size_t i = 0; i < 256; ++i) {
        uint64_t offset = (uintptr_t)vector_stubs[i];
        idt[i] = (gate_t) {
            .offset_low = offset,
            .selector = KERNEL_CS,
            .ist = i < VECTOR_EXCEPTIONS ? IST_EXCEPTION : IST_INTERRUPT,
            .type = GATE_INTERRUPT,
            .offset_mid = offset >> 16,
            .offset_high = offset >> 32,
        };
    }
    table_pointer_t gdt_pointer = { sizeof(gdt) - 1, gdt };
    table_pointer_t idt_pointer = { sizeof(idt) - 1, idt };
    descriptor_tables_load(&gdt_pointer, &idt_pointer);
}

static void serial_vector(void *arg) {
    (void)arg;
    serial_irq_handler();
}

void interrupts_init(void) {
    descriptor_tables_init();

    // The two 8259s stay silent; COM1 comes through the I/O APIC.
    out8(PIC1_DATA, 0xff);
    out8(PIC2_DATA, 0xff);

    lapic_init();
    vector_set_handler(VECTOR_SERIAL, serial_vector, NULL);
    // ISA interrupts are edge-triggered, active high; GSI equals IRQ for all but the PIT.
    ioapic_write(IOAPIC_REDIRECTION + 2 * SERIAL_IRQ + 1, lapic_id() << 24);
    ioapic_write(IOAPIC_REDIRECTION + 2 * SERIAL_IRQ, VECTOR_SERIAL);
}

void vector_set_handler(unsigned vector, vector_handler_t handler, void *arg) {
    uint64_t state = cpu_irq_save();
    handlers[vector].handler = handler;
    handlers[vector].arg = arg;
    cpu_irq_restore(state);
}

void interrupt_dispatch(interrupt_frame_t *frame) {
    if (frame->vector < VECTOR_EXCEPTIONS) {
        exception_handle(frame);
        return;
    }
    if (frame->vector == VECTOR_SPURIOUS && !lapic_in_service(VECTOR_SPURIOUS)) {
        return; // needs no end of interrupt (SDM 10.9); a device's message with that vector does
    }
    if (handlers[frame->vector].handler != NULL) {
        handlers[frame->vector].handler(handlers[frame->vector].arg);
    }
    mp_hal_signal_event();
    if (frame->rip == (uintptr_t)cpu_hlt) {
        ++frame->rip; // this is the interrupt that it was to wait for: see cpu_sti_hlt()
    }
    lapic_eoi();
}
