# SPDX-License-Identifier: MIT
r"""A web page from the guest, for the browser of the host: http://localhost:8080/ once both run.

How to run it:

    $ mpfw run --cid 33 examples/http_server.py &
    web server: CID 33, port 80
    $ mpfw forward tcp:8080 vsock:33:80 &
    tcp:127.0.0.1:8080 -> vsock:33:80
    $ curl -s http://localhost:8080/memory
    <h1>/memory</h1><p>Page 1. MicroPython has 1,024 KiB free.</p>
    $ kill %2 %1
"""

import gc
import socket

PORT = 80
PAGE = "<h1>%s</h1><p>Page %d. MicroPython has %d KiB free.</p>\n"


def serve(client, number):
    """Answer one request."""
    with client.makefile("rb") as request:
        path = request.readline().split()[1].decode()
        while request.readline().strip():
            pass  # headers, up to the empty line
    body = PAGE % (path.replace("<", "&lt;"), number, gc.mem_free() // 1024)
    head = "HTTP/1.0 200 OK\r\nContent-Type: text/html\r\nContent-Length: %d\r\n\r\n" % len(body)
    client.sendall((head + body).encode())


server = socket.create_server((socket.VMADDR_CID_ANY, PORT))
print("web server: CID %d, port %d" % (socket.get_local_cid(), PORT))
pages = 0
while True:
    client, _ = server.accept()
    pages += 1
    with client:
        serve(client, pages)
