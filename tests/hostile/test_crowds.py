# SPDX-License-Identifier: MIT
"""Many peers of a polite host's: what they cost, and that they leave nothing behind."""

PORT = 5000

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
