// SPDX-License-Identifier: MIT
// The floor: the benchmark's bare-metal guest in C. It drives one vsock device by polling and serves echo, sink and
// source, as fast as we know how; what Python costs is measured against it. It trusts its device and its peer, unlike
// the firmware, and knows no interrupts.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../../../firmware/x86.h"

#define barrier() __asm__ volatile("" : : : "memory") // x86 keeps loads and stores in order; so must the compiler

// main.c
void __attribute__((noreturn)) fatal(const char *text);
void *allocate(size_t size, size_t align); // memory of its own, zeroed, never given back

// pci.c: a virtio device's register blocks.
struct virtio_pci {
    volatile uint8_t *common;
    volatile uint8_t *notify;
    volatile uint8_t *config;
    uint32_t notify_multiplier;
};

void pci_find_vsock(struct virtio_pci *device);

// A packet: header and payload, one behind the other in memory that the device reads or writes.
#define PACKET_DATA (65536)

struct header { // virtio 1.2, 5.10.6
    uint64_t src_cid, dst_cid;
    uint32_t src_port, dst_port, len;
    uint16_t type, op;
    uint32_t flags, buf_alloc, fwd_cnt;
} __attribute__((packed));

#define TYPE_STREAM       (1)
#define HOST_CID          (2)
#define OP_REQUEST        (1)
#define OP_RESPONSE       (2)
#define OP_RST            (3)
#define OP_SHUTDOWN       (4)
#define OP_RW             (5)
#define OP_CREDIT_UPDATE  (6)
#define OP_CREDIT_REQUEST (7)

struct packet {
    struct header *header;
    uint8_t *data;
    struct packet *next;
};

// queue.c: a split virtqueue with event index; every chain is one descriptor.
#define QUEUE_MAX (128)

struct queue {
    volatile struct descriptor *descriptors;
    volatile struct available *available;
    volatile struct used *used;
    volatile uint16_t *notify;
    struct packet *owner[QUEUE_MAX]; // whose packet is behind a descriptor
    uint16_t free[QUEUE_MAX];        // a stack of descriptor numbers
    uint16_t free_count, size, index;
    uint16_t added, published, taken;
};

void queue_init(struct queue *q, const struct virtio_pci *device, uint16_t index);
void queue_add(struct queue *q, struct packet *packet, uint32_t length, bool device_writes);
void queue_publish(struct queue *q);
struct packet *queue_pop(struct queue *q, uint32_t *length);

// device.c: the vsock device, its packets and their way in and out.
void device_init(void);
struct packet *packet_take(void); // NULL if none is free
void packet_free(struct packet *packet);
void device_send(struct packet *packet);
bool device_can_send(void);
void device_poll(void (*receive)(struct packet *packet));
extern uint64_t device_cid;

// connections.c: accept, credit, close, and the three services.
void connections_receive(struct packet *packet);
void connections_run(void);
