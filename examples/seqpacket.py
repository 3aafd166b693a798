# SPDX-License-Identifier: MIT
r"""SOCK_SEQPACKET: messages that arrive whole, one by one, or cut where the reader asks for less.

Both ends are in this guest (CID 1 is the guest itself); a host's end works where the vsock device
offers seqpacket: Linux's does, vhost-device-vsock 0.3.0 does not.

    $ mpfw run --host none examples/seqpacket.py
    sent 5 bytes, received b'first'
    sent 6 bytes, received b'second'
    sent 8 bytes, received b'sho' and MSG_TRUNC says 8
"""

import socket

PORT = 7004
HERE = (socket.VMADDR_CID_LOCAL, PORT)

server = socket.socket(socket.AF_VSOCK, socket.SOCK_SEQPACKET)
server.bind(HERE)
server.listen()
sender = socket.socket(socket.AF_VSOCK, socket.SOCK_SEQPACKET)
sender.connect(HERE)
receiver, _ = server.accept()

messages = (b"first", b"second")
for message in messages:
    sender.send(message)
for message in messages:
    print("sent %d bytes, received %r" % (len(message), receiver.recv(100)))

sender.send(b"shortens")
part = bytearray(3)
length = receiver.recv_into(part, 3, socket.MSG_TRUNC)
print("sent 8 bytes, received %r and MSG_TRUNC says %d" % (bytes(part), length))
