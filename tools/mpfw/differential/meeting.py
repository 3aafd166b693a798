# SPDX-License-Identifier: MIT
"""How the two parts of a scenario meet; goes before both, under CPython and MicroPython alike.

A connection of their own, to the second of the three ports that the scenario has, carries a byte
each way for every meeting. The third port is the scenario's own.
"""

import socket
import time

MEETING_PORT = 1  # above the scenario's first port
SECONDS = 15


def _meeting(link):
    link.settimeout(SECONDS)

    def meet():
        link.send(b"m")
        if link.recv(1) != b"m":
            raise RuntimeError("the other part has ended")

    return meet


def take_part_in_host(part, cid, port):
    """Wait for the guest's part, then run the host's."""
    with socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM) as listener:
        listener.bind((socket.VMADDR_CID_ANY, port + MEETING_PORT))
        listener.listen(1)
        listener.settimeout(SECONDS)
        link, _ = listener.accept()
    with link:
        part(cid, port, _meeting(link))


def take_part_in_guest(part, cid, port):
    """Find the host's part, then run the guest's."""
    until = time.time() + SECONDS
    while True:
        link = socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)
        try:
            link.connect((cid, port + MEETING_PORT))
            break
        except OSError:
            link.close()
            if time.time() > until:
                raise
            time.sleep(0.02)
    with link:
        part(cid, port, _meeting(link))
