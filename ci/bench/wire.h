// SPDX-License-Identifier: MIT
// What the benchmark's client and its guests agree on: ports, and how a bulk transfer is asked for.
#pragma once

#include <stdint.h>

#define PORT_ECHO   (1234) // returns what it gets
#define PORT_SINK   (1235) // per request: takes `bytes` bytes, then answers with that number
#define PORT_SOURCE (1236) // per request: sends `bytes` bytes, `message` of them at a time

// A connection to sink or source carries any number of requests, one after the other. Little-endian.
struct request {
    uint64_t bytes;
    uint32_t message;
    uint32_t reserved;
};
