# SPDX-License-Identifier: MIT
"""Memory: what a peer can make the guest keep is bounded, and credit is a promise."""

import random
import time

import pytest

from mpfw.device.firmware import vsock as w
from mpfw.device.vsock import DeviceError

ECHO = 1234
PORT = 5000
WINDOW = 262144  # bytes, Linux's and ours
MANY = 200  # connections: their windows together are more than the guest has for them


def healthy(guest, size=1 << 20, seconds=30):
    """A transfer of somebody who keeps to the rules arrives whole."""
    data = random.Random(size).randbytes(size)
    stream = guest.policy.connect(ECHO, seconds)
    stream.send(data)
    assert stream.receive(size, seconds) == data
    stream.shutdown(w.SHUTDOWN_BOTH)
    stream.wait_reset()


LISTEN = """
import socket
listener = socket.socket()
listener.bind((socket.VMADDR_CID_ANY, 5000))
listener.listen(1000)
kept = []
"""
READ = """
import time
listener.setblocking(False)
while True:
    try:
        kept.append(listener.accept()[0])
    except OSError:
        break
buffer = bytearray(65536)
total = 0
last = time.ticks_ms()
while time.ticks_diff(time.ticks_ms(), last) < 5000:
    for sock in kept:
        sock.setblocking(False)
        try:
            n = sock.recv_into(buffer)
        except OSError:
            n = 0
        if n:
            total += n
            last = time.ticks_ms()
print(total)
"""


@pytest.mark.parametrize("memory", ["64M", "512M"])
def test_a_connection_within_its_credit_is_not_ended_for_lack_of_memory(prompt, memory):
    guest = prompt(memory=memory)
    guest.console.exec(LISTEN)
    open_ones = []
    for number in range(MANY):
        try:
            stream = guest.policy.connect(PORT)
        except ConnectionResetError:
            break  # none more: that is allowed
        open_ones.append(stream)
        stream.send(random.Random(number).randbytes(WINDOW))
    guest.device.wait_sent(30)
    sent = sum(WINDOW - len(stream.unsent) for stream in open_ones)
    assert len(open_ones) > 20 and sent > 1 << 20
    total = int(guest.console.exec(READ, 60))
    assert [stream for stream in open_ones if stream.reset] == []
    assert total == len(open_ones) * WINDOW


AGAIN = """
import socket
listener = socket.socket()
listener.bind((socket.VMADDR_CID_ANY, 1234))
listener.listen(1000)
print("listening")
old = None
while True:
    sock, peer = listener.accept()
    if peer[1] == 77:
        if old:
            old.close()
        old = sock
        continue
    while data := sock.recv(65536):
        sock.sendall(data)
    sock.close()
"""


def replaced(guest):
    """The same pair of ports again and again, each time with bytes that nobody reads."""
    for _ in range(MANY):
        stream = guest.policy.connect(ECHO, src_port=77)
        stream.send(bytes(WINDOW))
        stream.shutdown(w.SHUTDOWN_BOTH)
        time.sleep(0.02)  # the program has looked at it, and waits for room
    guest.device.wait_sent(20)
    guest.policy.alloc = WINDOW
    guest.policy.connect(ECHO, src_port=77)
    healthy(guest)


def test_a_connection_that_replaces_one_leaves_nothing_of_it(prompt):
    guest = prompt()
    guest.console.exec("import vsock\nvsock.get()")
    guest.console.start(AGAIN)
    guest.console.expect("listening")
    replaced(guest)


def test_the_echo_gives_up_a_connection_that_is_replaced(echo):
    guest = echo()
    guest.policy.alloc = 0  # what comes back from the echo is not taken
    replaced(guest)
    assert not guest.tracebacks()


def test_peers_that_shut_both_directions_and_take_nothing_do_not_keep_their_memory(echo):
    guest = echo()
    guest.policy.alloc = 0  # they offer no room
    for _ in range(MANY):
        try:
            stream = guest.policy.connect(ECHO)
        except (ConnectionResetError, DeviceError):
            break
        stream.send(bytes(WINDOW))
        stream.shutdown(w.SHUTDOWN_BOTH)
    guest.device.wait_sent(20)
    guest.policy.alloc = WINDOW
    healthy(guest, seconds=40)
    assert not guest.tracebacks()


@pytest.mark.parametrize("memory, siblings", [("16M", 2), ("64M", 10)])
def test_more_connections_than_memory_do_not_make_the_guest_deaf(echo, memory, siblings):
    guest = echo(memory=memory)
    for op in (w.OP_REQUEST, w.OP_RST):
        for cid in range(100, 100 + siblings):
            for port in range(10000):
                guest.device.emit(op, port, ECHO, src_cid=cid)
            guest.device.wait_sent(20)
    healthy(guest, seconds=20)
    assert not guest.tracebacks()
    guest.answers()


MARK = b"a word of the heap's"
FILL = """
import gc
kept = []
try:
    while True:
        kept.append((b"%s" * 64) + bytes(1))
except MemoryError:
    pass
kept = None
print("filled")
"""


def test_what_the_device_is_given_holds_nothing_of_the_heap(prompt):
    guest = prompt(memory="32M")
    # Built in pieces: the program's own text is not what is looked for.
    guest.console.exec(FILL.replace("%s", MARK.decode()), 60)
    guest.console.soft_reset()
    guest.console.exec("import vsock\nvsock.get()")
    with guest.device.lock:
        ring = guest.device.ring(0)
        posted = [chain for chain in iter(ring.pop, None)]
    assert posted
    shown = b"".join(bytes(view) for chain in posted for view, _ in chain.buffers)
    assert len(shown) > WINDOW
    assert guest.device.memory.find(MARK)  # it is there, elsewhere
    assert MARK not in shown
