# SPDX-License-Identifier: MIT
"""The firmware's side of the benchmark: an ordinary script on the public socket API.

It serves what ci/bench/wire.h lists, one connection at a time; the host hands it in by fw_cfg.
"""

import gc
import select
import socket

import machine

ECHO, SINK, SOURCE, STATS, HOLD = 1234, 1235, 1236, 1237, 1238
BUFFER = 65536

buffer = bytearray(BUFFER)
view = memoryview(buffer)
payload = bytes(BUFFER)
request = bytearray(16)


def receive(connection, into):
    """Fill `into`; False if the peer has closed before."""
    have = 0
    while have < len(into):
        n = connection.recv_into(memoryview(into)[have:])
        if not n:
            return False
        have += n
    return True


def echo(connection):
    """Return what comes, until the peer stops sending."""
    last, part = 0, view[:0]
    while True:
        n = connection.recv_into(buffer)
        if not n:
            return
        if n != last:
            last, part = n, view[:n]
        connection.sendall(part)


def sink(connection):
    """Take as many bytes as each request says, then answer with their number."""
    while receive(connection, request):
        left = int.from_bytes(request[:8], "little")
        while left >= BUFFER:
            n = connection.recv_into(buffer)
            if not n:
                return
            left -= n
        if not receive(connection, view[:left]):
            return
        connection.sendall(request[:8])


def source(connection):
    """Send as many bytes as each request says, in messages as long as it says."""
    while receive(connection, request):
        left = int.from_bytes(request[:8], "little")
        message = payload[: min(int.from_bytes(request[8:12], "little"), BUFFER)]
        while left > 0:
            connection.sendall(message)
            left -= len(message)


def stats(connection):
    """Tell the memory in use: the collector's heap, DMA memory."""
    gc.collect()
    connection.sendall(b"%d %d\n" % (gc.mem_alloc(), machine.dma_used()))


held = []


def hold(connection):
    """Keep it, and do nothing with it: an idle connection."""
    held.append(connection)


def listen(port):
    """A listening socket."""
    listener = socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)
    listener.bind((socket.VMADDR_CID_ANY, port))
    listener.listen(1024)
    return listener


def main():
    """Serve for ever."""
    services = {}
    poll = select.poll()
    for port, service in (
        (ECHO, echo),
        (SINK, sink),
        (SOURCE, source),
        (STATS, stats),
        (HOLD, hold),
    ):
        listener = listen(port)
        services[id(listener)] = service
        poll.register(listener, select.POLLIN)
    print("READY")
    while True:
        for listener, _ in poll.poll():
            connection, _ = listener.accept()
            try:
                services[id(listener)](connection)
            except OSError as error:
                print("bench: connection ended:", error)
            if connection not in held[-1:]:
                connection.close()


main()
