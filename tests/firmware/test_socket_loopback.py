# SPDX-License-Identifier: MIT
"""`socket` inside one guest, over VMADDR_CID_LOCAL: what Linux's AF_VSOCK does, call by call.

Needs no vsock device. Each test's function runs in the guest; it may use what PRELUDE defines.
"""

import errno
import inspect
import select
import socket
import struct
from socket import AF_VSOCK, SOCK_SEQPACKET, SOCK_STREAM, SOL_SOCKET

import pytest

from mpfw.guest.driven import AGENT
from mpfw.guest.host import local_host
from mpfw.guest.machine import Machine

IMPORTS = """
import errno, select, socket, struct
from socket import AF_VSOCK, SOCK_SEQPACKET, SOCK_STREAM, SOL_SOCKET
"""


def error(function, *arguments):
    """The name of the errno that a call fails with, or "timed out"; None if it does not."""
    try:
        function(*arguments)
    except OSError as e:
        if e.errno is None:
            return str(e)
        return errno.errorcode.get(e.errno or 0, e.errno)
    return None


def pair(kind=SOCK_STREAM):
    """Two sockets connected with each other."""
    listener = socket.socket(AF_VSOCK, kind)
    listener.bind((socket.VMADDR_CID_ANY, 5000))
    listener.listen()
    client = socket.socket(AF_VSOCK, kind)
    client.connect((1, listener.getsockname()[1]))
    server, _ = listener.accept()
    listener.close()
    for sock in (client, server):
        sock.settimeout(2)
    return client, server


def polled(sock, mask=0x2005):
    """The events that poll shows at once; IN, OUT and RDHUP are asked for."""
    poller = select.poll()
    poller.register(sock, mask)
    ready = poller.poll(0)
    return ready[0][1] if ready else 0


PRELUDE = IMPORTS + "".join([inspect.getsource(f) for f in (error, pair, polled)])


@pytest.fixture(scope="module")
def guest(image):
    """One guest without a vsock device for all tests of this file."""
    with local_host().guest(Machine(image=image), vsock=False, drive=AGENT) as guest:
        guest.run(PRELUDE)
        yield guest


def connections():
    import vsock

    return vsock.get().table.count


@pytest.fixture
def run(guest):
    """Runs a function in the guest; an assertion that fails there fails the test."""

    def run(function):
        guest.call(function, timeout=30)

    yield run
    assert guest.call(connections) == 0, "a connection was left over"


def test_bytes_go_both_ways_and_end(run):
    def body():
        a, b = pair()
        assert a.send(b"hello") == 5
        assert b.recv(100) == b"hello"
        b.sendall(b"x" * 100000)
        got = b""
        while len(got) < 100000:
            got += a.recv(70000)
        assert got == b"x" * 100000
        a.shutdown(socket.SHUT_WR)
        assert b.recv(1) == b"" and b.recv(1) == b""
        assert b.send(b"still") == 5
        b.close()
        assert a.recv(10) == b"still"
        assert a.recv(10) == b""
        a.close()

    run(body)


def test_any_buffer_sends_and_any_writable_one_receives(run):
    def body():
        import array

        a, b = pair()
        shorts = array.array("H", range(300))
        view = memoryview(shorts)[1:5]
        for data in (b"bytes", bytearray(b"array"), memoryview(b"a view")[2:], shorts, view):
            nbytes = len(data) * getattr(memoryview(data), "itemsize", 1)
            assert a.send(data) == nbytes
            a.sendall(data)
            into = bytearray(1000)
            assert b.recv_into(into, nbytes) == nbytes
            assert bytes(into[:nbytes]) == bytes(memoryview(data))
            words = array.array("I", [0] * nbytes)
            assert b.recv_into(memoryview(words)[1:]) == nbytes
            assert bytes(memoryview(words))[4 : 4 + nbytes] == bytes(memoryview(data))
        for call, wrong in ((a.send, 5), (a.sendall, None), (b.recv_into, b"fixed")):
            try:
                call(wrong)
                raise AssertionError("it took " + repr(wrong))
            except TypeError:
                pass
        try:
            b.recv_into(bytearray(5), -1)
            raise AssertionError("a negative size")
        except ValueError:
            pass
        assert a.send(b"") == 0 and b.recv_into(bytearray(0)) == 0
        a.close()
        b.close()
        assert error(b.recv_into, bytearray(5)) == "EBADF" and error(a.send, b"x") == "EBADF"

    run(body)


def test_refused_connect_is_econnreset_and_may_be_tried_again(run):
    def body():
        s = socket.socket()
        assert error(s.connect, (1, 77)) == "ECONNRESET"
        name = s.getsockname()
        assert name[1] >= 1024
        assert error(s.connect, (1, 77)) == "ECONNRESET"
        assert s.getsockname() == name
        listener = socket.create_server((1, 77))
        s.connect((1, 77))
        assert error(s.connect, (1, 77)) == "EISCONN"
        s.close()
        listener.accept()[0].close()
        listener.close()

    run(body)


def test_nonblocking_connect_that_failed_gives_ealready(run):
    def body():
        s = socket.socket()
        s.setblocking(False)
        assert s.connect_ex((1, 77)) == errno.EINPROGRESS
        assert s.getsockopt(SOL_SOCKET, socket.SO_ERROR) == errno.ECONNRESET
        assert s.getsockopt(SOL_SOCKET, socket.SO_ERROR) == 0
        assert s.connect_ex((1, 77)) == errno.EALREADY
        s.close()

    run(body)


def test_blocking_connect_after_one_that_failed(run):
    def body():
        s = socket.socket()
        s.setblocking(False)
        assert s.connect_ex((1, 77)) == errno.EINPROGRESS
        s.setblocking(True)
        assert error(s.connect, (1, 77)) == "ECONNRESET"  # the first one's
        s.setblocking(False)
        assert s.connect_ex((1, 77)) == errno.EINPROGRESS
        assert s.getsockopt(SOL_SOCKET, socket.SO_ERROR) == errno.ECONNRESET
        s.setblocking(True)
        listener = socket.create_server((1, 77))
        s.connect((1, 77))
        c = listener.accept()[0]
        s.send(b"at last")
        assert c.recv(7) == b"at last"
        for sock in (s, c, listener):
            sock.close()

    run(body)


def test_stream_calls_say_why_a_connect_failed(run):
    """asyncio's open_connection does not ask; Linux's own calls say ENOTCONN."""

    def body():
        for call, argument in (
            ("read", 1),
            ("readline", -1),
            ("readinto", bytearray(1)),
            ("write", b"x"),
        ):
            s = socket.socket()
            s.setblocking(False)
            assert s.connect_ex((1, 77)) == errno.EINPROGRESS
            assert error(s.recv, 1) == "ENOTCONN"
            assert error(s.send, b"x") == "ENOTCONN"
            assert error(getattr(s, call), argument) == "ECONNRESET"
            assert error(getattr(s, call), argument) == "ENOTCONN"
            s.close()

    run(body)


def test_nonblocking_connect_that_works(run):
    def body():
        listener = socket.create_server((1, 77))
        s = socket.socket()
        s.setblocking(False)
        assert s.connect_ex((1, 77)) == errno.EINPROGRESS
        assert polled(s) == 4
        assert s.getsockopt(SOL_SOCKET, socket.SO_ERROR) == 0
        assert s.connect_ex((1, 77)) == errno.EISCONN
        c = listener.accept()[0]
        for sock in (s, c, listener):
            sock.close()

    run(body)


def test_a_bound_socket_that_connects_to_itself_is_eproto(run):
    def body():
        s = socket.socket()
        s.bind((1, 900))
        assert error(s.connect, (1, 900)) == "EPROTO"
        s.close()

    run(body)


def test_addresses_that_nobody_can_connect_to(run):
    def body():
        s = socket.socket()
        for cid in 3, 0, -1:  # this machine has no vsock device; so on Linux
            assert error(s.connect, (cid, 1)) == "ENODEV"
        assert error(s.connect, (2, 1)) == "ECONNRESET"  # the host is this machine itself then
        listener = socket.create_server((socket.VMADDR_CID_ANY, 900))
        s.connect((2, 900))
        accepted, address = listener.accept()
        assert s.getpeername() == accepted.getsockname() == (2, 900)
        assert address[0] == accepted.getpeername()[0] == 1
        s.send(b"x")
        assert accepted.recv(2) == b"x"
        assert error(socket.socket().bind, (2, 901)) == "EADDRNOTAVAIL"
        for each in (s, accepted, listener):
            each.close()
        assert error(s.connect, (1, 1)) == "EBADF"

    run(body)


def test_backlog_holds_one_more_than_it_says_and_then_resets(run):
    def body():
        listener = socket.create_server((1, 77), backlog=1)
        a, b, c = (socket.socket() for _ in range(3))
        a.connect((1, 77))
        b.connect((1, 77))
        assert error(c.connect, (1, 77)) == "ECONNRESET"
        a.close()  # keeps its place until accepted
        assert error(c.connect, (1, 77)) == "ECONNRESET"
        first = listener.accept()[0]
        assert first.recv(1) == b""
        c.connect((1, 77))
        for sock in (b, c, first, listener):
            sock.close()

    run(body)


def test_types_share_one_port_space_and_do_not_mix(run):
    def body():
        listener = socket.create_server((1, 77))
        s = socket.socket(AF_VSOCK, SOCK_SEQPACKET)
        assert error(s.bind, (1, 77)) == "EADDRINUSE"
        assert error(s.connect, (1, 77)) == "ECONNRESET"
        s.close()
        listener.close()

    run(body)


def test_bind_and_listen_errors(run):
    def body():
        s = socket.socket()
        assert error(s.listen) == "EINVAL"
        assert error(s.accept) == "EINVAL"
        assert error(s.bind, (77, 1)) == "EADDRNOTAVAIL"
        s.bind((socket.VMADDR_CID_ANY, 0))  # a port like any other, and privileged
        assert s.getsockname() == (socket.VMADDR_CID_ANY, 0)
        assert error(s.bind, (1, 5)) == "EINVAL"
        t = socket.socket()
        t.setsockopt(SOL_SOCKET, socket.SO_REUSEADDR, 1)
        assert error(t.bind, (1, 0)) == "EADDRINUSE"
        s.close()
        t.bind((1, 0))
        t.close()

    run(body)


def test_not_connected(run):
    def body():
        s = socket.socket()
        for function, arguments in (
            (s.getpeername, ()),
            (s.send, (b"x",)),
            (s.recv, (1,)),
            (s.shutdown, (socket.SHUT_WR,)),
        ):
            assert error(function, *arguments) == "ENOTCONN"
        assert s.getsockname() == (socket.VMADDR_CID_ANY, socket.VMADDR_PORT_ANY)
        assert polled(s) == 4
        s.close()

    run(body)


def test_socket_types_and_families(run):
    def body():
        assert error(socket.socket, 2, SOCK_STREAM) == "EAFNOSUPPORT"
        assert error(socket.socket, AF_VSOCK, 3) == "ESOCKTNOSUPPORT"
        assert error(socket.socket, AF_VSOCK, socket.SOCK_DGRAM) == "ENODEV"
        a, b = pair()
        assert error(a.sendto, b"x", (1, 1)) == "EISCONN"
        b.send(b"x")
        assert a.recvfrom(1) == (b"x", None)
        a.close()
        b.close()

    run(body)


def test_local_shutdown_ends_getpeername_and_send(run):
    def body():
        a, b = pair()
        peer = a.getpeername()
        a.shutdown(socket.SHUT_WR)
        assert error(a.getpeername) == "ENOTCONN"
        a.setblocking(True)  # with a time-out CPython waits for what never polls writable
        assert error(a.send, b"x") == "EPIPE"
        assert b.getpeername()[0] == 1
        a.close()
        assert b.getpeername()[0] == 1  # still works after the peer's close
        assert b.recv(1) == b""
        assert error(b.send, b"x") == "EPIPE"
        assert b.getsockopt(SOL_SOCKET, socket.SO_ERROR) == 0
        assert peer[0] == 1
        b.close()

    run(body)


def test_shut_rd_discards_and_the_peer_gets_epipe(run):
    def body():
        a, b = pair()
        b.send(b"lost")
        a.shutdown(socket.SHUT_RD)
        assert a.recv(10) == b""
        assert error(b.send, b"x") == "EPIPE"
        assert polled(b) & 4
        assert a.send(b"other way") == 9
        assert b.recv(20) == b"other way"
        a.close()
        b.close()

    run(body)


def test_poll_bits_of_a_closed_peer_and_of_both_directions_shut(run):
    def body():
        a, b = pair()
        assert polled(a) == 4
        b.send(b"x")
        assert polled(a) == 5
        b.close()
        assert polled(a) == 0x2005  # IN, OUT, RDHUP; no HUP
        a.shutdown(socket.SHUT_RDWR)
        assert polled(a) & 0x10
        a.close()

    run(body)


def test_errors_are_of_cpythons_classes(run):
    def body():
        def caught(function, *arguments):
            try:
                function(*arguments)
            except OSError as e:
                return type(e)
            return None

        a, b = pair()
        a.setblocking(False)
        assert caught(a.recv, 1) is BlockingIOError
        with socket.socket(AF_VSOCK) as refused:
            assert caught(refused.connect, (1, 77)) is ConnectionResetError
        waits = socket.socket(AF_VSOCK)
        waits.setblocking(False)
        assert caught(waits.connect, (1, 77)) is BlockingIOError
        waits.close()
        b.close()
        assert caught(a.send, b"x") is BrokenPipeError
        a.close()
        assert caught(a.recv, 1) is OSError  # EBADF has none of its own

    run(body)


def test_what_cpython_refuses_is_refused(run):
    # As CPython 3.11 does on Linux 6.1, on the same connection.
    def body():
        def refused(function, *arguments):
            try:
                return function(*arguments)
            except (TypeError, ValueError, OverflowError) as e:
                assert len(str(e)) > 10
                return type(e)

        a, b = pair()
        listener = socket.socket(AF_VSOCK)
        small = bytearray(4)
        for data in "x", None, 1, 1.5, [1]:
            for call in a.send, a.sendall:
                assert refused(call, data) is TypeError, (call, data)
            assert refused(a.sendto, data, (1, 2)) is TypeError
        assert a.send(b"") == a.send(bytearray()) == 0
        assert refused(a.sendto, b"x") is TypeError
        assert refused(a.sendto, b"x", 5) is TypeError
        assert error(a.sendto, b"x", (1, 2)) == "EISCONN"
        for size in -1, "x", 1.5, None:
            expected = ValueError if size == -1 else TypeError
            assert refused(a.recv, size) is expected, size
            assert refused(a.recvfrom, size) is expected, size
        b.send(b"what waits")
        for call in a.recv_into, a.recvfrom_into:
            assert refused(call, small, 5) is ValueError
            assert refused(call, small, -1) is ValueError
            for buffer in b"abc", "abc", 5, None, memoryview(b"abc"):
                assert refused(call, buffer) is TypeError, buffer
        assert a.recv_into(small, 4) == 4 and bytes(small) == b"what"
        assert a.readinto(small, 100) == 4 and a.recv(10) == b"ts"
        for address in 5, None, "x", (1,), (1, 2, 3), (), [1, 2], (1, "a"), ("a", 1), (1.5, 2):
            for call in listener.bind, listener.connect, listener.connect_ex:
                assert refused(call, address) is TypeError, address
        assert refused(listener.settimeout, -1) is ValueError
        assert refused(listener.settimeout, float("nan")) is ValueError
        assert refused(listener.settimeout, "x") is TypeError
        for seconds in float("inf"), 1e10:
            assert refused(listener.settimeout, seconds) is OverflowError
        assert refused(socket.setdefaulttimeout, -1) is ValueError
        assert socket.getdefaulttimeout() is None
        assert refused(listener.listen, 1 << 40) is OverflowError
        assert refused(listener.listen, "x") is TypeError
        for sock in a, b, listener:
            sock.close()

    run(body)


def test_numbers_of_an_address_have_32_bits(run):
    # CPython takes the lower 32 bits of each number, so that -1 is any.
    def body():
        listener = socket.socket(AF_VSOCK)
        listener.bind((-1, -1))
        listener.listen(-1)
        cid, port = listener.getsockname()
        assert cid == socket.VMADDR_CID_ANY and 0 < port < 1 << 32
        client = socket.socket(AF_VSOCK)
        client.connect((1 + (1 << 32), port + (1 << 40)))
        assert client.getpeername() == (1, port)
        client.close()
        listener.close()
        for cid, port, name in (1, -1, "ECONNRESET"), (-1, 1, "ENODEV"), (1 << 64, 1, "ENODEV"):
            with socket.socket(AF_VSOCK) as sock:
                assert error(sock.connect, (cid, port)) == name

    run(body)


def test_connect_ex_gives_what_cpythons_gives(run):
    def body():
        for address, number in ((1, 77), errno.ECONNRESET), ((77, 77), errno.ENODEV):
            with socket.socket(AF_VSOCK) as sock:
                assert sock.connect_ex(address) == number

    run(body)


def test_timeouts_and_nonblocking(run):
    def body():
        a, b = pair()
        a.settimeout(0.05)
        try:
            got = a.recv(1)
        except TimeoutError as e:
            got = e.args, str(e), e.errno
        assert got == (("timed out",), "timed out", None)
        assert socket.timeout is TimeoutError
        a.setblocking(False)
        assert error(a.recv, 1) == "EAGAIN"
        b.settimeout(0.05)
        assert error(b.recv, 1, socket.MSG_DONTWAIT) == "timed out"  # CPython waits first
        b.settimeout(None)
        assert error(b.recv, 1, socket.MSG_DONTWAIT) == "EAGAIN"
        assert a.gettimeout() == 0.0 and not a.getblocking()
        total = 0
        try:
            while True:
                total += a.send(bytes(65536))
        except OSError as e:
            assert e.errno == errno.EAGAIN
        assert total == 262144
        assert polled(a) == 0
        left = total
        while left:
            left -= len(b.recv(left))
        assert polled(a) == 4
        a.close()
        b.close()

    run(body)


def test_peek_waitall_and_recv_into(run):
    def body():
        a, b = pair()
        a.send(b"one")
        a.send(b"two")
        assert b.recv(4, socket.MSG_PEEK) == b"onet"
        assert b.recv(6, socket.MSG_WAITALL) == b"onetwo"
        buffer = bytearray(10)
        a.send(b"abcdef")
        assert b.recv_into(buffer, 4) == 4
        assert b.recv_into(memoryview(buffer)[4:]) == 2
        assert buffer == b"abcdef\0\0\0\0"
        a.close()
        b.close()

    run(body)


def test_rcvlowat_hides_less(run):
    def body():
        a, b = pair()
        b.setsockopt(SOL_SOCKET, socket.SO_RCVLOWAT, 10)
        a.send(b"123456789")
        assert polled(b, 1) == 0
        a.send(b"0")
        assert polled(b, 1) == 1
        assert b.recv(100) == b"1234567890"
        a.close()
        b.close()

    run(body)


def test_buffer_sizes_clamp_and_are_inherited(run):
    def body():
        s = socket.socket()

        def get(name):
            return struct.unpack("Q", s.getsockopt(AF_VSOCK, name, 8))[0]

        assert [get(n) for n in (0, 1, 2)] == [262144, 128, 262144]
        s.setsockopt(AF_VSOCK, socket.SO_VM_SOCKETS_BUFFER_SIZE, struct.pack("Q", 1))
        assert get(0) == 128
        s.setsockopt(AF_VSOCK, socket.SO_VM_SOCKETS_BUFFER_SIZE, struct.pack("Q", 1 << 30))
        assert get(0) == 262144
        s.setsockopt(AF_VSOCK, socket.SO_VM_SOCKETS_BUFFER_MAX_SIZE, struct.pack("Q", 100))
        assert get(0) == 100  # the maximum wins over the minimum
        assert error(s.getsockopt, AF_VSOCK, 99, 8) == "ENOPROTOOPT"
        assert error(s.setsockopt, 6, 1, 1) == "ENOPROTOOPT"
        s.bind((1, 77))
        s.listen()
        c = socket.socket()
        c.connect((1, 77))
        d = s.accept()[0]
        assert struct.unpack("Q", d.getsockopt(AF_VSOCK, 0, 8))[0] == 100
        c.setblocking(False)
        assert c.send(bytes(1000)) == 100  # that is all the window there is
        for sock in (s, c, d):
            sock.close()

    run(body)


def test_options_as_integers_are_64_bits_as_cpython_passes_them(run):
    def body():
        s = socket.socket()
        size, least, most = 0, 1, 2  # SO_VM_SOCKETS_BUFFER_...
        assert [s.getsockopt(AF_VSOCK, n) for n in (size, least, most)] == [262144, 128, 262144]
        s.setsockopt(AF_VSOCK, size, 65536)
        assert s.getsockopt(AF_VSOCK, size) == 65536
        assert s.getsockopt(AF_VSOCK, size, 8) == struct.pack("Q", 65536)
        s.setsockopt(AF_VSOCK, most, -1)
        assert s.getsockopt(AF_VSOCK, most) == (1 << 64) - 1
        s.setsockopt(AF_VSOCK, size, (1 << 64) + 300000)  # what is above 64 bits is lost
        assert s.getsockopt(AF_VSOCK, size) == 300000
        s.setsockopt(AF_VSOCK, least, 400000)
        assert s.getsockopt(AF_VSOCK, size) == 400000
        timeout = socket.SO_VM_SOCKETS_CONNECT_TIMEOUT  # a struct of 16 bytes
        assert error(s.setsockopt, AF_VSOCK, timeout, 1) == "EINVAL"
        assert error(s.getsockopt, AF_VSOCK, timeout) == "EINVAL"
        assert error(s.setsockopt, AF_VSOCK, size, b"abc") == "EINVAL"
        s.setsockopt(SOL_SOCKET, socket.SO_RCVLOWAT, (1 << 32) + 7)  # of which Linux takes 32 bits
        assert s.getsockopt(SOL_SOCKET, socket.SO_RCVLOWAT) == 7
        s.setsockopt(SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("qq", 3, 500000))
        assert s.getsockopt(SOL_SOCKET, socket.SO_RCVTIMEO) == 3  # its first 64 bits
        s.close()

    run(body)


def test_other_options_read_back(run):
    def body():
        s = socket.socket(AF_VSOCK, SOCK_SEQPACKET)

        def get(name):
            return s.getsockopt(SOL_SOCKET, name)

        assert get(socket.SO_TYPE) == SOCK_SEQPACKET
        assert get(socket.SO_DOMAIN) == AF_VSOCK
        assert get(socket.SO_ACCEPTCONN) == 0
        s.bind((1, 77))
        s.listen()
        assert get(socket.SO_ACCEPTCONN) == 1
        name = socket.SO_VM_SOCKETS_CONNECT_TIMEOUT
        assert struct.unpack("qq", s.getsockopt(AF_VSOCK, name, 16)) == (2, 0)
        s.setsockopt(AF_VSOCK, name, struct.pack("qq", 0, 500000))
        assert struct.unpack("qq", s.getsockopt(AF_VSOCK, name, 16)) == (0, 500000)
        s.setsockopt(AF_VSOCK, name, struct.pack("qq", 0, 0))
        assert struct.unpack("qq", s.getsockopt(AF_VSOCK, name, 16)) == (2, 0)
        s.close()

    run(body)


def test_select_has_linux_names_and_counts_errors_as_it_does(run):
    def body():
        a, b = pair()
        read = select.POLLIN | select.POLLRDNORM
        write = select.POLLOUT | select.POLLWRNORM
        assert polled(a, 0x3FF) == write
        b.send(b"x")
        assert polled(a, 0x3FF) == read | write
        assert polled(a, select.POLLRDNORM) == select.POLLRDNORM
        assert select.select([b, a], [a], [a], 0) == ([a], [a], [])
        a.shutdown(2)
        assert select.select([a], [a], [a], 0) == ([a], [], [])  # HUP is readable
        b.close()
        a.close()
        failed = socket.socket()
        failed.setblocking(False)
        assert error(failed.connect, (1, 5999)) == "EINPROGRESS"
        assert select.select([failed], [failed], [failed], 0) == ([failed], [failed], [])
        failed.close()
        try:
            select.select([], [], [], -1)
        except ValueError:
            return
        raise AssertionError("a negative time-out")

    run(body)


def test_fcntl_tells_what_is_unread_at_both_ends(run):
    def body():
        import fcntl

        a, b = pair()
        a.send(b"abc")
        answer = bytearray(4)
        answer[0] = 1
        assert fcntl.ioctl(a, fcntl.SIOCOUTQ, answer) == 0 and answer == bytes(4)  # it is there
        assert fcntl.ioctl(b, fcntl.SIOCINQ, b"    ") == b"\3\0\0\0"
        assert b.recv(3) == b"abc"
        assert fcntl.ioctl(b, fcntl.SIOCINQ, b"    ") == bytes(4)
        assert error(fcntl.ioctl, a, 1, b"    ") == "ENOTTY"
        request = socket.IOCTL_VM_SOCKETS_GET_LOCAL_CID
        assert fcntl.ioctl(a, request, b"    ") == struct.pack("I", socket.get_local_cid())
        a.close()
        b.close()
        try:
            fcntl.ioctl(a, fcntl.SIOCOUTQ, answer)
        except ValueError:
            pass
        else:
            raise AssertionError("it is closed")
        fresh = socket.socket()
        assert error(fcntl.ioctl, fresh, fcntl.SIOCINQ, answer) == "EOPNOTSUPP"
        fresh.close()

    run(body)


def test_seqpacket_keeps_messages(run):
    def body():
        a, b = pair(SOCK_SEQPACKET)
        a.send(b"first message")
        a.send(b"")
        a.send(b"second")
        a.send(bytes(range(256)) * 700)
        assert b.recv(5) == b"first"  # the rest of the message is gone
        buffer = bytearray(3)
        cut = socket.MSG_TRUNC
        assert b.recv_into(buffer, 0, cut | socket.MSG_PEEK) == 6 and buffer == b"sec"
        halves = [bytearray(2), bytearray(1)]
        assert b.recvmsg_into(halves, 0, socket.MSG_PEEK)[:3] == (3, [], cut)
        assert b.recvmsg_into(halves, 0, cut)[:3] == (6, [], cut) and halves == [b"se", b"c"]
        assert b.recv(200000) == bytes(range(256)) * 700
        assert error(a.send, bytes(262145)) == "EMSGSIZE"
        a.close()
        assert b.recv(1) == b""
        b.close()

    run(body)


def test_a_message_without_its_end_is_not_read_when_the_device_loses_the_connection(run):
    def body():
        from uctypes import addressof
        from vsock import control

        a, b = pair(SOCK_SEQPACKET)
        b.settimeout(None)
        part = b"half a message"
        conn = a.connection
        assert conn.out.small(conn.at, addressof(part), len(part), 0)
        assert error(b.recv, 100, socket.MSG_DONTWAIT) == "EAGAIN"
        control.lose(b.connection.at, errno.ECONNRESET)
        assert [error(b.recv, 100) for _ in range(2)] == ["ECONNRESET", "ENOTCONN"]
        b.close()
        a.close()

    run(body)


def test_a_file_of_an_encoding_that_is_not_there_is_a_lookup_error(run):
    def body():
        a, b = pair()
        try:
            a.makefile("r", encoding="utf-16")
        except LookupError as error:
            assert "utf-16" in str(error)
        else:
            raise AssertionError("it was taken for another one")
        a.close()  # no file is left that keeps it open
        assert b.recv(1) == b""
        b.close()

    run(body)


def test_makefile_reads_lines_and_outlives_close(run):
    def body():
        a, b = pair()
        f = a.makefile("rw")
        a.close()
        b.sendall(b"one\ntwo\nthr\xc3\xa9\xc3\xa9")
        assert f.readline() == "one\n"
        assert next(f) == "two\n"
        assert f.read(4) == "thr\xe9"
        f.write("answer")
        f.close()
        assert b.recv(100) == b"answer"
        assert b.recv(1) == b""
        b.close()

    run(body)


def test_with_statement_and_helpers(run):
    def body():
        server = socket.create_server((1, 77))
        with server as listener, socket.create_connection((1, 77), timeout=3) as c:
            assert c.gettimeout() == 3.0
            d, address = listener.accept()
            with d:
                assert address == (1, c.getsockname()[1])
                assert d.getpeername() == address
        assert error(c.send, b"x") == "EBADF"
        assert socket.getaddrinfo("local", 77)[0][-1] == (1, 77)

    run(body)


def test_listener_port_is_free_while_its_children_live(run):
    def body():
        listener = socket.create_server((1, 77))
        c = socket.create_connection((1, 77))
        d = listener.accept()[0]
        listener.close()
        listener = socket.create_server((1, 77))
        c.send(b"x")
        assert d.recv(1) == b"x"
        for sock in (c, d, listener):
            sock.close()

    run(body)


def test_view_and_splice(run):
    def body():
        a, b = pair()
        a.send(b"borrowed")
        with b.recv_view() as view:
            assert view == b"borrowed"
        a.send(b"forwarded")
        view = b.recv_view()
        assert view.forward(b)
        assert a.recv(100) == b"forwarded"
        a.send(b"spliced")
        assert b.splice(b) == 7
        assert a.recv(100) == b"spliced"
        assert b.splice(b) == 0
        a.shutdown(socket.SHUT_WR)
        assert b.splice(b) == -1
        a.close()
        b.close()

    run(body)


def test_splice_tells_the_end_along_with_the_last_bytes(run):
    def body():
        a, b = pair()
        a.send(b"last words")
        a.shutdown(socket.SHUT_WR)
        assert b.splice(b) == -1  # no other event follows: an edge-triggered server must close now
        assert a.recv(100) == b"last words"
        a.close()
        b.close()

    run(body)


def test_asyncio_streams(run):
    def body():
        import asyncio

        async def serve(reader, writer):
            line = await reader.readline()
            writer.write(b"got " + line)
            writer.write(bytes(300000))
            await writer.drain()
            writer.close()
            await writer.wait_closed()

        async def main():
            server = await asyncio.start_server(serve, "local", 77)
            got = []

            async def ask(n):
                reader, writer = await asyncio.open_connection("local", 77)
                writer.write(b"question %d\n" % n)
                await writer.drain()
                got.append(await reader.readline())
                await reader.readexactly(300000)
                assert await reader.read(1) == b""
                writer.close()
                await writer.wait_closed()

            await asyncio.gather(*[ask(n) for n in range(5)])
            server.close()
            await server.wait_closed()
            return sorted(got)

        assert asyncio.run(main()) == [b"got question %d\n" % n for n in range(5)]

    run(body)


def test_poller_names_only_sockets_with_news(run):
    def body():
        poller = socket.poller()
        pairs = [pair() for _ in range(20)]
        for _, b in pairs:
            poller.register(b)
        while poller.next():
            pass  # each comes up once at first
        pairs[7][0].send(b"x")
        assert poller.wait(1) is pairs[7][1]
        assert poller.wait(0) is None
        for a, b in pairs:
            a.close()
            b.close()

    run(body)
