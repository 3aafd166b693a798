# SPDX-License-Identifier: MIT
r"""SOCK_DGRAM: a server with a socket for each client, as over UDP.

Both ends are in this guest; docs/datagrams.md says which devices carry datagrams further.

    $ mpfw run --host none examples/datagrams.py
    b'hello' came to the server's socket
    b'world and more' came to the client's own
    the client read 5 of 14 bytes: b'WORLD'
"""

import socket

import vsock

HERE = (socket.VMADDR_CID_LOCAL, 7005)
vsock.datagrams(True)  # without a device that offers them


def server_socket(client=None):
    sock = socket.socket(socket.AF_VSOCK, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # several at one address
    sock.bind(HERE)
    if client is not None:
        sock.connect(client)  # send() goes there, and what comes from there comes here
    return sock


client = socket.socket(socket.AF_VSOCK, socket.SOCK_DGRAM)
client.connect(HERE)
with server_socket() as server:
    client.send(b"hello")
    data, sender = server.recvfrom(65536)
    print("%r came to the server's socket" % data)
    with server_socket(sender) as own:
        client.send(b"world and more")
        print("%r came to the client's own" % own.recv(65536, socket.MSG_PEEK))
        own.send(own.recv(65536).upper())
length = client.recv_into(part := bytearray(5), 5, socket.MSG_TRUNC)
print("the client read %d of %d bytes: %r" % (len(part), length, bytes(part)))
