# SPDX-License-Identifier: MIT
"""A device that goes away under a running program and comes back: docs/errno.md's last table."""

import errno
import select
import socket
import time

import pytest
from prelude import dial, errno_of, listen
from streams import SECONDS, Background, accept, receive

HOST, LOCAL, GUEST = 2, 1, 33
PORT = 7900
OVER = select.POLLIN | select.POLLOUT | select.POLLHUP
LOST = OVER | select.POLLERR


def outlive(broken, cid, port):
    """What sockets give when the device goes, while it is away, and when it is there again."""
    import select

    import machine
    import vsock

    def events(sock):
        poll = select.poll()
        poll.register(sock, select.POLLIN | select.POLLOUT)
        found = poll.poll(0)
        return found[0][1] if found else 0

    def calls(sock):
        return [errno_of(sock.recv, 1), errno_of(sock.send, b"x"), errno_of(sock.recv, 1)]

    listener = listen(port)
    print("listening")
    reader, _ = listener.accept()
    assert reader.recv(6, socket.MSG_PEEK | socket.MSG_WAITALL) == b"queued"
    asker = dial(cid, port)
    sender = dial(cid, port)
    caller = socket.socket()
    caller.setblocking(False)
    assert errno_of(caller.connect, (4000000, 1)) == 115
    if broken:
        # The device gives back more than it was given.
        used = vsock.get().device._rx.used_address
        machine.mem16[used + 2] = (machine.mem16[used + 2] + 1000) & 0xFFFF
        vsock.get().device.poll()
    else:
        vsock.close()

    lost = [
        (events(reader), reader.recv(100), calls(reader), events(reader)),
        (asker.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR), calls(asker)),
        (errno_of(sender.sendall, bytearray(100000)), calls(sender)),
        (errno_of(sender.getpeername), errno_of(sender.shutdown, 2)),
        caller.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR),
    ]
    away = errno_of(socket.socket().connect, (cid, port)), socket.get_local_cid()
    pending, peer = listener.accept()
    waited = peer[0], calls(pending)
    here = dial(1, port)
    here.sendall(b"to myself")
    local = listener.accept()[0].recv(100)

    vsock.reopen()
    print("open again")
    again, _ = listener.accept()
    again.sendall(again.recv(100))
    dial(cid, port).sendall(b"and out again")
    return lost, away, waited, local, calls(reader)


def is_over(connection):
    """True if the other end, spoken to, knows nothing of the connection."""
    connection.settimeout(SECONDS)
    try:
        connection.sendall(b"x")
        return connection.recv(1) == b""
    except ConnectionError:
        return True


@pytest.mark.parametrize(
    "broken, first, connect, cid",
    [(False, errno.ECONNRESET, errno.ENODEV, LOCAL), (True, errno.EIO, errno.EIO, GUEST)],
    ids=["closed", "broken"],
)
def test_connections_end_as_documented_and_listeners_stay(
    guest_side, vsock, broken, first, connect, cid
):
    unconnected = errno.ENOTCONN
    with vsock.listen(PORT) as listener:
        guest_side.start(outlive, broken, HOST, PORT)
        guest_side.expect("listening")
        old = [vsock.dial(PORT), vsock.dial(PORT)]
        old[0].sendall(b"queued")
        old += [accept(listener), accept(listener)]
        guest_side.expect("open again")
        with vsock.dial(PORT) as connection:
            connection.settimeout(SECONDS)
            connection.sendall(b"echo me")
            assert receive(connection, 7) == b"echo me"
        with accept(listener) as connection:
            assert receive(connection, 13) == b"and out again"
        lost, away, waited, local, later = guest_side.result()
    assert lost == [
        (LOST, b"queued", [first, unconnected, unconnected], OVER),
        (first, [unconnected] * 3),
        (first, [unconnected] * 3),
        (unconnected, unconnected),
        first,
    ]
    assert away == (connect, cid)
    assert waited == (HOST, [first, unconnected, unconnected])
    assert (local, later) == (b"to myself", [unconnected] * 3)
    assert all(is_over(connection) for connection in old)


def close_under_a_call(port):
    import machine
    import vsock

    sock = accept(port)
    vector = machine.Vector()
    vector.irq(lambda vector: vsock.close())
    vector.after(200000)
    started = time.ticks_ms()
    number = errno_of(sock.recv, 1)
    return number, time.ticks_diff(time.ticks_ms(), started)


def test_a_call_that_waits_ends_with_the_device(guest_side, vsock):
    guest_side.start(close_under_a_call, PORT)
    with vsock.dial(PORT):
        number, milliseconds = guest_side.result()
    assert number == errno.ECONNRESET
    assert 190 <= milliseconds < 30_000


def reopen_often(cid, port, times):
    import machine
    import vsock

    def have():
        vectors = [machine.Vector() for _ in range(2)]
        for vector in vectors:
            vector.close()
        return vsock.get().store.spare, machine.dma_used(), [each.number for each in vectors]

    vsock.close()
    vsock.reopen()
    before = have()
    for _ in range(times):
        sock = dial(cid, port)
        sock.sendall(bytearray(50000))  # the device has not given all of it back at once
        vsock.close()
        vsock.reopen()
        sock.close()
    return before, have()


def test_what_the_device_was_lent_comes_back_with_every_close(guest_side, vsock):
    def take_all(listener, times):
        return [accept(listener) for _ in range(times)]

    with vsock.listen(PORT) as listener:
        host = Background(take_all, listener, 20)
        before, after = guest_side.call(reopen_often, HOST, PORT, 20)
        host.result()
    assert before == after


def speak_to_oneself(port):
    """What connections within the guest do when its CID goes with the device."""
    import vsock

    def talks(a, b):
        a.settimeout(2)
        b.settimeout(2)
        return errno_of(a.sendall, b"x") or errno_of(b.recv, 1) or errno_of(a.getpeername)

    listener = listen(port)
    pairs = []
    for cid in (1, socket.get_local_cid()):
        caller = dial(cid, port)
        pairs.append((caller, listener.accept()[0]))
    before = [talks(*pair) for pair in pairs]
    vsock.close()
    after = [talks(*pair) for pair in pairs]
    own = errno_of(pairs[1][1].recv, 1)
    vsock.reopen()
    return before, after, own, [talks(*pair) for pair in pairs]


def test_connections_to_the_guests_own_cid_end_with_it(guest_side):
    reset, unconnected = errno.ECONNRESET, errno.ENOTCONN
    before, after, own, later = guest_side.call(speak_to_oneself, PORT)
    assert (before, after, own, later) == ([0, 0], [0, reset], reset, [0, unconnected])
