// SPDX-License-Identifier: MIT
// Connections (virtio 1.2, 5.10.6): accept, credit, close; and what they carry: echo, sink and source (../wire.h).
// Echo sends the very buffer that a packet came in. A packet handed to a function here is that function's to free.

#include <string.h>

#include "floor.h"
#include "../wire.h"

#define WINDOW      (256 << 10) // what a peer may send ahead; grows while echo is held up
#define WINDOW_MAX  (4 << 20)
#define CONNECTIONS (2048)
#define CHAINS      (4096)

struct connection {
    struct connection *next;        // in its hash chain or the free list
    struct connection *next_source; // in the list of those that have something to send
    uint64_t peer_cid;
    uint32_t peer_port, port;
    uint32_t window, forwarded, told;       // our receive window, and how far the peer knows of it
    uint32_t sent, peer_window, peer_forwarded;
    struct packet *first, *last;    // echo: waiting for the peer's credit
    struct request request;
    uint32_t have;                  // bytes of the request that have come
    uint64_t left;                  // bytes of the transfer still to come or go
    bool closing, in_sources;
};

static struct connection connections[CONNECTIONS], *unused, *chains[CHAINS], *sources;
static uint32_t made;

static struct connection **chain_of(uint32_t port, uint32_t peer_port) {
    return &chains[(peer_port ^ port * 31) % CHAINS];
}

static struct connection *find(const struct header *h) {
    struct connection *c = *chain_of(h->dst_port, h->src_port);
    while (c && !(c->peer_port == h->src_port && c->port == h->dst_port)) {
        c = c->next;
    }
    return c;
}

static struct connection *create(const struct header *h) {
    struct connection *c = unused;
    if (c) {
        unused = c->next;
    } else if (made < CONNECTIONS) {
        c = &connections[made++];
    } else {
        return NULL;
    }
    struct connection **chain = chain_of(h->dst_port, h->src_port);
    *c = (struct connection) {
        .next = *chain,
        .peer_cid = h->src_cid,
        .peer_port = h->src_port,
        .port = h->dst_port,
        .window = WINDOW,
    };
    return *chain = c;
}

static void destroy(struct connection *c) {
    struct connection **at = chain_of(c->port, c->peer_port);
    while (*at != c) {
        at = &(*at)->next;
    }
    *at = c->next;
    for (at = &sources; c->in_sources && *at;) {
        if (*at == c) {
            *at = c->next_source;
            break;
        }
        at = &(*at)->next_source;
    }
    while (c->first) {
        struct packet *packet = c->first;
        c->first = packet->next;
        packet_free(packet);
    }
    c->next = unused;
    unused = c;
}

// -- packets out ------------------------------------------------------------------------------------------------------

// Sends `packet` on a connection: its payload, if any, is in place, its header is written here, once.
static void transmit(struct connection *c, struct packet *packet, uint16_t op, uint32_t length, uint32_t flags) {
    *packet->header = (struct header) {
        .src_cid = device_cid,
        .dst_cid = c->peer_cid,
        .src_port = c->port,
        .dst_port = c->peer_port,
        .len = length,
        .type = TYPE_STREAM,
        .op = op,
        .flags = flags,
        .buf_alloc = c->window,
        .fwd_cnt = c->forwarded,
    };
    c->told = c->forwarded;
    c->sent += length;
    device_send(packet);
}

static void reset(const struct header *h, struct packet *packet) {
    struct connection nobody = { .peer_cid = h->src_cid, .peer_port = h->src_port, .port = h->dst_port };
    transmit(&nobody, packet, OP_RST, 0, 0);
}

static uint32_t credit(const struct connection *c) {
    return c->peer_window - (c->sent - c->peer_forwarded);
}

// -- services ---------------------------------------------------------------------------------------------------------

static void echo_send(struct connection *c, struct packet *packet, uint32_t length) {
    c->forwarded += length;
    transmit(c, packet, OP_RW, length, 0);
}

// Appends to the last packet in line if that has room, so that small packets do not use up the pool.
static void echo_hold(struct connection *c, struct packet *packet, uint32_t length) {
    if (c->first && c->last->header->len + length <= PACKET_DATA) {
        memcpy(c->last->data + c->last->header->len, packet->data, length);
        c->last->header->len += length;
        packet_free(packet);
        return;
    }
    packet->next = NULL;
    if (c->first) {
        c->last->next = packet;
    } else {
        c->first = packet;
    }
    c->last = packet;
}

// Sends what the credit allows of the first packet in line, as a copy; the rest moves up. Waiting for credit for all of
// it would wait for ever: the daemon thinks it has told us of enough.
static bool echo_part(struct connection *c) {
    struct packet *rest = c->first, *packet = packet_take();
    if (!packet) {
        return false;
    }
    uint32_t part = credit(c);
    memcpy(packet->data, rest->data, part);
    rest->header->len -= part;
    memcpy(rest->data, rest->data + part, rest->header->len); // downwards: the overlap does not matter
    echo_send(c, packet, part);
    return true;
}

static void echo_held(struct connection *c) {
    while (c->first && credit(c) > 0 && device_can_send()) {
        struct packet *packet = c->first;
        if (credit(c) >= packet->header->len) {
            c->first = packet->next;
            echo_send(c, packet, packet->header->len);
        } else if (!echo_part(c)) {
            return;
        }
    }
}

static void echo(struct connection *c, struct packet *packet) {
    uint32_t length = packet->header->len;
    if (!c->first && credit(c) >= length) {
        echo_send(c, packet, length);
    } else {
        echo_hold(c, packet, length);
        echo_held(c);
    }
}

static void start_transfer(struct connection *c) {
    c->have = 0;
    c->left = c->request.bytes;
    if (c->port == PORT_SOURCE && !c->in_sources) {
        c->in_sources = true;
        c->next_source = sources;
        sources = c;
    }
}

// Requests and the bytes of sink's transfers.
static void consume(struct connection *c, struct packet *packet) {
    uint32_t length = packet->header->len, at = 0;
    while (at < length) {
        uint32_t part = length - at;
        if (c->left == 0) {
            part = part < sizeof(c->request) - c->have ? part : sizeof(c->request) - c->have;
            memcpy((uint8_t *)&c->request + c->have, packet->data + at, part);
            if ((c->have += part) == sizeof(c->request)) {
                start_transfer(c);
            }
        } else {
            part = part < c->left ? part : c->left;
            c->left -= part;
        }
        at += part;
    }
    c->forwarded += length;
    if (c->port == PORT_SINK && c->left == 0 && c->have == 0) {
        *(uint64_t *)packet->data = c->request.bytes;
        transmit(c, packet, OP_RW, sizeof(uint64_t), 0);
    } else if (c->forwarded - c->told >= c->window / 2) {
        transmit(c, packet, OP_CREDIT_UPDATE, 0, 0);
    } else {
        packet_free(packet);
    }
}

static bool source_send(struct connection *c) {
    uint32_t most = c->request.message < PACKET_DATA ? c->request.message : PACKET_DATA;
    uint32_t length = c->left < most ? c->left : most;
    length = length < credit(c) ? length : credit(c);
    struct packet *packet = length ? packet_take() : NULL;
    if (!packet) {
        return false;
    }
    c->left -= length;
    transmit(c, packet, OP_RW, length, 0);
    return true;
}

// Lets those that have something to send do so; called once per round of polling.
void connections_run(void) {
    struct connection **at = &sources, *c;
    while ((c = *at)) {
        while (c->left > 0 && device_can_send() && source_send(c)) {
        }
        if (c->left == 0) {
            *at = c->next_source;
            c->in_sources = false;
        } else {
            at = &c->next_source;
        }
    }
}

// -- packets in -------------------------------------------------------------------------------------------------------

static void accept(struct packet *packet) {
    const struct header h = *packet->header;
    struct connection *c = h.dst_port >= PORT_ECHO && h.dst_port <= PORT_SOURCE ? create(&h) : NULL;
    if (c) {
        c->peer_window = h.buf_alloc;
        transmit(c, packet, OP_RESPONSE, 0, 0);
    } else {
        reset(&h, packet);
    }
}

static void shut_down(struct connection *c, struct packet *packet) {
    c->closing = true;
    if (c->first) {
        packet_free(packet); // what is held goes out first
        return;
    }
    transmit(c, packet, OP_RST, 0, 0);
    destroy(c);
}

static void credit_requested(struct connection *c, struct packet *packet) {
    if (c->first && c->window < WINDOW_MAX) {
        c->window += WINDOW; // the daemon may loop for ever while it has no credit at all
    }
    transmit(c, packet, OP_CREDIT_UPDATE, 0, 0);
}

static void dispatch(struct connection *c, struct packet *packet) {
    switch (packet->header->op) {
        case OP_RW:
            if (c->port == PORT_ECHO) {
                echo(c, packet);
            } else {
                consume(c, packet);
            }
            break;
        case OP_SHUTDOWN:
            shut_down(c, packet);
            break;
        case OP_CREDIT_REQUEST:
            credit_requested(c, packet);
            break;
        case OP_RST:
            destroy(c);
            packet_free(packet);
            break;
        default:
            packet_free(packet);
    }
}

void connections_receive(struct packet *packet) {
    const struct header *h = packet->header;
    struct connection *c = find(h);
    if (h->op == OP_REQUEST && !c) {
        accept(packet);
    } else if (h->op == 0 || (h->op == OP_RST && !c)) {
        packet_free(packet);
    } else if (!c) {
        const struct header copy = *h;
        reset(&copy, packet);
    } else {
        c->peer_window = h->buf_alloc;
        c->peer_forwarded = h->fwd_cnt;
        echo_held(c);
        if (c->closing && !c->first) {
            transmit(c, packet, OP_RST, 0, 0);
            destroy(c);
            return;
        }
        dispatch(c, packet);
    }
}
