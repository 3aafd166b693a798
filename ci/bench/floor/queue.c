// SPDX-License-Identifier: MIT
// Split virtqueue, driver's side (virtio 1.2, 2.7): event index, one descriptor per chain, no interrupts.

#include "floor.h"

#define DEVICE_WRITES (2)

struct descriptor {
    uint64_t address;
    uint32_t length;
    uint16_t flags, next;
};

struct available {
    uint16_t flags, index, ring[]; // behind the ring: used_event, left at 0: one interrupt in 65536
};

struct used {
    uint16_t flags, index;
    struct {
        uint32_t id, length;
    } ring[]; // behind it: avail_event
};

// Common configuration, 4.1.4.3.
#define QUEUE_SELECT     (0x16)
#define QUEUE_SIZE       (0x18)
#define QUEUE_ENABLE     (0x1c)
#define QUEUE_NOTIFY_OFF (0x1e)
#define QUEUE_ADDRESSES  (0x20)

static void write_address(volatile uint8_t *reg, volatile void *address) {
    ((volatile uint32_t *)reg)[0] = (uint64_t)address;
    ((volatile uint32_t *)reg)[1] = (uint64_t)address >> 32;
}

void queue_init(struct queue *q, const struct virtio_pci *device, uint16_t index) {
    volatile uint8_t *common = device->common;
    *(volatile uint16_t *)(common + QUEUE_SELECT) = index;
    uint16_t size = *(volatile uint16_t *)(common + QUEUE_SIZE);
    q->size = size < QUEUE_MAX ? size : QUEUE_MAX;
    q->index = index;
    q->descriptors = allocate(q->size * sizeof(struct descriptor), 64);
    q->available = allocate(6 + q->size * 2, 64);
    q->used = allocate(6 + q->size * 8, 64);
    q->notify = (volatile uint16_t *)(device->notify
        + *(volatile uint16_t *)(common + QUEUE_NOTIFY_OFF) * device->notify_multiplier);
    for (uint16_t i = 0; i < q->size; ++i) {
        q->free[q->free_count++] = i;
    }
    *(volatile uint16_t *)(common + QUEUE_SIZE) = q->size;
    write_address(common + QUEUE_ADDRESSES, q->descriptors);
    write_address(common + QUEUE_ADDRESSES + 8, q->available);
    write_address(common + QUEUE_ADDRESSES + 16, q->used);
    *(volatile uint16_t *)(common + QUEUE_ENABLE) = 1;
}

// The caller has seen that free_count is not 0.
void queue_add(struct queue *q, struct packet *packet, uint32_t length, bool device_writes) {
    uint16_t i = q->free[--q->free_count];
    q->owner[i] = packet;
    q->descriptors[i].address = (uint64_t)packet->header;
    q->descriptors[i].length = length;
    q->descriptors[i].flags = device_writes ? DEVICE_WRITES : 0;
    q->available->ring[q->added++ & (q->size - 1)] = i;
}

// Shows the device all that was added since, and notifies it if it asked for that (2.7.10).
void queue_publish(struct queue *q) {
    if (q->added == q->published) {
        return;
    }
    barrier();
    q->available->index = q->added;
    fence();
    uint16_t avail_event = *(volatile uint16_t *)&q->used->ring[q->size];
    if ((uint16_t)(q->added - avail_event - 1) < (uint16_t)(q->added - q->published)) {
        *q->notify = q->index;
    }
    q->published = q->added;
}

// The next packet that the device is done with, or NULL; its used length goes to *length.
struct packet *queue_pop(struct queue *q, uint32_t *length) {
    if (q->used->index == q->taken) {
        return NULL;
    }
    barrier();
    uint32_t slot = q->taken++ & (q->size - 1);
    uint32_t i = q->used->ring[slot].id;
    *length = q->used->ring[slot].length;
    q->free[q->free_count++] = i;
    return q->owner[i];
}
