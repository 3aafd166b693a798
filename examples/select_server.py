# SPDX-License-Identifier: MIT
r"""One loop for many sockets with select.poll: whatever one client sends, all others receive.

How to run it:

    $ mpfw run --cid 33 examples/select_server.py &
    select server: CID 33, port 7005
    $ mpfw forward tcp:7005 vsock:33:7005 &
    tcp:127.0.0.1:7005 -> vsock:33:7005
    $ (sleep 1; echo news) | socat -t 1 - TCP:localhost:7005,shut-none 2>socat.log &
    $ head -n 1 </dev/tcp/localhost/7005
    news
    $ kill %2 %1
"""

import select
import socket

PORT = 7005

server = socket.create_server((socket.VMADDR_CID_ANY, PORT))
poll = select.poll()
poll.register(server, select.POLLIN)
clients = []
print("select server: CID %d, port %d" % (socket.get_local_cid(), PORT))
while True:
    for sock, _ in poll.poll():
        if sock is server:
            client, _ = server.accept()
            clients.append(client)
            poll.register(client, select.POLLIN)
        elif data := sock.recv(4096):
            for other in clients:
                if other is not sock:
                    other.sendall(data)
        else:
            poll.unregister(sock)
            clients.remove(sock)
            sock.close()
