# SPDX-License-Identifier: MIT
r"""Takes a file from the host: its bytes go to standard output, its SHA-256 to standard error.

How to run it:

    $ mpfw run --cid 33 examples/file_transfer.py >received.bin &
    file transfer: CID 33, port 7001
    $ mpfw forward tcp:7001 vsock:33:7001 &
    tcp:127.0.0.1:7001 -> vsock:33:7001
    $ head -c 1000000 build/final_vsock.bin >sent.bin
    $ socat -u OPEN:sent.bin TCP:localhost:7001; wait %1
    1000000 bytes, SHA-256 8f434346648f6b96df89dda901c5176b10a6d83961dd3c1ac88b59b2dc327aa4
    $ cmp sent.bin received.bin
    $ kill %2
"""

import hashlib
import socket
import sys

PORT = 7001

server = socket.create_server((socket.VMADDR_CID_ANY, PORT))
print("file transfer: CID %d, port %d" % (socket.get_local_cid(), PORT), file=sys.stderr)
client, _ = server.accept()
digest = hashlib.sha256()
count = 0
buffer = memoryview(bytearray(65536))
while n := client.recv_into(buffer):
    digest.update(buffer[:n])
    sys.stdout.buffer.write(buffer[:n])
    count += n
hexadecimal = digest.digest().hex()
print("%d bytes, SHA-256 %s" % (count, hexadecimal), file=sys.stderr)
