# SPDX-License-Identifier: MIT
r"""How fast is a connection to the host? socat echoes there; the guest takes the time.

How to run it:

    $ socat UNIX-LISTEN:bench.vsock_7006,fork PIPE 2>socat.log &
    $ mpfw run --host vhost-user --uds-path bench.vsock examples/benchmark.py
    round trip of 64 bytes: 105 us (median), 300 us (99 of 100)
    echoed in pieces of 32 KiB: 150 MB/s
    $ kill %1
"""

import socket
import time

PORT = 7006
ROUNDS = 1000
PIECE = bytes(32768)
PIECES = 256

host = socket.create_connection((socket.VMADDR_CID_HOST, PORT))
buffer = memoryview(bytearray(len(PIECE)))


def echoed(data):
    """Send, and wait until all of it has come back; the microseconds that it took."""
    start = time.ticks_us()
    host.sendall(data)
    missing = len(data)
    while missing:
        missing -= host.recv_into(buffer, missing)
    return time.ticks_diff(time.ticks_us(), start)


times = sorted(echoed(bytes(64)) for _ in range(ROUNDS))
median, late = times[ROUNDS // 2], times[ROUNDS * 99 // 100]
print("round trip of 64 bytes: %d us (median), %d us (99 of 100)" % (median, late))
total = sum(echoed(PIECE) for _ in range(PIECES))
print("echoed in pieces of %d KiB: %d MB/s" % (len(PIECE) >> 10, len(PIECE) * PIECES // total))
