# SPDX-License-Identifier: MIT
"""Two devices: whatever the first one sends, the second one's connections stay as they are, and so
do those between programs of the guest."""

from array import array
from errno import ECONNRESET, EIO
from types import SimpleNamespace

import pytest
import vsock_bench
from hypothesis import example, given
from hypothesis import strategies as st

w = vsock_bench.module("vsock.words")
portable = vsock_bench.portable
control = vsock_bench.module("vsock.control")
stack_module = vsock_bench.module("vsock.stack")
store_module = vsock_bench.module("vsock.store")
types_module = vsock_bench.module("sockets.types")
receive_module = vsock_bench.module("vsock.receive")
options_module = vsock_bench.module("sockets.options")

CIDS = (33, 34)
LISTENING, DIALLED, INSIDE = 1234, 5000, 77
OURS = 6000  # the port that every connection of ours comes from


class Side:
    """One device's stack, its way out, and a connection of each sort."""

    def __init__(self, cid):
        self.cid = cid
        store = store_module.Store(vsock_bench.DMABuffer, 1, 8 << 20)
        self.stack = stack = stack_module.Stack(store, 1 << 20, DIALLED)
        self.out = vsock_bench.Wire(store, 1 << 20)
        device = SimpleNamespace(sending_done=lambda: False, seqpacket=True)
        stack.join(device, self.out, cid)
        self.receiver = receive_module.Receiver(stack, self.out, False)
        self.receiver.serve(cid, cid)
        self.listeners = [self.listen(LISTENING), self.listen(INSIDE)]
        self.outside = [self.connect(cid, 2, DIALLED), self.connect(cid, 2, DIALLED + 1)]
        self.packet(w.OP_RESPONSE, (2, DIALLED), (cid, OURS))  # the other one waits
        self.inside = [self.connect(own, own, INSIDE) for own in (w.CID_LOCAL, cid)]
        self.inside += self.listeners[1].pending

    def listen(self, port):
        options = options_module.Options()
        listener = stack_module.Listener(types_module.STREAM, w.CID_ANY, 99, options)
        self.stack.listen(listener, port)
        return listener

    def connect(self, source, cid, port):
        conn = self.stack.open(source, OURS, cid, port, types_module.STREAM, 1 << 18)
        control.connect(conn.at)
        conn.flush()
        return conn

    def packet(self, op, peer, to, n=0, kind=w.TYPE_STREAM, flags=0, alloc=1 << 18, fwd=0):
        """The device sends a packet from `peer` (CID, port) to `to`."""
        words = [peer[0], 0, to[0], 0, peer[1], to[1], n, kind | op << 16, flags, alloc, fwd]
        header, data = array("I", words), array("B", bytes(n or 1))
        at, payload = portable.addressof(header), portable.addressof(data)
        self.receiver.packet(self.receiver.at, at, payload, w.HEADER_LEN + n, -1)

    def state(self, conns):
        """All that is known of connections, and which of them wait at the doors."""
        known = [(list(conn.block), conn.key is not None) for conn in conns]
        return known, [conn for conn in self.listeners[1].pending if conn in conns]


ADDRESSES = st.tuples(
    st.sampled_from((0, 1, 2, *CIDS, w.CID_ANY)),
    st.sampled_from((LISTENING, DIALLED, DIALLED + 1, INSIDE, OURS)),
)
PACKETS = st.tuples(
    st.integers(0, 8),
    ADDRESSES,
    ADDRESSES,
    st.sampled_from((0, 1, 100)),
    st.sampled_from((w.TYPE_STREAM, w.TYPE_SEQPACKET)),
    st.integers(0, 3),
    st.sampled_from((0, 1 << 18, 0xFFFFFFFF)),
    st.sampled_from((0, 1, 0xFFFFFFFF)),
)


@example([(w.OP_REQUEST, (2, LISTENING), (CIDS[0], INSIDE), 0, w.TYPE_STREAM, 0, 0, 0)])
@given(st.lists(PACKETS, max_size=40))
def test_no_packet_of_one_device_reaches_the_others_connections_nor_the_guests_own(packets):
    vsock_bench.memory.clear()
    liar, other = Side(CIDS[0]), Side(CIDS[1])
    everything = other.outside + other.inside
    assert [conn.block[w.STATE] for conn in other.inside] == [w.ESTABLISHED] * 4
    before = other.state(everything), liar.state(liar.inside)
    other.out.take()
    for packet in packets:
        liar.packet(*packet)
    assert (other.state(everything), liar.state(liar.inside)) == before
    assert not other.out.take()
    assert [len(listener.pending) for listener in other.listeners] == [0, 2]


@pytest.mark.parametrize("happens", ["breaks", "takes the other's CID", "is closed"])
def test_what_becomes_of_one_device_is_not_the_others_business(happens):
    vsock_bench.memory.clear()
    liar, other = Side(CIDS[0]), Side(CIDS[1])
    everything = other.outside + other.inside
    before = other.state(everything)
    if happens == "breaks":
        liar.stack.lose(EIO)
        liar.stack.warn(EIO)
    elif happens == "is closed":
        liar.stack.part(ECONNRESET)
    else:
        liar.receiver.serve(CIDS[1], CIDS[1])
        liar.stack.rename(CIDS[1])
        liar.stack.lose(ECONNRESET)
        liar.packet(w.OP_RST, (2, DIALLED), (CIDS[1], OURS))
        liar.packet(w.OP_RW, (2, DIALLED), (CIDS[1], OURS), 1)
    assert other.state(everything) == before
    assert not [listener.error for listener in other.listeners if listener.error]
    assert [conn.block[w.STATE] for conn in liar.outside] == [w.CLOSED] * 2
