# SPDX-License-Identifier: MIT
r"""Many clients at once with asyncio: each line comes back in capitals.

How to run it:

    $ mpfw run --cid 33 examples/asyncio_server.py &
    asyncio server: CID 33, port 7003
    $ mpfw forward tcp:7003 vsock:33:7003 &
    tcp:127.0.0.1:7003 -> vsock:33:7003
    $ echo hello | socat -t 1 - TCP:localhost:7003,shut-none
    HELLO
    $ echo goodbye | socat -t 1 - TCP:localhost:7003,shut-none
    GOODBYE
    $ kill %2 %1
"""

import asyncio
import socket

PORT = 7003


async def shout(reader, writer):
    """Serve one client; others are served meanwhile."""
    while line := await reader.readline():
        writer.write(line.upper())
        await writer.drain()
    writer.close()
    await writer.wait_closed()


async def main():
    server = await asyncio.start_server(shout, socket.VMADDR_CID_ANY, PORT)
    print("asyncio server: CID %d, port %d" % (socket.get_local_cid(), PORT))
    await server.wait_closed()


asyncio.run(main())
