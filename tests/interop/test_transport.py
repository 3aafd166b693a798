# SPDX-License-Identifier: MIT
"""vsock over a transport that was made by hand, and what it asks of one: docs/virtio.md."""

import socket

import pytest
from sides import GuestSide
from streams import SECONDS, receive

from mpfw.guest import inside
from mpfw.guest.driven import AGENT

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
    lazy = {"opt/micropython/argv": f"{inside.LEAVE_VSOCK}\0"}
    guest = boot(vsock=True, drive=AGENT, fw_cfg=lazy)
    side = GuestSide(guest).start(echo_over, interrupts, PORT)
    side.expect("listening")
    with guest.vsock.dial(PORT) as connection:
        connection.settimeout(SECONDS)
        connection.sendall(b"over it")
        assert receive(connection, 7) == b"over it"
        assert side.result() == ([], True, interrupts, GUEST, HOST)
