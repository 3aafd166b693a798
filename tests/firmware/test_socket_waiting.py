# SPDX-License-Identifier: MIT
"""select, selectors and asyncio over sockets, as CPython's programs use them; one guest, loopback.

Each test's function runs in the guest; it may use what PRELUDE defines.
"""

import asyncio
import inspect
import select
import selectors
import socket

import pytest

from mpfw.guest.driven import AGENT
from mpfw.guest.host import local_host
from mpfw.guest.machine import Machine

PORT = 6100
IMPORTS = f"""
import asyncio, errno, select, selectors, socket
PORT = {PORT}
"""


def raised(function, *arguments):
    """The name of the exception that a call raises; None if it does not."""
    try:
        function(*arguments)
    except Exception as error:
        return type(error).__name__
    return None


def listening(kind=socket.SOCK_STREAM):
    """A listening socket."""
    listener = socket.socket(socket.AF_VSOCK, kind)
    listener.bind((socket.VMADDR_CID_ANY, PORT))
    listener.listen()
    return listener


def pair():
    """Two sockets connected with each other."""
    listener = listening()
    client = socket.socket(socket.AF_VSOCK)
    client.connect((1, PORT))
    server, _ = listener.accept()
    listener.close()
    return client, server


PRELUDE = IMPORTS + "".join([inspect.getsource(f) for f in (raised, listening, pair)])


@pytest.fixture(scope="module")
def guest(image):
    """One guest without a vsock device for all tests of this file."""
    with local_host().guest(Machine(image=image), vsock=False, drive=AGENT) as guest:
        guest.run(PRELUDE)
        yield guest


@pytest.fixture
def run(guest):
    """Runs a function in the guest; an assertion that fails there fails the test."""

    def run(function):
        guest.call(function, timeout=30)

    return run


def test_poll_knows_sockets_by_their_numbers(run):
    def body():
        a, b = pair()
        names = {a.fileno(): "a", b.fileno(): "b"}
        poller = select.poll()
        poller.register(a, select.POLLIN)
        poller.register(b.fileno(), select.POLLOUT)
        b.send(b"x")
        found = sorted([(names[fd], bits) for fd, bits in poller.poll(1000)])
        assert found == [("a", select.POLLIN), ("b", select.POLLOUT)], found
        assert [fd == a.fileno() for fd, _ in poller.poll(0)].count(True) == 1
        poller.unregister(b.fileno())
        assert [fd == b for fd, _ in poller.poll(0)] == [False]
        number = a.fileno()
        a.close()
        assert a.fileno() == -1 and a != number
        b.close()
        again = socket.socket(socket.AF_VSOCK)
        assert again.fileno() == number  # the least that is free
        again.close()

    run(body)


def test_poll_refuses_what_cpythons_refuses(run):
    def body():
        a, b = pair()
        poller = select.poll()
        assert raised(poller.unregister, a) == "KeyError"
        assert raised(poller.modify, a, 1) == "FileNotFoundError"
        assert raised(poller.register, "a") == "TypeError"
        assert raised(poller.register, -1) == "ValueError"
        poller.register(a, select.POLLOUT)  # after what was refused it works
        assert len(poller.poll(0.5)) == 1
        assert raised(poller.poll, "1") == "TypeError"
        a.close()
        assert [bits for _, bits in poller.poll(0)] == [select.POLLNVAL]
        assert raised(poller.register, a) == "ValueError"
        assert raised(select.select, [a], [], [], 0) == "ValueError"
        assert raised(select.select, ["a"], [], [], 0) == "TypeError"
        assert select.select([b.fileno()], [b], [], 0) == ([b.fileno()], [b], [])
        b.close()

    run(body)


def test_a_call_with_a_time_out_waits_until_the_socket_polls_ready(run):
    def body():
        fresh = socket.socket(socket.AF_VSOCK)
        listener = listening()
        a = socket.socket(socket.AF_VSOCK)
        a.connect((1, PORT))
        b, _ = listener.accept()
        a.shutdown(socket.SHUT_WR)
        for sock in (fresh, listener, a):
            sock.settimeout(0.02)
        late = "TimeoutError"
        assert raised(fresh.recv, 1) == raised(fresh.accept) == raised(fresh.recvmsg, 0) == late
        assert raised(fresh.recvfrom, 0) == late and fresh.recv(0) == b""
        assert raised(fresh.send, b"x") == "OSError"  # polls writable: ENOTCONN
        assert raised(listener.recv, 1) == raised(listener.send, b"x") == late
        assert raised(a.send, b"x") == raised(a.sendall, b"") == raised(a.accept) == late
        assert raised(a.sendto, b"x", (1, 1)) == raised(a.recv, 1, socket.MSG_OOB) == late
        a.setblocking(False)
        assert raised(a.send, b"x") == "BrokenPipeError"
        for sock in (fresh, listener, a, b):
            sock.close()
        assert raised(fresh.recv, 1) == "OSError"

    run(body)


def test_credit_over_the_loopback_comes_when_linux_gives_it(run):
    def body():
        a, b = pair()
        a.setblocking(False)

        def fill():
            sent = 0
            try:
                while True:
                    sent += a.send(bytes(65536))
            except BlockingIOError:
                return sent

        whole = fill()
        assert whole == 262144
        read = 0
        while read < whole - 65536:
            read += len(b.recv(whole - 65536 - read))
        assert fill() == 0
        b.recv(1)
        assert fill() == 0  # of a packet that was not read to its end nothing counts
        read = 1
        while read < 65536:
            read += len(b.recv(65536 - read))
        assert fill() == whole
        for _ in range(20):  # the window stays as it is, however much goes through
            read = 0
            while read < whole:
                read += len(b.recv(whole))
            assert fill() == whole
        a.close()
        b.close()

    run(body)


def test_selectors_are_cpythons(run):
    def body():
        for kind in (selectors.SelectSelector, selectors.PollSelector, selectors.DefaultSelector):
            a, b = pair()
            with kind() as selector:
                key = selector.register(a, selectors.EVENT_READ, "data")
                assert key == (a, a.fileno(), selectors.EVENT_READ, "data")
                assert selector.select(0) == []
                b.send(b"x")
                assert selector.select(1) == [(key, selectors.EVENT_READ)]
                both = selectors.EVENT_READ | selectors.EVENT_WRITE
                key = selector.modify(a, both)
                assert selector.select() == [(key, both)]
                known = selector.get_map()
                assert len(known) == 1 and a in known and b not in known
                assert known[a] is selector.get_key(a) is key
                assert raised(selector.register, a, 1) == "KeyError"
                assert raised(selector.register, b, 0) == "ValueError"
                assert raised(selector.register, b, 4) == "ValueError"
                assert raised(selector.register, "b", 1) == "ValueError"
                assert raised(selector.unregister, b) == "KeyError"
                a.close()
                assert raised(selector.register, a, 1) == "KeyError"
                assert selector.unregister(a) is key
                assert raised(selector.register, a, 1) == "ValueError"
            assert selector.get_map() is None
            assert raised(selector.get_key, b) == "RuntimeError"
            b.close()

    run(body)


def test_asyncio_takes_sockets(run):
    def body():
        async def shout(reader, writer):
            while True:
                line = await reader.readline()
                if not line:
                    break
                writer.writelines([line.upper(), b"!\n"])
                await writer.drain()
            writer.close()

        async def main():
            listener = socket.socket(socket.AF_VSOCK)
            listener.bind((socket.VMADDR_CID_ANY, PORT))
            server = await asyncio.start_server(shout, sock=listener)
            client = socket.socket(socket.AF_VSOCK)
            client.connect((1, PORT))
            reader, writer = await asyncio.open_connection(sock=client)
            writer.write(b"hello\n")
            answer = await reader.readexactly(8)
            writer.write_eof()
            answer += await reader.read()
            assert writer.get_extra_info("peername") == (1, PORT)
            writer.close()
            await writer.wait_closed()
            assert writer.is_closing()
            reader, writer = await asyncio.open_connection(1, PORT)  # MicroPython's: a CID
            writer.write(b"again\n")
            answer += await reader.readline()
            writer.close()
            server.close()
            await server.wait_closed()
            return answer

        assert asyncio.run(main()) == b"HELLO\n!\nAGAIN\n"

    run(body)


def test_asyncio_s_loop_moves_bytes_of_sockets(run):
    def body():
        async def main():
            loop = asyncio.get_running_loop()
            listener = listening()
            listener.setblocking(False)
            client = socket.socket(socket.AF_VSOCK)
            client.setblocking(False)
            accepting = asyncio.create_task(loop.sock_accept(listener))
            await loop.sock_connect(client, (1, PORT))
            server, _ = await accepting
            sending = asyncio.create_task(loop.sock_sendall(client, bytes(500000)))
            got = 0
            while got < 500000:
                got += len(await loop.sock_recv(server, 100000))
            await sending
            listener.close()
            client.close()
            server.close()
            client = socket.socket(socket.AF_VSOCK)
            client.setblocking(False)
            try:
                await loop.sock_connect(client, (1, PORT))
            except ConnectionResetError:
                return got

        assert asyncio.run(main()) == 500000

    run(body)


def test_asyncio_s_time_out_is_the_builtin_one(run):
    def body():
        async def main():
            try:
                await asyncio.wait_for(asyncio.sleep(9), 0.01)
            except TimeoutError as error:
                return error.args

        assert asyncio.TimeoutError is TimeoutError
        assert asyncio.run(main()) == ()

    run(body)
