# SPDX-License-Identifier: MIT
"""What `mpfw fuzz` has found in the firmware's modules, each made by hand once more."""

from errno import ECONNRESET, EINPROGRESS, EINVAL

import pytest
from engines import GuestError
from road import CID, Road
from road_model import SIZE, STREAM, w
from test_vsock_device import OWNERLESS

LONG = 1 << 40  # us


def packet(op, payload=b"", port=1234, local=3000):
    """What host.give takes: the words of a header, the payload, how much that is."""
    header = [2, 0, CID, 0, port, local, len(payload), STREAM | op << w.OP_SHIFT, 0, SIZE, 0]
    return [header, payload, w.HEADER_LEN + len(payload)]


def comes_up(engine, given, **settings):
    """Bring a device up that brings a packet at once and takes nothing for now."""
    engine.power_on(settings)
    engine.host.takes_after(LONG)
    engine.meanwhile(1, [["host.refresh"], ["host.give", [[0, *given]]]])
    engine.bring_up()
    engine.host.work()
    return engine.host.took()


def test_the_first_packet_says_nothing_of_an_earlier_one(engine):
    """It had the length and the ports of what the device had sent before it."""
    took = comes_up(engine, packet(w.OP_RW, b"bytes"))
    assert [each[1][w.TYPE_OP] >> w.OP_SHIFT for each in took] == [w.OP_RST, w.OP_RST]
    assert took[1][1:3] == [OWNERLESS, b""]


def test_a_full_transmit_queue_gets_no_first_packet(engine):
    """With two entries there is one slot, and the answer to a packet had it: a write elsewhere."""
    took = comes_up(engine, packet(w.OP_RW, b"bytes"), sizes=[128, 2, 128])
    assert [each[1][w.SRC_PORT] for each in took] == [3000]
    assert engine.device.reap() == 1


@pytest.mark.parametrize("size", [100, 5000])
def test_bytes_for_a_connect_that_nobody_looked_at_are_given_back(engine, size):
    """It worked, bytes came, then the device lost it: the program hears of the end only."""
    Road(engine)
    memory = ["stack.store.promised"], ["stack.store.spare"]
    before = engine.many(*memory)
    assert engine.program.connect("~c", w.CID_HOST, 1234, 3000) == EINPROGRESS
    head, other, *_ = engine.host.heads()
    given = [head, *packet(w.OP_RESPONSE)], [other, *packet(w.OP_RW, bytes(size))]
    engine.many(["host.give", list(given)], ["device.poll"])
    assert engine.many(*memory) != before
    engine.many(["host.event", w.EVENT_BYTES], ["device.poll_events"])
    assert engine.call("~c.take_error") == ECONNRESET
    assert engine.many(*memory) == before


@pytest.mark.parametrize("how", ["splice", "forward"])
def test_bytes_do_not_go_on_to_another_device_without_a_copy(engine, how):
    """The segment of that number was another's: its bytes went out."""
    road = Road(engine)
    name = road.open(1234, 5000)
    road.to(road.names[name], w.OP_RW, b"secret")
    engine.second_device()
    engine.call("second.settimeout", 0)
    engine.call("second.connect_ex", [w.CID_HOST, 99])
    with pytest.raises(GuestError, match="two devices") as caught:
        engine.call(f"program.{how}", name, "second")
    assert caught.value.errno == EINVAL
