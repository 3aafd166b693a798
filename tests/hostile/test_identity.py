# SPDX-License-Identifier: MIT
"""Who speaks: a device, for any CID but the guest's own, the loopback's and reserved ones."""

import time

import pytest

from mpfw.device.firmware import vsock as w
from mpfw.guest.errors import RemoteError

ECHO = 1234
OWN = 33
HIGH = 1 << 32  # a CID's upper half is reserved (5.10.4)
PAIR = """
import socket
a = socket.socket()
b = socket.socket()
b.bind((socket.VMADDR_CID_ANY, 5000))
b.listen(4)
a.connect((%d, 5000))
b, _ = b.accept()
a.setblocking(False)
b.setblocking(False)
def look(sock):
    try:
        return sock.recv(100)
    except OSError as error:
        return error.errno
"""


def has_answered(guest, port, seconds=1.0):
    """Whether the guest said anything but RST to a packet that came from that port."""
    time.sleep(seconds)
    with guest.device.lock:
        return [p for way, p in guest.device.seen if way == "<" and p.dst_port == port]


@pytest.mark.parametrize("cid", [OWN, w.CID_LOCAL])
@pytest.mark.parametrize("port", [ECHO, 5000])
def test_a_packet_from_this_guest_itself_does_not_make_it_talk_to_itself(echo, cid, port):
    guest = echo()
    guest.device.emit(w.OP_REQUEST, port, ECHO, src_cid=cid)
    guest.device.emit(w.OP_RW, port, ECHO, b"for ever", src_cid=cid)
    guest.device.wait_sent()
    time.sleep(0.5)
    stream = guest.policy.connect(ECHO)
    stream.send(b"still here")
    assert stream.receive(10) == b"still here"
    guest.answers()


@pytest.mark.parametrize(
    "cid",
    [
        pytest.param(w.CID_HYPERVISOR),
        pytest.param(w.CID_ANY),
        w.CID_HOST | HIGH,
        OWN | HIGH,
    ],
)
def test_a_cid_that_nobody_has_is_not_answered(echo, cid):
    guest = echo()
    guest.device.emit(w.OP_REQUEST, 4999, ECHO, src_cid=cid)
    assert not has_answered(guest, 4999)
    guest.policy.connect(ECHO)


def test_siblings_may_speak(echo):
    guest = echo()
    stream = guest.policy.connect(ECHO, src_cid=44)
    stream.send(b"sibling")
    assert stream.receive(7) == b"sibling"


@pytest.mark.parametrize("cid", [w.CID_HYPERVISOR, w.CID_LOCAL, w.CID_HOST, w.CID_ANY])
def test_a_guest_cid_that_is_reserved_is_refused_with_a_sentence(beside, cid):
    guest = beside(None, "", cid)
    guest.console.wait_prompt(20)
    with pytest.raises(RemoteError, match=rf"NotSupported: .*\bCID\b.*\b{cid}\b"):
        guest.console.exec("import vsock; vsock.get()")
    guest.answers()


@pytest.mark.parametrize("way", [w.CID_LOCAL, OWN])
def test_a_device_does_not_write_into_the_loopback(prompt, way):
    guest = prompt()
    guest.console.exec(PAIR % way)
    port = guest.console.eval("a.getsockname()[1]")
    for source in (w.CID_LOCAL, OWN):
        for target in (w.CID_LOCAL, OWN):
            ends = {"src_cid": source, "dst_cid": target}
            guest.device.emit(w.OP_RW, port, 5000, b"forged", **ends)
            guest.device.emit(w.OP_RW, 5000, port, b"forged", **ends)
    guest.device.wait_sent()
    assert guest.console.eval("(look(a), look(b))") == (11, 11)
    guest.console.exec("a.send(b'true')")
    assert guest.console.eval("look(b)") == b"true"


@pytest.mark.parametrize("op", [w.OP_RST, w.OP_SHUTDOWN])
def test_a_device_does_not_end_a_loopback_connection(prompt, op):
    guest = prompt()
    guest.console.exec(PAIR % w.CID_LOCAL)
    port = guest.console.eval("a.getsockname()[1]")
    for source in (w.CID_LOCAL, OWN):
        for target in (w.CID_LOCAL, OWN):
            ends = {"src_cid": source, "dst_cid": target, "flags": w.SHUTDOWN_BOTH}
            guest.device.emit(op, port, 5000, **ends)
            guest.device.emit(op, 5000, port, **ends)
    guest.device.wait_sent()
    guest.console.exec("a.send(b'true')")
    assert guest.console.eval("look(b)") == b"true"
