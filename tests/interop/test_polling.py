# SPDX-License-Identifier: MIT
"""asyncio streams and select.poll, unmodified, on these sockets."""

import socket
import time
from select import POLLIN, POLLOUT
from threading import Event

import pytest
from prelude import accept, dial, errno_of, listen
from streams import SECONDS, Background, answer_one, exchange, receive

GUEST, HOST = 33, 2
PORT = 7700


def echo_in_asyncio(port, count):
    """asyncio's own echo server, for `count` connections."""
    import asyncio

    served = []

    async def echo(reader, writer):
        while True:
            data = await reader.read(4096)
            if not data:
                break
            writer.write(data)
            await writer.drain()
        writer.close()
        await writer.wait_closed()
        served.append(1)

    async def main():
        server = await asyncio.start_server(echo, socket.VMADDR_CID_ANY, port)
        print("listening")
        while len(served) < count:
            await asyncio.sleep_ms(10)
        server.close()
        await server.wait_closed()

    asyncio.run(main())
    return len(served)


def test_asyncio_server_serves_many_at_once(guest_side, vsock):
    count = 16
    guest_side.start(echo_in_asyncio, PORT, count)
    guest_side.expect("listening")
    connections = [vsock.dial(PORT) for _ in range(count)]
    workers = []
    for number, connection in enumerate(connections):
        connection.settimeout(SECONDS)
        data = bytes([number]) * 50_000
        workers.append((Background(exchange, connection, data), data))
    for worker, data in workers:
        assert worker.result() == data
    for connection in connections:
        connection.close()
    assert guest_side.result() == count


def call_in_asyncio(cid, port):
    import asyncio

    async def main():
        reader, writer = await asyncio.open_connection(cid, port)
        writer.write(b"a line\nand ")
        writer.write(b"another\n")
        await writer.drain()
        lines = [await reader.readline(), await reader.readexactly(3), await reader.read(-1)]
        writer.close()
        await writer.wait_closed()
        return lines

    return asyncio.run(asyncio.wait_for(main(), 20))


def send_back_and_end(connection, size):
    connection.sendall(receive(connection, size))


def test_asyncio_client_reads_lines(guest_side, vsock):
    with vsock.listen(PORT) as listener:
        host = answer_one(listener, send_back_and_end, 19)
        lines = guest_side.call(call_in_asyncio, HOST, PORT)
        host.result()
    assert lines == [b"a line\n", b"and", b" another\n"]


def give_up_in_asyncio(port):
    import asyncio

    async def main():
        async def hang(reader, writer):
            try:
                await asyncio.wait_for(reader.read(1), 0.3)
            except asyncio.TimeoutError:  # noqa: UP041 (MicroPython has no other)
                writer.write(b"too slow")
                await writer.drain()
            writer.close()
            await writer.wait_closed()
            done.set()

        done = asyncio.Event()
        server = await asyncio.start_server(hang, socket.VMADDR_CID_ANY, port)
        print("listening")
        ticks = 0
        while not done.is_set():
            await asyncio.sleep_ms(20)
            ticks += 1
        server.close()
        return ticks

    return asyncio.run(main())


def test_asyncio_time_out_cancels_a_read_and_others_run_meanwhile(guest_side, vsock):
    guest_side.start(give_up_in_asyncio, PORT)
    guest_side.expect("listening")
    with vsock.dial(PORT) as connection:
        connection.settimeout(SECONDS)
        assert receive(connection, 8) == b"too slow"
    assert guest_side.result() > 5


def poll_states(port):
    """What poll says at each stage of a socket's life."""
    import select

    poll = select.poll()

    def events(sock, mask=select.POLLIN | select.POLLOUT, wait=0):
        poll.register(sock, mask)
        found = poll.poll(wait)
        poll.unregister(sock)
        return found[0][1] if found else 0

    fresh = socket.socket()
    listener = listen(port)
    stages = [events(fresh), events(listener)]
    print("listening")
    stages.append(events(listener, select.POLLIN, 10000))
    sock, _ = listener.accept()
    stages.append(events(sock))
    stages.append(events(sock, select.POLLIN, 200))  # nothing has come yet
    print("connected")
    stages.append(events(sock, select.POLLIN, 10000))
    data = sock.recv(100)
    sock.setblocking(False)
    writable = True
    while writable:
        while not errno_of(sock.send, bytes(65536)):
            pass
        # Linux 7.2 sometimes makes room again though nobody has read anything.
        writable = events(sock, select.POLLOUT, 300)
    stages.append(events(sock))  # full, and nothing to read
    print("full")
    stages.append(events(sock, select.POLLOUT, 10000))
    print("writable")
    while not events(sock, select.POLLIN, 10000):
        pass
    end = sock.recv(1)
    return stages, data, end


def test_poll_tells_each_stage(guest_side, vsock):
    guest_side.start(poll_states, PORT)
    guest_side.expect("listening")
    with vsock.dial(PORT) as connection:
        connection.settimeout(SECONDS)
        guest_side.expect("connected")
        time.sleep(0.2)
        connection.sendall(b"data")
        guest_side.expect("full")
        stop = Event()

        def drain():
            while not stop.is_set():
                connection.recv(65536)

        Background(drain)
        guest_side.expect("writable")
        stop.set()
        time.sleep(0.5)
        connection.shutdown(2)
    stages, data, end = guest_side.result()
    fresh, idle, pending, connected, silent, readable, full, writable = stages
    assert (fresh & POLLOUT, idle, pending) == (POLLOUT, 0, POLLIN)
    assert (connected, silent, readable) == (POLLOUT, 0, POLLIN)
    assert (full, writable) == (0, POLLOUT)
    assert (data, end) == (b"data", b"")


def poll_a_connect(cid, port):
    """A non-blocking connect ends when poll says writable; SO_ERROR says how."""
    import select

    sock = socket.socket()
    sock.setblocking(False)
    first = sock.connect_ex((cid, port))
    again = sock.connect_ex((cid, port))
    poll = select.poll()
    poll.register(sock, select.POLLOUT)
    events = poll.poll(10000)[0][1]
    error = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    sock.setblocking(True)
    if not error:
        sock.sendall(b"connected")
    answer = error or sock.recv(1)
    sock.close()
    return first, again, events & select.POLLOUT, answer


def hear(connection):
    return receive(connection, 9)


def test_poll_tells_the_end_of_a_connect(guest_side, vsock):
    with vsock.listen(PORT) as listener:
        host = answer_one(listener, hear)
        first, again, events, end = guest_side.call(poll_a_connect, HOST, PORT)
        assert host.result() == b"connected"
    assert (first, again) in ((115, 114), (115, 0), (115, 106))  # it may be over by then
    assert (events, end) == (POLLOUT, b"")


def test_poll_tells_a_refused_connect(guest_side, vsock, refusal):
    first, again, events, error = guest_side.call(poll_a_connect, HOST, PORT)
    assert first == 115  # EINPROGRESS
    assert (events, error) == (POLLOUT, refusal) or again == refusal


def chat_by_poll(port, count):
    """A server of `count` connections on select.poll alone, as tutorials write it."""
    import select

    listener = listen(port)
    listener.setblocking(False)
    poll = select.poll()
    poll.register(listener, select.POLLIN)
    ended = 0
    while ended < count:
        for sock, _ in poll.poll(10000):
            if sock is listener:
                new, _ = listener.accept()
                poll.register(new, select.POLLIN)
                continue
            data = sock.recv(1000)
            if data:
                sock.sendall(data)
            else:
                poll.unregister(sock)
                sock.close()
                ended += 1
    return ended


def test_poll_server_takes_turns(guest_side, vsock):
    guest_side.start(chat_by_poll, PORT, 8)
    connections = [vsock.dial(PORT) for _ in range(8)]
    for turn in range(20):
        for number, connection in enumerate(connections):
            connection.settimeout(SECONDS)
            connection.sendall(b"%d.%d" % (turn, number))
        for number, connection in enumerate(connections):
            assert connection.recv(100) == b"%d.%d" % (turn, number)
    for connection in connections:
        connection.close()
    assert guest_side.result() == 8


def loopback_pair(port):
    listener = listen(port)
    names = []
    for cid in (socket.VMADDR_CID_LOCAL, socket.get_local_cid()):
        caller = dial(cid, port)
        accepted, peer = listener.accept()
        caller.sendall(b"ping")
        accepted.sendall(accepted.recv(10) + b" pong")
        names.append((peer[0], caller.recv(100)))
        caller.close()
        names.append(accepted.recv(1))
        names.append(errno_of(accepted.send, b"x"))
        accepted.close()
    return names


def test_loopback_by_both_cids(guest_side):
    # 5.10.4 has no word on it; Linux answers a call to 1 from 1 and one to itself from itself.
    names = guest_side.call(loopback_pair, PORT)
    assert names == [(1, b"ping pong"), b"", 32, (GUEST, b"ping pong"), b"", 32]


def use_files(port):
    sock = accept(port)
    file = sock.makefile("rwb")
    first = file.readline()
    file.write(b"you said " + first)
    file.flush()
    rest = [line for line in file]
    file.close()
    sock.close()
    return first, rest


def test_makefile_reads_and_writes_lines(guest_side, vsock):
    guest_side.start(use_files, PORT)
    with vsock.dial(PORT) as connection:
        connection.settimeout(SECONDS)
        connection.sendall(b"one\n")
        assert receive(connection, 13) == b"you said one\n"
        connection.sendall(b"two\nthree")
        time.sleep(0.2)
    assert guest_side.result() == (b"one\n", [b"two\n", b"three"])


def receive_then_compute(port, kind):
    """Read one connection for a while, then not look at a socket for some seconds."""
    listener = listen(port)
    print("listening")
    sock, _ = listener.accept()
    for _ in range(200):
        assert sock.recv(100) == b"ping"
        sock.sendall(b"pong")
    print("busy with " + kind)
    end = time.ticks_add(time.ticks_ms(), 5000)
    while time.ticks_diff(end, time.ticks_ms()) > 0:
        if kind == "sleep":
            time.sleep(0.5)
    print("over")
    count = 0
    listener.settimeout(0)
    while not errno_of(listener.accept):
        count += 1
    return count


@pytest.mark.parametrize("kind", ["sleep", "a loop"])
def test_peers_are_answered_while_the_program_looks_elsewhere(guest_side, vsock, kind):
    guest_side.start(receive_then_compute, PORT, kind)
    guest_side.expect("listening")
    with vsock.dial(PORT) as connection:
        connection.settimeout(SECONDS)
        for _ in range(200):
            connection.sendall(b"ping")
            assert receive(connection, 4) == b"pong"
        guest_side.expect("busy with " + kind)
        others = [vsock.dial(PORT) for _ in range(5)]
        assert "over" not in guest_side.guest.output
        guest_side.expect("over")
        assert guest_side.result() == 5
        for other in others:
            other.close()
