// SPDX-License-Identifier: MIT
// The benchmark's host program: one measurement per call, over the Unix socket of vhost-device-vsock, the same for
// every guest. Results go to stdout as JSON. It trusts no guest: each wait has a time-out, and bytes are compared.

#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "wire.h"

#define TIMEOUT_MS  (5000)
#define BULK_BUFFER (1 << 18)
#define LOT         (32ull << 20) // bytes that one request asks for
#define RETRY_NS    (1000000)

static struct sockaddr_un daemon_address = { .sun_family = AF_UNIX };

static void __attribute__((noreturn, format(printf, 1, 2))) fail(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
    exit(1);
}

static void *allocate(size_t size) {
    void *p = malloc(size);
    if (!p) {
        fail("no memory for %zu bytes", size);
    }
    return p;
}

static uint64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000ull + t.tv_nsec;
}

static double seconds_since(uint64_t start) {
    return (now_ns() - start) / 1e9;
}

// -- connections and exact transfers ----------------------------------------------------------------------------------

// A connection to the guest's `port`, or -1 if nobody accepts there.
static int try_dial(int port) {
    struct timeval timeout = { .tv_sec = TIMEOUT_MS / 1000 };
    char text[64];
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        fail("socket: %s", strerror(errno));
    }
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout));
    int length = snprintf(text, sizeof(text), "CONNECT %d\n", port);
    // No service here speaks first, so whatever comes is the daemon's "OK <number>\n".
    if (connect(fd, (struct sockaddr *)&daemon_address, sizeof(daemon_address)) == 0
        && send(fd, text, length, MSG_NOSIGNAL) == length) {
        ssize_t n = 0;
        do {
            ssize_t more = recv(fd, text + n, sizeof(text) - n, 0);
            n = more <= 0 ? -1 : n + more;
        } while (n > 0 && n < (ssize_t)sizeof(text) && text[n - 1] != '\n');
        if (n > 3 && memcmp(text, "OK ", 3) == 0) {
            return fd;
        }
    }
    close(fd);
    return -1;
}

static int dial(int port) {
    int fd = try_dial(port);
    if (fd < 0) {
        fail("guest port %d: %s", port, errno ? strerror(errno) : "closed");
    }
    return fd;
}

static void send_all(int fd, const void *data, size_t size) {
    for (size_t done = 0; done < size;) {
        ssize_t n = send(fd, (const uint8_t *)data + done, size - done, MSG_NOSIGNAL);
        if (n < 0) {
            fail("send: %zu of %zu bytes: %s", done, size, strerror(errno));
        }
        done += n;
    }
}

static void receive_all(int fd, void *data, size_t size) {
    for (size_t done = 0; done < size;) {
        ssize_t n = recv(fd, (uint8_t *)data + done, size - done, 0);
        if (n <= 0) {
            fail("recv: %zu of %zu bytes: %s", done, size, n ? strerror(errno) : "closed");
        }
        done += n;
    }
}

static void fill(uint8_t *data, size_t size) {
    for (size_t i = 0; i < size; ++i) {
        data[i] = i * 131 + (i >> 8);
    }
}

// `size` bytes there and back, compared; nanoseconds.
static uint64_t round_trip(int fd, uint8_t *out, uint8_t *in, size_t size) {
    out[0]++;
    uint64_t start = now_ns();
    send_all(fd, out, size);
    receive_all(fd, in, size);
    uint64_t elapsed = now_ns() - start;
    if (memcmp(out, in, size) != 0) {
        fail("the echo differs from what was sent");
    }
    return elapsed;
}

static void print_rate(uint64_t bytes, double seconds) {
    printf("{\"bytes\": %llu, \"seconds\": %.6f}\n", (unsigned long long)bytes, seconds);
}

// -- the measurements -------------------------------------------------------------------------------------------------

// first <port> <seconds>: when, on CLOCK_MONOTONIC, the first byte came back; begins when a byte comes on stdin, which
// is to say that the guest listens. (A daemon that is dialled while a driver sets up its queues stops working for good.)
static void measure_first(char **a) {
    int port = atoi(a[0]), fd;
    char go;
    if (read(STDIN_FILENO, &go, 1) != 1) {
        fail("the guest never got ready");
    }
    uint64_t deadline = now_ns() + (uint64_t)(atof(a[1]) * 1e9);
    while ((fd = try_dial(port)) < 0) {
        if (now_ns() > deadline) {
            fail("guest port %d does not accept within %s s", port, a[1]);
        }
        nanosleep(&(struct timespec) { .tv_nsec = RETRY_NS }, NULL);
    }
    uint8_t out = 0, in;
    round_trip(fd, &out, &in, 1);
    printf("{\"at_ns\": %llu}\n", (unsigned long long)now_ns());
}

// rtt <port> <size> <count>: round trips one after the other.
static void measure_rtt(char **a) {
    int port = atoi(a[0]), size = atoi(a[1]), count = atoi(a[2]);
    uint8_t *out = allocate(size), *in = allocate(size);
    uint64_t *samples = allocate(count * sizeof(*samples));
    fill(out, size);
    int fd = dial(port);
    for (int i = 0; i < 200; ++i) {
        round_trip(fd, out, in, size); // warm-up, not counted
    }
    for (int i = 0; i < count; ++i) {
        samples[i] = round_trip(fd, out, in, size);
    }
    printf("{\"samples_ns\": [");
    for (int i = 0; i < count; ++i) {
        printf("%s%llu", i ? "," : "", (unsigned long long)samples[i]);
    }
    printf("]}\n");
}

// sink <message> <seconds>: bulk to the guest in writes of `message` bytes, each lot acknowledged at its end.
static void measure_sink(char **a) {
    size_t message = atoi(a[0]);
    double limit = atof(a[1]), elapsed;
    uint64_t total = 0, taken;
    uint8_t *buffer = allocate(message);
    fill(buffer, message);
    int fd = dial(PORT_SINK);
    struct request request = { .message = message };
    // A lot of tiny messages is smaller: it must not take longer than the measurement.
    request.bytes = message >= 4096 ? LOT : message * 8192ull;
    uint64_t start = now_ns();
    do {
        send_all(fd, &request, sizeof(request));
        for (uint64_t sent = 0; sent < request.bytes; sent += message) {
            send_all(fd, buffer, message);
        }
        receive_all(fd, &taken, sizeof(taken));
        if (taken != request.bytes) {
            fail("the sink took %llu bytes", (unsigned long long)taken);
        }
        total += taken;
    } while ((elapsed = seconds_since(start)) < limit);
    print_rate(total, elapsed);
}

// source <message> <seconds>: bulk from the guest, which sends `message` bytes at a time.
static void measure_source(char **a) {
    double limit = atof(a[1]), elapsed;
    uint64_t total = 0;
    uint8_t *buffer = allocate(BULK_BUFFER);
    int fd = dial(PORT_SOURCE);
    struct request request = { .message = atoi(a[0]) };
    request.bytes = request.message >= 4096 ? LOT : request.message * 8192ull;
    uint64_t start = now_ns();
    do {
        send_all(fd, &request, sizeof(request));
        for (uint64_t left = request.bytes; left > 0;) {
            ssize_t n = recv(fd, buffer, left < BULK_BUFFER ? left : BULK_BUFFER, 0);
            if (n <= 0) {
                fail("source: %llu bytes missing: %s", (unsigned long long)left, n ? strerror(errno) : "closed");
            }
            left -= n;
        }
        total += request.bytes;
    } while ((elapsed = seconds_since(start)) < limit);
    print_rate(total, elapsed);
}

// echo <port> <message> <ahead> <seconds>: bulk both ways at once, at most `ahead` bytes under way; the first bytes of
// what comes back are compared.
static void measure_echo(char **a) {
    size_t message = atoi(a[1]), ahead = atoi(a[2]);
    double limit = atof(a[3]);
    uint64_t sent = 0, received = 0;
    bool sending = true;
    uint8_t *out = allocate(message), *in = allocate(BULK_BUFFER);
    fill(out, message);
    int fd = dial(atoi(a[0]));
    uint64_t start = now_ns();
    while (sending || received < sent) {
        struct pollfd ready = { .fd = fd, .events = POLLIN };
        if (sending && sent - received + message <= ahead) {
            ready.events |= POLLOUT;
        }
        if (poll(&ready, 1, TIMEOUT_MS) <= 0) {
            fail("echo: %llu bytes sent, %llu came back, then nothing", (unsigned long long)sent,
                (unsigned long long)received);
        }
        if (ready.revents & (POLLIN | POLLHUP)) {
            ssize_t n = recv(fd, in, BULK_BUFFER, MSG_DONTWAIT);
            if (n == 0 || (n < 0 && errno != EAGAIN)) {
                fail("echo: recv: %s", n ? strerror(errno) : "closed");
            }
            if (n > 0 && in[0] != out[received % message]) {
                fail("the echo differs from what was sent at byte %llu", (unsigned long long)received);
            }
            received += n > 0 ? n : 0;
        }
        if (ready.revents & POLLOUT) {
            size_t at = sent % message; // where an earlier write stopped
            ssize_t n = send(fd, out + at, message - at, MSG_NOSIGNAL | MSG_DONTWAIT);
            if (n < 0 && errno != EAGAIN) {
                fail("echo: send: %s", strerror(errno));
            }
            sent += n > 0 ? n : 0;
            sending = seconds_since(start) < limit;
        }
    }
    print_rate(received, seconds_since(start));
}

// connect <port> <count>: connections one after the other, each of which echoes one byte.
static void measure_connect(char **a) {
    int port = atoi(a[0]), count = atoi(a[1]);
    uint64_t start = now_ns();
    for (int i = 0; i < count; ++i) {
        uint8_t out = i, in;
        int fd = dial(port);
        round_trip(fd, &out, &in, 1);
        close(fd);
    }
    printf("{\"connections\": %d, \"seconds\": %.6f}\n", count, seconds_since(start));
}

struct busy {
    int fd;
    size_t have;
    uint64_t start, trips;
};

static void busy_step(struct busy *b, const uint8_t *out, uint8_t *in, size_t size) {
    ssize_t n = recv(b->fd, in, size - b->have, MSG_DONTWAIT);
    if (n == 0 || (n < 0 && errno != EAGAIN)) {
        fail("busy: recv: %s", n ? strerror(errno) : "closed");
    }
    b->have += n > 0 ? n : 0;
    if (b->have == size) {
        b->have = 0;
        b->trips++;
        send_all(b->fd, out, size);
    }
}

// busy <port> <connections> <size> <seconds>: round trips on all of them at once; how many each of them made.
static void measure_busy(char **a) {
    int port = atoi(a[0]), count = atoi(a[1]), size = atoi(a[2]);
    double limit = atof(a[3]), elapsed;
    uint8_t *out = allocate(size), *in = allocate(size);
    struct busy *all = allocate(count * sizeof(*all));
    struct epoll_event ready[256];
    int events = epoll_create1(EPOLL_CLOEXEC);
    fill(out, size);
    for (int i = 0; i < count; ++i) {
        all[i] = (struct busy) { .fd = dial(port) };
        struct epoll_event event = { .events = EPOLLIN, .data.ptr = &all[i] };
        if (epoll_ctl(events, EPOLL_CTL_ADD, all[i].fd, &event) < 0) {
            fail("epoll_ctl: %s", strerror(errno));
        }
    }
    uint64_t start = now_ns();
    for (int i = 0; i < count; ++i) {
        send_all(all[i].fd, out, size);
    }
    do {
        int n = epoll_wait(events, ready, 256, TIMEOUT_MS);
        if (n <= 0) {
            fail("busy: no answer on any of %d connections", count);
        }
        for (int i = 0; i < n; ++i) {
            busy_step(ready[i].data.ptr, out, in, size);
        }
    } while ((elapsed = seconds_since(start)) < limit);
    printf("{\"seconds\": %.6f, \"trips\": [", elapsed);
    for (int i = 0; i < count; ++i) {
        printf("%s%llu", i ? "," : "", (unsigned long long)all[i].trips);
    }
    printf("]}\n");
}

// whole <port> <bytes> <times>: write everything, only then read it back; on a new connection each time.
static void measure_whole(char **a) {
    size_t size = atoll(a[1]);
    int times = atoi(a[2]);
    uint8_t *out = allocate(size), *in = allocate(size);
    double slowest = 0;
    fill(out, size);
    for (int i = 0; i < times; ++i) {
        uint64_t start = now_ns();
        int fd = dial(atoi(a[0]));
        send_all(fd, out, size);
        receive_all(fd, in, size);
        close(fd);
        if (memcmp(out, in, size) != 0) {
            fail("run %d: the echo differs from what was sent", i);
        }
        double elapsed = seconds_since(start);
        slowest = elapsed > slowest ? elapsed : slowest;
    }
    printf("{\"times\": %d, \"slowest_seconds\": %.6f}\n", times, slowest);
}

// hold <port> <connections>: opens them, says so, and keeps them until stdin ends.
static void measure_hold(char **a) {
    char byte;
    for (int i = 0; i < atoi(a[1]); ++i) {
        dial(atoi(a[0])); // stays open until this process ends
    }
    printf("{\"open\": %d}\n", atoi(a[1]));
    fflush(stdout);
    while (read(STDIN_FILENO, &byte, 1) > 0) {
    }
}

static const struct {
    const char *name;
    int arguments;
    void (*run)(char **arguments);
} measurements[] = {
    { "first", 2, measure_first },
    { "rtt", 3, measure_rtt },
    { "sink", 2, measure_sink },
    { "source", 2, measure_source },
    { "echo", 4, measure_echo },
    { "connect", 2, measure_connect },
    { "busy", 4, measure_busy },
    { "whole", 3, measure_whole },
    { "hold", 2, measure_hold },
};

int main(int argc, char **argv) {
    for (size_t i = 0; argc >= 3 && i < sizeof(measurements) / sizeof(measurements[0]); ++i) {
        if (strcmp(argv[2], measurements[i].name) == 0 && argc == 3 + measurements[i].arguments) {
            if (strlen(argv[1]) >= sizeof(daemon_address.sun_path)) {
                fail("%s: too long for a Unix socket", argv[1]);
            }
            strcpy(daemon_address.sun_path, argv[1]);
            measurements[i].run(argv + 3);
            return 0;
        }
    }
    fail("usage: client <daemon's socket> <measurement> <arguments>, see client.c");
}
