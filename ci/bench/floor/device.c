// SPDX-License-Identifier: MIT
// The vsock device (virtio 1.2, 5.10): its start, the pool of packets, and polling its queues.

#include "floor.h"

#define RX        (0)
#define TX        (1)
#define EVENT     (2)
#define POSTED    (16)  // receive buffers; more only cost the host's cache
#define PACKETS   (256)
#define STRIDE    (69632 + 64) // not a multiple of what QEMU's soft TLB hashes pages by
#define HEADER_AT (20)         // so that the payload behind the header is aligned

// Common configuration, 4.1.4.3, and device status, 2.1.
#define FEATURE_SELECT (0x08)
#define FEATURES       (0x0c)
#define STATUS         (0x14)
#define ACKNOWLEDGE    (1)
#define DRIVER         (2)
#define DRIVER_OK      (4)
#define FEATURES_OK    (8)
#define F_EVENT_IDX    (1u << 29)
#define F_VERSION_1    (1u << 0) // of the second word

uint64_t device_cid;

static struct queue rx, tx, event;
static struct packet packets[PACKETS], *pool;

struct packet *packet_take(void) {
    struct packet *packet = pool;
    if (packet) {
        pool = packet->next;
        packet->next = NULL;
    }
    return packet;
}

void packet_free(struct packet *packet) {
    packet->next = pool;
    pool = packet;
}

static void make_packets(void) {
    uint8_t *memory = allocate(PACKETS * STRIDE, 4096);
    for (int i = PACKETS - 1; i >= 0; --i) {
        packets[i].header = (struct header *)(memory + i * STRIDE + HEADER_AT);
        packets[i].data = (uint8_t *)(packets[i].header + 1);
        packet_free(&packets[i]);
    }
}

// Whether one more packet of data may go; there is always room for an answer to each packet of a round.
bool device_can_send(void) {
    return tx.free_count > POSTED;
}

// The device sees it at the end of this round of device_poll.
void device_send(struct packet *packet) {
    queue_add(&tx, packet, sizeof(struct header) + packet->header->len, false);
}

// Sends a packet for nobody and waits until the device has taken it. vhost-device-vsock sets its queues up some time
// after the driver has asked for it, and a host program that dials it before ends its worker thread for good.
static void await_device(void) {
    struct packet *packet = packet_take();
    uint32_t length;
    *packet->header = (struct header) { .src_cid = device_cid, .dst_cid = HOST_CID, .type = TYPE_STREAM, .op = OP_RST };
    device_send(packet);
    queue_publish(&tx);
    while (!queue_pop(&tx, &length)) {
    }
    packet_free(packet);
}

void device_init(void) {
    struct virtio_pci device;
    pci_find_vsock(&device);
    volatile uint8_t *status = device.common + STATUS;
    *status = 0;
    while (*status != 0) {
    }
    *status = ACKNOWLEDGE | DRIVER;
    *(volatile uint32_t *)(device.common + FEATURE_SELECT) = 0;
    *(volatile uint32_t *)(device.common + FEATURES) = F_EVENT_IDX;
    *(volatile uint32_t *)(device.common + FEATURE_SELECT) = 1;
    *(volatile uint32_t *)(device.common + FEATURES) = F_VERSION_1;
    *status = ACKNOWLEDGE | DRIVER | FEATURES_OK;
    if (!(*status & FEATURES_OK)) {
        fatal("the device refuses its features");
    }
    device_cid = *(volatile uint32_t *)device.config;
    make_packets();
    queue_init(&rx, &device, RX);
    queue_init(&tx, &device, TX);
    queue_init(&event, &device, EVENT);
    *status = ACKNOWLEDGE | DRIVER | FEATURES_OK | DRIVER_OK;
    await_device();
}

static void refill(void) {
    while (rx.size - rx.free_count < POSTED && pool) {
        struct packet *packet = packet_take();
        packet->header->op = 0; // the daemon may complete a buffer without writing a header
        queue_add(&rx, packet, sizeof(struct header) + PACKET_DATA, true);
    }
}

void device_poll(void (*receive)(struct packet *packet)) {
    struct packet *packet;
    uint32_t length;
    while ((packet = queue_pop(&tx, &length))) {
        packet_free(packet);
    }
    for (int i = 0; i < POSTED && device_can_send() && (packet = queue_pop(&rx, &length)); ++i) {
        if (length >= sizeof(struct header) + packet->header->len) {
            receive(packet);
        } else {
            packet_free(packet);
        }
    }
    refill();
    queue_publish(&tx);
    queue_publish(&rx);
}
