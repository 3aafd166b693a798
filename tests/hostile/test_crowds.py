# SPDX-License-Identifier: MIT
"""Many peers of a polite host's: what they cost, and that they leave nothing behind."""

import pytest

from mpfw.device.policy import Stream

PORT = 5000
AT_ONCE = 250

HOLD = """
import gc, machine, socket, vsock
def used():
    gc.collect()
    return gc.mem_alloc() + machine.dma_used()
stack = vsock.get()
listener = socket.socket()
listener.bind((socket.VMADDR_CID_ANY, 5000))
listener.listen(1000)
kept = []
before = used()
print("listening")
"""
ACCEPT = """
while len(kept) < {count}:
    kept.append(listener.accept()[0])
print((used() - before) / {count})
"""


@pytest.mark.parametrize("count", [1000, 5000])
def test_an_idle_connection_costs_less_than_a_kilobyte(prompt, count):
    """With its socket, in heap and store together, in a guest of 256 MiB."""
    guest = prompt(memory="256M")
    guest.console.exec(HOLD)
    guest.console.start(ACCEPT.format(count=count))
    streams: list[Stream] = []
    while len(streams) < count:
        some = [guest.policy.request(PORT) for _ in range(AT_ONCE)]
        guest.device.wait(lambda some=some: all(each.established for each in some), "refused", 20)
        streams += some
    assert 100 < float(guest.console.finish(30)) < 1000
    assert guest.console.eval("stack.refused") == 0
    for each in streams[:: count // 50]:
        each.send(b"are you there")
    each = guest.console.eval(f"[kept[i].recv(20) for i in range(0, {count}, {count // 50})]")
    assert each == [b"are you there"] * 50
    assert not any(stream.reset for stream in streams)


def test_connections_are_accepted_in_the_order_in_which_they_were_asked_for(prompt):
    """A packet is dealt with before the next one, whatever interrupts come meanwhile."""
    guest = prompt()
    guest.console.exec(HOLD)
    for each in range(10):
        guest.console.start(ACCEPT.format(count=100 * each + 100))
        for _ in range(100):
            guest.policy.request(PORT)
        guest.console.finish(30)
    ports = guest.console.eval("[sock.getpeername()[1] for sock in kept]")
    assert ports == list(range(ports[0], ports[0] + 1000))
