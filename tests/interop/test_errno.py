# SPDX-License-Identifier: MIT
"""Time-outs and errors are Linux's, as docs/errno.md lists them."""

import errno
import socket
import time

import pytest
from prelude import accept, dial, errno_of, listen
from streams import SECONDS, answer_one, receive

GUEST, HOST = 33, 2
PORT = 7800


def time_out_everywhere(port):
    """How long each call waits that may wait, in milliseconds, and the errno it then gives:
    none, as CPython's, if it is the socket's own time that is over."""

    def measured(function, *arguments):
        started = time.ticks_ms()
        number = errno_of(function, *arguments)
        return number, time.ticks_diff(time.ticks_ms(), started)

    listener = listen(port)
    listener.settimeout(0.3)
    results = [measured(listener.accept)]
    listener.settimeout(None)
    print("listening")
    sock, _ = listener.accept()
    sock.settimeout(0.3)
    results.append(measured(sock.recv, 1))
    results.append(measured(sock.recv_into, bytearray(1)))
    results.append(measured(sock.sendall, bytes(4 << 20)))
    sock.settimeout(0)
    results.append(measured(sock.recv, 1))
    results.append(measured(sock.sendall, b"x" * 1000000))
    listener.setblocking(False)
    results.append(measured(listener.accept))
    inherited = sock.gettimeout(), listener.gettimeout(), sock.getblocking()
    return results, inherited


def test_time_outs_end_in_time(guest_side, vsock):
    guest_side.start(time_out_everywhere, PORT)
    guest_side.expect("listening")
    with vsock.dial(PORT):
        results, inherited = guest_side.result()
    for number, milliseconds in results[:4]:
        assert number is None
        assert 290 <= milliseconds < 30_000
    assert [number for number, _ in results[4:]] == [errno.EAGAIN] * 3
    assert inherited == (0.0, 0.0, False)


def connect_errors(cid, port):
    results = []
    sock = socket.socket()
    results.append(errno_of(sock.connect, (cid, port)))  # nobody listens
    results.append(errno_of(sock.connect, (cid, port)))  # after a blocking failure a retry works
    bound = socket.socket()
    bound.bind((socket.VMADDR_CID_ANY, port))
    results.append(errno_of(bound.connect, (socket.get_local_cid(), port)))
    results.append(errno_of(socket.socket().connect, (1, port + 1)))
    return results


def test_connect_errors(guest_side, refusal):
    results = guest_side.call(connect_errors, HOST, PORT)
    assert results == [refusal, refusal, errno.EPROTO, errno.ECONNRESET]


def connect_to_nobody(cid, seconds):
    import struct

    sock = socket.socket()
    if seconds:
        value = struct.pack("<qq", 0, int(seconds * 1000000))
        sock.setsockopt(socket.AF_VSOCK, socket.SO_VM_SOCKETS_CONNECT_TIMEOUT, value)
    started = time.ticks_ms()
    number = errno_of(sock.connect, (cid, 1))
    return number, time.ticks_diff(time.ticks_ms(), started)


@pytest.mark.parametrize("seconds, least, most", [(0, 1990, 30_000), (0.4, 390, 1990)])
def test_connect_to_a_cid_nobody_answers_for_times_out(guest_side, seconds, least, most):
    number, milliseconds = guest_side.call(connect_to_nobody, 4_000_000, seconds)
    assert number == errno.ETIMEDOUT
    assert least <= milliseconds < most


def meet_the_end(port):
    sock = accept(port)
    first = sock.recv(3)
    print("read")
    input()
    name = sock.getpeername()[0]
    send = errno_of(sock.send, b"x")
    rest = sock.recv(100)
    end = sock.recv(100)
    pending = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    sock.shutdown(socket.SHUT_RDWR)
    return first, name, send, rest, end, pending, errno_of(sock.getpeername)


def test_send_after_peer_close_raises_epipe_while_data_is_still_readable(guest_side, vsock):
    guest_side.start(meet_the_end, PORT)
    with vsock.dial(PORT) as connection:
        connection.sendall(b"onetwo")
        guest_side.expect("read")
    time.sleep(0.3)
    guest_side.go_on()
    assert guest_side.result() == (
        *(b"one", HOST, errno.EPIPE, b"two", b"", 0),
        errno.ENOTCONN,
    )


def use_what_is_closed(cid, port):
    sock = dial(cid, port)
    sock.close()
    sock.close()  # twice is allowed
    numbers = [
        errno_of(function, *arguments)
        for function, arguments in (
            (sock.send, (b"x",)),
            (sock.recv, (1,)),
            (sock.accept, ()),
            (sock.connect, ((cid, port),)),
            (sock.getsockname, ()),
            (sock.shutdown, (socket.SHUT_RDWR,)),
        )
    ]
    return numbers, sock.fileno()


def end_of(connection):
    return connection.recv(1)


def test_closed_socket_gives_ebadf(guest_side, vsock):
    with vsock.listen(PORT) as listener:
        host = answer_one(listener, end_of)
        numbers, fileno = guest_side.call(use_what_is_closed, HOST, PORT)
        assert host.result() == b""
    assert (numbers, fileno) == ([errno.EBADF] * 6, -1)


def call_in_the_wrong_state(cid, port):
    fresh = socket.socket()
    listener = listen(port)
    connected = dial(cid, port)
    calls = (
        (fresh.send, (b"x",)),
        (fresh.recv, (1,)),
        (fresh.getpeername, ()),
        (fresh.shutdown, (socket.SHUT_WR,)),
        (fresh.listen, ()),
        (fresh.accept, ()),
        (listener.connect, ((cid, port),)),
        (listener.recv, (1,)),
        (listener.send, (b"x",)),
        (connected.listen, ()),
        (connected.accept, ()),
        (connected.connect, ((cid, port),)),
        (connected.bind, ((socket.VMADDR_CID_ANY, port + 1),)),
        (connected.sendto, (b"x", (cid, port))),
        (connected.send, (b"x", socket.MSG_OOB)),
    )
    numbers = [errno_of(function, *arguments) for function, arguments in calls]
    connected.close()
    return numbers


def test_calls_in_the_wrong_state(guest_side, vsock):
    with vsock.listen(PORT) as listener:
        host = answer_one(listener, end_of)
        numbers = guest_side.call(call_in_the_wrong_state, HOST, PORT)
        host.result()
    invalid, unconnected = errno.EINVAL, errno.ENOTCONN
    assert numbers == [
        *(unconnected, unconnected, unconnected, unconnected, invalid, invalid),  # fresh
        *(invalid, unconnected, unconnected),  # listening
        *(invalid, invalid, errno.EISCONN, invalid, errno.EISCONN, errno.EOPNOTSUPP),
    ]


def take_ports(cid, port):
    """A port is taken while its listener lives; accepted children do not hold it."""
    first = listen(port)
    taken = errno_of(socket.socket().bind, (socket.VMADDR_CID_ANY, port))
    print("listening")
    child, _ = first.accept()
    first.close()
    second = listen(port)
    child.sendall(child.recv(10))
    second.close()
    privileged = socket.socket()
    privileged.bind((socket.VMADDR_CID_ANY, 0))
    return taken, privileged.getsockname()[1]


def test_ports_are_taken_and_freed(guest_side, vsock):
    guest_side.start(take_ports, HOST, PORT)
    guest_side.expect("listening")
    with vsock.dial(PORT) as connection:
        connection.settimeout(SECONDS)
        connection.sendall(b"child")
        assert receive(connection, 5) == b"child"
        assert guest_side.result() == (errno.EADDRINUSE, 0)


def open_seqpacket(cid, port):
    sock = socket.socket(socket.AF_VSOCK, socket.SOCK_SEQPACKET)
    return errno_of(sock.connect, (cid, port))


def test_seqpacket_is_refused_as_linux_does(guest_side, lacks):
    unsupported = "seqpacket" in lacks
    expected = errno.ESOCKTNOSUPPORT if unsupported else errno.ECONNRESET
    assert guest_side.call(open_seqpacket, HOST, PORT) == expected
