# SPDX-License-Identifier: MIT
"""Datagrams between a guest and a device that offers them, by all that does not mask the feature
bit, as QEMU's `vhost-user-vsock-pci` does.

A program in the guest sends back what comes to port 7, and says at the end what was dropped.
"""

import errno
import random
from collections import deque
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
from pci_guest import computes, proxied, quiet, with_msi

from mpfw.device import datagrams, packets
from mpfw.device.firmware import vsock as w
from mpfw.device.virtio_pci import F_EVENT_IDX
from mpfw.device.vsock import DeviceError
from mpfw.guest.driven import DrivenGuest
from mpfw.guest.machine import Machine
from mpfw.lab import qemus

SCRIPT = "opt/micropython/main.py"  # fw_cfg: what runs instead of the echo
ECHO = """
import socket, vsock
s = socket.socket(socket.AF_VSOCK, socket.SOCK_DGRAM)
s.bind((socket.VMADDR_CID_ANY, 7))
print("BOUND", socket.get_local_cid())
while True:
    data, sender = s.recvfrom(65536)
    if data == b"report":
        data = repr([vsock.get().device.receiver.dropped, s.endpoint.full()]).encode()
    s.sendto(data, sender)
"""
SILENT = """
import socket, time, vsock
try:
    s = socket.socket(socket.AF_VSOCK, socket.SOCK_DGRAM)
    s.bind((socket.VMADDR_CID_ANY, 7))
    print("BOUND", socket.get_local_cid())
except OSError as error:
    print("ERRNO", error.errno)
while True:
    time.sleep_ms(1)
    vsock.get().device.look()  # also where there are no interrupts
"""


@contextmanager
def passed(image, device, **machine):
    """A guest beside a vhost-user device; of the function only its policy and bits are taken."""
    policy = device.policy
    host = datagrams.PassingHost(policy, GUEST, device.offered & w.F_DGRAM)
    qemu = qemus.with_device("vhost-user-test-device-pci", "sid")
    with DrivenGuest(Machine(image=image, qemu=qemu, **machine), host) as guest:
        yield guest


WAYS: dict[str, tuple[Any, dict[str, int]]] = {
    "proxy": (proxied, {"vectors": 0}),
    "vfio-user": (with_msi, {}),
    "vhost-user": (passed, {}),
}
GUEST = 34
WINDOW = 12
UP_TO = [0, 10, 1400, 2100, 9000]  # bytes
SIZES = [0, 1, 100, 4095, 4096, 4097, 20_000, w.MAX_DATA]


@pytest.fixture(params=WAYS)
def beside(request, image):
    """beside(script, says): a guest that runs it, beside a device with datagrams."""
    running = ExitStack()

    def beside(script, says=rb"BOUND 34\r?\n", **options):
        served, made = WAYS[request.param]
        function = datagrams.function(cid=GUEST, **made, **options)
        guest = running.enter_context(served(image, function, fw_cfg={SCRIPT: script}))
        guest.console.expect(says, 20)
        return guest, function.policy

    with running:
        yield beside


def report(host, own):
    """[what was dropped, by DROP_*, and what found the queue full], as the guest says."""
    host.sendto(own, 7, b"report")
    return eval(host.receive(own)[0])


def test_messages_of_every_size_go_there_and_back(beside):
    guest, host = beside(ECHO)
    assert host.device.accepted & w.F_DGRAM
    own, other = host.bind(700), host.bind(7, 77)
    for i, n in enumerate(SIZES * 3):
        data = random.Random(i).randbytes(n)
        here = (own, other)[i % 2]
        host.sendto(here, 7, data)
        assert host.receive(here) == (data, (GUEST, 7))
    sent = [packet for way, packet in host.device.seen if packet.type == w.TYPE_DGRAM]
    assert {(each.op, each.flags, each.buf_alloc, each.fwd_cnt) for each in sent} == {(5, 0, 0, 0)}
    assert report(host, own) == [[0] * w.DROPS, 0]
    assert not host.refused and not host.lost and host.device.errors == []
    quiet(guest)


def exchange(host, own, messages):
    """So many messages of random sizes there and back, at most WINDOW of them under way."""
    chance = random.Random(messages)
    noise = chance.randbytes(2 * w.MAX_DATA)
    waiting: deque[bytes] = deque()
    for i in range(messages + WINDOW):
        if i < messages:
            n = w.MAX_DATA if i % 5000 == 0 else chance.randint(0, chance.choice(UP_TO))
            at = chance.randint(0, w.MAX_DATA)
            waiting.append(noise[at : at + n])
            host.sendto(own, 7, waiting[-1])
        if i >= WINDOW:
            assert host.receive(own, 60) == (waiting.popleft(), (GUEST, 7))
    assert not waiting
    assert report(host, own) == [[0] * w.DROPS, 0]
    assert not host.refused and not host.lost


def test_messages_of_random_sizes_arrive_intact_both_ways(beside):
    _, host = beside(ECHO)
    exchange(host, host.bind(700), 5000)


@pytest.mark.long
@pytest.mark.timeout(7200)
def test_a_million_messages_of_random_sizes_arrive_intact_both_ways(beside):
    _, host = beside(ECHO)
    exchange(host, host.bind(700), 1_000_000)


def test_what_is_no_datagram_is_dropped_and_counted_and_never_answered(beside):
    guest, host = beside(ECHO)
    own = host.bind(700)
    lies = [{"op": op} for op in (1, 2, 3, 4, 6, 7, 8, 0xFFFF)] + [
        {"flags": 1},
        {"flags": 1 << 31},
    ]
    for lie in lies:
        host.sendto(own, 7, b"no datagram", **lie)
    host.sendto(own, 9, b"for nobody")
    for n in (0xFFFFFFFF, 100, w.MAX_DATA + 1):
        host.sendto(own, 7, b"too short for that", len=n)
    host.sendto((GUEST, 7), 7, b"as if it came from the guest")
    host.sendto(own, 7, b"for another machine", dst_cid=GUEST + 1)
    expected = [0] * w.DROPS
    expected[w.DROP_DATAGRAM] = len(lies)
    expected[w.DROP_UNBOUND] = expected[w.DROP_SENDER] = expected[w.DROP_STRAY] = 1
    expected[w.DROP_LONG] = 3
    assert report(host, own) == [expected, 0]
    resets = [each for way, each in host.device.seen if way == "<" and each.op == w.OP_RST]
    assert all(each.type == w.TYPE_STREAM for each in resets)  # one to see that the device works
    computes(guest)


SETTLE = """
import time
for _ in range(1000):
    if s.endpoint.full() < 1744:
        time.sleep_ms(10)
"""


def test_a_flood_fills_the_queue_and_the_rest_is_counted(beside):
    """Messages without a byte: a socket keeps 256."""
    guest, host = beside(SILENT)
    own = host.bind(700)
    for _ in range(2000):
        host.sendto(own, 7, b"")
    host.device.wait_sent(30)
    guest.console.interrupt()
    # The last of them are in the ring still: who types comes before a flood.
    guest.console.exec(SETTLE)
    assert guest.console.exec("print(s.endpoint.full())") == "1744\n"
    assert guest.console.exec("print(sum(1 for _ in range(256) if s.recv(1) == b''))") == "256\n"
    quiet(guest, "KeyboardInterrupt")


def test_a_device_without_the_feature_leaves_enodev(beside):
    _, host = beside(SILENT, rb"ERRNO %d\r?\n" % errno.ENODEV, features=F_EVENT_IDX)
    assert not host.device.accepted & w.F_DGRAM


def test_the_guest_is_refused_what_is_malformed_by_the_device_too(beside):
    """Our guest sends nothing of the kind: the device is handed such packets."""
    _, host = beside(SILENT)
    own = host.bind(700)
    with host.device.lock:
        for fields in ({"op": w.OP_REQUEST}, {"flags": 2}, {"op": w.OP_INVALID}):
            given = {"op": w.OP_RW, "src_port": 7, "dst_port": 700, "type": w.TYPE_DGRAM}
            host.packet(packets.make(**given | fields))
        nobody = {"dst_cid": w.CID_HOST, "dst_port": 9, "src_port": 7, "type": w.TYPE_DGRAM}
        host.packet(packets.make(w.OP_RW, **nobody))
    assert host.refused == {"NotADatagram": 3} and host.lost == {"nobody": 1}
    with pytest.raises(DeviceError):
        host.receive(own, 0.1)
