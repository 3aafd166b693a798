# SPDX-License-Identifier: MIT
"""Guests of one process: siblings reach each other by CID, others do not."""

import contextlib

import pytest
from places import Place

from mpfw.device.firmware import vsock as w


@pytest.fixture
def guests(tmp_path, device):
    """guests(groups, ...): a driver for each, with the CIDs 3, 4, ..."""
    with contextlib.ExitStack() as opened:

        def guests(*groups):
            places = [Place(tmp_path, 3 + n) for n in range(len(groups))]
            pairs = zip(places, groups, strict=True)
            device(*(place.settings(groups=tuple(names)) for place, names in pairs))
            for place in places:
                opened.enter_context(place.opened)
            return [place.driver() for place in places]

        yield guests


def test_packets_pass_as_they_are(guests):
    one, two = guests(["a"], ["a", "b"])
    one.send(w.OP_REQUEST, 10, 20, dst_cid=4, buf_alloc=7777)
    asked = two.receive()
    assert (asked.src_cid, asked.dst_cid, asked.src_port, asked.dst_port) == (3, 4, 10, 20)
    assert (asked.op, asked.buf_alloc) == (w.OP_REQUEST, 7777)
    two.send(w.OP_RESPONSE, 20, 10, dst_cid=3)
    assert one.expect(w.OP_RESPONSE).src_cid == 4
    one.send(w.OP_RW, 10, 20, bytes(range(256)) * 256, dst_cid=4, type=w.TYPE_SEQPACKET, flags=1)
    found = two.receive()
    assert found.body == bytes(range(256)) * 256
    assert (found.type, found.flags) == (w.TYPE_SEQPACKET, 1)


def test_without_a_common_group_nothing_passes(guests):
    one, two = guests(["a"], ["b"])
    one.send(w.OP_REQUEST, 10, 20, dst_cid=4)
    two.quiet()
    one.quiet()


def test_a_cid_that_nobody_has_is_silence(guests):
    (one,) = guests(["a"])
    one.send(w.OP_REQUEST, 10, 20, dst_cid=99)
    one.quiet()


def test_a_sibling_that_is_gone_resets_what_it_had(guests):
    one, two = guests(["a"], ["a"])
    one.send(w.OP_REQUEST, 10, 20, dst_cid=4)
    two.receive()
    two.send(w.OP_RESPONSE, 20, 10, dst_cid=3)
    one.expect(w.OP_RESPONSE)
    two.socket.close()
    reset = one.expect(w.OP_RST)
    assert (reset.src_cid, reset.src_port, reset.dst_port) == (4, 20, 10)
    one.send(w.OP_REQUEST, 11, 20, dst_cid=4)
    assert one.expect(w.OP_RST).dst_port == 11


def test_a_sibling_that_takes_nothing_holds_up_nobody(guests):
    """What waits for it is bounded: beyond that a connection is reset."""
    one, two, three = guests(["a"], ["a"], ["a"])
    one.send(w.OP_REQUEST, 10, 20, dst_cid=4)
    for _ in range(400):  # 25 MiB, whatever credit says
        one.send(w.OP_RW, 10, 20, bytes(w.MAX_DATA), dst_cid=4)
    assert one.expect(w.OP_RST).src_cid == 4
    three.send(w.OP_REQUEST, 1, 2, dst_cid=5)  # itself: nobody
    three.send(w.OP_REQUEST, 1, 2)
    three.expect(w.OP_RST)


def test_a_guest_that_takes_another_ones_cid_is_not_heard(guests):
    one, two = guests(["a"], ["a"])
    one.send(w.OP_REQUEST, 10, 20, src_cid=4, dst_cid=2)
    one.quiet()
    one.send(w.OP_REQUEST, 10, 20, src_cid=7, dst_cid=4)
    two.quiet()
