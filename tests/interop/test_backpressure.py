# SPDX-License-Identifier: MIT
"""A reader that stops stalls its own connection and no other, and nothing is lost meanwhile."""

import hashlib
import socket
import time

from prelude import accept, dial
from streams import SECONDS, Background, blocks, receive, receive_and_hash
from streams import accept as accept_here

HOST = 2
PORT = 7200
MIB = 1 << 20
PAUSE = 5  # seconds that a reader does not read


def send_and_answer(cid, port, size):
    """Send `size` bytes on one connection; answer questions on another at the same time."""
    import asyncio

    async def send():
        _, writer = await asyncio.open_connection(cid, port)
        block = bytearray(65536)
        for number in range(size // len(block)):
            block[:4] = number.to_bytes(4, "little")
            writer.write(block)
            await writer.drain()
        writer.close()
        await writer.wait_closed()

    async def answer():
        reader, writer = await asyncio.open_connection(cid, port + 1)
        count = 0
        while True:
            question = await reader.read(100)
            if not question:
                break
            writer.write(question)
            await writer.drain()
            count += 1
        writer.close()
        await writer.wait_closed()
        return count

    async def both():
        return (await asyncio.gather(send(), answer()))[1]

    return asyncio.run(both())


def expected_digest(size):
    digest = hashlib.sha256()
    for number in range(size // 65536):
        digest.update(number.to_bytes(4, "little") + bytes(65532))
    return digest.hexdigest()


def test_host_that_stops_reading_stalls_only_its_own_connection(guest_side, vsock):
    size = 16 * MIB
    with vsock.listen(PORT) as bulk_listener, vsock.listen(PORT + 1) as chat_listener:
        guest_side.start(send_and_answer, HOST, PORT, size)
        bulk_listener.settimeout(SECONDS)
        chat_listener.settimeout(SECONDS)
        with accept_here(bulk_listener) as bulk, accept_here(chat_listener) as chat:
            slowest, answers = 0.0, 0
            pause_ends = time.monotonic() + PAUSE
            while time.monotonic() < pause_ends:
                asked = time.monotonic()
                chat.sendall(b"still there?")
                assert receive(chat, 12) == b"still there?"
                slowest = max(slowest, time.monotonic() - asked)
                answers += 1
                time.sleep(0.02)
            print(f"{answers} answers during the stall, the slowest after {slowest:.3f} s")
            assert slowest < 1
            assert receive_and_hash(bulk, size) == expected_digest(size)
            assert bulk.recv(1) == b""
    assert guest_side.result() == answers


def neglect(port, window, size):
    """Accept, do not read, look how much came nevertheless, then read everything."""
    import binascii
    import hashlib
    import struct

    listener = socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)
    option = socket.SO_VM_SOCKETS_BUFFER_SIZE
    listener.setsockopt(socket.AF_VSOCK, option, struct.pack("<Q", window))
    listener.bind((socket.VMADDR_CID_ANY, port))
    listener.listen()
    sock, _ = listener.accept()
    time.sleep(1)
    print("waiting")
    input()
    ahead = len(sock.recv(1 << 20, socket.MSG_PEEK | socket.MSG_DONTWAIT))
    digest = hashlib.sha256()
    while size:
        data = sock.recv(min(size, 65536))
        if not data:
            break
        digest.update(data)
        size -= len(data)
    sock.close()
    return ahead, size, str(binascii.hexlify(digest.digest()), "ascii")


def test_guest_that_does_not_read_is_sent_what_it_advertised_and_no_more(guest_side, vsock):
    window, size = 100_000, 8 * MIB
    data = b"".join(bytes(block) for block in blocks(size))
    guest_side.start(neglect, PORT, window, size)
    with vsock.dial(PORT) as connection:
        connection.settimeout(SECONDS)
        sender = Background(connection.sendall, data)
        guest_side.expect("waiting")
        time.sleep(PAUSE)
        assert sender.is_alive(), "the window did not stop the sender"
        guest_side.go_on()
        ahead, missing, digest = guest_side.result()
        sender.result()
    print(f"{ahead} bytes of a window of {window} came unread")
    assert window // 2 < ahead <= window
    assert (missing, digest) == (0, hashlib.sha256(data).hexdigest())


def neglect_one_of_two(port):
    first, second = accept(port), accept(port + 1)
    while True:
        question = second.recv(100)
        if not question:
            break
        second.sendall(question)
    total = 0
    while True:
        data = first.recv(65536)
        if not data:
            break
        total += len(data)
    return total


def test_guest_that_neglects_one_connection_serves_the_other(guest_side, vsock):
    size = 2 * MIB
    guest_side.start(neglect_one_of_two, PORT)
    with vsock.dial(PORT) as neglected, vsock.dial(PORT + 1) as served:
        neglected.settimeout(SECONDS)
        served.settimeout(5)
        sender = Background(neglected.sendall, bytes(size))
        for number in range(300):
            served.sendall(b"%d" % number)
            assert served.recv(100) == b"%d" % number
        served.close()
        sender.result()
    assert guest_side.result() == size


def send_until_it_would_block(cid, port):
    """Fill a connection that nobody reads; then a time-out, then the rest when it is read."""
    sock = dial(cid, port)
    sock.settimeout(0.5)
    sent = 0
    try:
        while True:
            sent += sock.send(bytes(65536))
    except TimeoutError as error:
        blocked = str(error)
    print("full")
    sock.settimeout(30)
    sock.sendall(b"the end")
    sock.close()
    return sent, blocked


def test_blocked_send_times_out_and_goes_on_when_the_host_reads(guest_side, vsock):
    with vsock.listen(PORT) as listener:
        listener.settimeout(SECONDS)
        guest_side.start(send_until_it_would_block, HOST, PORT)
        with accept_here(listener) as connection:
            guest_side.expect("full")
            time.sleep(1)
            received = b"".join(iter(lambda: connection.recv(65536), b""))
    sent, blocked = guest_side.result()
    assert blocked == "timed out"
    assert received[-7:] == b"the end"
    assert len(received) - 7 == sent
