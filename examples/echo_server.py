# SPDX-License-Identifier: MIT
r"""An echo server: what a client sends to port 7000 comes back, for one client after the other.

How to run it:

    $ mpfw run --cid 33 examples/echo_server.py &
    echo server: CID 33, port 7000
    $ mpfw forward tcp:7000 vsock:33:7000 &
    tcp:127.0.0.1:7000 -> vsock:33:7000
    $ echo hello | socat -t 1 - TCP:localhost:7000,shut-none
    hello
    $ kill %2 %1
"""

import socket

PORT = 7000

server = socket.create_server((socket.VMADDR_CID_ANY, PORT))
print("echo server: CID %d, port %d" % (socket.get_local_cid(), PORT))
while True:
    client, (cid, port) = server.accept()
    with client:
        while True:
            data = client.recv(4096)
            if not data:  # the client has ended its side
                break
            client.sendall(data)
