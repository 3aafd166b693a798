# SPDX-License-Identifier: MIT
"""SOCK_DGRAM in one guest, over VMADDR_CID_LOCAL: what needs a clock, poll and asyncio.

What each call does is told by tests/unit/test_datagrams.py, with the same modules.
"""

import asyncio
import errno
import inspect
import random
import select
import socket
import time
from socket import AF_VSOCK, SOCK_DGRAM, SOL_SOCKET

import pytest

from mpfw.guest.driven import AGENT
from mpfw.guest.host import local_host
from mpfw.guest.machine import Machine

IMPORTS = """
import asyncio, errno, random, select, socket, time
from socket import AF_VSOCK, SOCK_DGRAM, SOL_SOCKET
"""
MESSAGES = 1_000_000


def error(function, *arguments):
    """The name of the errno that a call fails with; None if it does not."""
    try:
        function(*arguments)
    except TimeoutError:
        return "timed out"
    except OSError as e:
        return errno.errorcode.get(e.errno or 0, e.errno)
    return None


def pair():
    """Two sockets: the second one is bound, the first one sends there."""
    one = socket.socket(AF_VSOCK, SOCK_DGRAM)
    other = socket.socket(AF_VSOCK, SOCK_DGRAM)
    other.bind((1, 0xFFFFFFFF))
    one.connect((1, other.getsockname()[1]))
    return one, other


def exchange(messages, pause):
    """Random messages one after the other, each read before the next `pause`; what was wrong."""
    one, other = pair()
    other.settimeout(1)
    noise = bytes(random.getrandbits(8) for _ in range(65536 + 256))
    into = bytearray(65536)
    view = memoryview(into)
    seen = 0
    sizes = (0, 1, 17, 300, 1400, 2048, 2049, 4096, 4097, 9000)
    for first in range(0, messages, pause):
        batch = []
        for i in range(first, min(first + pause, messages)):
            n = 65536 if i % 5000 == 0 else sizes[random.getrandbits(16) % 10]
            data = noise[i & 255 : (i & 255) + n]
            batch.append(data)
            if one.send(data) != n:
                return "sent less"
        for data in batch:
            n, sender = other.recvfrom_into(into)
            if n != len(data) or view[:n] != data or sender != (1, one.getsockname()[1]):
                return f"message {seen} is not what was sent"
            seen += 1
    full = other.endpoint.full()
    one.close()
    other.close()
    return [seen, full]


PRELUDE = IMPORTS + "".join([inspect.getsource(each) for each in (error, pair, exchange)])


@pytest.fixture(scope="module")
def guest(image):
    """One guest without a vsock device for all tests of this file."""
    with local_host().guest(Machine(image=image), vsock=False, drive=AGENT) as guest:
        guest.run(PRELUDE)
        guest.run("assert error(socket.socket, AF_VSOCK, SOCK_DGRAM) == 'ENODEV'")
        guest.run("import vsock; vsock.datagrams(True)")
        yield guest


def promised():
    import vsock

    return vsock.get().store.promised


@pytest.fixture
def run(guest):
    """Runs a function in the guest; an assertion that fails there fails the test."""
    before = guest.call(promised)

    def run(function):
        guest.call(function, timeout=30)

    yield run
    assert guest.call(promised) == before, "a socket's memory was not given back"


def test_a_wait_ends_in_time(run):
    def body():
        a, b = pair()
        start = time.ticks_ms()
        b.settimeout(0.2)
        assert error(b.recvfrom, 5) == "timed out"
        assert 150 < time.ticks_diff(time.ticks_ms(), start) < 2000
        b.settimeout(None)
        b.setsockopt(SOL_SOCKET, 20, (0).to_bytes(8, "little") + (200000).to_bytes(8, "little"))
        start = time.ticks_ms()
        assert error(b.recvfrom, 5) == "EAGAIN"
        assert 150 < time.ticks_diff(time.ticks_ms(), start) < 2000
        assert error(b.recvfrom, 5, socket.MSG_DONTWAIT) == "EAGAIN"
        a.close()
        b.close()

    run(body)


def test_poll_tells_of_messages_and_of_what_shutdown_closed(run):
    def body():
        a, b = pair()
        poller = select.poll()
        poller.register(b, 0x2005)
        assert poller.poll(0) == [(b, 4)]
        a.send(b"")
        assert poller.poll(0) == [(b, 5)]
        assert b.recv(5) == b"" and poller.poll(0) == [(b, 4)]
        assert error(b.shutdown, socket.SHUT_RD) == "ENOTCONN"
        assert poller.poll(0) == [(b, 0x2005)]
        ready = socket.poller()
        c, d = pair()
        ready.register(d)
        assert ready.wait(0) is d and ready.wait(0) is None
        c.send(b"news")
        assert ready.wait(1) is d
        for sock in (a, b, c, d):
            sock.close()

    run(body)


def test_a_handler_sends_while_a_program_waits(run):
    def body():
        import machine

        a, b = pair()
        vector = machine.Vector()
        vector.irq(lambda _: a.send(b"from a handler"))
        vector.after(50_000)
        b.settimeout(5)
        assert b.recvfrom(99) == (b"from a handler", (1, a.getsockname()[1]))
        vector.close()
        a.close()
        b.close()

    run(body)


def test_asyncio_reads_messages_and_learns_their_senders(run):
    def body():
        def readable(sock):
            yield asyncio.core._io_queue.queue_read(sock)

        async def server(sock):
            while True:
                await readable(sock)
                data, sender = sock.recvfrom(65536)
                sock.sendto(data.upper(), sender)

        async def client(sock, n):
            reader = asyncio.StreamReader(sock)
            for i in range(n):
                sock.send(b"message %d" % i)
                assert await reader.read(100) == b"MESSAGE %d" % i

        async def main():
            a, b = pair()
            port = b.getsockname()
            c = socket.socket(AF_VSOCK, SOCK_DGRAM)
            c.connect(port)
            for sock in (a, b, c):
                sock.setblocking(False)
            serving = asyncio.create_task(server(b))
            await asyncio.gather(client(a, 20), client(c, 30))
            serving.cancel()
            for sock in (a, b, c):
                sock.close()

        asyncio.run(main())

    run(body)


def test_a_socket_that_is_closed_meanwhile_is_awaited_no_more(run):
    def body():
        import machine

        a, b = pair()
        vector = machine.Vector()
        vector.irq(lambda _: b.close())
        vector.after(50_000)
        assert b.recvfrom(9) == (b"", None)
        assert error(b.recvfrom, 9) == "EBADF"
        vector.close()
        a.close()

    run(body)


def test_messages_of_random_sizes_arrive_intact(guest):
    assert guest.call(exchange, 10_000, 16, timeout=120) == [10_000, 0]


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_a_million_messages_of_random_sizes_arrive_intact(guest):
    assert guest.call(exchange, MESSAGES, 16, timeout=3500) == [MESSAGES, 0]
