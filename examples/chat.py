# SPDX-License-Identifier: MIT
r"""A chat between two guests: lines of standard input go to the other one, its lines are printed.

Without an argument it waits to be called, with one it calls the guest of that CID.

    $ (sleep 6; echo hello yourself; sleep 1) | mpfw run --cid 33 --group chat examples/chat.py &
    waiting for a call
    $ (echo hello; sleep 9) | mpfw run --cid 34 --group chat examples/chat.py 33
    CID 34: hello
    CID 33: hello yourself
    $ wait
"""

import select
import socket
import sys

PORT = 7002

if len(sys.argv) > 1:
    peer = socket.create_connection((int(sys.argv[1]), PORT))
else:
    print("waiting for a call")
    peer, _ = socket.create_server((socket.VMADDR_CID_ANY, PORT)).accept()

poll = select.poll()
poll.register(sys.stdin, select.POLLIN)
poll.register(peer, select.POLLIN)
lines = peer.makefile("rb")
line = b"-"
while line:
    for stream, _ in poll.poll():
        line = sys.stdin.buffer.readline() if stream is sys.stdin else lines.readline()
        if stream is sys.stdin:
            peer.sendall(line)
        elif line:
            print("CID %d: %s" % (peer.getpeername()[0], line.decode().rstrip()))
        if not line:  # either side has ended
            break
