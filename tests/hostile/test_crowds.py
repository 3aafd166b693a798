# SPDX-License-Identifier: MIT
"""Many peers of a polite host's: what they cost, and that they leave nothing behind."""

import ast
from typing import Any

import pytest

from mpfw.device import liars
from mpfw.device.firmware import vsock as w
from mpfw.device.policy import Stream

ECHO = 1234
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


def wait_accepted(device, streams):
    """All are: on a busy machine slowly, but no minute passes without another one."""

    def answered():
        return sum(each.established or each.reset for each in streams)

    seen = 0
    while seen < len(streams):
        failure = f"{seen} of {len(streams)} are answered, no more came"
        device.wait(lambda before=seen: answered() > before, failure, 60)
        assert not any(each.reset for each in streams)
        seen = answered()


@pytest.mark.parametrize("count", [1000, 5000])
def test_an_idle_connection_costs_less_than_a_kilobyte(prompt, count):
    """With its socket, in heap and store together, in a guest of 256 MiB."""
    guest = prompt(memory="256M")
    guest.console.exec(HOLD)
    guest.console.start(ACCEPT.format(count=count))
    streams: list[Stream] = []
    while len(streams) < count:
        some = [guest.policy.request(PORT) for _ in range(AT_ONCE)]
        wait_accepted(guest.device, some)
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


ECHO_THAT_CALLS = """
import gc, machine, socket, struct, time, vsock
from apps import echo
echo.RETRY_MS = 1
echo.PATIENCE = 0.01  # seconds

class Hasty(echo.Echo):
    calls = 0

    def _prepare(self, sock):
        super()._prepare(sock)
        wait = struct.pack("<qq", 0, 50000)  # us until silence is an answer
        sock.setsockopt(socket.AF_VSOCK, socket.SO_VM_SOCKETS_CONNECT_TIMEOUT, wait)

    def _call(self):
        self.calls += 1
        super()._call()

    def serve(self, calls):
        last = self.calls + calls
        while self.calls < last:
            self.turn()
        settled = time.ticks_add(time.ticks_ms(), 1000)  # what is under way has ended by then
        while self._called is not None or time.ticks_diff(settled, time.ticks_ms()) > 0:
            self._next_call = time.ticks_add(time.ticks_ms(), 10000)
            self.turn()
        self._next_call = time.ticks_ms()
        gc.collect()
        stack = vsock.get()
        store = stack.store
        tables = stack.table.count, len(stack.lingering), len(stack.late), len(stack.starved)
        tables += len(stack.listeners), len(stack.ports)
        print((gc.mem_alloc(), (machine.dma_used(), store.spare, store.promised) + tables))

server = Hasty()
print("listening")
"""


class Busy(liars.Fickle):
    """A call is answered behind what all of a crowd say, and behind calls that are reset."""

    def __init__(self, *ways: str):
        super().__init__(*ways)
        self.crowd: list[Stream] = []
        self.connects = 0  # of those, with each call
        self.connected = 0

    def packet(self, packet: Any) -> None:
        if packet.op == w.OP_REQUEST:
            for stream in self.crowd:
                stream.send(b"busy")
            for _ in range(self.connects):
                self.request(ECHO).abort()
            self.connected += self.connects
        super().packet(packet)


@pytest.mark.parametrize("calls", [50, pytest.param(1000, marks=pytest.mark.long)])
def test_an_echo_behind_busy_ones_loses_nothing_whatever_becomes_of_calls(prompt, calls):
    """Its own, which are refused, answered and reset, or not answered, and ten times as many to
    it that are reset at once. What the host does is polite."""
    guest = prompt(Busy("refuse", "reset", "silent"))
    policy = guest.policy
    guest.console.exec(ECHO_THAT_CALLS)
    guest.console.start("server.serve(30)")  # what grows once has grown
    policy.crowd = [policy.connect(ECHO) for _ in range(AT_ONCE)]
    policy.connects = 10
    heap, tables = ast.literal_eval(guest.console.finish(60))
    policy.calls = policy.connected = 0
    said = [len(stream.received) for stream in policy.crowd]
    # One or the other call ends before there is room for it among all that the echo says.
    guest.console.start(f"server.serve({calls + calls // 20})")
    heap_after, tables_after = ast.literal_eval(guest.console.finish(580))
    assert policy.calls >= calls and policy.connected == 10 * policy.calls
    assert tables_after == tables and abs(heap_after - heap) < 4000
    heard = [
        len(stream.received) - before for stream, before in zip(policy.crowd, said, strict=True)
    ]
    assert heard == [4 * policy.calls] * AT_ONCE
    assert not any(stream.reset for stream in policy.crowd)
    policy.crowd, policy.connects = [], 0
    guest.console.start("server.run()")
    stream = policy.connect(ECHO)
    stream.send(b"are you there")
    assert stream.receive(13) == b"are you there"
    assert not guest.tracebacks()
    guest.console.interrupt()
    guest.answers()
