# SPDX-License-Identifier: MIT
"""vsock over a transport that was made by hand, and what it asks of one: docs/virtio.md."""

import socket

import pytest
from sides import IDLE, GuestSide
from streams import SECONDS, receive

GUEST, HOST = 33, 2
PORT = 7950


def echo_over(interrupts, port):
    """Serve one connection over a transport that notes what is asked of it."""
    import virtio
    import vsock
    from virtio.transport import Transport

    class Noting:
        def __init__(self, inner):
            self.inner = inner
            self.asked = set()

        def __getattr__(self, name):
            self.asked.add(name)
            return getattr(self.inner, name)

    class Polled(Noting):
        def route_queue(self, index):
            return None

        def route_config(self):
            return None

    transport = (Noting if interrupts else Polled)(virtio.find(virtio.SOCKET)[0])
    stack = vsock.bring_up(transport)
    listener = socket.socket(stack=stack)
    listener.bind((socket.VMADDR_CID_ANY, port))
    listener.listen()
    print("listening")
    sock, (cid, _) = listener.accept()
    sock.sendall(sock.recv(100))
    strange = sorted(transport.asked - set(dir(Transport)))
    return strange, "set_queue" in transport.asked, stack.device.interrupts, stack.cid, cid


@pytest.mark.parametrize("interrupts", (True, False))
def test_vsock_asks_a_transport_for_what_the_interface_has_and_no_more(boot, interrupts):
    guest = boot(vsock=True, fw_cfg=IDLE)
    guest.console.wait_prompt(30)
    side = GuestSide(guest).start(echo_over, interrupts, PORT)
    guest.console.expect("listening\r\n")
    with guest.vsock.dial(PORT) as connection:
        connection.settimeout(SECONDS)
        connection.sendall(b"over it")
        assert receive(connection, 7) == b"over it"
        assert side.result() == ([], True, interrupts, GUEST, HOST)
