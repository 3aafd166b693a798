# SPDX-License-Identifier: MIT
"""What goes in comes out: bulk transfers by SHA-256, odd chunk sizes, many connections.

INTEROP_MIB sets the size of the bulk transfers (256).
"""

import random
import socket
import time

import pytest
from prelude import accept, dial, listen
from streams import (
    SECONDS,
    Background,
    answer_one,
    blocks,
    echo_and_hash,
    exchange,
    receive,
    receive_and_hash,
    send_blocks,
)

HOST = 2
PORT = 7100
ECHO_PORT = 1234
MIB = 1 << 20


def report(what, size, started):
    seconds = time.monotonic() - started
    print(f"{what}: {size // MIB} MiB in {seconds:.1f} s, {size / seconds / 1e6:.0f} MB/s")


def receive_in_guest(port, size):
    import binascii
    import hashlib

    sock = accept(port)
    digest = hashlib.sha256()
    buffer = bytearray(1 << 20)
    view = memoryview(buffer)
    left = size
    while left:
        count = sock.recv_into(view, min(left, len(buffer)))
        if not count:
            break
        digest.update(view[:count])
        left -= count
    sock.sendall(b"received")
    end = sock.recv(1)
    sock.close()
    return left, end, str(binascii.hexlify(digest.digest()), "ascii")


def test_host_to_guest_has_the_same_sha256(guest_side, vsock, mebibytes):
    size = mebibytes * MIB
    guest_side.start(receive_in_guest, PORT, size)
    started = time.monotonic()
    with vsock.dial(PORT) as connection:
        connection.settimeout(SECONDS)
        sent = send_blocks(connection, size)
        assert receive(connection, 8) == b"received"
    report("host to guest, hashed there", size, started)
    assert guest_side.result() == (0, b"", sent)


def send_from_guest(cid, port, size):
    import binascii
    import hashlib
    import os

    sock = dial(cid, port)
    digest = hashlib.sha256()
    block = bytearray(os.urandom(4096) * 256)  # slow without real hardware under it
    view = memoryview(block)
    left = size
    while left:
        block[0:8] = left.to_bytes(8, "little")
        part = view[: min(left, len(block))]
        digest.update(part)
        sock.sendall(part)
        left -= len(part)
    end = sock.recv(1)
    sock.close()
    return end, str(binascii.hexlify(digest.digest()), "ascii")


def test_guest_to_host_has_the_same_sha256(guest_side, vsock, mebibytes):
    size = mebibytes * MIB
    started = time.monotonic()
    with vsock.listen(PORT) as listener:
        host = answer_one(listener, receive_and_hash, size)
        guest_side.start(send_from_guest, HOST, PORT, size)
        received = host.result()
    report("guest to host, hashed there", size, started)
    assert guest_side.result() == (b"", received)


def send_bytes_and_forget(cid, port, sizes):
    """Send bytes objects that nobody keeps, and use their memory again as soon as it is free."""
    import gc

    sock = dial(cid, port)
    for number, size in enumerate(sizes):
        sock.sendall(bytes([number & 0xFF]) * size)
        gc.collect()
        bytearray(b"\xff" * size)
    sock.recv(1)
    sock.close()


def test_bytes_objects_of_all_sizes_arrive_as_they_were(guest_side, vsock):
    sizes = [(4097, 65536, 30_000, 200_000, 100)[number % 5] for number in range(150)]
    with vsock.listen(PORT) as listener:
        host = answer_one(listener, receive, sum(sizes))
        guest_side.start(send_bytes_and_forget, HOST, PORT, sizes)
        received = host.result()
    guest_side.result()
    assert received == b"".join(bytes([n & 0xFF]) * size for n, size in enumerate(sizes))


def test_echo_has_the_same_sha256(echo, mebibytes):
    size = mebibytes * MIB
    started = time.monotonic()
    with echo.vsock.dial(ECHO_PORT) as connection:
        connection.settimeout(SECONDS)
        sent, received = echo_and_hash(connection, blocks(size))
        assert sent == received
    report("echo", size, started)


def echo_in_chunks(port, sizes):
    """Receive and send back, in chunks of the sizes given, over and over."""
    sock = accept(port)
    buffer = bytearray(1 << 20)
    view = memoryview(buffer)
    total = 0
    while True:
        count = sock.recv_into(view, sizes[total % len(sizes)])
        if not count:
            break
        sock.sendall(view[:count])
        total += count
    sock.close()
    return total


def test_chunks_of_any_size_arrive_in_order(guest_side, vsock):
    chance = random.Random(7)
    sizes = [int(2 ** chance.uniform(0, 20)) for _ in range(97)]  # 1 byte to 1 MiB
    data = memoryview(b"".join(bytes(block) for block in blocks(16 * MIB, seed=7)))

    def pieces():
        start = 0
        while start < len(data):
            size = int(2 ** chance.uniform(0, 20))
            yield data[start : start + size]
            start += size

    guest_side.start(echo_in_chunks, PORT, sizes)
    with vsock.dial(PORT) as connection:
        connection.settimeout(SECONDS)
        sent, received = echo_and_hash(connection, pieces())
        assert sent == received
    assert guest_side.result() == len(data)


def test_one_byte_writes_and_one_mebibyte_writes_mix(guest_side, vsock):
    guest_side.start(echo_in_chunks, PORT, [1, 65536, 3, 1 << 20, 4097])
    with vsock.dial(PORT) as connection:
        connection.settimeout(SECONDS)
        for size in (1, MIB, 1, 2, 65535, 65536, 65537, 3, MIB - 1):
            data = random.Random(size).randbytes(size)
            assert exchange(connection, data) == data
        for number in range(2000):
            byte = bytes([number & 0xFF])
            connection.sendall(byte)
            assert connection.recv(2) == byte


CONNECTIONS = 64


def test_64_connections_at_once_keep_their_bytes_apart(echo):
    patterns = [random.Random(n).randbytes(300_000 + n) for n in range(CONNECTIONS)]
    connections = [echo.vsock.dial(ECHO_PORT) for _ in patterns]
    for connection in connections:
        connection.settimeout(SECONDS)
    started = time.monotonic()
    pairs = list(zip(connections, patterns, strict=True))
    workers = [Background(exchange, connection, pattern) for connection, pattern in pairs]
    for worker, pattern in zip(workers, patterns, strict=True):
        assert worker.result() == pattern
    report("64 echoes", sum(map(len, patterns)), started)
    for connection in connections:
        connection.close()


def call_64_times(cid, port, count):
    """Make connections to the host, send each its own pattern, receive it back by turns."""
    socks = [dial(cid, port) for _ in range(count)]
    size = 100000
    wanted = []
    for number, sock in enumerate(socks):
        data = bytes([number, number ^ 0x55]) * (size // 2)
        sock.sendall(data)
        wanted.append(data)
    wrong = []
    for number, sock in enumerate(socks):
        if sock.recv(size, socket.MSG_WAITALL) != wanted[number]:
            wrong.append(number)
        sock.close()
    return wrong


def echo_until_the_end(connection):
    while data := connection.recv(65536):
        connection.sendall(data)


def test_64_connections_from_the_guest_keep_their_bytes_apart(guest_side, vsock):
    with vsock.listen(PORT) as listener:
        workers = [answer_one(listener, echo_until_the_end) for _ in range(CONNECTIONS)]
        assert guest_side.call(call_64_times, HOST, PORT, CONNECTIONS) == []
        for worker in workers:
            worker.result()


def serve_connections(port, count):
    """Echo one message on each of `count` connections; memory before, after, and in between."""
    import gc

    import machine

    listener = listen(port)
    memory = []
    print("listening")
    for number in range(count):
        if number in (count // 10, count // 2, count - 1):
            gc.collect()
            memory.append((gc.mem_free(), machine.dma_used()))
        sock, _ = listener.accept()
        sock.sendall(sock.recv(100))
        sock.recv(1)
        sock.close()
    listener.close()
    return memory


@pytest.fixture
def many(host, request):
    """How many connections: fewer in the lab where that is the slower one of two devices, as each
    takes it 7 ms; `make test-matrix` has all of them there."""
    second = host.kind == "lab" and request.config.getoption("--host") == "auto"
    return 2_000 if second else 10_000


def test_thousands_of_connections_one_after_another_leave_nothing_behind(guest_side, vsock, many):
    guest_side.start(serve_connections, PORT, many)
    guest_side.expect("listening")
    started = time.monotonic()
    for number in range(many):
        with vsock.dial(PORT) as connection:
            word = b"%d" % number
            connection.sendall(word)
            assert connection.recv(100) == word
    seconds = time.monotonic() - started
    early, middle, late = guest_side.result()
    print(f"{many} connections in {seconds:.1f} s, {many / seconds:.0f}/s")
    print(f"free heap, DMA after a tenth, half, all of them: {early}, {middle}, {late}")
    assert late[1] == early[1], "DMA memory grew"
    assert late[0] > early[0] - 2 * many, "the heap lost more than two bytes per connection"
