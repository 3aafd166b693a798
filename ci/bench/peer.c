// SPDX-License-Identifier: MIT
// The Linux guest's only program, its init: loads the vsock modules, then serves echo, sink and source over AF_VSOCK
// with one thread and epoll. What a C programmer would write for Linux, and what the firmware is measured against.

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/reboot.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <linux/vm_sockets.h>

#include "wire.h"

#define BUFFER  (65536)
#define BACKLOG (1024)
#define EVENTS  (64)

struct connection {
    int fd;
    int port;
    bool listener;
    bool waits_to_write;
    uint32_t have;    // bytes in buffer (echo), or of the request that have come (sink, source)
    uint32_t done;    // of these, bytes written back
    uint64_t left;    // bytes of the running transfer
    struct request request;
    uint8_t *buffer;  // echo's; its pages cost nothing until they are used
};

static int events;
static uint8_t scratch[BUFFER]; // what sinks throw away and sources send

static void fatal(const char *what) {
    fprintf(stderr, "peer: %s: %s\n", what, strerror(errno));
    reboot(RB_POWER_OFF);
    for (;;) {
        pause();
    }
}

static void load_modules(void) {
    FILE *list = fopen("/guest/modules", "r");
    char path[256];
    while (list && fscanf(list, "%255s", path) == 1) {
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0 || syscall(SYS_finit_module, fd, "", 0) < 0) {
            fatal(path);
        }
        close(fd);
    }
    if (!list) {
        fatal("/guest/modules");
    }
    fclose(list);
}

static void watch(struct connection *c, int operation, uint32_t what) {
    struct epoll_event event = { .events = what, .data.ptr = c };
    if (epoll_ctl(events, operation, c->fd, &event) < 0) {
        fatal("epoll_ctl");
    }
}

static struct connection *add(int fd, int port, bool listener) {
    struct connection *c = calloc(1, sizeof(*c));
    if (!c || (!listener && port == PORT_ECHO && !(c->buffer = malloc(BUFFER)))) {
        fatal("memory");
    }
    c->fd = fd;
    c->port = port;
    c->listener = listener;
    watch(c, EPOLL_CTL_ADD, EPOLLIN);
    return c;
}

static void drop(struct connection *c) {
    close(c->fd);
    free(c->buffer);
    free(c);
}

static void listen_on(int port) {
    int fd = socket(AF_VSOCK, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    struct sockaddr_vm address = { .svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_ANY, .svm_port = port };
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 || listen(fd, BACKLOG) < 0) {
        fatal("listen");
    }
    add(fd, port, true);
}

// One for each event, not until there are none left: with nobody waiting, Linux's vsock sleeps a tick in accept even if
// it must not block, which would cost each connection up to 4 ms.
static void accept_one(struct connection *listener) {
    int fd = accept4(listener->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd >= 0) {
        add(fd, listener->port, false);
    }
}

// The peer may have gone or may not take more at the moment: 0 for the latter, -1 for the former.
static ssize_t outcome(ssize_t n) {
    return n < 0 && errno == EAGAIN ? 0 : (n <= 0 ? -1 : n);
}

// Each service does one step: a read, a write, or both. False: the connection has ended.
static bool echo(struct connection *c, bool readable) {
    if (c->have == c->done) {
        if (!readable) {
            return true;
        }
        ssize_t n = recv(c->fd, c->buffer, BUFFER, 0);
        if (n <= 0) {
            return n < 0 && errno == EAGAIN;
        }
        c->have = n;
        c->done = 0;
    }
    ssize_t n = outcome(send(c->fd, c->buffer + c->done, c->have - c->done, MSG_NOSIGNAL));
    c->done += n > 0 ? n : 0;
    return n >= 0;
}

static bool read_request(struct connection *c) {
    ssize_t n = recv(c->fd, (uint8_t *)&c->request + c->have, sizeof(c->request) - c->have, 0);
    if (n <= 0) {
        return n < 0 && errno == EAGAIN;
    }
    c->have += n;
    if (c->have == sizeof(c->request)) {
        c->have = 0;
        c->left = c->request.bytes;
    }
    return true;
}

static bool sink(struct connection *c) {
    ssize_t n = recv(c->fd, scratch, c->left < BUFFER ? c->left : BUFFER, 0);
    if (n <= 0) {
        return n < 0 && errno == EAGAIN;
    }
    c->left -= n;
    return c->left > 0 || send(c->fd, &c->request.bytes, 8, MSG_NOSIGNAL) == 8;
}

static bool source(struct connection *c) {
    uint64_t most = c->request.message < BUFFER ? c->request.message : BUFFER;
    ssize_t n = outcome(send(c->fd, scratch, c->left < most ? c->left : most, MSG_NOSIGNAL));
    c->left -= n > 0 ? n : 0;
    return n >= 0;
}

static bool serve(struct connection *c, bool readable) {
    if (c->port == PORT_ECHO) {
        return echo(c, readable);
    }
    if (c->left == 0) {
        return read_request(c);
    }
    return c->port == PORT_SINK ? sink(c) : source(c);
}

static void handle(struct connection *c, uint32_t what) {
    if (c->listener) {
        accept_one(c);
        return;
    }
    if (!serve(c, what & (EPOLLIN | EPOLLHUP))) {
        drop(c);
        return;
    }
    bool wants_to_write = c->have > c->done && c->port == PORT_ECHO;
    wants_to_write |= c->port == PORT_SOURCE && c->left > 0;
    if (wants_to_write != c->waits_to_write) {
        c->waits_to_write = wants_to_write;
        watch(c, EPOLL_CTL_MOD, wants_to_write ? EPOLLOUT : EPOLLIN);
    }
}

int main(void) {
    load_modules();
    if ((events = epoll_create1(EPOLL_CLOEXEC)) < 0) {
        fatal("epoll_create1");
    }
    listen_on(PORT_ECHO);
    listen_on(PORT_SINK);
    listen_on(PORT_SOURCE);
    printf("READY\n");
    fflush(stdout);
    for (;;) {
        struct epoll_event ready[EVENTS];
        int n = epoll_wait(events, ready, EVENTS, -1);
        if (n < 0 && errno != EINTR) {
            fatal("epoll_wait");
        }
        for (int i = 0; i < n; ++i) {
            handle(ready[i].data.ptr, ready[i].events);
        }
    }
}
