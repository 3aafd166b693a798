# SPDX-License-Identifier: MIT
r"""A connection by hand, packet by packet: what a vsock device does with headers that a script
makes, true ones and lies.

Something on the host listens on the port that is called:

    $ socat -u UNIX-LISTEN:raw.vsock_1235 OPEN:heard,creat &
    $ mpfw run --host vhost-user --cid 33 --uds-path raw.vsock examples/raw.py 1235
    < <Packet RESPONSE 2:1235 > 33:5000 len=0 flags=0 buf_alloc=65536 fwd_cnt=0>
    < <Packet RST 2:1235 > 33:5000 len=0 flags=0 buf_alloc=0 fwd_cnt=0>
    $ cat heard
    hello by hand
"""

import sys

import vsock
from vsock.packets import PacketError

REQUEST, RESPONSE, RST, SHUTDOWN, RW = 1, 2, 3, 4, 5
OURS = 5000  # our port: packets to it are this script's alone


def heard(raw, seconds=2):
    """The next packet to our port, which is printed; None if none comes."""
    while True:
        try:
            packet = raw.receive(seconds)
        except PacketError as error:  # it says what is wrong with the packet
            print("<", type(error).__name__, error)
            continue
        if packet is None or packet.dst_port == OURS:
            print("<", packet)
            return packet


def main():
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 1234
    with vsock.raw(ports=(OURS,)) as raw:
        raw.send(raw.make(REQUEST, port, OURS))
        answer = heard(raw)
        if answer is None or answer.op != RESPONSE:
            print("nobody listens on port %d" % port)
            return
        # A chain of two buffers, the first as long as the header.
        raw.send(raw.make(RW, port, OURS, b"hello by hand\n"), sizes=(44,))
        raw.send(raw.make(99, port, OURS))  # there is no such operation
        raw.send(raw.make(SHUTDOWN, port, OURS, flags=3))
        while True:
            packet = heard(raw)
            if packet is None or packet.op == RST:
                break


main()
