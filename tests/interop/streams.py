# SPDX-License-Identifier: MIT
"""What the host's ends of connections do in these tests: send, receive, hash, in threads."""

import hashlib
import queue
import random
import threading

BLOCK = 1 << 20
AHEAD = 4  # blocks that an echo's client sends before it has received as much; see Lead
SECONDS = 60  # longest silence on a connection before a test fails


class Background(threading.Thread):
    """A function in a thread; result() gives what it returned or raises what it raised."""

    def __init__(self, function, *arguments):
        super().__init__(daemon=True)
        self._call = lambda: function(*arguments)
        self._value = self._error = None
        self.start()

    def run(self):
        try:
            self._value = self._call()
        except BaseException as error:  # handed to whoever asks for the result
            self._error = error

    def result(self, timeout: float = 100):
        self.join(timeout)
        if self.is_alive():
            raise TimeoutError(f"not done after {timeout} s")
        if self._error is not None:
            raise self._error
        return self._value


def answer_one(listener, function, *arguments):
    """Accept one connection and run function(connection, *arguments) on it, in a thread."""

    def serve():
        listener.settimeout(SECONDS)
        with accept(listener) as connection:
            return function(connection, *arguments)

    return Background(serve)


def accept(listener):
    """A connection that the guest made, with a time-out that shows a stall."""
    connection, _ = listener.accept()
    connection.settimeout(SECONDS)
    return connection


def blocks(size: int, seed: int = 0):
    """`size` bytes in blocks of random data, each marked with its place."""
    block = bytearray(random.Random(seed).randbytes(BLOCK))
    for start in range(0, size, BLOCK):
        block[:8] = start.to_bytes(8, "little")
        yield memoryview(block)[: size - start]


def send_blocks(connection, size: int, seed: int = 0) -> str:
    """Send blocks(); SHA-256 of what was sent."""
    digest = hashlib.sha256()
    for block in blocks(size, seed):
        digest.update(block)
        connection.sendall(block)
    return digest.hexdigest()


def receive_and_hash(connection, size: int) -> str:
    """Receive `size` bytes; their SHA-256. ConnectionError if the stream ends before."""
    digest, buffer, left = hashlib.sha256(), bytearray(BLOCK), size
    while left:
        count = connection.recv_into(buffer, min(left, BLOCK))
        if not count:
            raise ConnectionError(f"the stream ended {left} bytes early")
        digest.update(memoryview(buffer)[:count])
        left -= count
    return digest.hexdigest()


class Lead:
    """How far an echo's client sends ahead of what it receives: AHEAD blocks at most.

    vhost-device-vsock does not write to a client while it can read from it and the guest has no
    room, so a client without a bound can always block itself.
    """

    def __init__(self):
        self._condition = threading.Condition()
        self._bytes = 0

    def sent(self, size: int):
        """`size` bytes more, of a block at most, once they are allowed."""
        with self._condition:
            self._condition.wait_for(lambda: self._bytes + size <= AHEAD * BLOCK, 100)
            self._bytes += size

    def received(self, size: int):
        """`size` bytes have come back."""
        with self._condition:
            self._bytes -= size
            self._condition.notify()


def echo_and_hash(connection, pieces) -> tuple[str, str]:
    """Send pieces of up to a block each to an echo, and receive as many bytes; SHA-256 of what was
    sent and of what came back."""
    lead = Lead()
    sizes: queue.SimpleQueue[int] = queue.SimpleQueue()

    def send():
        digest = hashlib.sha256()
        for piece in pieces:
            lead.sent(len(piece))
            digest.update(piece)
            sizes.put(len(piece))
            connection.sendall(piece)
        sizes.put(0)
        return digest.hexdigest()

    sender, digest = Background(send), hashlib.sha256()
    while size := sizes.get(timeout=100):
        digest.update(receive(connection, size))
        lead.received(size)
    return sender.result(), digest.hexdigest()


def receive(connection, size: int) -> bytes:
    """Exactly `size` bytes. ConnectionError if the stream ends before."""
    data = bytearray(size)
    view = memoryview(data)
    while view:
        count = connection.recv_into(view)
        if not count:
            raise ConnectionError(f"the stream ended {len(view)} bytes early")
        view = view[count:]
    return bytes(data)


def exchange(connection, data: bytes) -> bytes:
    """Send data while receiving as much; what came back."""
    sender = Background(connection.sendall, data)
    answer = receive(connection, len(data))
    sender.result()
    return answer
