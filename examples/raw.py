# SPDX-License-Identifier: MIT
"""A connection by hand, packet by packet: what a vsock device does with headers that a script
makes, true ones and lies.

On the host: something that listens on port 1234 and answers, such as
    socat - VSOCK-LISTEN:1234
Usage: raw.py [PORT]
"""

import sys

import vsock
from vsock.packets import PacketError

REQUEST, RESPONSE, RST, SHUTDOWN, RW = 1, 2, 3, 4, 5
OURS = 5000  # our port: packets to it are this script's alone


def heard(raw, seconds=2):
    """The next packet, printed; None if none comes."""
    try:
        packet = raw.receive(seconds)
    except PacketError as error:
        print("<", type(error).__name__, error)
        return None
    print("<", packet if packet else "nothing")
    return packet


def main():
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 1234
    with vsock.raw(ports=(OURS,)) as raw:
        raw.send(raw.packet(REQUEST, port, OURS))
        answer = heard(raw)
        if answer is None or answer.op != RESPONSE:
            print("nobody listens on port %d" % port)
            return
        # A chain of three buffers, the header in two of them: legal, and rarely seen.
        raw.send(raw.packet(RW, port, OURS, b"hello by hand\n"), sizes=(20, 24))
        raw.send(raw.packet(99, port, OURS))  # there is no such operation
        raw.send(raw.packet(SHUTDOWN, port, OURS, flags=3))
        while True:
            packet = heard(raw)
            if packet is None or packet.op == RST:
                break


main()
