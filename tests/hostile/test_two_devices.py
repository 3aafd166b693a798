# SPDX-License-Identifier: MIT
"""Two devices in one guest, the first of which lies: the other's connections are not its business,
nor are those that stay within the guest."""

import itertools
from errno import EAGAIN, EIO

import pytest
from blocked import PORT, Quiet

from mpfw.device import liars
from mpfw.device.firmware import vsock as w
from mpfw.device.host import DeviceHost
from mpfw.device.vsock import RX, TX
from mpfw.guest.driven import DrivenGuest
from mpfw.guest.machine import Machine
from mpfw.guest.pair import TwoDevices

LIAR, POLITE = 33, 34  # the guest's CIDs
SILENT = 5002
OWN, LISTENING, INSIDE = 6000, 5001, 5003  # ports of the guest's, the same on both devices

# Both stacks have the same ports: nothing but the device tells their connections apart.
PROGRAM = """
import select, socket, vsock
stacks = [vsock.get(0), vsock.get(1)]
def made(stack, port=None):
    sock = socket.socket(stack=stack)
    if port is not None:
        sock.bind((socket.VMADDR_CID_ANY, port))
    return sock
def connected(stack):
    sock = made(stack, 6000)
    sock.connect((2, 5000))
    sock.setblocking(False)
    return sock
def connecting(stack):
    sock = made(stack, 6001)
    minute = bytes([60] + [0] * 15)
    sock.setsockopt(socket.AF_VSOCK, socket.SO_VM_SOCKETS_CONNECT_TIMEOUT, minute)
    sock.setblocking(False)
    try:
        sock.connect((2, 5002))
    except OSError:
        pass
    return sock
def listening(stack):
    sock = made(stack, 5001)
    sock.listen(8)
    sock.setblocking(False)
    return sock
def inside(stack, cid, port):
    listener = made(stack, 5003 + cid)
    listener.listen(1)
    one = made(stack, port)
    one.connect((cid, 5003 + cid))
    other = listener.accept()[0]
    one.setblocking(False)
    other.setblocking(False)
    return one, other
def errno_of(function, *arguments):
    try:
        return function(*arguments)
    except OSError as error:
        return error.errno
def events(sock):
    poll = select.poll()
    poll.register(sock, select.POLLIN | select.POLLOUT)
    return [event for _, event in poll.poll(0)]
out = [connected(stack) for stack in stacks]
way = [connecting(stack) for stack in stacks]
door = [listening(stack) for stack in stacks]
pairs = [inside(stack, cid, 6100 + cid) for stack in stacks for cid in (1, stack.cid)]
def quiet():
    # What the lying device must have left alone.
    ends = [out[1]] + [end for pair in pairs for end in pair]
    return [errno_of(end.recv, 100) for end in ends] + [errno_of(door[1].accept), events(way[1])]
def whole():
    for one, other in pairs:
        one.send(b"there")
        other.send(b"back")
    return [(other.recv(5), one.recv(4)) for one, other in pairs]
"""


@pytest.fixture
def two(image):
    """A guest with both devices, and what PROGRAM made."""
    policies = Quiet(), Quiet()
    liar = DeviceHost(policies[0], LIAR, name="liar")
    polite = DeviceHost(policies[1], POLITE)
    with DrivenGuest(
        Machine(image=image, fw_cfg={"opt/micropython/main.py": ""}), TwoDevices(liar, polite)
    ) as guest:
        guest.console.wait_prompt(20)
        for policy in policies:
            policy.listen(PORT)
        guest.console.exec(PROGRAM)
        yield guest, liar.device, polite.device


def forged():
    """Packets with every address that means something on either device."""
    pairs = [(PORT, OWN), (SILENT, OWN + 1), (OWN, LISTENING)]
    for cid in (w.CID_LOCAL, LIAR, POLITE):
        pairs += [(OWN + 100 + cid, INSIDE + cid), (INSIDE + cid, OWN + 100 + cid)]
    sources, targets = (w.CID_LOCAL, w.CID_HOST, LIAR, POLITE), (w.CID_LOCAL, LIAR, POLITE)
    ops = (w.OP_RW, w.OP_CREDIT_UPDATE, w.OP_RESPONSE, w.OP_SHUTDOWN, w.OP_REQUEST, w.OP_RST)
    for op, (port, to), source, target in itertools.product(ops, pairs, sources, targets):
        data = b"forged" if op == w.OP_RW else b""
        ends = {"src_cid": source, "dst_cid": target, "flags": w.SHUTDOWN_BOTH}
        yield op, port, to, data, ends


def untouched(guest, polite):
    """The other device's connections and the guest's own are as they were, and work."""
    assert guest.console.eval("quiet()") == [EAGAIN] * 10 + [[]]
    assert guest.console.eval("whole()") == [(b"there", b"back")] * 4
    stream = polite.policy.accept(PORT)
    guest.console.exec("out[1].send(b'true')")
    assert stream.receive(4) == b"true"
    stream.send(b"and true")
    polite.wait_sent()
    assert guest.console.eval("out[1].recv(100)") == b"and true"
    polite.emit(w.OP_RESPONSE, SILENT, OWN + 1)  # it does answer what only it was asked
    polite.wait_sent()
    assert guest.console.eval("events(way[1])") == [4]
    polite.policy.connect(LISTENING)
    assert guest.console.eval("errno_of(door[1].accept)[1][0]") == w.CID_HOST


def test_a_device_does_not_speak_for_the_other_nor_for_the_guest(two):
    guest, liar, polite = two
    for op, port, to, data, ends in forged():
        liar.emit(op, port, to, data, **ends)
    liar.wait_sent()
    untouched(guest, polite)


NOTICED = """
import time, vsock
for _ in range(1000):
    if vsock.get(0).device.broken is None:
        time.sleep_ms(10)
"""


@pytest.mark.parametrize("queue", [RX, TX])
def test_a_device_that_breaks_ends_no_connection_of_the_other(two, queue):
    guest, liar, polite = two
    with liar.lock:
        liars.wrong_id(liar.ring(queue))
    guest.console.exec(NOTICED)  # its interrupt and what is typed come by different ways
    assert guest.console.eval("errno_of(out[0].recv, 1)") == EIO
    untouched(guest, polite)


def test_a_device_that_floods_leaves_the_other_its_memory(two):
    """Each device has memory of its own."""
    guest, liar, polite = two
    for port in range(7000, 17000):
        liar.emit(w.OP_REQUEST, port, LISTENING)
        liar.emit(w.OP_RW, port, LISTENING, bytes(1000))
    liar.wait_sent(30)
    untouched(guest, polite)
